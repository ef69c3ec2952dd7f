"""Runs a program that an executor wants run beforehand; it ends with the task that waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile

from scheduler.node.execution import PrepareError
from scheduler.node.supervised import ENVIRONMENT, Launch

WORDS_MAX_BYTES = 8192


async def run(launch: Launch) -> None:
    """To its end.

    Raises:
        PrepareError: it failed; the last line it printed says why.
    """
    # files, not pipes: whatever of it is killed, nothing is left open
    with tempfile.TemporaryFile() as orders, tempfile.TemporaryFile() as words:
        orders.write(json.dumps(launch.body).encode())
        orders.seek(0)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *launch.interpreter,
            str(launch.program),
            stdin=orders,
            stdout=words,
            stderr=words,
            env={**ENVIRONMENT, **launch.environment},
            start_new_session=True,
        )
        try:
            await process.wait()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode:
            words.seek(max(0, words.seek(0, os.SEEK_END) - WORDS_MAX_BYTES))
            lines = words.read().decode(errors="replace").strip().splitlines()
            raise PrepareError(lines[-1] if lines else f"its preparation ended with exit code {process.returncode}")
