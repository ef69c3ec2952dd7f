"""A long search for a lost, doubled or stale job: `python -m tests.soak [--only PART]… [--resume]`; prints a verdict.

model: the protocol's state machine. crash: the writer killed at every statement. storm: real agents, real faults.
Each works in slices with seeds of their own and keeps its progress in a file. The defaults take some minutes; the whole
search is --steps 1000000 --crash-slices 80 --agents 20 --jobs 1000 --faults 1000 and takes hours; --resume goes on.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.soak import crash, model, storm
from tests.soak.progress import Part, Progress

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "build/soak"
PARTS = ("model", "crash", "storm")
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

    return {
        "model": Search(
            slice=lambda part: model.search(part.seed),
            enough=lambda part: part.counts.get("steps", 0) >= arguments.steps,
        ),
        "crash": Search(
            slice=lambda part: crash.search(part.seed), enough=lambda part: part.slices >= arguments.crash_slices
        ),
        "storm": Search(slice=storm_slice, enough=storm_enough),
    }


def main(argv: list[str]) -> int:
    """Search; 0 = all that was asked for is done and nothing was found, 1 = something was, 2 = there was no time."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was begun is cleared away
    arguments = parsed(argv)
    wanted = tuple(arguments.only or PARTS)
    if "storm" in wanted and (missing := storm.why_not()):
        say(f"storm: left out: {missing}")
        wanted = tuple(name for name in wanted if name != "storm")
    progress = Progress.begin(arguments.folder / "progress.json", resume=arguments.resume)
    whole = run(
        progress, {name: searches(arguments)[name] for name in wanted}, end_s=time.monotonic() + 60 * arguments.minutes
    )
    say(verdict(progress, wanted))
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
            say(f"{time.strftime('%H:%M:%S')} {name}: {told(part)}")
    return True


def told(part: Part) -> str:
    """What was done so far."""
    counted = ", ".join(f"{count:,} {name}" for name, count in part.counts.items())
    return f"{counted} in {part.slices} slices, {part.seconds:,.0f} s"


def verdict(progress: Progress, wanted: tuple[str, ...]) -> str:
    """For people."""
    lines = [f"{name:<6} {told(progress.part(name))}: {judged(progress.part(name))}" for name in wanted]
    lines += progress.failures
    lines.append("verdict: " + (f"{len(progress.failures)} FAILURES" if progress.failures else "nothing was found"))
    return "\n".join(lines)


def judged(part: Part) -> str:
    """In a word or two."""
    return f"{len(part.failures)} FAILURES" if part.failures else "clean" if part.slices else "not run"


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
    parser.add_argument("--steps", type=int, default=10_000, help="of the state machine")
    parser.add_argument("--crash-slices", type=int, default=crash.STRIDE, help=f"{crash.STRIDE} reach every statement")
    parser.add_argument("--agents", type=int, default=storm.Size().agents, help="of the storm, 1 to 100")
    parser.add_argument("--jobs", type=int, default=storm.Size().jobs, help="of the storm")
    parser.add_argument("--faults", type=int, default=storm.Size().faults, help="of the storm")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where progress is kept")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
