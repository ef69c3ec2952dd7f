"""One who asks a server that has just been killed, in a process of its own: the agents' loop has its hands full.

`python -m tests.bench.scale_asker` reads one line of JSON, {"url", "token", "job", "lasting_s"}, and prints one: when
it was answered first, when a job that it handed over was placed, by the clock of time.perf_counter, the machine's own,
and how long reads took after that, while the agents came back.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from tests.bench.scale_wire import AwayError, Json, Line, Renter

PAUSE_S = 0.02


async def main(told: Json) -> Json:
    """Ask until there is an answer, and until a job is placed."""
    host, _, port = told["url"].removeprefix("http://").partition(":")
    renter = Renter(Line(host, int(port)), told["token"])
    while True:
        try:
            await renter.fetch("/v1/jobs?limit=1")
            break
        except (AwayError, RuntimeError):
            await asyncio.sleep(PAUSE_S)
    read_s = time.perf_counter()
    job = await renter.submit("asker", told["job"])
    while not (await renter.get(f"/v1/jobs/{job}"))["tries"]:  # noqa: ASYNC110 - it is another process's doing
        await asyncio.sleep(PAUSE_S)
    placed_s = time.perf_counter()
    waits: list[float] = []
    while (asked_s := time.perf_counter()) < placed_s + told["lasting_s"]:
        await renter.fetch("/v1/jobs?limit=1")
        waits.append(time.perf_counter() - asked_s)
        await asyncio.sleep(PAUSE_S)
    return {"read_s": read_s, "placed_s": placed_s, "waits_s": waits}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.stdin.readline())))))
