"""The file system behind the work folder."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from qualify import mounts
from qualify.files import Files
from qualify.mounts import Mount
from qualify.records import Disk

BLOCK = "/sys/class/block"
PARAVIRTUAL = ("vd", "xvd")  #: virtio-blk, Xen


def disk(files: Files, workdir: Path) -> Disk:
    """What lies behind `workdir`, an existing folder; a file is created there for a moment to try direct I/O."""
    mount = mounts.behind(workdir.resolve(), mounts.read(files))
    try:
        space = os.statvfs(workdir)
    except OSError:
        space = None
    return Disk(
        path=str(workdir),
        filesystem=mount.filesystem if mount else None,
        device=mount.source if mount else None,
        rotational=_is_rotational(files, mount) if mount else None,
        total_bytes=space.f_blocks * space.f_frsize if space else None,
        free_bytes=space.f_bavail * space.f_frsize if space else None,  # what a user without privileges may take
        read_only=bool(space.f_flag & os.ST_RDONLY) if space else None,
        direct_io=opens_direct(workdir),
    )


def opens_direct(folder: Path) -> bool | None:
    """Whether a new file in `folder` opens with O_DIRECT; None when no file can be made there."""
    name = folder / f".gridmark-probe-{os.getpid()}"
    try:
        # a plain file first: its refusal is about the folder, the second one is about direct I/O
        os.close(os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError:
        return None
    try:
        os.close(os.open(name, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC))
    except OSError as error:
        return False if error.errno == errno.EINVAL else None
    else:
        return True
    finally:
        name.unlink(missing_ok=True)


def _is_rotational(files: Files, mount: Mount) -> bool | None:
    """Whether the device spins; None for file systems without one and for stacked ones that do not say."""
    device = _block_name(files, mount)
    if device is None:
        return None
    # a partition has no queue of its own: its folder lies in that of the disk
    for folder in (f"{BLOCK}/{device}", f"{BLOCK}/{device}/.."):
        found = files.number(f"{folder}/queue/rotational")
        if found is not None:
            # Linux calls a block device rotational until told otherwise, and hosts do not tell their guests
            return None if found and device.startswith(PARAVIRTUAL) else found == 1
    return None


def _block_name(files: Files, mount: Mount) -> str | None:
    """The kernel's name of the device: by its number, or by its source where the number is anonymous (btrfs)."""
    link = files.link(f"/sys/dev/block/{mount.number}")
    if link is None and mount.source.startswith("/dev/"):
        # /dev/mapper/root is a link to ../dm-0
        link = files.link(mount.source) or mount.source
    return link.rsplit("/", 1)[-1] if link else None
