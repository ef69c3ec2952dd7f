"""What a job starts with: checked by content, from the server or from the web, and never outside of its folder."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import httpx
import pytest

from scheduler.node import identity
from scheduler.node.cache import Cache
from scheduler.node.execution import PrepareError
from scheduler.node.inputs import TRIES, Fetcher, inside
from scheduler.node.remote import Remote
from scheduler.records import Input, JobSpec, Resources
from tests.scheduler.node.fake_server import FakeServer

DATA = b"data\n"
SHA256 = hashlib.sha256(DATA).hexdigest()
URL = "https://files.example/data"


def fill(
    folder: Path, *inputs: Input, web: httpx.AsyncBaseTransport | None = None, server: FakeServer | None = None
) -> Path:
    """Prepare a job's folder."""
    work = folder / "work"
    work.mkdir(exist_ok=True)

    async def story() -> None:
        made = server or FakeServer()
        key = identity.own_key(folder)
        made.public_key = key.public
        remote = Remote("http://market", node=3, key=key, first_seq=1, transport=made)
        await remote.register("b")
        cache = Cache(folder / "cache", limit_bytes=1 << 20)
        fetcher = Fetcher(remote, cache, pauses=lambda: lambda: 0.0, web=web)
        spec = JobSpec(name="j", command=("true",), inputs=inputs, resources=Resources(disk_bytes=100))
        try:
            await fetcher.fill(7, spec, None, work)
        finally:
            await fetcher.close()
            await remote.close()

    asyncio.run(story())
    return work


def web(*answers: httpx.Response) -> tuple[httpx.MockTransport, list[str]]:
    """A web that gives these answers in turn, the last again and again; and what it was asked."""
    asked: list[str] = []
    left = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return left.pop(0) if len(left) > 1 else left[0]

    return httpx.MockTransport(answer), asked


def test_a_file_from_the_web_is_fetched_once(tmp_path: Path) -> None:
    """The second job of the same content finds it here."""
    transport, asked = web(httpx.Response(200, content=DATA))
    for place in ("a", "deep/b"):
        work = fill(tmp_path, Input(to=place, sha256=SHA256, url=URL), web=transport)

    assert (work / "a").read_bytes() == (work / "deep/b").read_bytes() == DATA
    assert asked == [URL]


def test_a_redirection_is_followed_within_the_web(tmp_path: Path) -> None:
    """Never to a file of the node."""
    transport, asked = web(httpx.Response(302, headers={"Location": "/moved"}), httpx.Response(200, content=DATA))

    assert (fill(tmp_path, Input(to="a", sha256=SHA256, url=URL), web=transport) / "a").read_bytes() == DATA
    assert asked == [URL, "https://files.example/moved"]

    away, _ = web(httpx.Response(302, headers={"Location": "file:///etc/passwd"}))
    with pytest.raises(PrepareError, match="the input b: "):
        fill(tmp_path, Input(to="b", sha256="0" * 64, url=URL), web=away)


@pytest.mark.parametrize(
    ("answer", "one", "reason"),
    [
        (httpx.Response(200, content=b"other"), {}, f"its SHA-256 is .*, expected {SHA256}"),
        (httpx.Response(200, content=DATA), {"size_bytes": 4}, "longer than the 4 bytes"),
        (httpx.Response(200, content=b"x" * 101), {}, "longer than the 100 bytes"),
        (httpx.Response(404), {}, r"the server refused \(404\): Not Found"),
        (httpx.Response(200, content=DATA), {"url": "ftp://files.example/data"}, "only http and https are fetched"),
        (httpx.Response(200, content=DATA), {"unpack": True}, "the archive cannot be unpacked"),
    ],
)
def test_what_is_not_as_said_is_not_used(
    tmp_path: Path, answer: httpx.Response, one: dict[str, object], reason: str
) -> None:
    """The job does not start."""
    transport, _ = web(answer)
    wanted = Input(**{"to": "a", "sha256": SHA256, "url": URL, **one})  # type: ignore[arg-type]

    with pytest.raises(PrepareError, match=f"the input a: .*{reason}"):
        fill(tmp_path, wanted, web=transport)


def test_a_source_that_is_away_is_tried_again(tmp_path: Path) -> None:
    """A few times; then another node may try."""
    good, asked = web(httpx.Response(503), httpx.Response(200, content=DATA))
    assert (fill(tmp_path, Input(to="a", sha256=SHA256, url=URL), web=good) / "a").exists()
    assert len(asked) == 2

    away, asked = web(httpx.Response(503))
    with pytest.raises(PrepareError, match=r"files\.example cannot do it now \(503\)"):
        fill(tmp_path, Input(to="b", sha256="0" * 64, url=URL), web=away)
    assert len(asked) == TRIES


def test_an_executable_is_one(tmp_path: Path) -> None:
    """And nothing else is."""
    server = FakeServer(blobs={SHA256: DATA})
    work = fill(
        tmp_path, Input(to="tool", sha256=SHA256, executable=True), Input(to="data", sha256=SHA256), server=server
    )

    assert (work / "tool").stat().st_mode & 0o777 == 0o755
    assert not (work / "data").stat().st_mode & 0o111


@pytest.mark.parametrize("relative", ["/etc/x", "../x", "a/../../x", "", "a\0b"])
def test_a_place_outside_of_the_folder_is_refused(tmp_path: Path, relative: str) -> None:
    """By its path."""
    with pytest.raises(PrepareError, match="does not lie in the job's folder"):
        inside(tmp_path, relative)


def test_a_place_behind_a_link_is_refused(tmp_path: Path) -> None:
    """An archive may have brought it."""
    (tmp_path / "link").symlink_to("/etc")

    with pytest.raises(PrepareError, match="leads through a link"):
        inside(tmp_path, "link/x")
