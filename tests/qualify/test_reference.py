"""The table of parts and the reference node."""

from __future__ import annotations

import pytest

from qualify import reference
from qualify.records import Cgroup, Cpu
from qualify.reference import ReferenceTableError, cpu_peak
from tests.qualify import traces
from tests.qualify.traces import REFERENCE, node

GHZ = 1e9
MINIMAL = """
version = "1"
[[cpu]]
name = "A"
vendor = "V"
family = 1
models = [[0, 3]]
rates = [{ needs = "fma", fp32 = 32 }]
source = "s"
[[isa]]
needs = "fma"
rates = { fp32 = 32 }
[floor]
fp32 = 0.5
[figure."matmul.fp32"]
value = 1e12
unit = "FLOP/s"
basis = "b"
[profile.general]
device_kind = "cpu"
title = "t"
weights = { "matmul.fp32" = 1.0 }
"""
OVERLAP = """[[cpu]]
name = "B"
vendor = "V"
family = 1
models = [3]
rates = []
source = "s"
[[isa]]"""


@pytest.mark.parametrize(
    ("vendor", "family", "model", "name"),
    [
        ("AuthenticAMD", 23, 0x01, "Zen 1"),  # EPYC 7601
        ("AuthenticAMD", 23, 0x31, "Zen 2"),  # EPYC 7742
        ("AuthenticAMD", 25, 0x01, "Zen 3"),  # EPYC 7763
        ("AuthenticAMD", 25, 0x11, "Zen 4"),  # EPYC 9654
        ("AuthenticAMD", 25, 0xA0, "Zen 4"),  # EPYC 9754
        ("AuthenticAMD", 26, 0x02, "Zen 5"),  # EPYC 9755
        ("AuthenticAMD", 26, 0x24, "Zen 5 mobile"),  # Ryzen AI 9 HX 370
        ("GenuineIntel", 6, 0x4F, "Haswell and Broadwell"),  # E5-2690 v4
        ("GenuineIntel", 6, 0x55, "Skylake-SP, Cascade Lake, Cooper Lake"),  # 8280
        ("GenuineIntel", 6, 0x6A, "Ice Lake-SP"),  # 8380
        ("GenuineIntel", 6, 0xB7, "Alder Lake and Raptor Lake"),  # i9-13900K
        ("GenuineIntel", 6, 0x8F, "Sapphire Rapids, Emerald Rapids, Granite Rapids"),  # 8480+
        ("ARM", 0x41, 0xD0C, "Neoverse N1"),  # Graviton 2, Altra
        ("ARM", 0x41, 0xD4F, "Neoverse V2"),  # Graviton 4, Grace
        ("AuthenticAMD", 21, 0x01, None),
        ("AuthenticAMD", 6, 0x55, None),
        ("GenuineIntel", 6, 0xAF, None),
        (None, None, None, None),
    ],
)
def test_a_part_is_known_by_its_numbers_alone(
    vendor: str | None, family: int | None, model: int | None, name: str | None
) -> None:
    """Vendor, family and model number; a name plays no part."""
    found = REFERENCE.part(Cpu(vendor=vendor, family=family, model_number=model, model="AMD EPYC 9654 Zen 4"))

    assert (found.name if found else None) == name


@pytest.mark.parametrize(("dtype", "per_cycle"), [("fp64", 16), ("fp32", 32), ("bf16", 64), ("int8", 128)])
def test_the_peak_is_cores_times_clock_times_operations(dtype: str, per_cycle: int) -> None:
    """Zen 4, 16 threads at 3.5 GHz."""
    peak = cpu_peak(REFERENCE, node(), dtype, clock_hz=3.5 * GHZ, threads=16)

    assert peak.expected == 16 * 3.5 * GHZ * per_cycle
    assert peak.least == peak.ceiling == peak.expected
    assert "16 cores x 3.50 GHz" in peak.basis


@pytest.mark.parametrize(
    ("product", "cores", "clock_hz", "cpu", "dtype", "published"),
    [
        ("EPYC 7742", 64, 2.25e9, ("AuthenticAMD", 23, 0x31, ("fma",)), "fp64", 2.304e12),  # Rpeak of TOP500
        ("Xeon 8280", 28, 2.7e9, ("GenuineIntel", 6, 0x55, ("fma", "avx512f")), "fp64", 2.4192e12),  # Rpeak of TOP500
        ("Xeon 8480+", 56, 2.0e9, ("GenuineIntel", 6, 0x8F, ("fma", "amx_int8")), "int8", 2.29376e14),  # 2048 a cycle
        ("Graviton 2", 64, 2.5e9, ("ARM", 0x41, 0xD0C, ("neon",)), "fp64", 1.28e12),
        ("Grace", 72, 3.1e9, ("ARM", 0x41, 0xD4F, ("neon",)), "fp64", 3.5712e12),  # NVIDIA: 7.1 TFLOP/s for two
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_formulas_give_what_makers_publish(
    product: str,
    cores: int,
    clock_hz: float,
    cpu: tuple[str, int, int, tuple[str, ...]],
    dtype: str,
    published: float,
) -> None:
    """Plain arithmetic against published peaks."""
    vendor, family, model, vector = cpu
    shape = Cpu(vendor=vendor, family=family, model_number=model, vector=vector, cores=cores, threads=cores)

    peak = cpu_peak(REFERENCE, node(cpu=shape), dtype, clock_hz=clock_hz, threads=cores)

    assert peak.expected == pytest.approx(published), product


def test_a_flag_that_is_hidden_gives_no_rate() -> None:
    """Sapphire Rapids without AMX or AVX-512 is a 256-bit machine, and bf16 is emulated."""
    shape = Cpu(vendor="GenuineIntel", family=6, model_number=0x8F, vector=("avx2", "fma"))

    fp32, bf16 = (cpu_peak(REFERENCE, node(cpu=shape), dtype, clock_hz=GHZ, threads=1) for dtype in ("fp32", "bf16"))

    assert fp32.expected == 32 * GHZ
    assert bf16.expected is None
    assert "emulates" in bf16.basis


def test_threads_of_one_core_share_its_units() -> None:
    """Sixteen threads on eight cores have the peak of eight."""
    shared = node(cpu=traces.cpu(cores=8, smt=True))

    assert cpu_peak(REFERENCE, shared, "fp32", clock_hz=GHZ, threads=16).expected == 8 * 32 * GHZ


def test_a_quota_leaves_its_part_of_the_peak_but_not_of_the_ceiling() -> None:
    """A sample may fall between two stops."""
    limited = node(cgroup=Cgroup(cpu_quota_cpus=4.0))

    peak = cpu_peak(REFERENCE, limited, "fp32", clock_hz=GHZ, threads=16)

    assert (peak.expected, peak.ceiling) == (4 * 32 * GHZ, 16 * 32 * GHZ)


def test_a_virtual_machine_is_given_room_on_both_sides() -> None:
    """The part may be a better one, and a virtual CPU may be one thread of a shared core."""
    peak = cpu_peak(REFERENCE, node(hypervisor="kvm"), "fp32", clock_hz=GHZ, threads=2)

    assert (peak.least, peak.expected, peak.ceiling) == (32 * GHZ, 64 * GHZ, 128 * GHZ)
    assert "as the hypervisor calls it" in peak.basis


def test_an_unknown_part_has_a_ceiling_and_no_expectation() -> None:
    """What it could do at most follows from its instruction sets."""
    shape = Cpu(vendor="GenuineIntel", family=6, model_number=0xDD, vector=("fma", "avx512f"))

    peak = cpu_peak(REFERENCE, node(cpu=shape), "fp64", clock_hz=GHZ, threads=2)

    assert (peak.expected, peak.least, peak.ceiling) == (None, None, 64 * GHZ)
    assert "no row" in peak.basis


def test_where_parts_share_numbers_limits_are_drawn_from_the_least() -> None:
    """Some Skylake-SP have one 512-bit unit."""
    shape = Cpu(vendor="GenuineIntel", family=6, model_number=0x55, vector=("fma", "avx512f"))

    peak = cpu_peak(REFERENCE, node(cpu=shape), "fp64", clock_hz=GHZ, threads=1)

    assert (peak.least, peak.expected) == (16 * GHZ, 32 * GHZ)


def test_no_part_beats_the_ceiling_of_its_instruction_sets() -> None:
    """The two tables agree."""
    for part in REFERENCE.parts:
        for rate in part.rates:
            shape = Cpu(vector=(rate.needs,))
            for dtype, per_cycle in rate.per_cycle.items():
                most = REFERENCE.ceiling_per_cycle(shape, dtype)
                assert most is not None, (part.name, rate.needs)
                assert per_cycle <= most, (part.name, rate.needs)


def test_every_row_names_its_source_and_both_classes_have_a_node_of_100() -> None:
    """A figure without a source is a rumour."""
    assert all(part.source for part in REFERENCE.parts)
    assert {workload.device_kind for workload in REFERENCE.workloads} == set(REFERENCE.nodes) == {"cpu", "cuda"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('version = "1"', 'version = "1"\n[tpu]\n', "unknown tables"),
        ("= 1.0 }", "= 0.9 }", "sum to 0.9"),
        ('weights = { "matmul.fp32" = 1.0 }', 'weights = { "disk.read" = 1.0 }', "which the reference node lacks"),
        ("fp32 = 32 }]", "fp16 = 32 }]", "unknown data types"),
        ('name = "A"', "", "cannot be read"),
        ("[[cpu]]", '[[cpu]]\ncolour = "red"', "cannot be read"),
        ("[[cpu]]", "[cpu", "cannot be read"),
        ("[[isa]]", OVERLAP, "both claim model 0x3"),
    ],
    ids=["table", "weights", "figure", "dtype", "field missing", "field unknown", "syntax", "overlap"],
)
def test_a_table_that_contradicts_itself_is_refused(old: str, new: str, message: str) -> None:
    """Each with what is wrong."""
    assert reference.parse(MINIMAL).version == "1"

    with pytest.raises(ReferenceTableError, match=message):
        reference.parse(MINIMAL.replace(old, new, 1))
