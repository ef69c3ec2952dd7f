"""Does a qualification see what it should, and nothing else? Whole runs of the command, clean and disturbed."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
QUOTA_PART = 0.5
SLOWER = 0.05
#: figures of the core alone: what tenants share drifts by more than 5 % on a virtual machine
SLOW_KEYS = ("memlatency.l1", "matmul.fp32_numba")
#: codes that each disturbance may rightly raise; one of them must be there
EXPECTED = {
    "quota": {"CPU_QUOTA", "CGROUP_THROTTLED"},
    "load": {"NOISY_NEIGHBOUR"},
    **{f"slower {key}": {"BELOW_HISTORY", "BELOW_REFERENCE"} for key in SLOW_KEYS},
}
#: what weighs: a clean run that raises any of it is a false alarm ...
BAD = ("warning", "failure")
#: ... but for what is true of the machine and not of the run
FACTS = {
    "CLOCK_UNSYNCED",
    "CONTAINER",
    "HUGEPAGES_OFF",
    "GOVERNOR_POWERSAVE",
    "DISK_OVERLAY",
    "DISK_TMPFS",
    "VIRTUALISED",
}
REPEATED = ("memory.triad", "memory.copy", "memory.read", "matmul.fp32", "matmul.fp64", "memlatency.dram")


@dataclass(frozen=True)
class Run:
    """One qualification."""

    kind: str
    report: dict[str, Any]

    def codes(self, severities: Sequence[str] = ("info", "warning", "failure"), *, about: str = "") -> set[str]:
        """The codes raised; of a case made slower, those that name it."""
        key = about.partition(" ")[2]
        return {
            finding["code"]
            for finding in self.report["findings"]
            if finding["severity"] in severities and (not key or finding["key"] == key)
        }

    def value(self, key: str) -> float | None:
        for measurement in self.report["measurements"]:
            if measurement["key"] == key:
                value = measurement["value"]
                return None if value is None else float(value)
        return None


@dataclass(frozen=True)
class Found:
    """All runs of a session."""

    clean: list[Run]
    disturbed: list[Run]
    controls: list[dict[str, float]]


def qualify(data: Path, *, kind: str, keep: bool, main: str = "", **popen: Any) -> Run:
    """One quick run of the real command with its history in `data`."""
    patch = main or "from gridmark import main"
    arguments = ["qualify", "--json", "--profile", "quick", "--workdir", str(data), *([] if keep else ["--no-keep"])]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.argv[1:] = {arguments!r}\n{patch}\nmain()"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "GRIDMARK_DATA": str(data)},
        check=False,
        **popen,
    )
    if not done.stdout:
        raise RuntimeError(f"the command printed nothing: {done.stderr[-500:]}")
    return Run(kind, json.loads(done.stdout))


def slower(data: Path, key: str) -> Run:
    """A run in which one case's calls last 5 % longer."""
    patch = (
        "import sys; from qualify import run; "
        f"run.CHILD = (sys.executable, '-m', 'tests.bench.slow_child', {key!r}, {str(SLOWER)!r})\n"
        "from gridmark import main"
    )
    return qualify(data, kind=f"slower {key}", keep=False, main=patch)


def loaded(data: Path) -> Run:
    """A run beside a busy loop on one core."""
    core = min(os.sched_getaffinity(0))
    with subprocess.Popen(
        [sys.executable, "-S", "-c", f"import os; os.sched_setaffinity(0, {{{core}}})\nwhile 1: pass"]
    ) as busy:
        try:
            return qualify(data, kind="load", keep=False)
        finally:
            busy.kill()


def limited(data: Path) -> Run:
    """A run in a cgroup that may use half of the CPUs."""
    cpus = len(os.sched_getaffinity(0)) * QUOTA_PART
    with quota(cpus) as enter:
        return qualify(data, kind="quota", keep=False, preexec_fn=enter)


@contextlib.contextmanager
def quota(cpus: float) -> Iterator[Callable[[], None]]:
    """A new cgroup with a quota of `cpus`; yields what moves the calling process into it. Needs root."""
    v1, v2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
    base = v1 if (v1 / "cpu.cfs_quota_us").exists() else v2
    folder = base / f"gridmark-bench-{os.getpid()}"
    folder.mkdir()
    try:
        if base == v1:
            (folder / "cpu.cfs_quota_us").write_text(str(int(cpus * 100_000)))
        else:
            (folder / "cpu.max").write_text(f"{int(cpus * 100_000)} 100000")

        def enter() -> None:
            (folder / "cgroup.procs").write_text(str(os.getpid()))

        yield enter
    finally:
        folder.rmdir()


def rounds(
    clean: int = 20,
    disturbed: int = 5,
    *,
    tell: Callable[[str], None],
    control: Callable[[], dict[str, float]],
) -> Found:
    """`clean` quiet runs, which make the history, then `disturbed` of each disturbance, in turn.

    Args:
        control: figures of another program, taken before each clean run: the noise of the machine itself.
    """
    with tempfile.TemporaryDirectory(dir=ROOT / ".venv") as folder:
        data = Path(folder)
        quiet: list[Run] = []
        controls: list[dict[str, float]] = []
        for number in range(clean):
            controls.append(control())
            quiet.append(qualify(data, kind="clean", keep=True))
            tell(f"clean {number + 1}/{clean}: {sorted(quiet[-1].codes(BAD)) or 'nothing'}")
        acts: list[Callable[[Path], Run]] = [limited, loaded, *(partial(slower, key=key) for key in SLOW_KEYS)]
        others: list[Run] = []
        for number in range(disturbed):
            for act in acts:
                others.append(act(data))
                tell(f"{others[-1].kind} {number + 1}/{disturbed}: {sorted(others[-1].codes())}")
    return Found(clean=quiet, disturbed=others, controls=controls)


def repeatability(found: Found) -> dict[str, Any]:
    """Coefficient of variation of the medians over the clean runs, ours and the control's."""
    ours = {key: _variation([run.value(key) for run in found.clean]) for key in REPEATED}
    theirs = {key: _variation([control.get(key) for control in found.controls]) for key in found.controls[0]}
    return {"runs": len(found.clean), "ours": ours, "control": theirs}


def _variation(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return None
    return statistics.stdev(known) / statistics.mean(known)


def summary(found: Found) -> dict[str, Any]:
    """How often each disturbance was seen by its code, and what the clean runs raised."""
    raised = [sorted(run.codes(BAD) - FACTS) for run in found.clean]
    rows: dict[str, Any] = {
        "clean": {"runs": len(raised), "with_a_finding": sum(bool(codes) for codes in raised), "codes": raised}
    }
    for kind, codes in EXPECTED.items():
        runs = [run for run in found.disturbed if run.kind == kind]
        rows[kind] = {"runs": len(runs), "seen": sum(bool(run.codes(about=kind) & codes) for run in runs)}
    return rows
