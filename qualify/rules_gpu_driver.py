"""Rules about the driver, the CUDA it knows, and the packages that want another."""

from __future__ import annotations

import re
from collections.abc import Iterator

from qualify.records import Gpu
from qualify.rule import Evidence, Hit, Rule
from qualify.rule_gpu import each, hit, settings

#: the oldest driver that runs programs of a CUDA major version, for Linux. NVIDIA, CUDA Compatibility, "Minor Version
#: Compatibility", table 1 (13.x: 580, 12.x: 525, 11.x: 450), and CUDA 13.1 release notes, table 2; the second number is
#: that of the first driver that came with it
DRIVER_FOR = {11: (450, 80), 12: (525, 60), 13: (580, 0)}
#: the driver that came with a CUDA version, for Linux: CUDA 13.1 release notes, "CUDA Toolkit and Corresponding Driver
#: Versions". An older one of the same major version runs its programs with fewer features: it compiles no PTX of theirs
#: (CUDA Compatibility, "Application Considerations for Minor Version Compatibility"). There was no 12.7
DRIVER_WITH = {
    (12, 0): (525, 60),
    (12, 1): (530, 30),
    (12, 2): (535, 54),
    (12, 3): (545, 23),
    (12, 4): (550, 54),
    (12, 5): (555, 42),
    (12, 6): (560, 28),
    (12, 8): (570, 26),
    (12, 9): (575, 51),
    (13, 0): (580, 65),
    (13, 1): (590, 44),
}
#: kernels of these and newer GPUs are in the packages of torch built for a CUDA major version
CAPABILITY_FOR = {11: (3, 7), 12: (5, 0), 13: (7, 5)}


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


def driver_minor(evidence: Evidence) -> Iterator[Hit]:
    """The packages run by minor-version compatibility alone, which is not all of CUDA."""
    built, driver = _torch_cuda(evidence), _numbers(evidence.node.versions.get("driver"))
    came_with, least = (DRIVER_WITH.get(built), DRIVER_FOR.get(built[0])) if built else (None, None)
    if built and driver and came_with and least and least <= driver < came_with:
        wanted = ".".join(map(str, came_with))
        yield Hit(
            text=f"torch was built for CUDA {built[0]}.{built[1]}, which came with driver {wanted}; driver "
            f"{evidence.node.versions['driver']} runs it, but compiles none of its PTX",
            evidence={
                "driver": evidence.node.versions["driver"],
                "came_with": wanted,
                "cuda": f"{built[0]}.{built[1]}",
            },
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


def _torch_cuda(evidence: Evidence) -> tuple[int, int] | None:
    """(12, 8) of "2.8.0+cu128"."""
    found = re.search(r"\+cu(\d+)(\d)$", evidence.node.versions.get("torch") or "")
    return (int(found[1]), int(found[2])) if found else None


def _numbers(version: str | None) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", version or "")
    return (int(found[1]), int(found[2])) if found else None


RULES = (
    Rule(
        code="GPU_DRIVER_OLD",
        severity="failure",
        fires="the driver is older than the packages' CUDA needs",
        limit=", ".join(f"CUDA {cuda}: {major}.{minor}" for cuda, (major, minor) in DRIVER_FOR.items()),
        remedy="Install a newer driver.",
        find=driver_old,
    ),
    Rule(
        code="GPU_DRIVER_MINOR",
        severity="info",
        fires="the driver is older than the one that the packages' CUDA came with, but of its major version",
        limit="; ".join(f"CUDA {a}.{b}: {c}.{d:02}" for (a, b), (c, d) in DRIVER_WITH.items()),
        remedy="Install a newer driver where programs compile kernels as they run (PTX, NVRTC, Triton).",
        find=driver_minor,
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
)
