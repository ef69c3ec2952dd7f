"""What is to be reached, as data: ratios within one run, and on known parts the rates themselves."""

from __future__ import annotations

from tests.gpu.bench.rows import BEST, Goal

TORCH_PRODUCT = {"matmul.bf16": Goal(low=1.0)}
SEARCH = Goal(low=0.97)
MEMORY = {"memory.copy": {BEST: Goal(low=0.99)}, "memory.triad": {BEST: Goal(low=0.99)}}
LINK = Goal(low=0.99, high=1.01)
LATENCY = Goal(low=0.95, high=1.05)
#: seconds until there is a first figure, the choice of the shape included
SECONDS = {"matmul.bf16": 20.0}
#: by the GPU's own name: figures that such a part gives (the SXM5 board of 80 GB)
RATES = {"NVIDIA H100 80GB HBM3": {"matmul.bf16": 770e12, "matmul.fp8": 1350e12}}
#: coefficient of variation over the runs
VARIATION = {
    "matmul.bf16": 0.003,
    "matmul.fp16": 0.003,
    "memory.triad": 0.002,
    "memory.copy": 0.002,
    "hostlink.h2d": 0.002,
    "hostlink.d2h": 0.002,
}
#: seconds of a whole profile, and how far a run may ever exceed its budget
PROFILES = {"quick": 45.0, "standard": 300.0}
OVERRUN = 1.05
