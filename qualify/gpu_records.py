"""What is known of a GPU besides its name: health, settings, links, readings, events. None = not supported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuHealth:
    """What the device remembers of its faults; None = not supported, never zero."""

    ecc_corrected: int | None = None  #: since the driver was loaded
    ecc_corrected_ever: int | None = None  #: over the life of the board
    ecc_uncorrected_ever: int | None = None
    retired_pages: int | None = None  #: before Ampere: pages taken out for either cause
    retirement_pending: bool | None = None
    remapped_corrected: int | None = None  #: from Ampere on: rows replaced after corrected errors
    remapped_uncorrected: int | None = None
    remap_pending: bool | None = None
    remap_failed: bool | None = None
    banks_exhausted: int | None = None  #: memory banks without a spare row left
    pcie_replays: int | None = None  #: since the driver was loaded
    recovery_action: str | None = None  #: what the driver asks for: "none", "gpu_reset", "node_reboot" …


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSettings:
    """How the device is set and what it is made of; None = not supported."""

    compute_mode: str | None = None  #: "default", "exclusive_thread", "prohibited", "exclusive_process"
    persistence: bool | None = None
    ecc_pending: bool | None = None  #: the mode after the next reset
    sm_clock_app_hz: float | None = None  #: application clocks; they are gone from CUDA 13's drivers
    sm_clock_app_default_hz: float | None = None
    memory_clock_max_hz: float | None = None
    power_least_w: float | None = None
    power_most_w: float | None = None
    slowdown_c: float | None = None  #: where the hardware slows itself down
    shutdown_c: float | None = None
    memory_limit_c: float | None = None
    cores: int | None = None  #: CUDA cores
    memory_bus_bits: int | None = None
    compute_capability: str | None = None  #: "9.0"
    pcie_generation_device: int | None = None  #: of the GPU alone, whatever its slot can do
    pcie_width_max: int | None = None  #: lanes, of slot and device together
    vbios: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NvLink:
    """One link to another GPU or to a switch."""

    index: int
    active: bool
    replays: int | None = None  #: data-link errors that were mended by sending again
    recoveries: int | None = None
    crc_errors: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """One GPU over a window of samples: rates as means, temperatures at their worst, counters as at its end."""

    index: int
    n: int = 1  #: samples taken in the window
    sm_clock_hz: float | None = None
    memory_clock_hz: float | None = None
    power_w: float | None = None
    temperature_c: float | None = None
    memory_temperature_c: float | None = None
    margin_c: float | None = None  #: to where the GPU slows itself down
    busy_ratio: float | None = None
    memory_busy_ratio: float | None = None  #: of the time that memory was read or written
    memory_used_bytes: int | None = None
    reasons: Mapping[str, float] | None = None  #: why the clock was not higher -> part of the samples
    energy_j: float | None = None  #: since the driver was loaded
    violations_s: Mapping[str, float] = field(default_factory=dict)  #: policy -> seconds it held the clock down, ever
    pcie_generation: int | None = None
    pcie_width: int | None = None
    pcie_replays: int | None = None
    pcie_down_bytes_per_s: float | None = None  #: to the GPU
    pcie_up_bytes_per_s: float | None = None
    ecc_uncorrected: int | None = None
    nvlink_errors: int | None = None  #: of all links and kinds


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuEvent:
    """Something the driver announced while the benchmarks ran."""

    at_s: float  #: since the run began
    gpu: int | None  #: None when the device cannot be told any more
    kind: str  #: "xid", "ecc_double", "lost" …
    xid: int | None = None
