"""What is compared with what: each part yields its pairs one at a time, and frees what one held before the next."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kernels.benches import allreduce, memlatency
from kernels.spec import BenchError, Case, UnsupportedError
from tests.gpu.bench import goals
from tests.gpu.bench.ground import ROOT, Answer, Ground, Peer
from tests.gpu.bench.reference import KINDS, Copy, Product
from tests.gpu.bench.rows import Goal, Pair, PeerError, Row, Side, limit, skipped

Found = Iterator[Pair | Row]
TORCH = "torch 8192 cubed"
BABEL, NVBANDWIDTH, CHASE, NCCL = "BabelStream-like", "nvbandwidth-like", "plain chase", "NCCL as nccl-tests"
#: NVIDIA/nvbandwidth: copies of a sample, copies beforehand, samples
LINK_NUMBERS = (16, 4, 3)
#: UoB-HPC/BabelStream: passes over the arrays
BABEL_PASSES = 100
CHASE_SAMPLES = 11
NCCL_PATIENCE_S = 150.0


def products(ground: Ground) -> Found:
    """Our best shape of each precision beside torch's product of one size."""
    for key in KINDS:
        with guarded(key) as problems, contextlib.ExitStack() as stack:
            start = time.monotonic()
            case = stack.enter_context(ground.case(key))
            ours = ground.ours(case)
            first: list[float] = []

            def timed(ours: Side = ours, first: list[float] = first, start: float = start) -> float:
                value = ours()
                first.append(time.monotonic() - start)
                return value

            torch = Product(key, (ground.side,) * 3, device=ground.torch_device, seed=ground.seed)
            others = {TORCH: lambda torch=torch: torch.rate(ground)}
            bound = goals.TORCH_PRODUCT.get(key)
            yield Pair(key=key, unit=case.unit, ours=timed, others=others, goals={TORCH: bound} if bound else {})
            if key in goals.SECONDS and first:
                yield limit(key, "time to the first", first[0], goals.SECONDS[key], "s", Goal(high=1.0))
            del torch, others, timed, ours, case
        yield from problems
        release()


def memory(ground: Ground) -> Found:
    """Our loops beside torch's copy and a BabelStream in CUDA C++; our read beside its dot, which only reads."""
    for key, word in (("memory.copy", "copy"), ("memory.triad", "triad"), ("memory.read", "dot")):
        with guarded(key) as problems, contextlib.ExitStack() as stack:
            case = stack.enter_context(ground.case(key))
            others: dict[str, Side] = {}
            if word == "copy":
                copy = Copy(ground.copied_bytes, device=ground.torch_device, seed=ground.seed)
                others["torch copy"] = lambda copy=copy: copy.rate(ground)  # type: ignore[misc]
            try:
                array_bytes = int(str(case.context["array_bytes"]))
                babel = stack.enter_context(ground.peer("babel", array_bytes, BABEL_PASSES))
                others[BABEL] = lambda babel=babel, word=word: _babel(babel, word)  # type: ignore[misc]
            except PeerError as error:
                yield skipped(key, BABEL, str(error))
            if others:
                yield Pair(key=key, unit="B/s", ours=ground.ours(case), others=others, goals=goals.MEMORY.get(key, {}))
        yield from problems
        release()


def _babel(babel: Peer, word: str) -> float:
    """The better of its two ways: BabelStream's own, and the median by events, in which no launch is."""
    answer = babel.ask(word)
    return max(float(answer["value"]), float(answer["best_by_host"]))


def hostlink(ground: Ground) -> Found:
    """Pinned copies beside those of a program that does what nvbandwidth documents."""
    for key in ("hostlink.h2d", "hostlink.d2h", "hostlink.both"):
        yield from _beside_peer(ground, key, NVBANDWIDTH, "copies", (ground.linked_bytes, *LINK_NUMBERS), goals.LINK)
        release()


def latency(ground: Ground) -> Found:
    """Our chase beside a plain one over as many bytes."""
    for key in memlatency.GPU_KEYS:
        level = key.partition(".")[2]
        hops = memlatency.GPU_HOPS[level]

        def numbers(case: Case, hops: int = hops, near: int = int(level == "l1")) -> tuple[int, ...]:
            return int(str(case.context["working_set_bytes"])), hops, near, CHASE_SAMPLES

        yield from _beside_peer(ground, key, CHASE, "chase", numbers, goals.LATENCY, word="walk")
        release()


def _beside_peer(
    ground: Ground,
    key: str,
    name: str,
    program: str,
    numbers: tuple[int, ...] | Callable[[Case], tuple[int, ...]],
    goal: Goal,
    *,
    word: str | None = None,
) -> Found:
    """One case of ours beside one program that waits for a word."""
    with guarded(key, name) as problems, contextlib.ExitStack() as stack:
        case = stack.enter_context(ground.case(key))
        peer = stack.enter_context(ground.peer(program, *(numbers(case) if callable(numbers) else numbers)))
        asked = word or key.partition(".")[2]
        others = {name: lambda: float(peer.ask(asked)["value"])}
        yield Pair(key=key, unit=case.unit, ours=ground.ours(case), others=others, goals={name: goal})
    yield from problems


def collective(ground: Ground) -> Found:
    """The largest message of our sweep beside NCCL called directly; one GPU has no link to measure."""
    key = "allreduce.busbw"
    with guarded(key, NCCL) as problems:
        setting = ground.setting(key)
        with ground.case(key, point=len(allreduce.sizes(setting)) - 1) as case:
            size_bytes = int(case.at or 0)
            others = {
                NCCL: lambda: float(once([sys.executable, "-m", "tests.gpu.peers.allreduce", str(size_bytes)])["value"])
            }
            yield Pair(key=key, unit="B/s", ours=ground.ours(case), others=others)
    yield from problems


def once(command: list[str]) -> Answer:
    """What a program prints that measures and ends.

    Raises:
        PeerError: it failed, or its own check did.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=NCCL_PATIENCE_S)
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"{command[-2]} gave no answer within {NCCL_PATIENCE_S:.0f} s") from error
    if done.returncode or not done.stdout.strip():
        lines = done.stderr.strip().splitlines()
        raise PeerError(lines[-1] if lines else f"exit code {done.returncode}")
    answer: Answer = json.loads(done.stdout.strip().splitlines()[-1])
    if answer.get("wrong") != 0:
        raise PeerError(f"its result is not to be believed: {json.dumps(answer)}")
    return answer


@contextlib.contextmanager
def guarded(key: str, against: str = "") -> Iterator[list[Row]]:
    """Rows for what stops a figure: no such unit, no program, no memory, or what torch and cupy say of the GPU."""
    problems: list[Row] = []
    try:
        yield problems
    except (UnsupportedError, BenchError, PeerError, MemoryError, RuntimeError) as error:
        problems.append(skipped(key, against, str(error).strip().partition("\n")[0] or type(error).__name__))


def release() -> None:
    """Give back what torch's and cupy's pools keep, so that the next one's arrays find room."""
    import torch

    if torch.cuda.is_available():
        import gc

        from kernels.cuda.library import cupy

        gc.collect()
        torch.cuda.empty_cache()
        cupy().get_default_memory_pool().free_all_blocks()


@dataclass(frozen=True, slots=True)
class Part:
    """A part, how many pairs it yields at most, and the seconds it asks for."""

    pairs: Callable[[Ground], Found]
    count: int
    seconds: float


PARTS: dict[str, Part] = {
    "matmul": Part(products, len(KINDS), 190.0),
    "memory": Part(memory, 3, 60.0),
    "hostlink": Part(hostlink, 3, 60.0),
    "memlatency": Part(latency, len(memlatency.GPU_KEYS), 60.0),
    "allreduce": Part(collective, 1, 60.0),
}
