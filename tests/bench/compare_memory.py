"""memory.triad and copy beside a STREAM in C: the same sizes and pages, the better kind of store on each side."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
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
    """`n` rounds per key of TURNS turns each; bytes per second, and the median of the turns' ratios.

    Both sides get new arrays in every round, in turn the one or the other first: under a hypervisor some pages are
    faster than others, and who comes first gets other ones.
    """
    with against.opened("memory", keys[0]) as case:
        settings = int(str(case.context["array_bytes"])), int(str(case.context["threads"]))
    with against.compiled("stream") as program:
        return [_round(partial(started, program, *settings), key, place) for key in keys for place in range(n)]


def _round(start_stream: Callable[[], AbstractContextManager[Stream]], key: str, place: int) -> against.Row:
    with ExitStack() as stack:
        if place % 2:
            stream = stack.enter_context(start_stream())
            case = stack.enter_context(against.opened("memory", key))
        else:
            case = stack.enter_context(against.opened("memory", key))
            stream = stack.enter_context(start_stream())
        return _turns(case, stream, key, place)


def _turns(case: Case, stream: Stream, key: str, place: int) -> against.Row:
    ours: list[float] = []
    theirs: list[float] = []
    ratios, kinds = [], []
    for turn in range(TURNS):
        if turn % 2:
            figure, by_kind = against.ours(case, BUDGET_S), stream.measure(key.removeprefix("memory."))
        else:
            by_kind, figure = stream.measure(key.removeprefix("memory.")), against.ours(case, BUDGET_S)
        ours.append(figure.summary.value)
        theirs.append(max(by_kind.values()))
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
