"""Rules about what a GPU says it is and what its figures say: fingerprints that a name cannot change.

Figures of the chip stand in the context of the measurements: `sms` as CUDA tells, `sms_counted` by what ran blocks,
`l2_knee_bytes` where reading becomes slower.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator

from qualify import reference_gpu
from qualify.records import Gpu, Measurement
from qualify.rule import Evidence, Hit, Rule, binary, percent, si
from qualify.rule_gpu import each, hit, settings
from qualify.trial import at_least, at_most, attempts, number, rule_attempts

#: data-centre chips have half as many fp64 as fp32 units, or as many; others 1/32 or 1/64, and so have some exported
#: ones (CUDA programming guide, throughput table); nothing lies between
DOUBLE_FULL, DOUBLE_LEAST, DOUBLE_MOST = 0.4, 0.3, 0.12
#: GeForce chips halve 16-bit products that are summed in 32 bits; the same chips sold for workstations do not
ACCUMULATE_MOST, ACCUMULATE_LEAST = 1.3, 1.5
#: a dependent load takes 0.4 to 1 µs from any GPU's own memory; over PCI Express it takes 1.2 µs and more
DRAM_LATENCY_S = 1.2e-6
#: parts of the cache's size between which its end shows. A100 and newer have two halves, each of which keeps lines of
#: the other's: what all multiprocessors read fills it from less than half of its size on
KNEE_LEAST, KNEE_MOST = 0.3, 1.6
MEMORY_NAMED = 0.90  #: of the size in a name: ECC and the driver keep up to 7 %


def part_of(evidence: Evidence, gpu: Gpu) -> reference_gpu.Part | None:
    """The row of the reference table that names this GPU."""
    return reference_gpu.find(evidence.reference.gpus, gpu.name, gpu.memory_bytes).part


def memory_short(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """Less memory than its own name says."""
    named = re.search(r"\b(\d+) ?GB\b", gpu.name or "")
    if named is None or " MIG " in (gpu.name or "") or gpu.memory_bytes is None:
        return None
    wanted = int(named[1]) * 1e9
    known = part_of(evidence, gpu) is not None  # the 480 GB of a GH200 are its processor's
    if known or gpu.mig or gpu.memory_bytes >= MEMORY_NAMED * wanted:
        return None
    words = f"calls itself {gpu.name} and has {binary(gpu.memory_bytes)}"
    return hit(gpu, words, found_bytes=gpu.memory_bytes, limit_bytes=MEMORY_NAMED * wanted)


def memory_mismatch(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """A size of memory that its kind is not sold with."""
    named = [part for part in evidence.reference.gpus if part.name == gpu.name]
    if not named or gpu.memory_bytes is None or gpu.mig or any(part.shows(gpu.memory_bytes) for part in named):
        return None
    sizes = ", ".join(binary(part.memory_bytes) for part in named)
    words = f"calls itself {gpu.name}, which is sold with {sizes}, and has {binary(gpu.memory_bytes)}"
    return hit(gpu, words, found_bytes=gpu.memory_bytes, sold=sizes)


def sms_mismatch(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """Another number of multiprocessors than its kind has, by what ran blocks or else by what CUDA tells."""
    part, counted, told = part_of(evidence, gpu), _known(evidence, "sms_counted"), _known(evidence, "sms")
    found = next((number for number in (counted, told) if part and number is not None and number != part.sms), None)
    if part is None or found is None or gpu.mig:
        return None
    how = "ran blocks on" if found == counted else "has"
    words = f"calls itself {part.name}, which has {part.sms} multiprocessors, and {how} {found:g}"
    return hit(gpu, words, sms=told, sms_counted=counted, expected=part.sms)


def bus_mismatch(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """Another memory bus than its kind has."""
    part, found = part_of(evidence, gpu), settings(gpu).memory_bus_bits
    if part is None or found is None or gpu.mig or found == part.memory_bits:
        return None
    words = f"calls itself {part.name}, whose memory bus has {part.memory_bits} bits, and has {found}"
    return hit(gpu, words, bits=found, expected=part.memory_bits)


def capability_mismatch(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """Another generation than its kind is of."""
    part, found = part_of(evidence, gpu), settings(gpu).compute_capability
    if part is None or found is None or found == part.group.compute_capability:
        return None
    expected = part.group.compute_capability
    words = f"calls itself {part.name} of compute capability {expected} and has {found}"
    return hit(gpu, words, capability=found, expected=expected)


def l2_knee(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """Reading the same memory again slows at another size than that of its cache."""
    knees = _told(evidence, "l2_knee_bytes")
    part, knee = part_of(evidence, gpu), statistics.median(knees) if knees else None
    if part is None or knee is None or gpu.mig or KNEE_LEAST <= knee / part.l2_bytes <= KNEE_MOST:
        return None
    words = f"has its cache end at {binary(knee)}, a {part.name} at {binary(part.l2_bytes)}"
    return hit(gpu, words, knee_bytes=knee, expected_bytes=part.l2_bytes)


def double_ratio(evidence: Evidence) -> Iterator[Hit]:
    """Double precision beside single tells data-centre chips from all others."""
    double, single = _figure(evidence, "matmul.fp64"), _figure(evidence, "matmul.fp32")
    part = _one_part(evidence)
    if double is None or single is None or not single.value or part is None:
        return
    full = part.group.rates["fp64"] >= DOUBLE_FULL * part.group.rates["fp32"]
    limit = (DOUBLE_LEAST if full else DOUBLE_MOST) * single.value
    ruling = rule_attempts(double, at_least(limit) if full else at_most(limit))
    if ruling.misses or ruling.is_open:
        ratio = (double.value or 0.0) / single.value
        yield Hit(
            text=f"fp64 does {percent(ratio)} of fp32; a {part.name} does "
            + (f"more than {percent(DOUBLE_LEAST)}" if full else f"less than {percent(DOUBLE_MOST)}"),
            evidence={"ratio": ratio, "limit": DOUBLE_LEAST if full else DOUBLE_MOST},
            key=double.key,
            ruling=ruling,
        )


def accumulate_ratio(evidence: Evidence) -> Iterator[Hit]:
    """Summing 16-bit products in 16 bits is twice as fast on GeForce chips alone."""
    short, full = _figure(evidence, "matmul.fp16_acc16"), _figure(evidence, "matmul.fp16")
    part = _one_part(evidence)
    if short is None or full is None or not full.value or part is None:
        return
    geforce = "fp16_half" in part.group.rates
    limit = (ACCUMULATE_LEAST if geforce else ACCUMULATE_MOST) * full.value
    ruling = rule_attempts(short, at_least(limit) if geforce else at_most(limit))
    if ruling.misses or ruling.is_open:
        ratio = (short.value or 0.0) / full.value
        yield Hit(
            text=f"fp16 summed in 16 bits is {ratio:.2f} times as fast as in 32, unlike a {part.name}",
            evidence={"ratio": ratio, "limit": ACCUMULATE_LEAST if geforce else ACCUMULATE_MOST},
            key=short.key,
            ruling=ruling,
        )


def latency(evidence: Evidence) -> Iterator[Hit]:
    """Memory so far away is not the GPU's own."""
    figure = _figure(evidence, "memlatency.dram")
    if figure is None:
        return
    ruling = rule_attempts(figure, at_most(DRAM_LATENCY_S))
    if ruling.misses or ruling.is_open:
        yield Hit(
            text=f"a load from the GPU's memory takes {si(figure.value or 0.0, 's')}, as if it lay in the host",
            evidence={"measured": [attempt.value for attempt in attempts(figure)], "limit": DRAM_LATENCY_S},
            key=figure.key,
            ruling=ruling,
        )


def _one_part(evidence: Evidence) -> reference_gpu.Part | None:
    """The row of all GPUs of the node; None where they differ, are unknown, or are cut into slices."""
    parts = [part_of(evidence, gpu) for gpu in evidence.node.gpus]
    alike = len({part.name if part else "" for part in parts}) == 1
    return parts[0] if alike and not any(gpu.mig for gpu in evidence.node.gpus) else None


def _figure(evidence: Evidence, key: str) -> Measurement | None:
    measurement = evidence.measurements.get(key)
    measured = measurement is not None and measurement.value is not None and evidence.node.device_kind == "cuda"
    return measurement if measured else None


def _known(evidence: Evidence, name: str) -> float | None:
    """What the measurements tell of the chip; None where they do not, or do not agree."""
    found = set(_told(evidence, name))
    return found.pop() if len(found) == 1 else None


def _told(evidence: Evidence, name: str) -> list[float]:
    """What each measurement tells of the chip; nothing where there are several kinds."""
    if evidence.node.device_kind != "cuda" or len({gpu.name for gpu in evidence.node.gpus}) != 1:
        return []
    told = (number(measurement.context, name) for _, measurement in sorted(evidence.measurements.items()))
    return [one for one in told if one is not None]


_CLAIM = "Claim what it is; a GPU that misleads about itself is not listed."
RULES = (
    Rule(
        code="GPU_MEMORY_SHORT",
        severity="failure",
        fires="a GPU has less memory than its own name says",
        limit=f"{percent(MEMORY_NAMED)} of the size in the name",
        remedy=_CLAIM,
        find=each(memory_short),
    ),
    Rule(
        code="GPU_CLAIM_MISMATCH_MEMORY",
        severity="failure",
        fires="a GPU has a size of memory that its kind is not sold with",
        limit="the sizes in reference.toml",
        remedy=_CLAIM,
        find=each(memory_mismatch),
    ),
    Rule(
        code="GPU_CLAIM_MISMATCH_SMS",
        severity="failure",
        fires="a GPU has another number of multiprocessors than its kind",
        limit="equal to reference.toml",
        remedy=_CLAIM,
        find=each(sms_mismatch),
    ),
    Rule(
        code="GPU_CLAIM_MISMATCH_BUS",
        severity="failure",
        fires="a GPU has another memory bus than its kind",
        limit="equal to reference.toml",
        remedy=_CLAIM,
        find=each(bus_mismatch),
    ),
    Rule(
        code="GPU_CLAIM_MISMATCH_GENERATION",
        severity="failure",
        fires="a GPU is of another generation than its kind",
        limit="the compute capability in reference.toml",
        remedy=_CLAIM,
        find=each(capability_mismatch),
    ),
    Rule(
        code="GPU_CLAIM_MISMATCH_L2",
        severity="failure",
        fires="reading the same memory of a GPU again slows at another size than that of its kind's cache",
        limit=f"between {KNEE_LEAST:g} and {KNEE_MOST:g} of the cache in reference.toml",
        remedy=_CLAIM,
        find=each(l2_knee),
    ),
    Rule(
        code="GPU_CLAIM_MISMATCH_FP64",
        severity="failure",
        fires="double precision beside single is not as the GPU's generation has it",
        limit=f"at least {percent(DOUBLE_LEAST)} where there are units, else at most {percent(DOUBLE_MOST)}; 2 of 3",
        remedy=_CLAIM,
        find=double_ratio,
    ),
    Rule(
        code="GPU_CLAIM_MISMATCH_FP16",
        severity="failure",
        fires="16-bit products summed in 16 bits are not as much faster as the GPU's kind has it",
        limit=f"at least {ACCUMULATE_LEAST:g} times on GeForce, at most {ACCUMULATE_MOST:g} on others, 2 of 3",
        remedy=_CLAIM,
        find=accumulate_ratio,
    ),
    Rule(
        code="GPU_CLAIM_MISMATCH_LATENCY",
        severity="failure",
        fires="a GPU's memory is as far away as the host's",
        limit=f"{si(DRAM_LATENCY_S, 's')} a dependent load, 2 of 3; every GPU's own memory needs less",
        remedy="Memory that is lent by the host cannot be sold as the GPU's.",
        find=latency,
    ),
)
