"""One transcript judged in a process of its own, which may take so much memory and time and no more.

The verdict depends on the transcript alone, so whatever goes wrong here is ours: `could_not_run`, which costs nobody
anything. A transcript that is malformed, or that asks for more than a verifier has, cannot harm the server.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kernels.conditions import die_with_parent
from qualify.proof import strict, verdict
from qualify.proof.strict import ProtocolError
from qualify.proof.transcript import MOST_BYTES
from qualify.proof.verdict import Verdict, sentence

ROOT = Path(__file__).resolve().parents[2]
#: what a process needs to find itself and its libraries; nothing else of ours is its business
INHERITED = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "SYSTEMROOT", "TMPDIR")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMEXPR_NUM_THREADS": "1"}
EXIT_MEMORY = 12
_COMMAND = (sys.executable, "-P", "-m", "qualify.proof.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one verdict may cost: a hundred times a light check of one H100, since a node may have 64."""

    memory_bytes: int = 3 << 30  #: address space, the interpreter's own 0.4 GB included
    cpu_s: int = 300
    wall_s: float = 600.0


def run_worker(
    transcript: bytes, limits: Limits | None = None, *, environment: Mapping[str, str] | None = None
) -> Verdict:
    """The verdict on a transcript's text, reached under limits; blocks until it is there.

    Args:
        environment: to pick from what a process needs; None = this one's.
    """
    limits = limits or Limits()
    arguments = [str(limits.memory_bytes), str(limits.cpu_s)]
    try:
        done = subprocess.run(
            [*_COMMAND, *arguments],
            input=transcript,
            capture_output=True,
            timeout=limits.wall_s,
            env=_environment(os.environ if environment is None else environment),
        )
    except subprocess.TimeoutExpired:
        return could_not_run(f"no verdict within {limits.wall_s:g} s")
    except OSError as error:
        return could_not_run(f"no process could be started: {error}")
    if done.returncode:
        return could_not_run(_ending(done.returncode, done.stderr, limits))
    try:
        return verdict.from_json(strict.parse(done.stdout, most_bytes=verdict.MOST_BYTES))
    except ProtocolError as error:
        return could_not_run(f"the worker's answer is no verdict: {error}")


def could_not_run(why: str) -> Verdict:
    """The verdict that nothing is known, and that it is not the node's fault."""
    return Verdict(outcome="could_not_run", why=sentence(why))


def main(argv: list[str]) -> int:
    """Judge the transcript on stdin, write the verdict to stdout; `argv`: bytes of memory, seconds of CPU."""
    die_with_parent()
    _limit(memory_bytes=int(argv[0]), cpu_s=int(argv[1]))
    try:
        from qualify.proof.verify import verify_bytes  # under the limits: numpy's own memory counts as well

        found = verify_bytes(sys.stdin.buffer.read(MOST_BYTES + 1))
        text = strict.canonical(verdict.to_json(found))
    except MemoryError:
        return EXIT_MEMORY
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
    return 0


def _limit(*, memory_bytes: int, cpu_s: int) -> None:
    import resource

    for what, soft, hard in (
        (resource.RLIMIT_AS, memory_bytes, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s, cpu_s + 1),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_FSIZE, 0, 0),
    ):
        given = resource.getrlimit(what)[1]
        most = hard if given == resource.RLIM_INFINITY else min(hard, given)
        resource.setrlimit(what, (min(soft, most), most))


def _ending(code: int, stderr: bytes, limits: Limits) -> str:
    if code == EXIT_MEMORY:
        return f"the verdict needs more than {limits.memory_bytes} bytes of memory"
    last = stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    how = signal.Signals(-code).name if code < 0 else f"exit {code}"
    return f"the worker ended with {how} under {limits.cpu_s} CPU-s and {limits.memory_bytes} bytes; {last or 'silent'}"


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    picked = {name: environment[name] for name in INHERITED if name in environment}
    path = os.pathsep.join(filter(None, (str(ROOT), picked.get("PYTHONPATH"))))
    return {**picked, **ONE_THREAD, "PYTHONPATH": path}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
