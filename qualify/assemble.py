"""Turns a child's messages into measurements: points into series, silence into reasons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kernels.spec import Bench
from qualify import wire
from qualify.process import Outcome
from qualify.records import Json, Measurement, Point

#: how a child's end is named in a measurement's context
ERROR_OF_END = {
    "crash": "crash",
    "killed": "killed",
    "timeout": "timeout",
    "bad_output": "bad_output",
    "out_of_memory": "out_of_memory",
}


class Collected:
    """What the children of one benchmark have said so far."""

    def __init__(self, bench: Bench, now_s: Callable[[], float]) -> None:
        self.bench, self._now_s = bench, now_s
        self.started_s: dict[str, float] = {}
        self.figures: dict[str, list[wire.Measured]] = {}
        self.missed: dict[str, Measurement] = {}

    def take(self, message: wire.Message) -> None:
        """Keep a figure or a reason."""
        if isinstance(message, wire.Started):
            for key in message.keys:
                self.started_s.setdefault(key, self._now_s())
        elif isinstance(message, wire.Measured):
            self.figures.setdefault(message.key, []).append(message)
        elif isinstance(message, wire.Missed):
            for key in message.keys:
                context: dict[str, Json] = {} if message.error is None else {"error": message.error}
                self.missed[key] = self._without(key, message.status, message.reason, context)

    def measured_any(self) -> bool:
        """Whether any child has come to a key."""
        return bool(self.figures or self.missed)

    def settle(self, keys: Sequence[str], outcome: Outcome) -> tuple[str, ...]:
        """The keys still to measure after a child's end; those it died on are failed, a series cut short too."""
        if outcome.end == "done":
            self.give_up([key for key in keys if not self._has(key)], "the benchmark ended without measuring it")
            return ()
        self.give_up(outcome.pending, outcome.reason, outcome)
        left = tuple(key for key in keys if not self._has(key))
        if outcome.end == "timeout":
            self.give_up(left, "the benchmark before it used up the time", outcome)
            return ()
        return left

    def give_up(self, keys: Sequence[str], reason: str, outcome: Outcome | None = None) -> None:
        """Fail `keys` for `reason`."""
        for key in keys:
            context: dict[str, Json] = {}
            if outcome is not None:
                context = {"error": ERROR_OF_END[outcome.end], "signal": outcome.signal}
            self.missed[key] = self._without(key, "failed", reason, context)

    def _has(self, key: str) -> bool:
        return key in self.figures or key in self.missed

    def _without(self, key: str, status: str, reason: str, context: dict[str, Json]) -> Measurement:
        return Measurement(
            key=key,
            unit="",
            status="skipped" if status == "skipped" else "failed",
            reason=reason,
            bench_version=self.bench.version,
            started_s=self.started_s.get(key),
            context=context,
        )


def measurements_of(collected: Collected, keys: Sequence[str]) -> dict[str, Measurement]:
    """One measurement a key. A failure outweighs figures: half a series says nothing about its headline."""
    found: dict[str, Measurement] = {}
    for key in keys:
        if key in collected.missed:
            found[key] = collected.missed[key]
        elif key in collected.figures:
            found[key] = _measurement(collected.figures[key], collected.started_s.get(key))
    return found


def _measurement(figures: Sequence[wire.Measured], started_s: float | None) -> Measurement:
    ordered = sorted(figures, key=lambda figure: figure.at or 0.0)
    headline = ordered[-1]
    series = tuple(_point(figure) for figure in ordered) if headline.at is not None else ()
    return Measurement(
        key=headline.key,
        unit=headline.unit,
        status="ok",
        value=headline.value,
        ci95=headline.ci95,
        statistic=headline.statistic,
        n=len(headline.samples),
        converged=headline.converged,
        mad=headline.mad,
        p5=headline.p5,
        p95=headline.p95,
        samples=headline.samples,
        bench_version=headline.version,
        axis=headline.axis or None,
        series=series,
        started_s=started_s,
        lasted_s=sum(figure.lasted_s for figure in figures),
        context=headline.context,
    )


def _point(figure: wire.Measured) -> Point:
    return Point(
        at=figure.at or 0.0,
        value=figure.value,
        ci95=figure.ci95,
        n=len(figure.samples),
        samples=figure.samples,
        context=figure.context,
    )


def waived(reasons: Mapping[str, str]) -> dict[str, Measurement]:
    """What this kind of device does not have, as skipped measurements."""
    return {
        key: Measurement(key=key, unit="", status="skipped", reason=reason, context={"waived": True})
        for key, reason in reasons.items()
    }


def interrupted(key: str, bench: Bench) -> Measurement:
    """A key the run did not come to."""
    return Measurement(
        key=key,
        unit="",
        status="skipped",
        reason="the run was interrupted before it",
        bench_version=bench.version,
        context={"error": "interrupted"},
    )
