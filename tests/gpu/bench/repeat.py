"""`make gpu-bench-repeat`: how well figures repeat from run to run.

`python -m tests.gpu.bench.repeat [--runs N] [--within SECONDS]`: so many whole runs of the real command for a few
figures, each in processes of its own, and the coefficient of variation (standard deviation over mean) of their medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from kernels.cuda.products import hottest
from kernels.device import Device
from tests.gpu.bench import goals
from tests.gpu.bench.command import Ran, qualify
from tests.gpu.bench.deliver import NO_GPU, deliver, first_gpu
from tests.gpu.bench.rows import Goal, PeerError, Row, limit, skipped

RUNS = 20
WITHIN_S = 510.0
#: of one run; it starts three benchmarks, and each has some three seconds left to measure
BUDGET_S = 20.0
#: two runs that gave nothing mean that the next will not either
MOST_FAILED = 2
LEAST_RUNS = 3
PART = "repeat"


def keys(device: Device) -> tuple[str, ...]:
    """The product that draws the most power here, memory, and the link both ways."""
    return (hottest(device.capability).key, "memory.triad", "memory.copy", "hostlink.h2d", "hostlink.d2h")


def values(ran: Ran, wanted: Sequence[str]) -> dict[str, float | str]:
    """Each figure of a run, or the reason why there is none."""
    found = {one.key: one for one in ran.report.measurements}
    return {
        key: "not in the report" if key not in found else found[key].value or found[key].reason or "no figure"
        for key in wanted
    }


def variation(key: str, seen: Sequence[float | str]) -> Row:
    """A row for the variation of one figure, with the bound beside it."""
    figures = [one for one in seen if isinstance(one, float | int)]
    if len(figures) < LEAST_RUNS:
        reasons = [one for one in seen if isinstance(one, str)]
        return skipped(key, "", reasons[-1] if reasons else f"{len(figures)} runs say nothing of their spread")
    spread = statistics.stdev(figures) / statistics.mean(figures)
    return limit(key, f"CV of {len(figures)} runs", spread, goals.VARIATION[key], "ratio", Goal(high=1.0))


def repeated(
    wanted: Sequence[str], *, runs: int, within_s: float, now: Callable[[], float], run: Callable[[], Ran]
) -> Mapping[str, list[float | str]]:
    """What each run gave for each figure; a run that would not end in time is not begun."""
    seen: dict[str, list[float | str]] = {key: [] for key in wanted}
    until, longest_s, failed = now() + within_s, 0.0, 0
    for _ in range(runs):
        start = now()
        if start + longest_s > until or failed == MOST_FAILED:
            break
        try:
            found = values(run(), wanted)
        except PeerError as error:
            failed += 1
            found = dict.fromkeys(wanted, str(error))
        for key, value in found.items():
            seen[key].append(value)
        longest_s = max(longest_s, now() - start)
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} run {len(seen[wanted[0]])} of {runs}\n")
    return seen


def main(argv: Sequence[str]) -> int:
    """Run, keep, print."""
    parser = argparse.ArgumentParser(prog="gpu-bench-repeat", description="how well figures repeat")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--within", type=float, default=WITHIN_S, metavar="SECONDS", help="for everything")
    asked = parser.parse_args(argv)
    if asked.runs < LEAST_RUNS:
        parser.error(f"--runs wants at least {LEAST_RUNS}")
    device = first_gpu("gpu-bench-repeat")
    if device is None:
        return NO_GPU
    wanted = keys(device)
    only = [word for key in wanted for word in ("--only", key)]
    seen = repeated(
        wanted,
        runs=asked.runs,
        within_s=asked.within,
        now=time.monotonic,
        run=lambda: qualify("--budget", f"{BUDGET_S:g}", *only, budget_s=BUDGET_S),
    )
    return deliver(device, {PART: [variation(key, seen[key]) for key in wanted]}, out=sys.stdout)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
