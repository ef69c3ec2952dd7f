"""Which mount lies behind a path."""

from __future__ import annotations

from pathlib import Path

from qualify import mounts
from qualify.files import Files
from tests.machines import lay

LINES = """\
27 1 259:1 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw,errors=continue
30 27 0:30 / /mnt/my\\040disk rw - btrfs /dev/sdb1 rw,subvol=/
31 27 0:31 / /data rw - nfs4 filer:/export rw
32 27 0:32 / /data ro - tmpfs tmpfs rw
a line of some other kind
"""


def read(tmp_path: Path) -> tuple[mounts.Mount, ...]:
    return mounts.read(Files(lay(tmp_path, {"proc/self/mountinfo": LINES})))


def test_a_line_is_split_with_and_without_optional_fields(tmp_path: Path) -> None:
    """Zero or more tags stand before the dash."""
    first, second, *_ = read(tmp_path)

    assert (first.number, first.filesystem, first.source) == ("259:1", "ext4", "/dev/nvme0n1p1")
    assert first.super_options == ("rw", "errors=continue")
    assert second.folder == "/mnt/my disk"


def test_a_malformed_line_is_passed_over(tmp_path: Path) -> None:
    """Four of the five lines are mounts."""
    assert len(read(tmp_path)) == 4


def test_the_deepest_mount_holds_the_path(tmp_path: Path) -> None:
    """/mnt/my disk/x is not on the root's file system; /mnt/my diskette is."""
    found = read(tmp_path)

    inside, beside = (mounts.behind(Path(path), found) for path in ("/mnt/my disk/x", "/mnt/my diskette"))

    assert inside is not None
    assert beside is not None
    assert (inside.filesystem, beside.filesystem) == ("btrfs", "ext4")


def test_the_later_mount_hides_the_earlier(tmp_path: Path) -> None:
    """The tmpfs was mounted over the NFS share."""
    found = mounts.behind(Path("/data"), read(tmp_path))

    assert found is not None
    assert found.filesystem == "tmpfs"


def test_without_mounts_nothing_is_behind_a_path() -> None:
    """Unknown, not the root."""
    assert mounts.behind(Path("/data"), ()) is None
