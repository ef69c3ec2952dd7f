"""The server as a node sees it: every call signed, every failure told apart by what can be done about it."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from qualify.records import Json
from scheduler import codec, wire
from scheduler.node.identity import Key
from scheduler.records import Stream

CONNECT_S = 3.0
#: an answer to a sync that is later than this is not waited for: within one lease there must be time for another
SYNC_LATE_S = 3.0
#: of a call that is not held back
ANSWER_S = 15.0
#: of bytes on their way up or down
TRANSFER_S = 60.0
PROBLEM_MAX_CHARS = 500

Content = bytes | Callable[[], AsyncIterator[bytes]]


class RemoteError(Exception):
    """A call that did not succeed; one sentence."""


class UnreachableError(RemoteError):
    """No answer, or one that the server itself did not mean: to be tried again."""


class StaleEpochError(UnreachableError):
    """Somebody registered as this node since: to be tried again once this agent has registered anew."""


class CertificateError(UnreachableError):
    """The server's certificate is not to be believed; nothing was sent."""


@dataclass(slots=True)
class RefusedError(RemoteError):
    """The server understood and says no."""

    status: int
    slug: str  #: of the problem document; "" when there was none
    text: str
    more: dict[str, Any]

    def __str__(self) -> str:
        return f"the server refused ({self.status}): {self.text}"


class WrongOffsetError(RefusedError):
    """A log's bytes do not continue what the server has."""

    @property
    def offset(self) -> int:
        """Where it wants them to begin."""
        offset = self.more.get("offset")
        return offset if isinstance(offset, int) and offset >= 0 else 0


@dataclass(slots=True)
class Standing:
    """What a signature depends on besides the request."""

    server_boot: int
    epoch: int


class Remote:
    """One node's connection; owned by one event loop. Tests bring their own `transport`."""

    def __init__(
        self,
        server: str,
        *,
        node: int,
        key: Key,
        first_seq: int,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._node, self._key, self._seq = node, key, first_seq
        self._standing = Standing(server_boot=0, epoch=0)
        timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S, write=TRANSFER_S)
        # nothing of the environment: a proxy would be one for the jobs, and a .netrc somebody else's
        self._client = httpx.AsyncClient(
            base_url=server, verify=verify, transport=transport, timeout=timeout, trust_env=False
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def register(self, boot_id: str) -> None:
        """Become the one current agent of this node; whatever carries an older epoch is refused from now on.

        Raises:
            RemoteError: it did not succeed.
        """
        await self.hello()
        self._take_standing(await self.call("POST", "/v1/agent/register", document={"boot_id": boot_id}))

    async def hello(self) -> None:
        """Ask what a request is to be signed with.

        Raises:
            RemoteError: it did not succeed.
        """
        params = {"node": self._node}
        self._take_standing(await self._plain(self._client.build_request("GET", "/v1/agent/hello", params=params)))

    async def sync(self, request: wire.SyncRequest, *, held_back_s: float) -> wire.SyncAnswer:
        """Tell and ask.

        Args:
            held_back_s: how long the server may hold its answer back; none after that and some is a failure.

        Raises:
            RemoteError: it did not succeed.
        """
        answer = await self.call(
            "POST", "/v1/agent/sync", document=codec.encode(request), answer_s=held_back_s + SYNC_LATE_S
        )
        try:
            return codec.decode(wire.SyncAnswer, answer)
        except codec.CodecError as error:
            raise UnreachableError(f"the server's answer is not to be understood: {error}") from error

    async def append_log(self, token: int, stream: Stream, offset: int, data: bytes) -> None:
        """Add bytes to a log; WrongOffsetError tells where they should have begun."""
        target = f"/v1/agent/attempts/{token}/logs/{stream}?offset={offset}"
        await self.call("POST", target, content=data, type_="application/octet-stream")

    async def put(
        self, token: int, what: Literal["artifacts", "checkpoint"], sha256: str, content: Content, size_bytes: int
    ) -> None:
        """Upload a file of an attempt."""
        target = f"/v1/agent/attempts/{token}/{what}/{sha256}"
        await self.call(
            "PUT", target, content=content, sha256=sha256, size_bytes=size_bytes, type_="application/octet-stream"
        )

    async def blob(self, token: int, sha256: str) -> AsyncIterator[bytes]:
        """The bytes of an input or a checkpoint of the attempt's job, in pieces."""
        request = self._signed("GET", f"/v1/agent/blobs/{sha256}?token={token}", b"", wire.digest(b""), {})
        response = await self._send(request, stream=True)
        try:
            if response.status_code != httpx.codes.OK:
                await response.aread()
                raise _refusal(response)
            async for piece in response.aiter_bytes():
                yield piece
        except httpx.HTTPError as error:
            raise UnreachableError(f"the transfer broke off: {error}") from error
        finally:
            await response.aclose()

    async def post_report(self, gzipped: bytes) -> None:
        """Hand in a Report, as gzipped JSON."""
        await self.call(
            "POST",
            f"/v1/nodes/{self._node}/reports",
            content=gzipped,
            type_="application/json",
            encoding="gzip",
            answer_s=TRANSFER_S,
        )

    async def call(
        self,
        method: str,
        target: str,
        *,
        document: Json = None,
        content: Content = b"",
        sha256: str | None = None,
        size_bytes: int | None = None,
        type_: str = "application/json",
        encoding: str | None = None,
        bearer: str | None = None,
        answer_s: float = ANSWER_S,
    ) -> Any:
        """One signed call; it is signed again, once, when the server started anew since we last heard of it."""
        if document is not None:
            content = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
        digest = sha256 if sha256 is not None else wire.digest(content if isinstance(content, bytes) else b"")
        headers = {"Content-Type": type_}
        if encoding is not None:
            headers["Content-Encoding"] = encoding
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        if size_bytes is not None:
            headers["Content-Length"] = str(size_bytes)
        for again in (True, False):
            body = content if isinstance(content, bytes) else content()
            request = self._signed(method, target, body, digest, headers)
            request.extensions["timeout"]["read"] = answer_s
            try:
                return await self._plain(request)
            except RefusedError as refusal:
                if not again or not self._learns_from(refusal):
                    raise
        raise AssertionError("the loop ends by an answer or an error")

    def _learns_from(self, refusal: RefusedError) -> bool:
        """Whether the same call, signed again, may succeed."""
        boot = refusal.more.get("server_boot")
        if refusal.slug == "server-restarted" and isinstance(boot, int):
            self._standing.server_boot = boot
            return True
        return refusal.slug == "replayed"

    def _take_standing(self, answer: Any) -> None:
        try:
            self._standing = Standing(
                server_boot=int(answer.get("server_boot", self._standing.server_boot)), epoch=int(answer["epoch"])
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UnreachableError(
                "the server does not say its boot number and our epoch; is it a gridmark server?"
            ) from None

    def _signed(
        self, method: str, target: str, body: bytes | AsyncIterator[bytes], digest: str, headers: dict[str, str]
    ) -> httpx.Request:
        self._seq += 1
        request = self._client.build_request(method, target, content=body, headers=headers)
        envelope = wire.Envelope(
            method=method,
            target=request.url.raw_path.decode("ascii"),
            server_boot=self._standing.server_boot,
            node=self._node,
            epoch=self._standing.epoch,
            seq=self._seq,
            body_sha256=digest,
        )
        request.headers[wire.HEADER_NODE] = str(envelope.node)
        request.headers[wire.HEADER_EPOCH] = str(envelope.epoch)
        request.headers[wire.HEADER_BOOT] = str(envelope.server_boot)
        request.headers[wire.HEADER_SEQ] = str(envelope.seq)
        request.headers[wire.HEADER_SIGNATURE] = self._key.sign(envelope)
        return request

    async def _plain(self, request: httpx.Request) -> Any:
        response = await self._send(request)
        if not response.is_success:
            raise _refusal(response)
        if not response.content:
            return None
        try:
            return json.loads(response.content)
        except ValueError as error:
            raise UnreachableError(f"the server's answer is not to be understood: {error}") from error

    async def _send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        return await send(self._client, request, stream=stream)


async def send(client: httpx.AsyncClient, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
    """Send, with what keeps an answer away in one sentence.

    Raises:
        UnreachableError: nobody answered.
    """
    where = f"{request.url.scheme}://{request.url.netloc.decode('ascii')}"
    try:
        return await client.send(request, stream=stream)
    except httpx.TimeoutException as error:
        raise UnreachableError(f"{where} did not answer in time") from error
    except httpx.HTTPError as error:
        reason = str(error)
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            raise CertificateError(
                f"the certificate of {where} is not to be believed ({reason.rpartition(': ')[2]}); "
                "give the file of its authority with --ca"
            ) from error
        raise UnreachableError(f"{where} cannot be reached: {reason or type(error).__name__}") from error


def _refusal(response: httpx.Response) -> RemoteError:
    """What the server said instead of yes."""
    try:
        problem = json.loads(response.content)
    except ValueError:
        problem = None
    problem = problem if isinstance(problem, dict) else {}
    text = str(problem.get("detail") or problem.get("title") or response.reason_phrase)[:PROBLEM_MAX_CHARS]
    if response.is_server_error or response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return UnreachableError(f"the server cannot do it now ({response.status_code}): {text}")
    slug = str(problem.get("type", "")).rpartition("/")[2]
    if slug == "stale-epoch":
        return StaleEpochError(text)
    kind = WrongOffsetError if slug == "wrong-offset" else RefusedError
    return kind(response.status_code, slug, text, problem)
