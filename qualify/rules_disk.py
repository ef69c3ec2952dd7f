"""Rules about the disk behind the work folder."""

from __future__ import annotations

from collections.abc import Iterator

from qualify.rule import GIB, Evidence, Hit, Rule, binary, percent, si, too_much

MEMORY_FILESYSTEMS = frozenset({"tmpfs", "ramfs", "devtmpfs"})
OVERLAYS = frozenset({"overlay", "overlayfs", "aufs", "fuse.fuse-overlayfs"})
#: makers count in powers of ten and file systems keep a part for themselves
CLAIM_PART = 0.90
FULL_BYTES, FULL_PART, FULL_ENOUGH_BYTES = GIB, 0.05, 20 * GIB
#: etcd asks for a p99 below 10 ms; ten times that stalls whatever commits
SYNC_P99_S = 0.1


def disk_overlay(evidence: Evidence) -> Iterator[Hit]:
    """Work lands in a container's own layer."""
    disk = evidence.node.disk
    if disk is not None and disk.filesystem in OVERLAYS:
        yield Hit(
            text=f"the work folder {disk.path} lies in the container's own layer ({disk.filesystem})",
            evidence={"path": disk.path, "filesystem": disk.filesystem},
        )


def disk_tmpfs(evidence: Evidence) -> Iterator[Hit]:
    """Work lands in memory."""
    disk = evidence.node.disk
    if disk is not None and disk.filesystem in MEMORY_FILESYSTEMS:
        yield Hit(
            text=f"the work folder {disk.path} lies in memory ({disk.filesystem}), not on a disk",
            evidence={"path": disk.path, "filesystem": disk.filesystem},
        )


def disk_full(evidence: Evidence) -> Iterator[Hit]:
    """No room for work."""
    disk = evidence.node.disk
    if disk is None or disk.free_bytes is None or not disk.total_bytes:
        return
    full = disk.free_bytes < FULL_BYTES
    if full or (disk.free_bytes < FULL_PART * disk.total_bytes and disk.free_bytes < FULL_ENOUGH_BYTES):
        yield Hit(
            text=f"{binary(disk.free_bytes)} are free in {disk.path}, of {binary(disk.total_bytes)}",
            evidence={
                "free_bytes": disk.free_bytes,
                "total_bytes": disk.total_bytes,
                "failure_below_bytes": FULL_BYTES,
            },
            severity="failure" if full else "warning",
        )


def disk_read_only(evidence: Evidence) -> Iterator[Hit]:
    """Nothing can be written."""
    disk = evidence.node.disk
    if disk is not None and disk.read_only:
        yield Hit(text=f"{disk.path} is mounted read-only", evidence={"path": disk.path, "filesystem": disk.filesystem})


def disk_no_direct_io(evidence: Evidence) -> Iterator[Hit]:
    """The page cache cannot be gone around."""
    disk = evidence.node.disk
    if disk is not None and disk.direct_io is False and disk.filesystem not in MEMORY_FILESYSTEMS:
        yield Hit(
            text=f"{disk.filesystem or 'the file system'} refuses direct I/O: figures may be those of the page cache",
            evidence={"path": disk.path, "filesystem": disk.filesystem},
        )


def disk_below_claim(evidence: Evidence) -> Iterator[Hit]:
    """A smaller disk than was claimed."""
    claimed = evidence.claim.disk_bytes if evidence.claim else None
    found = evidence.node.disk.total_bytes if evidence.node.disk else None
    if claimed is not None and found is not None and found < CLAIM_PART * claimed:
        yield Hit(
            text=f"{si(claimed, 'B')} of disk are claimed, {si(found, 'B')} found",
            evidence={"claimed_bytes": claimed, "found_bytes": found, "limit_bytes": CLAIM_PART * claimed},
        )


def disk_slow_sync(evidence: Evidence) -> Iterator[Hit]:
    """A commit takes too long."""
    yield from too_much(evidence, "disk.sync_p99", SYNC_P99_S, "s", "one synchronous write in a hundred took")


RULES = (
    Rule(
        code="DISK_OVERLAY",
        severity="warning",
        fires="work lands in a container's own layer",
        limit="the work folder's file system is an overlay: first writes copy whole files, and all is lost with it",
        remedy="Mount a volume at the work folder.",
        find=disk_overlay,
    ),
    Rule(
        code="DISK_TMPFS",
        severity="warning",
        fires="work lands in memory",
        limit="the file system of the work folder is tmpfs or ramfs: its figures are not a disk's",
        remedy="Name a work folder on a disk.",
        find=disk_tmpfs,
    ),
    Rule(
        code="DISK_FULL",
        severity="failure",
        fires="there is no room for work",
        limit=f"below {binary(FULL_BYTES)} free; below {percent(FULL_PART)} and {binary(FULL_ENOUGH_BYTES)} a warning",
        remedy="Free some space, or name a work folder on another disk.",
        find=disk_full,
    ),
    Rule(
        code="DISK_READ_ONLY",
        severity="failure",
        fires="nothing can be written",
        limit="the work folder's file system is mounted read-only",
        remedy="Check dmesg for errors of the disk, repair it and remount it, or name another work folder.",
        find=disk_read_only,
    ),
    Rule(
        code="DISK_NO_DIRECT_IO",
        severity="info",
        fires="the page cache cannot be gone around",
        limit="O_DIRECT is refused by the work folder's file system",
        remedy="Name a work folder on ext4, xfs or another file system of a disk.",
        find=disk_no_direct_io,
    ),
    Rule(
        code="DISK_BELOW_CLAIM",
        severity="failure",
        fires="the disk is smaller than claimed",
        limit=f"{percent(CLAIM_PART)} of the claim: makers count in powers of ten, file systems keep a part",
        remedy="Claim what the work folder's file system holds, or name another work folder.",
        find=disk_below_claim,
    ),
    Rule(
        code="DISK_SLOW_SYNC",
        severity="warning",
        fires="a synchronous write takes long",
        limit=f"p99 above {si(SYNC_P99_S, 's')}, 2 of 3; etcd asks for 10 ms",
        remedy="Use a disk with power-loss protection; look for other writers and for a failing disk (smartctl -a).",
        find=disk_slow_sync,
    ),
)
