"""One part in a process of its own: a crash, or a GPU that answers no more, costs that part and no other.

`python -m tests.gpu.bench.child PART SECONDS ROUNDS [KEY …]` prints each row as a line of JSON as soon as it is known;
`… child device` prints which GPU it would use.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kernels.conditions import die_with_parent
from kernels.spec import UnsupportedError
from tests.gpu.bench import parts, search
from tests.gpu.bench.ground import Ground, event_clock
from tests.gpu.bench.rows import Goal, Pair, Row, compare

SEARCH, DEVICE = "search", "device"
#: of a search's seconds, what is left for measuring ours beside its best
SEARCHING_PART = 0.8


def encode(row: Row) -> str:
    """A row as one line of JSON."""
    return json.dumps(dataclasses.asdict(row))


def decode(line: str) -> Row:
    """The row of a line.

    Raises:
        ValueError: it is none.
    """
    found: dict[str, Any] = json.loads(line)
    try:
        goal = found.pop("goal")
        return Row(**{**found, "ratios": tuple(found["ratios"])}, goal=None if goal is None else Goal(**goal))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no row: {line!r}") from error


def rows(
    ground: Ground, part: str, *, seconds: float, rounds: int, keys: tuple[str, ...], now: Callable[[], float]
) -> Iterator[Row]:
    """Every row of a part within `seconds`; each pair gets an equal part of what is left."""
    until = now() + seconds
    if part == SEARCH:
        each_s = SEARCHING_PART * seconds / len(keys)
        found, left = search.pairs(ground, seconds=each_s, keys=keys, now=now), len(keys)
    else:
        found, left = parts.PARTS[part].pairs(ground), parts.PARTS[part].count
    for one in found:
        if isinstance(one, Pair):
            yield from compare(one, rounds, now=now, until=now() + (until - now()) / max(1, left))
            left -= 1
        else:
            yield one


def main(argv: list[str]) -> int:
    """Measure one part on the first GPU, or say which it is."""
    from kernels.cuda import device as gpus
    from kernels.cuda.products import require_torch

    die_with_parent()
    try:
        device = gpus.find()[0]
    except UnsupportedError as error:
        why = str(error).partition("; use --device")[0]
        sys.stderr.write(f"{why}; run it on a machine with an NVIDIA GPU\n")
        return 3
    if argv == [DEVICE]:
        sys.stdout.write(json.dumps(dataclasses.asdict(device)) + "\n")
        return 0
    part, seconds, rounds, *keys = argv
    with tempfile.TemporaryDirectory(prefix="gpu-bench-") as folder:
        ground = Ground(device=device, torch_device=require_torch(device.index), clock=event_clock, folder=Path(folder))
        for row in rows(ground, part, seconds=float(seconds), rounds=int(rounds), keys=tuple(keys), now=time.monotonic):
            sys.stdout.write(encode(row) + "\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
