"""Content that comes in: streamed to the disk as it arrives and counted against its owner's quota."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import TracebackType

from fastapi import Request

from scheduler.clock import Now
from scheduler.control import Control
from scheduler.records import Blob
from scheduler.store.errors import StoreError
from scheduler.store.files import DigestError, Stored, TooLargeError
from server import bodies
from server.problems import ProblemError
from server.runtime import Runtime


async def counted(request: Request, runtime: Runtime, owner: int, sha256: str) -> Blob:
    """Store the body as content of the account `owner`, within its quota.

    Raises:
        ProblemError: it does not fit, or is not what its address says; nothing is kept.
    """
    size = bodies.announced(request)
    if size is None:
        raise ProblemError(
            "length-required", "an upload says its Content-Length, so that it is refused before it is sent"
        )
    await runtime.read(runtime.quotas.check, owner, size)
    with runtime.quotas.reserved(owner, size):
        stored = await take(request, runtime, sha256, min(size, runtime.settings.limits.blob_bytes))
        return await own(runtime, owner, stored)


async def take(request: Request, runtime: Runtime, sha256: str, most: int) -> Stored:
    """Store the body, which must have this digest.

    Raises:
        ProblemError: it has another, or is larger than `most`; nothing is kept.
    """
    bodies.expect_plain(request)
    if (bodies.announced(request) or 0) > most:
        raise _too_large(most)
    writing = runtime.files.blob_writer(limit_bytes=most, expected_sha256=sha256)

    async def leave(kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        await runtime.read(writing.__exit__, kind, error, at)

    try:
        async with AsyncExitStack() as stack:
            writer = await runtime.read(writing.__enter__)
            stack.push_async_exit(leave)
            await bodies.stream(request, most, lambda piece: runtime.read(writer.write, piece))
    except DigestError:
        raise ProblemError("invalid", "the body is not the content that its address announces") from None
    except TooLargeError:
        raise _too_large(most) from None
    except StoreError as error:
        raise ProblemError("unavailable", "the content could not be stored", headers={"Retry-After": "5"}) from error
    return writer.stored()


async def own(runtime: Runtime, owner: int, stored: Stored) -> Blob:
    """Write down whose content it is; when this returns a job may name it."""

    def command(control: Control, now: Now) -> Blob:
        blob = Blob(owner=owner, sha256=stored.sha256, size_bytes=stored.size_bytes, created_ms=now.unix_ms)
        control.book.add(blob)
        return blob

    await runtime.do(command)
    kept = await runtime.read(runtime.reader.blob, owner, stored.sha256)
    assert kept is not None  # noqa: S101 - it was committed
    return kept


def _too_large(most: int) -> ProblemError:
    return ProblemError("too-large", f"at most {most} bytes are taken here", headers={"Connection": "close"})
