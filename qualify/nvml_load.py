"""One GPU at one moment, and what the driver announces of it: NVML's quick questions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from qualify.gpu_records import GpuEvent, GpuReading, NvLink
from qualify.nvml_ask import Asker, NvmlError, Questions

#: how much is asked: what changes by the millisecond; counters too; and the PCIe throughput, which blocks for 40 ms
Detail = Literal["quick", "counters", "all"]
#: why the clock is not higher, bit by bit (nvml.h, nvmlClocksEventReasons)
REASONS = {
    0x001: "idle",
    0x002: "application_clocks",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal",
    0x040: "hw_thermal",
    0x080: "hw_power_brake",
    0x100: "display_clocks",
    0x200: "board_limit",
    0x400: "reliability",
}
#: policies whose time is counted (nvml.h, nvmlPerfPolicyType_t)
POLICIES = {0: "power", 1: "thermal", 2: "sync_boost", 3: "board_limit", 5: "reliability"}
#: kinds of events (nvml.h, nvmlEventType)
EVENTS = {
    0x0001: "ecc_single",
    0x0002: "ecc_double",
    0x0008: "xid",
    0x0200: "ecc_single_storm",
    0x0400: "dram_retirement",
    0x0800: "dram_retirement_failed",
    0x2000: "fatal_poison",
    0x4000: "unavailable",
    0x8000: "recovery_action",
}


def reasons(bits: int) -> tuple[str, ...]:
    """The names of the bits that are set, lowest first; a bit without a name is "bit_11"."""
    return tuple(REASONS.get(1 << bit, f"bit_{bit}") for bit in range(bits.bit_length()) if bits >> bit & 1)


def reading(ask: Questions, index: int, *, detail: Detail = "all", links: tuple[NvLink, ...] = ()) -> GpuReading:
    """What changes under load; `links` are those whose errors are counted."""
    nvml = ask.module
    bits = ask("CurrentClocksEventReasons")
    if bits is None:  # its name before R535
        bits = ask("CurrentClocksThrottleReasons")
    use = ask("UtilizationRates")
    quick = GpuReading(
        index=index,
        sm_clock_hz=ask.number("ClockInfo", nvml.NVML_CLOCK_SM, scale=1e6),
        memory_clock_hz=ask.number("ClockInfo", nvml.NVML_CLOCK_MEM, scale=1e6),
        power_w=ask.number("PowerUsage", scale=1e-3),
        temperature_c=_temperature(ask),
        busy_ratio=None if use is None else use.gpu / 100,
        memory_busy_ratio=None if use is None else use.memory / 100,
        reasons=None if bits is None else dict.fromkeys(reasons(bits), 1.0),
    )
    if detail == "quick":
        return quick
    memory, blocking = ask("MemoryInfo"), detail == "all"
    return replace(
        quick,
        memory_temperature_c=_field(ask, nvml.NVML_FI_DEV_MEMORY_TEMP),
        margin_c=ask.number("MarginTemperature"),
        memory_used_bytes=None if memory is None else memory.used,
        energy_j=ask.number("TotalEnergyConsumption", scale=1e-3),
        violations_s=_violations(ask),
        pcie_generation=ask("CurrPcieLinkGeneration"),
        pcie_width=ask("CurrPcieLinkWidth"),
        pcie_replays=ask("PcieReplayCounter"),
        pcie_down_bytes_per_s=ask.number("PcieThroughput", nvml.NVML_PCIE_UTIL_RX_BYTES, scale=1e3)
        if blocking
        else None,
        pcie_up_bytes_per_s=ask.number("PcieThroughput", nvml.NVML_PCIE_UTIL_TX_BYTES, scale=1e3) if blocking else None,
        ecc_uncorrected=ask("TotalEccErrors", nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC),
        nvlink_errors=_link_errors(ask, links),
    )


class Events:
    """The driver's announcements, through one event set for all devices."""

    def __init__(self, asker: Asker, count: int, clock: Callable[[], float]) -> None:
        """Subscribe; a device or driver without events is left out, as `gpus` tells."""
        self._asker, self._clock = asker, clock
        nvml = asker.module
        self._set = asker.ask(nvml.nvmlEventSetCreate)
        self.gpus: tuple[int, ...] = ()
        for index in range(count if self._set is not None else 0):
            known = asker.of(index, "SupportedEventTypes") or 0
            wanted = known & sum(EVENTS)
            if wanted:
                asker.ask(nvml.nvmlDeviceRegisterEvents, asker.handle(index), wanted, self._set)
                self.gpus += (index,)

    def next(self, timeout_s: float) -> GpuEvent | None:
        """The next announcement, or None when there is none in time.

        Raises:
            NvmlError: the library refuses for another reason than time or a lost device.
        """
        nvml = self._asker.module
        if not self.gpus:
            return None
        try:
            data = self._asker.ask(nvml.nvmlEventSetWait_v2, self._set, round(timeout_s * 1e3))
        except NvmlError as error:
            if error.code == "timeout":
                return None
            if error.code == "gpu_is_lost":
                return GpuEvent(at_s=self._clock(), gpu=None, kind="lost")
            raise
        return None if data is None else self._event(data)

    def close(self) -> None:
        """Unsubscribe."""
        if self._set is not None:
            self._asker.ask(self._asker.module.nvmlEventSetFree, self._set)
            self._set, self.gpus = None, ()

    def _event(self, data: Any) -> GpuEvent:
        try:
            gpu = self._asker.ask(self._asker.module.nvmlDeviceGetIndex, data.device)
        except NvmlError:  # it announced its own loss
            gpu = None
        kind = EVENTS.get(data.eventType, f"type_{data.eventType:#x}")
        return GpuEvent(at_s=self._clock(), gpu=gpu, kind=kind, xid=data.eventData if kind == "xid" else None)


def _temperature(ask: Questions) -> float | None:
    # the newer question is unknown to drivers before R570, the older one is to go with CUDA 14
    newer = ask.number("TemperatureV", ask.module.NVML_TEMPERATURE_GPU)
    return ask.number("Temperature", ask.module.NVML_TEMPERATURE_GPU) if newer is None else newer


def _field(ask: Questions, number: int) -> float | None:
    found = ask("FieldValues", [number])
    if not found or found[0].nvmlReturn != ask.module.NVML_SUCCESS or not found[0].value.uiVal:
        return None  # boards without the sensor answer 0
    return float(found[0].value.uiVal)


def _violations(ask: Questions) -> dict[str, float]:
    found = {name: ask("ViolationStatus", policy) for policy, name in POLICIES.items()}
    return {name: status.violationTime * 1e-9 for name, status in found.items() if status is not None}


def _link_errors(ask: Questions, links: tuple[NvLink, ...]) -> int | None:
    nvml = ask.module
    kinds = (
        nvml.NVML_NVLINK_ERROR_DL_REPLAY,
        nvml.NVML_NVLINK_ERROR_DL_RECOVERY,
        nvml.NVML_NVLINK_ERROR_DL_CRC_FLIT,
        nvml.NVML_NVLINK_ERROR_DL_CRC_DATA,
    )
    found = [ask("NvLinkErrorCounter", link.index, kind) for link in links if link.active for kind in kinds]
    known = [errors for errors in found if errors is not None]
    return sum(known) if known else None
