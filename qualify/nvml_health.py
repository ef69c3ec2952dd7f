"""Health, settings and links of a GPU out of NVML's answers."""

from __future__ import annotations

from qualify.gpu_records import GpuHealth, GpuSettings, NvLink
from qualify.nvml_ask import Questions

MAX_LINKS = 18  #: Hopper and Blackwell; a driver answers "invalid argument" beyond its own
RECOVERY = {
    0: "none",
    1: "gpu_reset",
    2: "node_reboot",
    3: "drain_p2p",
    4: "drain_and_reset",
    5: "recover_imex_domain",
    6: "bus_reset",
    7: "system_reboot",
}
COMPUTE_MODES = {0: "default", 1: "exclusive_thread", 2: "prohibited", 3: "exclusive_process"}


def health(ask: Questions) -> GpuHealth:
    """What the device remembers of its faults."""
    nvml = ask.module
    corrected, uncorrected = nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED
    rows, spare = ask("RemappedRows"), ask("RowRemapperHistogram")
    pages = [
        ask("RetiredPages", cause)
        for cause in (
            nvml.NVML_PAGE_RETIREMENT_CAUSE_MULTIPLE_SINGLE_BIT_ECC_ERRORS,
            nvml.NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR,
        )
    ]
    known = [found for found in pages if found is not None]
    return GpuHealth(
        ecc_corrected=ask("TotalEccErrors", corrected, nvml.NVML_VOLATILE_ECC),
        ecc_corrected_ever=ask("TotalEccErrors", corrected, nvml.NVML_AGGREGATE_ECC),
        ecc_uncorrected_ever=ask("TotalEccErrors", uncorrected, nvml.NVML_AGGREGATE_ECC),
        retired_pages=sum(len(found) for found in known) if known else None,
        retirement_pending=_flag(ask("RetiredPagesPendingStatus")),
        remapped_corrected=rows[0] if rows else None,
        remapped_uncorrected=rows[1] if rows else None,
        remap_pending=bool(rows[2]) if rows else None,
        remap_failed=bool(rows[3]) if rows else None,
        banks_exhausted=None if spare is None else spare.none,
        pcie_replays=ask("PcieReplayCounter"),
        recovery_action=_recovery(ask),
    )


def settings(ask: Questions) -> GpuSettings:
    """How the device is set and what it is made of."""
    nvml = ask.module
    limits, modes = ask("PowerManagementLimitConstraints"), ask("EccMode")
    capability, mode = ask("CudaComputeCapability"), ask("ComputeMode")
    return GpuSettings(
        compute_mode=None if mode is None else COMPUTE_MODES.get(mode, str(mode)),
        persistence=_flag(ask("PersistenceMode")),
        ecc_pending=None if modes is None else modes[1] == nvml.NVML_FEATURE_ENABLED,
        sm_clock_app_hz=ask.number("ApplicationsClock", nvml.NVML_CLOCK_SM, scale=1e6),
        sm_clock_app_default_hz=ask.number("DefaultApplicationsClock", nvml.NVML_CLOCK_SM, scale=1e6),
        memory_clock_max_hz=ask.number("MaxClockInfo", nvml.NVML_CLOCK_MEM, scale=1e6),
        power_least_w=limits[0] * 1e-3 if limits else None,
        power_most_w=limits[1] * 1e-3 if limits else None,
        slowdown_c=ask.number("TemperatureThreshold", nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN),
        shutdown_c=ask.number("TemperatureThreshold", nvml.NVML_TEMPERATURE_THRESHOLD_SHUTDOWN),
        memory_limit_c=ask.number("TemperatureThreshold", nvml.NVML_TEMPERATURE_THRESHOLD_MEM_MAX),
        cores=ask("NumGpuCores"),
        memory_bus_bits=ask("MemoryBusWidth"),
        compute_capability=None if capability is None else f"{capability[0]}.{capability[1]}",
        pcie_generation_device=ask("GpuMaxPcieLinkGeneration"),
        pcie_width_max=ask("MaxPcieLinkWidth"),
        vbios=ask("VbiosVersion"),
    )


def nvlinks(ask: Questions) -> tuple[NvLink, ...] | None:
    """Every link the device has, used or not; None when it has none or does not say."""
    nvml = ask.module
    found = []
    for link in range(MAX_LINKS):
        state = ask("NvLinkState", link)
        if state is None:
            break
        active = state == nvml.NVML_FEATURE_ENABLED
        crc = [
            errors
            for kind in (nvml.NVML_NVLINK_ERROR_DL_CRC_FLIT, nvml.NVML_NVLINK_ERROR_DL_CRC_DATA)
            if active and (errors := ask("NvLinkErrorCounter", link, kind)) is not None
        ]
        found.append(
            NvLink(
                index=link,
                active=active,
                replays=ask("NvLinkErrorCounter", link, nvml.NVML_NVLINK_ERROR_DL_REPLAY) if active else None,
                recoveries=ask("NvLinkErrorCounter", link, nvml.NVML_NVLINK_ERROR_DL_RECOVERY) if active else None,
                crc_errors=sum(crc) if crc else None,
            )
        )
    return tuple(found) or None


def _recovery(ask: Questions) -> str | None:
    fields = ask("FieldValues", [ask.module.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION])
    if not fields or fields[0].nvmlReturn != ask.module.NVML_SUCCESS:
        return None
    number = fields[0].value.uiVal
    return RECOVERY.get(number, f"unknown ({number})")


def _flag(value: int | None) -> bool | None:
    return None if value is None else bool(value)
