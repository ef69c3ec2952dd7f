"""`make gpu-bench`: every figure beside the reference method's, then a quick report of this GPU.

`python -m tests.gpu.bench [PART …] [--rounds N] [--within SECONDS] [--search SECONDS [--only KEY]…]` with the parts
matmul, memory, hostlink, memlatency, allreduce and report. `--search` looks for the best product shape exhaustively
instead, for so many seconds in all; "once, ten minutes" of one precision is `--search 600 --only matmul.fp16`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from kernels.device import Device
from tests.gpu.bench import goals, samples
from tests.gpu.bench.child import SEARCH, decode
from tests.gpu.bench.command import qualify
from tests.gpu.bench.deliver import NO_GPU, deliver, first_gpu
from tests.gpu.bench.ground import ROOT
from tests.gpu.bench.parts import PARTS
from tests.gpu.bench.profiles import rows_of
from tests.gpu.bench.reference import KINDS
from tests.gpu.bench.rows import Goal, PeerError, Row, limit, skipped

REPORT = "report"
#: seconds for everything, so that a target of nine minutes is met with room
WITHIN_S = 500.0
#: kept for the quick report at the end
REPORT_S = 70.0
#: starting a part: imports of torch and cupy, CUDA's context
STARTUP_S = 12.0
#: of a part that will not end in time
GRACE_S = 20.0
CHILD = (sys.executable, "-m", "tests.gpu.bench.child")


def allotted(names: Sequence[str], left_s: float) -> float:
    """Seconds of measuring for the first of `names`, in proportion to what each asks for and never more."""
    asked = [PARTS[name].seconds for name in names]
    usable = max(0.0, left_s - STARTUP_S * len(names))
    return min(asked[0], usable * asked[0] / sum(asked))


def run_part(
    name: str, seconds: float, rounds: int, keys: Sequence[str] = (), command: Sequence[str] = CHILD
) -> list[Row]:
    """The rows of a part measured in a process of its own; one that crashes or hangs leaves what it had, and why."""
    words = [*command, name, f"{seconds:.1f}", str(rounds), *keys]
    found: list[Row] = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
        reader.start()
        with _killed_after(process, seconds + STARTUP_S + GRACE_S) as late:
            assert process.stdout is not None
            found += _decoded(process.stdout)
        process.wait()
        reader.join()
    if late.is_set():
        found.append(skipped(name, "", f"not done after {seconds + STARTUP_S + GRACE_S:.0f} s"))
    elif process.returncode:
        words = [line.strip() for line in said if line.strip()]
        found.append(skipped(name, "", f"ended with {process.returncode}: {words[-1] if words else 'no word'}"))
    return found


def _decoded(lines: Iterable[str]) -> Iterator[Row]:
    for line in lines:
        try:
            row = decode(line)
        except ValueError:
            sys.stderr.write(line)  # a library's own words
        else:
            tell(f"{row.key} beside {row.against}: {row.reason or f'{row.ratio:.4f}'}")
            yield row


@contextmanager
def _killed_after(process: subprocess.Popen[str], seconds: float) -> Iterator[threading.Event]:
    """Kill the process when the block lasts longer; the event says so."""
    late = threading.Event()

    def kill() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, kill)
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def tell(text: str) -> None:
    """Say how far it is, on stderr."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def fixed(device: Device, rows: Sequence[Row]) -> list[Row]:
    """Our figures beside the rates that this very part is known to give."""
    wanted = goals.RATES.get(device.name, {})
    seen = {row.key: row for row in rows if row.ours is not None and row.unit == "FLOP/s"}
    return [
        limit(key, "known of this part", seen[key].ours or 0.0, rate, seen[key].unit, Goal(low=1.0))
        for key, rate in wanted.items()
        if key in seen
    ]


def report(device: Device) -> list[Row]:
    """A quick run of the real command: kept as report and page, and its time held against the profile's."""
    tell("a quick report")
    try:
        ran = qualify("--profile", "quick", budget_s=goals.PROFILES["quick"])
    except PeerError as error:
        return [skipped("profile.quick", "", str(error))]
    for path in samples.keep_report(ran, device.name):
        tell(f"wrote {path}")
    return rows_of("quick", ran)


def compared(
    device: Device,
    names: Sequence[str],
    *,
    rounds: int,
    within_s: float,
    now: Callable[[], float],
    run: Callable[[str, float, int], list[Row]],
) -> dict[str, list[Row]]:
    """The rows of each part, in the time that is left for it."""
    until = now() + within_s
    found: dict[str, list[Row]] = {}
    for place, name in enumerate(names):
        seconds = allotted(names[place:], until - now())
        tell(f"{name}: {seconds:.0f} s")
        found[name] = run(name, seconds, rounds)
        found[name] += fixed(device, found[name])
    return found


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """What was typed, checked."""
    parser = argparse.ArgumentParser(prog="gpu-bench", description="our figures beside the reference methods'")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join((*PARTS, REPORT))}; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--within", type=float, default=WITHIN_S, metavar="SECONDS", help="for everything")
    parser.add_argument("--search", type=float, metavar="SECONDS", help="for an exhaustive shape search instead")
    parser.add_argument("--only", action="append", choices=list(KINDS), help="precisions to search; repeatable")
    found = parser.parse_args(argv)
    unknown = set(found.parts) - {*PARTS, REPORT}
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; known are {', '.join((*PARTS, REPORT))}")
    if found.search is not None and found.parts:
        parser.error("--search looks for shapes and compares no other part")
    if found.rounds < 1 or (found.search is not None and found.search <= 0):
        parser.error("--rounds wants at least 1, --search more than 0 seconds")
    if found.only and found.search is None:
        parser.error("--only goes with --search")
    return found


def main(argv: Sequence[str]) -> int:
    """Compare, keep, print."""
    wanted = arguments(argv)
    device = first_gpu("gpu-bench")
    if device is None:
        return NO_GPU
    found: dict[str, list[Row]] = {}
    if wanted.search is not None:
        keys = wanted.only or list(KINDS)
        found[SEARCH] = run_part(SEARCH, wanted.search, wanted.rounds, keys)
        return deliver(device, found, out=sys.stdout)
    names = wanted.parts or [*PARTS, REPORT]
    with_report = REPORT in names
    within_s = wanted.within - (REPORT_S if with_report else 0.0)
    chosen = [name for name in names if name != REPORT]
    found |= compared(device, chosen, rounds=wanted.rounds, within_s=within_s, now=time.monotonic, run=run_part)
    if with_report:
        found[REPORT] = report(device)
    return deliver(device, found, out=sys.stdout)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
