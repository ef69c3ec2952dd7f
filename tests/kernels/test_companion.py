"""Helpers: nothing they start outlives the benchmark, and their words are kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kernels import companion
from tests.kernels.processes import descendants, gone, wait_for

PEER = "import time; from kernels import companion\nwith companion.run('kernels.peer', '0') as h:\n    time.sleep(60)\n"


def test_leaving_the_block_ends_the_helper() -> None:
    """The far end of a run, which would serve for ever, is gone when the block is left."""
    with companion.run("kernels.peer", "0") as running:
        wait_for(running.output)
        pid = running.process.pid

    assert gone([pid], within_s=0.5) == []


def test_an_exception_in_the_block_ends_the_helper() -> None:
    """A benchmark that fails leaves no companion behind."""
    with pytest.raises(KeyboardInterrupt), companion.run("kernels.peer", "0") as running:  # noqa: PT012
        pid = running.process.pid
        raise KeyboardInterrupt

    assert gone([pid], within_s=0.5) == []


def test_a_killed_benchmark_takes_its_helpers_along() -> None:
    """SIGKILL of the process that started a companion ends the companion too."""
    with subprocess.Popen([sys.executable, "-c", PEER], cwd=companion.ROOT) as benchmark:
        below = wait_for(lambda: descendants(benchmark.pid))
        wait_for(lambda: Path(f"/proc/{below[0]}/cmdline").read_bytes().find(b"kernels.peer") >= 0)
        os.kill(benchmark.pid, signal.SIGKILL)

    assert gone(below) == []


def test_a_helper_whose_parent_is_gone_already_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between fork and the first line of the companion its parent may die; then nobody would end it."""
    monkeypatch.setenv(companion.PARENT, "1")
    monkeypatch.setattr(companion, "die_with_parent", lambda: None)

    with pytest.raises(SystemExit, match="is gone"):
        companion.begin()


def test_last_words_are_the_last_line_of_stderr() -> None:
    """A companion that fails is quoted, not guessed about."""
    with companion.run("kernels.no_such_module") as running:
        running.process.wait()

        assert "No module named kernels.no_such_module" in running.last_words()


def test_output_larger_than_a_pipe_stops_nobody() -> None:
    """More than 64 KiB on stdout is kept without anybody reading meanwhile."""
    with companion.run("timeit", "-n1", "-r1", "print('x' * 200_000)") as running:
        assert running.process.wait(10) == 0

        assert running.output().startswith(b"x" * 200_000)
