"""What a job leaves behind and wants kept: found by its globs, summed, uploaded."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from functools import lru_cache
from pathlib import Path

from scheduler.node import tree
from scheduler.node.remote import Remote, UnreachableError
from scheduler.records import Artifact

ARTIFACTS_MAX = 10_000


def find(work: Path, globs: Sequence[str], *, limit_bytes: int) -> tuple[Artifact, ...]:
    """The files that match, summed, in the order of their paths; links are passed over.

    Raises:
        TreeError: they are too many or too large.
    """
    found: list[Artifact] = []
    left = limit_bytes
    if not globs:
        return ()
    for entry in tree.walk(work):
        if entry.is_folder or not any(matches(entry.path, pattern) for pattern in globs):
            continue
        left -= entry.facts.st_size
        if left < 0 or len(found) >= ARTIFACTS_MAX:
            raise tree.TreeError(f"the artifacts are more than {limit_bytes} bytes or {ARTIFACTS_MAX} files")
        sha256, size_bytes = _summed(entry)
        found.append(Artifact(path=entry.path, sha256=sha256, size_bytes=size_bytes))
    return tuple(found)


def matches(path: str, pattern: str) -> bool:
    """Whether a relative path matches a glob: * and ? within a name, ** any folders, a folder's name all in it."""
    return _compiled(pattern).fullmatch(path) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    words = []
    for part in parts:
        if part == "**":
            words.append("(?:[^/]+/)*")
        else:
            words.append("".join({"*": "[^/]*", "?": "[^/]"}.get(sign, re.escape(sign)) for sign in part) + "/")
    # a trailing ** means everything below, a plain name also everything in the folder of that name
    text = "".join(words)
    text = text + "[^/]+" if text.endswith("(?:[^/]+/)*") else text[:-1] + "(?:/.+)?"
    return re.compile(text, re.DOTALL)


def _summed(entry: tree.Entry) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with open(entry.open(), "rb") as file:  # noqa: PTH123 - a descriptor
        while piece := file.read(tree.CHUNK_BYTES):
            digest.update(piece)
            size += len(piece)
    return digest.hexdigest(), size


async def upload(
    remote: Remote, token: int, work: Path, found: Sequence[Artifact], pauses: Callable[[], Callable[[], float]]
) -> None:
    """Upload each, one after the other; content that several files share once.

    Raises:
        RefusedError: the server does not want one.
        OSError: one cannot be read any more.
    """
    sent: set[str] = set()
    for one in found:
        if one.sha256 not in sent:
            await persist(
                lambda one=one: remote.put(  # type: ignore[misc]
                    token, "artifacts", one.sha256, lambda: pieces(work / one.path), one.size_bytes
                ),
                pauses,
            )
            sent.add(one.sha256)


async def persist(call: Callable[[], object], pauses: Callable[[], Callable[[], float]]) -> None:
    """Repeat a call until the server can be reached."""
    pause = pauses()
    while True:
        try:
            await call()  # type: ignore[misc]
        except UnreachableError:
            await asyncio.sleep(pause())
        else:
            return


async def pieces(path: Path) -> AsyncIterator[bytes]:
    """A file, read off the loop."""
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, tree.CHUNK_BYTES):
            yield piece
