"""Ranks: exact sums, the slowest counts, and none hangs, listens to strangers or stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import torch

from kernels import companion, ranks
from kernels.collective import Group, group
from kernels.spec import BenchError, WrongResultError
from tests.kernels.processes import descendants, gone, listening

pytestmark = pytest.mark.alone

THREE = """
import time
from kernels.collective import group

with group(3, largest_bytes=64, seed=1, patience_s=5):
    print("up", flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def three() -> Iterator[Group]:
    """Three ranks, enough for a ring that is no mere exchange."""
    with group(3, largest_bytes=1 << 20, seed=7, patience_s=20) as members:
        yield members


@pytest.mark.parametrize("size_bytes", [8, 4096, 65_544, 1 << 20])
@pytest.mark.parametrize("among", [2, 3])
def test_sums_are_exact_whatever_the_size_and_the_number_of_ranks(three: Group, size_bytes: int, among: int) -> None:
    """Sizes below, at and beyond the period of the data, with more calls than there are slots."""
    seconds = three.run(size_bytes, 5, among=among)

    three.check()
    assert 0 < seconds < 20


def test_more_calls_than_slots_are_all_made(three: Group) -> None:
    """A batch larger than the arena is done in parts: its time grows with the calls."""
    calls = ranks.MAX_SLOTS + 3

    assert three.run(8, calls, among=2) > three.run(8, 1, among=2)


def test_a_wrong_sum_is_found_and_located() -> None:
    """One element off by one is seen, in the whole periods and in the rest."""
    expected = torch.arange(5, dtype=torch.float32)
    slot = expected.repeat(3)[:13].clone()
    assert ranks.first_difference(slot, expected) is None

    slot[7] += 1
    assert ranks.first_difference(slot, expected) == (7, 3.0, 2.0)
    slot[7] -= 1
    slot[12] = -4
    assert ranks.first_difference(slot, expected) == (12, -4.0, 2.0)


def test_a_wrong_sum_on_any_rank_voids_the_figure(three: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check asks every rank and names the one that is wrong."""
    monkeypatch.setattr(three, "ask", lambda *_: [{"wrong": None}, {"wrong": "element 3 of call 0 is 1"}])

    with pytest.raises(WrongResultError, match="on rank 1 element 3"):
        three.check()


def test_ranks_listen_on_loopback_only(three: Group) -> None:
    """Neither gloo nor a store is reachable from outside."""
    pids = descendants(three._launcher.process.pid)

    addresses = set().union(*(listening(pid) for pid in pids))

    assert len(pids) == 3
    assert addresses == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGKILL, "failed|ended"), (signal.SIGSTOP, "no answer within 1 s")]
)
def test_a_dead_or_hung_rank_is_an_error_soon_and_for_good(number: signal.Signals, words: str) -> None:
    """Its peers wait for it inside gloo; the benchmark does not, and every later call says the same."""
    with group(2, largest_bytes=64, seed=1, patience_s=1) as members:
        launcher = members._launcher.process.pid
        pids = descendants(launcher)
        os.kill(pids[1], number)
        start = time.monotonic()
        with pytest.raises(BenchError, match=words) as first:
            members.run(8, 10, among=2)
        with pytest.raises(BenchError) as second:
            members.check()

    assert time.monotonic() - start < 5
    assert str(second.value) == str(first.value)
    assert gone([launcher, *pids]) == []


def test_a_killed_benchmark_leaves_no_rank() -> None:
    """SIGKILL of the benchmark ends the launcher, and the launcher's end its ranks."""
    with subprocess.Popen([sys.executable, "-c", THREE], cwd=companion.ROOT, stdout=subprocess.PIPE) as benchmark:
        assert benchmark.stdout is not None
        assert benchmark.stdout.readline() == b"up\n"
        below = descendants(benchmark.pid)
        os.kill(benchmark.pid, signal.SIGKILL)

    assert len(below) == 4
    assert gone(below) == []


def test_ranks_that_cannot_start_are_an_error_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interface that does not exist: the message is gloo's own."""
    monkeypatch.setattr("kernels.collective.LOOPBACK", {"GLOO_SOCKET_IFNAME": "nosuch0"})

    with pytest.raises(BenchError, match="nosuch0"), group(2, largest_bytes=64, seed=1, patience_s=2):
        pass


def test_without_torch_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller turns it into advice on what to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(ImportError) as error, group(2, largest_bytes=64, seed=1, patience_s=2):
        pass

    assert error.value.name == "torch"
