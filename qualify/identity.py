"""Who the node is: an id that stays the same over reboots and says nothing of what it was made from."""

from __future__ import annotations

import hashlib
import hmac
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from qualify import nvml, virtual
from qualify.files import Files
from qualify.nvml import Nvml, NvmlError
from qualify.virtual import DMI

ID_LENGTH = 32  #: hexadecimal digits
APPLICATION = b"gridmark node 1"

# boards whose maker never set a serial number all carry the same one
PLACEHOLDERS = frozenset({"03000200-0400-0500-0006-000700080009", "12345678-1234-5678-90ab-cddeefaabbcc"})


@dataclass(frozen=True, slots=True)
class Identity:
    """An id and what is doubtful about it."""

    id: str
    problem: str | None = None


def node_id(*, root: Path = Path("/"), open_nvml: Callable[[], Nvml] = nvml.open_nvml) -> str:
    """The id that a probe of this machine would give its node."""
    files = Files(root)
    try:
        library = open_nvml()
    except NvmlError:
        uuids: list[str] = []
    else:
        found, _ = nvml.gpus(library)
        library.close()
        uuids = [gpu.uuid for gpu in found if gpu.uuid]
    contained = virtual.container(files) not in (None, "none")
    return identify(files, hostname=platform.node(), contained=contained, gpu_uuids=uuids).id


def identify(files: Files, *, hostname: str, contained: bool, gpu_uuids: Iterable[str] = ()) -> Identity:
    """A keyed hash of the machine's id and of its GPUs' own ids.

    machine-id(5) asks not to be shown; as the key of the hash it cannot be worked back from the result. In a
    container the file belongs to the image, so the firmware's id comes first there.

    Args:
        contained: whether we sit in a container.
    """
    machine, firmware = _machine_id(files), _firmware_id(files)
    parts = sorted(gpu_uuids)
    if contained and firmware is None and machine is not None:
        return Identity(
            _digest(machine, parts),
            "The node's id comes from the machine id of the container's image, which other nodes may share.",
        )
    known = (firmware or machine) if contained else (machine or firmware)
    if known is not None:
        return Identity(_digest(known, parts))
    return _makeshift(files, hostname, parts)


def _makeshift(files: Files, hostname: str, parts: list[str]) -> Identity:
    why = "There is no machine id (/etc/machine-id) and no readable firmware id, so the node's id comes from "
    if parts:
        return Identity(_digest("gpus", parts), why + "its GPUs alone.")
    addresses = _hardware_addresses(files)
    if addresses:
        return Identity(_digest(" ".join((hostname, *addresses)), []), why + "its host name and network addresses.")
    boot = files.text("/proc/sys/kernel/random/boot_id") or ""
    return Identity(_digest(f"{hostname} {boot}", []), why + "its host name and this boot: it will change.")


def _digest(key: str, parts: list[str]) -> str:
    message = b"\0".join((APPLICATION, *(part.encode() for part in parts)))
    return hmac.new(key.encode(), message, hashlib.sha256).hexdigest()[:ID_LENGTH]


def _machine_id(files: Files) -> str | None:
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        text = (files.text(path) or "").lower()
        # 32 hexadecimal digits, but "uninitialized" in an image that has not booted yet
        if len(text) == 32 and set(text) <= set("0123456789abcdef") and len(set(text)) > 1:
            return text
    return None


def _firmware_id(files: Files) -> str | None:
    """The firmware's UUID, readable by root; None when it is a placeholder."""
    text = (files.text(f"{DMI}/product_uuid") or "").lower()
    digits = text.replace("-", "")
    if len(digits) != 32 or len(set(digits)) == 1 or text in PLACEHOLDERS:
        return None
    return text


def _hardware_addresses(files: Files) -> tuple[str, ...]:
    """The permanent addresses of the network interfaces (addr_assign_type 0: not made up at boot)."""
    folder = "/sys/class/net"
    kept = []
    for name in files.names(folder):
        address = files.text(f"{folder}/{name}/address")
        if address and files.number(f"{folder}/{name}/addr_assign_type") == 0 and address.strip("0:"):
            kept.append(address)
    return tuple(kept)
