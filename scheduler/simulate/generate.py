"""A made-up workload with the proportions of openb's default one, of any size: for tests and for machines without it.

The proportions are those of Alibaba's GPU cluster trace v2023, rounded: kinds of nodes, what jobs ask of a GPU, and the
CPUs and memory that go with it. How long jobs last is lognormal with the trace's median (540 s) and 90th percentile.
"""

from __future__ import annotations

import random

from scheduler.simulate.trace import TraceNode, TracePod

#: part of the nodes in thousandths, model, GPUs, CPUs in thousandths, memory in MiB
_NODES = (
    (452, "G2", 8, 96_000, 393_216),
    (319, "T4", 2, 104_000, 524_288),
    (88, "P100", 2, 16_000, 122_880),
    (32, "G3", 8, 128_000, 786_432),
    (23, "V100M16", 4, 32_000, 131_072),
    (18, "P100", 2, 64_000, 262_144),
    (17, "V100M32", 8, 96_000, 786_432),
    (16, "V100M16", 1, 8_000, 32_768),
    (14, "T4", 4, 96_000, 393_216),
    (7, "V100M32", 4, 48_000, 376_832),
)
#: part of the jobs in thousandths, GPUs, thousandths of each, CPUs in thousandths, memory in MiB
_PODS = (
    (270, 1, 1000, 11_300, 49_152),
    (130, 1, 1000, 3_152, 5_600),
    (80, 1, 1000, 18_708, 64_512),
    (57, 0, 0, 12_500, 57_344),
    (50, 0, 0, 32_000, 49_152),
    (26, 0, 0, 8_000, 30_517),
    (132, 1, 810, 3_152, 5_600),
    (48, 1, 470, 11_908, 47_104),
    (44, 1, 470, 8_000, 30_517),
    (31, 1, 650, 11_908, 47_104),
    (40, 1, 320, 4_000, 22_888),
    (17, 1, 230, 4_000, 30_517),
    (16, 1, 460, 6_000, 12_288),
    (18, 1, 590, 6_000, 18_432),
    (17, 1, 220, 4_000, 15_258),
    (9, 1, 160, 4_000, 15_258),
    (6, 1, 110, 1_000, 2_048),
    (5, 8, 1000, 88_000, 262_144),
    (2, 2, 1000, 22_000, 98_304),
    (2, 4, 1000, 44_000, 131_072),
)
_MEDIAN_S, _SIGMA = 540.0, 1.95


def nodes(count: int, draw: random.Random) -> tuple[TraceNode, ...]:
    """`count` nodes, by name; there is at least one with GPUs, as there are no others."""
    rows = draw.choices(_NODES, [part for part, *_ in _NODES], k=count)
    return tuple(
        TraceNode(name=f"node-{place:06d}", model=model, gpus=gpus, cpu_milli=cpu, memory_mib=memory)
        for place, (_, model, gpus, cpu, memory) in enumerate(rows)
    )


def pods(for_nodes: tuple[TraceNode, ...], draw: random.Random, *, insisting: float = 0.0) -> tuple[TracePod, ...]:
    """Jobs, by name, that ask for all the GPUs of the nodes once.

    Args:
        insisting: part of the jobs with GPUs that will run on one model only, one that has as many.
    """
    whole_milli = 1000 * sum(node.gpus for node in for_nodes)
    most = {
        model: max(node.gpus for node in for_nodes if node.model == model) for model in {n.model for n in for_nodes}
    }
    found: list[TracePod] = []
    asked_milli = 0
    while asked_milli < whole_milli:
        ((_, gpus, each, cpu, memory),) = draw.choices(_PODS, [part for part, *_ in _PODS])
        able = sorted(model for model, has in most.items() if has >= gpus)
        insists = gpus and able and draw.random() < insisting
        found.append(
            TracePod(
                name=f"pod-{len(found):07d}",
                gpus=gpus,
                each_milli=each,
                cpu_milli=cpu,
                memory_mib=memory,
                models=(draw.choice(able),) if insists else (),
                lasts_s=max(1, round(draw.lognormvariate(0, _SIGMA) * _MEDIAN_S)),
            )
        )
        asked_milli += found[-1].gpu_milli
    return tuple(found)
