"""A job as a tree of processes: started in its own session, frozen, thawed and ended whole; none is lost sight of.

Part of the supervisor, a process of a few MiB: nothing but the standard library's smallest modules is imported here.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time

from scheduler.node import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

#: a tree that forks as fast as it can is caught after a few rounds; the bound only keeps this from going on for ever
ROUNDS = 100
FREEZE_WAIT_S = 2.0
#: the job goes first when memory runs out, not the agent or its supervisor (proc(5), oom_score_adj)
OOM_SCORE_ADJ = "500"
#: signals that the supervisor has ears for
HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
CANNOT_EXECUTE, NOT_FOUND = 126, 127  #: exit codes of a shell


class JobProcess:
    """What the supervisor drives.

    `plan` is what the executor made: argv, env, cwd, stdin (text, or nothing), groups (control group folders to join),
    freezer (the folder that can freeze, or ""), limits (name of an rlimit -> value), wrapped (the first two processes
    are bubblewrap's: outside, and the first one inside).
    """

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self._plan = plan
        self._pid = 0
        self._code: int | None = None
        self._by_signal = False  #: frozen by SIGSTOP, because no control group could do it
        self.out, self.err, self._out_write, self._err_write = -1, -1, -1, -1

    @property
    def pid(self) -> int:
        """The first process; 0 before it was started."""
        return self._pid

    def start(self, may_run: Callable[[], bool]) -> bool:
        """Start it, if it may run; what else keeps it from starting is told on its own stderr."""
        kernel.adopt_orphans()
        self.out, self._out_write = os.pipe()
        self.err, self._err_write = os.pipe()
        stdin = self._stdin()
        supervisor = os.getpid()
        if not may_run():
            return False
        # asked to end between fork and exec, the child would hear it with the supervisor's ears, and forget it
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        self._pid = os.fork()
        if self._pid == 0:
            self._become_job(supervisor, stdin)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for descriptor in (stdin, self._out_write, self._err_write):
            os.close(descriptor)
        return True

    def exit_code(self) -> int | None:
        """As a shell shows it, 128 + n for signal n; None while it runs. Reaps whatever has ended."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._pid:
                    code = os.waitstatus_to_exitcode(ended[1])
                    self._code = code if code >= 0 else 128 - code
        return self._code

    def freeze(self) -> None:
        """No process of the job runs when this returns."""
        folder = self._plan["freezer"]
        asked = folder and (_write(f"{folder}/cgroup.freeze", "1") or _write(f"{folder}/freezer.state", "FROZEN"))
        if asked and _until(lambda: _is_frozen(folder), FREEZE_WAIT_S):
            return
        self._by_signal = True
        self._signal_all(signal.SIGSTOP, lambda state: state not in "TtZX")

    def thaw(self) -> None:
        """Let every process go on."""
        folder = self._plan["freezer"]
        if folder:
            _ = _write(f"{folder}/cgroup.freeze", "0") or _write(f"{folder}/freezer.state", "THAWED")
        if self._by_signal:
            self._by_signal = False
            for pid, _ in _descendants():
                _send(pid, signal.SIGCONT)

    def terminate(self) -> bool:
        """Ask every process to end, as systemd does, but not a wrapper, which would take the job with it unasked.

        Returns False, and asks nobody, while a wrapper has not come to the job yet.
        """
        reached = [pid for pid, _ in _descendants()][2 if self._plan["wrapped"] else 0 :]
        for pid in reached:
            _send(pid, signal.SIGTERM)
        return bool(reached)

    def kill(self) -> None:
        """End every process of the job, frozen or not."""
        folder = self._plan["freezer"]
        if folder and not _write(f"{folder}/cgroup.kill", "1"):
            for pid in _members(folder):
                _send(pid, signal.SIGKILL)
        self._signal_all(signal.SIGKILL, lambda state: state not in "ZX")
        if folder:  # in the older hierarchy a frozen process dies when it is thawed
            _write(f"{folder}/freezer.state", "THAWED")

    def sweep(self) -> str:
        """Its first process has ended: end what is left of it. What the kernel ended for want of memory is said."""
        if self._pid == 0:  # it never began
            return ""
        self.kill()
        _until(lambda: self.exit_code() is not None and not list(_descendants()), FREEZE_WAIT_S)
        return "the kernel ended a process of it for want of memory" if self._ran_out_of_memory() else ""

    def _ran_out_of_memory(self) -> bool:
        for folder in self._plan["groups"]:
            for name in ("memory.events", "memory.oom_control"):
                with contextlib.suppress(OSError), open(f"{folder}/{name}") as file:  # noqa: PTH123 - pathlib is large
                    if any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in file):
                        return True
        return False

    def _stdin(self) -> int:
        text = self._plan["stdin"]
        if not text:
            return os.open(os.devnull, os.O_RDONLY)
        descriptor = os.memfd_create("stdin")  # secrets are part of it: memory only
        os.write(descriptor, text.encode("utf-8", "surrogateescape"))
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    def _signal_all(self, number: signal.Signals, wanted: Callable[[str], bool]) -> None:
        """Until none is left that is `wanted` by its state: a process may fork while we look."""
        for _ in range(ROUNDS):
            self.exit_code()
            found = [pid for pid, state in _descendants() if wanted(state)]
            if not found:
                return
            for pid in found:
                _send(pid, number)
            time.sleep(0.001)  # a signal is delivered, or a process reaped, a moment later

    def _become_job(self, supervisor: int, stdin: int) -> None:
        """In the child: never returns."""
        try:
            os.setsid()
            kernel.die_with_parent(signal.SIGKILL)
            if os.getppid() != supervisor:
                os._exit(137)
            for folder in self._plan["groups"]:
                if not _write(f"{folder}/cgroup.procs", "0"):  # outside of it, it could not be frozen
                    raise OSError(0, f"its control group {folder} cannot be joined")
            _write("/proc/self/oom_score_adj", OOM_SCORE_ADJ)
            for target, source in enumerate((stdin, self._out_write, self._err_write)):
                os.dup2(source, target, inheritable=True)
            for number in (signal.SIGPIPE, signal.SIGCHLD, *HEARD):
                signal.signal(number, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
            os.umask(0o022)
            _limit(self._plan["limits"])
            os.chdir(self._plan["cwd"])
            os.execvpe(self._plan["argv"][0], self._plan["argv"], self._plan["env"])  # noqa: S606 - a list, no shell
        except OSError as error:
            where = self._plan["argv"][0]
            os.write(2, f"gridmark: cannot run {where!r}: {error.strerror}\n".encode("utf-8", "replace"))
            os._exit(NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_EXECUTE)
        finally:
            os._exit(CANNOT_EXECUTE)  # whatever went wrong: there must never be a second supervisor


def _limit(limits: Mapping[str, int]) -> None:
    for name, value in limits.items():
        number = getattr(resource, name)
        _, hard = resource.getrlimit(number)
        bounded = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(number, (bounded, bounded))


def _descendants() -> Iterator[tuple[int, str]]:
    """(pid, state) of every process below this one, zombies too; parents before their children."""
    children: dict[int, list[tuple[int, str]]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib is large
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                # the name of a program is in parentheses and may hold anything, spaces and parentheses too
                fields = file.read().rpartition(b")")[2].split()
                children.setdefault(int(fields[1]), []).append((int(name), fields[0].decode()))
    waiting = [os.getpid()]
    while waiting:
        for pid, state in children.get(waiting.pop(), ()):
            yield pid, state
            waiting.append(pid)


def _members(folder: str) -> list[int]:
    try:
        with open(f"{folder}/cgroup.procs") as file:  # noqa: PTH123
            return [int(line) for line in file]
    except OSError:
        return []


def _is_frozen(folder: str) -> bool:
    for name, line in (("cgroup.events", "frozen 1\n"), ("freezer.state", "FROZEN\n")):
        with contextlib.suppress(OSError), open(f"{folder}/{name}") as file:  # noqa: PTH123
            return line in file.readlines()
    return False


def _until(holds: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _write(path: str, text: str) -> bool:
    """Whether it could be written: a file that is not there, or not ours, is no error."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(descriptor, text.encode())
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def kill_marked(*marks: str) -> None:
    """Kill every process whose environment has all of these entries ("NAME=value"): of a job that nobody holds."""
    wanted = {mark.encode() for mark in marks}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:  # noqa: PTH123
            if wanted.issubset(file.read().split(b"\0")):
                _send(int(name), signal.SIGKILL)
