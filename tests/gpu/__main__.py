"""Our figures beside what torch alone gives on the same GPU, turn by turn: `make gpu-bench`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import median

from kernels.benches import hostlink, matmul, memory
from kernels.cuda import device as gpus
from kernels.device import Device, timer_for
from kernels.spec import Case, Setting, Step, UnsupportedError
from kernels.timing import EFFORT, measure

ROUNDS = 3
STEP_S = 4.0
CALLS = 10


def torch_product(kind: str) -> tuple[Callable[[], object], float]:
    """torch's product of 8192 squared, and its operations."""
    import torch

    side = 8192
    left, right = (torch.randn(side, side, device="cuda").to(getattr(torch, kind)) for _ in range(2))
    out = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=out), 2.0 * side**3


def torch_copy() -> tuple[Callable[[], object], float]:
    """torch's copy of a GiB, read and written."""
    import torch

    source = torch.randn(1 << 28, device="cuda")
    target = torch.empty_like(source)
    return lambda: target.copy_(source), 2.0 * 4 * source.numel()


def torch_upload() -> tuple[Callable[[], object], float]:
    """torch's copy of 512 MiB from pinned memory."""
    import torch

    source = torch.randn(1 << 27).pin_memory()
    target = torch.empty(1 << 27, device="cuda")
    return lambda: target.copy_(source, non_blocking=True), 4.0 * source.numel()


#: our key -> the step that gives it, torch's own way
PAIRS: dict[str, tuple[Callable[[Setting], object], Callable[[], tuple[Callable[[], object], float]]]] = {
    "matmul.bf16": (matmul.on_cuda, lambda: torch_product("bfloat16")),
    "matmul.fp16": (matmul.on_cuda, lambda: torch_product("float16")),
    "memory.copy": (memory.on_cuda, torch_copy),
    "hostlink.h2d": (hostlink.on_cuda, torch_upload),
}


def torch_rate(call: Callable[[], object], work: float) -> float:
    """By torch's own events: the median of five batches."""
    import torch

    call()
    seconds = []
    for _ in range(5):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(CALLS):
            call()
        end.record()
        end.synchronize()
        seconds.append(start.elapsed_time(end) * 1e-3 / CALLS)
    return float(work / median(seconds))


def ours(device: Device, key: str, steps: Callable[[Setting], object]) -> float:
    """Our figure, as a run would measure it."""
    setting = Setting(device=device, profile="standard", budget_s=3 * STEP_S, seed=1, only=frozenset({key}))
    step: Step = next(iter(steps(setting)))  # type: ignore[call-overload]
    if not isinstance(step, Case):
        raise UnsupportedError(f"{key}: {step}")
    return measure(step, timer_for(device), EFFORT["cuda"], STEP_S)[0].summary.value


def main() -> int:
    """Print a table; 3 where there is no GPU."""
    try:
        device = gpus.find()[0]
    except UnsupportedError as error:
        sys.stderr.write(f"gpu-bench: {error}\n")
        return 3
    sys.stdout.write(f"{device.name}, capability {device.capability}, {device.sms} SMs\n")
    sys.stdout.write(f"{'figure':16} {'ours':>12} {'torch':>12} {'ratio':>7}\n")
    for key, (steps, other) in PAIRS.items():
        found, theirs = [], []
        for _ in range(ROUNDS):
            found.append(ours(device, key, steps))
            theirs.append(torch_rate(*other()))
        ratio = median(mine / its for mine, its in zip(found, theirs, strict=True))
        sys.stdout.write(f"{key:16} {median(found):12.5g} {median(theirs):12.5g} {ratio:7.3f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
