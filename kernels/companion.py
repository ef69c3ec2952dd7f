"""A companion process of a benchmark: a rank, a far end, a tester. It never outlives the benchmark that started it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kernels.conditions import die_with_parent

#: the folder that holds `kernels`, whatever the working directory and however it was installed
ROOT = Path(__file__).resolve().parent.parent
#: tells a companion whose it is: its parent may have ended before it could look
PARENT = "GRIDMARK_HELPER_OF"
WORDS_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Companion:
    """A running companion; what it says is kept in memory files, so that no pipe can fill and stop it."""

    process: subprocess.Popen[bytes]
    _output: int
    _words: int

    def output(self) -> bytes:
        """What it has written on stdout so far."""
        return os.pread(self._output, os.fstat(self._output).st_size, 0)

    def last_words(self) -> str:
        """The last line it wrote on stderr, or how it ended, for an error message."""
        size = os.fstat(self._words).st_size
        text = os.pread(self._words, WORDS_BYTES, max(0, size - WORDS_BYTES)).decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1][:300] if lines else f"exit code {self.process.poll()}"


@contextlib.contextmanager
def run(
    module: str, *arguments: str, pass_fds: tuple[int, ...] = (), environment: Mapping[str, str] | None = None
) -> Iterator[Companion]:
    """Run `python -m module arguments`; killed, with all that it started, when the block is left.

    A module run this way calls `begin` first: then a killed benchmark leaves no companion behind.

    Args:
        pass_fds: descriptors the companion inherits under the same numbers.
        environment: variables to set beside ours.
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {**os.environ, **(environment or {}), "PYTHONPATH": os.pathsep.join(paths), PARENT: str(os.getpid())}
    with _memory_file() as output, _memory_file() as words:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=words,
            pass_fds=pass_fds,
            env=variables,
        )
        try:
            yield Companion(process, output, words)
        finally:
            process.kill()
            process.wait()


def begin() -> None:
    """Tie this companion's life to the process that started it; ends at once where that is gone already."""
    die_with_parent()
    if os.getppid() != int(os.environ.get(PARENT, os.getppid())):
        raise SystemExit("the process that started this companion is gone")


@contextlib.contextmanager
def _memory_file() -> Iterator[int]:
    descriptor = os.memfd_create("gridmark-companion")
    try:
        yield descriptor
    finally:
        os.close(descriptor)
