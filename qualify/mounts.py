"""The mounts this process sees, and the one behind a path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from qualify.files import Files

MOUNTINFO = "/proc/self/mountinfo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One line of mountinfo (proc_pid_mountinfo(5))."""

    number: str  #: "major:minor" of the device; "0:n" where the file system has none
    subtree: str  #: the folder of the file system that is mounted, "/" for all of it
    folder: str  #: where it is mounted
    options: tuple[str, ...]  #: of this mount
    filesystem: str
    source: str  #: "/dev/sda1", "tmpfs", …
    super_options: tuple[str, ...]  #: of the file system


def read(files: Files) -> tuple[Mount, ...]:
    """Every mount, in the order of the kernel: a later one hides an earlier one on the same folder."""
    found = []
    for line in files.lines(MOUNTINFO):
        # "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue"
        head, _, tail = line.partition(" - ")
        left, right = head.split(" "), tail.split(" ")
        if len(left) < 6 or len(right) < 3:
            continue
        found.append(
            Mount(
                number=left[2],
                subtree=_unescaped(left[3]),
                folder=_unescaped(left[4]),
                options=tuple(left[5].split(",")),
                filesystem=right[0],
                source=_unescaped(right[1]),
                super_options=tuple(right[2].split(",")),
            )
        )
    return tuple(found)


def behind(path: Path, mounts: tuple[Mount, ...]) -> Mount | None:
    """The mount an absolute, resolved path lies on: the deepest, and of those on one folder the last."""
    best: Mount | None = None
    for mount in mounts:
        deeper = best is None or len(mount.folder) >= len(best.folder)
        if deeper and path.is_relative_to(mount.folder):
            best = mount
    return best


def _unescaped(text: str) -> str:
    r"""The kernel writes space, tab, newline and backslash as \ooo."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
