"""Measures this node when the server asks: a child of the lowest priority, out of the way the moment work arrives."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

#: what a run may take that hangs for good; the longest profile ends well before
RUN_S = 1500.0
#: how long a run may take to write down what it has, after which it is killed: work is waiting
STOP_S = 1.0
NICE = 19
WORDS_MAX_CHARS = 300


class QualificationError(Exception):
    """There is no report; one sentence."""


def command(data: Path) -> list[str]:
    """What measures this node, on the disk its jobs will use; the report is kept for later comparison."""
    front_door = Path(__file__).resolve().parents[2] / "gridmark.py"
    return [sys.executable, str(front_door), "qualify", "--json", "--workdir", str(data)]


async def measure(argv: list[str], environment: Mapping[str, str]) -> bytes:
    """Run it to its end and return the report as gzipped JSON. Cancelled, it is gone within 2 s.

    Raises:
        QualificationError: it brought none.
    """
    # files, not pipes: whatever of the run is killed, nothing is left open
    with tempfile.TemporaryFile() as report, tempfile.TemporaryFile() as words:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=report,
            stderr=words,
            env=dict(environment),
            start_new_session=True,
        )
        try:
            lower(process.pid)
            async with asyncio.timeout(RUN_S):
                await process.wait()
        except TimeoutError:
            raise QualificationError(f"the measurement did not end within {RUN_S:.0f} s") from None
        finally:
            if process.returncode is None:
                await end(process)
        if not report.seek(0, os.SEEK_END):
            words.seek(0)
            said = words.read().decode(errors="replace").strip().splitlines()
            why = said[-1][-WORDS_MAX_CHARS:] if said else f"exit code {process.returncode}"
            raise QualificationError(f"the measurement brought no report: {why}")
        report.seek(0)
        return await asyncio.to_thread(lambda: gzip.compress(report.read(), 6))


def lower(pid: int) -> None:
    """Only what nobody else wants of CPU and disk."""
    import psutil  # here, because an agent that is never asked has no use for it

    with contextlib.suppress(OSError, psutil.Error):
        os.setpriority(os.PRIO_PROCESS, pid, NICE)
        psutil.Process(pid).ionice(psutil.IOPRIO_CLASS_IDLE)


async def end(process: asyncio.subprocess.Process) -> None:
    """See a child and all that it began gone, politely for STOP_S."""
    import psutil

    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_S):
            await process.wait()
    try:
        # benchmarks run in sessions of their own; asked for before the kill, after it they are nobody's children
        rest = psutil.Process(process.pid).children(recursive=True) if process.returncode is None else []
    except psutil.Error:
        rest = []
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for one in rest:
        with contextlib.suppress(psutil.Error):
            one.kill()
    await process.wait()
