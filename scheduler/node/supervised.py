"""The agent's hold on one supervisor: starts it or finds it again, moves its lease, reads what it says."""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from scheduler import lease

SupervisorState = Literal["starting", "running", "frozen", "stopping", "exited", "timeout", "vanished"]
ENDED: frozenset[SupervisorState] = frozenset({"exited", "timeout", "vanished"})
#: of the supervisor itself; the job's own environment comes with its orders
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a supervisor last said."""

    state: SupervisorState
    supervisor: int  #: its process
    pid: int  #: of the job's first process; 0 = none, or not known
    exit_code: int | None
    reason: str
    frozen_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a supervisor is started. It may hold secrets: it goes through a pipe and is never printed or kept."""

    program: Path  #: the supervisor's file
    interpreter: tuple[str, ...]  #: options of Python
    body: Mapping[str, Any]  #: what the program needs to know of the job
    environment: Mapping[str, str]  #: added to the supervisor's own

    def __repr__(self) -> str:
        return f"Launch(program={self.program.name!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for the attempt whatever runs it; times in ms."""

    token: int
    hold_ms: int
    grace_ms: int
    max_ms: int | None
    quota_bytes: int  #: of output, per stream


class Supervised:
    """One supervisor, running or gone, in the folder of its attempt."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._map: mmap.mmap | None = None

    def start(self, launch: Launch, terms: Terms, *, deadline_ns: int, poke: Path) -> None:
        """Start the supervisor, and with it the job, under a lease until `deadline_ns`.

        Raises:
            OSError: the folder cannot be written, or no process can be started.
        """
        (self.folder / "lease").write_bytes(lease.pack(deadline_ns, lease.Command.RUN))
        orders = {
            "token": terms.token,
            "hold_ms": terms.hold_ms,
            "grace_ms": terms.grace_ms,
            "max_ms": terms.max_ms,
            "quota_bytes": terms.quota_bytes,
            "poke": os.path.relpath(poke, self.folder),  # a socket's name has 107 bytes; the supervisor sits here
            "body": launch.body,
        }
        with (self.folder / "lease").open("r+b") as file, (self.folder / "supervisor.log").open("ab") as words:
            # the lock belongs to the open file, which the supervisor inherits: at no moment is it free
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._process = subprocess.Popen(
                [sys.executable, *launch.interpreter, str(launch.program), str(file.fileno())],
                stdin=subprocess.PIPE,
                stdout=words,
                stderr=words,
                cwd=self.folder,
                env={**ENVIRONMENT, **launch.environment},
                pass_fds=(file.fileno(),),
                start_new_session=True,
            )
        assert self._process.stdin is not None  # noqa: S101 - for the type checker: opened with PIPE
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:  # one that is gone is noticed by that
            stdin.write(json.dumps(orders).encode())

    def extend(self, deadline_ns: int) -> None:
        """Move the lease forward, never back; one that was frozen goes on."""
        held_ns, command = lease.unpack(self._mapped()[: lease.LEASE_BYTES])
        if deadline_ns > held_ns:
            lease.write(memoryview(self._mapped()), deadline_ns, command)
            status = self.status()
            if status is None or status.state == "frozen":
                self._nudge()

    def deadline_ns(self) -> int:
        """When its lease ends, as it stands in the file."""
        return lease.unpack(self._mapped()[: lease.LEASE_BYTES])[0]

    def command(self, command: lease.Command) -> None:
        """Stop or kill the job; neither is ever taken back."""
        deadline_ns, before = lease.unpack(self._mapped()[: lease.LEASE_BYTES])
        if command > before:
            lease.write(memoryview(self._mapped()), deadline_ns, command)
            self._nudge()

    def status(self) -> Status | None:
        """What it last said; None before it said anything, or when that cannot be read."""
        try:
            said = json.loads((self.folder / "status.json").read_bytes())
            status = Status(**said)
        except (OSError, ValueError, TypeError):
            return None
        return status if status.state in get_args(SupervisorState) else None

    def is_alive(self) -> bool:
        """Whether the supervisor lives; a process number alone would not tell, it may be another's by now."""
        if self._process is not None:
            return self._process.poll() is None
        try:
            with (self.folder / "lease").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def is_stopped(self) -> bool:
        """Whether somebody has stopped it, so that it follows nothing any more."""
        pid = self._pid()
        if pid is None or not self.is_alive():
            return False
        try:
            # a program's name is in parentheses and may hold anything, spaces and parentheses too
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("T", "t")
        except (OSError, IndexError):
            return False

    def watch(self) -> int | None:
        """A descriptor that becomes readable when the supervisor ends; None where the kernel has none (before 5.3)."""
        pid = self._pid()
        if pid is None:
            return None
        try:
            return os.pidfd_open(pid)
        except (OSError, AttributeError):
            return None

    def end(self) -> None:
        """Kill the supervisor itself, and so its job; for one that does not answer."""
        if self.is_alive() and (pid := self._pid()) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """Let go of the lease file; the supervisor goes on."""
        if self._map is not None:
            self._map.close()
            self._map = None
        if self._process is not None and self._process.poll() is None:
            self._process.returncode = 0  # or Popen would complain that nobody waits for it any more

    def _pid(self) -> int | None:
        if self._process is not None:
            return self._process.pid
        status = self.status()
        return status.supervisor if status else None

    def _mapped(self) -> mmap.mmap:
        if self._map is None:
            with (self.folder / "lease").open("r+b") as file:
                self._map = mmap.mmap(file.fileno(), lease.LEASE_BYTES)
        return self._map

    def _nudge(self) -> None:
        """Make it look at the lease now."""
        folder = os.open(self.folder, os.O_PATH | os.O_DIRECTORY)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(OSError):
                sender.setblocking(False)
                sender.sendto(b"look", f"/proc/self/fd/{folder}/ctl.sock")
        finally:
            os.close(folder)
