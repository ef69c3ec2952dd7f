"""Rules about a GPU's links: PCI Express and NVLink. An idle link is slow by design, so speed is judged under load."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from qualify.records import Gpu
from qualify.rule import Evidence, Hit, Rule
from qualify.rule_gpu import LEAST_READINGS, each, health, hit, later, readings, rise, settings, span_s

#: replays a minute that DCGM's diagnostic lets pass
REPLAYS_PER_MINUTE = 80.0
#: mended errors of all links of one GPU in a run, as DCGM's diagnostic
LINK_ERRORS = 100


def generation_low(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """Under load the link runs slower than slot and GPU can."""
    seen = [one.pcie_generation for one in readings(evidence, gpu) if one.pcie_generation is not None]
    if gpu.pcie_generation is None or len(seen) < LEAST_READINGS:
        return None
    usual = int(statistics.median_high(seen))
    if usual >= gpu.pcie_generation:
        return None
    words = f"works over PCIe generation {usual} under load, slot and GPU can {gpu.pcie_generation}"
    return hit(gpu, words, generation=usual, limit=gpu.pcie_generation, readings=len(seen))


def width_low(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """Under load lanes are missing."""
    most = settings(gpu).pcie_width_max
    seen = [one.pcie_width for one in readings(evidence, gpu) if one.pcie_width is not None]
    if most is None or len(seen) < LEAST_READINGS:
        return None
    usual = int(statistics.median_high(seen))
    if usual >= most:
        return None
    words = f"works over {usual} PCIe lanes under load, slot and GPU have {most}"
    return hit(gpu, words, lanes=usual, limit=most, readings=len(seen))


def slot_low(_: Evidence, gpu: Gpu) -> Hit | None:
    """The slot is of an older generation than the GPU."""
    own = settings(gpu).pcie_generation_device
    if own is None or gpu.pcie_generation is None or gpu.pcie_generation >= own:
        return None
    words = f"could do PCIe generation {own}, its slot does {gpu.pcie_generation}"
    return hit(gpu, words, generation=gpu.pcie_generation, device_generation=own)


def replays(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """Packets had to be sent again."""
    risen = rise(health(gpu).pcie_replays, health(later(evidence, gpu)).pcie_replays)
    minutes = max(1.0, span_s(evidence) / 60)
    if risen / minutes <= REPLAYS_PER_MINUTE:
        return None
    words = f"had {risen} PCIe packets sent again during this run"
    return hit(gpu, words, replays=risen, minutes=minutes, limit_per_minute=REPLAYS_PER_MINUTE)


def nvlink_down(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """Some links of a GPU are up and others are not, or went down during the run."""
    before = {link.index: link.active for link in gpu.nvlinks or ()}
    after = {link.index: link.active for link in later(evidence, gpu).nvlinks or ()}
    down = sorted(index for index in before if not (before[index] and after.get(index, False)))
    if not any(before.values()) or not down:  # none is up: no bridge is plugged in
        return None
    words = f"has {len(down)} of {len(before)} NVLinks down"
    return hit(gpu, words, down=", ".join(map(str, down)), links=len(before))


def nvlink_missing(evidence: Evidence) -> Iterator[Hit]:
    """One GPU is linked and another of the same kind is not."""
    active = {gpu.index: sum(link.active for link in gpu.nvlinks or ()) for gpu in evidence.node.gpus}
    for gpu in evidence.node.gpus:
        alike = [active[other.index] for other in evidence.node.gpus if other.name == gpu.name]
        if gpu.nvlinks and active[gpu.index] == 0 and sum(count > 0 for count in alike) >= 2:
            yield hit(gpu, f"has no NVLink, others of its kind have {max(alike)}", links=0, others=max(alike))


def nvlink_errors(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """Links had to mend what they carried."""
    before = {link.index: link for link in gpu.nvlinks or ()}
    risen = sum(
        rise(getattr(before[link.index], name), getattr(link, name))
        for link in later(evidence, gpu).nvlinks or ()
        for name in ("replays", "recoveries", "crc_errors")
        if link.index in before
    )
    if risen <= LINK_ERRORS:
        return None
    return hit(gpu, f"had {risen} errors on its NVLinks during this run", errors=risen, limit=LINK_ERRORS)


RULES = (
    Rule(
        code="GPU_PCIE_GENERATION",
        severity="warning",
        fires="under load a GPU's link runs at a lower PCIe generation than slot and GPU can",
        limit=f"the median of {LEAST_READINGS} or more readings under load; an idle link may be slow",
        remedy="Reseat board and riser; set the slot's generation in the BIOS; look for AER messages.",
        find=each(generation_low),
    ),
    Rule(
        code="GPU_PCIE_WIDTH",
        severity="warning",
        fires="under load a GPU's link has fewer lanes than slot and GPU have",
        limit=f"the median of {LEAST_READINGS} or more readings under load",
        remedy="Reseat board and riser; check bifurcation in the BIOS and dirt on the contacts.",
        find=each(width_low),
    ),
    Rule(
        code="GPU_PCIE_SLOT",
        severity="info",
        fires="a GPU's slot is of an older PCIe generation than the GPU",
        limit="a fact",
        remedy="Nothing to mend; copies to and from the host are slower than the GPU allows.",
        find=each(slot_low),
    ),
    Rule(
        code="GPU_PCIE_REPLAYS",
        severity="warning",
        fires="packets between host and GPU had to be sent again",
        limit=f"more than {REPLAYS_PER_MINUTE:g} a minute, as DCGM's diagnostic",
        remedy="Reseat or replace riser and cable; lower the slot's generation if it stays.",
        find=each(replays),
    ),
    Rule(
        code="GPU_NVLINK_DOWN",
        severity="failure",
        fires="some of a GPU's NVLinks are down",
        limit="none while others are up; a GPU without any bridge raises nothing",
        remedy="Reseat bridge or cable, restart the fabric manager, reset the GPUs.",
        find=each(nvlink_down),
    ),
    Rule(
        code="GPU_NVLINK_MISSING",
        severity="warning",
        fires="a GPU has no NVLink though others of its kind in the node have",
        limit="none where at least two others are linked",
        remedy="Plug the bridge in, or list the GPUs apart.",
        find=nvlink_missing,
    ),
    Rule(
        code="GPU_NVLINK_ERRORS",
        severity="warning",
        fires="a GPU's NVLinks mended many errors during the run",
        limit=f"more than {LINK_ERRORS}, as DCGM's diagnostic",
        remedy="Reseat bridge or cable; have the link tested.",
        find=each(nvlink_errors),
    ),
)
