"""scheduler.market.listing: what the market takes over from a report, and what it does not believe."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qualify import codec
from qualify.gpu_records import GpuReading
from qualify.records import Cgroup, Cpu, Disk, Gpu, Measurement, Memory, Node, Report, Telemetry
from qualify.reference import load
from scheduler.market.listing import capacity, impossible, market_name, summarise
from scheduler.records import Capacity
from tests import builders

REFERENCE = load()
SAMPLE = Path(__file__).parents[3] / "reports/samples/cpu-quick.json"
GB = 10**9


def report(*measurements: Measurement, **changes: Any) -> Report:
    """A healthy report with these measurements only."""
    return replace(builders.healthy(), measurements=measurements, **changes)


def test_figures_are_taken_over_with_interval_and_time() -> None:
    """A figure measured 5 s after the run began is 5 s younger than the report."""
    measured = builders.exactly("memory.triad", "B/s", 100e9, (99e9, 101e9), started_s=5.0)
    summary = summarise(report(measured, started_unix_s=1000.25), REFERENCE)

    figure = summary.figures["memory.triad"]

    assert (figure.value, figure.low, figure.high, figure.n, figure.unit) == (100e9, 99e9, 101e9, 10, "B/s")
    assert figure.at_ms == 1_005_250
    assert summary.measured_ms == 1_000_250


def test_what_was_not_obtained_or_is_not_ours_is_no_figure() -> None:
    """A skipped figure, one of no benchmark, one in a unit of its own, one with a name made to confuse."""
    summary = summarise(
        report(
            builders.missed("memory.read", "B/s", "skipped", "no time"),
            builders.exactly("bogomips.all", "OP/s", 1.0),
            builders.exactly("memory.write", "furlong", 1.0),
            builders.exactly("memory.x y", "B/s", 1.0),
            builders.exactly("network.udp_loss", "ratio", 0.0),
        ),
        REFERENCE,
    )

    assert list(summary.figures) == ["network.udp_loss"]


def test_capability_is_worked_out_and_not_believed() -> None:
    """A report that praises itself gains nothing: the sample's figures give what they gave."""
    honest = codec.loads(SAMPLE.read_text())
    assert honest.score is not None
    boasting = replace(honest, score=replace(honest.score, capability={"general": 1e6, "mining": 5.0}))

    summary = summarise(boasting)

    assert summary.capability == pytest.approx(honest.score.capability)
    assert summary.health == honest.score.health


def test_a_real_report_is_listed_whole() -> None:
    """The sample of the repository: 38 figures of a two-core machine with 25.3 GB."""
    summary = summarise(codec.loads(SAMPLE.read_text()))

    assert len(summary.figures) == 38
    assert summary.capacity.cpu_milli == 2000
    assert summary.capacity.memory_bytes == 25_276_502_016 - 25_276_502_016 // 16
    assert (summary.model, summary.device_kind, summary.verdict) == ("AMD EPYC", "cpu", "qualified")
    assert [remark.code for remark in summary.warnings] == ["CLOCK_UNSYNCED"]
    assert impossible(codec.loads(SAMPLE.read_text()), REFERENCE) is None


def test_findings_become_remarks_the_worst_first() -> None:
    """Information, a warning and a failure."""
    findings = tuple(builders.finding(f"CODE_{s.upper()}", s) for s in ("info", "warning", "failure"))

    summary = summarise(report(findings=findings), REFERENCE)

    assert [remark.severity for remark in summary.remarks] == ["failure", "warning", "info"]
    assert [remark.code for remark in summary.warnings] == ["CODE_WARNING"]


def node(**changes: Any) -> Node:
    """16 threads, 160 GB of memory, 320 GB of free disk, no limits."""
    return Node(
        **{
            "id": "0" * 32,
            "hostname": "h",
            "device_kind": "cpu",
            "cpu": Cpu(model="EPYC", threads=16, usable_cpus=tuple(range(16))),
            "memory": Memory(total_bytes=160 * GB),
            "disk": Disk(path=".", free_bytes=320 * GB),
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Capacity(cpu_milli=16_000, memory_bytes=150 * GB, disk_bytes=300 * GB)),
        (
            {"cgroup": Cgroup(version="v2", cpu_quota_cpus=2.5, memory_max_bytes=16 * GB)},
            Capacity(cpu_milli=2500, memory_bytes=15 * GB, disk_bytes=300 * GB),
        ),
        (
            {"cgroup": Cgroup(cpuset_cpus=4), "disk": Disk(path=".", free_bytes=GB, read_only=True)},
            Capacity(cpu_milli=4000, memory_bytes=150 * GB, disk_bytes=0),
        ),
        (
            {"cpu": Cpu(threads=8), "memory": Memory(), "disk": None},
            Capacity(cpu_milli=8000, memory_bytes=0, disk_bytes=0),
        ),
        (
            {"cpu": Cpu(), "gpus": (Gpu(index=0),)},
            Capacity(cpu_milli=0, memory_bytes=150 * GB, disk_bytes=300 * GB),
        ),
    ],
)
def test_capacity_is_what_the_limits_leave_less_a_sixteenth(changes: dict[str, Any], expected: Capacity) -> None:
    """Memory and disk keep a sixteenth back; a GPU that was not measured is not offered; unknown is nothing."""
    assert capacity(node(**changes)) == expected


def test_gpus_are_offered_where_they_were_measured() -> None:
    """By the name people use, with the memory of the smallest."""
    gpus = (
        Gpu(index=0, name="NVIDIA H100 80GB HBM3", memory_bytes=80 * GB),
        Gpu(index=1, name="NVIDIA H100 80GB HBM3", memory_bytes=79 * GB),
    )
    summary = summarise(replace(report(), node=node(device_kind="cuda", gpus=gpus)), REFERENCE)

    assert summary.capacity.gpu_milli == (1000, 1000)
    assert (summary.model, summary.vram_bytes) == ("H100 SXM", 79 * GB)


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("NVIDIA A100-SXM4-80GB", "A100 SXM 80GB"),
        ("NVIDIA L40S", "L40S"),
        ("Tesla T4", "T4"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("AMD Instinct MI300X", "AMD Instinct MI300X"),
    ],
)
def test_a_gpu_has_the_name_people_use(name: str, called: str) -> None:
    """Without its maker, and with its form where the driver's name hides it."""
    assert market_name(name) == called


@pytest.mark.parametrize(
    ("measurement", "said"),
    [
        (builders.exactly("memory.triad", "B/s", -1.0), "memory.triad is -1 B/s: it cannot be negative"),
        (builders.exactly("memory.triad", "B/s", 0.0), "memory.triad is 0 B/s: it cannot be zero"),
        (builders.exactly("memory.triad", "B/s", math.nan), "memory.triad is nan, which is no figure"),
        (builders.exactly("memory.triad", "B/s", math.inf), "memory.triad is inf, which is no figure"),
        (builders.exactly("memory.triad", "B/s", 1e9, n=0), "memory.triad has no sample behind it"),
        (builders.exactly("memory.triad", "parsec", 1e9), "is in 'parsec', which is no unit of a figure"),
        (builders.exactly("memory.triad", "FLOP/s", 1e9), "memory.triad is in FLOP/s, wanted B/s"),
        (builders.exactly("memory.triad", "B/s", 5.0, (6.0, 7.0)), "its interval 6 to 7 does not hold it"),
        (builders.exactly("memory.triad", "B/s", 5.0, (math.nan, 7.0)), "does not hold it"),
    ],
)
def test_a_figure_that_cannot_be_is_refused_with_its_reason(measurement: Measurement, said: str) -> None:
    """Signs, numbers, samples, units, intervals."""
    assert said in (impossible(report(measurement), REFERENCE) or "")


#: a Zen 4 core does 32 fp32 operations per cycle: four of them at 2.5 GHz 320 GFLOP/s, 103 % of that is 329.6
ZEN4 = Cpu(
    vendor="AuthenticAMD",
    family=25,
    model_number=17,
    threads=4,
    cores=4,
    usable_cpus=(0, 1, 2, 3),
    vector=("fma",),
    smt=False,
)


@pytest.mark.parametrize(
    ("flops_per_s", "clock_hz", "refused"),
    [(329e9, 2.5e9, False), (330e9, 2.5e9, True), (330e9, 2.6e9, False)],
)
def test_more_than_103_percent_of_the_peak_at_the_clock_is_impossible(
    flops_per_s: float, clock_hz: float, refused: bool
) -> None:
    """The peak goes with the fastest clock that was seen."""
    measured = builders.exactly("matmul.fp32", "FLOP/s", flops_per_s, context={"clock_hz": clock_hz, "threads": 99})
    found = impossible(replace(report(measured), node=node(cpu=ZEN4, hypervisor="none")), REFERENCE)

    assert (found is not None) == refused
    if found:
        assert found == "matmul.fp32 is 3.3e+11 FLOP/s, 103% of the 3.2e+11 that 4 CPUs can do at 2.50 GHz"


def test_a_clock_no_processor_has_does_not_lift_the_peak() -> None:
    """And nothing is read from memory in less than a cycle."""
    fast = builders.exactly("matmul.fp32", "FLOP/s", 1.0, context={"clock_hz": 2e10})
    early = builders.exactly("memlatency.l1", "s", 3e-10, context={"clock_hz": 2.5e9})
    machine = node(cpu=ZEN4, hypervisor="none")

    assert "20.0 GHz is faster than any processor runs" in (
        impossible(replace(report(fast), node=machine), REFERENCE) or ""
    )
    assert "less than one cycle" in (impossible(replace(report(early), node=machine), REFERENCE) or "")


H100 = Gpu(index=0, name="NVIDIA H100 80GB HBM3", memory_bytes=81559 << 20, sm_clock_max_hz=1980e6)
#: 132 SMs x 4096 x 1.5 GHz = 811.0 TFLOP/s, 103 % of that is 835.3; 2 x 2619 MHz x 5120 bits = 3352.3 GB/s, 3452.9
FAST = {"clock_hz": 1.5e9}


def gpu_report(*measurements: Measurement, gpu: Gpu = H100, telemetry: tuple[Telemetry, ...] = ()) -> Report:
    return replace(report(*measurements), node=node(device_kind="cuda", gpus=(gpu,)), telemetry=telemetry)


@pytest.mark.parametrize(
    ("key", "unit", "value", "context", "refused"),
    [
        ("matmul.bf16", "FLOP/s", 835e12, FAST, False),
        ("matmul.bf16", "FLOP/s", 836e12, FAST, True),
        ("matmul.bf16", "FLOP/s", 836e12, {"clock_hz": 1.51e9}, False),
        ("matmul.bf16", "FLOP/s", 1102e12, {}, False),  # by NVML's highest clock: 1070.5, and 3 % more is 1102.6
        ("matmul.bf16", "FLOP/s", 1103e12, {}, True),
        ("memory.copy", "B/s", 3452e9, {}, False),
        ("memory.copy", "B/s", 3454e9, {}, True),
        ("memory.copy", "B/s", 3454e9, {"memory_clock_hz": 2719e6}, False),
        ("hostlink.h2d", "B/s", 64.9e9, {}, False),  # 63.02 GB/s, 3 % more is 64.91
        ("hostlink.h2d", "B/s", 65.0e9, {}, True),
        ("memlatency.dram", "s", 1e-12, {}, False),  # no formula speaks of it
    ],
)
def test_no_gpu_does_more_than_103_percent_of_its_peak(
    key: str, unit: str, value: float, context: dict[str, Any], refused: bool
) -> None:
    """Arithmetic at the fastest clock seen, memory at its own, the link at the speed of its lanes."""
    found = impossible(gpu_report(builders.exactly(key, unit, value, context=context)), REFERENCE)

    assert (found is not None) == refused


def test_a_refused_gpu_figure_is_told_with_its_formula() -> None:
    """The supplier can check it by hand."""
    found = impossible(gpu_report(builders.exactly("matmul.bf16", "FLOP/s", 892.1e12, context=FAST)), REFERENCE)

    assert found == (
        "matmul.bf16 is 8.921e+14 FLOP/s, 110% of the 8.11e+14 that is possible: "
        "132 SMs x 4096 bf16 operations per cycle x 1500 MHz (NVIDIA H100 80GB HBM3)"
    )


def test_a_clock_that_the_sampler_saw_counts() -> None:
    """And that of the processor beside it does not."""
    fast = builders.exactly("matmul.bf16", "FLOP/s", 1000e12, context=FAST)
    latency = builders.exactly("memlatency.dram", "s", 1e-7, context={"clock_hz": 3.9e9})
    sampled = (Telemetry(at_s=1.0, clock_hz=3.9e9, gpus=(GpuReading(index=0, sm_clock_hz=1.9e9),)),)

    assert impossible(gpu_report(fast, latency), REFERENCE) is not None
    assert impossible(gpu_report(fast, telemetry=sampled), REFERENCE) is None


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ({"clock_hz": 5e9}, "a clock of 5.0 GHz is faster than any GPU runs"),
        ({"memory_clock_hz": 4e9}, "a memory clock of 4000 MHz is out of reach for NVIDIA H100 80GB HBM3"),
    ],
)
def test_a_clock_no_gpu_has_does_not_lift_its_peak(context: dict[str, Any], said: str) -> None:
    """It is refused itself."""
    found = impossible(gpu_report(builders.exactly("matmul.bf16", "FLOP/s", 1e14, context=context)), REFERENCE)

    assert said in (found or "")


def test_a_gpu_that_is_not_in_the_table_is_not_called_a_liar() -> None:
    """Nothing is known of it; nor is one that shows another memory, for the qualification judges that."""
    figures = builders.exactly("matmul.bf16", "FLOP/s", 1e18)

    assert impossible(gpu_report(figures, gpu=replace(H100, name="NVIDIA R300")), REFERENCE) is None
    assert impossible(gpu_report(figures, gpu=replace(H100, memory_bytes=8 * GB)), REFERENCE) is None


def test_a_gpu_without_any_clock_is_held_against_the_fastest_there_is() -> None:
    """132 SMs x 4096 x 4 GHz = 2.16 PFLOP/s."""
    silent = replace(H100, sm_clock_max_hz=None)
    honest, boast = (builders.exactly("matmul.bf16", "FLOP/s", value) for value in (2.2e15, 2.3e15))

    assert impossible(gpu_report(honest, gpu=silent), REFERENCE) is None
    assert impossible(gpu_report(boast, gpu=silent), REFERENCE) is not None


@pytest.mark.parametrize(
    ("name", "gib", "expected_flops"),
    [
        ("NVIDIA GeForce RTX 4090", 24, 1.2 * 128 * 512 * 2520e6),
        ("NVIDIA H100 80GB HBM3", 80, 1.2 * 132 * 4096 * 1830e6),
        ("NVIDIA GeForce RTX 2080 Ti", 11, None),
        ("NVIDIA R300", 24, None),
    ],
    ids=["a GeForce", "a data centre's", "one without bf16", "one that nobody knows"],
)
def test_the_most_bf16_of_a_gpu_is_that_of_the_part_it_names(name: str, gib: int, expected_flops: float | None) -> None:
    """SMs x rate x clock of the table and a fifth; of whichever clock a report tells, for that can be made up."""
    gpu = Gpu(index=0, name=name, uuid="GPU-1", memory_bytes=int(0.99 * gib * 2**30))
    measured = builders.exactly("matmul.bf16", "FLOP/s", 1e12, context={"clock_hz": 3.9e9})

    assert summarise(gpu_report(measured, gpu=gpu), REFERENCE).bf16_most_flops == expected_flops


def test_a_cpu_has_no_bf16_units_of_a_gpu() -> None:
    """Whatever is plugged in beside it."""
    gpu = Gpu(index=0, name="NVIDIA H100 80GB HBM3", memory_bytes=80 * GB)

    assert summarise(replace(report(), node=node(gpus=(gpu,))), REFERENCE).bf16_most_flops is None
