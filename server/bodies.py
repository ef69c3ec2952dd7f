"""What comes in a request's body: counted as it arrives, parsed strictly, and only after it is known who sends it."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import Request
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from qualify import codec
from server.problems import ProblemError, faults_of
from server.schemas.base import Document

D = TypeVar("D", bound=Document)
JSON = "application/json"
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)
_PIECE = 1 << 20


def announced(request: Request) -> int | None:
    """The length that the sender says the body has; None when it says none.

    Raises:
        ProblemError: it says nonsense.
    """
    text = request.headers.get("content-length")
    if text is None:
        return None
    if not _LENGTH.fullmatch(text):
        raise ProblemError("bad-request", "Content-Length is a whole number")
    return int(text)


async def stream(request: Request, most: int, take: Callable[[bytes], Awaitable[None]]) -> int:
    """Hand over the body piece by piece; how many bytes it had.

    Raises:
        ProblemError: it is larger than `most`; nothing beyond that was handed over.
    """
    if (announced(request) or 0) > most:
        raise _too_large(most)
    size = 0
    try:
        async for piece in request.stream():
            size += len(piece)
            if size > most:
                raise _too_large(most)
            if piece:
                await take(piece)
    except ClientDisconnect:
        raise ProblemError("bad-request", "the body broke off") from None  # nobody hears it but the log
    return size


async def read(request: Request, most: int) -> bytes:
    """The whole body, `most` bytes at the most."""
    whole = bytearray()

    async def take(piece: bytes) -> None:
        whole.extend(piece)

    await stream(request, most, take)
    return bytes(whole)


def expect_type(request: Request, *kinds: str) -> None:
    """Refuse a body of another type.

    Raises:
        ProblemError: Content-Type is none of `kinds`.
    """
    expect_kind(request.headers.get("content-type", ""), *kinds)


def expect_kind(content_type: str, *kinds: str) -> None:
    """The same of a header's value.

    Raises:
        ProblemError: it is none of `kinds`.
    """
    if content_type.partition(";")[0].strip().lower() not in kinds:
        raise ProblemError("unsupported-media-type", f"expected Content-Type: {' or '.join(kinds)}")


def expect_plain(request: Request) -> None:
    """Refuse a body that is packed.

    Raises:
        ProblemError: it says so.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise ProblemError("unsupported-media-type", "a packed body is taken for reports only")


def parse(content: bytes) -> object:
    """Strict JSON: no NaN, no key twice, no endless nesting.

    Raises:
        ProblemError: it is none.
    """
    try:
        return codec.parse(content)
    except codec.RecordError as error:
        raise ProblemError("bad-request", f"the body is not JSON as we take it: {without_quotes(error)}") from None


def validated(model: type[D], data: object) -> D:
    """The document in parsed JSON.

    Raises:
        ProblemError: it is none; says each fault with its place, never with its value.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        faults = faults_of(error.errors(include_url=False, include_input=False, include_context=False), place="body")
        text = "; ".join(f"{fault.at}: {fault.text}" for fault in faults[:3])
        raise ProblemError("invalid", text, faults) from None


async def document(request: Request, model: type[D], most: int) -> D:
    """Read, parse and validate a JSON body."""
    expect_type(request, JSON)
    expect_plain(request)
    return validated(model, parse(await read(request, most)))


def unpacked(content: bytes, most: int) -> bytes:
    """A gzip member's content, stopped as soon as it is more than `most` bytes.

    Raises:
        ProblemError: it is none, cut short, followed by something, or too large.
    """
    inflater = zlib.decompressobj(wbits=31)
    try:
        found = inflater.decompress(content, most + 1)
    except zlib.error:
        raise ProblemError("bad-request", "the body is not gzip") from None
    if len(found) > most:
        raise _too_large(most)
    if not inflater.eof or inflater.unused_data:
        raise ProblemError("bad-request", "the body is not one whole gzip member")
    return found


def digest(content: bytes) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(content).hexdigest()


def accepts(model: type[Document], *, required: bool = True) -> dict[str, Any]:
    """What the OpenAPI document says of a body that we read ourselves; see app.py for where the schema comes from."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": required, "content": {JSON: {"schema": schema}}}}


def accepts_bytes(kind: str = "application/octet-stream") -> dict[str, Any]:
    """The same for a body that is just bytes."""
    return {"requestBody": {"required": True, "content": {kind: {"schema": {"type": "string", "format": "binary"}}}}}


def _too_large(most: int) -> ProblemError:
    return ProblemError("too-large", f"at most {most} bytes are taken here", headers={"Connection": "close"})


def without_quotes(error: codec.RecordError) -> str:
    """The parser's words, less what they quote of the text: a secret may stand there."""
    return re.sub(r"'[^']*'|\"[^\"]*\"", "…", error.problem)[:200]
