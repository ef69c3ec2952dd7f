"""The client: what is tried again and what is not, what a refusal says, nothing lost in a copy."""

from __future__ import annotations

import hashlib
import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from server import client_settings
from server.client import Client, ClientError, ProblemError, Settings, UnreachableError
from server.client_settings import Kept
from tests.server.client_fake import FakeClock, FakeMarket, Handler, answer, hang_up, problem, serving

A, B = "gm_a", "gm_b"


@pytest.fixture
def fake() -> Iterator[FakeMarket]:
    with serving() as found:
        yield found


@pytest.fixture
def time() -> FakeClock:
    return FakeClock()


def client_of(fake: FakeMarket, time: FakeClock) -> Client:
    return Client(fake.settings, clock=time.clock, timeout_s=5)


def test_a_request_says_who_calls_and_keeps_its_connection(fake: FakeMarket, time: FakeClock) -> None:
    """Two requests, one connection, the bearer token in each."""
    fake.on("GET /v1/jobs", answer({"items": []}))

    with client_of(fake, time) as client:
        client.get("/v1/jobs", state="queued,active", limit=None)
        kept = client._kept
        client.get("/v1/jobs")

        assert client._kept is kept
    assert fake.lines() == ["GET /v1/jobs?state=queued%2Cactive", "GET /v1/jobs"]
    assert {one.headers["Authorization"] for one in fake.asked} == {"Bearer gm_test"}


def test_a_submit_whose_answer_was_lost_is_said_again_under_its_key(fake: FakeMarket, time: FakeClock) -> None:
    """The server may have taken it: the second request carries the same key and body."""
    fake.on("POST /v1/jobs", hang_up, answer({"id": 7}, 201))

    with client_of(fake, time) as client:
        job = client.submit({"command": ["true"]}, "k1")

    assert job == {"id": 7}
    assert [(one.headers["Idempotency-Key"], one.json) for one in fake.asked] == [("k1", {"command": ["true"]})] * 2
    assert time.slept_s == [0.1]


def test_what_may_not_be_done_twice_is_not_said_twice(fake: FakeMarket, time: FakeClock) -> None:
    """A new account without a key: nobody knows whether there is one now."""
    fake.on("POST /v1/accounts", hang_up)

    with client_of(fake, time) as client, pytest.raises(UnreachableError, match="does not answer"):
        client.post("/v1/accounts", {"name": "a"})

    assert len(fake.asked) == 1


def test_patience_ends(fake: FakeMarket, time: FakeClock) -> None:
    """0.1 + 0.2 + … + 3.2 + 5 x 5 s: the first try after 30 s is the last."""
    fake.on("GET /v1/jobs/1", hang_up)

    with client_of(fake, time) as client, pytest.raises(UnreachableError, match=r"http://127\.0\.0\.1:\d+ does not"):
        client.get("/v1/jobs/1")

    assert time.slept_s == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5, 5, 5])


def test_nobody_there_is_said_at_once(time: FakeClock) -> None:
    """A wrong address is not waited for."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    client = Client(Settings(server=f"http://127.0.0.1:{port}"), clock=time.clock)

    with pytest.raises(UnreachableError, match=r"does not answer: Connection refused$") as caught:
        client.submit({}, "k")

    assert caught.value.nowhere
    assert time.slept_s == []


def test_busy_is_waited_for_as_long_as_it_says(fake: FakeMarket, time: FakeClock) -> None:
    """429 with Retry-After: 2, then the answer."""
    fake.on("GET /v1/offers", answer({"detail": "slower"}, 429, Retry_After="2"), answer({"items": []}))

    with client_of(fake, time) as client:
        assert client.get("/v1/offers") == {"items": []}

    assert time.slept_s == [2.0]


def test_a_refusal_is_its_problem_document(fake: FakeMarket, time: FakeClock) -> None:
    """Status, kind and sentence; refused once."""
    fake.on("GET /v1/jobs/9", problem(404, "not-found", "no job 9, or not yours"))

    with client_of(fake, time) as client, pytest.raises(ProblemError, match=r"^no job 9, or not yours$") as caught:
        client.get("/v1/jobs/9")

    assert (caught.value.status, caught.value.kind) == (404, "not-found")
    assert len(fake.asked) == 1


def test_a_stranger_s_answer_is_not_taken_for_ours(fake: FakeMarket, time: FakeClock) -> None:
    """A router's page with status 200, and one with 404."""
    fake.on("GET /v1/jobs", answer(b"<html>Welcome"))
    fake.on("GET /v1/nodes", answer(b"<html>Not here", 404))

    with client_of(fake, time) as client:
        with pytest.raises(UnreachableError, match="not as a gridmark server"):
            client.get("/v1/jobs")
        with pytest.raises(ProblemError, match="no gridmark server: <html>Not here"):
            client.get("/v1/nodes")


@pytest.mark.parametrize("address", ["127.0.0.1:8700", "ftp://host", "http://", "", "http://host:99999"])
def test_an_address_is_a_url(address: str) -> None:
    """Said before anything is sent."""
    with pytest.raises(ClientError, match="http://HOST:PORT"):
        Client(Settings(server=address))


def test_content_the_server_has_is_not_sent(fake: FakeMarket, time: FakeClock) -> None:
    """Asked by digest first."""
    sha256 = hashlib.sha256(b"data").hexdigest()
    fake.on(f"HEAD /v1/blobs/{sha256}", answer(b"", 404), answer(b""))
    fake.on(f"PUT /v1/blobs/{sha256}", answer({}, 201))

    with client_of(fake, time) as client:
        assert client.put_blob(io.BytesIO(b"data"), sha256, 4)
        assert not client.put_blob(io.BytesIO(b"data"), sha256, 4)

    assert [(one.method, one.body) for one in fake.asked] == [("HEAD", b""), ("PUT", b"data"), ("HEAD", b"")]


def test_an_upload_that_broke_is_sent_whole_again(fake: FakeMarket, time: FakeClock) -> None:
    """From its first byte."""
    sha256 = hashlib.sha256(b"data").hexdigest()
    fake.on(f"PUT /v1/blobs/{sha256}", hang_up, answer({}, 201))

    with client_of(fake, time) as client:
        client.put_blob(io.BytesIO(b"data"), sha256, 4)

    assert [one.body for one in fake.asked if one.method == "PUT"] == [b"data", b"data"]


def half(handler: Handler) -> None:
    """Two bytes of four, and an end that looks in order."""
    handler.send_response(200)
    handler.send_header("Content-Length", "4")
    handler.end_headers()
    handler.wfile.write(b"da")
    handler.close_connection = True


def test_a_copy_cut_short_is_begun_anew(fake: FakeMarket, time: FakeClock, tmp_path: Path) -> None:
    """Content-Length 4, two bytes come, the connection ends: the file holds the second answer alone."""
    fake.on("GET /v1/x", half, answer(b"data"))

    with client_of(fake, time) as client, (tmp_path / "copy").open("w+b") as file:
        assert client.fetch("/v1/x", file) == (hashlib.sha256(b"data").hexdigest(), 4)
        file.seek(0)

        assert file.read() == b"data"
    assert len(fake.asked) == 2


def test_settings_come_from_the_environment_first(tmp_path: Path) -> None:
    """Then from the file, by role; the file's tokens go to the file's server only."""
    client_settings.save(tmp_path, Kept(server="http://a:1", tokens={"renter": A, "operator": B}))
    kept = {"GRIDMARK_DATA": str(tmp_path)}

    assert client_settings.load(kept) == Settings(server="http://a:1", token=A)
    assert client_settings.load(kept, "operator") == Settings(server="http://a:1", token=B)
    assert client_settings.load({**kept, "GRIDMARK_SERVER": "http://a:1/"}).token == A
    assert client_settings.load({**kept, "GRIDMARK_SERVER": "http://evil:1"}) == Settings(server="http://evil:1")
    assert client_settings.load({**kept, "GRIDMARK_TOKEN": "gm_c"}) == Settings(server="http://a:1", token="gm_c")  # noqa: S106
    assert client_settings.load({"GRIDMARK_DATA": "/nowhere"}) == Settings(server="http://127.0.0.1:8700")


def test_the_tokens_file_is_its_owner_s_alone(tmp_path: Path) -> None:
    """0600, also when an open one stood there before."""
    (tmp_path / "client.json").write_text("{}")
    (tmp_path / "client.json").chmod(0o644)

    path = client_settings.save(tmp_path, Kept(server="http://a:1", tokens={"renter": A}))

    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text()) == {"server": "http://a:1", "tokens": {"renter": A}}


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"server": 1, "tokens": {}}', '{"server": "x", "tokens": {"a": 1}}']
)
def test_a_damaged_file_is_said(tmp_path: Path, content: str) -> None:
    """Not taken for none."""
    (tmp_path / "client.json").write_text(content)

    with pytest.raises(ClientError, match="damaged"):
        client_settings.load({"GRIDMARK_DATA": str(tmp_path)})


def test_the_data_folder_is_qualify_s() -> None:
    """client_settings spells it out once more, because qualify.history loads all records."""
    from qualify import history, places

    for environment in ({"GRIDMARK_DATA": "/d"}, {"XDG_DATA_HOME": "/x", "HOME": "/h"}, {"HOME": "/h"}):
        assert places.data_folder(environment) / "reports" == history.folder(environment)
