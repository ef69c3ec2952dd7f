"""The cache keeps what its name says, gives copies, and stays within its bounds."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scheduler.node.cache import Cache, ContentError


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    """Content as it arrives."""
    for part in parts:
        yield part


def keep(cache: Cache, *parts: bytes, sha256: str = "", limit_bytes: int = 100) -> str:
    """Fetch content under its own name, or another."""
    name = sha256 or hashlib.sha256(b"".join(parts)).hexdigest()
    asyncio.run(cache.keep(name, pieces(*parts), limit_bytes=limit_bytes))
    return name


def test_content_comes_back(tmp_path: Path) -> None:
    """As a copy: writing to it changes nothing here."""
    cache = Cache(tmp_path / "cache", limit_bytes=100)
    name = keep(cache, b"one ", b"two")

    assert cache.copy(name, tmp_path / "a")
    (tmp_path / "a").write_bytes(b"changed")
    assert cache.copy(name, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"one two"


def test_other_content_than_its_name_says_is_not_kept(tmp_path: Path) -> None:
    """Nor anything of it."""
    cache = Cache(tmp_path / "cache", limit_bytes=100)

    with pytest.raises(ContentError, match=f"expected {'0' * 64}"):
        keep(cache, b"one", sha256="0" * 64)
    assert list((tmp_path / "cache").iterdir()) == []


def test_longer_content_than_allowed_is_not_kept(tmp_path: Path) -> None:
    """It is not read to its end either."""
    cache = Cache(tmp_path / "cache", limit_bytes=100)

    with pytest.raises(ContentError, match="longer than the 4 bytes"):
        keep(cache, b"one", b"two", limit_bytes=4)
    assert list((tmp_path / "cache").iterdir()) == []


def test_content_that_has_rotted_is_dropped(tmp_path: Path) -> None:
    """It is checked at every use."""
    cache = Cache(tmp_path / "cache", limit_bytes=100)
    name = keep(cache, b"one")
    (tmp_path / "cache" / name).write_bytes(b"two")

    assert not cache.copy(name, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_longest_unused_goes_first(tmp_path: Path) -> None:
    """Ten bytes: of three times four, the one not used since goes."""
    cache = Cache(tmp_path / "cache", limit_bytes=10)
    first, second = keep(cache, b"1111"), keep(cache, b"2222")
    os.utime(tmp_path / "cache" / first, ns=(1, 1))
    os.utime(tmp_path / "cache" / second, ns=(2, 2))
    assert cache.copy(first, tmp_path / "a")
    third = keep(cache, b"3333")

    assert {path.name for path in (tmp_path / "cache").iterdir()} == {first, third}


def test_room_is_made_for_a_job(tmp_path: Path) -> None:
    """As much as it takes, and no more."""
    cache = Cache(tmp_path / "cache", limit_bytes=100)
    names = [keep(cache, digit * 4) for digit in (b"1", b"2", b"3")]
    for place, name in enumerate(names):
        os.utime(tmp_path / "cache" / name, ns=(place, place))

    def free_bytes() -> int:
        return 100 - sum(path.stat().st_size for path in (tmp_path / "cache").iterdir())

    assert cache.make_room(96, free_bytes=free_bytes)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [names[2]]
    assert not cache.make_room(101, free_bytes=free_bytes)
