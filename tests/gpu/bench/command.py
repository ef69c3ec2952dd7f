"""`gridmark qualify` run as a supplier runs it, its report and the wall time of the whole process."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass

from qualify import codec
from qualify.records import Report
from tests.gpu.bench.ground import ROOT
from tests.gpu.bench.rows import PeerError

#: beyond its budget, before a run counts as hung
GRACE_S = 60.0


@dataclass(frozen=True, slots=True)
class Ran:
    """One run: what it printed, and how long it took from the shell's side."""

    report: Report
    text: str
    wall_s: float


def qualify(*arguments: str, budget_s: float, program: tuple[str, ...] = ("-m", "gridmark")) -> Ran:
    """Run the command on the GPU; nothing is kept, so that no run is judged against another.

    Raises:
        PeerError: it printed no report.
    """
    words = [sys.executable, *program, "qualify", "--device", "cuda", "--json", "--no-keep", *arguments]
    start = time.monotonic()
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, cwd=ROOT, timeout=2 * budget_s + GRACE_S
        )
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"gridmark qualify did not end within {2 * budget_s + GRACE_S:.0f} s") from error
    wall_s = time.monotonic() - start
    try:
        return Ran(codec.loads(done.stdout), done.stdout, wall_s)
    except codec.RecordError as error:
        lines = done.stderr.strip().splitlines()
        said = lines[-1] if lines else f"exit code {done.returncode}"
        raise PeerError(f"gridmark qualify printed no report ({said})") from error
