"""A checkpoint folder is carried away when it has changed and is quiet."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from scheduler.node import checkpoint, identity, tree
from scheduler.node.checkpoint import Checkpointer
from scheduler.node.remote import Remote
from tests.scheduler.node.agents import run
from tests.scheduler.node.fake_server import FakeServer, problem


def saving(
    folder: Path, server: FakeServer, story: Callable[[Checkpointer, Path], Awaitable[None]], limit_bytes: int = 100
) -> None:
    """A checkpointer of one folder."""
    state = folder / "state"
    state.mkdir()

    async def told() -> None:
        key = identity.own_key(folder)
        server.public_key = key.public
        remote = Remote("http://market", node=3, key=key, first_seq=1, transport=server)
        await remote.register("b")
        saver = Checkpointer(
            remote, 7, state, folder / "packed.tar", limit_bytes=limit_bytes, pauses=lambda: lambda: 0.0
        )
        saver.begin()
        try:
            await story(saver, state)
        finally:
            await remote.close()

    run(told)
    assert not (folder / "packed.tar").exists()


def write(state: Path, text: str) -> None:
    """What the job does."""
    (state / "step").write_text(text)


def contents(packed: bytes) -> bytes:
    """Of the one file in it."""
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        file = archive.extractfile("step")
        assert file is not None
        return file.read()


def test_what_has_not_changed_is_not_sent_again(tmp_path: Path) -> None:
    """Two changes, two uploads."""
    server = FakeServer()

    async def story(saver: Checkpointer, state: Path) -> None:
        assert await saver.save()
        write(state, "1")
        assert await saver.save()
        assert await saver.save()
        write(state, "22")
        assert await saver.save()

    saving(tmp_path, server, story)

    assert [contents(one) for one in server.checkpoints] == [b"1", b"22"]


def test_a_quiet_folder_is_saved_while_the_job_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it looks the same twice."""
    monkeypatch.setattr(checkpoint, "LOOK_S", 0.005)
    server = FakeServer()

    async def story(saver: Checkpointer, state: Path) -> None:
        work = asyncio.create_task(saver.run())
        write(state, "1")
        await server.until(lambda: bool(server.checkpoints))
        work.cancel()

    saving(tmp_path, server, story)

    assert [contents(one) for one in server.checkpoints] == [b"1"]


def test_one_that_is_too_large_says_so_and_the_job_goes_on(tmp_path: Path) -> None:
    """The next may fit."""
    server = FakeServer()

    async def story(saver: Checkpointer, state: Path) -> None:
        write(state, "12345")
        assert await saver.save()
        assert saver.trouble == "the checkpoint could not be packed: more than 4 bytes"
        write(state, "1234")
        assert await saver.save()
        assert saver.trouble == ""

    saving(tmp_path, server, story, limit_bytes=4)

    assert [contents(one) for one in server.checkpoints] == [b"1234"]


def test_a_server_that_wants_none_is_not_asked_again(tmp_path: Path) -> None:
    """The attempt is not its job's any more."""
    server = FakeServer(refuse=lambda request: problem(409, "superseded") if "checkpoint" in request.url.path else None)

    async def story(saver: Checkpointer, state: Path) -> None:
        write(state, "1")
        assert not await saver.save()
        assert saver.trouble == "the checkpoint was not taken: the server refused (409): superseded"

    saving(tmp_path, server, story)


def test_a_folder_that_is_never_quiet_is_saved_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It changes before every look; after three of them it is not waited for any more, and goes as it is."""
    monkeypatch.setattr(checkpoint, "LOOK_S", 0.005)
    monkeypatch.setattr(checkpoint, "RESTLESS_S", 0.015)
    server = FakeServer()

    async def story(saver: Checkpointer, state: Path) -> None:
        look, save = saver._look, saver.save
        looks = 0

        def restless() -> object:
            nonlocal looks
            looks += 1
            write(state, "x" * looks)
            return look()

        async def save_in_a_pause() -> bool:
            monkeypatch.setattr(saver, "_look", look)
            return await save()

        monkeypatch.setattr(saver, "_look", restless)
        monkeypatch.setattr(saver, "save", save_in_a_pause)
        work = asyncio.create_task(saver.run())
        await server.until(lambda: bool(server.checkpoints))
        work.cancel()

    saving(tmp_path, server, story)

    assert [contents(one) for one in server.checkpoints] == [b"xxx"]


def test_what_changes_while_it_is_packed_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of one state and half of another is none; the next time it is whole."""
    server = FakeServer()
    pack = tree.pack

    def interrupted(folder: Path, target: Path, *, limit_bytes: int) -> None:
        pack(folder, target, limit_bytes=limit_bytes)
        write(folder, "22")

    async def story(saver: Checkpointer, state: Path) -> None:
        write(state, "1")
        monkeypatch.setattr(tree, "pack", interrupted)
        assert await saver.save()
        assert saver.trouble == "the checkpoint could not be packed: it changed meanwhile"
        monkeypatch.setattr(tree, "pack", pack)
        assert await saver.save()
        assert saver.trouble == ""

    saving(tmp_path, server, story)

    assert [contents(one) for one in server.checkpoints] == [b"22"]
