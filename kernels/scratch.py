"""A scratch file whose every page can be told from every other."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels import aio
from kernels.spec import UnsupportedError, WrongResultError

PAGE_BYTES, BLOCK_BYTES = 4096, 1 << 20
PAGE_WORDS, BLOCK_PAGES = PAGE_BYTES // 8, BLOCK_BYTES // PAGE_BYTES
STAMP_WORDS = 2  #: page number and generation, at the start of a page
#: file systems that live in memory: Linux 6.6 and later accept O_DIRECT there, and it means nothing
IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filesystem:
    """What lies behind a folder; None = not in mountinfo."""

    kind: str | None  #: "ext4", "overlay", "tmpfs"
    source: str | None  #: "/dev/sda1"


def filesystem_of(folder: Path, mountinfo: str) -> Filesystem:
    """The mount behind `folder`, from the text of /proc/self/mountinfo (proc_pid_mountinfo(5))."""
    best, found = "", Filesystem(kind=None, source=None)
    real = folder.resolve()
    for line in mountinfo.splitlines():
        head, _, tail = line.partition(" - ")
        left, right = head.split(" "), tail.split(" ")
        if len(left) < 5 or len(right) < 2:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), left[4])
        if len(point) >= len(best) and real.is_relative_to(point):
            best, found = point, Filesystem(kind=right[0], source=right[1])
    return found


class Scratch:
    """An open file without a name: it disappears with its descriptor, however the process ends.

    A page's content follows from its number and from how often it was written: two words say which page and which
    generation it is, the rest is random and differs from its neighbours'. So neither compression nor deduplication
    can make a disk look faster, and a page that is stale, lost or in the wrong place is seen.
    """

    def __init__(self, folder: Path, *, size_bytes: int, seed: int, filesystem: Filesystem) -> None:
        """Make the file and reserve its space; `size_bytes` is a multiple of `BLOCK_BYTES`.

        Raises:
            UnsupportedError: nothing can be written here, or there is too little space.
        """
        self.filesystem = filesystem
        self.descriptor, direct = _open_nameless(folder)
        try:
            _reserve(self.descriptor, size_bytes)
        except OSError as error:
            os.close(self.descriptor)
            raise UnsupportedError(f"wanted {size_bytes >> 20} MiB in {folder}, found: {error.strerror}") from error
        self.direct = direct and filesystem.kind not in IN_MEMORY
        self.pages = size_bytes // PAGE_BYTES
        self.written = 0  #: pages from the start of the file that have been written
        self._generation = np.zeros(self.pages, dtype=np.uint64)
        random = np.random.default_rng(seed)
        self._bodies = random.integers(0, 1 << 64, size=(BLOCK_PAGES, PAGE_WORDS), dtype=np.uint64)

    def close(self) -> None:
        """Give the space back."""
        os.close(self.descriptor)

    def queue(self, *, depth: int, block_bytes: int) -> aio.Queue:
        """A queue of operations on this file."""
        return aio.open_queue(self.descriptor, depth=depth, block_bytes=block_bytes, native=self.direct)

    def compose(self, data: aio.Words, slots: aio.Slots, first_pages: Numbers) -> None:
        """Put into `slots` of `data` what is to be written from `first_pages` on, one generation younger."""
        pages, blocks = _pages(data, first_pages)
        self._generation[pages] += 1
        if pages.shape[1] == 1:
            blocks[slots, 0] = self._bodies[first_pages % BLOCK_PAGES]
        else:
            for slot in slots.tolist():
                # a slot that held a block before has the right bodies already
                if blocks[slot, 0, STAMP_WORDS] != self._bodies[0, STAMP_WORDS]:
                    blocks[slot] = self._bodies
        blocks[slots, :, 0] = pages
        blocks[slots, :, 1] = self._generation[pages]

    def check_stamps(self, data: aio.Words, slots: aio.Slots, first_pages: Numbers) -> None:
        """Check that what was read into `slots` calls itself the pages from `first_pages` on, newest generation.

        Raises:
            WrongResultError: it does not.
        """
        pages, blocks = _pages(data, first_pages)
        for word, wanted, name in ((0, pages.astype(np.uint64), "number"), (1, self._generation[pages], "generation")):
            found = blocks[slots, :, word]
            if not np.array_equal(found, wanted):
                row, column = np.argwhere(found != wanted)[0]
                raise WrongResultError(
                    f"page {pages[row, column]} of the scratch file came back with {name} {found[row, column]}, "
                    f"{wanted[row, column]} was written"
                )

    def check_bodies(self, data: aio.Words, slots: aio.Slots, first_pages: Numbers) -> None:
        """Check every byte of what was read into `slots`.

        Raises:
            WrongResultError: one differs.
        """
        self.check_stamps(data, slots, first_pages)
        pages, blocks = _pages(data, first_pages)
        for row, slot in enumerate(slots.tolist()):
            differs = blocks[slot, :, STAMP_WORDS:] != self._bodies[pages[row] % BLOCK_PAGES, STAMP_WORDS:]
            if differs.any():
                page, word = np.argwhere(differs)[0]
                raise WrongResultError(
                    f"page {pages[row, page]} of the scratch file came back changed at byte {8 * (word + STAMP_WORDS)}"
                )


def _pages(data: aio.Words, first_pages: Numbers) -> tuple[Numbers, NDArray[np.uint64]]:
    """The page numbers of blocks, shape (blocks, pages of one), and a view of `data` by slot, page and word."""
    count = data.shape[1] // PAGE_WORDS
    return first_pages[:, None] + np.arange(count), data.reshape(len(data), count, PAGE_WORDS)


def _open_nameless(folder: Path) -> tuple[int, bool]:
    """A new file in `folder` without a name, and whether it takes direct I/O."""
    for direct in (os.O_DIRECT, 0):
        try:
            return _open(folder, direct), bool(direct)
        except OSError as error:
            if not direct or error.errno != errno.EINVAL:  # EINVAL: this file system has no direct I/O
                reason = f"wanted a file in {folder}, found: {error.strerror}; name another work folder"
                raise UnsupportedError(reason) from error
    raise AssertionError("unreachable: the second attempt returns or raises")


def _open(folder: Path, flags: int) -> int:
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
    except OSError as error:
        # file systems without O_TMPFILE (NFS, older overlay) say one of these
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
            raise
    path = folder / f".gridmark-{os.getpid()}.scratch"
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
    path.unlink()
    return descriptor


def _reserve(descriptor: int, size_bytes: int) -> None:
    """Allocate the file's space where the file system can, without writing: libc's posix_fallocate would write."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(descriptor, 0, ctypes.c_int64(0), ctypes.c_int64(size_bytes)) == 0:
        return
    code = ctypes.get_errno()
    if code != errno.EOPNOTSUPP:
        raise OSError(code, os.strerror(code))
    os.ftruncate(descriptor, size_bytes)
