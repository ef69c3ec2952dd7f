"""The supervisor of one attempt: starts the job, holds it to its lease, keeps its output and says how it ended.

A process of its own, in the attempt's folder, that needs neither the agent nor the network: it reads the deadline from
the lease file, which the agent maps too, and sleeps until then. It gets its orders once, on stdin, so that secrets are
in no file and no argument list. When it is killed the job dies with it.

Run by its path with `python -I -S -E`; nothing but the standard library's smallest modules is imported.

Files in the folder: lease (see scheduler/lease.py; locked while a supervisor lives), status.json, out.log, err.log,
ctl.sock (a datagram there makes it look at the lease).
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import select
import signal
import socket
import sys

if __name__ == "__main__":  # run by path and isolated: our packages come last, after the standard library
    sys.path.append(__file__.rpartition("/scheduler/")[0])

from scheduler import lease
from scheduler.node import kernel
from scheduler.node.jobprocess import JobProcess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol

    class Body(Protocol):
        """What is supervised: a process here, a container elsewhere."""

        out: int  #: where its stdout can be read, without blocking
        err: int

        @property
        def pid(self) -> int: ...
        def start(self, may_run: Callable[[], bool]) -> bool: ...
        def exit_code(self) -> int | None: ...
        def freeze(self) -> None: ...
        def thaw(self) -> None: ...
        def terminate(self) -> bool: ...
        def kill(self) -> None: ...
        def sweep(self) -> str: ...


MS = 1_000_000  #: in ns
CHUNK_BYTES = 1 << 16
CHUNKS_AT_ONCE = 16  #: then the lease is looked at again: a job may print faster than we read
#: the agent is told of new output at most this often, and of the first at once
POKE_EVERY_NS = 25 * MS
#: a job that could not be asked to end yet is asked again
ASK_AGAIN_NS = 5 * MS
STOPPED = 143  #: as if SIGTERM had ended it
#: output still in the pipes when the job's last process is gone is read for this long at most
DRAIN_CHUNKS = 1024


class Log:
    """A stream's file, bounded; what comes after the bound is dropped, and one line says so."""

    def __init__(self, path: str, quota_bytes: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._left = quota_bytes
        self._quota = quota_bytes

    def add(self, data: bytes) -> None:
        """Keep as much of `data` as there is room for; a full disk is treated as a full quota."""
        if self._left < 0:
            return
        kept = data[: self._left]
        self._left -= len(kept)
        notice = b"" if len(kept) == len(data) else b"\ngridmark: output beyond %d bytes is dropped\n" % self._quota
        try:
            os.write(self._file, kept + notice)
        except OSError:
            notice = b"full"
        if notice:
            self._left = -1


class Supervisor:
    """Follows the lease of one attempt until its job has ended."""

    def __init__(self, orders: Mapping[str, Any], body: Body, lease_file: mmap.mmap, wake: int) -> None:
        """`orders`: token, hold_ms, grace_ms, max_ms (or None), quota_bytes, poke (the agent's socket).

        `wake` is readable when a signal came or something else asked to be looked at.
        """
        self._orders, self._body, self._lease, self._wake = orders, body, lease_file, wake
        self._state = "starting"
        self._reason = ""
        self._end = "exited"  #: the state to end in
        self._started_ns = 0
        self._frozen_since_ns: int | None = None
        self._frozen_ns = 0
        self._stop_since_ns: int | None = None
        self._terminated = False
        self._told_to_end = False
        self._poked_ns = 0
        self._unsaid = False  #: output that the agent was not told of
        self._alarm = kernel.Alarm()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._logs: dict[int, Log] = {}

    def run(self) -> None:
        """Start the job and stay until it has ended."""
        self._socket.bind("ctl.sock")
        self._say()
        if not self._body.start(self._may_run):
            self._body.sweep()
            self._never_started()
            return
        self._started_ns = kernel.now_ns()
        for descriptor, name in ((self._body.out, "out.log"), (self._body.err, "err.log")):
            os.set_blocking(descriptor, False)
            self._logs[descriptor] = Log(name, self._orders["quota_bytes"])
        self._become("running")
        poll = select.poll()
        for descriptor in (self._wake, self._alarm.descriptor, self._socket.fileno(), *self._logs):
            poll.register(descriptor, select.POLLIN)
        while (code := self._body.exit_code()) is None:
            now_ns = kernel.now_ns()
            self._follow(now_ns)
            self._alarm.set(self._next_ns(now_ns))
            for descriptor, _ in poll.poll():
                if not self._take(descriptor):
                    poll.unregister(descriptor)
        self._finish(code)

    def end_politely(self) -> None:
        """Somebody ended this supervisor, a shutdown of the machine for one: the job is the node's loss."""
        self._told_to_end = True

    def _may_run(self) -> bool:
        """Asked by the body at the last moment before the job runs: making a container ready may take long."""
        deadline_ns, command = lease.unpack(self._lease[: lease.LEASE_BYTES])
        return lease.decide(kernel.now_ns(), deadline_ns, command, None, 0) is lease.Action.RUN

    def _never_started(self) -> None:
        if lease.unpack(self._lease[: lease.LEASE_BYTES])[1] is lease.Command.RUN:
            self._reason = "its lease ended before it started"
            self._become("vanished")
        else:
            self._reason = "stopped before it started"
            self._become("exited", STOPPED)

    def _follow(self, now_ns: int) -> None:
        """Do what the lease says."""
        deadline_ns, command = lease.unpack(self._lease[: lease.LEASE_BYTES])
        self._decide_to_stop(now_ns, command)
        if self._stop_since_ns is not None and command is lease.Command.RUN:
            command = lease.Command.STOP
        hold_ns = self._orders["hold_ms"] * MS
        action = lease.decide(now_ns, deadline_ns, command, self._frozen_since_ns, hold_ns)
        if action is lease.Action.KILL:
            self._kill(command)
        elif action is lease.Action.FREEZE:
            self._freeze(now_ns)
        else:
            self._thaw(now_ns)
            if action is lease.Action.STOP:
                self._stop(now_ns)

    def _decide_to_stop(self, now_ns: int, command: lease.Command) -> None:
        if self._stop_since_ns is not None:
            return
        over_at_ns = self._over_at_ns()
        if command is lease.Command.STOP:
            self._reason = "stopped as asked"
        elif self._told_to_end:
            self._end, self._reason = "vanished", "its supervisor was told to end"
        elif self._frozen_since_ns is None and over_at_ns is not None and now_ns >= over_at_ns:
            self._end, self._reason = "timeout", f"ran longer than its {self._orders['max_ms'] / 1000:g} s"
        else:
            return
        self._stop_since_ns = now_ns

    def _over_at_ns(self) -> int | None:
        """When its time is up, if it is not frozen again before."""
        max_ms = self._orders["max_ms"]
        return None if max_ms is None else int(self._started_ns + self._frozen_ns + max_ms * MS)

    def _stop(self, now_ns: int) -> None:
        assert self._stop_since_ns is not None  # noqa: S101 - for the type checker: STOP follows _decide_to_stop
        if now_ns >= self._stop_since_ns + self._orders["grace_ms"] * MS:
            self._body.kill()
        elif not self._terminated:
            if self._state != "stopping":
                self._become("stopping")
            self._terminated = self._body.terminate()

    def _kill(self, command: lease.Command) -> None:
        if command is lease.Command.KILL:
            self._end, self._reason = "exited", "killed: it was superseded"
        elif command is lease.Command.STOP:
            self._reason = f"{self._reason}; killed, because its lease ended"
        else:
            self._end, self._reason = "vanished", f"killed after {self._orders['hold_ms'] / 1000:g} s without contact"
        self._body.kill()

    def _freeze(self, now_ns: int) -> None:
        if self._frozen_since_ns is None:
            self._body.freeze()
            self._frozen_since_ns = now_ns
            self._become("frozen")

    def _thaw(self, now_ns: int) -> None:
        if self._frozen_since_ns is not None:
            self._frozen_ns += now_ns - self._frozen_since_ns
            self._frozen_since_ns = None
            self._body.thaw()
            self._become("running" if self._stop_since_ns is None else "stopping")

    def _next_ns(self, now_ns: int) -> int:
        """When something is to be done if nothing happens before."""
        times: list[int]
        deadline_ns = lease.unpack(self._lease[: lease.LEASE_BYTES])[0]
        if self._frozen_since_ns is not None:
            times = [self._frozen_since_ns + self._orders["hold_ms"] * MS]
            if deadline_ns > now_ns:  # it was moved while we looked
                times.append(now_ns)
        else:
            times = [deadline_ns]
            if self._stop_since_ns is not None:
                times.append(self._stop_since_ns + self._orders["grace_ms"] * MS)
                if not self._terminated:
                    times.append(now_ns + ASK_AGAIN_NS)
            elif (over_at_ns := self._over_at_ns()) is not None:
                times.append(over_at_ns)
        if self._unsaid:
            times.append(self._poked_ns + POKE_EVERY_NS)
        # what was to be done and did not work at once (a kill) is tried again, not in a busy loop
        return max(min(times), now_ns + MS)

    def _take(self, descriptor: int) -> bool:
        """Handle what made `descriptor` readable; False when nothing will come from it any more."""
        if descriptor in self._logs:
            return self._pump(descriptor, CHUNKS_AT_ONCE)
        with contextlib.suppress(BlockingIOError):
            os.read(descriptor, 4096)
        if self._unsaid and kernel.now_ns() >= self._poked_ns + POKE_EVERY_NS:
            self._poke()
        return True

    def _pump(self, descriptor: int, chunks: int) -> bool:
        for _ in range(chunks):
            try:
                data = os.read(descriptor, CHUNK_BYTES)
            except BlockingIOError:
                break
            if not data:
                return False
            self._logs[descriptor].add(data)
            self._unsaid = True
        if self._unsaid and kernel.now_ns() >= self._poked_ns + POKE_EVERY_NS:
            self._poke()
        return True

    def _finish(self, code: int) -> None:
        if self._frozen_since_ns is not None:
            self._frozen_ns += kernel.now_ns() - self._frozen_since_ns
            self._frozen_since_ns = None
        note = self._body.sweep()
        for descriptor in self._logs:
            self._pump(descriptor, DRAIN_CHUNKS)
        self._reason = "; ".join(filter(None, (self._reason, note)))
        self._become(self._end, code)

    def _become(self, state: str, code: int | None = None) -> None:
        self._state = state
        self._say(code)
        self._poke()

    def _say(self, code: int | None = None) -> None:
        """Write status.json so that a reader sees the old one or the new one."""
        status = {
            "state": self._state,
            "supervisor": os.getpid(),
            "pid": self._body.pid,
            "exit_code": code,
            "reason": self._reason,
            "frozen_ms": self._frozen_ns // MS,
        }
        with contextlib.suppress(OSError):  # a full disk: the agent will find no exit code and say so
            descriptor = os.open("status.part", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, json.dumps(status).encode())
            finally:
                os.close(descriptor)
            os.replace("status.part", "status.json")  # noqa: PTH105 - pathlib is large

    def _poke(self) -> None:
        """Tell the agent to look; one that is not there looks when it is back."""
        self._poked_ns, self._unsaid = kernel.now_ns(), False
        with contextlib.suppress(OSError):
            self._socket.sendto(str(self._orders["token"]).encode(), self._orders["poke"])


def supervise(lease_descriptor: int, make_body: Callable[[Mapping[str, Any], Callable[[], None]], Body]) -> None:
    """Read the orders, and supervise until the job has ended.

    Args:
        lease_descriptor: the lease file, open and locked: the lock is held as long as this process lives.
        make_body: from orders["body"] and a function that wakes the supervisor, which any thread may call.
    """
    os.set_inheritable(lease_descriptor, False)
    lease_file = mmap.mmap(lease_descriptor, lease.LEASE_BYTES, access=mmap.ACCESS_READ)
    with open(0, "rb") as stdin:
        orders = json.loads(stdin.read())
    os.open(os.devnull, os.O_RDONLY)  # becomes 0 again
    wake_read, wake_write = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)

    def wake() -> None:
        with contextlib.suppress(BlockingIOError):
            wake_write.send(b"\0")

    body = make_body(orders.pop("body"), wake)
    supervisor = Supervisor(orders, body, lease_file, wake_read.fileno())
    signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: supervisor.end_politely())
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    supervisor.run()


if __name__ == "__main__":
    supervise(int(sys.argv[1]), lambda plan, _: JobProcess(plan))
