"""Attempts at one figure: how several are kept as one measurement, and when they decide a limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from kernels import stats
from qualify.records import Attempt, Json, Measurement

#: what an attempt says of a limit; "barely" meets it, but its interval or the noise to be expected reaches beyond
Side = Literal["meets", "barely", "misses"]

NEEDED = 2  #: attempts that must agree
MOST = 3  #: attempts made at one figure
BARELY = 0.02  #: a figure without an interval is taken to be this uncertain

#: a figure whose threads got less of their CPUs than this was measured beside somebody else: 0.7 for one or two
#: threads, 0.85 for four, 0.9 from six on. A busy loop takes half of the CPU it shares and makes the other threads wait
#: for the one it shares it with (two threads got 0.33 to 0.58); checks between samples leave up to a sixth idle
SHARE_OF_FEW, SHARE_OF_MANY, LOST_CPUS = 0.70, 0.90, 0.6
#: if the kernel preempted them this often: an idle machine's own housekeeping does about 15 times a second and thread,
#: a busy loop beside one thread 100 to 200 times
SWITCHES_PER_S, SWITCHES_PER_S_AND_THREAD = 20.0, 25.0
#: less than this without being preempted means a limit we cannot see; a check between samples costs far less
STARVED_SHARE = 0.65
#: and one whose hypervisor took more than this
MOST_STEAL = 0.05
#: two readings of the core's clock around a figure that differ by more leave nothing to divide by
CLOCK_SPREAD = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What the attempts so far say of one limit."""

    misses: int
    judged: int  #: attempts that say anything; a disturbed or failed one does not
    is_open: bool  #: another attempt could decide it

    @property
    def missed(self) -> bool:
        """Whether the limit counts as missed: two attempts agree."""
        return self.misses >= NEEDED

    @property
    def suspected(self) -> bool:
        """Whether it was missed by as many attempts as met it, and none was left to decide."""
        return not self.missed and self.misses > 0 and 2 * self.misses >= self.judged

    @property
    def confirmed(self) -> str:
        """ "2 of 3"."""
        return f"{self.misses} of {self.judged}"


def rule(sides: Sequence[Side | None]) -> Ruling:
    """The ruling on a limit from what each attempt says; None says nothing.

    Two attempts that agree decide. One alone decides only when it clearly meets the limit.
    """
    judged = [side for side in sides if side is not None]
    misses = judged.count("misses")
    met = len(judged) - misses
    decided = misses >= NEEDED or met >= NEEDED or judged == ["meets"]
    return Ruling(misses=misses, judged=len(judged), is_open=not decided and len(sides) < MOST)


def rule_attempts(measurement: Measurement, side: Callable[[Attempt], Side | None]) -> Ruling:
    """The ruling on all attempts of a measurement."""
    return rule([side(attempt) for attempt in attempts(measurement)])


def at_least(limit: float) -> Callable[[Attempt], Side | None]:
    """What an attempt says of a figure that must reach `limit`."""

    def side(attempt: Attempt) -> Side | None:
        if attempt.value is None:
            return None
        low = attempt.ci95[0] if attempt.ci95 else attempt.value * (1 - BARELY)
        return "misses" if attempt.value < limit else "meets" if low >= limit else "barely"

    return side


def at_most(limit: float) -> Callable[[Attempt], Side | None]:
    """What an attempt says of a figure that must not exceed `limit`."""

    def side(attempt: Attempt) -> Side | None:
        if attempt.value is None:
            return None
        high = attempt.ci95[1] if attempt.ci95 else attempt.value * (1 + BARELY)
        return "misses" if attempt.value > limit else "meets" if high <= limit else "barely"

    return side


def attempts(measurement: Measurement) -> tuple[Attempt, ...]:
    """Every attempt at the figure, the one that is reported last."""
    return (*measurement.attempts, as_attempt(measurement))


def as_attempt(measurement: Measurement) -> Attempt:
    """The measurement without its earlier attempts."""
    return Attempt(
        status=measurement.status,
        reason=measurement.reason,
        value=measurement.value,
        ci95=measurement.ci95,
        n=measurement.n,
        samples=measurement.samples,
        context=measurement.context,
        converged=measurement.converged,
        series=measurement.series,
    )


def combine(earlier: Measurement, again: Measurement) -> Measurement:
    """One measurement of both, with every attempt kept.

    A wrong result outweighs everything: no repetition makes it right. Otherwise the attempt with the median value is
    reported; of two it is the newer one, because the earlier was only repeated for looking bad and is low by selection;
    of four the less favourable of the middle two. What failed is reported only when nothing else is left.
    """
    every = (*attempts(earlier), *attempts(again))
    wrong = [attempt for attempt in every if is_wrong(attempt)]
    good = [attempt for attempt in every if attempt.value is not None]
    chosen = wrong[-1] if wrong else _middle(good, lower_is_better=again.unit == "s") if good else every[-1]
    others = list(every)
    others.remove(chosen)
    source = again if again.value is not None or earlier.value is None else earlier
    return _measurement(source, chosen, tuple(others))


def is_wrong(attempt: Attempt | Measurement) -> bool:
    """Whether the device computed something wrong."""
    return attempt.context.get("error") == "wrong_result"


def least_cpu_share(threads: float) -> float:
    """The part of the CPU time wanted below which `threads` threads were not alone."""
    return min(SHARE_OF_MANY, max(SHARE_OF_FEW, 1 - LOST_CPUS / threads))


def is_crowded(attempt: Attempt | Measurement) -> bool:
    """Whether the kernel gave our CPUs to others while this was measured."""
    context = attempt.context
    share, switches = number(context, "cpu_share"), number(context, "involuntary_switches_per_s")
    threads = number(context, "threads") or 1.0
    if share is None or share >= least_cpu_share(threads):
        return False
    return switches is None or switches >= SWITCHES_PER_S + SWITCHES_PER_S_AND_THREAD * threads


def is_starved(attempt: Attempt | Measurement) -> bool:
    """Whether our threads did not run though the kernel here put nobody before them."""
    share = number(attempt.context, "cpu_share")
    return share is not None and share < STARVED_SHARE and not is_crowded(attempt)


def is_disturbed(attempt: Attempt | Measurement) -> bool:
    """Whether somebody else had part of the machine, or its clock would not hold still, while this was measured.

    Such a figure says little of the machine, so no limit is drawn on it; what disturbed it is a finding of its own.
    """
    before, after = number(attempt.context, "clock_before_hz"), number(attempt.context, "clock_after_hz")
    unsettled = before is not None and after is not None and abs(before - after) > CLOCK_SPREAD * max(before, after)
    return (
        unsettled
        or is_crowded(attempt)
        or is_starved(attempt)
        or (number(attempt.context, "steal_ratio") or 0.0) > MOST_STEAL
        or (number(attempt.context, "throttled_ratio") or 0.0) > 0.0
    )


def number(context: Mapping[str, Json], name: str) -> float | None:
    """A number of a context; None when it is absent, null or no number."""
    value = context.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _middle(good: Sequence[Attempt], *, lower_is_better: bool) -> Attempt:
    if len(good) == NEEDED:
        return good[-1]
    worst_first = sorted(good, key=lambda attempt: attempt.value or 0.0, reverse=lower_is_better)
    return worst_first[(len(good) - 1) // 2]


def _measurement(source: Measurement, chosen: Attempt, others: tuple[Attempt, ...]) -> Measurement:
    summary = stats.summarise(chosen.samples) if chosen.samples else None
    return replace(
        source,
        status=chosen.status,
        reason=chosen.reason,
        value=chosen.value,
        ci95=chosen.ci95,
        n=chosen.n,
        samples=chosen.samples,
        context=chosen.context,
        converged=chosen.converged,
        series=chosen.series,
        mad=summary.mad if summary else None,
        p5=summary.p5 if summary else None,
        p95=summary.p95 if summary else None,
        attempts=others,
    )
