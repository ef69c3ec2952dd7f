"""A helper process of a benchmark: a rank, a far end, a tester. It never outlives the benchmark that started it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

#: the folder that holds `kernels`, whatever the working directory and however it was installed
ROOT = Path(__file__).resolve().parent.parent
WORDS_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Helper:
    """A running helper; its output is kept in unnamed files, so that no pipe can fill and stop it."""

    process: subprocess.Popen[bytes]
    _output: IO[bytes]
    _words: IO[bytes]

    def output(self) -> bytes:
        """What it has written on stdout so far."""
        return os.pread(self._output.fileno(), os.fstat(self._output.fileno()).st_size, 0)

    def last_words(self) -> str:
        """The last line it wrote on stderr, or how it ended, for an error message."""
        size = os.fstat(self._words.fileno()).st_size
        text = os.pread(self._words.fileno(), WORDS_BYTES, max(0, size - WORDS_BYTES)).decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1][:300] if lines else f"exit code {self.process.poll()}"


@contextlib.contextmanager
def run(
    module: str, *arguments: str, pass_fds: tuple[int, ...] = (), environment: Mapping[str, str] | None = None
) -> Iterator[Helper]:
    """Run `python -m module arguments`; killed, with all that it started, when the block is left.

    A module run this way calls `kernels.conditions.die_with_parent` first: a killed benchmark leaves none behind.

    Args:
        pass_fds: descriptors the helper inherits under the same numbers.
        environment: variables to set beside ours.
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {**os.environ, **(environment or {}), "PYTHONPATH": os.pathsep.join(paths)}
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=words,
            pass_fds=pass_fds,
            env=variables,
        )
        try:
            yield Helper(process, output, words)
        finally:
            process.kill()
            process.wait()
