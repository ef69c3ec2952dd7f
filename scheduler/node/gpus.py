"""The NVIDIA GPUs of a node as its driver lists them: which device file and which name belong to which number."""

from __future__ import annotations

from dataclasses import dataclass

from qualify.files import Files, number, pairs

FOLDER = "/proc/driver/nvidia/gpus"
#: device files that every user of a GPU needs, whichever GPU it is
SHARED = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset", "nvidia-caps")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU; its number is its place in the list."""

    uuid: str
    device: str  #: "/dev/nvidia3": the number in it need not be the GPU's


def find(files: Files) -> tuple[Gpu, ...]:
    """In the order of their PCI addresses, as NVML numbers them."""
    found = []
    for address in files.names(FOLDER):
        facts = pairs(files.lines(f"{FOLDER}/{address}/information"), ":")
        minor, uuid = number(facts.get("Device Minor")), facts.get("GPU UUID")
        if minor is not None and uuid:
            found.append(Gpu(uuid=uuid, device=f"/dev/nvidia{minor}"))
    return tuple(found)
