"""Blobs: under their digest, within a quota, and nothing half."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler import wire
from server.settings import Limits
from tests.server.served import Json, Served, ready_agent

QUOTA = 1000


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path, Limits(blob_quota_bytes=QUOTA, blob_bytes=800)) as found:
        yield found


def put(served: Served, content: bytes, sha256: str | None = None, **headers: str) -> int:
    target = f"/v1/blobs/{sha256 or wire.digest(content)}"
    return served.ask("PUT", target, "renter", content=content, headers=headers).status_code


def kept(served: Served) -> list[Path]:
    """Files of content, finished or not."""
    return [path for path in (served.settings.data / "files").rglob("*") if path.is_file()]


def test_what_is_uploaded_is_there(served: Served) -> None:
    """Twice is once, and empty content is content."""
    assert [put(served, b"x" * 300), put(served, b"x" * 300), put(served, b"")] == [201, 201, 201]

    found = served.ask("GET", f"/v1/blobs/{wire.digest(b'x' * 300)}", "renter").json()
    assert found["size_bytes"] == 300
    assert len(kept(served)) == 2


def test_other_content_than_announced_is_not_kept(served: Served) -> None:
    """422, and no file."""
    assert put(served, b"x", sha256="0" * 64) == 422
    assert kept(served) == []


def test_packed_content_is_refused(served: Served) -> None:
    """The digest is that of the bytes as they come."""
    assert put(served, b"x", **{"Content-Encoding": "gzip"}) == 415


def test_no_blob_is_larger_than_one_may_be(served: Served) -> None:
    """Exactly the limit is taken; the quota left would hold a byte more."""
    assert [put(served, b"x" * 801), put(served, b"x" * 800)] == [413, 201]


def test_an_account_keeps_no_more_than_its_quota(served: Served) -> None:
    """What it has counts; what its jobs leave, too; another account's does not."""
    assert [put(served, b"x" * 600), put(served, b"y" * 401), put(served, b"y" * 400)] == [201, 413, 201]
    token = served.account("other", "renter")
    answer = served.ask("PUT", f"/v1/blobs/{wire.digest(b'z' * 500)}", token=token, content=b"z" * 500)
    assert answer.status_code == 201

    agent = ready_agent(served)
    served.submit(artifacts=["*"])
    refused = agent.leave(agent.assigned()["token"], b"a")
    assert (refused.status_code, refused.json()["type"]) == (413, "/problems/too-large")


def test_an_upload_says_its_length_and_is_held_to_it(served: Served) -> None:
    """411 without one; more than was said is cut off, and nothing of it is kept."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 10
        yield b"x" * 10

    target = f"/v1/blobs/{wire.digest(b'x' * 20)}"
    unsaid = served.ask("PUT", target, "renter", content=pieces())
    more = served.ask("PUT", target, "renter", content=pieces(), headers={"Content-Length": "10"})
    right = served.ask("PUT", target, "renter", content=pieces(), headers={"Content-Length": "20"})
    nonsense = served.ask("PUT", target, "renter", content=pieces(), headers={"Content-Length": "+20"})

    assert (unsaid.status_code, more.status_code, right.status_code, nonsense.status_code) == (411, 413, 201, 400)


def test_an_upload_that_breaks_off_leaves_nothing(served: Served) -> None:
    """Neither a file nor a part of the quota."""

    path = f"/v1/blobs/{wire.digest(b'x' * 20)}"
    coming: Iterator[Json] = iter(
        [{"type": "http.request", "body": b"x" * 10, "more_body": True}, {"type": "http.disconnect"}]
    )
    answered: list[Json] = []
    scope = {
        "type": "http", "method": "PUT", "path": path, "raw_path": path.encode(), "query_string": b"", "scheme": "http",
        "headers": [(b"authorization", f"Bearer {served.tokens['renter']}".encode()), (b"content-length", b"20")],
    }  # fmt: skip

    async def receive() -> Json:
        return next(coming)

    async def send(message: Any) -> None:
        answered.append(message)

    served.run(served.app(scope, receive, send))

    assert answered[0]["status"] == 400
    assert kept(served) == []
    assert put(served, b"x" * 800) == 201
