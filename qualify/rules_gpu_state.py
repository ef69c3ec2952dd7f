"""Rules about how a GPU is set and shared, and about driver and CUDA."""

from __future__ import annotations

import re
from collections.abc import Iterator

from qualify.records import Gpu
from qualify.rule import Evidence, Hit, Rule, binary
from qualify.rule_gpu import each, hit, settings

#: the oldest driver that runs programs of a CUDA major version (CUDA release notes, minor version compatibility)
DRIVER_FOR = {11: (450, 80), 12: (525, 60), 13: (580, 65)}
#: kernels of these and newer GPUs are in the packages of torch built for a CUDA major version
CAPABILITY_FOR = {11: (3, 7), 12: (5, 0), 13: (7, 5)}
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


def driver_old(evidence: Evidence) -> Iterator[Hit]:
    """The driver is older than the CUDA that our packages were built for."""
    major, driver = _torch_cuda(evidence), _numbers(evidence.node.versions.get("driver"))
    least = DRIVER_FOR.get(major[0]) if major else None
    if major and driver and least and driver < least:
        wanted = ".".join(map(str, least))
        yield Hit(
            text=f"driver {evidence.node.versions['driver']} is older than {wanted}, which CUDA {major[0]} needs",
            evidence={"driver": evidence.node.versions["driver"], "least": wanted, "cuda": major[0]},
        )


def cuda_pair(evidence: Evidence) -> Iterator[Hit]:
    """The packages were built for a newer CUDA than the driver knows."""
    built, known = _torch_cuda(evidence), _numbers(evidence.node.versions.get("cuda"))
    if built and known and built[0] > known[0]:
        yield Hit(
            text=f"torch was built for CUDA {built[0]}.{built[1]}, the driver knows CUDA {known[0]}.{known[1]}",
            evidence={"torch": evidence.node.versions["torch"], "cuda": evidence.node.versions["cuda"]},
        )


def too_old(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """The packages have no kernels for it."""
    capability, built = _numbers(settings(gpu).compute_capability), _torch_cuda(evidence)
    least = CAPABILITY_FOR.get(built[0]) if built else None
    if capability is None or least is None or built is None or capability >= least:
        return None
    words = f"has compute capability {capability[0]}.{capability[1]}, packages for CUDA {built[0]} begin at "
    return hit(gpu, f"{words}{least[0]}.{least[1]}", capability=settings(gpu).compute_capability, cuda=built[0])


def torch_without_cuda(evidence: Evidence) -> Iterator[Hit]:
    """The package can only use the CPU."""
    if evidence.node.gpus and str(evidence.node.versions.get("torch")).endswith("+cpu"):
        yield Hit(
            text=f"torch {evidence.node.versions['torch']} cannot use the {len(evidence.node.gpus)} GPUs here",
            evidence={"torch": evidence.node.versions["torch"], "gpus": len(evidence.node.gpus)},
        )


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


def _torch_cuda(evidence: Evidence) -> tuple[int, int] | None:
    """(12, 8) of "2.8.0+cu128"."""
    found = re.search(r"\+cu(\d+)(\d)$", evidence.node.versions.get("torch") or "")
    return (int(found[1]), int(found[2])) if found else None


def _numbers(version: str | None) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", version or "")
    return (int(found[1]), int(found[2])) if found else None


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
        code="GPU_DRIVER_OLD",
        severity="failure",
        fires="the driver is older than the packages' CUDA needs",
        limit=", ".join(f"CUDA {cuda}: {major}.{minor}" for cuda, (major, minor) in DRIVER_FOR.items()),
        remedy="Install a newer driver.",
        find=driver_old,
    ),
    Rule(
        code="GPU_CUDA_PAIR",
        severity="failure",
        fires="torch was built for a newer CUDA than the driver knows",
        limit="the major versions",
        remedy="Install a newer driver, or torch for the driver's CUDA.",
        find=cuda_pair,
    ),
    Rule(
        code="GPU_TOO_OLD",
        severity="failure",
        fires="the packages have no code for a GPU of this age",
        limit=", ".join(f"CUDA {cuda}: {major}.{minor}" for cuda, (major, minor) in CAPABILITY_FOR.items()),
        remedy="Install packages built for an older CUDA.",
        find=each(too_old),
    ),
    Rule(
        code="GPU_TORCH_CPU",
        severity="warning",
        fires="there are GPUs and a torch that cannot use them",
        limit="a torch built for the CPU alone",
        remedy="Install torch from the index of your CUDA version.",
        find=torch_without_cuda,
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
