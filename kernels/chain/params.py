"""The sizes of a chain: what one segment computes, what it commits to, and what may be asked of a device at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["compute", "memory"]
Arithmetic = Literal["int8", "bf16"]

SIDES = range(64, 8192 + 1)
BF16_SIDE_MAX = 4096  # 255 * 15 * 4096 < 2^24: sums in float32 are exact whatever their order
ROWS_MAX = 64
LEAVES_MAX = 1 << 20
TILES_MAX = 1 << 20
ROUNDS_MAX = 4096
DEPTH_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What one segment is. `problem` says what is wrong with a set of them; nothing else may be run."""

    kind: Kind  #: compute: all units share a round's tile; memory: every unit finds its own by its state
    arithmetic: Arithmetic
    n: int  #: side of a tile, columns of a state
    units: int  #: states that advance side by side
    rows: int  #: of a unit's state
    tiles: int  #: in the pool
    depth: int  #: layers that a tile of the memory pool is made through: what it costs to make one anew
    rounds: int  #: of a segment
    commit_every: int  #: rounds between two commitments

    @property
    def commits(self) -> int:
        """Commitments of one unit in a segment."""
        return self.rounds // self.commit_every

    @property
    def leaves(self) -> int:
        """Of a segment's tree, in the order unit * commits + commit."""
        return self.units * self.commits

    @property
    def levels(self) -> int:
        """Siblings in the path of a leaf."""
        return self.leaves.bit_length() - 1

    @property
    def item_bytes(self) -> int:
        """Of one number of a state, as it is hashed and sent."""
        return 2 if self.arithmetic == "bf16" else 1

    @property
    def state_bytes(self) -> int:
        """Of one unit's state, as it is hashed and sent."""
        return self.rows * self.n * self.item_bytes

    @property
    def ops_per_segment(self) -> int:
        """Arithmetic operations; a multiplication and its addition count 2."""
        return 2 * self.units * self.rows * self.n * self.n * self.rounds

    @property
    def read_bytes_per_segment(self) -> int:
        """Bytes of tiles that the units of a memory segment read, each its own."""
        return self.units * self.n * self.n * self.rounds

    @property
    def pool_bytes(self) -> int:
        """Of all tiles, one byte per number."""
        return self.tiles * self.n * self.n

    def problem(self) -> str | None:
        """Why these sizes are refused, in one sentence; None = they are sound."""
        return self._shape_problem() or self._kind_problem() or self._commit_problem()

    def check(self) -> None:
        """Raises ValueError with the problem, if there is one."""
        problem = self.problem()
        if problem:
            raise ValueError(problem)

    def _shape_problem(self) -> str | None:
        if self.kind not in ("compute", "memory"):
            return f"kind must be compute or memory, got {self.kind!r}"
        if self.arithmetic not in ("int8", "bf16"):
            return f"arithmetic must be int8 or bf16, got {self.arithmetic!r}"
        numbers = ("n", "units", "rows", "tiles", "depth", "rounds", "commit_every")
        for name in numbers:
            if type(getattr(self, name)) is not int:
                return f"{name} must be an integer, got {type(getattr(self, name)).__name__}"
        if self.n not in SIDES or not _is_power(self.n):
            return f"n must be a power of two from {SIDES[0]} to {SIDES[-1]}, got {self.n}"
        limits = (("tiles", 1, TILES_MAX), ("rounds", 1, ROUNDS_MAX), ("rows", 1, ROWS_MAX))
        for name, least, most in limits:
            if not least <= getattr(self, name) <= most:
                return f"{name} must be from {least} to {most}, got {getattr(self, name)}"
        return None

    def _kind_problem(self) -> str | None:
        if self.arithmetic == "bf16" and (self.kind != "compute" or self.n > BF16_SIDE_MAX):
            return f"bf16 is for compute chains of n at most {BF16_SIDE_MAX}, got {self.kind} with n {self.n}"
        if self.kind == "compute":
            wanted = (1, 0, self.rounds)
            if (self.rows, self.depth, self.commit_every) != wanted:
                found = (self.rows, self.depth, self.commit_every)
                return f"a compute chain has rows, depth, commit_every {wanted}, got {found}"
            return None
        if not 1 <= self.depth <= DEPTH_MAX:
            return f"a memory chain needs a depth from 1 to {DEPTH_MAX}, got {self.depth}"
        if not _is_power(self.rows):
            return f"rows must be a power of two, got {self.rows}"
        return None

    def _commit_problem(self) -> str | None:
        if not _is_power(self.units) or self.units > LEAVES_MAX:
            return f"units must be a power of two up to {LEAVES_MAX}, got {self.units}"
        if not 1 <= self.commit_every <= self.rounds or self.rounds % self.commit_every:
            return f"commit_every must divide the rounds ({self.rounds}), got {self.commit_every}"
        if not _is_power(self.commits):
            return f"rounds / commit_every must be a power of two, got {self.commits}"
        if not 2 <= self.leaves <= LEAVES_MAX:
            return f"a segment must have from 2 to {LEAVES_MAX} leaves, got {self.leaves}"
        return None


def _is_power(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0
