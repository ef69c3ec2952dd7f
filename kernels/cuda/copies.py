"""Copies between host and GPU and between GPUs, through torch's streams: buffers, both ways at once, checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernels.spec import WrongResultError

if TYPE_CHECKING:
    import torch

PCI = Path("/sys/bus/pci/devices")
SPREAD = (
    0x9E3779B97F4A7C15 - 2**64
)  # odd: a product by it, modulo 2^64, is another for each place, with all bits in use
MOST_GPUS = 1024
GENERATIONS = {"2.5": 1, "5.0": 2, "8.0": 3, "16.0": 4, "32.0": 5, "64.0": 6}
#: a packet that arrived damaged, one that was not answered in time, one sent again too often
LINK_ERRORS = ("RxErr", "BadTLP", "BadDLLP", "Rollover", "Timeout")


class HostLink:
    """Buffers on both sides of the link, and the copies between them."""

    def __init__(self, device: str, size_bytes: int, *, pinned: bool, seed: int) -> None:
        """Random words on both sides; the targets hold something else. `pinned`: host pages that the device reads."""
        import torch

        self._torch, self.device, self.size_bytes = torch, device, size_bytes
        generator = torch.Generator().manual_seed(seed)
        words = size_bytes // 8
        lowest = torch.iinfo(torch.int64).min
        source = torch.randint(lowest, 2**63 - 1, (words,), generator=generator, dtype=torch.int64)
        self.host_source = source.pin_memory() if pinned else source
        self.host_target = torch.zeros(words, dtype=torch.int64, pin_memory=pinned)
        self.device_source = (source.flip(0)).to(device)
        self.device_target = torch.zeros_like(self.device_source)
        self._wanted_above = source.to(device)
        self._wanted_below = source.flip(0)
        self._streams = [torch.cuda.Stream(device), torch.cuda.Stream(device)] if device != "cpu" else []

    def up(self) -> None:
        """Host to device, queued (pinned) or done (pageable)."""
        self.device_target.copy_(self.host_source, non_blocking=True)

    def down(self) -> None:
        """Device to host, queued (pinned) or done (pageable)."""
        self.host_target.copy_(self.device_source, non_blocking=True)

    def both(self) -> None:
        """Both at once, each in a stream of its own; what is queued later waits for both."""
        if not self._streams:
            self.up()
            self.down()
            return
        current = self._torch.cuda.current_stream(self.device)
        for stream, copy in zip(self._streams, (self.up, self.down), strict=True):
            stream.wait_stream(current)
            with self._torch.cuda.stream(stream):
                copy()
        for stream in self._streams:
            current.wait_stream(stream)

    def wait(self) -> None:
        """Return when all copies are done."""
        if self.device != "cpu":
            self._torch.cuda.synchronize(self.device)

    def check(self, ways: Sequence[str]) -> None:
        """Compare every word of what arrived, then spoil it. `ways`: "up", "down".

        Raises:
            WrongResultError: a word differs.
        """
        self.wait()
        for way in ways:
            above = way == "up"
            target = self.device_target if above else self.host_target
            place = first_difference(target, self._wanted_above if above else self._wanted_below)
            if place is not None:
                direction = "host to device" if above else "device to host"
                raise WrongResultError(f"{direction}: the word at byte {8 * place} of {self.size_bytes} arrived wrong")
            target.zero_()
        self.wait()


def first_difference(found: torch.Tensor, wanted: torch.Tensor) -> int | None:
    """The lowest index at which two flat tensors of one device differ."""
    differs = found != wanted
    return int(differs.int().argmax()) if bool(differs.any()) else None


class Peers:
    """A buffer on each GPU, and copies from one to another."""

    def __init__(self, devices: Sequence[str], size_bytes: int, *, seed: int) -> None:
        """Each GPU's source has words of its own, so that data from the wrong one is seen."""
        import torch

        self._torch, self.devices, self.size_bytes, self._seed = torch, devices, size_bytes, seed
        self.sources = [self._words(number, device) for number, device in enumerate(devices)]
        self.targets = [torch.zeros_like(source) for source in self.sources]
        #: of each GPU, one for either way
        self._streams = [
            (torch.cuda.Stream(device), torch.cuda.Stream(device)) for device in devices if device != "cpu"
        ]

    def copy(self, source: int, target: int) -> None:
        """Queue a copy from one GPU's source to another's target."""
        self.targets[target].copy_(self.sources[source], non_blocking=True)

    def both(self, one: int, other: int) -> None:
        """Queue copies both ways at once; what is queued later on the stream of `one` waits for both.

        torch lets a copy wait for the current streams of both of its ends, so either way has a stream on either GPU.
        """
        if not self._streams:
            self.copy(one, other)
            self.copy(other, one)
            return
        current = self._torch.cuda.current_stream(self.devices[one])
        used: list[torch.cuda.Stream] = []
        for way, (source, target) in enumerate(((one, other), (other, one))):
            ends = self._streams[source][way], self._streams[target][way]
            for stream in ends:
                stream.wait_stream(current)
            with self._torch.cuda.stream(ends[1]), self._torch.cuda.stream(ends[0]):
                self.copy(source, target)
            used += ends
        for stream in used:
            current.wait_stream(stream)

    def check(self, source: int, target: int) -> None:
        """Compare what arrived with what was sent, as the receiving GPU computes it; then spoil it.

        Raises:
            WrongResultError: a word differs.
        """
        place = first_difference(self.targets[target], self._words(source, self.devices[target]))
        if place is not None:
            raise WrongResultError(
                f"GPU {source} to GPU {target}: the word at byte {8 * place} of {self.size_bytes} arrived wrong; "
                "PCIe access control (ACS) or the IOMMU may be in the way: turn them off for these devices"
            )
        self.targets[target].zero_()

    def _words(self, number: int, device: str) -> torch.Tensor:
        """What GPU `number` sends: no word twice, none as another GPU's at the same place, none zero at first."""
        places = self._torch.arange(self.size_bytes // 8, dtype=self._torch.int64, device=device)
        return places * SPREAD + (self._seed * MOST_GPUS + number + 1)


def link_state(address: str | None, pci: Path = PCI) -> dict[str, object]:
    """What a PCI device's link runs at now, and could, and the node it is next to; None where the kernel is silent.

    Idle links slow down: ask while a copy runs.
    """
    names = {
        "link_speed": "current_link_speed",
        "link_width": "current_link_width",
        "link_speed_max": "max_link_speed",
        "link_width_max": "max_link_width",
        "numa_node": "numa_node",  # -1 where there is one only
    }
    found = {name: _attribute(pci / address / file) if address else None for name, file in names.items()}
    return {
        **found,
        "numa_node": found["numa_node"] if isinstance(found["numa_node"], int) else None,
        "link_generation": generation(found["link_speed"]),
        "link_generation_max": generation(found["link_speed_max"]),
    }


def generation(speed: str | int | None) -> int | None:
    """The generation of PCI Express in the kernel's words for its speed: "32.0 GT/s PCIe" is 5."""
    words = str(speed).split()
    return GENERATIONS.get(words[0]) if words[1:2] == ["GT/s"] else None


def link_errors(address: str | None, pci: Path = PCI) -> dict[str, int]:
    """Errors of a link that were mended by sending again, so far, by kind, at both of its ends; empty = not told.

    Source: Linux, Documentation/ABI/testing/sysfs-bus-pci-devices-aer_stats.
    """
    if address is None:
        return {}
    found: dict[str, int] = {}
    device = pci / address
    for end, folder in (("device", device), ("port", device.resolve().parent)):
        lines = str(_attribute(folder / "aer_dev_correctable") or "").splitlines()
        for kind, _, count in (line.rpartition(" ") for line in lines):
            if kind in LINK_ERRORS and count.isdecimal():
                found[f"{end} {kind}"] = int(count)
    return found


def new_errors(before: dict[str, int], after: dict[str, int]) -> dict[str, int] | None:
    """What was added between two readings, zeros included; None where the kernel does not tell."""
    added = {kind: after[kind] - count for kind, count in before.items() if kind in after}
    return added or None


def _attribute(path: Path) -> str | int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else text


def link_under_load(link: HostLink, address: str | None, *, copies: int = 8, pci: Path = PCI) -> dict[str, object]:
    """The link's state while copies are on their way."""
    for _ in range(copies):
        link.up()
    state = link_state(address, pci)
    link.wait()
    return state


def timed(copy: Callable[[], Any], wait: Callable[[], Any], now: Callable[[], float], calls: int) -> float:
    """Seconds of the host for copies that are done when they return (pageable), and whatever was left of them."""
    start = now()
    for _ in range(calls):
        copy()
    wait()
    return now() - start
