"""NCCL's all-reduce called directly, a process per GPU, in the manner of nccl-tests; prints one line of JSON.

`python -m tests.gpu.peers.allreduce BYTES [GPUS]`. As NVIDIA/nccl-tests does (src/common.cu; its options -n 20, -w 5 as
they long were, and -c 1): warm-up calls, a barrier, twenty calls queued one behind the other and waited for together,
the mean of them; out of place here means in place, as torch has no other. Its bus bandwidth is size / time times
2 (n - 1) / n (doc/PERFORMANCE.md). Of the ranks the slowest counts. What came out is compared, every element.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CALLS, WARM, SAMPLES = 20, 5, 5
PATIENCE_S = 120.0
WORDS = "from tests.gpu.peers import allreduce; allreduce.rank({}, {!r})"


def main(argv: list[str]) -> int:
    """Start the ranks and pass on what the first of them says."""
    size_bytes = int(argv[0])
    ranks = int(argv[1]) if len(argv) > 1 else _gpus()
    if ranks < 2:
        sys.stderr.write(f"an all-reduce needs two GPUs, found {ranks}\n")
        return 3
    with tempfile.TemporaryDirectory() as folder:
        plan = {"ranks": ranks, "bytes": size_bytes, "store": str(Path(folder) / "store"), "backend": "nccl"}
        return together([[sys.executable, "-c", WORDS.format(number, json.dumps(plan))] for number in range(ranks)])


def _gpus() -> int:
    import torch

    return int(torch.cuda.device_count())


def together(commands: Sequence[Sequence[str]]) -> int:
    """Run the ranks at once; what the first says on stdout; 3 when one failed or none answered."""
    ranks = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    try:
        said = [process.communicate(timeout=PATIENCE_S)[0] for process in ranks]
    except subprocess.TimeoutExpired:
        sys.stderr.write(f"the ranks gave no answer within {PATIENCE_S:.0f} s\n")
        return 3
    finally:
        for process in ranks:
            process.kill()
            process.communicate()  # reaps it and closes its pipe
    sys.stdout.write(said[0])
    return 3 if any(process.returncode for process in ranks) else 0


def rank(number: int, text: str) -> None:
    """One rank; the first prints bytes per second on the bus."""
    import torch
    import torch.distributed as dist

    plan = json.loads(text)
    ranks, on_gpu = plan["ranks"], plan["backend"] == "nccl"
    device = torch.device("cuda", number) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    store = dist.FileStore(plan["store"], ranks)
    dist.init_process_group(plan["backend"], store=store, rank=number, world_size=ranks)
    wait = torch.cuda.synchronize if on_gpu else (lambda: None)
    elements = max(1, plan["bytes"] // 4)
    data = torch.zeros(elements, dtype=torch.float32, device=device)
    for _ in range(WARM):
        dist.all_reduce(data)
    seconds = [_slowest(_sample(data, wait), device) for _ in range(SAMPLES)]
    wrong = _wrong(data, number, ranks)
    middle = sorted(seconds)[len(seconds) // 2]
    bus = 4 * elements * 2 * (ranks - 1) / ranks
    if number == 0:
        answer = {"word": "allreduce", "value": bus / middle, "best": bus / min(seconds), "ranks": ranks,
                  "bytes": 4 * elements, "samples": len(seconds), "wrong": wrong}  # fmt: skip
        sys.stdout.write(json.dumps(answer) + "\n")
    dist.destroy_process_group()


def _sample(data: Any, wait: Any) -> float:
    """Seconds per call, by this rank's clock."""
    import torch.distributed as dist

    wait()
    dist.barrier()
    wait()
    start = time.perf_counter()
    for _ in range(CALLS):
        dist.all_reduce(data)
    wait()
    return (time.perf_counter() - start) / CALLS


def _slowest(seconds: float, device: Any) -> float:
    import torch
    import torch.distributed as dist

    worst = torch.tensor([seconds], dtype=torch.float64, device=device)
    dist.all_reduce(worst, op=dist.ReduceOp.MAX)
    return float(worst.item())


def _wrong(data: Any, number: int, ranks: int) -> int:
    """Elements that are not the sum of what the ranks put in: small integers, whose sums are exact."""
    import torch
    import torch.distributed as dist

    places = torch.arange(data.numel(), device=data.device) % 1021
    data.copy_(places + number)
    dist.all_reduce(data)
    differing = (data != (ranks * places + ranks * (ranks - 1) // 2)).sum()
    dist.all_reduce(differing)
    return int(differing.item())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
