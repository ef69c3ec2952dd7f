"""Logs: every byte once and in order, bounded, and readable while they grow."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.store.errors import StoreError
from scheduler.store.logs import Logs, OffsetError, notice

QUOTA = 10
END = notice(QUOTA)


def whole(logs: Logs, token: int = 1) -> bytes:
    """All of a log's stream."""
    return logs.read(token, "out", 0, 1 << 20)


def test_bytes_are_added_at_the_end_and_read_from_anywhere(tmp_path: Path) -> None:
    """A follower reads on from where it was while the log grows."""
    logs = Logs(tmp_path)

    first = logs.append(1, "out", 0, b"abc", quota_bytes=100)
    assert logs.read(1, "out", 0, 100) == b"abc"
    second = logs.append(1, "out", 3, b"de", quota_bytes=100)

    assert (first.size, second.size, second.full) == (3, 5, False)
    assert logs.read(1, "out", 3, 100) == b"de"
    assert logs.read(1, "out", 1, 2) == b"bc"
    assert logs.read(1, "out", 5, 100) == b""
    assert logs.read(1, "err", 0, 100) == b""
    assert (logs.size(1, "out"), logs.size(1, "err"), logs.size(2, "out")) == (5, 0, 0)


@pytest.mark.parametrize("offset", [0, 2, 4, 100])
def test_bytes_that_do_not_follow_are_refused_with_where_to_go_on(tmp_path: Path, offset: int) -> None:
    """Sent twice, or with a gap: nothing is written, and the sender learns the size."""
    logs = Logs(tmp_path)
    logs.append(1, "out", 0, b"abc", quota_bytes=100)

    with pytest.raises(OffsetError) as refused:
        logs.append(1, "out", offset, b"XY", quota_bytes=100)

    assert refused.value.size == 3
    assert whole(logs) == b"abc"


def test_what_is_beyond_the_quota_is_dropped_and_said_once(tmp_path: Path) -> None:
    """The part that fits is kept, a notice ends the log, and whatever comes after changes nothing."""
    logs = Logs(tmp_path)
    logs.append(1, "out", 0, b"12345678", quota_bytes=QUOTA)

    over = logs.append(1, "out", 8, b"90abc", quota_bytes=QUOTA)
    later = [logs.append(1, "out", offset, b"more", quota_bytes=QUOTA) for offset in (13, 0, over.size)]

    assert whole(logs) == b"1234567890" + END
    assert over.full
    assert over.size == 10 + len(END)
    assert {(one.size, one.full) for one in later} == {(over.size, True)}


def test_a_log_that_just_fits_has_no_notice(tmp_path: Path) -> None:
    """Nothing was dropped yet; the next byte is."""
    logs = Logs(tmp_path)

    exact = logs.append(1, "out", 0, b"1234567890", quota_bytes=QUOTA)
    assert not exact.full
    assert whole(logs) == b"1234567890"

    assert logs.append(1, "out", 10, b"x", quota_bytes=QUOTA).full
    assert whole(logs) == b"1234567890" + END


@given(pieces=st.lists(st.binary(max_size=6), max_size=8), lost=st.sets(st.integers(0, 7)), quota=st.integers(0, 30))
def test_whatever_is_lost_or_repeated_the_log_is_a_prefix_of_what_was_printed(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], lost: set[int], quota: int
) -> None:
    """An agent whose answers get lost sends again from where it thinks it is, and goes on from where it is told."""
    logs = Logs(tmp_path_factory.mktemp("logs"))
    printed = b"".join(pieces)
    at, known = 0, 0
    for number, piece in enumerate(pieces):
        at += len(piece)
        try:
            answer = logs.append(1, "out", known, printed[known:at], quota_bytes=quota)
        except OffsetError as error:
            answer = logs.append(1, "out", error.size, printed[error.size : at], quota_bytes=quota)
        if answer.full:
            break
        known = known if number in lost else answer.size

    assert whole(logs) == (printed if len(printed) <= quota else printed[:quota] + notice(quota))


def test_two_senders_at_once_do_not_interleave(tmp_path: Path) -> None:
    """Of 8 that claim the same offset one gets it, each time."""
    logs = Logs(tmp_path)
    won: list[int] = []

    def send() -> None:
        for turn in range(50):
            try:
                logs.append(1, "out", turn * 4, b"abcd", quota_bytes=1_000)
            except OffsetError:
                continue
            won.append(turn)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(won) == len(set(won))
    assert whole(logs) == b"abcd" * len(won)


def test_streams_and_tokens_have_files_of_their_own(tmp_path: Path) -> None:
    """Tokens share folders by the thousand."""
    logs = Logs(tmp_path)
    for token, stream in ((999, "out"), (1_000, "err")):
        logs.append(token, "out" if stream == "out" else "err", 0, b"x", quota_bytes=9)

    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")) == [
        "0/999.out",
        "1/1000.err",
    ]


def test_an_unknown_stream_never_becomes_a_path(tmp_path: Path) -> None:
    """Names come from strangers."""
    with pytest.raises(ValueError, match="expected one of out, err"):
        Logs(tmp_path).size(1, "../../x")  # type: ignore[arg-type]


def test_a_disk_that_fills_up_keeps_what_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender is told no, asks for the size, and goes on from there later."""
    logs = Logs(tmp_path)
    real = os.write

    def two_bytes(file: int, data: memoryview) -> int:
        if os.fstat(file).st_size >= 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, data[:2])

    with monkeypatch.context() as while_full:
        while_full.setattr(os, "write", two_bytes)
        with pytest.raises(StoreError, match="No space left on device"):
            logs.append(1, "out", 0, b"abcd", quota_bytes=100)

    assert logs.size(1, "out") == 2
    logs.append(1, "out", 2, b"cd", quota_bytes=100)
    assert whole(logs) == b"abcd"


def test_sync_makes_both_streams_and_their_names_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files first, then the folder; an attempt that printed nothing needs neither."""
    logs = Logs(tmp_path)
    logs.append(2, "out", 0, b"x", quota_bytes=9)
    logs.append(2, "err", 0, b"y", quota_bytes=9)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))

    logs.sync(1)
    assert synced == []

    logs.sync(2)
    names = [logs.path(2, "out"), logs.path(2, "out").parent, logs.path(2, "err"), logs.path(2, "err").parent]
    assert synced == [path.stat().st_ino for path in names]
