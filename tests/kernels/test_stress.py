"""The stress bench: burst, sustained speed and their ratio, from a scripted soak."""

from __future__ import annotations

import pytest

from kernels import products
from kernels.benches import stress
from kernels.products import Libraries
from kernels.spec import Observed, UnsupportedError, WrongResultError
from tests.kernels.devices import small_setting

LIBRARIES = Libraries(threads=2, numpy_threads=2, torch_isa="AVX2", settle_s=0.0)


@pytest.fixture
def operands(monkeypatch: pytest.MonkeyPatch) -> products.Operands:
    """Products of 128."""
    monkeypatch.setattr(products, "SIDES", (128,))
    return products.Operands(products.FP32, 128, seed=1)


def scripted(rates: list[float], call_s: float) -> stress.Soak:
    """Calls of equal length with these rates; a window each second."""
    ends = [call_s * (place + 1) for place in range(len(rates))]
    marks = [end for place, end in enumerate(ends) if (place + 1) * call_s % 1.0 < 1e-9]
    return stress.Soak(ends_s=ends, rates=rates, marks_s=marks, clocks_hz=[3e9] * len(marks))


def test_decline_is_the_last_half_over_the_first_seconds(
    monkeypatch: pytest.MonkeyPatch, operands: products.Operands
) -> None:
    """100 for 2 s of 8, then 90, and 80 in the last half: sustained 80, declined to 0.8."""
    soak = scripted([100.0] * 16 + [90.0] * 16 + [80.0] * 32, 0.125)
    monkeypatch.setattr(stress, "_soak", lambda *_: soak)
    monkeypatch.setattr(stress, "_faster", lambda *_: "torch")

    sustained, decline = stress._observe(operands, LIBRARIES, stress.KEYS, 8.0)

    assert set(sustained.samples) == {80.0}
    assert len(sustained.samples) == 32
    assert set(decline.samples) == {0.8}
    assert sustained.context["flops_per_s"] == [100.0, 100.0, 90.0, 90.0, 80.0, 80.0, 80.0, 80.0]
    assert sustained.context["elapsed_s"] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    assert sustained.context["clock_hz"] == [3e9] * 8
    assert (decline.unit, decline.context["burst_flops_per_s"]) == ("ratio", 100.0)
    # windows of 100 100 90 90 80 80 80 80, medians of five 100 95 90 90 80 80 80 80: within 1 % of 80 from 4 s on
    assert sustained.context["steady_after_s"] == decline.context["steady_after_s"] == 4.0


@pytest.mark.parametrize(
    ("rates", "wanted"),
    [
        ([80.0] * 20, 0.0),
        ([100.0] * 10 + [80.0] * 10, 10.0),  # the late half is the slow one
        ([80.0] * 9 + [200.0] + [80.0] * 10, 0.0),  # one odd window among five is no change
        ([100.0] * 17 + [80.0] * 3, None),  # too late to see that it stays
        ([80.7] * 10 + [80.0] * 10, 0.0),  # within one percent
        ([70.0, 80.0] * 10, None),  # no two windows alike
    ],
)
def test_steady_is_what_stays_near_the_late_speed(rates: list[float], wanted: float | None) -> None:
    """Windows of a second; a running median of five within 1 % of the median of the last half."""
    ends = [float(second) for second in range(1, len(rates) + 1)]

    assert stress.steady_after_s(ends, rates) == wanted


def test_too_short_a_soak_is_no_figure(monkeypatch: pytest.MonkeyPatch, operands: products.Operands) -> None:
    """Twelve calls of which six are late: the message tells what was found."""
    monkeypatch.setattr(stress, "_soak", lambda *_: scripted([100.0] * 12, 0.5))
    monkeypatch.setattr(stress, "_faster", lambda *_: "torch")

    with pytest.raises(UnsupportedError, match=r"found 4 and 6 in 6\.0 s"):
        stress._observe(operands, LIBRARIES, stress.KEYS, 6.0)


def test_a_soak_ends_in_time_and_checks_what_it_multiplied(operands: products.Operands) -> None:
    """0.2 s of products, each with its rate; the last is checked and the clock read."""
    import time

    from kernels.cpu.clock import core_clock_hz

    core_clock_hz()  # loaded and compiled beforehand, as it is in a run
    began = time.perf_counter()
    soak = stress._soak(operands, "numpy", began + 0.2)
    lasted_s = time.perf_counter() - began

    assert lasted_s >= 0.2
    assert all(end < 0.2 for end in soak.ends_s[:-1])  # the last product was begun in time, however long it took
    assert len(soak.rates) == len(soak.ends_s) > 1
    assert soak.ends_s == sorted(soak.ends_s)
    assert began <= soak.started_mono_s <= began + lasted_s  # on Linux both clocks are CLOCK_MONOTONIC
    assert len(soak.clocks_hz) == len(soak.marks_s) == 1


def test_a_wrong_product_under_load_ends_it(monkeypatch: pytest.MonkeyPatch, operands: products.Operands) -> None:
    """A device that errs when it is hot is an error, not a speed."""
    import time

    monkeypatch.setattr(operands, "by_torch", lambda: None)

    with pytest.raises(WrongResultError):
        stress._soak(operands, "torch", time.perf_counter() + 0.01)


def test_the_faster_library_is_taken(operands: products.Operands) -> None:
    """torch where numpy cannot be told its threads, either of both otherwise."""
    alone = Libraries(threads=2, numpy_threads=None, torch_isa="AVX2", settle_s=0.0)

    assert stress._faster(operands, alone) == "torch"
    assert stress._faster(operands, LIBRARIES) in ("torch", "numpy")


def test_only_the_keys_wanted(monkeypatch: pytest.MonkeyPatch, operands: products.Operands) -> None:
    """One of two; or none, and then nothing is set up."""
    (step,) = stress.on_cpu(small_setting("stress.decline", profile="standard"))

    assert isinstance(step, Observed)
    assert step.keys == ("stress.decline",)
    assert list(stress.on_cpu(small_setting("memory.copy"))) == []


def test_quick_does_not_stress() -> None:
    """Half a minute of soak has no room in 45 s."""
    assert set(stress.BENCH.seconds) == {"standard", "deep"}
