"""`gridmark get`: whole, checked, and nowhere but in its folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gridmark import cli
from tests.server.client_fake import WORD, FakeMarket, answer, problem, serving


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def fake() -> Iterator[FakeMarket]:
    with serving() as found:
        yield found


def leave(fake: FakeMarket, **files: bytes) -> None:
    """A job 7 that left files; "__" in a name stands for a slash."""
    artifacts = []
    for name, content in files.items():
        path = name.replace("__", "/")
        artifacts.append({"path": path, "sha256": digest(content), "size_bytes": len(content)})
        fake.on(f"GET /v1/jobs/7/artifacts/{path}", answer(content))
    fake.on("GET /v1/jobs/7/artifacts", answer({"job": 7, "complete": True, "artifacts": artifacts}))


def get(fake: FakeMarket, *arguments: str | Path) -> Result:
    environment = {"GRIDMARK_SERVER": fake.url, "GRIDMARK_TOKEN": WORD}
    return CliRunner(env=environment).invoke(cli, ["get", *map(str, arguments)], prog_name="gridmark")


def test_what_a_job_left_is_fetched_once(fake: FakeMarket, tmp_path: Path) -> None:
    """Each path on stdout; what is there with the right content is not fetched again."""
    leave(fake, out__model=b"weights", log=b"words")

    first = get(fake, "7", tmp_path / "to")
    again = get(fake, "7", tmp_path / "to")

    assert first.exit_code == again.exit_code == 0
    assert first.stdout == again.stdout == f"{tmp_path}/to/out/model\n{tmp_path}/to/log\n"
    assert (tmp_path / "to/out/model").read_bytes() == b"weights"
    assert sum("/artifacts/" in line for line in fake.lines()) == 2


def test_json_says_what_was_fetched(fake: FakeMarket, tmp_path: Path) -> None:
    """The manifest, with where each file is."""
    leave(fake, log=b"words")

    (found,) = json.loads(get(fake, "7", tmp_path, "--json").stdout)

    assert found == {"path": "log", "sha256": digest(b"words"), "size_bytes": 5, "file": f"{tmp_path}/log"}


@pytest.mark.parametrize("path", ["../out", "/tmp/out", "a/../../out", "", ".", "a\0b"])
def test_no_name_leads_out(fake: FakeMarket, tmp_path: Path, path: str) -> None:
    """Refused before anything is fetched, whatever a server says."""
    artifact = {"path": path, "sha256": digest(b""), "size_bytes": 0}
    fake.on("GET /v1/jobs/7/artifacts", answer({"artifacts": [artifact]}))

    done = get(fake, "7", tmp_path / "to")

    assert done.exit_code == 1
    assert "outside of" in done.stderr
    assert list(tmp_path.rglob("*")) == [tmp_path / "to"]


def test_no_link_leads_out(fake: FakeMarket, tmp_path: Path) -> None:
    """A folder of the target that is a link to elsewhere; a link in the file's own place."""
    (tmp_path / "to").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "to/out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "to/log").symlink_to(tmp_path / "elsewhere/log")
    leave(fake, out__model=b"weights")
    over_folder = get(fake, "7", tmp_path / "to")
    leave(fake, log=b"words")
    over_file = get(fake, "7", tmp_path / "to", "--force")

    assert (over_folder.exit_code, over_file.exit_code) == (1, 0)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert not (tmp_path / "to/log").is_symlink()


def test_another_file_in_its_place_is_kept(fake: FakeMarket, tmp_path: Path) -> None:
    """Unless --force says otherwise."""
    leave(fake, log=b"words")
    (tmp_path / "log").write_text("mine")

    refused = get(fake, "7", tmp_path)
    kept = (tmp_path / "log").read_text()
    forced = get(fake, "7", tmp_path, "--force")

    assert (refused.exit_code, kept, forced.exit_code) == (1, "mine", 0)
    assert (tmp_path / "log").read_text() == "words"


def test_what_arrives_wrong_is_not_kept(fake: FakeMarket, tmp_path: Path) -> None:
    """Another content than its digest says; nothing is left half-done."""
    leave(fake, log=b"words")
    fake.on("GET /v1/jobs/7/artifacts/log", answer(b"wrods"))

    done = get(fake, "7", tmp_path)

    assert done.exit_code == 1
    assert "it was not kept" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_fetch_and_nowhere_to_put_it(fake: FakeMarket, tmp_path: Path) -> None:
    """A job without artifacts is no failure; a file in the folder's place is, and a job that is not yours."""
    leave(fake)
    (tmp_path / "file").touch()

    nothing = get(fake, "7", tmp_path)
    nowhere = get(fake, "7", tmp_path / "file/below")
    fake.on("GET /v1/jobs/7/artifacts", problem(404, "not-found", "there is no job 7"))
    missing = get(fake, "7", tmp_path)

    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert "--artifact" in nothing.stderr
    assert (nowhere.exit_code, missing.exit_code) == (3, 1)
    assert missing.stderr == "gridmark: there is no job 7\n"
