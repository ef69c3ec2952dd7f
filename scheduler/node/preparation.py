"""Runs a program that an executor wants run beforehand; it ends with the task that waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys

from scheduler.node.execution import PrepareError
from scheduler.node.supervised import ENVIRONMENT, Launch

WORDS_MAX_BYTES = 8192


async def run(launch: Launch) -> None:
    """To its end.

    Raises:
        PrepareError: it failed; the last line it printed says why.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *launch.interpreter,
        str(launch.program),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**ENVIRONMENT, **launch.environment},
        start_new_session=True,
    )
    try:
        words, _ = await process.communicate(json.dumps(launch.body).encode())
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        lines = words[-WORDS_MAX_BYTES:].decode(errors="replace").strip().splitlines()
        raise PrepareError(lines[-1] if lines else f"its preparation ended with exit code {process.returncode}")
