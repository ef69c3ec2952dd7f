"""A node's key is its own, its folder has one agent, and its requests never repeat a number."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scheduler.node import identity
from scheduler.node.identity import Enrolment, IdentityError


def test_the_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    """0600, in a folder of 0700."""
    folder = tmp_path / "agent"

    first, second = identity.own_key(folder), identity.own_key(folder)

    assert first.public == second.public
    assert len(bytes.fromhex(first.public)) == 32
    assert (folder / "key").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """With the cure."""
    identity.own_key(tmp_path)
    (tmp_path / "key").chmod(0o640)

    with pytest.raises(IdentityError, match=r"others may read .*; chmod 600 it"):
        identity.own_key(tmp_path)


def test_a_broken_key_is_refused(tmp_path: Path) -> None:
    """Not overwritten: it may be a mistake that can be mended."""
    (tmp_path / "key").write_text("zz")
    (tmp_path / "key").chmod(0o600)

    with pytest.raises(IdentityError, match="is no key"):
        identity.own_key(tmp_path)
    assert (tmp_path / "key").read_text() == "zz"


def test_an_enrolment_is_read_back(tmp_path: Path) -> None:
    """Every field; a broken one says so."""
    kept = Enrolment(server="https://m", node=3, name="n", ca="/ca.pem", executors=("process",))
    identity.keep_enrolment(tmp_path, kept)

    assert identity.enrolment(tmp_path) == kept
    (tmp_path / "node.json").write_text('{"server": 1}')
    with pytest.raises(IdentityError, match=r"node\.json cannot be read"):
        identity.enrolment(tmp_path)


def test_one_agent_holds_a_folder(tmp_path: Path) -> None:
    """Until it lets go, or is gone."""
    lock = identity.only_agent(tmp_path)

    with pytest.raises(IdentityError, match=f"process {os.getpid()}"):
        identity.only_agent(tmp_path)
    lock.close()
    identity.only_agent(tmp_path).close()


def test_numbers_never_come_again(tmp_path: Path) -> None:
    """Even when the calendar is set back."""
    first = identity.first_seq(tmp_path, 1_700_000_000_000)

    assert first == 1_700_000_000_000_000
    assert identity.first_seq(tmp_path, 5) == first + 1_000_000_000
    assert identity.first_seq(tmp_path, 1_800_000_000_000) == 1_800_000_000_000_000
