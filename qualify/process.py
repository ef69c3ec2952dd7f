"""One child process: started in a group of its own, listened to, and ended by its deadline whatever it does."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qualify import wire

if TYPE_CHECKING:
    import psutil

End = Literal["done", "crash", "killed", "timeout", "bad_output", "out_of_memory"]
CRASH_SIGNALS = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP})
STDERR_KEPT_BYTES = 8192
CHUNK_BYTES = 1 << 16
CHUNKS_AT_ONCE = 64  # then the deadline is looked at again: a child may print faster than we read
#: a child that said it was done has this long to leave
LEAVE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a child ended."""

    end: End
    reason: str  #: a sentence; empty when done
    signal: str | None = None
    pending: tuple[str, ...] = ()  #: the keys it was measuring when it ended


def run_child(
    task: wire.Task,
    on_message: Callable[[wire.Message], None],
    *,
    command: Sequence[str],
    environment: Mapping[str, str],
    kill_after_s: float,
    late_start_s: float = 0.0,
) -> Outcome:
    """Run one child to its end and hand each of its messages to `on_message`.

    No process of the child's group outlives this call, whether it returns or raises (KeyboardInterrupt included).

    Args:
        command: argument list to which the number of the message pipe is appended.
        kill_after_s: wall seconds after which the whole group is killed.
        late_start_s: how much longer it may take to say its first word; what it took for that is then added to its
            time, up to so much.
    """
    read_end, write_end = os.pipe()
    oom_kills = _oom_kills()
    with open(read_end, "rb", buffering=0) as pipe:  # noqa: PTH123 - a file descriptor, not a path
        try:
            process = subprocess.Popen(
                [*command, str(write_end)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(write_end,),
                env=dict(environment),
                start_new_session=True,
            )
        finally:
            os.close(write_end)
        listener = _Listener(process, pipe.fileno(), frozenset(task.only), on_message)
        try:
            listener.ask(task)
            verdict = listener.listen(kill_after_s, late_start_s)
        finally:
            end_group(process)
        return _outcome(listener, verdict, process.returncode, kill_after_s, _oom_kills() > oom_kills)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill every process of the child's session and every descendant that left it, then reap the child."""
    import psutil  # here, because --help has no use for it

    descendants = _descendants(process.pid)  # before the kill: orphans are adopted and cannot be found any more
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # before wait(): until then the group's number cannot be reused
    for descendant in descendants:
        with contextlib.suppress(psutil.Error):
            descendant.kill()  # psutil compares the start time: a reused number is left alone
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _descendants(pid: int) -> list[psutil.Process]:
    import psutil

    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


class _Listener:
    """Reads a child's two pipes until it is done, gone, late or not to be believed."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        pipe: int,
        allowed: frozenset[str],
        on_message: Callable[[wire.Message], None],
    ) -> None:
        self._process, self._pipe, self._allowed, self._on_message = process, pipe, allowed, on_message
        self._buffer = bytearray()
        self.words = bytearray()  #: the end of what it printed
        self.pending: tuple[str, ...] = ()
        self.heard = self.done = False

    def ask(self, task: wire.Task) -> None:
        """Write the task; a child that is gone already is noticed by listening."""
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 - for the type checker: opened with PIPE
        with contextlib.suppress(BrokenPipeError):
            stdin.write(wire.encode(task))
            stdin.flush()

    def listen(self, seconds: float, late_start_s: float) -> Literal["gone", "late"] | str:
        """Messages until the child is gone or late; any other word says why it is not to be believed."""
        began = time.monotonic()
        until, late_s = began + seconds, late_start_s
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101
        with selectors.DefaultSelector() as selector, _pidfd(self._process.pid) as gone:
            for descriptor in (self._pipe, stdout.fileno()):
                os.set_blocking(descriptor, False)
                selector.register(descriptor, selectors.EVENT_READ)
            if gone is not None:
                selector.register(gone, selectors.EVENT_READ)
            while (left := until + late_s - time.monotonic()) > 0:
                # without a pidfd (kernel < 5.3) the end is noticed by looking
                ready = {key.fd for key, _ in selector.select(min(left, 0.05 if gone is None else left))}
                try:
                    self._drain(ready, stdout.fileno(), selector)
                    if self._left():
                        self._drain({self._pipe, stdout.fileno()}, stdout.fileno(), selector)
                        return "gone"
                except wire.WireError as error:
                    return str(error)
                if self.heard and late_s:
                    until, late_s = until + min(late_s, time.monotonic() - began), 0.0
                if self.done:
                    until = min(until, time.monotonic() + LEAVE_S)
        return "late"

    def _left(self) -> bool:
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _drain(self, ready: set[int], words: int, selector: selectors.BaseSelector) -> None:
        for descriptor in ready & {self._pipe, words}:
            for _ in range(CHUNKS_AT_ONCE):
                try:
                    chunk = os.read(descriptor, CHUNK_BYTES)
                except BlockingIOError:
                    break
                if not chunk:
                    with contextlib.suppress(KeyError):
                        selector.unregister(descriptor)
                    break
                if descriptor == words:
                    self.words = (self.words + chunk)[-STDERR_KEPT_BYTES:]
                else:
                    self._take(chunk)

    def _take(self, chunk: bytes) -> None:
        self._buffer += chunk
        if len(self._buffer) > wire.MAX_LINE_BYTES:
            raise wire.WireError(f"a message of more than {wire.MAX_LINE_BYTES} bytes")
        *lines, rest = bytes(self._buffer).split(b"\n")
        self._buffer = bytearray(rest)
        for line in lines:
            message = wire.decode(line, self._allowed)
            self.heard = True
            if isinstance(message, wire.Started):
                self.pending = message.keys
            elif isinstance(message, wire.Done):
                self.done, self.pending = True, ()
            self._on_message(message)


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int | None]:
    try:
        descriptor = os.pidfd_open(pid)
    except (OSError, AttributeError):
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _outcome(listener: _Listener, verdict: str, code: int, kill_after_s: float, oom: bool) -> Outcome:
    if listener.done:
        return Outcome(end="done", reason="")
    pending = listener.pending
    if verdict == "late":
        return Outcome(end="timeout", reason=f"no result within {kill_after_s:.1f} s; it was ended", pending=pending)
    if verdict != "gone":
        return Outcome(end="bad_output", reason=f"its output cannot be believed: {verdict}", pending=pending)
    words = _last_line(bytes(listener.words))
    if code < 0:
        number = signal.Signals(-code)
        if number == signal.SIGKILL and oom:
            return Outcome(
                end="out_of_memory",
                reason="the kernel ended it for want of memory; free some, or raise the limit",
                signal=number.name,
                pending=pending,
            )
        end: End = "crash" if number in CRASH_SIGNALS else "killed"
        return Outcome(end=end, reason=f"ended by {number.name}{words}", signal=number.name, pending=pending)
    if code > 0:
        return Outcome(end="crash", reason=f"ended with exit code {code}{words}", pending=pending)
    return Outcome(end="bad_output", reason=f"ended without saying that it was done{words}", pending=pending)


def _last_line(words: bytes) -> str:
    lines = [line.strip() for line in words.decode(errors="replace").splitlines() if line.strip()]
    return f": {lines[-1][:300]}" if lines else ""


def _oom_kills() -> int:
    """Processes the kernel has ended for want of memory since boot; 0 where it does not count them."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0
