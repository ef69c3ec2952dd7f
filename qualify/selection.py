"""Which device is measured: what `--device` may say, the GPUs it names, and how nobody sees any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kernels import device as devices
from kernels.device import Device
from kernels.spec import UnsupportedError
from qualify.records import Gpu, Node

VISIBLE = "CUDA_VISIBLE_DEVICES"


class SelectionError(ValueError):
    """GPUs were named that are not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is measured."""

    device: Device  #: as the benchmarks will see it
    gpus: tuple[Device, ...] = ()  #: those that were named, as CUDA numbers them here; empty = all there are
    environment: Mapping[str, str] = field(default_factory=dict)  #: by which a benchmark's process sees no other GPU


def choose(
    wanted: str,
    environment: Mapping[str, str],
    *,
    pick: Callable[[str], Sequence[Device]] | None = None,
    find: Callable[[], Sequence[Device]] | None = None,
) -> Selection:
    """The device that `wanted` names.

    GPUs named by number are all that the benchmarks and the report see: the first is measured by itself, all of them
    together where a benchmark is about several. `cuda` without a number measures the first one of all.

    Args:
        environment: this process's, whose CUDA_VISIBLE_DEVICES decides what the numbers mean.
        pick: finds a device by its kind; the machine's own if None.
        find: every GPU that CUDA shows; the machine's own if None.

    Raises:
        SelectionError: there is no GPU of that number, or one is named twice.
        UnsupportedError: a GPU is wanted and none can be used.
    """
    kind, _, numbers = wanted.partition(":")
    if not numbers:
        (device,) = (pick or devices.pick)(kind)
        return Selection(device=device)
    found, indices = tuple((find or _gpus)()), [int(number) for number in numbers.split(",")]
    unknown = [index for index in indices if index >= len(found)]
    if unknown:
        known = ", ".join(f"{gpu.index} ({gpu.name}{_at(gpu)})" for gpu in found)
        raise SelectionError(f"--device {wanted}: there is no GPU {unknown[0]}; CUDA shows {known}")
    if len(set(indices)) < len(indices):
        raise SelectionError(f"--device {wanted} names a GPU twice")
    named = tuple(found[index] for index in indices)
    return Selection(
        device=replace(named[0], index=0), gpus=named, environment={VISIBLE: narrowed(environment, indices)}
    )


def _gpus() -> Sequence[Device]:
    from kernels.cuda import device as gpus

    return gpus.find()


def _at(gpu: Device) -> str:
    return f" at {gpu.pci_address}" if gpu.pci_address else ""


def narrowed(environment: Mapping[str, str], indices: Sequence[int]) -> str:
    """CUDA_VISIBLE_DEVICES for a child that is to see these of the GPUs that this process sees."""
    shown = environment.get(VISIBLE)
    if shown is None:
        return ",".join(map(str, indices))
    names = [name.strip() for name in shown.split(",")]
    return ",".join(names[index] for index in indices)


def narrow(node: Node, gpus: Sequence[Device]) -> Node:
    """The node with none but these GPUs; as it is when none were named.

    They are told apart by their PCI addresses; where the driver's library does not tell those, by their numbers.

    Raises:
        UnsupportedError: the driver's library does not know one of them.
    """
    if not gpus:
        return node
    chosen = [_same(gpu, node.gpus) for gpu in gpus]
    missing = next((gpu for gpu, one in zip(gpus, chosen, strict=True) if one is None), None)
    if missing is not None:
        raise UnsupportedError(
            f"GPU {missing.index} ({missing.name}{_at(missing)}) is not among the {len(node.gpus)} GPUs that NVML "
            f"shows{f': {node.gpu_reason}' if node.gpu_reason else ''}; measure without a number"
        )
    return replace(node, gpus=tuple(one for one in chosen if one is not None))


def _same(gpu: Device, shown: Sequence[Gpu]) -> Gpu | None:
    addressed = gpu.pci_address is not None and any(one.pci_address for one in shown)
    if addressed:
        return next((one for one in shown if one.pci_address == gpu.pci_address), None)
    return next((one for one in shown if one.index == gpu.index), None)
