"""Rules about what kind of machine it is, what it claims to be, and what is installed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from qualify.reference import is_virtual
from qualify.rule import Evidence, Hit, Rule

#: the benchmarks import them; versions as in pyproject.toml
NEEDED = {"numpy": (1, 26), "numba": (0, 60), "torch": (2, 8), "psutil": (6, 0)}
#: without the library a slower tester of our own is used
USEFUL = ("libiperf",)
#: before it there is no pressure information (PSI), and cpu.max of nested groups is incomplete
LEAST_KERNEL = (4, 20)
#: a server of connections or a data loader opens more; the usual soft limit of 1024 is a trap
OPEN_FILES = 4096


def gpu_claimed_none_found(evidence: Evidence) -> Iterator[Hit]:
    """A GPU is claimed and there is none."""
    claim, node = evidence.claim, evidence.node
    if claim is not None and (claim.gpu or claim.gpus) and not node.gpus:
        yield Hit(
            text=f"{claim.gpus or 1} x {claim.gpu or 'GPU'} claimed, none found: {node.gpu_reason or 'reason unknown'}",
            evidence={"claimed": claim.gpu, "claimed_count": claim.gpus, "found_count": 0, "reason": node.gpu_reason},
        )


def gpu_below_claim(evidence: Evidence) -> Iterator[Hit]:
    """Fewer GPUs than claimed, or others."""
    claim, gpus = evidence.claim, evidence.node.gpus
    if claim is None or not gpus:
        return
    if claim.gpus is not None and len(gpus) < claim.gpus:
        yield Hit(
            text=f"{claim.gpus} GPUs are claimed, {len(gpus)} found",
            evidence={"claimed_count": claim.gpus, "found_count": len(gpus)},
        )
    others = sorted({gpu.name for gpu in gpus if gpu.name and claim.gpu and not _same_name(claim.gpu, gpu.name)})
    if others:
        yield Hit(
            text=f"{claim.gpu} is claimed, found {', '.join(others)}",
            evidence={"claimed": claim.gpu, "found": ", ".join(others)},
        )


def package_missing(evidence: Evidence) -> Iterator[Hit]:
    """A package that benchmarks need is not installed."""
    versions = evidence.node.versions
    for name in (*NEEDED, *USEFUL):
        if name in versions and versions[name] is None:
            yield Hit(
                text=f"{name} is not installed",
                evidence={"package": name},
                severity="info" if name in USEFUL else "warning",
                remedy="apt-get install libiperf0, or your system's package of iperf3" if name in USEFUL else None,
            )


def old_version(evidence: Evidence) -> Iterator[Hit]:
    """A package or kernel older than what was tested."""
    found = {name: (evidence.node.versions.get(name), least) for name, least in NEEDED.items()}
    found["Linux"] = (evidence.node.kernel, LEAST_KERNEL)
    for name, (version, least) in found.items():
        numbers = _numbers(version)
        if numbers and numbers < least:
            wanted = ".".join(map(str, least))
            yield Hit(
                text=f"{name} {version} is older than {wanted}",
                evidence={"package": name, "version": version, "least": wanted},
            )


def few_open_files(evidence: Evidence) -> Iterator[Hit]:
    """A low limit of open files."""
    most = evidence.node.open_files_max
    if most is not None and most < OPEN_FILES:
        yield Hit(
            text=f"a process may open {most} files",
            evidence={"open_files_max": most, "limit": OPEN_FILES},
        )


def virtualised(evidence: Evidence) -> Iterator[Hit]:
    """A hypervisor stands between us and the hardware."""
    if is_virtual(evidence.node):
        yield Hit(
            text=f"this is a virtual machine ({evidence.node.hypervisor}); of its hardware we have the host's word",
            evidence={"hypervisor": evidence.node.hypervisor},
        )


def contained(evidence: Evidence) -> Iterator[Hit]:
    """We sit in a container."""
    if evidence.node.container not in (None, "none"):
        yield Hit(
            text=f"this is a container ({evidence.node.container}); processes outside cannot be seen",
            evidence={"container": evidence.node.container},
        )


def probe_incomplete(evidence: Evidence) -> Iterator[Hit]:
    """Things that could not be read, and so are unknown rather than good."""
    problems = evidence.node.problems
    if problems:
        yield Hit(
            text=f"not everything could be read: {'; '.join(problem.rstrip('.') for problem in problems)}",
            evidence={"count": len(problems)},
        )


def _same_name(claimed: str, found: str) -> bool:
    return _plain(claimed) == _plain(found)


def _plain(name: str) -> str:
    return " ".join(name.casefold().removeprefix("nvidia ").split())


def _numbers(version: str | None) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", version or "")
    return (int(found[1]), int(found[2])) if found else None


RULES = (
    Rule(
        code="GPU_CLAIMED_NONE_FOUND",
        severity="failure",
        fires="a GPU is claimed and none is there",
        limit="the claim",
        remedy="Install the driver and pass the device into the container, or do not claim it.",
        find=gpu_claimed_none_found,
    ),
    Rule(
        code="GPU_BELOW_CLAIM",
        severity="failure",
        fires="fewer GPUs than claimed, or others",
        limit="the claim; names must be equal but for case and the maker's name",
        remedy="Claim what nvidia-smi -L lists.",
        find=gpu_below_claim,
    ),
    Rule(
        code="PACKAGE_MISSING",
        severity="warning",
        fires="a package that benchmarks need is not installed",
        limit=f"{', '.join(NEEDED)}; {', '.join(USEFUL)} is told",
        remedy="pip install 'gridmark[node]'",
        find=package_missing,
    ),
    Rule(
        code="OLD_VERSION",
        severity="warning",
        fires="a package or the kernel is older than what was tested",
        limit=", ".join(
            f"{name} {major}.{minor}" for name, (major, minor) in {**NEEDED, "Linux": LEAST_KERNEL}.items()
        ),
        remedy="pip install -U 'gridmark[node]', or a newer kernel.",
        find=old_version,
    ),
    Rule(
        code="FEW_OPEN_FILES",
        severity="info",
        fires="a process may open few files",
        limit=f"below {OPEN_FILES}; servers and data loaders open more",
        remedy="Raise it: ulimit -n, LimitNOFILE= of a systemd unit, --ulimit nofile= of a container.",
        find=few_open_files,
    ),
    Rule(
        code="VIRTUALISED",
        severity="info",
        fires="this is a virtual machine",
        limit="a fact: hardware is what the host says it is, and others may share it",
        remedy="Nothing to mend; bare metal gives steadier figures.",
        find=virtualised,
    ),
    Rule(
        code="CONTAINED",
        severity="info",
        fires="this is a container",
        limit="a fact: limits and processes outside of it cannot be seen",
        remedy="Nothing to mend; run on the host to see all of it.",
        find=contained,
    ),
    Rule(
        code="PROBE_INCOMPLETE",
        severity="info",
        fires="something about the machine could not be read",
        limit="any; what is unknown is never taken for good",
        remedy="Run as a user who may read it, or as root.",
        find=probe_incomplete,
    ),
)
