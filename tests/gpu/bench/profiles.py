"""`make gpu-bench-profiles`: whole profiles as a supplier runs them, their wall time beside their budget.

`python -m tests.gpu.bench.profiles [quick] [standard]`. The report of the last is kept in reports/samples.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from tests.gpu.bench import goals, samples
from tests.gpu.bench.command import Ran, qualify
from tests.gpu.bench.deliver import NO_GPU, deliver, first_gpu
from tests.gpu.bench.rows import Goal, PeerError, Row, limit, skipped

WITHIN_S = 520.0
PART = "profiles"


def rows_of(profile: str, ran: Ran) -> list[Row]:
    """The process's wall time beside the profile's, and the run's own length beside 105 % of its budget."""
    key, wanted_s = f"profile.{profile}", goals.PROFILES[profile]
    most_s = goals.OVERRUN * ran.report.budget_s
    goal = Goal(high=1.0)
    return [
        limit(key, "wall time wanted", ran.wall_s, wanted_s, "s", goal),
        limit(key, "105 % of its budget", ran.report.lasted_s, most_s, "s", goal),
    ]


def profiles(
    names: Sequence[str],
    *,
    now: Callable[[], float],
    run: Callable[[str], Ran],
    keep: Callable[[Ran], object],
) -> list[Row]:
    """Rows of each profile that there is time for; the last report is kept."""
    until = now() + WITHIN_S
    rows: list[Row] = []
    for name in names:
        if now() + goals.OVERRUN * goals.PROFILES[name] > until:
            rows.append(skipped(f"profile.{name}", "", f"no time left for its {goals.PROFILES[name]:g} s"))
            continue
        try:
            ran = run(name)
        except PeerError as error:
            rows.append(skipped(f"profile.{name}", "", str(error)))
            continue
        keep(ran)
        rows += rows_of(name, ran)
    return rows


def main(argv: Sequence[str]) -> int:
    """Run, keep, print."""
    names = list(argv) or list(goals.PROFILES)
    if not set(names) <= set(goals.PROFILES):
        sys.stderr.write(f"gpu-bench-profiles: profiles are {', '.join(goals.PROFILES)}, found {' '.join(names)}\n")
        return 2
    device = first_gpu("gpu-bench-profiles")
    if device is None:
        return NO_GPU
    rows = profiles(
        names,
        now=time.monotonic,
        run=lambda name: qualify("--profile", name, budget_s=goals.PROFILES[name]),
        keep=lambda ran: samples.keep_report(ran, device.name),
    )
    return deliver(device, {PART: rows}, out=sys.stdout)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
