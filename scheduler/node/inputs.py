"""Puts into a job's folder what it starts with: files and archives from the server or from URLs, and its checkpoint."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import httpx

from scheduler.node import tree
from scheduler.node.cache import Cache, ContentError
from scheduler.node.execution import PrepareError
from scheduler.node.remote import CONNECT_S, TRANSFER_S, RefusedError, Remote, UnreachableError, send
from scheduler.records import Input, JobSpec

REDIRECTS_MAX = 5
#: how often a source that is away is tried before the attempt is given up for another node
TRIES = 5


class Fetcher:
    """Fetches by content: whatever the source, what arrives is what its SHA-256 says, or nothing."""

    def __init__(
        self,
        remote: Remote,
        cache: Cache,
        *,
        pauses: Callable[[], Callable[[], float]],
        web: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`web` stands in for the network, for what is named by URL."""
        self._remote, self._cache, self._pauses, self._transport = remote, cache, pauses, web
        self._web: httpx.AsyncClient | None = None  # made when it is first needed: its authorities take 10 MiB

    async def close(self) -> None:
        """Close the connections."""
        if self._web is not None:
            await self._web.aclose()

    async def fill(self, token: int, spec: JobSpec, checkpoint_sha256: str | None, work: Path) -> None:
        """Put everything in place.

        Raises:
            PrepareError: something cannot be had, or is not what it was said to be.
        """
        limit_bytes = spec.resources.disk_bytes
        for one in spec.inputs:
            await self._place(token, one, work, limit_bytes)
        if spec.checkpoint is None:
            return
        folder = inside(work, spec.checkpoint)
        folder.mkdir(parents=True, exist_ok=True)
        if checkpoint_sha256 is not None:
            packed = Input(to=spec.checkpoint, sha256=checkpoint_sha256, unpack=True)
            await self._place(token, packed, work, limit_bytes)

    async def _place(self, token: int, one: Input, work: Path, limit_bytes: int) -> None:
        target = work if one.unpack and one.to == "." else inside(work, one.to)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = work / f".{one.sha256}.part" if one.unpack else target
            target.unlink(missing_ok=True) if not one.unpack else None
            if not await asyncio.to_thread(self._cache.copy, one.sha256, copy):
                await self._fetch(token, one, limit_bytes)
                if not await asyncio.to_thread(self._cache.copy, one.sha256, copy):
                    raise PrepareError(f"the input {one.to} rots in the cache as soon as it is written; check the disk")
            if one.unpack:
                target.mkdir(exist_ok=True)
                await asyncio.to_thread(tree.unpack, copy, target, limit_bytes=limit_bytes)
                copy.unlink()
            elif one.executable:
                copy.chmod(0o755)
        except OSError as error:
            raise PrepareError(f"the input {one.to} cannot be written: {error.strerror}") from error
        except tree.TreeError as error:
            raise PrepareError(f"the input {one.to}: {error}") from error

    async def _fetch(self, token: int, one: Input, limit_bytes: int) -> None:
        pause = self._pauses()
        most = limit_bytes if one.size_bytes is None else min(limit_bytes, one.size_bytes)
        for tries_left in reversed(range(TRIES)):
            pieces = self._remote.blob(token, one.sha256) if one.url is None else download(self._client(), one.url)
            try:
                await self._cache.keep(one.sha256, pieces, limit_bytes=most)
            except (ContentError, RefusedError) as error:
                raise PrepareError(f"the input {one.to}: {error}") from error
            except UnreachableError as error:
                if not tries_left:
                    raise PrepareError(f"the input {one.to}: {error}") from error
                await asyncio.sleep(pause())
            else:
                return

    def _client(self) -> httpx.AsyncClient:
        """It knows nothing of the server and its authority."""
        if self._web is None:
            timeout = httpx.Timeout(TRANSFER_S, connect=CONNECT_S)
            self._web = httpx.AsyncClient(
                transport=self._transport, timeout=timeout, follow_redirects=True, max_redirects=REDIRECTS_MAX
            )
        return self._web


async def download(client: httpx.AsyncClient, url: str) -> AsyncIterator[bytes]:
    """The bytes at a URL, http or https, also after a redirection.

    Raises:
        UnreachableError: they could not be had now.
        RefusedError: they cannot be had.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise RefusedError(0, "", "only http and https are fetched", {})
    response = await send(client, client.build_request("GET", url), stream=True)
    try:
        if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise UnreachableError(f"{response.url.host} cannot do it now ({response.status_code})")
        if response.status_code != httpx.codes.OK:
            raise RefusedError(response.status_code, "", response.reason_phrase, {})
        async for piece in response.aiter_bytes():
            yield piece
    except httpx.HTTPError as error:
        raise UnreachableError(f"the transfer broke off: {error}") from error
    finally:
        await response.aclose()


def inside(work: Path, relative: str) -> Path:
    """Where `relative` lies in the job's folder, with no link on the way.

    Raises:
        PrepareError: it leads out of the folder.
    """
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in relative:
        raise PrepareError(f"{relative!r} does not lie in the job's folder")
    found = work
    for part in path.parts:
        found = found / part
        if os.path.islink(found):  # noqa: PTH114 - Path.is_symlink raises on loops
            raise PrepareError(f"{relative!r} leads through a link")
    return found
