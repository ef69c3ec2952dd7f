"""A server in memory that an agent talks to: it checks every signature and says what the test wants said."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from scheduler import codec, wire
from scheduler.records import JobSpec
from scheduler.wire import Assignment, Held, SyncAnswer, SyncRequest, Wish

PATIENCE_S = 10.0
OVER = ("exited", "timeout", "prepare_failed", "vanished")


@dataclass
class FakeServer(httpx.AsyncBaseTransport):
    """One node, number 3. Each token in `wanted` is started until it is held, then run, then forgotten once over."""

    public_key: str = ""
    boot: int = 1
    epoch: int = 0
    away: bool = False  #: nobody answers
    wanted: dict[int, Assignment] = field(default_factory=dict)
    stopped: set[int] = field(default_factory=set)
    unnamed: set[int] = field(default_factory=set)  #: superseded: the answer passes over them
    qualify: bool = False
    prove: bool = False
    challenge: object = None  #: what a node that asks for one gets
    answers: list[tuple[str, Any]] = field(default_factory=list)  #: what was said of it
    lease_ms: int = 60_000
    syncs: list[SyncRequest] = field(default_factory=list)
    seqs: list[int] = field(default_factory=list)
    ended: dict[int, Held] = field(default_factory=dict)
    logs: dict[tuple[int, str], bytearray] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)  #: uploaded artifacts, by digest
    checkpoints: list[bytes] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    reports: list[bytes] = field(default_factory=list)
    registrations: list[str] = field(default_factory=list)
    enrolled: list[dict[str, object]] = field(default_factory=list)
    refuse: Callable[[httpx.Request], httpx.Response | None] = lambda request: None
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.news = asyncio.Event()  #: whoever sets it has the next answer given at once
        if self.qualify or self.prove:
            self.news.set()
        self.heard = asyncio.Condition()

    def want(
        self,
        token: int,
        *command: str,
        given: Mapping[str, str] | None = None,
        checkpoint_sha256: str | None = None,
        **spec: Any,
    ) -> None:
        """Place a job; the agent hears of it at once. `given` are its secrets."""
        made = JobSpec(name=f"job-{token}", command=command, **spec)
        self.wanted[token] = Assignment(
            job=100 + token, n=1, spec=made, gpus=(), secrets=given or {}, checkpoint_sha256=checkpoint_sha256
        )
        self.news.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Until something an agent said makes it so."""
        async with asyncio.timeout(PATIENCE_S), self.heard:
            await self.heard.wait_for(holds)

    async def until_ended(self, token: int) -> Held:
        """How an attempt ended."""
        await self.until(lambda: token in self.ended)
        return self.ended[token]

    async def until_state(self, token: int, state: str) -> None:
        """Until the agent said that an attempt is in a state."""
        await self.until(lambda: any(h.token == token and h.state == state for one in self.syncs for h in one.held))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        if self.away:
            raise httpx.ConnectError("nobody listens", request=request)
        body = await request.aread()
        path, _, query = request.url.raw_path.decode().partition("?")
        self.calls.append(f"{request.method} {path}")
        answer = self.refuse(request) or self._check(request, body) or await self._answer(request, path, query, body)
        async with self.heard:
            self.heard.notify_all()
        answer.request = request
        return answer

    def _check(self, request: httpx.Request, body: bytes) -> httpx.Response | None:
        path = request.url.path
        if path == "/v1/agent/hello":
            return None
        headers = request.headers
        streamed = path.split("/")[-2] in ("artifacts", "checkpoint")
        envelope = wire.Envelope(
            method=request.method,
            target=request.url.raw_path.decode(),
            server_boot=int(headers[wire.HEADER_BOOT]),
            node=int(headers[wire.HEADER_NODE]),
            epoch=int(headers[wire.HEADER_EPOCH]),
            seq=int(headers[wire.HEADER_SEQ]),
            body_sha256=path.rpartition("/")[2] if streamed else wire.digest(body),
        )
        key = self.public_key or str(json.loads(body)["public_key"])
        signature = bytes.fromhex(headers[wire.HEADER_SIGNATURE])
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(signature, wire.signed_text(envelope))
        if envelope.server_boot != self.boot:
            return problem(409, "server-restarted", server_boot=self.boot)
        if path != "/v1/nodes" and envelope.epoch != self.epoch:
            return problem(409, "stale-epoch", epoch=self.epoch)
        if envelope.seq in self.seqs:
            return problem(409, "replayed")
        self.seqs.append(envelope.seq)
        return None

    async def _answer(self, request: httpx.Request, path: str, query: str, body: bytes) -> httpx.Response:
        parts = path.removeprefix("/v1/").split("/")
        if parts == ["agent", "hello"]:
            return found({"server_boot": self.boot, "epoch": self.epoch})
        if parts == ["agent", "register"]:
            self.registrations.append(json.loads(body)["boot_id"])
            self.epoch += 1
            return found({"server_boot": self.boot, "epoch": self.epoch})
        if parts == ["agent", "sync"]:
            return found(await self._sync(codec.loads(SyncRequest, body)))
        if parts == ["nodes"]:
            self.enrolled.append(json.loads(body) | {"authorization": request.headers["Authorization"]})
            return found({"id": 3, "epoch": 0, "server_boot": self.boot}, 201)
        if parts[0] == "challenges":
            return self._challenge(parts[1:], body)
        if parts[0] == "nodes" and parts[2] == "reports":
            self.reports.append(gzip.decompress(body))
            return httpx.Response(201)
        return self._bytes(parts[1:], parse_qs(query), body)

    def _challenge(self, parts: list[str], body: bytes) -> httpx.Response:
        """One challenge of two epochs, each answer kept."""
        if not parts:
            return found(self.challenge, 201) if self.challenge is not None else httpx.Response(204)
        self.answers.append((parts[1], json.loads(body)))
        if parts[1] == "openings":
            return found({"challenge": parts[0], "state": "answered"}, 202)
        epoch = len([what for what, _ in self.answers if what == "epochs"])
        return found({"epoch": epoch, "salt": "5a" * 32} if epoch < 2 else {"open": {"0": [[0, 0, 0]]}})

    def _bytes(self, parts: list[str], query: dict[str, list[str]], body: bytes) -> httpx.Response:
        match parts:
            case ["attempts", token, "logs", stream]:
                log = self.logs.setdefault((int(token), stream), bytearray())
                if int(query["offset"][0]) != len(log):
                    return problem(409, "wrong-offset", offset=len(log))
                log += body
                return found({"size_bytes": len(log), "full": False})
            case ["attempts", _, "artifacts", sha256] if hashlib.sha256(body).hexdigest() == sha256:
                self.files[sha256] = body
                return httpx.Response(201)
            case ["attempts", _, "checkpoint", sha256] if hashlib.sha256(body).hexdigest() == sha256:
                self.checkpoints.append(body)
                return httpx.Response(201)
            case ["blobs", sha256] if sha256 in self.blobs:
                return httpx.Response(200, content=self.blobs[sha256])
        return problem(404, "not-found")

    async def _sync(self, request: SyncRequest) -> object:
        self.syncs.append(request)
        for held in request.held:
            if held.state in OVER:
                self.ended.setdefault(held.token, held)
                self.wanted.pop(held.token, None)
        async with self.heard:
            self.heard.notify_all()
        answer = self._wishes(request)
        while request.wait and not self.news.is_set() and all(wish.desired == "run" for wish in answer.wishes):
            await self.news.wait()
            answer = self._wishes(request)
        self.news.clear()
        self.qualify = self.prove = False
        return codec.encode(answer)

    def _wishes(self, request: SyncRequest) -> SyncAnswer:
        held = {one.token: one for one in request.held}
        wishes = []
        for token, assignment in self.wanted.items():
            if token in self.unnamed:
                continue
            if token in self.stopped and (token not in held or held[token].state != "stopping"):
                wishes.append(Wish(token=token, desired="stop", reason="cancelled"))
            elif token not in held:
                wishes.append(Wish(token=token, desired="start", assignment=assignment))
            else:
                wishes.append(Wish(token=token, desired="run"))
        wishes += [
            Wish(token=token, desired="forget")
            for token in held
            if token not in self.wanted and token not in self.unnamed
        ]
        asks = {"qualify": self.qualify, "prove": self.prove}
        return SyncAnswer(wishes=tuple(wishes), lease_ms=self.lease_ms, next_sync_ms=3000, **asks)


def found(document: object, status: int = 200) -> httpx.Response:
    """A good answer."""
    return httpx.Response(status, content=json.dumps(document))


def problem(status: int, slug: str, **more: object) -> httpx.Response:
    """A refusal."""
    return httpx.Response(status, content=json.dumps({"type": f"/problems/{slug}", "title": slug, **more}))
