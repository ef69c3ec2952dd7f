"""Child processes that misbehave in every way, run for real: small scripts instead of benchmarks."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from kernels.device import Device
from qualify import wire
from qualify.process import Outcome, run_child

DEVICE = Device(kind="cpu", index=0, name="a CPU", cpus=(0,), threads=1)
PREAMBLE = """
import os, signal, sys, time, json
pipe = os.fdopen(int(sys.argv[-1]), "wb", buffering=0)
def say(**fields): pipe.write(json.dumps(fields).encode() + b"\\n")
def started(): say(kind="started", keys=["disk.read"])
def done(): say(kind="done")
"""


def run(
    tmp_path: Path, body: str, *, kill_after_s: float = 20.0, late_start_s: float = 0.0
) -> tuple[Outcome, list[wire.Message]]:
    script = tmp_path / "child.py"
    script.write_text(PREAMBLE + textwrap.dedent(body))
    task = wire.Task(
        bench="disk", device=DEVICE, profile="quick", seconds=1, seed=1, only=("disk.read",), workdir=str(tmp_path)
    )
    messages: list[wire.Message] = []
    command = (sys.executable, "-I", "-S", str(script))
    outcome = run_child(
        task,
        messages.append,
        command=command,
        environment=os.environ,
        kill_after_s=kill_after_s,
        late_start_s=late_start_s,
    )
    return outcome, messages


def test_a_child_that_does_its_work_is_done(tmp_path: Path) -> None:
    """Its messages arrive in order; what it prints besides is nobody's figure."""
    outcome, messages = run(tmp_path, "print('hello'); started(); done()")

    assert outcome == Outcome(end="done", reason="")
    assert [message.kind for message in messages] == ["started", "done"]


@pytest.mark.parametrize(
    ("body", "end", "words"),
    [
        ("started(); os.kill(os.getpid(), signal.SIGSEGV)", "crash", "ended by SIGSEGV"),
        ("started(); os.abort()", "crash", "ended by SIGABRT"),
        ("started(); os.kill(os.getpid(), signal.SIGKILL)", "killed", "ended by SIGKILL"),
        ("started(); raise RuntimeError('no kernel image')", "crash", "RuntimeError: no kernel image"),
        ("started(); sys.exit(7)", "crash", "exit code 7"),
        ("started(); sys.exit(0)", "bad_output", "without saying that it was done"),
        ("started(); pipe.write(b'GB/s: 12\\n'); time.sleep(60)", "bad_output", "cannot be believed"),
        ("started(); pipe.write(b'x' * (5 << 20)); time.sleep(60)", "bad_output", "more than"),
        ("started(); pipe.write(b'{\"kind\":'); pipe.close()", "bad_output", "without saying that it was done"),
        ("started(); say(kind='started', keys=['disk.write']); time.sleep(60)", "bad_output", "nobody asked for"),
    ],
)
def test_every_bad_end_has_its_name_and_reason(tmp_path: Path, body: str, end: str, words: str) -> None:
    """The end is classified, the reason is a sentence, and the key it was at is named."""
    outcome, _ = run(tmp_path, body)

    assert outcome.end == end
    assert words in outcome.reason
    assert outcome.pending == ("disk.read",)


@pytest.mark.parametrize(
    "body",
    [
        "started(); time.sleep(60)",
        "started(); signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)",
        "started()\nwhile True: print('x' * 1000)",
        "started()\nwhile True: pass",
    ],
)
def test_a_hung_child_is_ended_at_its_deadline(tmp_path: Path, body: str) -> None:
    """Asleep, busy, deaf or talkative: it is gone soon after its time."""
    start = time.monotonic()

    outcome, _ = run(tmp_path, body, kill_after_s=0.5)

    assert outcome.end == "timeout"
    assert time.monotonic() - start < 5


def test_a_child_that_starts_late_gets_its_time_all_the_same(tmp_path: Path) -> None:
    """A deadline of 0.5 s, its first word after more than 0.6 s, its last 0.1 s later."""
    body = "time.sleep(0.6); started(); time.sleep(0.1); done()"

    assert run(tmp_path, body, kill_after_s=0.5)[0].end == "timeout"
    assert run(tmp_path, body, kill_after_s=0.5, late_start_s=20.0)[0] == Outcome(end="done", reason="")


@pytest.mark.parametrize("body", ["time.sleep(60)", "started(); time.sleep(60)"])
def test_a_late_start_is_no_pardon(tmp_path: Path, body: str) -> None:
    """One that never says anything is ended at 0.5 + 0.5 s; one that began at once not long after 0.5 s."""
    start = time.monotonic()

    outcome, _ = run(tmp_path, body, kill_after_s=0.5, late_start_s=0.5)

    assert outcome.end == "timeout"
    assert 0.5 <= time.monotonic() - start < 10.0


@pytest.mark.parametrize("own_session", [False, True])
def test_nothing_of_a_child_is_left(tmp_path: Path, own_session: bool) -> None:
    """Processes it started, and forgot, end with it; when it has to be ended, even those that left its session."""
    outcome, _ = run(
        tmp_path,
        f"""
        import subprocess
        sleep = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
        orphan = subprocess.Popen(sleep, start_new_session={own_session})
        open({str(tmp_path / "pid")!r}, "w").write(str(orphan.pid))
        started(); time.sleep(60 if {own_session} else 0); done()
        """,
        kill_after_s=2.0,
    )

    assert outcome.end == ("timeout" if own_session else "done")
    assert not _alive(int((tmp_path / "pid").read_text()))


def test_a_child_that_never_leaves_is_made_to(tmp_path: Path) -> None:
    """It said it was done: its figures count, and it has two seconds to go."""
    start = time.monotonic()

    outcome, _ = run(tmp_path, "started(); done(); time.sleep(60)")

    assert outcome.end == "done"
    assert time.monotonic() - start < 10


def test_an_interrupt_leaves_no_child(tmp_path: Path) -> None:
    """KeyboardInterrupt while listening: the group is killed on the way out."""
    script = tmp_path / "child.py"
    script.write_text(
        PREAMBLE + f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); started(); time.sleep(60)"
    )
    task = wire.Task(
        bench="disk", device=DEVICE, profile="quick", seconds=1, seed=1, only=("disk.read",), workdir=str(tmp_path)
    )

    def interrupt(message: wire.Message) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_child(task, interrupt, command=(sys.executable, "-S", str(script)), environment={}, kill_after_s=20)
    assert not _alive(int((tmp_path / "pid").read_text()))


def test_a_command_that_does_not_exist_is_the_callers_error(tmp_path: Path) -> None:
    """A broken installation is not a crashed benchmark."""
    task = wire.Task(bench="disk", device=DEVICE, profile="quick", seconds=1, seed=1, only=("a.b",), workdir=".")

    with pytest.raises(FileNotFoundError):
        run_child(task, print, command=(str(tmp_path / "absent"),), environment={}, kill_after_s=1)


def _alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be reaped by init does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")
