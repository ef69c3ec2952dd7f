"""Does a GPU that lost speed get found, and a sound one left alone? The decision path alone, some thousand times.

`python -m tests.bench.decisions [--runs N] [--history N] [--seed N] [--json]` draws the figures of a GPU and of its
earlier reports with the noise that `NOISE` tells, and gives them to the code that judges a real run: limits from the
history, what is doubtful is measured again, two attempts of three decide. Nothing is measured and no GPU is wanted.
Exit code 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kernels.device import Device
from kernels.spec import Bench
from qualify import expected_gpu, plan, reference, reference_gpu, run
from qualify.plan import Plan, Slot
from qualify.records import Gpu, Measurement, Node, Report
from qualify.telemetry import Counters, Sampler

GIB = 1 << 30
NAME, MEMORY_BYTES, DRIVER = "NVIDIA H100 80GB HBM3", 81559 << 20, "580.95.05"
CLOCK_HZ = 1.6e9  #: at its power limit
NODES = 0.04  #: between GPUs of one kind, by clock and by work per cycle each: 8 % and less in all (SC22)
#: a figure in so many is disturbed for once and loses some of its speed
OUTLIER, OUTLIER_LEAST, OUTLIER_MOST = 1 / 500, 0.02, 0.20


@dataclass(frozen=True)
class Noise:
    """How a kind of figure scatters, relative standard deviations."""

    repeat: float  #: between attempts minutes apart
    drift: float  #: between days; all figures of the kind and all attempts of one day share it
    clock: bool = False  #: the drift is the clock's, which is read beside the figure


#: what repeats within a day and what drifts within a week, at most, on a steady machine: the goals of `make gpu-bench`
NOISE = {
    "matmul": Noise(0.003, 0.010, clock=True),
    "memory": Noise(0.002, 0.005),
    "hostlink": Noise(0.002, 0.005),
    "memlatency": Noise(0.005, 0.005),
    "launch": Noise(0.030, 0.010),
    "tail": Noise(0.060, 0.010),
}
PRODUCTS = {"bf16": 0.80, "fp16": 0.80, "fp8": 0.72, "int8": 0.72, "tf32": 0.78, "fp32": 0.85, "fp64": 0.90}
LOOPS = ("triad", "copy", "scale", "add", "read", "write")
TIMES = {"memlatency.dram": 6.2e-7, "memlatency.l1": 2e-8, "memlatency.l2": 1.5e-7}
LAUNCHES = {"launch.sync": 7e-6, "launch.sync_p99": 9e-6, "launch.queued": 2.2e-6, "launch.graph": 1.2e-6}
LINKS = {"h2d": 55.4e9, "d2h": 55.0e9, "both": 98e9, "h2d_pageable": 12e9, "d2h_pageable": 11e9}


@dataclass(frozen=True)
class Scenario:
    """One kind of run, many times."""

    name: str
    loss: float  #: of a figure's speed
    keys: tuple[str, ...]  #: one of them is struck in each run; none = a clean run of all figures
    by_clock: bool = False  #: the clock is what is lost
    least: float | None = None  #: part of the runs that must be found
    most: float | None = None  #: part of the runs that may raise anything


@dataclass(frozen=True)
class Outcome:
    """What came of a scenario."""

    name: str
    runs: int
    found: int  #: the figure struck was told, as a warning or a failure; of clean runs, any was
    others: int  #: runs that raised something about another figure
    again: float  #: figures measured again, a run
    goal: str
    reached: bool | None

    @property
    def part(self) -> float:
        return self.found / self.runs


@cache
def healthy() -> Mapping[str, float]:
    """The figures of the sound GPU at its clock."""
    (part,) = [row for row in reference.load().gpus if row.name == NAME]
    products = {
        f"matmul.{dtype}": reached * (reference_gpu.peak(part, dtype, CLOCK_HZ).expected or math.nan)
        for dtype, reached in PRODUCTS.items()
    }
    memory = reference_gpu.peak(part, reference_gpu.MEMORY).expected or math.nan
    return {
        **products,
        **{f"memory.{loop}": 0.9 * memory for loop in LOOPS},
        **{f"hostlink.{way}": speed for way, speed in LINKS.items()},
        **TIMES,
        **LAUNCHES,
    }


def scenarios() -> tuple[Scenario, ...]:
    """What is tried: clean runs, and losses of each kind of figure."""
    struck = [key for key in expected_gpu.QUANTITY_OF if key in healthy()]
    of = {bench: tuple(key for key in struck if key.startswith(f"{bench}.")) for bench in NOISE}
    found = [Scenario("clean", 0.0, (), most=0.001)]
    for bench in ("matmul", "memory", "hostlink"):
        found += [
            Scenario(f"{bench} -3 %", 0.03, of[bench]),
            Scenario(f"{bench} -5 %", 0.05, of[bench], least=0.99),
            Scenario(f"{bench} -10 %", 0.10, of[bench], least=1.0),
        ]
    return (
        *found,
        Scenario("matmul -5 % by its clock", 0.05, of["matmul"], by_clock=True),
        Scenario("matmul -10 % by its clock", 0.10, of["matmul"], by_clock=True, least=1.0),
    )


class Day:
    """One day of one GPU: what all its figures share."""

    def __init__(self, draw: random.Random, level: float, per_cycle: float) -> None:
        self._draw, self._per_cycle = draw, per_cycle
        self._drift = {bench: math.exp(draw.gauss(0, noise.drift)) for bench, noise in NOISE.items()}
        self._clock_hz = CLOCK_HZ * level

    def figure(self, key: str, *, loss: float = 0.0, by_clock: bool = False) -> Measurement:
        """An attempt at the figure, with the clock that was read beside it."""
        bench = "tail" if key.endswith("_p99") else key.partition(".")[0]
        noise, drift = NOISE[bench], self._drift[bench]
        clock_hz = self._clock_hz * (drift if noise.clock else 1.0) * (1 - loss if by_clock else 1.0)
        speed = math.exp(self._draw.gauss(0, noise.repeat)) * (drift if not noise.clock else 1.0)
        if bench == "matmul":
            speed *= self._per_cycle * clock_hz / CLOCK_HZ
        if not by_clock:
            speed *= 1 - loss
        if self._draw.random() < OUTLIER:
            speed *= 1 - self._draw.uniform(OUTLIER_LEAST, OUTLIER_MOST)
        is_time = key in TIMES or key in LAUNCHES
        value = healthy()[key] / speed if is_time else healthy()[key] * speed
        return Measurement(
            key=key,
            unit="s" if is_time else "FLOP/s" if bench == "matmul" else "B/s",
            status="ok",
            value=value,
            ci95=(value * 0.999, value * 1.001),
            n=20,
            converged=True,
            mad=value * noise.repeat / 2,
            context={"clock_hz": clock_hz} if bench == "matmul" else {},
        )


class Drawn(run._Run):
    """A run whose benchmarks draw their figures; everything after them is the run's own."""

    def __init__(self, planned: Plan, request: run.Request, day: Day, scenario: Scenario, struck: str) -> None:
        super().__init__(planned, request, sampler())
        self._day, self._scenario, self._struck, self.attempts = day, scenario, struck, 0

    def _run_slot(self, slot: Slot, seconds: float, planned_s: float) -> dict[str, Measurement]:
        self.attempts += len(slot.keys)
        return {key: self._draw(key) for key in slot.keys}

    def _draw(self, key: str) -> Measurement:
        loss = self._scenario.loss if key == self._struck else 0.0
        return self._day.figure(key, loss=loss, by_clock=self._scenario.by_clock)


@cache
def sampler() -> Sampler:
    return Sampler(Counters)


@cache
def node() -> Node:
    gpu = Gpu(index=0, name=NAME, uuid="GPU-1", memory_bytes=MEMORY_BYTES, sm_clock_max_hz=1.98e9, power_limit_w=700.0)
    return Node(id="n1", hostname="gpu-1", device_kind="cuda", gpus=(gpu,), versions={"driver": DRIVER})


def planned(keys: Sequence[str]) -> Plan:
    """A plan of these figures with time for every attempt."""
    slots = []
    for name in dict.fromkeys(key.partition(".")[0] for key in keys):
        mine = tuple(key for key in keys if key.partition(".")[0] == name)
        bench = Bench(name=name, version=1, title=name, keys={"cuda": mine}, open={})
        slots.append(Slot(bench=bench, keys=mine, seconds=1.0))
    device = Device(kind="cuda", index=0, name=NAME, cpus=(0,), threads=1)
    required = frozenset(keys)
    return plan.Plan(device=device, profile="quick", budget_s=1e6, slots=tuple(slots), waived={}, required=required)


def past(days: Sequence[Day], keys: Sequence[str]) -> tuple[Report, ...]:
    """Earlier reports of the same GPU, a day each."""
    return tuple(_report(place, [day.figure(key) for key in keys]) for place, day in enumerate(days))


def _report(place: int, measurements: Sequence[Measurement]) -> Report:
    return Report(
        id=f"r{place}",
        node=node(),
        measurements=tuple(measurements),
        findings=(),
        score=None,
        verdict="qualified",
        reasons=(),
        profile="quick",
        budget_s=45.0,
        lasted_s=40.0,
        started_unix_s=1.7e9 - 86400.0 * place,
        gridmark_version="0",
    )


def simulate(scenario: Scenario, runs: int, *, history: int, seed: int) -> Outcome:
    """`runs` runs of as many GPUs, each with `history` earlier reports."""
    draw = random.Random(f"{seed} {scenario.name}")
    found = others = again = 0
    for _ in range(runs):
        struck = draw.choice(scenario.keys) if scenario.keys else ""
        keys = (struck,) if struck else tuple(healthy())
        level, per_cycle = math.exp(draw.gauss(0, NODES)), math.exp(draw.gauss(0, NODES))
        days = [Day(draw, level, per_cycle) for _ in range(history + 1)]
        request = dataclasses.replace(_request(), history=past(days[1:], keys), started_s=time.monotonic())
        drawn = Drawn(planned(keys), request, days[0], scenario, struck)
        drawn.measure()
        drawn.confirm()
        told = {f.key for f in drawn.report((), partial=False).findings if f.severity != "info"}
        found += bool(told) if not struck else struck in told
        others += bool(told - {struck}) if struck else 0
        again += drawn.attempts - len(keys)
    part = found / runs
    reached = None
    if scenario.least is not None:
        reached = part >= scenario.least
    elif scenario.most is not None:
        reached = part <= scenario.most
    return Outcome(scenario.name, runs, found, others, again / runs, _goal(scenario), reached)


def _goal(scenario: Scenario) -> str:
    if scenario.least is not None:
        return f">= {scenario.least:.0%}"
    return "-" if scenario.most is None else f"<= {scenario.most:.1%}"


@cache
def _request() -> run.Request:
    return run.Request(
        node=node(),
        started_unix_s=1.7e9,
        started_s=0.0,
        report_id="r",
        version="0",
        reference=reference.load(),
        workdir=Path(),
        seed=1,
        command=(),
        on_event=lambda event: None,
    )


def table(outcomes: Sequence[Outcome]) -> str:
    """For people."""
    lines = [f"{'run':<28}{'runs':>8}{'found':>10}{'goal':>10}{'again/run':>12}"]
    for one in outcomes:
        mark = {True: "", False: "  MISSED", None: ""}[one.reached]
        lines.append(f"{one.name:<28}{one.runs:>8}{one.part:>10.2%}{one.goal:>10}{one.again:>12.3f}{mark}")
    return "\n".join(lines)


def document(outcomes: Sequence[Outcome], arguments: argparse.Namespace) -> dict[str, Any]:
    """For programs."""
    return {
        "history": arguments.history,
        "seed": arguments.seed,
        "noise": {bench: dataclasses.asdict(noise) for bench, noise in NOISE.items()},
        "outlier": {"part": OUTLIER, "least": OUTLIER_LEAST, "most": OUTLIER_MOST},
        "runs": [{**dataclasses.asdict(one), "part": one.part} for one in outcomes],
    }


def main(words: Sequence[str]) -> int:
    """Simulate every scenario and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.decisions", description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000, help="of each kind [10000, some minutes]")
    parser.add_argument("--history", type=int, default=5, help="earlier reports of each GPU [5]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    arguments = parser.parse_args(words)
    if arguments.runs < 1 or arguments.history < 1:
        parser.error("--runs and --history want a number of at least 1")
    outcomes = []
    for scenario in scenarios():
        outcomes.append(simulate(scenario, arguments.runs, history=arguments.history, seed=arguments.seed))
        print(f"{scenario.name}: {outcomes[-1].part:.2%}", file=sys.stderr, flush=True)
    print(json.dumps(document(outcomes, arguments), indent=1) if arguments.json else table(outcomes))
    return 1 if any(one.reached is False for one in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
