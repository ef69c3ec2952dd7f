"""Blocks of memory on pages of a chosen size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kernels.cpu.pages import HUGE_BYTES, Backing, Block


def resident_bytes() -> int:
    """What this process holds in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def test_a_block_starts_on_a_large_page_and_is_whole_pages() -> None:
    """5 MiB become three pages of 2 MiB."""
    with Block(5 << 20, huge=True) as block:
        assert block.address % HUGE_BYTES == 0
        assert block.size_bytes == 3 * HUGE_BYTES


def test_arrays_are_views_of_the_same_memory() -> None:
    """What one view writes another reads; offsets are bytes."""
    with Block(HUGE_BYTES, huge=False) as block:
        block.array("f8", 4)[:] = [1.0, 2.0, 3.0, 4.0]

        assert block.array("f8", 2, offset_bytes=16).tolist() == [3.0, 4.0]
        assert block.array("f8", 1).ctypes.data == block.address


def test_a_view_never_passes_the_end() -> None:
    """The slack around a block is not for use."""
    with Block(HUGE_BYTES, huge=False) as block, pytest.raises(ValueError, match="pass the block"):
        block.array("f8", HUGE_BYTES // 8, offset_bytes=8)


def test_small_pages_on_purpose() -> None:
    """With NOHUGEPAGE no part lies on large pages, whatever the system's default."""
    with Block(4 * HUGE_BYTES, huge=False) as block:
        block.array("u1", 4 * HUGE_BYTES)[:] = 1

        assert block.backing() == Backing(page_bytes=4096, huge_ratio=0.0)


def test_backing_is_what_smaps_says_of_this_block(tmp_path: Path) -> None:
    """Three of four large pages are no large pages; another area's figure is not ours."""
    with Block(4 * HUGE_BYTES, huge=True) as block:
        begin = block.address
        text = (
            f"{begin - 8192:x}-{begin:x} rw-p 00000000 00:00 0\nAnonHugePages:    999999 kB\n"
            f"{begin:08x}-{begin + block.size_bytes:x} rw-p 00000000 00:00 0\nSize: 8192 kB\n"
            "AnonHugePages:      6144 kB\n"
        )
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/smaps").write_text(text, encoding="ascii")

        assert block.backing(root=tmp_path) == Backing(page_bytes=4096, huge_ratio=0.75)
        assert block.backing(root=tmp_path / "none") == Backing(page_bytes=None, huge_ratio=None)


def test_closing_frees_while_a_view_lives() -> None:
    """64 MiB go back at once though an array still points there; the array then reads zeros."""
    block = Block(64 << 20, huge=True)
    view = block.array("u1", 64 << 20)
    view[:] = 7
    held = resident_bytes()

    block.close()

    assert held - resident_bytes() >= 60 << 20
    assert not np.any(view[:: 1 << 20])


def test_no_room_is_a_memory_error() -> None:
    """More than the address space holds."""
    with pytest.raises(MemoryError, match="no room"):
        Block(1 << 62, huge=True)
