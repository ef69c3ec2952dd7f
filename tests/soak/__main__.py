"""A long search for a lost, doubled or stale job: `python -m tests.soak [--only PART]… [--resume]`; prints a verdict.

model: the protocol's state machine. outages: a thousand, in a time of their own. crash: the writer killed at every
statement. blackouts: outages of a real server. storm: real agents, real faults. Each works in slices with seeds of
their own and keeps its progress in a file. The defaults take a quarter of an hour; the whole search is --steps 1000000
--outages 1000 --crash-slices 80 --blackouts 32 --agents 20 --jobs 1000 --faults 1000 --minutes 240; --resume goes on.
"""

from __future__ import annotations

import argparse
import datetime as dt
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.soak import blackouts, crash, model, outages, storm, verdict
from tests.soak.progress import Part, Progress

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "build/soak"
RESULT = ROOT / "reports/samples/soak.json"
PARTS = ("model", "outages", "crash", "blackouts", "storm")
#: that need namespaces
REAL = ("blackouts", "storm")
#: of one storm; more are further storms
STORM_JOBS, STORM_FAULTS = 250, 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """One part: what there is to do, and when it is enough."""

    slice: Callable[[Part], tuple[dict[str, int], list[str]]]
    enough: Callable[[Part], bool]


def searches(arguments: argparse.Namespace) -> dict[str, Search]:
    """All parts, as large as was asked for."""

    def storm_slice(part: Part) -> tuple[dict[str, int], list[str]]:
        size = storm.Size(
            agents=arguments.agents,
            jobs=max(1, min(STORM_JOBS, arguments.jobs - part.counts.get("jobs", 0))),
            faults=max(0, min(STORM_FAULTS, arguments.faults - part.counts.get("faults", 0))),
        )
        return storm.search(part.seed, size)

    def storm_enough(part: Part) -> bool:
        return bool(part.counts.get("jobs", 0) >= arguments.jobs and part.counts.get("faults", 0) >= arguments.faults)

    def counted(name: str, wanted: int) -> Callable[[Part], bool]:
        return lambda part: part.counts.get(name, 0) >= wanted

    return {
        "model": Search(slice=lambda part: model.search(part.seed), enough=counted("steps", arguments.steps)),
        "outages": Search(slice=lambda part: outages.search(part.seed), enough=counted("outages", arguments.outages)),
        "crash": Search(
            slice=lambda part: crash.search(part.seed), enough=lambda part: part.slices >= arguments.crash_slices
        ),
        "blackouts": Search(
            slice=lambda part: blackouts.search(part.seed), enough=counted("outages", arguments.blackouts)
        ),
        "storm": Search(slice=storm_slice, enough=storm_enough),
    }


def main(argv: list[str]) -> int:
    """Search; 0 = all that was asked for is done and nothing was found, 1 = something was, 2 = there was no time."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was begun is cleared away
    arguments = parsed(argv)
    wanted = tuple(arguments.only or PARTS)
    if not {*REAL}.isdisjoint(wanted) and (missing := storm.why_not()):
        say(f"{', '.join(REAL)}: left out: {missing}")
        wanted = tuple(name for name in wanted if name not in REAL)
    progress = Progress.begin(arguments.folder / "progress.json", resume=arguments.resume)
    whole = run(
        progress, {name: searches(arguments)[name] for name in wanted}, end_s=time.monotonic() + 60 * arguments.minutes
    )
    say(verdict.table(progress, wanted))
    if arguments.write:
        verdict.write(progress, RESULT, dt.datetime.now(dt.UTC).date())
    if progress.failures:
        return 1
    if not whole or not wanted:
        say("not all that was asked for is done: --resume goes on, --minutes gives it longer")
        return 2
    return 0


def run(progress: Progress, wanted: dict[str, Search], *, end_s: float) -> bool:
    """A slice of each part in turn, until all are done or time is over; a part that found something is over too."""
    open_ = dict(wanted)
    while open_:
        for name, search in [*open_.items()]:
            part = progress.part(name)
            if part.failures or search.enough(part):
                del open_[name]
                continue
            if time.monotonic() >= end_s:
                return False
            begun_s = time.monotonic()
            counts, failures = search.slice(part)
            part.add(counts, failures, time.monotonic() - begun_s)
            progress.save()
            say(f"{time.strftime('%H:%M:%S')} {name}: {verdict.told(part)}")
    return True


def say(text: str) -> None:
    """On the terminal, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def parsed(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART", help=f"one of {', '.join(PARTS)}")
    parser.add_argument("--resume", action="store_true", help="go on where the last run ended")
    parser.add_argument("--minutes", type=float, default=15.0, help="no slice begins after this")
    parser.add_argument("--steps", type=int, default=50_000, help="of the state machine")
    parser.add_argument("--outages", type=int, default=200, help="simulated")
    parser.add_argument("--blackouts", type=int, default=blackouts.OUTAGES, help="outages of a real server")
    parser.add_argument("--crash-slices", type=int, default=crash.STRIDE, help=f"{crash.STRIDE} reach every statement")
    parser.add_argument("--agents", type=int, default=storm.Size().agents, help="of the storm, 1 to 100")
    parser.add_argument("--jobs", type=int, default=storm.Size().jobs, help="of the storm")
    parser.add_argument("--faults", type=int, default=storm.Size().faults, help="of the storm")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where progress is kept")
    parser.add_argument("--write", action="store_true", help="keep the verdict as reports/samples/soak.json")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
