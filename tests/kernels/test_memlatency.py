"""The latency bench: working sets, pages, skips with reasons."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from kernels.benches import memlatency
from kernels.device import Device
from kernels.spec import Case, Skip
from tests.kernels.devices import KIB, MIB, small_device, small_setting, variant

SERVER = Device(
    kind="cpu",
    index=0,
    name="server",
    cpus=(0,),
    threads=1,
    l1d_bytes=32 * KIB,
    l2_bytes=MIB,
    llc_core_bytes=32 * MIB,
    memory_bytes=64 << 30,
)


@pytest.mark.parametrize(
    ("level", "size_bytes"),
    [("l1", 16 * KIB), ("l2", 256 * KIB), ("l3", 2 * MIB), ("dram", 256 * MIB), ("dram_4k", 256 * MIB)],
)
def test_working_sets_of_a_server(level: str, size_bytes: int) -> None:
    """Half of L1, a quarter of L2, twice L2, and for DRAM 256 MiB, which is more than four times 32 MiB."""
    assert memlatency._working_set(SERVER, level) == (size_bytes, "")


def test_dram_is_four_times_a_large_cache() -> None:
    """96 MiB of L3 in reach of the core: 384 MiB."""
    device = replace(SERVER, llc_core_bytes=96 * MIB)

    assert memlatency._working_set(device, "dram") == (384 * MIB, "")


def test_small_l2_is_still_twice_l1() -> None:
    """48 KiB and 256 KiB: a quarter of L2 would hit L1, so 96 KiB."""
    device = replace(SERVER, l1d_bytes=48 * KIB, l2_bytes=256 * KIB)

    assert memlatency._working_set(device, "l2") == (96 * KIB, "")


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"l1d_bytes": None}, "l1", "does not tell"),
        ({"l1d_bytes": None}, "l2", "second-level"),
        ({"l2_bytes": 64 * KIB}, "l2", "four times"),
        ({"llc_core_bytes": MIB}, "l3", "four times"),
        ({"llc_core_bytes": None}, "l3", "last level None"),
        ({"memory_bytes": 500 * MIB}, "dram", "found 500 MiB"),
        ({"memory_bytes": 500 * MIB}, "dram_4k", "needs 256 MiB"),
    ],
)
def test_what_cannot_be_measured_is_skipped_with_the_reason(
    changes: dict[str, int | None], level: str, words: str
) -> None:
    """Unknown or unsuitable caches and too little memory."""
    key = f"memlatency.{level}"
    device = replace(SERVER, **changes)  # type: ignore[arg-type]

    (step,) = memlatency.on_cpu(small_setting(key, device=device))

    assert isinstance(step, Skip)
    assert step.key == key
    assert words in step.reason


def test_all_levels_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five cases whose walks stand where they should; each holds its working set, on the pages it says."""
    monkeypatch.setattr(memlatency, "DRAM_LEAST_BYTES", 4 * MIB)
    before = os.sched_getaffinity(0)
    seen = {}

    for case in memlatency.on_cpu(small_setting()):
        assert isinstance(case, Case)
        found = variant(case)
        found.call()
        found.check()
        seen[case.key] = (case.context["working_set_bytes"], case.context["page_bytes"])
        assert found.work.steps == memlatency.HOPS[case.key.removeprefix("memlatency.")]
        assert case.context["pinned"] is True

    sizes = {key: size for key, (size, _) in seen.items()}
    assert sizes == {
        "memlatency.l1": 4 * KIB,
        "memlatency.l2": 16 * KIB,
        "memlatency.l3": 128 * KIB,
        "memlatency.dram": 4 * MIB,
        "memlatency.dram_4k": 4 * MIB,
    }
    assert seen["memlatency.dram_4k"][1] == os.sysconf("SC_PAGE_SIZE")
    assert os.sched_getaffinity(0) == before


def test_hops_are_whole_turns_of_the_loop() -> None:
    """A walk goes in steps of UNROLL; a rest would be hops that are counted and not done."""
    from kernels.cpu.chase import UNROLL

    assert all(hops % UNROLL == 0 for hops in memlatency.HOPS.values())


def test_nearer_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """On any machine L1 answers sooner than 64 MiB of memory does."""
    monkeypatch.setattr(memlatency, "DRAM_LEAST_BYTES", 64 * MIB)
    seconds = {}
    for case in memlatency.on_cpu(small_setting("memlatency.l1", "memlatency.dram", device=small_device())):
        found = variant(case)
        found.call()
        assert isinstance(case, Case)
        from kernels.timing import HostTimer

        seconds[case.key] = min(HostTimer().time(found.call, 1) for _ in range(3)) / found.work.steps

    assert seconds["memlatency.l1"] < seconds["memlatency.dram"] / 2
