"""How busy the node's CPUs are, from two looks at /proc/stat."""

from __future__ import annotations

from qualify.files import Files


class BusyRatio:
    """Of all CPUs, between one look and the next."""

    def __init__(self, files: Files | None = None) -> None:
        self._files = files or Files()
        self._before = self._look()

    def since_last(self) -> float | None:
        """0 = idle, 1 = every CPU was busy all the time; None when the kernel does not tell."""
        before, now = self._before, self._look()
        self._before = now
        if before is None or now is None or now[1] <= before[1]:
            return None
        return min(1.0, max(0.0, (now[0] - before[0]) / (now[1] - before[1])))

    def _look(self) -> tuple[int, int] | None:
        """(busy, all) in the kernel's ticks."""
        fields = (self._files.head("/proc/stat") or "").partition("\n")[0].split()
        if len(fields) < 9 or fields[0] != "cpu" or not all(field.isdigit() for field in fields[1:9]):
            return None
        ticks = [int(field) for field in fields[1:9]]  # user nice system idle iowait irq softirq steal
        total = sum(ticks)
        return total - ticks[3] - ticks[4], total
