"""One qualification from its plan to its report: every benchmark in a child, limits confirmed, nothing lost."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import kernels
from kernels.spec import DeviceKind
from qualify import gates, wire
from qualify.assemble import Collected, interrupted, measurements_of, waived
from qualify.expected_gpu import with_clocks
from qualify.plan import REPEAT_PART, Plan, Slot
from qualify.process import Outcome, run_child
from qualify.records import Claim, Json, Measurement, Node, Report, Score, Telemetry
from qualify.reference import Reference
from qualify.score import score
from qualify.soak import with_soak
from qualify.telemetry import Sampler

#: a child is ended this much after its time, relative and absolute, unless the run's own deadline comes first
GRACE_PART, GRACE_S = 0.2, 1.5
#: a GPU's libraries are gigabytes: where nobody has used them since the machine started, the first child reads them
LATE_START_S: dict[DeviceKind, float] = {"cpu": 0.0, "cuda": 12.0}
#: the run's children are ended here, relative to the budget: 105 % is promised for the whole command
LAST_MOMENT_PART = 1.02
#: measuring again takes at least this long besides the start
MIN_AGAIN_S = 0.7
#: the gates and the report after the last child
WRAP_UP_S = 0.5
#: a slot takes at most this much of its planned time when those before it left some
MAX_STRETCH = 1.5
#: a limit is met or missed by 2 of 3
ATTEMPTS = 3
#: -P: the current folder may hold a package of the same name as ours
CHILD = (sys.executable, "-P", "-m", "qualify.child")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What a run does now, for whoever watches."""

    kind: Literal["bench", "keys", "figure", "repeat", "end"]
    bench: str = ""
    keys: tuple[str, ...] = ()
    done_s: float = 0.0  #: since the start
    left_s: float = 0.0  #: planned for what is left


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """All that a run depends on besides its plan."""

    node: Node
    started_unix_s: float
    started_s: float  #: monotonic, when the budget began to count (before the probe)
    report_id: str
    version: str
    reference: Reference
    workdir: Path
    seed: int
    peer: str | None = None
    claim: Claim | None = None
    history: tuple[Report, ...] = ()
    options: Mapping[str, Json] = field(default_factory=dict)
    command: tuple[str, ...]  #: how a child is started
    environment: Mapping[str, str] = field(default_factory=dict)  #: what a child has besides ours
    on_event: Callable[[Event], None]


def qualify(plan: Plan, request: Request, sampler: Sampler) -> Report:
    """Run `plan` and return its report; an interrupt ends it early with a valid partial report."""
    run = _Run(plan, request, sampler)
    partial = False
    sampler.start()
    try:
        run.measure()
        run.confirm()
    except KeyboardInterrupt:
        partial = True
    telemetry = sampler.stop()
    return run.report(telemetry, partial=partial)


class _Run:
    def __init__(self, plan: Plan, request: Request, sampler: Sampler) -> None:
        self._plan, self._request, self._sampler = plan, request, sampler
        self._until = request.started_s + plan.budget_s
        self._found: dict[str, Measurement] = dict(waived(plan.waived))

    def measure(self) -> None:
        """Every slot once; what is left of the time is shared anew before each, so that it may be more or less."""
        slots = self._plan.slots
        for place, slot in enumerate(slots):
            planned_s = sum(later.seconds for later in slots[place:])
            room_s = self._left_s() - self._plan.budget_s * REPEAT_PART
            self._tell("bench", slot.bench.name, slot.keys, planned_s)
            factor = min(MAX_STRETCH, max(0.0, room_s) / planned_s)
            measured = self._run_slot(slot, slot.seconds * factor, planned_s)
            self._found |= self._watched(measured, self._sampler.so_far())

    def confirm(self) -> None:
        """Measure again what missed a limit, until two attempts of three agree or the budget is spent."""
        for _ in range(ATTEMPTS - 1):
            doubtful = gates.doubtful(self._evidence(()))
            again = [(slot, tuple(key for key in slot.keys if key in doubtful)) for slot in self._plan.slots]
            again = [(slot, keys) for slot, keys in again if keys]
            if not again:
                return
            for slot, keys in again:
                part = len(keys) / len(slot.keys)
                wished_s = max(MIN_AGAIN_S, (slot.seconds - slot.bench.startup_s) * part)
                seconds = min(slot.bench.startup_s + wished_s, self._left_s())
                if seconds < slot.bench.startup_s + MIN_AGAIN_S:
                    return
                self._tell("repeat", slot.bench.name, keys, seconds)
                measured = self._run_slot(replace(slot, keys=keys), seconds, seconds)
                for key, measurement in self._watched(measured, self._sampler.so_far()).items():
                    self._found[key] = gates.combine(self._found[key], measurement)

    def _watched(self, found: dict[str, Measurement], telemetry: tuple[Telemetry, ...]) -> dict[str, Measurement]:
        """With what telemetry saw in the time of each attempt: what is confirmed is compared like the rest."""
        request = self._request
        found = with_soak(found, telemetry, node=request.node, origin_s=request.started_s, earlier=self._found)
        return with_clocks(found, telemetry) if request.node.device_kind == "cuda" else found

    def report(self, telemetry: tuple[Telemetry, ...], *, partial: bool) -> Report:
        """The report of what was found so far."""
        request, plan = self._request, self._plan
        for slot in plan.slots:
            for key in slot.keys:
                self._found.setdefault(key, interrupted(key, slot.bench))
        self._found = self._watched(self._found, telemetry)
        evidence = self._evidence(telemetry)
        findings = gates.judge(evidence)
        verdict, reasons = gates.verdict(findings, self._found, plan.required)
        if partial and verdict == "qualified":
            verdict = "unknown"
        if partial:
            reasons = ("the run was interrupted", *reasons)
        self._tell("end", "", (), 0.0)
        return Report(
            id=request.report_id,
            node=request.node,
            measurements=tuple(self._found[key] for key in sorted(self._found, key=self._order)),
            findings=findings,
            score=self._score(),
            verdict=verdict,
            reasons=reasons,
            profile=plan.profile,
            budget_s=plan.budget_s,
            lasted_s=time.monotonic() - request.started_s,
            started_unix_s=request.started_unix_s,
            gridmark_version=request.version,
            partial=partial,
            claim=request.claim,
            telemetry=telemetry,
            gpus_after=evidence.gpus_after,
            gpu_events=evidence.gpu_events,
            options=request.options,
        )

    def _order(self, key: str) -> tuple[int, int, str]:
        """The longest benchmark first, its keys as it lists them; what was not planned last."""
        for place, slot in enumerate(reversed(self._plan.slots)):
            if key in slot.keys:
                return place, slot.keys.index(key), key
        return len(self._plan.slots), 0, key

    def _score(self) -> Score:
        request = self._request
        now = request.started_unix_s + (time.monotonic() - request.started_s)
        return score(
            request.node, self._found, request.reference, now_unix_s=now, measured_unix_s=request.started_unix_s
        )

    def _evidence(self, telemetry: tuple[Telemetry, ...]) -> gates.Evidence:
        request, gpus = self._request, self._sampler.gpus
        return gates.Evidence(
            node=request.node,
            measurements=self._found,
            telemetry=telemetry,
            gpus_after=gpus.after if gpus and telemetry else (),
            gpu_events=tuple(gpus.events) if gpus and telemetry else (),
            claim=request.claim,
            history=request.history,
            profile=self._plan.profile,
            reference=request.reference,
        )

    def _left_s(self) -> float:
        return self._until - WRAP_UP_S - time.monotonic()

    def _tell(self, kind: Literal["bench", "repeat", "end", "keys"], bench: str, keys: Sequence[str], s: float) -> None:
        done_s = time.monotonic() - self._request.started_s
        self._request.on_event(Event(kind=kind, bench=bench, keys=tuple(keys), done_s=done_s, left_s=s))

    def _run_slot(self, slot: Slot, seconds: float, planned_s: float) -> dict[str, Measurement]:
        """The measurements of one benchmark; a child that dies is replaced for the keys it had not come to."""
        bench, request = slot.bench, self._request
        until = time.monotonic() + seconds
        collected = Collected(bench, lambda: time.monotonic() - request.started_s)
        self._sampler.running = bench.name
        self._hush(bench.quiet)
        left = slot.keys
        try:
            while left:
                remaining_s = max(until - time.monotonic(), 0.0)
                if collected.measured_any() and remaining_s < bench.startup_s:
                    collected.give_up(left, "its benchmark ended early, and no time was left to start it again")
                    break
                outcome = self._run_child(slot, left, max(remaining_s, 0.5), collected, planned_s)
                before, left = left, collected.settle(left, outcome)
                if left == before:  # it died before it came to any of them, and would again
                    collected.give_up(left, outcome.reason, outcome)
                    break
        except KeyboardInterrupt:
            self._found = {**measurements_of(collected, slot.keys), **self._found}
            raise
        finally:
            self._sampler.running = None
            self._hush(False)
        return measurements_of(collected, slot.keys)

    def _hush(self, is_quiet: bool) -> None:
        if self._sampler.gpus is not None:
            self._sampler.gpus.is_quiet = is_quiet

    def _run_child(
        self, slot: Slot, keys: tuple[str, ...], seconds: float, collected: Collected, planned_s: float
    ) -> Outcome:
        request, plan = self._request, self._plan
        task = wire.Task(
            bench=slot.bench.name,
            device=plan.device,
            profile=plan.profile,
            seconds=seconds,
            seed=request.seed,
            only=keys,
            workdir=str(request.workdir),
            peer=request.peer,
        )

        def on_message(message: wire.Message) -> None:
            collected.take(message)
            if isinstance(message, wire.Started):
                self._tell("keys", slot.bench.name, message.keys, planned_s)

        last_s = request.started_s + plan.budget_s * LAST_MOMENT_PART - WRAP_UP_S - time.monotonic()
        kill_after_s = max(0.2, min(seconds * (1 + GRACE_PART) + GRACE_S, last_s))
        return run_child(
            task,
            on_message,
            command=request.command,
            environment=child_environment({**os.environ, **request.environment}),
            kill_after_s=kill_after_s,
            late_start_s=max(0.0, min(LATE_START_S[plan.device.kind], last_s - kill_after_s)),
        )


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a child inherits: our environment, and the folder our own packages were imported from first on its path."""
    home = str(Path(kernels.__file__).resolve().parent.parent)
    inherited = environment.get("PYTHONPATH")
    return {
        **environment,
        "PYTHONPATH": os.pathsep.join([home, inherited]) if inherited else home,
        "PYTHONUNBUFFERED": "1",
    }
