"""One attacker against the server: its node, its line to the server, and the server's clock that its work moves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kernels.chain.engine import Engine
from qualify.proof import challenge as challenges
from qualify.proof import messages
from qualify.proof.challenge import Challenge
from tests.redteam.attack import NOT_ASKED, REFUSED
from tests.redteam.hardware import Pace
from tests.redteam.rogue import Rogue

if TYPE_CHECKING:
    from tests.redteam.over_http import Http

Json = dict[str, Any]
Spoil = Callable[[Any], Any]  #: a document, made into another; bytes are sent as they are
TRUE = ("pass", "below_floor")
#: each way of a request and its answer, in seconds
WAY_S = 0.0001


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server answered."""

    status: int
    document: Any

    @property
    def slug(self) -> str:
        """Of a refusal."""
        return str(self.document.get("type", "")).rpartition("/")[2] if isinstance(self.document, dict) else ""


@dataclass
class Bout:
    """An attacker's hands."""

    line: Http
    open_others: Callable[[], Bout]
    replies: list[Reply] = field(default_factory=list)
    ended: list[tuple[str, str]] = field(default_factory=list)  #: outcome and why of every challenge
    challenge: Challenge | None = None

    def call(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Reply:
        """A request of any kind; every answer is kept for the referee of the contest."""
        reply = self.line.call(method, target, body, headers)
        self.replies.append(reply)
        return reply

    def spend(self, seconds: float) -> None:
        """Let time pass on the server."""
        self.line.spend(seconds)

    def say(self, step: str, document: Any = None, *, id_: str = "", headers: Mapping[str, str] | None = None) -> Reply:
        """A step of the challenge in flight: ready, epochs, openings; bytes are sent as they are."""
        body = document if isinstance(document, bytes) else json.dumps(document or {}).encode()
        return self.call("POST", f"/v1/challenges/{id_ or self.id}/{step}", body, headers)

    @property
    def id(self) -> str:
        """Of the challenge in flight."""
        assert self.challenge is not None
        return self.challenge.id.hex()

    def fetch(self) -> Challenge | None:
        """The next challenge; None when there is none to be had."""
        reply = self.call("POST", "/v1/challenges", b"{}")
        self.challenge = challenges.from_json(reply.document["challenge"]) if reply.status == 201 else None
        return self.challenge

    def ending(self) -> str:
        """How the challenge in flight came out."""
        last = self.replies[-1]
        found = self.line.outcome(self.id)
        outcome, why = found["outcome"] or REFUSED, found["why"]
        self.ended.append((outcome, why or str(last.document)))
        return str(outcome)

    def prove(
        self,
        pace: Pace,
        engine: Callable[[], Engine] = Rogue,
        *,
        epochs: Spoil | None = None,
        openings: Spoil | None = None,
        headers: Mapping[str, str] | None = None,
        engines: Sequence[Engine] | None = None,
        most: int | None = None,
        silent: Callable[[Json], bool] = lambda _: False,
        way_s: float = WAY_S,
    ) -> str:
        """Play one challenge through; how it ended.

        Args:
            engine: runs each device.
            epochs, openings: makes another document of every one that is sent.
            headers: sent with the openings.
            engines: one for each device, instead of `engine`.
            most: segments in an epoch.
            silent: whether to say nothing more, now that it is known what is asked for.
            way_s: to the server, and again back.
        """
        challenge = self.challenge or self.fetch()
        if challenge is None:
            return NOT_ASKED
        crew = list(engines or [engine() for _ in challenge.devices])
        for device, one in zip(challenge.devices, crew, strict=True):
            one.prepare(challenge.params, seed=device.seed, challenge=challenge.id, device=device.index)
        reply = self.say("ready")
        while reply.status == 200 and "salt" in reply.document:
            self.line.spend(2 * way_s)
            ran = self.epoch(challenge, crew, bytes.fromhex(reply.document["salt"]), pace, most)
            request = messages.EpochRequest(reply.document["epoch"], ran)
            reply = self.say("epochs", _spoiled(messages.epoch_to_json(request), epochs))
        if reply.status == 200 and not silent(reply.document["open"]):
            asked = {int(device): places for device, places in reply.document["open"].items()}
            opened = {
                device.index: tuple(one.open_many([(s, u, c) for s, u, c in asked[device.index]]))
                for device, one in zip(challenge.devices, crew, strict=True)
            }
            self.say(
                "openings", _spoiled(messages.openings_to_json(messages.Openings(opened)), openings), headers=headers
            )
        found = self.ending()
        self.challenge = None
        return found

    def epoch(
        self, challenge: Challenge, crew: Sequence[Engine], salt: bytes, pace: Pace, most: int | None = None
    ) -> dict[int, tuple[bytes, ...]]:
        """Roots of as many segments as fit into an epoch; the clock moves by the time they would take."""
        segment_s = pace(challenge.params, len(crew))
        room = challenge.most_segments - crew[0].segments
        count = min(room, most or max(1, int(challenge.epoch_s / segment_s)))
        ran = {
            device.index: tuple(one.advance(salt) for _ in range(count))
            for device, one in zip(challenge.devices, crew, strict=True)
        }
        self.line.spend(count * segment_s)
        return ran

    def check(self, pace: Pace, engine: Callable[[], Engine] = Rogue, **spoils: Any) -> str:
        """All challenges of a check, until one is not answered truly; how the last one ended, the worst first."""
        endings = []
        while (ending := self.prove(pace, engine, **spoils)) in TRUE:
            endings.append(ending)
        if ending != NOT_ASKED:
            return ending
        return max(endings, key=TRUE.index, default=NOT_ASKED)


def _spoiled(document: Any, spoil: Spoil | None) -> Any:
    return document if spoil is None else spoil(document)
