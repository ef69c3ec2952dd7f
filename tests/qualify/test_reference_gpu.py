"""The rows of GPUs: complete, told apart by name and memory, and with the peaks their makers publish."""

from __future__ import annotations

import pytest

from qualify import expected_gpu, reference, reference_gpu
from qualify.reference import ReferenceTableError
from qualify.reference_gpu import HOSTLINK, MEMORY, PEERLINK, Found, Part
from tests.qualify.test_reference import MINIMAL
from tests.qualify.traces import REFERENCE

GIB = 1 << 30
TERA, GIGA = 1e12, 1e9
PARTS = REFERENCE.gpus
WITHIN = 0.005

#: dense, TFLOP/s, as the makers print them: the digits of each say how far it is rounded. For L40S the sparse 733 is
#: halved: its sheet prints 362.05 beside that, which is the figure of another clock. Without the 0.98 of fp64 that is
#: told of the A10 and the 0.49 of the L4, which NVIDIA's own 1:64 for these chips contradicts.
PUBLISHED: dict[tuple[str, int], dict[str, str]] = {
    ("Tesla V100-SXM2-16GB", 16): {"fp64": "7.8", "fp32": "15.7", "fp16": "125"},
    ("Tesla V100-SXM2-32GB", 32): {"fp64": "7.8", "fp32": "15.7", "fp16": "125"},
    ("Tesla V100-PCIE-16GB", 16): {"fp64": "7.0", "fp32": "14.0", "fp16": "112"},
    ("Tesla T4", 16): {"fp64": "0.25", "fp32": "8.1", "fp16": "65", "int8": "130"},
    ("NVIDIA A10", 24): {"fp32": "31.2", "tf32": "62.5", "bf16": "125", "int8": "250"},
    ("NVIDIA A10G", 24): {"fp64": "0.55", "fp32": "35", "tf32": "35", "bf16": "70", "int8": "140"},
    ("NVIDIA A30", 24): {
        "fp64": "10.3",
        "fp64_vector": "5.2",
        "fp32": "10.3",
        "tf32": "82.6",
        "bf16": "165",
        "int8": "330",
    },
    ("NVIDIA A40", 48): {"fp64": "0.58", "fp32": "37.4", "tf32": "74.8", "bf16": "149.7", "int8": "299.3"},
    ("NVIDIA RTX A6000", 48): {"fp64": "0.60", "fp32": "38.7", "tf32": "77.4", "bf16": "154.8", "int8": "309.7"},
    ("NVIDIA RTX 6000 Ada Generation", 48): {
        "fp64": "1.42",
        "fp32": "91.1",
        "tf32": "182.1",
        "bf16": "364.2",
        "fp8": "728.5",
        "int8": "728.5",
    },
    ("NVIDIA L4", 24): {"fp32": "30.3", "bf16": "121", "fp8": "242.5", "int8": "242.5"},
    ("NVIDIA L40", 48): {"fp64": "1.4", "fp32": "90.5", "tf32": "90.5", "bf16": "181.05", "fp8": "362", "int8": "362"},
    ("NVIDIA L20", 48): {"bf16": "119.5", "int8": "239"},
    ("NVIDIA L40S", 48): {"fp64": "1.4", "fp32": "91.6", "tf32": "183", "bf16": "366.5", "fp8": "733", "int8": "733"},
    ("NVIDIA A100-SXM4-40GB", 40): {
        "fp64": "19.5",
        "fp64_vector": "9.7",
        "fp32": "19.5",
        "tf32": "156",
        "bf16": "312",
        "int8": "624",
    },
    ("NVIDIA A100-PCIE-40GB", 40): {"fp64": "19.5", "fp32": "19.5", "tf32": "156", "bf16": "312", "int8": "624"},
    ("NVIDIA A100-SXM4-80GB", 80): {"fp64": "19.5", "fp32": "19.5", "tf32": "156", "bf16": "312", "int8": "624"},
    ("NVIDIA A100 80GB PCIe", 80): {"fp64": "19.5", "fp32": "19.5", "tf32": "156", "bf16": "312", "int8": "624"},
    ("NVIDIA H100 80GB HBM3", 80): {
        "fp64": "66.9",
        "fp64_vector": "33.5",
        "fp32": "66.9",
        "tf32": "494.7",
        "bf16": "989.4",
        "fp8": "1979",
        "int8": "1979",
    },
    ("NVIDIA H100 PCIe", 80): {
        "fp64": "51",
        "fp64_vector": "25.6",
        "fp32": "51.2",
        "tf32": "378",
        "bf16": "756",
        "fp8": "1513",
        "int8": "1513",
    },
    ("NVIDIA H100 NVL", 94): {
        "fp64": "60",
        "fp64_vector": "30",
        "fp32": "60",
        "tf32": "417.5",
        "bf16": "835.5",
        "fp8": "1671",
        "int8": "1671",
    },
    ("NVIDIA H200", 141): {
        "fp64": "66.9",
        "fp64_vector": "33.5",
        "fp32": "66.9",
        "tf32": "494.7",
        "bf16": "989.4",
        "fp8": "1979",
        "int8": "1979",
    },
    ("NVIDIA H200 NVL", 141): {
        "fp64": "60",
        "fp64_vector": "30",
        "fp32": "60",
        "tf32": "417.5",
        "bf16": "835.5",
        "fp8": "1671",
        "int8": "1671",
    },
    ("NVIDIA B200", 180): {"fp32": "75", "tf32": "1125", "bf16": "2250", "fp8": "4500", "int8": "4500"},
    ("NVIDIA GeForce RTX 3060", 12): {"fp64": "0.20", "fp32": "12.7", "fp16": "25.5", "fp16_half": "51", "int8": "102"},
    ("NVIDIA GeForce RTX 3070", 8): {
        "fp64": "0.32",
        "fp32": "20.3",
        "fp16": "40.6",
        "fp16_half": "81.3",
        "int8": "162.6",
    },
    ("NVIDIA GeForce RTX 3080", 10): {
        "fp64": "0.47",
        "fp32": "29.8",
        "fp16": "59.5",
        "fp16_half": "119",
        "int8": "238",
    },
    ("NVIDIA GeForce RTX 3090", 24): {"fp64": "0.56", "fp32": "35.6", "fp16": "71", "fp16_half": "142", "int8": "284"},
    ("NVIDIA GeForce RTX 4060 Ti", 8): {
        "fp64": "0.34",
        "fp32": "22.1",
        "fp16": "44.1",
        "fp16_half": "88.3",
        "fp8": "88",
        "fp8_half": "176.5",
        "int8": "176.5",
    },
    ("NVIDIA GeForce RTX 4070", 12): {
        "fp64": "0.46",
        "fp32": "29.1",
        "fp16": "58.3",
        "fp16_half": "116.6",
        "fp8": "116.6",
        "fp8_half": "233",
        "int8": "233",
    },
    ("NVIDIA GeForce RTX 4080", 16): {
        "fp64": "0.76",
        "fp32": "48.7",
        "fp16": "97.5",
        "fp16_half": "194.9",
        "fp8": "194.9",
        "fp8_half": "389.9",
        "int8": "389.9",
    },
    ("NVIDIA GeForce RTX 4090", 24): {
        "fp64": "1.29",
        "fp32": "82.6",
        "fp16": "165.2",
        "fp16_half": "330.3",
        "fp8": "330.3",
        "fp8_half": "660.6",
        "int8": "660.6",
    },
    ("NVIDIA GeForce RTX 5080", 16): {
        "fp64": "0.88",
        "fp32": "56.3",
        "fp16": "112.6",
        "fp16_half": "225",
        "fp8": "225",
        "fp8_half": "450",
        "int8": "450",
    },
    ("NVIDIA GeForce RTX 5090", 32): {
        "fp64": "1.64",
        "fp32": "104.8",
        "fp16": "209.5",
        "fp16_half": "419",
        "fp8": "419",
        "fp8_half": "838",
        "int8": "838",
    },
    ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 96): {
        "fp32": "126",
        "tf32": "251.9",
        "bf16": "503.8",
        "fp8": "1007",
    },
}
PRINTED = [(name, gib, dtype, printed) for (name, gib), peaks in PUBLISHED.items() for dtype, printed in peaks.items()]


def part(name: str, gib: float | None = None) -> Part:
    found = find(name, gib).part
    assert found is not None
    return found


def find(name: str | None, gib: float | None = None) -> Found:
    return reference_gpu.find(PARTS, name, None if gib is None else round(gib * GIB))


def rounding(printed: str) -> float:
    """Half a unit of the last digit that was printed."""
    return 0.5 * 10.0 ** -len(printed.partition(".")[2])


@pytest.mark.parametrize(("name", "gib", "dtype", "printed"), PRINTED, ids=str)
def test_formulas_give_the_published_peaks(name: str, gib: int, dtype: str, printed: str) -> None:
    """SMs x operations per cycle x reference clock, within 0.5 %, or within what was rounded away in print."""
    peak = reference_gpu.peak(part(name, gib), dtype).expected

    assert peak is not None
    assert abs(peak / TERA - float(printed)) <= max(WITHIN * float(printed), rounding(printed))


def test_rounding_excuses_little() -> None:
    """Of the published peaks with three digits or more every one is within 0.5 %."""
    for name, gib, dtype, printed in PRINTED:
        peak = reference_gpu.peak(part(name, gib), dtype).expected
        if len(printed.replace(".", "").lstrip("0")) >= 3:
            assert peak == pytest.approx(float(printed) * TERA, rel=WITHIN), (name, dtype)


def test_memory_bandwidth_is_clock_times_bus_and_agrees_with_what_is_published() -> None:
    """Within 0.5 %, wherever the makers print one; all rows but one have it."""
    printed = [part for part in PARTS if part.published_bytes_per_s is not None]

    assert len(printed) >= len(PARTS) - 1
    for each in printed:
        assert reference_gpu.peak(each, MEMORY).expected == pytest.approx(each.published_bytes_per_s, rel=WITHIN), (
            each.name
        )


@pytest.mark.parametrize(
    ("name", "gib", "gigabytes_per_s"),
    [
        ("NVIDIA A100-SXM4-80GB", 80, 2039.04),  # 2 x 1593 MHz x 5120 bits
        ("NVIDIA H100 80GB HBM3", 80, 3352.32),  # 2 x 2619 MHz x 5120 bits
        ("NVIDIA GeForce RTX 4090", 24, 1008.096),  # 2 x 10501 MHz x 384 bits
        ("NVIDIA GeForce RTX 5090", 32, 1792.128),  # 2 x 14001 MHz x 512 bits
    ],
)
def test_bandwidth_by_hand(name: str, gib: int, gigabytes_per_s: float) -> None:
    """Two transfers a cycle."""
    assert reference_gpu.peak(part(name, gib), MEMORY).expected == pytest.approx(gigabytes_per_s * GIGA, rel=1e-9)


def test_every_row_is_complete_and_told_apart() -> None:
    """At least 60 GPUs; name and memory find each, a source stands behind each, and figures are of the right size."""
    assert len(PARTS) >= 60
    assert len({each.name for each in PARTS}) >= 60
    for each in PARTS:
        assert find(each.name, each.memory_bytes / GIB).part is each
        assert each.source
        assert "seen" in each.source or "recalled" in each.source, each.name
        assert 10 <= each.sms <= 200, each.name
        assert 1.1e9 <= each.clock_hz <= 2.7e9, each.name
        assert each.tensor_hz <= each.clock_hz, each.name
        assert 64 <= each.memory_bits <= 8192, each.name
        assert 1 << 20 <= each.l2_bytes <= 128 << 20, each.name
        assert each.host.kind in {"pcie3", "pcie4", "pcie5", "c2c"}, each.name
        assert each.host.links in {1, 8, 16}, each.name
        assert 50 <= each.tdp_w <= 1200, each.name


def test_rows_of_one_name_differ_in_memory_so_much_that_each_size_fits_one() -> None:
    """What NVML may show for one is never taken for the other."""
    for each in PARTS:
        twins = [other for other in PARTS if other.name == each.name and other is not each]
        assert not any(other.shows(round(0.93 * each.memory_bytes)) for other in twins), each.name


def test_every_class_is_used_and_has_the_types_of_its_generation() -> None:
    """tf32 and bf16 from 8.0 on, fp8 from 8.9 on."""
    classes = {each.group.name: each.group for each in PARTS}

    assert len(classes) == 15
    for group in classes.values():
        generation = float(group.compute_capability)
        assert ("bf16" in group.rates) == ("tf32" in group.rates) == (generation >= 8.0), group.name
        assert ("fp8" in group.rates) == (generation >= 8.9), group.name
        assert group.rates["fp64"] <= group.rates["fp32"] <= group.rates["fp16"] <= 8192


@pytest.mark.parametrize(
    ("name", "shown_mib", "gib"),
    [
        ("NVIDIA H100 80GB HBM3", 81559, 80),
        ("NVIDIA H200", 143771, 141),
        ("NVIDIA B200", 183359, 180),
        ("NVIDIA L40S", 46068, 48),
        ("Tesla T4", 15360, 16),
        ("NVIDIA GeForce RTX 3080", 10240, 10),
        ("NVIDIA GeForce RTX 3080", 12288, 12),
        ("NVIDIA GeForce RTX 4060 Ti", 8188, 8),
        ("NVIDIA GeForce RTX 4060 Ti", 16380, 16),
    ],
)
def test_a_part_is_found_by_the_memory_nvml_shows(name: str, shown_mib: int, gib: int) -> None:
    """Less than was sold: the driver and error correction keep some."""
    found = reference_gpu.find(PARTS, name, shown_mib << 20)

    assert found.part is not None
    assert found.part.memory_bytes == gib * GIB
    assert found.reason == f"{name} with {gib} GiB"


@pytest.mark.parametrize(
    ("name", "gib", "said"),
    [
        (None, 80, "does not tell its name"),
        ("NVIDIA A100-SXM4-80GB", 40, "NVIDIA A100-SXM4-80GB is sold with 80 GiB, and this one shows 40.0 GiB"),
        ("NVIDIA GeForce RTX 3080", 20, "is sold with 10, 12 GiB, and this one shows 20.0 GiB"),
        ("NVIDIA GeForce RTX 3080", None, "is sold with 10, 12 GiB, and this one does not tell its memory"),
        (
            "NVIDIA H100 80GB",
            80,
            "no row of the reference names 'NVIDIA H100 80GB'; the nearest is 'NVIDIA H100 80GB HBM3'",
        ),
        ("nvidia geforce rtx 4090", 24, "; the nearest is 'NVIDIA GeForce RTX 4090'"),
        ("Radeon", 24, "no row of the reference names 'Radeon'"),
    ],
)
def test_what_is_not_found_says_why(name: str | None, gib: int | None, said: str) -> None:
    """Names are exact: a near one is suggested, never taken."""
    found = find(name, gib)

    assert found.part is None
    assert said in found.reason


def test_a_name_with_one_row_needs_no_memory_size() -> None:
    """Where NVML does not tell."""
    assert find("NVIDIA L4").part is part("NVIDIA L4", 24)


def test_the_peak_goes_with_the_clock_without_a_cap() -> None:
    """A 4090 at 2.8 GHz: 128 SMs x 512 operations, above the published 165.2 TFLOP/s."""
    peak = reference_gpu.peak(part("NVIDIA GeForce RTX 4090"), "bf16", 2.8e9)

    assert peak.expected == 128 * 512 * 2.8e9
    assert peak.basis == ("128 SMs x 512 bf16 operations per cycle x 2800 MHz (NVIDIA GeForce RTX 4090)")


def test_what_a_part_cannot_do_has_no_peak() -> None:
    """No fp8 before Ada, no links to other GPUs on a 4090."""
    eight = reference_gpu.peak(part("NVIDIA A30"), "fp8", 1e9)

    assert eight.expected is None
    assert "no units for fp8" in eight.basis
    assert eight.ceiling == 56 * 4096 * 1e9  # not even emulation beats the fastest units there are
    assert reference_gpu.peak(part("NVIDIA GeForce RTX 4090"), PEERLINK).expected is None
    with pytest.raises(ValueError, match="not of 'fp4'"):
        reference_gpu.peak(part("NVIDIA A30"), "fp4")


def test_vector_fp64_is_half_of_what_tensor_cores_do_and_the_same_without_them() -> None:
    """An H100 and a 4090."""
    hopper, ada = part("NVIDIA H100 80GB HBM3"), part("NVIDIA GeForce RTX 4090")

    assert reference_gpu.peak(hopper, "fp64_vector", 1e9).expected == 132 * 128 * 1e9
    assert reference_gpu.peak(hopper, "fp64", 1e9).expected == 132 * 256 * 1e9
    assert reference_gpu.peak(ada, "fp64_vector", 1e9).expected == 128 * 4 * 1e9


def test_a_ceiling_leaves_room_where_a_library_or_a_source_may_know_better() -> None:
    """Sums of fp8 in 16 bits are twice as fast on a 4090; an A10G is told to do 140 or 250 in int8."""
    fp8 = reference_gpu.peak(part("NVIDIA GeForce RTX 4090"), "fp8", 1e9)
    int8 = reference_gpu.peak(part("NVIDIA A10G"), "int8", 1e9)
    bf16 = reference_gpu.peak(part("NVIDIA GeForce RTX 4090"), "bf16", 1e9)

    assert (fp8.expected, fp8.ceiling) == (128 * 1024 * 1e9, 128 * 2048 * 1e9)
    assert (int8.expected, int8.ceiling) == (80 * 1024 * 1e9, 80 * 2048 * 1e9)
    assert bf16.ceiling == bf16.expected


@pytest.mark.parametrize(
    ("name", "quantity", "gigabytes_per_s"),
    [
        ("NVIDIA H100 80GB HBM3", HOSTLINK, 63.015),  # 32 GT/s x 16 x 128/130 / 8
        ("NVIDIA H100 80GB HBM3", PEERLINK, 450.0),  # 900 both ways
        ("NVIDIA A100-SXM4-80GB", HOSTLINK, 31.508),
        ("NVIDIA A100-SXM4-80GB", PEERLINK, 300.0),
        ("NVIDIA GeForce RTX 3090", PEERLINK, 56.25),  # 112.5 both ways
        ("NVIDIA GeForce RTX 4060", HOSTLINK, 15.754),  # eight lanes
        ("Tesla V100-SXM2-32GB", PEERLINK, 150.0),
        ("NVIDIA B200", PEERLINK, 900.0),
        ("NVIDIA GH200 480GB", HOSTLINK, 450.0),
    ],
)
def test_links_have_the_speed_of_one_direction(name: str, quantity: str, gigabytes_per_s: float) -> None:
    """Half of what is advertised for both."""
    assert reference_gpu.peak(part(name), quantity).expected == pytest.approx(gigabytes_per_s * GIGA, rel=1e-4)


def test_a_name_sold_with_slower_memory_too_has_a_lower_least() -> None:
    """A 3060 Ti with GDDR6 instead of GDDR6X: 2 x 7001 MHz x 256 bits."""
    peak = reference_gpu.peak(part("NVIDIA GeForce RTX 3060 Ti"), MEMORY)

    assert (peak.least, peak.expected) == (2 * 7001e6 * 32, 2 * 9501e6 * 32)


ROWS = """
[gpu_link]
pcie4 = 2e9
[gpu_class.ada]
compute_capability = "8.9"
rates = { fp64 = 4, fp32 = 256, fp16 = 1024, int8 = 2048 }
source = "s"
[[gpu]]
name = "X"
class = "ada"
sms = 10
clock_mhz = 1000
memory = { gib = 8, mhz = 5000, bits = 128 }
l2_mib = 4
host = { kind = "pcie4", links = 16 }
tdp_w = 100
source = "s"
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('class = "ada"', 'class = "adler"', "class 'adler', which is not in gpu_class"),
        ('kind = "pcie4"', 'kind = "agp"', "link 'agp', which is not in gpu_link"),
        ("sms = 10", "sms = 0", "not positive"),
        ("sms = 10", "", "cannot be read"),
        ("sms = 10", "sms = 10\ncolour = 1", "cannot be read"),
        ("bits = 128", "bits = 128, colour = 1", "unknown fields of memory"),
        ("bits = 128", "bits = 128, least_mhz = 6000", "the slowest board's memory is faster"),
        ("fp64 = 4", "fp65 = 4", "unknown data types"),
        ("fp64 = 4, ", "", "lacks a rate that every GPU has"),
        ('tdp_w = 100\nsource = "s"', 'tdp_w = 100\nsource = " "', "names no source"),
    ],
)
def test_rows_that_contradict_themselves_are_refused(old: str, new: str, message: str) -> None:
    """Each with what is wrong."""
    assert len(reference.parse(MINIMAL + ROWS).gpus) == 1

    with pytest.raises(ReferenceTableError, match=message):
        reference.parse(MINIMAL + ROWS.replace(old, new, 1))


def test_a_row_that_is_there_twice_is_refused() -> None:
    """Nobody could say which one counts."""
    with pytest.raises(ReferenceTableError, match="X with 8 GiB is there twice"):
        reference.parse(MINIMAL + ROWS + ROWS[ROWS.index("[[gpu]]") :])


def test_the_reference_gpu_is_a_row_of_the_table() -> None:
    """Its figures are the peaks of the A100 by the same formulas; the latency alone is somebody's measurement."""
    (part,) = [row for row in REFERENCE.gpus if row.name == "NVIDIA A100-SXM4-80GB"]
    figures = dict(REFERENCE.gpu_figures)
    assert figures.pop("memlatency.dram").value == pytest.approx(572 / 1.41e9, rel=2e-3)

    for key, figure in figures.items():
        peak = reference_gpu.peak(part, expected_gpu.QUANTITY_OF[key])
        assert figure.value == pytest.approx(peak.expected, rel=1e-6), key
