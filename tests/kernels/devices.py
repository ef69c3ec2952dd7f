"""Small devices and settings, so that a bench opens in milliseconds on a test machine."""

from __future__ import annotations

import os
from pathlib import Path

from kernels.device import Device
from kernels.spec import Case, Profile, Setting, Variant

KIB, MIB = 1 << 10, 1 << 20


def small_device(*, threads: int = 1, memory_bytes: int | None = 1 << 30, llc_bytes: int | None = MIB) -> Device:
    """A CPU with caches so small that every working set is."""
    cpus = tuple(sorted(os.sched_getaffinity(0)))
    return Device(
        kind="cpu",
        index=0,
        name="small",
        cpus=cpus,
        threads=min(threads, len(cpus)),
        l1d_bytes=8 * KIB,
        l2_bytes=64 * KIB,
        llc_bytes=llc_bytes,
        llc_core_bytes=llc_bytes,
        line_bytes=64,
        memory_bytes=memory_bytes,
    )


def small_setting(
    *only: str, device: Device | None = None, profile: Profile = "quick", workdir: Path | None = None
) -> Setting:
    """A setting for it; all keys unless some are named."""
    return Setting(
        device=device or small_device(),
        profile=profile,
        budget_s=2.0,
        seed=1,
        only=frozenset(only),
        workdir=workdir or Path(),
    )


def variant(case: object, label: str = "") -> Variant:
    """The variant of a case whose label begins with `label`."""
    assert isinstance(case, Case)
    return next(found for found in case.variants if found.label.startswith(label))
