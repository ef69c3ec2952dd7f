"""The scratch file: nameless, within its space, and nothing wrong in it goes unseen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kernels.scratch import BLOCK_BYTES, PAGE_BYTES, Filesystem, Scratch, filesystem_of
from kernels.spec import UnsupportedError, WrongResultError

EXT4 = Filesystem(kind="ext4", source="/dev/sda1")
ONE = np.array([0], dtype=np.intp)

MOUNTINFO = r"""
21 1 0:19 / / rw,relatime - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w
22 21 8:1 / /data rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:40 / /data/with\040space rw - tmpfs tmpfs rw,size=64k
24 21 8:2 / /database rw - xfs /dev/sda2 rw
rubbish
"""


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Scratch]:
    """Two blocks."""
    made = Scratch(tmp_path, size_bytes=2 * BLOCK_BYTES, seed=5, filesystem=EXT4)
    yield made
    made.close()


def page(scratch: Scratch, number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    """A buffer of one slot, composed as page `number`."""
    data = np.zeros((1, PAGE_BYTES // 8), dtype=np.uint64)
    scratch.compose(data, ONE, np.array([number]))
    return data


@pytest.mark.parametrize(
    ("folder", "kind", "source"),
    [
        ("/", "overlay", "overlay"),
        ("/data", "ext4", "/dev/sda1"),
        ("/data/deep/er", "ext4", "/dev/sda1"),
        ("/data/with space/x", "tmpfs", "tmpfs"),
        ("/database", "xfs", "/dev/sda2"),
        ("/home", "overlay", "overlay"),
    ],
)
def test_the_deepest_mount_is_the_file_system(folder: str, kind: str, source: str) -> None:
    """Folders that only share a prefix do not share a mount; octal escapes are undone."""
    assert filesystem_of(Path(folder), MOUNTINFO) == Filesystem(kind=kind, source=source)


def test_an_unreadable_table_leaves_it_unknown() -> None:
    """Unknown is None."""
    assert filesystem_of(Path("/data"), "") == Filesystem(kind=None, source=None)


def test_the_file_has_no_name(scratch: Scratch, tmp_path: Path) -> None:
    """However the process ends, nothing is left to delete; its space is reserved all the same."""
    assert list(tmp_path.iterdir()) == []
    assert os.fstat(scratch.descriptor).st_nlink == 0
    assert os.fstat(scratch.descriptor).st_blocks * 512 >= 2 * BLOCK_BYTES


def test_without_o_tmpfile_it_loses_its_name_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems that cannot make nameless files get the name taken off."""
    real = os.open

    def old(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise IsADirectoryError(21, "Is a directory")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", old)
    made = Scratch(tmp_path, size_bytes=BLOCK_BYTES, seed=5, filesystem=EXT4)
    left = list(tmp_path.iterdir())
    made.close()

    assert left == []


def test_a_file_system_without_direct_io_is_used_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EINVAL at opening means no O_DIRECT, not no file."""
    real = os.open

    def cached_only(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", cached_only)
    made = Scratch(tmp_path, size_bytes=BLOCK_BYTES, seed=5, filesystem=EXT4)
    queue = made.queue(depth=1, block_bytes=PAGE_BYTES)
    queue.close()
    made.close()

    assert made.direct is False
    assert queue.engine == "threads"


def test_direct_io_means_nothing_in_memory(tmp_path: Path) -> None:
    """tmpfs accepts O_DIRECT since Linux 6.6; it is still memory."""
    made = Scratch(tmp_path, size_bytes=BLOCK_BYTES, seed=5, filesystem=Filesystem(kind="tmpfs", source="tmpfs"))
    made.close()

    assert made.direct is False


def test_a_missing_folder_is_unsupported_with_the_reason(tmp_path: Path) -> None:
    """One sentence: wanted, found, what to do."""
    with pytest.raises(
        UnsupportedError, match=r"wanted a file in .*nowhere, found: No such file .* another work folder"
    ):
        Scratch(tmp_path / "nowhere", size_bytes=BLOCK_BYTES, seed=5, filesystem=EXT4)


def test_space_that_is_not_there_is_unsupported(tmp_path: Path) -> None:
    """Asking for 4 EiB fails before anything is written, and leaves no open file."""
    before = len(list(Path("/proc/self/fd").iterdir()))

    with pytest.raises(UnsupportedError, match=r"wanted .* MiB in"):
        Scratch(tmp_path, size_bytes=1 << 62, seed=5, filesystem=EXT4)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_was_written_passes(scratch: Scratch) -> None:
    """A page, and a block of 256 pages in a used slot."""
    data = page(scratch, 300)
    block = np.zeros((1, BLOCK_BYTES // 8), dtype=np.uint64)
    for _ in range(2):
        scratch.compose(block, ONE, np.array([0]))

    scratch.check_bodies(data, ONE, np.array([300]))
    scratch.check_bodies(block, ONE, np.array([0]))


def test_a_stale_page_is_seen(scratch: Scratch) -> None:
    """A write that was acknowledged and lost leaves the generation before."""
    stale = page(scratch, 9)
    page(scratch, 9)

    with pytest.raises(WrongResultError, match=r"page 9 .* with generation 1, 2 was written"):
        scratch.check_stamps(stale, ONE, np.array([9]))


def test_a_misplaced_page_is_seen(scratch: Scratch) -> None:
    """A read that returned another page."""
    other = page(scratch, 10)

    with pytest.raises(WrongResultError, match=r"page 9 .* with number 10, 9 was written"):
        scratch.check_stamps(other, ONE, np.array([9]))


@pytest.mark.parametrize("word", [2, 511])
def test_one_flipped_bit_is_seen(scratch: Scratch, word: int) -> None:
    """Anywhere in the page, and the message says at which byte."""
    data = page(scratch, 9)
    data[0, word] ^= np.uint64(1)

    with pytest.raises(WrongResultError, match=f"page 9 .* changed at byte {8 * word}"):
        scratch.check_bodies(data, ONE, np.array([9]))


def test_neither_compression_nor_deduplication_helps(scratch: Scratch) -> None:
    """No two pages are equal, and zlib cannot shrink a block."""
    import zlib

    block = np.zeros((1, BLOCK_BYTES // 8), dtype=np.uint64)
    scratch.compose(block, ONE, np.array([0]))
    first = block.tobytes()
    scratch.compose(block, ONE, np.array([256]))
    second = block.tobytes()
    pages = {each[at : at + PAGE_BYTES] for each in (first, second) for at in range(0, BLOCK_BYTES, PAGE_BYTES)}

    assert len(pages) == 512
    assert len(zlib.compress(first, 6)) > 0.99 * BLOCK_BYTES
