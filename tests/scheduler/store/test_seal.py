"""Secrets at rest tell nothing, and open only as what they were sealed as."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from scheduler.store.errors import StoreError
from scheduler.store.seal import Sealer, make_key, read_key

KEY = bytes(range(32))


def test_what_was_sealed_opens_and_does_not_show(tmp_path: Path) -> None:
    """Also an empty value, and one that is no ASCII."""
    sealer = Sealer(KEY)
    for value in ("s3cret", "", "schlüssel 🔑"):
        row = sealer.seal(7, "TOKEN", value)

        assert sealer.open(7, "TOKEN", row.sealed) == value
        assert value == "" or value.encode() not in row.sealed


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    """Nobody can tell that two jobs share a password."""
    sealer = Sealer(KEY)

    assert sealer.seal(7, "TOKEN", "x").sealed != sealer.seal(7, "TOKEN", "x").sealed


@pytest.mark.parametrize(("job", "name"), [(8, "TOKEN"), (7, "OTHER")])
def test_a_secret_does_not_open_as_another(job: int, name: str) -> None:
    """A row that was copied to another tenant's job is of no use."""
    sealer = Sealer(KEY)
    row = sealer.seal(7, "TOKEN", "s3cret")

    with pytest.raises(StoreError, match=f"secret {name} of job {job} cannot be opened"):
        sealer.open(job, name, row.sealed)


@pytest.mark.parametrize("broken", [lambda s: s[:-1] + bytes([s[-1] ^ 1]), lambda s: s[:5], lambda s: b""])
def test_a_changed_secret_does_not_open(broken: object) -> None:
    """Authenticated encryption: one bit is enough."""
    sealer = Sealer(KEY)
    assert callable(broken)

    with pytest.raises(StoreError, match="cannot be opened"):
        sealer.open(7, "TOKEN", broken(sealer.seal(7, "TOKEN", "s3cret").sealed))


def test_another_key_does_not_open_it() -> None:
    """And the two are told apart by a mark that is not the key."""
    mine, other = Sealer(KEY), Sealer(bytes(32))

    with pytest.raises(StoreError, match="another key sealed it"):
        other.open(7, "TOKEN", mine.seal(7, "TOKEN", "x").sealed)
    assert mine.mark != other.mark
    assert mine.mark not in KEY.hex()


def test_a_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    """Mode 0600, and never replaced."""
    path = tmp_path / "gridmark.db.key"

    key = make_key(path, random=lambda size: KEY[:size])

    assert key == KEY == read_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["gridmark.db.key"]
    with pytest.raises(StoreError, match="File exists"):
        make_key(path)
    assert read_key(path) == KEY


def test_a_missing_key_is_none(tmp_path: Path) -> None:
    """The caller decides whether one may be made."""
    assert read_key(tmp_path / "gridmark.db.key") is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """As ssh refuses it."""
    path = tmp_path / "key"
    path.write_bytes(KEY)
    path.chmod(mode)

    with pytest.raises(StoreError, match="chmod 600"):
        read_key(path)


@pytest.mark.parametrize("content", [b"", KEY[:31], KEY + b"\n"])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    """Half a key, or one an editor saved."""
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(StoreError, match="should have 32 bytes"):
        read_key(path)
