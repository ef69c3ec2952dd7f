"""Samples of GPUs fold into readings; quiet means quiet; events and the state at the end are kept."""

from __future__ import annotations

from types import SimpleNamespace

import pynvml

from qualify.gpu_records import GpuReading
from qualify.nvml import Library
from qualify.telemetry import Counters, Sampler
from qualify.telemetry_gpu import COUNTERS_EVERY, GpuSampler, fold
from tests.fake_pynvml import H100, By, FakePynvml, error

BUSY = {
    **H100,
    "ClockInfo": By({"1": 1800, "2": 2619}),
    "UtilizationRates": SimpleNamespace(gpu=90, memory=10),
    "CurrentClocksEventReasons": 4,
    "PcieReplayCounter": 3,
    "PcieThroughput": By({"0": 5, "1": 6}),
    "SupportedEventTypes": 8,
}


def _sampler(module: FakePynvml) -> GpuSampler:
    made = GpuSampler(Library(module), range(len(module.devices)), clock=lambda: 9.0, origin_s=2.0)
    made.subscribe()
    return made


def test_a_window_has_means_worst_temperatures_shares_of_reasons_and_last_counters() -> None:
    """Two samples: 1 and 2 GHz, 60 and 70 degrees, a margin of 9 and 5, one of them capped."""
    folded = fold(
        [
            GpuReading(index=1, sm_clock_hz=1e9, temperature_c=60, margin_c=9, reasons={}, pcie_replays=3),
            GpuReading(index=1, sm_clock_hz=2e9, temperature_c=70, margin_c=5, reasons={"sw_power_cap": 1.0}),
        ]
    )

    assert folded == GpuReading(
        index=1,
        n=2,
        sm_clock_hz=1.5e9,
        temperature_c=70,
        margin_c=5,
        reasons={"sw_power_cap": 0.5},
        pcie_replays=3,
    )


def test_what_no_sample_has_stays_unknown() -> None:
    """No reasons at all are not the absence of reasons."""
    assert fold([GpuReading(index=0), GpuReading(index=0)]) == GpuReading(index=0, n=2)


def test_each_gpu_has_a_reading_and_a_window_begins_anew() -> None:
    """Three samples of two GPUs, then none."""
    sampler = _sampler(FakePynvml([BUSY, BUSY]))
    for _ in range(3):
        sampler.sample()

    first, second = sampler.drain()

    assert (first.index, first.n, second.index, second.n) == (0, 3, 1, 3)
    assert (first.sm_clock_hz, first.reasons, first.pcie_replays) == (1.8e9, {"sw_power_cap": 1.0}, 3)
    assert sampler.drain() == ()


def test_the_questions_that_block_are_rare() -> None:
    """PCIe throughput takes 40 ms a GPU: one GPU of two has it in the first ten samples, and once."""
    asked: list[int] = []

    class Counting(FakePynvml):
        def nvmlDeviceGetPcieThroughput(self, handle: int, _: int) -> int:  # noqa: N802
            asked.append(handle)
            return 1

    sampler = _sampler(Counting([BUSY, BUSY]))
    for _ in range(10):
        sampler.sample()

    assert asked == [0, 0]
    assert COUNTERS_EVERY < 10


def test_nothing_is_asked_while_latencies_are_measured() -> None:
    """Not one question; what was announced meanwhile is heard afterwards."""
    module = FakePynvml([BUSY], events=[(0, 8, 31)])
    sampler = _sampler(module)
    sampler.is_quiet = True
    sampler.sample()

    assert (sampler.drain(), sampler.events) == ((), [])

    sampler.is_quiet = False
    sampler.sample()
    assert [(event.gpu, event.xid, event.at_s) for event in sampler.events] == [(0, 31, 7.0)]


def test_a_lost_gpu_is_told_once_and_the_end_is_seen() -> None:
    """The driver would answer "lost" for ever."""
    module = FakePynvml([BUSY], events=[error(pynvml.NVML_ERROR_GPU_IS_LOST)] * 2)
    sampler = _sampler(module)
    sampler.sample()
    sampler.stop()
    sampler.stop()

    assert [event.kind for event in sampler.events] == ["lost"]
    assert [gpu.name for gpu in sampler.after] == ["NVIDIA H100 80GB HBM3"]
    assert not module.is_open


def test_the_machine_s_readings_carry_those_of_its_gpus() -> None:
    """One record for both."""
    gpus = _sampler(FakePynvml([BUSY]))
    sampler = Sampler(Counters, clock=lambda: 1.0, gpus=gpus)
    gpus.sample()
    sampler.take()

    (taken,) = sampler.stop()

    assert [one.busy_ratio for one in taken.gpus] == [0.9]
