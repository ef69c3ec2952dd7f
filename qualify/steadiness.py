"""How steady each kind of figure is from one run to the next, and so how small a loss of it can be told from chance."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qualify.records import Node
from qualify.reference import is_virtual

#: figures of a CPU made of instructions in a core and nothing outside it: work per cycle is theirs, boost is not
PER_CLOCK = ("matmul.", "launch.", "memlatency.l1", "memlatency.l2")
#: smallest drop that is a finding. A core's work per cycle repeats within 1 %: with 2.6 of these, three attempts and
#: five earlier runs a false alarm comes once in 2500 runs, and a loss of 5 % is found in 995 of 1000 (simulated in the
#: tests). Memory, disk and network drift with the rest of the machine
LEAST_DROP_PER_CLOCK, LEAST_DROP = 0.026, 0.05
#: and of what a virtual machine shares with tenants it cannot see, who take and give back that much within minutes
LEAST_DROP_SHARED = 0.30
#: the spread to expect of a steady figure
PRIOR_PER_CLOCK, PRIOR = 0.01, 0.015


@dataclass(frozen=True, slots=True, kw_only=True)
class Steadiness:
    """How a figure is compared with its past."""

    per_clock: bool  #: per cycle of the clock observed beside it
    drop: float  #: smallest relative loss that is a finding
    prior: float  #: relative spread between two runs to expect of a steady one
    by_best: bool = False  #: by its best sample, for whatever shares the core only slows it down now and then
    one_outlier: bool = False  #: it is so steady that one odd figure of five was an accident, not its nature
    most: float = math.inf  #: a larger loss is a finding however restless the past was


#: a GPU is nobody else's while it is measured. At a power limit its clock wanders by a percent over days and the
#: products with it, so they are compared per cycle, and besides as they are: a clock that is lost is lost speed.
#: These are the figures that tests/bench/decisions.py simulates
GPU_PER_CLOCK = Steadiness(per_clock=True, drop=0.02, prior=0.005, one_outlier=True, most=0.08)
GPU_PRODUCT = Steadiness(per_clock=False, drop=0.05, prior=0.012, one_outlier=True, most=0.08)
#: repeat within 0.2 % and drift by half a percent over days: their clocks are fixed
GPU_MEMORY = Steadiness(per_clock=False, drop=0.025, prior=0.006, one_outlier=True, most=0.08)
GPU_OTHER = Steadiness(per_clock=False, drop=0.05, prior=0.012, one_outlier=True)
#: made of the driver's and the processor's work
GPU_LAUNCH = Steadiness(per_clock=False, drop=0.15, prior=0.03, one_outlier=True)
GPU_LAUNCH_TAIL = Steadiness(per_clock=False, drop=0.30, prior=0.06)
GPU_OF_CLASS = {
    "matmul": (GPU_PER_CLOCK, GPU_PRODUCT),
    "memory": (GPU_MEMORY,),
    "hostlink": (GPU_MEMORY,),
    "peerlink": (GPU_MEMORY,),
    "memlatency": (GPU_OTHER,),
    "allreduce": (GPU_OTHER,),
    "stress": (GPU_OTHER,),
    "launch": (GPU_LAUNCH,),
}
#: half of it is a memory copy by the processor, which other tenants may share
PAGEABLE = "_pageable"


def of(node: Node, key: str) -> tuple[Steadiness, ...]:
    """How the figure is compared, the finest comparison first; one that needs a clock says nothing without it."""
    bench = key.partition(".")[0]
    if node.device_kind == "cuda" and bench in GPU_OF_CLASS and not key.endswith(PAGEABLE):
        return (GPU_LAUNCH_TAIL,) if key.endswith("_p99") else GPU_OF_CLASS[bench]
    if node.device_kind == "cpu" and is_per_clock(key):
        return (Steadiness(per_clock=True, drop=LEAST_DROP_PER_CLOCK, prior=PRIOR_PER_CLOCK, by_best=True),)
    drop = LEAST_DROP_SHARED if is_virtual(node) else LEAST_DROP
    return (Steadiness(per_clock=False, drop=drop, prior=PRIOR),)


def is_per_clock(key: str) -> bool:
    """Whether a CPU's figure is compared per cycle; a tail is made of interruptions, not of cycles."""
    return key.startswith(PER_CLOCK) and not key.endswith("_p99")
