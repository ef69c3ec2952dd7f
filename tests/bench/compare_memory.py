"""memory.triad and copy beside a STREAM in C: the same sizes and pages, the better kind of store on each side."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from kernels.spec import Case
from tests.bench import against

KEYS = ("memory.triad", "memory.copy")
TURNS = 8  # ours and theirs alternate this often in a round: memory shared with neighbours changes within a second
BUDGET_S = 0.25
REPEATS = 8
SETTLE_S = 0.01  # idle OpenMP threads spin for some milliseconds


class Stream:
    """STREAM in C, waiting with its arrays allocated until it is asked for a loop."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def measure(self, operation: str) -> dict[str, float]:
        """Median bytes per second of REPEATS passes, per kind of store."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(operation + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        if found["wrong"]:
            raise SystemExit(f"STREAM in C left {found['wrong']} elements wrong")
        time.sleep(SETTLE_S)
        return {kind: rate["median"] for kind, rate in found[operation].items()}


@contextmanager
def started(program: Path, size_bytes: int, threads: int) -> Iterator[Stream]:
    """The C program with arrays of this size."""
    settings = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_PROC_BIND": "true"}
    command = [str(program), str(size_bytes), str(REPEATS), "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=settings) as process:
        try:
            yield Stream(process)
        finally:
            process.kill()


def rounds(n: int, keys: tuple[str, ...] = KEYS) -> list[against.Row]:
    """`n` rounds per key of TURNS turns each; bytes per second, and the median of the turns' ratios."""
    rows = []
    with against.compiled("stream") as program:
        for key in keys:
            operation = key.removeprefix("memory.")
            with against.opened("memory", key) as case:
                size_bytes, threads = int(str(case.context["array_bytes"])), int(str(case.context["threads"]))
                with started(program, size_bytes, threads) as stream:
                    rows += [_round(case, stream, key, operation, place) for place in range(n)]
    return rows


def _round(case: Case, stream: Stream, key: str, operation: str, place: int) -> against.Row:
    ours, theirs, ratios, kinds = [], [], [], []
    for _ in range(TURNS):
        by_kind = stream.measure(operation)
        theirs.append(max(by_kind.values()))
        figure = against.ours(case, BUDGET_S)
        ours.append(figure.summary.value)
        ratios.append(ours[-1] / theirs[-1])
        kinds.append((figure.context.get("variant", "plain"), max(by_kind, key=lambda kind: by_kind[kind])))
    return {
        "key": key,
        "round": place,
        "ours": median(ours),
        "theirs": median(theirs),
        "ratio": median(ratios),
        "turns": ratios,
        "stores": kinds,
    }


if __name__ == "__main__":
    against.main("memory bandwidth, ours against STREAM in C", rounds)
