"""Copies over the host's link and between GPUs, with torch's CPU for the GPU: checks, keys, link states, pairs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kernels.benches import hostlink, peerlink
from kernels.cpu.crew import pinned
from kernels.cuda import copies, products
from kernels.cuda.copies import HostLink, Peers, generation, link_errors, link_state, new_errors, timed
from kernels.device import Device
from kernels.spec import Case, Skip, WrongResultError
from kernels.timing import EFFORT, HostTimer, measure
from tests.kernels.devices import MIB, small_setting

MINE = tuple(sorted(os.sched_getaffinity(0)))
DEVICE = Device(kind="cuda", index=0, name="fake", cpus=MINE[:1], threads=1)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's CPU stands for the GPU; nothing can be pinned for it."""
    monkeypatch.setattr(products, "require_torch", lambda index: "cpu")
    monkeypatch.setattr(products, "free_bytes", lambda index: 64 * MIB)
    monkeypatch.setattr(hostlink, "SIZE_BYTES", MIB)

    def unpinned(device: str, size_bytes: int, *, pinned: bool, seed: int) -> HostLink:
        return HostLink(device, size_bytes, pinned=False, seed=seed)

    monkeypatch.setattr(copies, "HostLink", unpinned)


def test_every_way_is_measured_and_checked(gpu: None) -> None:
    """Five figures; both ways at once count both; pageable copies are timed by the host."""
    found = {}
    for step in hostlink.on_cuda(small_setting(device=DEVICE)):
        assert isinstance(step, Case)
        (figure,) = measure(step, HostTimer(), EFFORT["cpu"], 0.05)
        (variant,) = step.variants
        found[figure.key] = (variant.work.bytes // MIB, variant.clock is not None, figure.context["pinned"])

    assert found == {
        "hostlink.h2d": (1, False, True),
        "hostlink.d2h": (1, False, True),
        "hostlink.both": (2, False, True),
        "hostlink.h2d_pageable": (1, True, False),
        "hostlink.d2h_pageable": (1, True, False),
    }


@pytest.mark.parametrize("key", hostlink.KEYS)
def test_a_copy_that_did_nothing_is_caught(key: str, gpu: None) -> None:
    """The check holds after a copy, and fails without one; only what is wanted is opened."""
    (step,) = hostlink.on_cuda(small_setting(key, device=DEVICE))
    assert isinstance(step, Case)
    (variant,) = step.variants

    variant.call()
    variant.check()
    with pytest.raises(WrongResultError, match="the word at byte 0 of 1048576 arrived wrong"):
        variant.check()


def test_a_single_flipped_bit_is_found_where_it_is() -> None:
    """In word 77, on the way down."""
    link = HostLink("cpu", 64 << 10, pinned=False, seed=1)
    link.both()
    link.host_target[77] ^= 1 << 40

    with pytest.raises(WrongResultError, match="device to host: the word at byte 616"):
        link.check(("up", "down"))


def test_too_little_memory_skips_every_key(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three buffers of 1 MiB in a quarter of 8 MiB."""
    monkeypatch.setattr(products, "free_bytes", lambda index: 8 * MIB)
    steps = list(hostlink.on_cuda(small_setting(device=DEVICE)))

    assert [step.key for step in steps if isinstance(step, Skip)] == list(hostlink.KEYS)


def test_the_process_stays_near_the_gpu_only_inside() -> None:
    """Pinned to its CPUs, then as before; CPUs that are not ours are no error."""
    with pinned(*MINE[:1]) as bound:
        assert bound
        assert os.sched_getaffinity(0) == set(MINE[:1])
    assert os.sched_getaffinity(0) == set(MINE)
    with pinned(100_000) as bound:
        assert not bound
    assert os.sched_getaffinity(0) == set(MINE)


def lay_device(root: Path) -> Path:
    """A GPU behind a port, as sysfs shows them: /sys/bus/pci/devices holds links into the tree of buses."""
    folder = root / "tree/0000:00:01.0/0000:0a:00.0"
    folder.mkdir(parents=True)
    (root / "devices").mkdir()
    (root / "devices/0000:0a:00.0").symlink_to(folder)
    return folder


def test_the_state_of_a_link_is_the_kernel_s(tmp_path: Path) -> None:
    """Speed in its words and as a generation, width as a number; what is not told is None, never 0."""
    folder = lay_device(tmp_path)
    (folder / "current_link_speed").write_text("32.0 GT/s PCIe\n")
    (folder / "current_link_width").write_text("16\n")
    (folder / "numa_node").write_text("-1\n")

    assert link_state("0000:0a:00.0", tmp_path / "devices") == {
        "link_speed": "32.0 GT/s PCIe",
        "link_generation": 5,
        "link_width": 16,
        "link_speed_max": None,
        "link_generation_max": None,
        "link_width_max": None,
        "numa_node": None,
    }
    assert set(link_state(None, tmp_path).values()) == {None}


@pytest.mark.parametrize(
    ("speed", "wanted"),
    [("2.5 GT/s PCIe", 1), ("16.0 GT/s PCIe", 4), ("64.0 GT/s PCIe", 6), ("Unknown", None), (7, None)],
)
def test_a_generation_is_read_from_the_speed(speed: str | int, wanted: int | None) -> None:
    """Each doubles the one before; what is no speed is no generation."""
    assert generation(speed) == wanted


def test_errors_of_both_ends_are_counted_while_copies_run(tmp_path: Path) -> None:
    """Two packets sent again at the port; kinds that no copy causes are left out."""
    folder = lay_device(tmp_path)
    told = "RxErr 1\nBadTLP 5\nBadDLLP 0\nRollover 0\nTimeout 0\nNonFatalErr 9\nTOTAL_ERR_COR 15\n"
    (folder / "aer_dev_correctable").write_text(told)
    (folder.parent / "aer_dev_correctable").write_text("BadTLP 7\n")
    before = link_errors("0000:0a:00.0", tmp_path / "devices")
    (folder.parent / "aer_dev_correctable").write_text("BadTLP 9\n")

    added = new_errors(before, link_errors("0000:0a:00.0", tmp_path / "devices"))

    assert added == {**dict.fromkeys(before, 0), "port BadTLP": 2}
    assert sorted(before) == [*(f"device {kind}" for kind in sorted(copies.LINK_ERRORS)), "port BadTLP"]


def test_errors_that_are_not_told_are_none(tmp_path: Path) -> None:
    """Never zero."""
    lay_device(tmp_path)

    assert link_errors("0000:0a:00.0", tmp_path / "devices") == link_errors(None) == {}
    assert new_errors({}, {}) is None


def test_a_curve_has_small_copies_of_the_single_ways(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sizes before the full one, largest last; the shares add up; both at once has no curve."""
    monkeypatch.setitem(hostlink.CURVE_BYTES, "standard", (4096, 65536))
    setting = small_setting(*hostlink.PINNED, device=DEVICE, profile="standard")
    found: dict[str, list[float | None]] = {}
    share = 0.0
    for step in hostlink.on_cuda(setting):
        assert isinstance(step, Case)
        found.setdefault(step.key, []).append(step.at)
        share += step.share
        (figure,) = measure(step, HostTimer(), EFFORT["cpu"], 0.01)
        assert figure.context["size_bytes"] == (step.at or MIB)
        assert figure.context["link_errors"] is None

    assert found == {"hostlink.h2d": [4096, 65536, MIB], "hostlink.d2h": [4096, 65536, MIB], "hostlink.both": [None]}
    assert share == pytest.approx(hostlink.shares(setting)) == pytest.approx(3 + 4 * 0.2)


def test_a_pageable_copy_s_time_includes_the_wait() -> None:
    """Three copies of 2 s and a wait of 1 s: 7 s."""
    clock = [0.0]

    def passes(seconds: float) -> None:
        clock[0] += seconds

    assert timed(lambda: passes(2), lambda: passes(1), lambda: clock[0], 3) == 7


def test_data_of_another_gpu_does_not_pass() -> None:
    """Three GPUs; what should come from 0 came from 2."""
    peers = Peers(["cpu"] * 3, 64 << 10, seed=1)
    peers.copy(0, 1)
    peers.check(0, 1)
    peers.copy(2, 1)

    with pytest.raises(WrongResultError, match="GPU 0 to GPU 1: the word at byte 0"):
        peers.check(0, 1)


def test_each_gpu_sends_words_of_its_own() -> None:
    """None alike at the same place, none twice in a buffer, all 64 bits in use; another seed sends others."""
    first, second = Peers(["cpu"] * 2, 64 << 10, seed=1).sources
    other = Peers(["cpu"], 64 << 10, seed=2).sources[0]

    assert not bool((first == second).any())
    assert not bool((first == other).any())
    assert len(set(first.tolist())) == 8192
    assert {bit for bit in range(64) if any(word >> bit & 1 for word in first.tolist())} == set(range(64))


def test_a_round_measures_every_pair_and_checks_it() -> None:
    """Three GPUs, each copy of 64 KiB taking 1 ms by the script: eight calls of one way, eight of both at once."""
    peers, timer = Peers(["cpu"] * 3, 64 << 10, seed=1), CountedTimer()
    rates: peerlink.Rates = {}
    both: peerlink.Rates = {}
    for source in range(3):
        peerlink.one_round(peers, timer, source, rates, both)

    assert set(rates) == {(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)}
    assert set(both) == {(0, 1), (0, 2), (1, 2)}
    assert rates[1, 0] == pytest.approx([(64 << 10) / 1e-3])
    assert both[1, 2] == pytest.approx([2 * (64 << 10) / 1e-3])


def test_a_way_back_that_brings_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both at once, of which one is not done."""
    peers = Peers(["cpu"] * 2, 64 << 10, seed=1)
    monkeypatch.setattr(peers, "both", peers.copy)

    with pytest.raises(WrongResultError, match="GPU 1 to GPU 0: the word at byte 0"):
        peerlink.one_round(peers, CountedTimer(), 0, {}, {})


class CountedTimer(HostTimer):
    """A call takes a millisecond, whatever it does."""

    def time(self, call: Callable[[], object], calls: int) -> float:
        super().time(call, calls)
        return calls * 1e-3


def test_the_slowest_pair_is_the_figure() -> None:
    """By its median; every ordered pair beside it, with those that have no direct way."""
    rates = {(0, 1): [9.0, 10.0, 11.0], (1, 0): [7.0, 8.0, 30.0], (0, 2): [50.0]}
    direct = [[True, True, False], [True, True, True], [True, True, True]]

    found = peerlink.summary(rates, {(0, 1): [18.0, 12.0, 15.0]}, direct)

    assert found.context["both_bytes_per_s"] == {"0-1": 15.0}
    assert (found.samples, found.context["slowest"]) == ((7.0, 8.0, 30.0), "1-0")
    assert found.context["pairs"] == {
        "0-1": {"bytes_per_s": 10.0, "via_host": False},
        "1-0": {"bytes_per_s": 8.0, "via_host": False},
        "0-2": {"bytes_per_s": 50.0, "via_host": True},
    }


def test_one_gpu_has_no_peers_and_says_so(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A skip with its reason, and nothing for other keys."""
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    (step,) = peerlink.on_cuda(small_setting(device=DEVICE))

    assert isinstance(step, Skip)
    assert step.reason.startswith("one GPU")
    assert list(peerlink.on_cuda(small_setting("nothing.else", device=DEVICE))) == []
