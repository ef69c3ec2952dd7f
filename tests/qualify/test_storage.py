"""The file system behind the work folder."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from qualify import storage
from qualify.files import Files
from tests.machines import disk, lay, link


def mounted(root: Path, workdir: Path, line: str) -> Files:
    """A machine on which `workdir` is the mount of `line` ("number filesystem source")."""
    number, filesystem, source = line.split()
    text = f"27 1 {number} / {workdir} rw - {filesystem} {source} rw\n"
    return Files(lay(root, {"proc/self/mountinfo": text}))


def test_a_partition_is_traced_to_its_disk(tmp_path: Path) -> None:
    """The partition has no queue; the drive above it does, and it does not spin."""
    files = mounted(tmp_path / "root", tmp_path, "259:1 ext4 /dev/nvme0n1p1")
    disk(files.root)

    found = storage.disk(files, tmp_path)

    assert (found.path, found.filesystem, found.device, found.rotational) == (
        str(tmp_path), "ext4", "/dev/nvme0n1p1", False,
    )  # fmt: skip


def test_space_is_what_a_plain_user_may_take(tmp_path: Path) -> None:
    """Blocks that are free but reserved for root do not count."""
    space = os.statvfs(tmp_path)

    found = storage.disk(Files(tmp_path), tmp_path)

    assert found.total_bytes == space.f_blocks * space.f_frsize
    assert found.free_bytes == pytest.approx(space.f_bavail * space.f_frsize, rel=0.05)
    assert found.read_only is False


def test_a_volume_is_found_by_its_name_where_its_number_says_nothing(tmp_path: Path) -> None:
    """btrfs shows an anonymous number; /dev/mapper leads to the device."""
    files = mounted(tmp_path / "root", tmp_path, "0:30 btrfs /dev/mapper/data")
    link(files.root, "dev/mapper/data", "../dm-0")
    lay(files.root, {"sys/class/block/dm-0/queue/rotational": 1})

    assert storage.disk(files, tmp_path).rotational is True


def test_a_guest_s_disk_is_not_called_spinning_by_default(tmp_path: Path) -> None:
    """Linux assumes that virtio disks spin; nobody told it."""
    files = mounted(tmp_path / "root", tmp_path, "254:0 ext4 /dev/vda")
    link(files.root, "sys/dev/block/254:0", "../../devices/virtio1/block/vda")
    lay(files.root, {"sys/class/block/vda/queue/rotational": 1})
    assert storage.disk(files, tmp_path).rotational is None

    lay(files.root, {"sys/class/block/vda/queue/rotational": 0})
    assert storage.disk(files, tmp_path).rotational is False


def test_a_file_system_without_a_device_has_none_to_spin(tmp_path: Path) -> None:
    """An overlay is not a disk."""
    found = storage.disk(mounted(tmp_path / "root", tmp_path, "0:50 overlay overlay"), tmp_path)

    assert (found.filesystem, found.device, found.rotational) == ("overlay", "overlay", None)


def test_a_folder_that_is_not_there_is_unknown_in_every_respect(tmp_path: Path) -> None:
    """None, and no exception."""
    found = storage.disk(Files(tmp_path), tmp_path / "absent")

    assert (found.total_bytes, found.free_bytes, found.read_only, found.direct_io) == (None, None, None, None)


@pytest.mark.parametrize(("refusal", "answer"), [(None, True), (errno.EINVAL, False), (errno.EACCES, None)])
def test_direct_io_is_tried_and_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int | None, answer: bool | None
) -> None:
    """EINVAL is how a file system says that it has no direct I/O; anything else says nothing about it."""
    really_open = os.open

    def fake_open(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECT and refusal is not None:
            raise OSError(refusal, "refused")
        return really_open(path, flags & ~os.O_DIRECT, mode)

    monkeypatch.setattr(os, "open", fake_open)

    assert storage.opens_direct(tmp_path) is answer
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_the_same_name_is_not_touched(tmp_path: Path) -> None:
    """Whatever lies there is somebody's."""
    theirs = tmp_path / f".gridmark-probe-{os.getpid()}"
    theirs.write_text("precious")

    assert storage.opens_direct(tmp_path) is None
    assert theirs.read_text() == "precious"
