"""Every part of the comparison from end to end, with a CPU for the GPU: kernels by g++, torch's own, gloo for NCCL."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kernels import collective
from kernels import device as devices
from kernels.benches import allreduce, hostlink, matmul, memlatency, memory
from kernels.cuda import copies, library, products
from kernels.cuda.copies import HostLink
from kernels.spec import BenchError
from kernels.timing import EFFORT, Effort, HostTimer
from tests.gpu.bench import child, parts, search
from tests.gpu.bench import ground as grounds
from tests.gpu.bench.parts import once
from tests.gpu.bench.reference import KINDS, Product
from tests.gpu.bench.rows import BEST, PeerError, Row
from tests.gpu.peers import allreduce as nccl
from tests.gpu_peers.built import ground
from tests.kernels.cuda.emulated import EmulatedGpu

SMALL = 1 << 14


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All that our benches ask of a GPU, on a CPU and small."""
    saved = torch.backends.cuda.matmul.allow_tf32
    monkeypatch.setattr(library, "open_gpu", lambda index: EmulatedGpu(l2_bytes=1 << 12))
    monkeypatch.setattr(devices, "timer_for", lambda device: HostTimer())
    monkeypatch.setattr(products, "require_torch", lambda index: "cpu")
    monkeypatch.setattr(products, "free_bytes", lambda index: 1 << 30)
    monkeypatch.setattr(products, "shapes", lambda *_: ((32, 32, 32), (16, 32, 32)))
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    monkeypatch.setattr(memory, "GPU_LEAST_BYTES", SMALL)
    monkeypatch.setattr(memlatency, "GPU_DRAM_LEAST_BYTES", SMALL)
    monkeypatch.setattr(memlatency, "GPU_HOPS", dict.fromkeys(memlatency.GPU_HOPS, 1000))
    monkeypatch.setattr(hostlink, "SIZE_BYTES", SMALL)
    monkeypatch.setattr(copies, "HostLink", unpinned)
    monkeypatch.setattr(grounds, "EFFORT", {**EFFORT, "cuda": Effort(min_time_s=0.0)})
    yield
    torch.backends.cuda.matmul.allow_tf32 = saved


def unpinned(device: str, size_bytes: int, *, pinned: bool, seed: int) -> HostLink:
    """No page can be pinned for torch's CPU."""
    return HostLink(device, size_bytes, pinned=False, seed=seed)


def rows(folder: Path, part: str, keys: tuple[str, ...] = (), seconds: float = 0.0, **changed: Any) -> list[Row]:
    """One round of a part."""
    found = child.rows(
        replace(ground(folder), **changed), part, seconds=seconds, rounds=1, keys=keys, now=itertools.count().__next__
    )
    return list(found)


def measured(found: list[Row]) -> set[tuple[str, str]]:
    assert [row for row in found if row.ratio is None] == []
    assert all((row.ours or 0) > 0 and (row.theirs or 0) > 0 for row in found)
    return {(row.key, row.against) for row in found}


def test_every_precision_is_compared_with_torch(gpu: None, tmp_path: Path) -> None:
    """Seven products, and the time until the first figure of the one that has a goal for it."""
    assert measured(rows(tmp_path, "matmul")) == {
        *((key, parts.TORCH) for key in KINDS),
        ("matmul.bf16", "time to the first"),
    }
    assert set(KINDS) <= set(matmul.GPU_KEYS)


def test_memory_is_compared_with_torch_and_with_a_program(gpu: None, tmp_path: Path) -> None:
    """Copy with both, triad and read with the program; the goal is against the best of them."""
    assert measured(rows(tmp_path, "memory")) == {
        ("memory.copy", "torch copy"),
        *((f"memory.{loop}", parts.BABEL) for loop in ("copy", "triad", "read")),
        ("memory.copy", BEST),
        ("memory.triad", BEST),
    }


def test_the_host_link_and_latencies_are_compared_with_programs(gpu: None, tmp_path: Path) -> None:
    """Three ways, three levels."""
    assert measured(rows(tmp_path, "hostlink")) == {
        (f"hostlink.{way}", parts.NVBANDWIDTH) for way in ("h2d", "d2h", "both")
    }
    assert measured(rows(tmp_path, "memlatency")) == {(key, parts.CHASE) for key in memlatency.GPU_KEYS}


def test_without_a_compiler_what_needs_none_is_compared(gpu: None, tmp_path: Path) -> None:
    """torch's copy stays; the program's rows say why they are empty."""

    def command(*_: object) -> list[str]:
        raise PeerError("nvcc was not found; install it")

    found = rows(tmp_path, "memory", command=command)

    assert {(row.key, row.against) for row in found if row.ratio} == {
        ("memory.copy", "torch copy"),
        ("memory.copy", BEST),
    }
    assert {row.reason for row in found if not row.ratio} == {"nvcc was not found; install it"}


def test_a_source_that_is_not_compiled_says_so(tmp_path: Path) -> None:
    """The compiler's own first line."""
    bad = replace(ground(tmp_path), command=lambda *_: ["sh", "-c", "echo 'babel.cu(3): error' >&2; exit 1"])

    with pytest.raises(PeerError, match=r"babel\.cu was not compiled: babel\.cu\(3\): error"):
        bad.built("babel")


class Ranks:
    """An all-reduce of a microsecond a call."""

    def run(self, size_bytes: int, calls: int, *, among: int) -> float:
        return 1e-6 * calls

    def check(self) -> None:
        """All is well."""


@contextmanager
def joined(ranks: int, **_: Any) -> Iterator[Any]:
    """A group without processes."""
    yield Ranks()


def test_one_gpu_has_no_all_reduce_to_compare(gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reason instead."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(collective, "group", joined)

    (row,) = rows(tmp_path, "allreduce")

    assert row.reason.startswith("one GPU")


def test_two_gpus_are_compared_with_nccl(gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the largest size of our sweep."""
    asked: list[list[str]] = []

    def answer(command: list[str]) -> dict[str, float]:
        asked.append(command)
        return {"value": 1e9}

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(collective, "group", joined)
    monkeypatch.setattr(allreduce, "GPU_SIZES", {"standard": (8, 4096, SMALL)})
    monkeypatch.setattr(parts, "once", answer)

    assert measured(rows(tmp_path, "allreduce")) == {("allreduce.busbw", parts.NCCL)}
    assert [command[-1] for command in asked] == [str(SMALL)]


def test_the_collective_called_directly_sums_and_says_so(tmp_path: Path) -> None:
    """Two ranks over gloo: 4096 bytes, of which each link carries 2 (2 - 1) / 2 = 1 times as many."""
    plan = {"ranks": 2, "bytes": 4096, "store": str(tmp_path / "store"), "backend": "gloo"}
    # forked, so that torch is loaded once
    words = f"import os, torch; other = os.fork() == 0; {nccl.WORDS.format('int(other)', json.dumps(plan))}"

    answer = once([sys.executable, "-c", words])

    assert {name: answer[name] for name in ("word", "ranks", "bytes", "wrong")} == {
        "word": "allreduce", "ranks": 2, "bytes": 4096, "wrong": 0,
    }  # fmt: skip
    assert 0 < answer["value"] <= answer["best"]


def test_ranks_are_run_together(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one's word counts; one that fails is told, and all are ended when none answers."""
    say = [sys.executable, "-S", "-c"]

    assert nccl.together([[*say, "print('first')"], [*say, "print('second')"]]) == 0
    assert capsys.readouterr().out == "first\n"
    assert nccl.together([[*say, "print('first')"], [*say, "raise SystemExit(1)"]]) == 3
    monkeypatch.setattr(nccl, "PATIENCE_S", 0.05)
    assert nccl.together([[*say, "import time; time.sleep(60)"]] * 2) == 3
    assert "no answer within 0 s" in capsys.readouterr().err
    assert nccl.main(["4096", "1"]) == 3


def test_a_program_that_runs_once_is_read_with_care() -> None:
    """Its last line of stderr, its own check, its figure."""
    say = [sys.executable, "-S", "-c"]
    with pytest.raises(PeerError, match="found 1"):
        once([*say, "import sys; sys.stderr.write('x\\nfound 1\\n'); sys.exit(3)"])
    with pytest.raises(PeerError, match="not to be believed"):
        once([*say, 'print(\'{"value": 1, "wrong": 2}\')'])
    assert once([*say, 'print(\'NCCL version 2\\n{"value": 1, "wrong": 0}\')'])["value"] == 1


class Made:
    """A product whose rate is known by its shape."""

    def __init__(self, shape: search.Shape, rates: dict[search.Shape, tuple[float, float]]) -> None:
        self.flops, (self.quick, self.slow) = 1.0, rates[shape]
        if self.quick == 0:
            raise RuntimeError("out of memory")

    def call(self) -> None:
        """Nothing."""

    def rate(self, ground: object) -> float:
        return self.slow


def test_a_search_times_the_best_again(tmp_path: Path) -> None:
    """What was lucky when tried is not the best; what there is no memory for is passed over."""
    rates = {(1, 1, 1): (9.0, 5.0), (2, 2, 2): (8.0, 7.0), (3, 3, 3): (1.0, 1.0), (4, 4, 4): (0.0, 0.0)}

    def clock(call: Any, calls: int) -> float:
        return float(calls / call.__self__.quick)

    on = replace(ground(tmp_path), clock=clock)
    found = search.search(
        list(rates), lambda shape: Made(shape, rates), on, now=itertools.repeat(0.0).__next__, seconds=1.0  # type: ignore[arg-type,return-value]
    )  # fmt: skip

    assert (found.shape, found.rate, found.tried, found.of) == ((2, 2, 2), 7.0, 3, 4)


def test_a_search_ends_with_its_time(tmp_path: Path) -> None:
    """Ten seconds, one for each look at the clock: the 1.5 at the end are for the best."""
    rates = {(n, n, n): (float(n), float(n)) for n in range(1, 99)}
    seconds = itertools.count()
    on = replace(ground(tmp_path), clock=lambda call, calls: 1.0)

    found = search.search(
        list(rates), lambda shape: Made(shape, rates), on, now=seconds.__next__, seconds=10.0  # type: ignore[arg-type,return-value]
    )  # fmt: skip

    assert found.tried == 9


def test_a_search_that_finds_nothing_says_so(tmp_path: Path) -> None:
    """Rather than a ratio to nothing."""
    on = ground(tmp_path)
    with pytest.raises(BenchError, match="no shape of the grid"):
        search.search([(1, 1, 1)], lambda shape: Made(shape, {shape: (0.0, 0.0)}), on, now=lambda: 0.0, seconds=1)  # type: ignore[arg-type,return-value]


def test_the_grid_is_whole_and_in_an_order_of_the_seed() -> None:
    """31 x 31 x 16 shapes, 8192 cubed among them; another seed, another order."""
    grid = search.shapes(1)

    assert len(set(grid)) == 31 * 31 * 16
    assert (8192, 8192, 8192) in grid
    assert grid == search.shapes(1) != search.shapes(2)


def test_ours_is_compared_with_the_best_of_the_search(
    gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row a precision, that says how much of the grid was seen; what the GPU has no unit for is skipped."""
    monkeypatch.setattr(search, "shapes", lambda seed: [(64, 64, 64), (32, 32, 64)])
    old = replace(ground(tmp_path).device, capability=(8, 6))
    found = rows(tmp_path, "search", keys=("matmul.fp16", "matmul.fp8"), seconds=100.0, device=old)

    fp16, fp8 = found
    assert fp16.against.startswith("best of 2 shapes of 2: ")
    assert fp16.goal is not None
    assert "compute capability" in fp8.reason


def test_torch_s_switch_is_set_for_its_own_key_only(gpu: None, tmp_path: Path) -> None:
    """fp32 with TF32 would be another product."""
    for key in ("matmul.tf32", "matmul.fp32"):
        Product(key, (32, 32, 32), device="cpu", seed=1).rate(ground(tmp_path))
        assert torch.backends.cuda.matmul.allow_tf32 == (key == "matmul.tf32")


def test_the_steady_time_drops_the_first_and_takes_the_median(tmp_path: Path) -> None:
    """A first call of 9 s, then calls of 10 ms: batches of ten, the middle one counts."""
    lasted = iter([9.0, 0.01, 0.1, 0.3, 0.2, 0.1, 0.5])
    calls: list[int] = []

    def clock(call: object, count: int) -> float:
        calls.append(count)
        return next(lasted)

    assert replace(ground(tmp_path), clock=clock, batch_s=0.1).steady(lambda: None) == pytest.approx(0.02)
    assert calls == [1, 1, 10, 10, 10, 10, 10]


def test_a_peer_is_started_next_to_the_gpu(gpu: None, tmp_path: Path) -> None:
    """On its CPUs, and we are back on ours."""
    before = os.sched_getaffinity(0)
    with ground(tmp_path).peer("chase", 4096, 8, 0, 1) as peer:
        there = os.sched_getaffinity(peer._process.pid)

    assert there == set(ground(tmp_path).device.cpus)
    assert os.sched_getaffinity(0) == before
