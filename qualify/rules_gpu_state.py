"""Rules about how a GPU is set and shared."""

from __future__ import annotations

from collections.abc import Iterator

from qualify.records import Gpu
from qualify.rule import Evidence, Hit, Rule, binary
from qualify.rule_gpu import each, hit, settings

#: memory in use before the run although nobody is seen: more than drivers, displays and persistence keep
TAKEN_PART, TAKEN_BYTES = 0.10, 1 << 30


def foreign_process(_: Evidence, gpu: Gpu) -> Hit | None:
    """Somebody else computes on it."""
    if not gpu.processes:
        return None
    return hit(gpu, f"is used by {gpu.processes} processes that are not ours", processes=gpu.processes, limit=0)


def memory_taken(_: Evidence, gpu: Gpu) -> Hit | None:
    """Memory is in use by processes that cannot be seen, as from inside a container."""
    used, total = gpu.memory_used_bytes, gpu.memory_bytes
    if gpu.processes or used is None or not total or used < max(TAKEN_BYTES, TAKEN_PART * total):
        return None
    words = f"has {binary(used)} of its {binary(total)} in use by processes that cannot be seen from here"
    return hit(gpu, words, used_bytes=used, total_bytes=total)


def mig_on(_: Evidence, gpu: Gpu) -> Hit | None:
    """It is cut into slices."""
    return hit(gpu, "is cut into slices (MIG); none of them is the whole GPU", mig=True) if gpu.mig else None


def compute_mode(_: Evidence, gpu: Gpu) -> Hit | None:
    """Programs are kept from it."""
    mode = settings(gpu).compute_mode
    if mode == "prohibited":
        return hit(gpu, "lets no program compute (compute mode prohibited)", severity="failure", mode=mode)
    if mode in ("exclusive_thread", "exclusive_process"):
        return hit(gpu, "lets only one program compute at a time", severity="warning", mode=mode)
    return None


def persistence_off(_: Evidence, gpu: Gpu) -> Hit | None:
    """Each first program waits for the driver to start the GPU."""
    if settings(gpu).persistence is not False:
        return None
    return hit(gpu, "is shut down when nobody uses it (persistence mode off)", persistence=False)


def mixed(evidence: Evidence) -> Iterator[Hit]:
    """GPUs of several kinds: a job over all of them waits for the slowest."""
    names = sorted({gpu.name for gpu in evidence.node.gpus if gpu.name})
    sizes = {gpu.memory_bytes for gpu in evidence.node.gpus if gpu.memory_bytes and gpu.ecc_enabled is not False}
    if len(names) > 1:
        yield Hit(text=f"the GPUs are of several kinds: {', '.join(names)}", evidence={"names": ", ".join(names)})
    elif sizes and max(sizes) > 1.02 * min(sizes):
        words = f"GPUs of one name have between {binary(min(sizes))} and {binary(max(sizes))} of memory"
        yield Hit(text=words, evidence={"least_bytes": min(sizes), "most_bytes": max(sizes)})


def settings_differ(evidence: Evidence) -> Iterator[Hit]:
    """GPUs of one kind that are set differently give different figures."""
    for name in sorted({gpu.name for gpu in evidence.node.gpus if gpu.name}):
        alike = [gpu for gpu in evidence.node.gpus if gpu.name == name]
        for what, values in (
            ("power limits", {gpu.power_limit_w for gpu in alike}),
            ("ECC modes", {gpu.ecc_enabled for gpu in alike}),
            ("firmware", {settings(gpu).vbios for gpu in alike}),
        ):
            if len(values - {None}) > 1:
                told = ", ".join(sorted(str(value) for value in values - {None}))
                yield Hit(text=f"GPUs of one kind have different {what}: {told}", evidence={"of": what, "values": told})


def same_uuid(evidence: Evidence) -> Iterator[Hit]:
    """One GPU is shown as several."""
    uuids = [gpu.uuid for gpu in evidence.node.gpus if gpu.uuid]
    if len(set(uuids)) < len(uuids):
        yield Hit(
            text=f"{len(uuids)} GPUs are shown with only {len(set(uuids))} different identities",
            evidence={"gpus": len(uuids), "identities": len(set(uuids))},
        )


RULES = (
    Rule(
        code="GPU_FOREIGN_PROCESS",
        severity="warning",
        fires="others compute on a GPU before we begin",
        limit="none",
        remedy="End them (nvidia-smi lists them), or qualify when the GPU is free.",
        find=each(foreign_process),
    ),
    Rule(
        code="GPU_MEMORY_TAKEN",
        severity="warning",
        fires="a GPU's memory is in use though no process is seen",
        limit="a tenth of it and 1 GiB, before the run",
        remedy="Look on the host, outside of the container; reset the GPU if nobody is there.",
        find=each(memory_taken),
    ),
    Rule(
        code="GPU_MIG_ON",
        severity="warning",
        fires="a GPU is cut into slices",
        limit="MIG mode on",
        remedy="nvidia-smi -mig 0, or list the slices for what they are.",
        find=each(mig_on),
    ),
    Rule(
        code="GPU_COMPUTE_MODE",
        severity="failure",
        fires="programs are kept from a GPU",
        limit="prohibited is a failure, exclusive a warning",
        remedy="nvidia-smi -c DEFAULT.",
        find=each(compute_mode),
    ),
    Rule(
        code="GPU_PERSISTENCE_OFF",
        severity="info",
        fires="a GPU is shut down whenever nobody uses it",
        limit="persistence mode off",
        remedy="Run nvidia-persistenced, or nvidia-smi -pm 1: programs start seconds sooner.",
        find=each(persistence_off),
    ),
    Rule(
        code="GPU_MIXED",
        severity="warning",
        fires="the GPUs of a node are not of one kind",
        limit="one name, one size of memory within 2 %",
        remedy="Qualify each kind by itself (--device cuda:0,1) and list it as a node of its own.",
        find=mixed,
    ),
    Rule(
        code="GPU_SETTINGS_DIFFER",
        severity="warning",
        fires="GPUs of one kind are set differently",
        limit="power limit, ECC and firmware must be equal",
        remedy="Set them alike.",
        find=settings_differ,
    ),
    Rule(
        code="GPU_SAME_IDENTITY",
        severity="failure",
        fires="one GPU is shown as several",
        limit="every identity once",
        remedy="Pass each device once into the container; a virtual one cannot be sold as several.",
        find=same_uuid,
    ),
)
