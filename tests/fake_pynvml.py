"""pynvml over scripted GPUs: what a script does not say is "not supported", as the library answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pynvml

PREFIX = "nvmlDeviceGet"

#: a data-centre GPU at rest, in the units of the library (mW, MHz, bytes)
H100: Mapping[str, Any] = {
    "Name": "NVIDIA H100 80GB HBM3",
    "UUID": "GPU-11111111-2222-3333-4444-555555555555",
    "MemoryInfo": SimpleNamespace(total=85_520_809_984, used=4_587_520),
    "EccMode": [1, 1],
    "TotalEccErrors": 0,
    "EnforcedPowerLimit": 700_000,
    "PowerManagementDefaultLimit": 700_000,
    "TemperatureV": 31,
    "MaxClockInfo": 1980,
    "MaxPcieLinkGeneration": 5,
    "CurrPcieLinkWidth": 16,
    "MigMode": [0, 0],
    "ComputeRunningProcesses": [],
}
#: a consumer GPU: no ECC, no MIG, no default limit to read
RTX_4090: Mapping[str, Any] = {
    "Name": "NVIDIA GeForce RTX 4090",
    "UUID": "GPU-66666666-7777-8888-9999-000000000000",
    "MemoryInfo": SimpleNamespace(total=25_757_220_864, used=500_000_000),
    "EnforcedPowerLimit": 450_000,
    "TemperatureV": 45,
    "MaxClockInfo": 3105,
    "MaxPcieLinkGeneration": 4,
    "CurrPcieLinkWidth": 8,
    "ComputeRunningProcesses": [SimpleNamespace(pid=7), SimpleNamespace(pid=8)],
}


def error(code: int) -> Exception:
    """The library's own exception for a code."""
    made: Exception = pynvml.NVMLError(code)
    return made


class By:
    """An answer that depends on the arguments of the question; "*" is for all others; without it they fail."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = answers

    def of(self, arguments: tuple[object, ...]) -> Any:
        """The answer to arguments like (1, 0), kept under "1,0"."""
        key = ",".join(str(argument).strip("[]") for argument in arguments)
        return self._answers.get(key, self._answers.get("*", error(pynvml.NVML_ERROR_NOT_SUPPORTED)))


class FakePynvml:
    """Constants and exceptions are pynvml's own; a question it does not know fails here as it would there.

    Args:
        devices: for each GPU, what follows "nvmlDeviceGet" -> the answer, a `By` of arguments, or an exception to
            raise. The list may be replaced while the library is open: that is how time passes.
        closed: why the library cannot be opened.
        events: (device, kind of event, its data) or an exception, in the order announced; then nothing comes in time.
    """

    def __init__(
        self,
        devices: Sequence[Mapping[str, Any]] = (),
        *,
        closed: Exception | None = None,
        events: Sequence[tuple[int, int, int] | Exception] = (),
        driver: str = "570.86.10",
        cuda: int = 12080,
    ) -> None:
        self.devices, self._closed = devices, closed
        self.is_open = False
        self._events, self._driver, self._cuda = list(events), driver, cuda
        self.registered: dict[int, int] = {}  #: device -> kinds of events

    def nvmlInit(self) -> None:  # noqa: N802
        if self._closed is not None:
            raise self._closed
        self.is_open = True

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.is_open = False

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return self._driver

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:  # noqa: N802
        return self._cuda

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetIndex(self, handle: int) -> int:  # noqa: N802
        return handle

    def nvmlEventSetCreate(self) -> object:  # noqa: N802
        return self.registered

    def nvmlEventSetFree(self, _: object) -> None:  # noqa: N802
        self.registered.clear()

    def nvmlDeviceRegisterEvents(self, handle: int, kinds: int, _: object) -> None:  # noqa: N802
        self.registered[handle] = kinds

    def nvmlEventSetWait_v2(self, _: object, timeout_ms: int) -> Any:  # noqa: N802
        if not self._events:
            raise error(pynvml.NVML_ERROR_TIMEOUT)
        event = self._events.pop(0)
        if isinstance(event, Exception):
            raise event
        device, kind, data = event
        return SimpleNamespace(device=device, eventType=kind, eventData=data)

    def __getattr__(self, name: str) -> Any:
        real = getattr(pynvml, name)
        return self._question(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else real

    def _question(self, what: str) -> Callable[..., Any]:
        def ask(handle: int, *arguments: object) -> Any:
            answer = self.devices[handle].get(what, error(pynvml.NVML_ERROR_NOT_SUPPORTED))
            if isinstance(answer, By):
                answer = answer.of(arguments)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return ask
