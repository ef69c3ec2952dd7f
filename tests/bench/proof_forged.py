"""A check as an H100 would answer it, without an H100: a prover that knows beforehand what will be asked.

It works out only those rows; every other leaf, root and sibling is random. For a verifier there is no difference: it
looks at nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kernels.chain import derive, merkle
from kernels.chain.engine import Opening
from kernels.chain.params import Params
from kernels.chain.replay import Stretch, replay_many
from kernels.chain.tiles import Tiles
from qualify.proof import sizing
from qualify.proof import transcript as transcripts
from qualify.proof.challenge import Challenge, Level
from qualify.proof.sizing import Claim, Phase, Scale
from qualify.proof.transcript import Epoch, Transcript

#: of an H100 SXM's data sheet and of what is reached of it
H100 = Claim(
    kind="cuda",
    devices=(0,),
    int8_ops_per_s=1.6e15,
    bf16_flops=0.8e15,
    memory_bytes=80_000_000_000,
    memory_bytes_per_s=3.3e12,
)


@dataclass
class Sparse:
    """A tree of which only some leaves are known; the rest of it is made up where a path needs it."""

    levels: int
    context: bytes
    draw: Callable[[int], bytes]
    nodes: dict[tuple[int, int], bytes] = field(default_factory=dict)  #: by level and index

    def root(self, leaves: Mapping[int, bytes]) -> bytes:
        """The root over these leaves and whatever else."""
        known = dict(leaves)
        for level in range(self.levels):
            for index in list(known):
                known.setdefault(index ^ 1, self.draw(merkle.DIGEST_BYTES))
            self.nodes |= {(level, index): digest for index, digest in known.items()}
            known = {
                index >> 1: merkle.parents(known[index] + known[index ^ 1], self.context)
                for index in known
                if not index & 1
            }
        return known[0]

    def path(self, index: int) -> bytes:
        """The siblings of one of the leaves."""
        return b"".join(self.nodes[level, (index >> level) ^ 1] for level in range(self.levels))


def phases(level: Level) -> tuple[Phase, ...]:
    """What an H100 is asked in a check."""
    return sizing.plan(H100, level, Scale())


def forged(phase: Phase, level: Level, *, seed: int = 1) -> Transcript:
    """A transcript that passes, but for the draw, which nobody can know beforehand (see proof_judge.py)."""
    draw = random.Random(seed).randbytes
    challenge = sizing.issue(
        phase, node=1, level=level, uuids={0: "GPU-0"}, random_bytes=draw, unix_ms=1_700_000_000_000
    )
    params, device = challenge.params, challenge.devices[0]
    segments = _segments(challenge)
    step = segments // challenge.samples
    pick = random.Random(seed + 1)
    # apart from each other, so that no opening's order depends on another's end
    places = [
        (number * step + 1, pick.randrange(params.units), pick.randrange(params.commits))
        for number in range(challenge.samples)
    ]
    pick.shuffle(places)
    book = _Book(challenge, {segment: draw(32) for segment in range(segments)}, draw)
    starts = {place: book.begin(place) for place in places}
    stretches = [book.stretch(place, starts[place]) for place in places]
    ends = replay_many(params, stretches, Tiles(params, device.seed))
    opened = [book.end(place, derive.to_bytes(end)) for place, end in zip(places, ends, strict=True)]
    return Transcript(
        challenge=challenge,
        epochs=book.epochs(),
        draw=draw(transcripts.DRAW_BYTES),
        asked={0: tuple(places)},
        openings={0: tuple(opened)},
    )


def _segments(challenge: Challenge) -> int:
    """That an H100 would run in the planned time."""
    params = challenge.params
    if params.kind == "memory":
        return int(challenge.target_s * (H100.memory_bytes_per_s or 0) / params.read_bytes_per_segment)
    rate = H100.int8_ops_per_s if params.arithmetic == "int8" else H100.bf16_flops
    return int(challenge.target_s * (rate or 0) / params.ops_per_segment)


@dataclass
class _Book:
    """Roots and salts, and the leaves that were made on purpose."""

    challenge: Challenge
    roots: dict[int, bytes]
    draw: Callable[[int], bytes]
    starts: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)  #: by segment asked: state and path

    def __post_init__(self) -> None:
        epochs = max(1, round(self.challenge.target_s / self.challenge.epoch_s))
        self.salts = [self.draw(32) for _ in range(epochs)]
        self.each = -(-len(self.roots) // epochs)
        self.pending: dict[int, tuple[int, bytes]] = {}

    @property
    def params(self) -> Params:
        return self.challenge.params

    def begin(self, place: tuple[int, int, int]) -> bytes:
        """A state to begin with, committed to where the place wants it."""
        segment, unit, commit = place
        first = derive.first_states(self.params, self.draw(32), [0])[0]
        state = derive.to_bytes(first)
        if commit:
            self.pending[segment] = unit * self.params.commits + commit - 1, state
        else:
            index = unit * self.params.commits + self.params.commits - 1
            tree = self._tree()
            self.roots[segment - 1] = tree.root({index: self._leaf(segment - 1, index, state)})
            self.starts[segment] = state, tree.path(index)
        return state

    def stretch(self, place: tuple[int, int, int], state: bytes) -> Stretch:
        """What has to be worked out."""
        segment, unit, commit = place
        who, every = (self.challenge.id, 0), self.params.commit_every
        salt = self.salts[segment // self.each]
        order = derive.order(self.params, *who, segment, self.roots[segment - 1], salt)
        return Stretch(
            unit=unit,
            state=derive.from_bytes(self.params, state),
            order=order,
            rounds=range(commit * every, (commit + 1) * every),
        )

    def end(self, place: tuple[int, int, int], state: bytes) -> Opening:
        """Commit to what came out, and open it."""
        segment, unit, commit = place
        index = unit * self.params.commits + commit
        leaves = {index: self._leaf(segment, index, state)}
        before = self.pending.get(segment)
        if before is not None:
            leaves[before[0]] = self._leaf(segment, *before)
        tree = self._tree()
        self.roots[segment] = tree.root(leaves)
        start = self.starts[segment] if before is None else (before[1], tree.path(before[0]))
        return Opening(segment, unit, commit, *start, state, tree.path(index))

    def epochs(self) -> tuple[Epoch, ...]:
        """All roots in order, in epochs of equal length."""
        roots = [self.roots[segment] for segment in range(len(self.roots))]
        whole_ns = round(1e9 * self.challenge.target_s / len(self.salts))
        return tuple(
            Epoch(
                salt=salt,
                released_ns=number * whole_ns,
                received_ns=(number + 1) * whole_ns,
                roots={0: tuple(roots[number * self.each : (number + 1) * self.each])},
            )
            for number, salt in enumerate(self.salts)
        )

    def _tree(self) -> Sparse:
        return Sparse(self.params.levels, derive.node_context(self.challenge.id, 0), self.draw)

    def _leaf(self, segment: int, index: int, state: bytes) -> bytes:
        unit, commit = divmod(index, self.params.commits)
        return derive.leaf(derive.leaf_context(self.challenge.id, 0), segment, unit, commit, state)
