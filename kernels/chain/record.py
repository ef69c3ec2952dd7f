"""What a run remembers so that any commitment of it can be laid open afterwards; the same for every engine.

Of each segment it keeps the salt, the root and one level of the tree; of the states only some. An opening derives the
rest anew: the few rows it needs, from the nearest state kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from kernels.chain import derive, merkle
from kernels.chain.derive import Order
from kernels.chain.engine import Opening
from kernels.chain.params import Params

#: units whose leaves are derived together when one of them is opened: their digests need not be kept
GROUP = 16
#: states kept at most; when there are more, every second one is dropped
CHECKPOINTS = 64
SALT_BYTES, ID_BYTES, SEED_BYTES = 32, 16, 32

Kept = TypeVar("Kept")  #: all units' states, as an engine keeps them
Given = TypeVar("Given", contravariant=True)  #: the same
Part = TypeVar("Part")  #: the states of a few


class Replayer(Protocol[Given, Part]):
    """What derives a few units' states anew."""

    def part(self, kept: Given | None, units: range) -> Part:
        """Their states from among those kept; None = the first ones."""
        ...

    def run(self, part: Part, units: range, order: Order, rounds: range) -> Part:
        """The states of these units after these rounds."""
        ...

    def raw(self, part: Part) -> list[bytes]:
        """Each state, as it is hashed and sent."""
        ...


class Record(Generic[Kept]):
    """The run so far."""

    def __init__(
        self, params: Params, *, seed: bytes, challenge: bytes, device: int, checkpoints: int = CHECKPOINTS
    ) -> None:
        """`checkpoints`: how many states may be kept (>= 2).

        Raises:
            ValueError: the sizes are unsound, or a secret's length is wrong.
        """
        params.check()
        if (len(seed), len(challenge)) != (SEED_BYTES, ID_BYTES):
            raise ValueError(f"seed and challenge have 32 and 16 bytes, found {len(seed)} and {len(challenge)}")
        self.params = params
        self._challenge, self._device = challenge, device
        self.leaf_context = derive.leaf_context(challenge, device)
        self.node_context = derive.node_context(challenge, device)
        self._roots = [derive.start_root(challenge, device, seed)]  #: [s + 1]: of segment s
        self._salts: list[bytes] = []
        self._levels: list[bytes] = []
        self._states: dict[int, Kept] = {}
        self._most, self._every = checkpoints, 1
        self.group = min(params.units, GROUP)
        #: of a segment's tree, the lowest that is kept: each digest stands for the leaves of a group
        self.kept_level = (self.group * params.commits).bit_length() - 1

    @property
    def segments(self) -> int:
        """That have ended."""
        return len(self._levels)

    def begin(self, salt: bytes) -> Order:
        """The order of the next segment.

        Raises:
            ValueError: the salt's length is wrong.
        """
        if len(salt) != SALT_BYTES:
            raise ValueError(f"a salt has {SALT_BYTES} bytes, found {len(salt)}")
        del self._salts[self.segments :]  # of a segment that was begun and never ended
        self._salts.append(salt)
        return self._order(self.segments)

    def end(self, level: bytes, root: bytes) -> bytes:
        """Take down the segment begun: its tree's digests at `kept_level`, and its root."""
        self._levels.append(level)
        self._roots.append(root)
        return root

    @property
    def wants_state(self) -> bool:
        """Whether the state that the next segment begins with is to be kept."""
        return self.segments > 0 and self.segments % self._every == 0

    def keep(self, state: Kept) -> None:
        """Keep the states that the next segment begins with."""
        self._states[self.segments] = state
        if len(self._states) > self._most:
            self._every *= 2
            self._states = {at: state for at, state in self._states.items() if at % self._every == 0}

    def open(self, asked: Sequence[tuple[int, int, int]], replayer: Replayer[Kept, Part]) -> list[Opening]:
        """Lay these (segment, unit, commit) open.

        What was derived anew is handed out as it is: where a device erred the first time, the path will not fit.

        Raises:
            ValueError: one of them is not in this run.
        """
        for segment, unit, commit in asked:
            sound = 0 <= unit < self.params.units and 0 <= commit < self.params.commits
            if not (sound and 0 <= segment < self.segments):
                raise ValueError(f"this run of {self.segments} segments has no commitment {(segment, unit, commit)}")
        return [self._open(segment, unit, commit, replayer) for segment, unit, commit in asked]

    def _open(self, segment: int, unit: int, commit: int, replayer: Replayer[Kept, Part]) -> Opening:
        before = segment - 1 if commit == 0 and segment > 0 else segment
        leaves = self._derive(before, segment, unit, replayer)
        end, end_path = self._leaf(segment, unit, commit, leaves[segment])
        start = start_path = b""
        if commit or segment:
            last = commit - 1 if commit else self.params.commits - 1
            start, start_path = self._leaf(before, unit, last, leaves[before])
        return Opening(segment, unit, commit, start, start_path, end, end_path)

    def _derive(self, first: int, last: int, unit: int, replayer: Replayer[Kept, Part]) -> dict[int, list[list[bytes]]]:
        """The states committed to by the unit's group, [commit][unit], of the segments first..last."""
        at = max((segment for segment in self._states if segment <= first), default=0)
        units = self._group_of(unit)
        part = replayer.part(self._states.get(at), units)
        found: dict[int, list[list[bytes]]] = {}
        every = self.params.commit_every
        for segment in range(at, last + 1):
            order = self._order(segment)
            if segment < first:
                part = replayer.run(part, units, order, range(self.params.rounds))
                continue
            found[segment] = []
            for commit in range(self.params.commits):
                part = replayer.run(part, units, order, range(commit * every, (commit + 1) * every))
                found[segment].append(replayer.raw(part))
        return found

    def _leaf(self, segment: int, unit: int, commit: int, states: list[list[bytes]]) -> tuple[bytes, bytes]:
        """A state and the path from its leaf to the segment's root."""
        units, commits = self._group_of(unit), self.params.commits
        leaves = b"".join(
            derive.leaf(self.leaf_context, segment, one, number, states[number][one - units[0]])
            for one in units
            for number in range(commits)
        )
        lower = merkle.tree(leaves, self.node_context)
        upper = merkle.tree(self._levels[segment], self.node_context)
        inside = (unit - units[0]) * commits + commit
        path = merkle.path(lower, inside) + merkle.path(upper, unit // self.group)
        return states[commit][unit - units[0]], path

    def _group_of(self, unit: int) -> range:
        first = unit // self.group * self.group
        return range(first, first + self.group)

    def _order(self, segment: int) -> Order:
        salt, before = self._salts[segment], self._roots[segment]
        return derive.order(self.params, self._challenge, self._device, segment, before, salt)
