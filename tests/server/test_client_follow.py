"""Following a job's output: no byte lost or shown twice, however often the connection breaks."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from server.client import Client, ProblemError, UnreachableError
from server.client_follow import Chunk, End, Place, Watch, follow, so_far
from tests.server.client_fake import FakeClock, FakeMarket, answer, hang_up, lines, problem, serving

LOGS = "GET /v1/jobs/7/logs"
END = {"end": {"state": "done", "exit_code": 0, "reason": ""}}


@pytest.fixture
def fake() -> Iterator[FakeMarket]:
    with serving() as found:
        yield found


def out(offset: int, text: str) -> dict[str, object]:
    return {"stream": "out", "offset": offset, "data": text}


def collected(fake: FakeMarket, time: FakeClock | None = None, **wishes: object) -> list[Chunk | End]:
    clock = (time or FakeClock()).clock
    with Client(fake.settings, clock=clock) as client:
        return list(follow(client, 7, Place(), **{"watch": Watch(), **wishes}))  # type: ignore[arg-type]


def test_output_comes_as_it_was_written(fake: FakeMarket) -> None:
    """Both streams, text and bytes that are no UTF-8, then the end."""
    raw = base64.b64encode(b"\xff\x00").decode()
    fake.on(LOGS, lines(out(0, "é\n"), {"stream": "err", "offset": 0, "data64": raw}, END))

    assert collected(fake) == [Chunk("out", b"\xc3\xa9\n"), Chunk("err", b"\xff\x00"), End("done", 0, "")]
    assert fake.lines() == [f"{LOGS}?follow=1&out=0&err=0"]


def test_a_broken_connection_is_taken_up_where_it_broke(fake: FakeMarket) -> None:
    """Broken in the middle of a line: that line is asked for again, by its offset."""
    fake.on(LOGS, lines(out(0, "one\n"), cut=b'{"stream": "out", "offs'), lines(out(4, "two\n"), END))

    assert collected(fake) == [Chunk("out", b"one\n"), Chunk("out", b"two\n"), End("done", 0, "")]
    assert fake.lines()[1] == f"{LOGS}?follow=1&out=4&err=0"


def test_an_answer_that_ends_before_the_job_is_no_end(fake: FakeMarket) -> None:
    """The server stopped in good order: its clients come back."""
    fake.on(LOGS, lines(out(0, "one\n")), lines(END))

    assert collected(fake) == [Chunk("out", b"one\n"), End("done", 0, "")]


def test_what_was_seen_is_not_shown_again(fake: FakeMarket) -> None:
    """A server that goes back a little, and one that has lost a little."""
    fake.on(LOGS, lines(out(0, "abc"), out(1, "bcd"), out(2, "cd"), out(10, "k"), END))

    assert collected(fake) == [Chunk("out", b"abc"), Chunk("out", b"d"), Chunk("out", b"k", 6), End("done", 0, "")]


def test_a_lost_server_is_said_once_and_its_return_once(fake: FakeMarket) -> None:
    """Four tries; the first failure is not worth a word."""
    heard: list[str] = []
    watch = Watch(lost=heard.append, found=lambda: heard.append("back"))
    fake.on(LOGS, hang_up, problem(503, "unavailable", "not now"), hang_up, lines(END))
    time = FakeClock()

    assert collected(fake, time, watch=watch) == [End("done", 0, "")]
    assert heard == ["not now", "back"]
    assert time.slept_s == pytest.approx([0.1, 0.2, 0.4])


def test_a_server_gone_for_long_ends_it(fake: FakeMarket) -> None:
    """After the patience, with what it was."""
    fake.on(LOGS, hang_up)

    with pytest.raises(UnreachableError, match="has not answered for 8 s"):
        collected(fake, patience_s=8)


@pytest.mark.parametrize(
    "nonsense", [b"{", b"[1]\n", b'{"stream": "out"}\n', b'{"stream":"out","offset":0,"data64":"x"}\n']
)
def test_nonsense_is_a_server_that_does_not_answer(fake: FakeMarket, nonsense: bytes) -> None:
    """Tried again, given up after the patience, never shown."""
    fake.on(LOGS, answer(nonsense))

    with pytest.raises(UnreachableError):
        collected(fake, patience_s=1)


def test_somebody_else_s_job_is_refused_at_once(fake: FakeMarket) -> None:
    """Nothing is tried again."""
    fake.on(LOGS, problem(404, "not-found", "no job 7"))

    with pytest.raises(ProblemError, match="no job 7"):
        collected(fake)
    assert len(fake.asked) == 1


def test_silence_is_asked_about_and_listened_to_again(fake: FakeMarket) -> None:
    """A quiet connection is replaced, which is how a dead one is found; nothing is said to have been lost."""
    import threading

    told, heard = threading.Event(), []

    def quiet() -> float:
        heard.append("quiet")
        told.set()
        return 5.0

    watch = Watch(quiet=quiet, lost=heard.append)
    fake.on(LOGS, lines(out(0, "a"), then=told.wait), lines(END))

    assert collected(fake, watch=watch, first_s=0.05) == [Chunk("out", b"a"), End("done", 0, "")]
    assert heard == ["quiet"]
    assert fake.lines()[1] == f"{LOGS}?follow=1&out=1&err=0"


def test_so_far_is_what_is_there(fake: FakeMarket) -> None:
    """Stream after stream, from the offsets on, until nothing more comes."""
    fake.on(LOGS, answer(b"abc"), answer(b"d"), answer(b""), answer(b"\xff"), answer(b""))

    with Client(fake.settings, clock=FakeClock().clock) as client:
        found = list(so_far(client, 7, Place({"out": 5, "err": 5})))

    assert found == [Chunk("out", b"abc"), Chunk("out", b"d"), Chunk("err", b"\xff")]
    assert [line.rpartition("&limit")[0].partition("?")[2] for line in fake.lines()] == [
        "stream=out&offset=5",
        "stream=out&offset=8",
        "stream=out&offset=9",
        "stream=err&offset=5",
        "stream=err&offset=6",
    ]
