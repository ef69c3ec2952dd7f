"""What the load generators speak: HTTP over connections that stay, and agents that only say that jobs run and end.

One process carries ten thousand of them, so there is no HTTP library below: requests are one write, answers one read.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from scheduler import wire
from scheduler.node.identity import Key
from scheduler.node.waiting import pauses
from tests.bench.scale_hall import BOOT

Json = dict[str, Any]


class AwayError(Exception):
    """Nobody answered."""


def key_of(node: int) -> Key:
    """The key of a made-up node; of its number, so that no file is needed."""
    return Key(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"scale %d" % node).digest()))


class Line:
    """One connection, made when first needed and again after a failure."""

    def __init__(self, host: str, port: int) -> None:
        self._where = (host, port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, target: str, headers: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and content.

        Raises:
            AwayError: the connection broke, or could not be made.
        """
        head = f"{method} {target} HTTP/1.1\r\nHost: scale\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        try:
            reader, writer = await self._connected()
            writer.write(head.encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(line for line in answer.lower().split("\r\n") if line.startswith("content-length:"))
            return int(answer.split(" ", 2)[1]), await reader.readexactly(int(length[15:]))
        except (OSError, asyncio.IncompleteReadError) as error:
            self.drop()
            raise AwayError(str(error)) from error

    async def connect(self) -> None:
        """Have a connection.

        Raises:
            AwayError: it could not be made.
        """
        try:
            await self._connected()
        except OSError as error:
            raise AwayError(str(error)) from error

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._where)
        return self._streams

    def drop(self) -> None:
        """Close it."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@dataclass
class Counts:
    """What all agents together have seen."""

    syncs: int = 0
    started: int = 0
    ended: int = 0
    away: int = 0
    refused: int = 0
    restarted: set[int] = field(default_factory=set)  #: tokens that were to be started though they ran
    superseded: set[int] = field(default_factory=set)  #: tokens that ran and were not named any more
    started_s: list[float] = field(default_factory=list)  #: when, by time.perf_counter


@dataclass
class Agent:
    """A node's agent as far as the server can tell; its jobs end at once, or never."""

    node: int
    line: Line
    counts: Counts
    lasting: bool = False  #: its jobs never end
    server_boot: int = 0
    held: dict[int, str] = field(default_factory=dict)  #: token -> state
    _seq: int = 0
    _was_away: bool = False  #: the next answer is not to be held back, as real agents ask: leases wait for it

    @cached_property
    def key(self) -> Key:
        """Its own."""
        return key_of(self.node)

    async def live(self, until: Callable[[], bool]) -> None:
        """Sync, obey, and again; who is away is tried again as real agents do."""
        pause = pauses(random.random, lambda: bool(self.held))
        while not until():
            try:
                await self.turn()
            except AwayError:
                self.counts.away += 1
                self._was_away = True
                await asyncio.sleep(pause())
            else:
                pause = pauses(random.random, lambda: bool(self.held))

    async def turn(self) -> None:
        """One sync and what comes of it."""
        ending = [token for token, state in self.held.items() if state == "exited"]
        held = [{"token": token, "state": state} | _exit_code(state) for token, state in self.held.items()]
        begins = not self.lasting and any(state == "running" for state in self.held.values())
        wait = not (begins or ending or self._was_away)
        status, content = await self.signed("POST", "/v1/agent/sync", {"boot_id": BOOT, "held": held, "wait": wait})
        self.counts.syncs += 1
        if status != 200:
            self._refused(content)
            return
        self._was_away = False
        self._obey(json.loads(content)["wishes"])

    def _obey(self, wishes: list[Json]) -> None:
        named = {wish["token"] for wish in wishes}
        for token in [token for token in self.held if token not in named]:
            self.counts.superseded.add(token)
            del self.held[token]
        for token, state in self.held.items():
            if state == "running" and not self.lasting:
                self.held[token] = "exited"
        for wish in wishes:
            token = wish["token"]
            if wish["desired"] == "forget":
                self.counts.ended += token in self.held
                self.held.pop(token, None)
            elif wish["desired"] == "start" and token not in self.held:
                self.held[token] = "running"
                self.counts.started += 1
                self.counts.started_s.append(time.perf_counter())
            elif wish["desired"] == "start":
                self.counts.restarted.add(token)

    def _refused(self, content: bytes) -> None:
        problem = json.loads(content)
        self.server_boot = problem.get("server_boot", self.server_boot)
        self.counts.refused += not problem["type"].endswith("server-restarted")

    async def signed(self, method: str, target: str, document: Json) -> tuple[int, bytes]:
        """A signed request, signed once there is somebody to send it to: a try in vain costs the others less so."""
        await self.line.connect()
        body = json.dumps(document).encode()
        self._seq += 1
        envelope = wire.Envelope(
            method=method,
            target=target,
            server_boot=self.server_boot,
            node=self.node,
            epoch=1,
            seq=self._seq,
            body_sha256=wire.digest(body),
        )
        headers = (
            f"{wire.HEADER_NODE}: {self.node}\r\n{wire.HEADER_EPOCH}: 1\r\n{wire.HEADER_BOOT}: {self.server_boot}\r\n"
            f"{wire.HEADER_SEQ}: {self._seq}\r\n{wire.HEADER_SIGNATURE}: {self.key.sign(envelope)}\r\n"
            "Content-Type: application/json\r\n"
        )
        return await self.line.ask(method, target, headers, body)


def _exit_code(state: str) -> Json:
    return {"exit_code": 0} if state == "exited" else {}


@dataclass
class Renter:
    """Hands jobs over on one connection, and asks."""

    line: Line
    token: str

    async def submit(self, key: str, document: Json) -> int:
        """The job's number."""
        headers = f"{self._who()}Idempotency-Key: {key}\r\nContent-Type: application/json\r\n"
        status, content = await self.line.ask("POST", "/v1/jobs", headers, json.dumps(document).encode())
        if status not in (200, 201):
            raise RuntimeError(f"{status}: {content.decode()}")
        return int(json.loads(content)["id"])

    async def get(self, target: str) -> Json:
        """A document."""
        found: Json = json.loads(await self.fetch(target))
        return found

    async def fetch(self, target: str) -> bytes:
        """The same as it came."""
        status, content = await self.line.ask("GET", target, self._who())
        if status != 200:
            raise RuntimeError(f"{status}: {content.decode()}")
        return content

    def _who(self) -> str:
        return f"Authorization: Bearer {self.token}\r\n"
