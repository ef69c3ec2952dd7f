"""A server with a market of made-up nodes: `python -m tests.bench.market_server FOLDER NODES`.

Its clock stands still, so that nodes which no agent speaks for stay as they are; prints its URL and a renter's token.
"""

from __future__ import annotations

import json
import logging
import random
import sys
from dataclasses import replace
from pathlib import Path

from scheduler.clock import Now
from scheduler.control import Control
from scheduler.records import MarketNode
from server import serving
from server.runtime import Runtime, Sources
from server.settings import Limits, Settings
from tests.bench.market_query import NOW_MS, nodes

AT_ONCE = 1000


class Still:
    """A clock that does not run."""

    def now(self) -> Now:
        return Now(mono_ms=1_000_000, unix_ms=NOW_MS)


def fill(runtime: Runtime, rows: list[MarketNode]) -> None:
    """Commit the nodes as the rules would have."""

    def add(some: list[MarketNode]) -> None:
        def command(control: Control, now: Now) -> None:
            del now
            for row in some:
                control.book.add(row)

        runtime.writer.do(command).result()

    for first in range(0, len(rows), AT_ONCE):
        add(rows[first : first + AT_ONCE])


def main(folder: str, count: str) -> None:
    """Serve until told to end."""
    fast = Limits(account_requests_per_s=1e6, account_requests_burst=1e6, address_requests_per_s=1e6)
    settings = Settings(data=Path(folder), port=0, limits=fast)
    runtime = Runtime.open(settings, Sources(clock=Still()))
    token = runtime.bootstrap()["renter"]
    supplier = next(account.id for account in runtime.book.accounts.values() if account.role == "supplier")
    made = nodes(int(count), random.Random(1))
    fill(runtime, [replace(row, supplier=supplier, public_key=f"{row.id:064x}") for row in made])

    def ready(url: str) -> None:
        print(json.dumps({"url": url, "token": token}), flush=True)

    serving.serve(settings, runtime=runtime, ready=ready, log=logging.NullHandler())


if __name__ == "__main__":
    main(*sys.argv[1:])
