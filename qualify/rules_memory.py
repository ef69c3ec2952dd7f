"""Rules about main memory: how much of it there is, whether it is free, whether it can be trusted."""

from __future__ import annotations

from collections.abc import Iterator

from qualify.rule import Evidence, Hit, Rule, binary, percent

#: the kernel and the firmware keep 1 to 4 % of what is installed
CLAIM_PART = 0.95
#: part of all time in which some task waits for memory; a machine with enough of it shows zero
MOST_PRESSURE = 0.05
LEAST_FREE_PART = 0.10
#: pages that nobody has touched since boot are swapped out on healthy machines too
SWAP_PART = 0.10
#: corrected errors happen to good modules; a failing one counts hundreds an hour (Schroeder et al., SIGMETRICS 2009)
MANY_CORRECTED = 1000


def below_claim(evidence: Evidence) -> Iterator[Hit]:
    """Less memory than was claimed."""
    claimed, found = evidence.claim.memory_bytes if evidence.claim else None, _usable_bytes(evidence)
    if claimed is not None and found is not None and found < CLAIM_PART * claimed:
        yield Hit(
            text=f"{binary(claimed)} of memory are claimed, {binary(found)} can be used",
            evidence={"claimed_bytes": claimed, "found_bytes": found, "limit_bytes": CLAIM_PART * claimed},
        )


def limit(evidence: Evidence) -> Iterator[Hit]:
    """A cgroup that leaves part of the memory."""
    total, most = evidence.node.memory.total_bytes, evidence.node.cgroup.memory_max_bytes
    if total is not None and most is not None and most < CLAIM_PART * total:
        yield Hit(
            text=f"a cgroup leaves {binary(most)} of {binary(total)}",
            evidence={"memory_max_bytes": most, "total_bytes": total},
        )


def pressure(evidence: Evidence) -> Iterator[Hit]:
    """Too little free memory, or tasks that wait for it."""
    waiting, memory = evidence.node.load.pressure_memory_ratio, evidence.node.memory
    if waiting is not None and waiting > MOST_PRESSURE:
        yield Hit(
            text=f"tasks waited for memory in {percent(waiting)} of the time before the run",
            evidence={"pressure_ratio": waiting, "limit_ratio": MOST_PRESSURE},
        )
    elif memory.total_bytes and memory.available_bytes is not None:
        part = memory.available_bytes / memory.total_bytes
        if part < LEAST_FREE_PART:
            yield Hit(
                text=f"only {binary(memory.available_bytes)} of {binary(memory.total_bytes)} are available",
                evidence={"available_bytes": memory.available_bytes, "part": part, "limit_part": LEAST_FREE_PART},
            )


def swap(evidence: Evidence) -> Iterator[Hit]:
    """Memory in use lies on a disk."""
    used, total = evidence.node.memory.swap_used_bytes, evidence.node.memory.total_bytes
    if used and total and used > SWAP_PART * total:
        yield Hit(
            text=f"{binary(used)} of memory are swapped out",
            evidence={"swap_used_bytes": used, "limit_bytes": SWAP_PART * total},
        )


def ecc_corrected(evidence: Evidence) -> Iterator[Hit]:
    """Bits flipped and were mended."""
    count = evidence.node.memory.ecc_corrected
    if count:
        yield Hit(
            text=f"{count} memory errors were corrected since boot",
            evidence={"corrected": count, "warning_from": MANY_CORRECTED},
            severity="warning" if count >= MANY_CORRECTED else "info",
        )


def ecc_uncorrected(evidence: Evidence) -> Iterator[Hit]:
    """Bits flipped and nobody could mend them."""
    count = evidence.node.memory.ecc_uncorrected
    if count:
        yield Hit(
            text=f"{count} memory errors could not be corrected since boot",
            evidence={"uncorrected": count, "limit": 0},
        )


def hugepages_off(evidence: Evidence) -> Iterator[Hit]:
    """The kernel gives no 2 MiB pages, not even to those who ask."""
    if evidence.node.memory.transparent_hugepages == "never":
        yield Hit(
            text="transparent huge pages are switched off",
            evidence={"transparent_hugepages": "never"},
        )


def numa_balancing(evidence: Evidence) -> Iterator[Hit]:
    """The kernel moves pages between nodes while programs use them."""
    memory = evidence.node.memory
    if memory.numa_balancing and (memory.numa_nodes or 1) > 1:
        yield Hit(
            text=f"automatic NUMA balancing moves pages between {memory.numa_nodes} nodes",
            evidence={"numa_nodes": memory.numa_nodes},
        )


def _usable_bytes(evidence: Evidence) -> int | None:
    known = (evidence.node.memory.total_bytes, evidence.node.cgroup.memory_max_bytes)
    return min((size for size in known if size is not None), default=None)


RULES = (
    Rule(
        code="MEMORY_BELOW_CLAIM",
        severity="failure",
        fires="less memory can be used than is claimed",
        limit=f"{percent(CLAIM_PART)} of the claim; firmware and kernel keep 1 to 4 %",
        remedy="Claim what can be used, or raise the limit of the container.",
        find=below_claim,
    ),
    Rule(
        code="MEMORY_LIMIT",
        severity="info",
        fires="a cgroup leaves only part of the machine's memory",
        limit=f"memory.max below {percent(CLAIM_PART)} of the memory; only what it leaves is measured and offered",
        remedy="Raise memory.max to offer the whole machine.",
        find=limit,
    ),
    Rule(
        code="MEMORY_PRESSURE",
        severity="warning",
        fires="tasks wait for memory, or hardly any is free",
        limit=f"PSI memory (some) above {percent(MOST_PRESSURE)} or less than {percent(LEAST_FREE_PART)} available",
        remedy="End what uses the memory, or add some.",
        find=pressure,
    ),
    Rule(
        code="SWAP_IN_USE",
        severity="warning",
        fires="memory in use lies on a disk",
        limit=f"swap in use above {percent(SWAP_PART)} of the memory; less is what nobody touched since boot",
        remedy="Free memory; swapoff -a and swapon -a bring the pages back.",
        find=swap,
    ),
    Rule(
        code="ECC_CORRECTED",
        severity="warning",
        fires="memory errors were corrected",
        limit=f"any is told, {MANY_CORRECTED} since boot are a warning: good modules count a few a year",
        remedy="Watch the count; replace the module when it grows (edac-util, ras-mc-ctl --errors name it).",
        find=ecc_corrected,
    ),
    Rule(
        code="ECC_UNCORRECTED",
        severity="failure",
        fires="memory errors could not be corrected",
        limit="none may be",
        remedy="Replace the module that edac-util names; until then results of this machine cannot be trusted.",
        find=ecc_uncorrected,
    ),
    Rule(
        code="HUGEPAGES_OFF",
        severity="info",
        fires="the kernel gives no 2 MiB pages",
        limit="transparent_hugepage/enabled is never; large working sets then pay for address translation",
        remedy="echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        find=hugepages_off,
    ),
    Rule(
        code="NUMA_BALANCING",
        severity="info",
        fires="the kernel moves pages between NUMA nodes while programs use them",
        limit="kernel.numa_balancing on with more than one node; makes bandwidth restless",
        remedy="sysctl kernel.numa_balancing=0",
        find=numa_balancing,
    ),
)
