"""Challenges of the smallest sizes and whole plays of them, on a clock that stands unless it is moved."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kernels.chain import derive, merkle
from kernels.chain.arithmetic import replay
from kernels.chain.engine import Engine, Opening, open_engine
from kernels.chain.params import Params
from kernels.chain.tiles import Tiles
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


#: of segment, unit, commit and the state computed: the state to go on with instead, or None
Spoil = Callable[[int, int, int, bytes], bytes | None]


def honest(segment: int, unit: int, commit: int, state: bytes) -> bytes | None:
    """Spoils nothing."""
    return None


@dataclass
class FakeClock:
    """The server's and the node's time; every segment takes a quarter of a second of it, unless told otherwise."""

    mono_ns: int = 5_000_000_000
    segment_ns: int = 250_000_000
    unix_ms: int = 2_000

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
    spoil: Spoil | None = None,
    seed: int = 1,
) -> Transcript:
    """A whole run of a challenge, each message through its JSON as over HTTP; `spoil` is how a Ledger cheats."""
    clock = clock or FakeClock()
    plain: Callable[[], Engine] = (lambda: Ledger(spoil)) if spoil else (lambda: open_engine("cpu", threads=1))
    crew = engines or [Paced(plain(), clock) for _ in challenge.devices]
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


class Ledger:
    """An engine that keeps every state, and may commit to others than it computed."""

    def __init__(self, spoil: Spoil = honest) -> None:
        self._spoil = spoil
        self.kept: dict[tuple[int, int, int], bytes] = {}
        self._trees: list[merkle.Tree] = []

    def prepare(self, params: Params, *, seed: bytes, challenge: bytes, device: int) -> None:
        self._params, self._who = params, (challenge, device)
        self._tiles = Tiles(params, seed)
        self._states = derive.first_states(params, seed, range(params.units))
        self._roots = [derive.start_root(challenge, device, seed)]

    @property
    def segments(self) -> int:
        return len(self._trees)

    def advance(self, salt: bytes) -> bytes:
        params, segment = self._params, self.segments
        order = derive.order(params, *self._who, segment, self._roots[-1], salt)
        for commit in range(params.commits):
            rounds = range(commit * params.commit_every, (commit + 1) * params.commit_every)
            self._states = replay(params, self._states, order, rounds, self._tiles)
            for unit in range(params.units):
                computed = derive.to_bytes(self._states[unit])
                state = self._spoil(segment, unit, commit, computed) or computed
                self._states[unit] = derive.from_bytes(params, state)
                self.kept[segment, unit, commit] = state
        context = derive.leaf_context(*self._who)
        places = [(segment, unit, commit) for unit in range(params.units) for commit in range(params.commits)]
        leaves = b"".join(derive.leaf(context, *place, self.kept[place]) for place in places)
        self._trees.append(merkle.tree(leaves, derive.node_context(*self._who)))
        self._roots.append(merkle.root(self._trees[-1]))
        return self._roots[-1]

    def open(self, segment: int, unit: int, commit: int) -> Opening:
        if (segment, unit, commit) not in self.kept:
            raise ValueError(f"no commitment {(segment, unit, commit)}")
        commits = self._params.commits
        before = (segment, unit, commit - 1) if commit else (segment - 1, unit, commits - 1)
        end, end_path = self._leaf(segment, unit, commit)
        start, start_path = self._leaf(*before) if before[0] >= 0 else (b"", b"")
        return Opening(segment, unit, commit, start, start_path, end, end_path)

    def open_many(self, asked: Sequence[tuple[int, int, int]]) -> list[Opening]:
        return [self.open(*place) for place in asked]

    def close(self) -> None:
        pass

    def _leaf(self, segment: int, unit: int, commit: int) -> tuple[bytes, bytes]:
        path = merkle.path(self._trees[segment], unit * self._params.commits + commit)
        return self.kept[segment, unit, commit], path


@functools.cache
def good(kind: str) -> Transcript:
    """An honest transcript of one device."""
    return play(challenge_of(KINDS[kind]), spoil=honest)
