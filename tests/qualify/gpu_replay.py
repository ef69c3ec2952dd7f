"""Plays a made sequence of NVML answers through the fake library, the real reader and the sampler's records.

A trace names a board of skus.json and what differs from it: `probe` before the run, `load` while it is measured, `last`
in its last reading, `after` at its end; each for the GPUs in `on` (all of them when absent). Answers are in the
library's own units. {"by": …} depends on the arguments of a question, {"error": …} is refused, {"fields": …} has them
by name, {"field": n} is the answer to a field's value, {"repeat": n} a list of n entries.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml

from qualify import nvml
from qualify.gates import Evidence
from qualify.gpu_records import GpuEvent
from qualify.nvml import Library, NvmlError
from qualify.records import Claim, Measurement, Telemetry
from tests.fake_pynvml import By, FakePynvml, error
from tests.qualify import traces
from tests.qualify.traces import REFERENCE

FOLDER = Path(__file__).parent / "gpu_traces"
SKUS: Mapping[str, Any] = json.loads((FOLDER / "skus.json").read_text())
WINDOW_S, WINDOWS = 0.25, 24
UNITS = {"matmul": "FLOP/s", "memory": "B/s", "memlatency": "s"}

Trace = Mapping[str, Any]


def load(name: str) -> tuple[Trace, ...]:
    """The traces of a file, one a line."""
    return tuple(json.loads(line) for line in (FOLDER / name).read_text().splitlines())


FAULTY, HEALTHY = load("faulty.jsonl"), load("healthy.jsonl")


def evidence(trace: Trace) -> Evidence:
    """What a run on that machine would have found."""
    module = FakePynvml(
        _devices(trace, "probe"),
        events=[_event(event) for event in trace.get("events", ())],
        driver=trace.get("driver", "580.95.05"),
        cuda=trace.get("cuda", 13000),
    )
    library = Library(module)
    before, problems = nvml.gpus(library)
    events = library.events(lambda: 3.0)
    heard: list[GpuEvent] = []
    telemetry = []
    for place in range(WINDOWS):
        module.devices = _devices(trace, "probe", "load", *(("last",) if place == WINDOWS - 1 else ()))
        telemetry.append(_reading(library, len(before), place))
        while (event := events.next(0.0)) is not None:
            heard.append(event)
    module.devices = _devices(trace, "probe", "after")
    after, _ = nvml.gpus(library)
    healthy = traces.node()
    return Evidence(
        node=dataclasses.replace(
            healthy,
            device_kind="cuda",
            gpus=before,
            problems=problems,
            versions={
                **healthy.versions,
                "torch": "2.8.0+cu128",
                "driver": library.driver_version(),
                "cuda": library.cuda_version(),
                **trace.get("versions", {}),
            },
        ),
        measurements=_measurements(trace),
        telemetry=tuple(telemetry),
        gpus_after=after,
        gpu_events=tuple(heard),
        claim=Claim(**trace["claim"]) if "claim" in trace else None,
        profile="standard",
        reference=REFERENCE,
    )


def _reading(library: Library, count: int, place: int) -> Telemetry:
    refusals: list[NvmlError] = []
    gpus = tuple(library.reading(index, refusals) for index in range(count))
    return Telemetry(at_s=place * WINDOW_S, running="matmul", gpus=gpus)


def _measurements(trace: Trace) -> dict[str, Measurement]:
    """Three attempts that agree on each figure of the board or of the trace."""
    figures = {**SKUS[trace["sku"]]["figures"], **trace.get("figures", {})}
    context = {**SKUS[trace["sku"]]["context"], **trace.get("context", {})}
    found = {}
    for key, value in figures.items():
        if value is None:
            continue
        if isinstance(value, str):
            found[key] = traces.failed(key, value, "element 7 differs")
            continue
        known = {"clock_hz": context["clock_hz"], **{k: v for k, v in context.items() if k != "clock_hz"}}
        once = traces.measured(key, value, unit=UNITS[key.partition(".")[0]], context=known)
        found[key] = traces.tried(once, value * 1.001, value * 0.999)
    return found


def _devices(trace: Trace, *phases: str) -> list[Mapping[str, Any]]:
    """Each GPU's answers, a later phase over an earlier one; a changed answer by arguments keeps the others."""
    count = trace.get("gpus", 1)
    devices: list[Mapping[str, Any]] = []
    for index in range(count):
        answers = dict(SKUS[trace["sku"]]["nvml"])
        answers["UUID"] = f"GPU-0000{index}"
        for phase in phases:
            if phase == "load":
                answers |= SKUS[trace["sku"]]["load"]
            if index in trace.get("on", range(count)):
                for what, answer in trace.get(phase, {}).items():
                    answers[what] = _over(answers.get(what), answer)
        devices.append({what: _answer(answer) for what, answer in answers.items()})
    return devices


def _over(before: Any, answer: Any) -> Any:
    both = isinstance(before, dict) and isinstance(answer, dict) and "by" in before and "by" in answer
    return {"by": {**before["by"], **answer["by"]}} if both else answer


def _answer(answer: Any) -> Any:
    if isinstance(answer, dict):
        (kind, content), *_ = answer.items()
        if kind == "by":
            return By({key: _answer(one) for key, one in content.items()})
        if kind == "error":
            return error(getattr(pynvml, f"NVML_ERROR_{content}"))
        if kind == "fields":
            return SimpleNamespace(**content)
        if kind == "field":
            return [SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(uiVal=content))]
        return [SimpleNamespace(pid=4711 + place) for place in range(content)]
    return answer


def _event(event: Any) -> tuple[int, int, int] | Exception:
    return error(getattr(pynvml, f"NVML_ERROR_{event}")) if isinstance(event, str) else tuple(event)
