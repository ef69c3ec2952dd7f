"""Jobs under a real supervisor, for tests: started in a folder, waited for by the supervisor's own datagrams."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scheduler.lease import Command
from scheduler.node import kernel, supervisor
from scheduler.node.supervised import ENDED, Launch, Status, Supervised, Terms

#: nothing in a test takes this long; it only keeps a broken one from hanging
PATIENCE_S = 10.0
LONG_NS = 60 * 10**9


@dataclass
class Running:
    """One attempt; `until` waits for what its supervisor says."""

    supervised: Supervised
    folder: Path
    ears: socket.socket
    said: list[str] = field(default_factory=list)

    def until(self, holds: Callable[[Status], bool]) -> Status:
        """The first status that `holds`."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            status = self.supervised.status()
            if status is not None:
                if not self.said or self.said[-1] != status.state:
                    self.said.append(status.state)
                if holds(status):
                    return status
            self.ears.settimeout(max(0.01, end - time.monotonic()))
            self.ears.recv(64)
        raise AssertionError(f"after {PATIENCE_S} s it says {self.supervised.status()}: {self.words()}")

    def until_state(self, *states: str) -> Status:
        """Until it is in one of these."""
        return self.until(lambda status: status.state in states)

    def end(self) -> Status:
        """Until the job has ended."""
        return self.until(lambda status: status.state in ENDED)

    def until_printed(self, text: str) -> None:
        """Until the job's output has `text`."""
        self.until(lambda status: text in self.out())

    def out(self) -> str:
        """What it printed."""
        path = self.folder / "out.log"
        return path.read_text() if path.exists() else ""

    def err(self) -> str:
        """What it complained about."""
        return (self.folder / "err.log").read_text()

    def words(self) -> str:
        """What the supervisor itself complained about; nothing, if it is sound."""
        return (self.folder / "supervisor.log").read_text()


@contextmanager
def job(
    folder: Path,
    *argv: str,
    env: Mapping[str, str] | None = None,
    lease_ns: int = LONG_NS,
    hold_ms: int = 60_000,
    grace_ms: int = 10_000,
    max_ms: int | None = None,
    quota_bytes: int = 1 << 20,
    **body: Any,
) -> Iterator[Running]:
    """Start a command as the executor `process` would, without walls; nothing of it is left afterwards."""
    attempt = folder / "attempts" / "7"
    (attempt / "work").mkdir(parents=True)
    plan = {
        "argv": list(argv),
        "env": {"PATH": os.defpath, **(env or {})},
        "stdin": "",
        "cwd": str(attempt / "work"),
        "groups": [],
        "freezer": "",
        "limits": {},
        "wrapped": False,
        **body,
    }
    launch = Launch(program=Path(supervisor.__file__), interpreter=("-I", "-S", "-E"), body=plan, environment={})
    terms = Terms(token=7, hold_ms=hold_ms, grace_ms=grace_ms, max_ms=max_ms, quota_bytes=quota_bytes)
    supervised = Supervised(attempt)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ears:
        place = os.open(folder, os.O_PATH)
        ears.bind(f"/proc/self/fd/{place}/poke")
        os.close(place)
        supervised.start(launch, terms, deadline_ns=kernel.now_ns() + lease_ns, poke=folder / "poke")
        running = Running(supervised, attempt, ears)
        try:
            yield running
        finally:
            supervised.command(Command.KILL)
            assert supervised._process is not None
            supervised._process.wait(PATIENCE_S)
            supervised.close()


def state_of(pid: int) -> str:
    """R, S, T …; "" when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def wait_gone(pid: int) -> bool:
    """Whether the process goes within a while: a killed one may still be seen for a moment."""
    end = time.monotonic() + PATIENCE_S
    while state_of(pid) not in ("", "Z"):
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


def lapse(folder: Path) -> None:
    """End the lease of an attempt as if its time had come, and have the supervisor look."""
    with (folder / "lease").open("r+b") as file:
        file.write((1).to_bytes(8, "little"))
    Supervised(folder)._nudge()
