"""What else runs on the machine: CPU time by kind, pressure, and the processes that are not ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from qualify.files import Files, number, real
from qualify.records import Load

FOREIGN_CPUS = 0.10  #: a process that takes more of one CPU than this is named
NAMED_MAX = 10  #: processes listed, busiest first
FIRST_AT = 1  #: the process that begets all others; never counted as our own kin


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Ticks of all CPUs together since boot (proc_stat(5)); a guest's time is part of user time."""

    busy: int
    idle: int
    iowait: int
    steal: int

    @property
    def total(self) -> int:
        """All of it: what the CPUs could have done."""
        return self.busy + self.idle + self.iowait + self.steal


@dataclass(frozen=True, slots=True)
class Shares:
    """Of all CPUs' time between two readings."""

    busy_ratio: float
    iowait_ratio: float
    steal_ratio: float


@dataclass(frozen=True, slots=True)
class Process:
    """A process at one moment."""

    name: str
    parent: int
    started: int  #: ticks after boot; tells apart two processes that had one number
    used: int  #: ticks on a CPU since it started


def cpu_time(files: Files) -> CpuTime | None:
    """The counters now; None when they cannot be read."""
    return parse_cpu_time(files.head("/proc/stat") or "")


def parse_cpu_time(stat: str) -> CpuTime | None:
    """The counters of the first line of /proc/stat: "cpu  user nice system idle iowait irq softirq steal …"."""
    fields = stat.partition("\n")[0].split()
    counts = [count for field in fields[1:9] if (count := number(field)) is not None]
    if len(counts) < 8 or fields[0] != "cpu":
        return None
    user, nice, system, idle, iowait, irq, softirq, steal = counts
    return CpuTime(busy=user + nice + system + irq + softirq, idle=idle, iowait=iowait, steal=steal)


def shares(before: CpuTime | None, after: CpuTime | None) -> Shares | None:
    """Who had the CPUs between two readings; None when either is unknown or no tick passed."""
    if before is None or after is None or after.total <= before.total:
        return None
    total = after.total - before.total

    def ratio(gone: int) -> float:
        # iowait may run backwards (proc_stat(5))
        return min(1.0, max(0.0, gone / total))

    return Shares(
        busy_ratio=ratio(after.busy - before.busy),
        iowait_ratio=ratio(after.iowait - before.iowait),
        steal_ratio=ratio(after.steal - before.steal),
    )


def processes(files: Files) -> dict[int, Process]:
    """Every process we may see, by number."""
    found = {}
    for name in files.names("/proc"):
        if name.isdecimal():
            process = _parse_process(files.text(f"/proc/{name}/stat") or "")
            if process is not None:
                found[int(name)] = process
    return found


def watch(
    files: Files,
    *,
    window_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    pid: int,
    ticks_per_s: int,
) -> Load:
    """Watch the machine for `window_s` while doing nothing ourselves.

    Args:
        pid: our own process, in the numbers of this /proc; its children and its ancestors are not foreign.
        ticks_per_s: the unit of the kernel's CPU times (sysconf SC_CLK_TCK).
    """
    processes_before, before, started_s = processes(files), cpu_time(files), clock()
    sleep(window_s)
    after, lasted_s = cpu_time(files), clock() - started_s
    processes_after = processes(files)
    share = shares(before, after)
    return Load(
        window_s=lasted_s,
        busy_ratio=share.busy_ratio if share else None,
        steal_ratio=share.steal_ratio if share else None,
        iowait_ratio=share.iowait_ratio if share else None,
        load_1m=_load_1m(files),
        foreign=_foreign(processes_before, processes_after, pid=pid, ticks=lasted_s * ticks_per_s),
        pressure_cpu_ratio=_pressure(files, "cpu"),
        pressure_memory_ratio=_pressure(files, "memory"),
        pressure_io_ratio=_pressure(files, "io"),
    )


def _foreign(before: Mapping[int, Process], after: Mapping[int, Process], *, pid: int, ticks: float) -> tuple[str, ...]:
    own = _kin(after, pid)
    busy = []
    for other, process in after.items():
        earlier = before.get(other)
        same = earlier is not None and earlier.started == process.started
        used = process.used - (earlier.used if earlier is not None and same else 0)
        if other not in own and ticks > 0 and used / ticks > FOREIGN_CPUS:
            busy.append((used / ticks, other, process.name))
    busy.sort(reverse=True)
    return tuple(f"{name} (pid {other}) {cpus * 100:.0f} %" for cpus, other, name in busy[:NAMED_MAX])


def _kin(running: Mapping[int, Process], pid: int) -> set[int]:
    """Ourselves, what we started, and what started us (a shell, make, cron), which only waits."""
    kin, above = {pid}, pid
    while above in running and running[above].parent > FIRST_AT and running[above].parent not in kin:
        above = running[above].parent
        kin.add(above)
    children: dict[int, list[int]] = {}
    for other, process in running.items():
        children.setdefault(process.parent, []).append(other)
    below = [pid]
    while below:
        fresh = [child for child in children.get(below.pop(), []) if child not in kin]
        kin.update(fresh)
        below.extend(fresh)
    return kin


def _parse_process(stat: str) -> Process | None:
    # "42 (a name (odd) one) S 1 …": the name may hold anything, so the last parenthesis ends it (proc_pid_stat(5))
    head, _, tail = stat.rpartition(")")
    fields = tail.split()
    try:
        return Process(
            name=head.partition("(")[2],
            parent=int(fields[1]),
            started=int(fields[19]),
            used=int(fields[11]) + int(fields[12]),
        )
    except (IndexError, ValueError):
        return None


def _pressure(files: Files, resource: str) -> float | None:
    """Part of the last 10 s in which some task waited for the resource; None without PSI (Linux < 4.20, psi=0)."""
    for line in files.lines(f"/proc/pressure/{resource}"):
        if line.startswith("some "):
            for field in line.split():
                name, _, value = field.partition("=")
                if name == "avg10":
                    percent = real(value)
                    return None if percent is None else round(percent / 100, 6)
    return None


def _load_1m(files: Files) -> float | None:
    return real((files.text("/proc/loadavg") or "").partition(" ")[0])


def ticks_per_s() -> int:
    """The kernel's unit of CPU time on this machine."""
    return os.sysconf("SC_CLK_TCK")
