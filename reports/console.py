"""The console that tables and reports are printed on."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import NoReturn

from rich.console import Console


class _Console(Console):
    """A console that leaves a lost reader to the command; rich would end the process with exit code 1."""

    def on_broken_pipe(self) -> NoReturn:
        """Raise what rich caught."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def stdout_console(*, width: int | None = None) -> Console:
    """For stdout; a letter that its encoding lacks becomes "?".

    Args:
        width: of a line, in letters; None = the terminal's.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return _Console(highlight=False, width=width)
