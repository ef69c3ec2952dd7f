"""A supervisor holds a real job to its lease, keeps its output, and takes it along when it dies."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from scheduler.lease import Command
from scheduler.node import kernel
from tests.scheduler.node.jobs import LONG_NS, job, lapse, state_of, wait_gone

MIB = 1 << 20


def test_output_and_exit_code_are_kept(tmp_path: Path) -> None:
    """Both streams apart, and the program's own code."""
    with job(tmp_path, "sh", "-c", "echo out; echo err >&2; exit 3") as running:
        status = running.end()

    assert (status.state, status.exit_code, status.reason, status.frozen_ms) == ("exited", 3, "", 0)
    assert (running.out(), running.err(), running.words()) == ("out\n", "err\n", "")


@pytest.mark.parametrize(("number", "code"), [("TERM", 143), ("KILL", 137), ("SEGV", 139)])
def test_a_signal_shows_as_a_shell_shows_it(tmp_path: Path, number: str, code: int) -> None:
    """128 + its number."""
    with job(tmp_path, "sh", "-c", f"kill -{number} $$") as running:
        assert running.end().exit_code == code


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (("no-such-program",), 127, "gridmark: cannot run 'no-such-program': No such file or directory\n"),
        (("/etc/passwd",), 126, "gridmark: cannot run '/etc/passwd': Permission denied\n"),
    ],
)
def test_what_cannot_be_run_says_so_on_its_own_stderr(
    tmp_path: Path, argv: tuple[str, ...], code: int, words: str
) -> None:
    """With a shell's exit codes."""
    with job(tmp_path, *argv) as running:
        assert running.end().exit_code == code

    assert running.err() == words


def test_a_lapsed_lease_freezes_every_process_and_a_new_one_thaws_them(tmp_path: Path) -> None:
    """The child of the child too; frozen time is counted."""
    script = "sh -c 'echo child $$; while read -r line; do echo got; done < fifo' & echo parent $$; wait"
    with job(tmp_path, "sh", "-c", f"mkfifo fifo; {script}") as running:
        running.until_printed("child")
        pids = [int(word) for word in re.findall(r"[0-9]+", running.out())]
        running.supervised.command(Command.RUN)  # no change: nothing happens
        lapse(running.folder)
        running.until_state("frozen")

        assert [state_of(pid) for pid in pids] == ["T", "T"]

        running.supervised.extend(kernel.now_ns() + LONG_NS)
        running.until_state("running")

        assert not {"T"} & {state_of(pid) for pid in pids}

        running.supervised.command(Command.KILL)
        status = running.end()

    assert (status.state, status.exit_code, status.reason) == ("exited", 137, "killed: it was superseded")
    assert status.frozen_ms > 0
    assert running.said == ["running", "frozen", "running", "exited"]


def test_a_lease_that_is_not_renewed_ends_by_itself(tmp_path: Path) -> None:
    """No agent tells the supervisor anything: the deadline alone wakes it, and then the hold."""
    with job(tmp_path, "sleep", "60", lease_ns=200_000_000, hold_ms=100) as running:
        status = running.end()

    assert running.said[-2:] == ["frozen", "vanished"]
    assert (status.exit_code, status.reason) == (137, "killed after 0.1 s without contact")
    assert 100 <= status.frozen_ms < 2000


def test_a_lease_that_ended_before_the_job_began_starts_nothing(tmp_path: Path) -> None:
    """Not even for a moment: somebody else may have the job by now."""
    with job(tmp_path, "touch", "ran", lease_ns=-1) as running:
        status = running.end()

    assert (status.state, status.exit_code, status.pid) == ("vanished", None, 0)
    assert status.reason == "its lease ended before it started"
    assert not (running.folder / "work" / "ran").exists()


def test_stop_is_polite_first(tmp_path: Path) -> None:
    """The job may write down what it has."""
    with job(
        tmp_path, "sh", "-c", "trap 'echo saved; exit 5' TERM; echo ready; while :; do sleep 0.01; done"
    ) as running:
        running.until_printed("ready")
        running.supervised.command(Command.STOP)
        status = running.end()

    assert (status.state, status.exit_code, status.reason) == ("exited", 5, "stopped as asked")
    assert running.out() == "ready\nsaved\n"


@pytest.mark.parametrize("nth", range(3))
def test_stop_is_heard_at_any_moment(tmp_path: Path, nth: int) -> None:
    """Before the job began, between its fork and its program, later: the grace is never waited for."""
    with job(tmp_path, "sleep", "60", grace_ms=60_000) as running:
        if nth:
            running.until_state("starting", "running")
        if nth == 2:
            running.until_state("running")
        running.supervised.command(Command.STOP)
        status = running.end()

    assert (status.state, status.exit_code) == ("exited", 143)


def test_stop_is_forceful_when_the_grace_is_over(tmp_path: Path) -> None:
    """A job that will not hear."""
    with job(tmp_path, "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done", grace_ms=50) as running:
        running.until_printed("ready")
        running.supervised.command(Command.STOP)
        status = running.end()

    assert (status.state, status.exit_code) == ("exited", 137)


def test_a_job_that_runs_too_long_is_stopped(tmp_path: Path) -> None:
    """It is told apart from one that ended by itself."""
    with job(tmp_path, "sleep", "60", max_ms=100) as running:
        status = running.end()

    assert (status.state, status.exit_code, status.reason) == ("timeout", 143, "ran longer than its 0.1 s")


def test_what_the_job_leaves_behind_is_killed(tmp_path: Path) -> None:
    """A daemon that left the session and its parent; it cannot outlive the attempt."""
    with job(tmp_path, "sh", "-c", "setsid sh -c 'echo $$; exec sleep 60' & sleep 0.2; exit 0") as running:
        status = running.end()

    assert status.exit_code == 0
    assert wait_gone(int(running.out()))


def test_output_beyond_the_quota_is_dropped_and_said(tmp_path: Path) -> None:
    """1000 bytes and one line; the job is not held up."""
    with job(tmp_path, "sh", "-c", "yes 123456789 | head -n 100000; echo done >&2", quota_bytes=1000) as running:
        status = running.end()

    assert status.exit_code == 0
    assert running.out() == "123456789\n" * 100 + "\ngridmark: output beyond 1000 bytes is dropped\n"
    assert running.err() == "done\n"


def test_the_death_of_a_supervisor_takes_the_job_along(tmp_path: Path) -> None:
    """By the kernel, at once: nobody need notice."""
    with job(tmp_path, "sh", "-c", "echo $$; while :; do sleep 1; done") as running:
        running.until_printed("\n")
        status = running.until_state("running")
        os.kill(status.supervisor, signal.SIGKILL)

        assert wait_gone(int(running.out()))
        assert not running.supervised.is_alive()


def test_a_supervisor_that_is_told_to_end_gives_the_job_back(tmp_path: Path) -> None:
    """A shutdown of the machine is the node's loss, not the job's: it may run elsewhere."""
    with job(
        tmp_path, "sh", "-c", "trap 'echo saved; exit 0' TERM; echo ready; while :; do sleep 0.01; done"
    ) as running:
        running.until_printed("ready")
        os.kill(running.until_state("running").supervisor, signal.SIGTERM)
        status = running.end()

    assert (status.state, status.reason) == ("vanished", "its supervisor was told to end")
    assert running.out() == "ready\nsaved\n"


def test_secrets_are_in_no_file_and_no_argument_list(tmp_path: Path) -> None:
    """The job has them; nothing else shows them."""
    with job(tmp_path, "sh", "-c", "echo ${#SECRET}; exec sleep 60", env={"SECRET": "hush-4711"}) as running:
        running.until_printed("9")
        status = running.until_state("running")
        shown = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (status.supervisor, status.pid)]
        kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]

    assert len(kept) >= 4
    assert not any(b"hush-4711" in text for text in (*shown, *kept))


def test_the_environment_is_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the agent's own reaches a job, by name or by number."""
    monkeypatch.setenv("GRIDMARK_TOKEN", "ours")
    with job(tmp_path, "sh", "-c", "env; ls /proc/self/fd") as running:
        running.end()

    assert sorted(line for line in running.out().split() if not line.isdigit()) == [
        f"PATH={os.defpath}",
        f"PWD={tmp_path}/attempts/7/work",
    ]
    assert [line for line in running.out().split() if line.isdigit()] == ["0", "1", "2", "3"]  # 3: the folder it lists


def test_the_agent_may_come_back_to_a_supervisor(tmp_path: Path) -> None:
    """Found by its lock, held by its lease, without having been its parent."""
    from scheduler.node.supervised import Supervised

    with job(tmp_path, "sleep", "60") as running:
        running.until_state("running")
        another = Supervised(running.folder)

        assert another.is_alive()

        another.command(Command.STOP)
        running.end()
        assert running.supervised._process is not None
        running.supervised._process.wait()

        assert not another.is_alive()
        another.close()


@pytest.mark.real
def test_a_supervisor_is_small(tmp_path: Path) -> None:
    """At most 15 MiB resident, while its job runs."""
    with job(tmp_path, "sleep", "60") as running:
        status = running.until_state("running")
        text = Path(f"/proc/{status.supervisor}/status").read_text()

    resident = re.search(r"^VmRSS:\s+([0-9]+) kB$", text, re.MULTILINE)
    assert resident is not None
    assert int(resident[1]) * 1024 <= 15 * MIB
