"""The course of a figure over time as a small drawing: dots with intervals, no script and no style of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from reports import units
from scheduler.records import Figure
from server.web import words

_WIDTH, _HEIGHT = 360.0, 120.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 84.0, 10.0, 10.0, 22.0
MOST_DOTS = 120
#: a course flatter than this is drawn over this much of its value, or noise would look like news
_LEAST_SPAN = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A drawing and what it says."""

    metric: str
    words: str  #: "−3.1 % since 2026-07-01"
    drawing: Markup


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where values and moments lie in the drawing."""

    begin_ms: int
    end_ms: int
    bottom: float
    top: float

    def x(self, at_ms: int) -> float:
        span = max(1, self.end_ms - self.begin_ms)
        return round(_LEFT + (at_ms - self.begin_ms) / span * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.bottom) / (self.top - self.bottom)
        return round(_HEIGHT - _BOTTOM - min(1.0, max(0.0, share)) * (_HEIGHT - _TOP - _BOTTOM), 1)


def history(metric: str, unit: str, course: Sequence[Figure]) -> History | None:
    """A metric's course, oldest first; None with fewer than two measurements, which have none."""
    seen = sorted(course, key=lambda figure: figure.at_ms)[-MOST_DOTS:]
    if len(seen) < 2 or seen[0].at_ms == seen[-1].at_ms:
        return None
    first, last = seen[0], seen[-1]
    change = "" if first.value == 0 else f"{(last.value / first.value - 1) * 100:+.1f} %".replace("-", "−")
    since = f"since {words.moment(first.at_ms)[:10]}"
    said = f"{change} {since}, {len(seen)} measurements".strip()
    return History(metric=metric, words=said, drawing=_draw(metric, unit, seen, said))


def _draw(metric: str, unit: str, seen: Sequence[Figure], said: str) -> Markup:
    frame = _frame(seen)
    arms = "".join(
        f'<path class="arm" d="M{frame.x(one.at_ms)} {frame.y(one.low)}V{frame.y(one.high)}"/>'
        for one in seen
        if one.low is not None and one.high is not None
    )
    spots = [(frame.x(one.at_ms), frame.y(one.value)) for one in seen]
    course = "M" + "L".join(f"{x} {y}" for x, y in spots)
    dots = "".join(f'<circle class="dot" cx="{x}" cy="{y}" r="2.4"/>' for x, y in spots)
    right = _WIDTH - _RIGHT
    grid = "".join(f'<path class="grid" d="M{_LEFT} {frame.y(value)}H{right}"/>' for value in (frame.bottom, frame.top))
    label = Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>')
    texts = (
        label.format(_LEFT - 6, frame.y(frame.top) + 4, "end", units.figure(frame.top, unit)),
        label.format(_LEFT - 6, frame.y(frame.bottom) + 4, "end", units.figure(frame.bottom, unit)),
        label.format(_LEFT, _HEIGHT - 6, "start", words.moment(frame.begin_ms)[:10]),
        label.format(right, _HEIGHT - 6, "end", words.moment(frame.end_ms)[:10]),
    )
    head = Markup('<svg class="history" role="img" viewBox="0 0 {:g} {:g}" aria-label="{}">').format(
        _WIDTH, _HEIGHT, f"{units.plain(metric)}: {said}"
    )
    body = Markup(f'{grid}{arms}<path class="course" d="{course}"/>{dots}')  # noqa: S704 - numbers alone
    return head + body + Markup("").join(texts) + Markup("</svg>")


def _frame(seen: Sequence[Figure]) -> _Frame:
    lows = [one.value if one.low is None else min(one.value, one.low) for one in seen]
    highs = [one.value if one.high is None else max(one.value, one.high) for one in seen]
    bottom, top = min(lows), max(highs)
    middle = (bottom + top) / 2
    span = max(top - bottom, abs(middle) * _LEAST_SPAN) or 1.0
    return _Frame(seen[0].at_ms, seen[-1].at_ms, middle - span * 0.55, middle + span * 0.55)
