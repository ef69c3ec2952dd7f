"""A server for the scale benchmark: `python -m tests.bench.scale_server FOLDER PORT NODES JOBS_PER_S`.

It is the real one with made-up nodes, whose agents are somewhere else and known to it as registered. Its calendar
begins where their reports are fresh. With JOBS_PER_S > 0 it is given jobs from inside, and ends them, as long as it
runs. Prints one line of JSON as soon as it answers.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
import threading
import time
from pathlib import Path

from scheduler.control import Control
from scheduler.desk import ProvingSettings
from scheduler.records import Account
from server import serving
from server.runtime import Runtime, Sources
from server.settings import Limits, Settings
from tests.bench.scale_hall import Hall, HeldClock, RunningClock, Sink, add, made
from tests.bench.scale_wire import key_of

FREE = Limits(
    account_requests_per_s=1e6,
    account_requests_burst=1e6,
    address_requests_per_s=1e6,
    address_requests_burst=1e6,
    jobs_waiting=10_000_000,
)
KEPT = "scale.json"


def main(folder: Path, port: int, count: int, jobs_per_s: int) -> None:
    """Serve until told to end."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    begun_s = time.perf_counter()
    settings = Settings(data=folder, port=port, limits=FREE, proving=ProvingSettings(on=False))
    clock = HeldClock()
    if not jobs_per_s:
        clock = RunningClock()
        clock.start()
    runtime = Runtime.open(settings, Sources(clock=clock))
    tokens = runtime.bootstrap()
    if tokens:
        (folder / KEPT).write_text(json.dumps(tokens))
        fill(runtime, count)
    if jobs_per_s:
        threading.Thread(target=feed, args=(runtime, jobs_per_s), daemon=True).start()
    opened_s = time.perf_counter() - begun_s

    def ready(url: str) -> None:
        told = {"url": url, "tokens": json.loads((folder / KEPT).read_text()), "boot": runtime.server_boot}
        told |= {"opened_s": opened_s, "ready_s": time.perf_counter(), "live": len(runtime.book.attempts)}
        print(json.dumps(told), flush=True)

    serving.serve(settings, runtime=runtime, ready=ready, log=logging.NullHandler())


def whose(runtime: Runtime, role: str) -> Account:
    """The first account of a role."""
    return next(account for account in runtime.book.accounts.values() if account.role == role)


def fill(runtime: Runtime, count: int) -> None:
    """Commit the nodes as the rules would have."""
    rows = list(made(count, whose(runtime, "supplier").id, key=lambda node: key_of(node).public))
    for command in add(rows):
        runtime.writer.do(command).result()


def feed(runtime: Runtime, jobs_per_s: int) -> None:
    """Jobs come, are placed and end, at an even pace."""
    sink = Sink()
    runtime.writer.do(lambda control, now: watch(control, sink)).result()
    hall = Hall(book=runtime.book, writer=runtime.writer, sink=sink, renter=whose(runtime, "renter").id)
    begun_s, turn = time.perf_counter(), threading.Event()
    while True:
        due = int((time.perf_counter() - begun_s) * jobs_per_s) - hall.submitted
        hall.submit(due)
        if sink.count > 4 * jobs_per_s:
            hall.end(max(1, due))
        for one in hall.asked:
            one.result(timeout=60)
        hall.asked.clear()
        turn.wait(0.005)


def watch(control: Control, sink: Sink) -> None:
    """Have the sink told of what is placed."""
    control.book.watch(sink)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
