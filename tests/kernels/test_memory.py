"""The memory bench: sizes, kinds of store, context, and wrong results caught."""

from __future__ import annotations

import os

import pytest

from kernels.benches import memory
from kernels.cpu.crew import pinned
from kernels.spec import Case, UnsupportedError, WrongResultError
from kernels.timing import EFFORT, HostTimer, measure
from tests.kernels.devices import MIB, small_device, small_setting, variant


def test_arrays_are_four_times_the_last_level_cache_each() -> None:
    """1 MiB of cache: 4 MiB each, a multiple of the page of 2 MiB; triad moves three of them."""
    (case,) = memory.on_cpu(small_setting("memory.triad"))

    assert isinstance(case, Case)
    assert (case.key, case.context["array_bytes"]) == ("memory.triad", 4 * MIB)
    assert [found.work.bytes for found in case.variants] == [12 * MIB, 12 * MIB]


def test_every_loop_with_both_kinds_of_store_but_read() -> None:
    """Six cases; a read has no store to choose."""
    labels = {case.key: tuple(found.label for found in case.variants) for case in memory.on_cpu(small_setting())}  # type: ignore[union-attr]

    assert labels.pop("memory.read") == ("plain",)
    assert labels == {f"memory.{name}": ("plain", "streaming") for name in ("triad", "copy", "scale", "add", "write")}


@pytest.mark.parametrize("key", memory.KEYS)
def test_a_call_that_did_nothing_is_caught(key: str) -> None:
    """The check holds after a call, and fails without one."""
    for case in memory.on_cpu(small_setting(key)):
        found = variant(case)

        with pytest.raises(WrongResultError):
            found.check()
        found.call()
        found.check()


def test_the_context_tells_what_backs_the_figure() -> None:
    """Pages really obtained, threads and pinning."""
    (case,) = memory.on_cpu(small_setting("memory.copy", device=small_device(threads=2)))

    assert isinstance(case, Case)
    assert case.context["threads"] == min(2, len(os.sched_getaffinity(0)))
    assert case.context["pinned"] is True
    assert case.context["page_bytes"] in (4096, 2 * MIB)


def test_measured_by_the_harness() -> None:
    """The crew's own clock gives the seconds: a rate a memory can have, with the variant that was better."""
    for case in memory.on_cpu(small_setting("memory.triad")):
        assert isinstance(case, Case)
        (figure,) = measure(case, HostTimer(), EFFORT["cpu"], 0.5)

        assert 1e8 < figure.summary.value < 1e13
        assert figure.context["variant"] in ("plain", "streaming")


def test_too_little_memory_is_refused_with_the_figures() -> None:
    """Three arrays of 128 MiB do not fit in half of 700 MiB."""
    device = small_device(llc_bytes=32 * MIB, memory_bytes=700 * MIB)

    with pytest.raises(UnsupportedError, match=r"three arrays of 128 MiB.*found 700 MiB"):
        next(memory.on_cpu(small_setting(device=device)))


def test_unwanted_means_nothing_is_set_up() -> None:
    """Keys of another bench: no case, no thread, no memory; too little memory is then no complaint."""
    assert list(memory.on_cpu(small_setting("matmul.fp32", device=small_device(memory_bytes=1)))) == []


def test_pinning_is_undone() -> None:
    """A bench that pins its own thread leaves the mask as it was."""
    before = os.sched_getaffinity(0)
    with pinned(min(before)):
        pass
    for _ in memory.on_cpu(small_setting("memory.write")):
        pass

    assert os.sched_getaffinity(0) == before
