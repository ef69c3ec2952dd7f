"""What a chip shows of itself: multiprocessors counted by a kernel, the end of its cache by reading."""

from __future__ import annotations

import random

import pytest

from kernels.cuda.fingerprint import cache_curve, counted_sms, footprints, knee
from kernels.cuda.streams import Streams
from kernels.spec import WrongResultError
from kernels.timing import HostTimer
from tests.kernels.cuda.emulated import EmulatedGpu
from tests.kernels.devices import KIB, MIB

CACHE = 50 * MIB
NEAR, FAR = 6e12, 3e12


def curve(cache_bytes: int, *, sharp: bool, near: float = NEAR, noise: float = 0.0) -> dict[int, float]:
    """Rates by footprint: a hit is as fast as `near`; beyond the cache nothing hits (sharp), or what is left there."""
    found = {}
    for size in footprints(512 * MIB):
        hit = 1.0 if size <= cache_bytes else 0.0 if sharp else cache_bytes / size
        found[size] = 1 / (hit / near + (1 - hit) / FAR) * (1 + noise * random.Random(size).uniform(-1, 1))
    return found


def test_every_multiprocessor_that_answers_is_counted() -> None:
    """The emulated GPU has two, and says it has five."""
    gpu = EmulatedGpu(sms=5)

    assert counted_sms(gpu) == 2
    assert gpu.launched == [("mark_sm", 160, 32)]


def test_a_number_beyond_the_list_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for one: multiprocessor 1 has no place in it."""
    monkeypatch.setattr("kernels.cuda.fingerprint.SM_NUMBERS", 1)

    assert counted_sms(EmulatedGpu()) == 1


def test_footprints_are_a_fourth_of_an_octave_apart() -> None:
    """1 MiB to 512: nine octaves, both ends included, of whole lines."""
    sizes = footprints(512 * MIB)

    assert (sizes[0], sizes[4], sizes[-1], len(sizes)) == (MIB, 2 * MIB, 512 * MIB, 37)
    assert not any(size % 256 for size in sizes)
    assert footprints(256 * KIB) == ()


@pytest.mark.parametrize(("sharp", "least", "most"), [(True, 0.85, 1.2), (False, 1.0, 1.35)])
@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_the_knee_is_where_the_cache_ends(sharp: bool, least: float, most: float, noise: float) -> None:
    """Within a step of 50 MiB where it drops at once; at 1.23 of it where a part goes on to hit."""
    found = knee(curve(CACHE, sharp=sharp, noise=noise))

    assert found is not None
    assert least <= found / CACHE <= most


def test_one_bad_sample_moves_nothing() -> None:
    """A rate of twice the best, and one of next to nothing within the cache."""
    rates = curve(CACHE, sharp=True)
    clean = knee(rates)
    sizes = sorted(rates)
    rates[sizes[5]] *= 2
    rates[sizes[10]] *= 0.1

    assert knee(rates) == clean


@pytest.mark.parametrize(
    "rates",
    [
        curve(CACHE, sharp=True, near=FAR),  # no cache to be seen
        curve(600 * MIB, sharp=True),  # all of it in the cache
        curve(MIB, sharp=True),  # none of it
        {MIB: 2.0, 2 * MIB: 1.0},  # two sizes
        {},
    ],
)
def test_without_a_step_there_is_no_knee(rates: dict[int, float]) -> None:
    """None, never a guess."""
    assert knee(rates) is None


def test_the_curve_s_reads_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each footprint's sum is passes times what is stored there; a kernel that skips a pass is found."""
    monkeypatch.setattr("kernels.cuda.fingerprint.LEAST_BYTES", 16 * KIB)
    found = cache_curve(Streams(EmulatedGpu(), 64 * KIB, seed=1), HostTimer())

    assert list(found) == [
        size // 256 * 256 for size in (16384, 19484, 23170, 27554, 32768, 38968, 46341, 55109, 65536)
    ]
    assert all(rate > 0 for rate in found.values())

    def skip(text: str) -> str:
        return text.replace("pass = 0; pass < passes", "pass = 1; pass < passes")

    with pytest.raises(WrongResultError, match="adds up to"):
        cache_curve(Streams(EmulatedGpu(faults={"stream": skip}), 64 * KIB, seed=1), HostTimer())
