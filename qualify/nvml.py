"""NVIDIA's management library behind a Protocol: the one module that imports pynvml, and only when asked to open it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from qualify import nvml_health, nvml_load
from qualify.gpu_records import GpuEvent, GpuHealth, GpuReading, GpuSettings, NvLink
from qualify.nvml_ask import Asker, NvmlError, Questions
from qualify.nvml_load import Detail
from qualify.records import Gpu

__all__ = ["DeviceMemory", "Library", "Nvml", "NvmlError", "PcieLink", "PowerLimits", "gpus", "open_nvml"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Memory of one device, bytes."""

    total_bytes: int
    used_bytes: int


@dataclass(frozen=True, slots=True)
class PowerLimits:
    """Limits of one device, watts; None = not supported."""

    enforced_w: float | None
    default_w: float | None


@dataclass(frozen=True, slots=True)
class PcieLink:
    """The link of one device; None = not supported."""

    generation_max: int | None  #: of slot and device together; the current one drops when the device idles
    width: int | None  #: lanes in use now


class Events(Protocol):
    """What the driver announces: XIDs, ECC errors, a lost device."""

    @property
    def gpus(self) -> tuple[int, ...]: ...  # those that announce anything

    def next(self, timeout_s: float) -> GpuEvent | None: ...

    def close(self) -> None: ...


class Nvml(Protocol):
    """What is asked of the library, one quantity a method; None = this device does not support it, never zero.

    Every method may raise NvmlError when a device that should answer does not (it fell off the bus).
    """

    def driver_version(self) -> str | None: ...

    def cuda_version(self) -> str | None: ...

    def count(self) -> int: ...

    def name(self, index: int) -> str | None: ...

    def uuid(self, index: int) -> str | None: ...

    def pci_address(self, index: int) -> str | None: ...

    def memory(self, index: int) -> DeviceMemory | None: ...

    def ecc_enabled(self, index: int) -> bool | None: ...

    def ecc_uncorrected(self, index: int) -> int | None:
        """Uncorrected errors since the driver was loaded."""

    def power_limits(self, index: int) -> PowerLimits: ...

    def temperature_c(self, index: int) -> float | None: ...

    def sm_clock_max_hz(self, index: int) -> float | None: ...

    def pcie(self, index: int) -> PcieLink: ...

    def mig_enabled(self, index: int) -> bool | None: ...

    def processes(self, index: int) -> int | None:
        """Compute processes that hold a context on the device, ours included."""

    def health(self, index: int, refusals: list[NvmlError]) -> GpuHealth:
        """Counters of faults; what the device refuses is None there and added to `refusals`, here and below."""

    def settings(self, index: int, refusals: list[NvmlError]) -> GpuSettings: ...

    def nvlinks(self, index: int, refusals: list[NvmlError]) -> tuple[NvLink, ...] | None: ...

    def reading(self, index: int, refusals: list[NvmlError], detail: Detail = "all") -> GpuReading:
        """What changes under load."""

    def events(self, clock: Callable[[], float]) -> Events:
        """Subscribe to the driver's announcements; `clock` tells when each was heard."""

    def close(self) -> None: ...


def open_nvml() -> Nvml:
    """The library of the installed driver.

    Raises:
        NvmlError: there is no package, no library or no loaded driver; the message can stand as `gpu_reason`.
    """
    try:
        import pynvml
    except ImportError as error:
        raise NvmlError("the package nvidia-ml-py is not installed; pip install 'gridmark[node]'") from error
    return Library(pynvml)


def gpus(nvml: Nvml) -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    """Every device as a record, and a sentence for each that would not answer a question it should answer."""
    found, problems = [], []
    for index in range(nvml.count()):
        refusals: list[NvmlError] = []
        found.append(_gpu(nvml, index, refusals))
        if refusals:
            questions = "1 question" if len(refusals) == 1 else f"{len(refusals)} questions"
            problems.append(f"GPU {index} did not answer {questions}: {refusals[0]}.")
    return tuple(found), tuple(problems)


def _gpu(nvml: Nvml, index: int, refusals: list[NvmlError]) -> Gpu:
    def of(question: Callable[[int], T | None]) -> T | None:
        try:
            return question(index)
        except NvmlError as error:
            refusals.append(error)
            return None

    memory, power, link = of(nvml.memory), of(nvml.power_limits), of(nvml.pcie)
    health, settings = nvml.health(index, refusals), nvml.settings(index, refusals)
    links = nvml.nvlinks(index, refusals)
    return Gpu(
        index=index,
        name=of(nvml.name),
        uuid=of(nvml.uuid),
        pci_address=of(nvml.pci_address),
        memory_bytes=memory.total_bytes if memory else None,
        memory_used_bytes=memory.used_bytes if memory else None,
        ecc_enabled=of(nvml.ecc_enabled),
        ecc_uncorrected=of(nvml.ecc_uncorrected),
        power_limit_w=power.enforced_w if power else None,
        power_default_w=power.default_w if power else None,
        temperature_c=of(nvml.temperature_c),
        sm_clock_max_hz=of(nvml.sm_clock_max_hz),
        pcie_generation=link.generation_max if link else None,
        pcie_width=link.width if link else None,
        mig=of(nvml.mig_enabled),
        processes=of(nvml.processes),
        health=health,
        settings=settings,
        nvlinks=links,
        refused=tuple(sorted({error.code for error in refusals if error.code})),
    )


class Library:
    """The real library, through a module with pynvml's interface."""

    def __init__(self, module: Any) -> None:
        """Open it; raises NvmlError when library or driver are absent."""
        self._nvml = module
        try:
            module.nvmlInit()
        except module.NVMLError as error:
            raise NvmlError(_why_closed(module, error)) from error
        self._asker = Asker(module)
        self._links: dict[int, tuple[NvLink, ...]] = {}

    def driver_version(self) -> str | None:
        return self._asker.ask(self._nvml.nvmlSystemGetDriverVersion)

    def cuda_version(self) -> str | None:
        number = self._asker.ask(self._nvml.nvmlSystemGetCudaDriverVersion_v2)  # 12040 is 12.4
        return None if number is None else f"{number // 1000}.{number % 1000 // 10}"

    def count(self) -> int:
        return self._asker.ask(self._nvml.nvmlDeviceGetCount) or 0

    def name(self, index: int) -> str | None:
        return self._text(index, "Name")

    def uuid(self, index: int) -> str | None:
        return self._text(index, "UUID")

    def pci_address(self, index: int) -> str | None:
        found = self._asker.of(index, "PciInfo")  # "00000000:0A:00.0", the kernel has four digits of the domain
        bus = getattr(found, "busId", None)
        text = bus.decode() if isinstance(bus, bytes) else bus
        return None if not text else text.rpartition(":")[0].rpartition(":")[0][-4:].lower() + text[-8:].lower()

    def memory(self, index: int) -> DeviceMemory | None:
        # the second version leaves out what the driver keeps for itself; drivers before R510 know only the first
        found = self._asker.of(index, "MemoryInfo", self._nvml.nvmlMemory_v2)
        found = found or self._asker.of(index, "MemoryInfo")
        return None if found is None else DeviceMemory(total_bytes=found.total, used_bytes=found.used)

    def ecc_enabled(self, index: int) -> bool | None:
        modes = self._asker.of(index, "EccMode")
        return None if modes is None else bool(modes[0] == self._nvml.NVML_FEATURE_ENABLED)

    def ecc_uncorrected(self, index: int) -> int | None:
        kind, since_load = self._nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, self._nvml.NVML_VOLATILE_ECC
        return self._count(index, "TotalEccErrors", kind, since_load)

    def power_limits(self, index: int) -> PowerLimits:
        return PowerLimits(
            enforced_w=_scaled(self._asker.of(index, "EnforcedPowerLimit"), 1e-3),
            default_w=_scaled(self._asker.of(index, "PowerManagementDefaultLimit"), 1e-3),
        )

    def temperature_c(self, index: int) -> float | None:
        # the newer question is unknown to drivers before R570, the older one is to go with CUDA 14
        for name in ("TemperatureV", "Temperature"):
            found = self._asker.of(index, name, self._nvml.NVML_TEMPERATURE_GPU)
            if found is not None:
                return float(found)
        return None

    def sm_clock_max_hz(self, index: int) -> float | None:
        return _scaled(self._asker.of(index, "MaxClockInfo", self._nvml.NVML_CLOCK_SM), 1e6)

    def pcie(self, index: int) -> PcieLink:
        return PcieLink(
            generation_max=self._count(index, "MaxPcieLinkGeneration"),
            width=self._count(index, "CurrPcieLinkWidth"),
        )

    def mig_enabled(self, index: int) -> bool | None:
        modes = self._asker.of(index, "MigMode")
        return None if modes is None else bool(modes[0] == self._nvml.NVML_DEVICE_MIG_ENABLE)

    def processes(self, index: int) -> int | None:
        found = self._asker.of(index, "ComputeRunningProcesses")
        return None if found is None else len(found)

    def health(self, index: int, refusals: list[NvmlError]) -> GpuHealth:
        return nvml_health.health(Questions(self._asker, index, refusals))

    def settings(self, index: int, refusals: list[NvmlError]) -> GpuSettings:
        return nvml_health.settings(Questions(self._asker, index, refusals))

    def nvlinks(self, index: int, refusals: list[NvmlError]) -> tuple[NvLink, ...] | None:
        found = nvml_health.nvlinks(Questions(self._asker, index, refusals))
        self._links[index] = found or ()
        return found

    def reading(self, index: int, refusals: list[NvmlError], detail: Detail = "all") -> GpuReading:
        if index not in self._links:  # asked once: 18 questions are too many for every reading
            self.nvlinks(index, refusals)
        ask = Questions(self._asker, index, refusals)
        return nvml_load.reading(ask, index, detail=detail, links=self._links[index])

    def events(self, clock: Callable[[], float]) -> Events:
        return nvml_load.Events(self._asker, self.count(), clock)

    def close(self) -> None:
        self._asker.forget()
        self._asker.ask(self._nvml.nvmlShutdown)

    def _text(self, index: int, name: str) -> str | None:
        found = self._asker.of(index, name)
        return None if found is None else str(found)

    def _count(self, index: int, name: str, *arguments: object) -> int | None:
        found = self._asker.of(index, name, *arguments)
        return None if found is None else int(found)


def _why_closed(module: Any, error: Any) -> str:
    reasons = {
        module.NVML_ERROR_LIBRARY_NOT_FOUND: "libnvidia-ml.so.1 not found: no NVIDIA driver is installed",
        module.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is installed but its kernel module is not loaded",
        module.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
            "the NVIDIA library and the loaded kernel module differ in version; reboot after a driver update"
        ),
        module.NVML_ERROR_NO_PERMISSION: "no permission to talk to the NVIDIA driver (/dev/nvidiactl)",
    }
    return reasons.get(error.value, f"NVML could not start: {error}")


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else float(value) * factor
