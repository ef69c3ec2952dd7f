"""Calls to the server: signed, repeated where that may help, told apart where it may not."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from scheduler.node import identity
from scheduler.node.identity import IdentityError
from scheduler.node.remote import (
    CertificateError,
    RefusedError,
    Remote,
    StaleEpochError,
    UnreachableError,
    WrongOffsetError,
)
from scheduler.node.trust import trusted
from scheduler.node.waiting import pauses
from scheduler.wire import SyncRequest
from tests.scheduler.node.agents import run
from tests.scheduler.node.fake_server import FakeServer, problem

REQUEST = SyncRequest(boot_id="b", held=(), wait=False)


def remote(folder: Path, transport: httpx.AsyncBaseTransport) -> Remote:
    """One node's, number 3."""
    key = identity.own_key(folder)
    if isinstance(transport, FakeServer):
        transport.public_key = key.public
    return Remote("http://market", node=3, key=key, first_seq=10, transport=transport)


def tell(folder: Path, transport: httpx.AsyncBaseTransport, call: Callable[[Remote], Any]) -> Any:
    """Make one call, with a registration before it where the server is a whole one."""

    async def story() -> Any:
        made = remote(folder, transport)
        try:
            if isinstance(transport, FakeServer):
                await made.register("b")
            return await call(made)
        finally:
            await made.close()

    return asyncio.run(story())


def answering(status: int, **document: Any) -> httpx.MockTransport:
    """A server that says one thing."""
    return httpx.MockTransport(lambda request: httpx.Response(status, json=document))


def test_every_call_has_a_number_of_its_own(tmp_path: Path) -> None:
    """And the server saw each of them once."""
    server = FakeServer()

    tell(tmp_path, server, lambda made: made.append_log(7, "out", 0, b"hello"))

    assert server.seqs == [11, 12]
    assert bytes(server.logs[7, "out"]) == b"hello"


def test_a_restarted_server_is_signed_for_again(tmp_path: Path) -> None:
    """Streamed content too: it is read anew."""
    server = FakeServer()
    reads: list[int] = []
    sha256 = hashlib.sha256(b"onetwo").hexdigest()

    async def content() -> AsyncIterator[bytes]:
        reads.append(1)
        for piece in (b"one", b"two"):
            yield piece

    async def call(made: Remote) -> None:
        server.boot = 5
        await made.put(7, "artifacts", sha256, content, 6)

    tell(tmp_path, server, call)

    assert server.files == {sha256: b"onetwo"}
    assert server.registrations == ["b"]
    assert len(reads) == 2


def test_a_replayed_number_is_counted_on(tmp_path: Path) -> None:
    """As after a clock that was set back."""
    server = FakeServer(seqs=[12])

    tell(tmp_path, server, lambda made: made.sync(REQUEST, held_back_s=0))

    assert server.seqs == [12, 11, 13]


def test_a_stale_epoch_is_told_apart(tmp_path: Path) -> None:
    """It is to be tried again after a registration."""
    server = FakeServer()

    async def call(made: Remote) -> None:
        server.epoch = 9
        await made.sync(REQUEST, held_back_s=0)

    with pytest.raises(StaleEpochError):
        tell(tmp_path, server, call)


def test_a_wrong_offset_says_the_right_one(tmp_path: Path) -> None:
    """Where to go on from."""
    server = FakeServer(logs={(7, "out"): bytearray(b"12345")})

    with pytest.raises(WrongOffsetError) as caught:
        tell(tmp_path, server, lambda made: made.append_log(7, "out", 0, b"12345678"))
    assert caught.value.offset == 5


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        (500, UnreachableError, r"the server cannot do it now \(500\): oh"),
        (503, UnreachableError, r"the server cannot do it now \(503\): oh"),
        (429, UnreachableError, r"the server cannot do it now \(429\): oh"),
        (403, RefusedError, r"the server refused \(403\): oh"),
        (422, RefusedError, r"the server refused \(422\): oh"),
    ],
)
def test_what_may_pass_is_told_from_what_will_not(
    tmp_path: Path, status: int, error: type[Exception], text: str
) -> None:
    """In one sentence either way."""
    with pytest.raises(error, match=text):
        tell(tmp_path, answering(status, detail="oh"), lambda made: made.sync(REQUEST, held_back_s=0))


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (httpx.Response(200, text="<html>"), "the server's answer is not to be understood"),
        (httpx.Response(200, json={"wishes": [], "unknown": 1}), "the server's answer is not to be understood"),
        (httpx.Response(418, text="short and stout"), r"the server refused \(418\)"),
    ],
)
def test_what_is_no_answer_of_ours_is_no_crash(tmp_path: Path, answer: httpx.Response, text: str) -> None:
    """A proxy's page, another version's document."""
    transport = httpx.MockTransport(lambda request: answer)
    with pytest.raises((UnreachableError, RefusedError), match=text):
        tell(tmp_path, transport, lambda made: made.sync(REQUEST, held_back_s=0))


@pytest.mark.parametrize(
    ("raised", "error", "text"),
    [
        (httpx.ConnectError("refused"), UnreachableError, "http://market cannot be reached: refused"),
        (httpx.ReadTimeout("late"), UnreachableError, "http://market did not answer in time"),
        (
            httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate"),
            CertificateError,
            r"the certificate of http://market is not to be believed \(self-signed certificate\); .* --ca",
        ),
    ],
)
def test_why_nobody_answers_is_one_sentence(
    tmp_path: Path, raised: Exception, error: type[Exception], text: str
) -> None:
    """With the cure where there is one."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise raised

    with pytest.raises(error, match=text):
        tell(tmp_path, httpx.MockTransport(fail), lambda made: made.sync(REQUEST, held_back_s=0))


def test_a_blob_comes_in_pieces_or_not_at_all(tmp_path: Path) -> None:
    """A refusal is none of its bytes."""
    server = FakeServer(blobs={"a" * 64: b"content"})

    async def call(made: Remote) -> tuple[bytes, str]:
        whole = b"".join([piece async for piece in made.blob(7, "a" * 64)])
        try:
            async for piece in made.blob(7, "b" * 64):
                whole += piece
        except RefusedError as refusal:
            return whole, refusal.slug
        return whole, ""

    assert tell(tmp_path, server, call) == (b"content", "not-found")


def test_a_server_that_is_none_of_ours_is_noticed(tmp_path: Path) -> None:
    """By the first thing it says."""

    async def story() -> None:
        made = remote(tmp_path, answering(200, hello="world"))
        with pytest.raises(UnreachableError, match="is it a gridmark server"):
            await made.register("b")
        await made.close()

    run(story)


def test_pauses_double_and_half_of_each_is_chance() -> None:
    """0.25 s, 0.5 s, 1 s … up to 20 s."""
    shortest, longest = pauses(lambda: 0.0), pauses(lambda: 1.0)

    assert [shortest() for _ in range(4)] == [0.125, 0.25, 0.5, 1.0]
    assert [longest() for _ in range(9)][-3:] == [16.0, 20.0, 20.0]


def test_jobs_that_wait_are_not_kept_waiting_long() -> None:
    """At most 4 s, a quarter of the lease that a server grants when it has begun anew."""
    held = [True]
    pause = pauses(lambda: 1.0, lambda: held[0])

    assert [pause() for _ in range(7)] == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    held[0] = False
    assert pause() == 20.0


def test_nothing_is_trusted_over_http_and_a_file_is_read_for_https(tmp_path: Path) -> None:
    """A mistake is one sentence."""
    assert trusted("http://market:8700", None) is False
    context = trusted("https://market", None)
    assert isinstance(context, ssl.SSLContext)
    assert context.verify_mode is ssl.CERT_REQUIRED
    for server, ca, text in (
        ("market:8700", None, "expected a URL such as https://market.example:8700, found 'market:8700'"),
        ("http://market", "ca.pem", "use https"),
        ("https://market", str(tmp_path / "none"), "cannot be read as a certificate authority"),
    ):
        with pytest.raises(IdentityError, match=text):
            trusted(server, ca)


def test_a_refusal_is_known_by_its_problem(tmp_path: Path) -> None:
    """Its title, where it has no detail."""
    transport = httpx.MockTransport(lambda request: problem(409, "superseded"))
    with pytest.raises(RefusedError) as caught:
        tell(tmp_path, transport, lambda made: made.append_log(7, "out", 0, b"x"))
    assert (caught.value.slug, caught.value.text) == ("superseded", "superseded")
