"""Challenges of the smallest sizes and whole plays of them, on a clock that stands unless it is moved."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from kernels.chain.engine import Engine, open_engine
from kernels.chain.params import Params
from qualify.proof import messages
from qualify.proof.challenge import Challenge, Device
from qualify.proof.prover import Prover
from qualify.proof.referee import Now, Referee
from qualify.proof.transcript import Transcript

INT8 = Params(kind="compute", arithmetic="int8", n=64, units=4, rows=1, tiles=2, depth=0, rounds=2, commit_every=2)
BF16 = replace(INT8, arithmetic="bf16")
MEMORY = Params(kind="memory", arithmetic="int8", n=64, units=2, rows=2, tiles=8, depth=1, rounds=4, commit_every=2)
KINDS = {"int8": INT8, "bf16": BF16, "memory": MEMORY}


def randomness(seed: int) -> Callable[[int], bytes]:
    """Bytes that are the same in every run of a test."""
    return random.Random(seed).randbytes


def challenge_of(
    params: Params = INT8,
    *,
    seed: int = 0,
    devices: int = 1,
    samples: int = 16,
    floor_per_s: float = 0.0,
    resident_per_s: float = 0.0,
) -> Challenge:
    """A challenge of 4 s, an epoch a second, 4 to 400 segments."""
    draw = randomness(seed)
    return Challenge(
        id=draw(16),
        node=7,
        level="light",
        params=params,
        devices=tuple(Device(index=index, uuid=f"GPU-{index}", seed=draw(32)) for index in range(devices)),
        target_s=4.0,
        epoch_s=1.0,
        least_segments=4,
        most_segments=400,
        samples=samples,
        floor_per_s=floor_per_s,
        resident_per_s=resident_per_s,
        issued_ms=1_000,
        expires_ms=1_000_000,
    )


@dataclass
class FakeClock:
    """The server's and the node's time; every segment takes a quarter of a second of it, unless told otherwise."""

    mono_ns: int = 5_000_000_000
    segment_ns: int = 250_000_000
    unix_ms: int = 2_000
    log: list[str] = field(default_factory=list)

    def now(self) -> Now:
        return Now(self.mono_ns, self.unix_ms)

    def seconds(self) -> float:
        """The same for the node; asked for once before an epoch and once after each segment."""
        return self.mono_ns / 1e9


class Paced:
    """An engine that moves the clock on with every segment."""

    def __init__(self, engine: Engine, clock: FakeClock) -> None:
        self._engine, self._clock = engine, clock
        self.prepare, self.open, self.open_many = engine.prepare, engine.open, engine.open_many
        self.close = engine.close

    @property
    def segments(self) -> int:
        return self._engine.segments

    def advance(self, salt: bytes) -> bytes:
        self._clock.mono_ns += self._clock.segment_ns
        return self._engine.advance(salt)


def play(
    challenge: Challenge,
    *,
    clock: FakeClock | None = None,
    engines: Sequence[Engine] | None = None,
    seed: int = 1,
) -> Transcript:
    """A whole run of a challenge, each message through its JSON as over HTTP."""
    clock = clock or FakeClock()
    crew = engines or [Paced(open_engine("cpu", threads=1), clock) for _ in challenge.devices]
    referee = Referee(challenge, randomness(seed))
    prover = Prover(challenge, crew, clock.seconds)
    prover.ready()
    answer: messages.EpochAnswer = referee.ready(clock.now())
    while isinstance(answer, messages.NextEpoch):
        ran = messages.epoch_to_json(prover.epoch(answer.salt))
        answer = referee.epoch(messages.epoch_from_json(ran, challenge), clock.now())
        answer = messages.answer_from_json(messages.answer_to_json(answer), challenge)
    opened = messages.openings_to_json(prover.openings(answer.asked))
    prover.close()
    return referee.openings(messages.openings_from_json(opened, challenge), clock.now())


@functools.cache
def good(kind: str) -> Transcript:
    """An honest transcript of one device."""
    return play(challenge_of(KINDS[kind]))
