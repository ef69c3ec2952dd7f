"""Money, moments, ages and states as people read them on the pages."""

from __future__ import annotations

import re
from typing import Literal

from markupsafe import Markup, escape

from reports import units
from scheduler.lifecycle import AttemptState, JobState, Standing
from scheduler.market.fields import Field

Tone = Literal["good", "warn", "bad", "muted"]

#: colours and other wishes to a terminal, which a page does not have (ECMA-48, "control sequence")
_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")

_STANDING_TONES: dict[str, Tone] = {
    "ready": "good",
    "degraded": "warn",
    "draining": "warn",
    "qualifying": "muted",
    "new": "muted",
    "retired": "muted",
    "quarantined": "bad",
    "offline": "bad",
}
_JOB_TONES: dict[JobState, Tone] = {
    JobState.DONE: "good",
    JobState.ACTIVE: "good",
    JobState.QUEUED: "muted",
    JobState.BACKOFF: "warn",
    JobState.FAILED: "bad",
    JobState.EXPIRED: "bad",
    JobState.CANCELLED: "muted",
}


def money(micro_dollars: float | None) -> str:
    """Micro-dollars as "$2.50"; below a dollar three digits after the point, as far as they say something."""
    if micro_dollars is None:
        return units.UNKNOWN
    dollars = micro_dollars / 1e6
    if dollars == 0:
        return "$0"
    if abs(dollars) >= 1:
        return f"${dollars:,.2f}"
    return f"${dollars:.3f}" if abs(dollars) >= 0.001 else f"${dollars:.6f}"


def count(number: int, one: str, many: str | None = None) -> str:
    """ "1 job", "3 jobs"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def moment(unix_ms: int | None) -> str:
    """A moment in UTC: "2026-08-01 11:45 UTC"."""
    return units.moment(None if unix_ms is None else unix_ms / 1000)


def age(unix_ms: int | None, now_ms: int) -> str:
    """How long ago: "now", "12 min", "3 h", "2 d"; a clock ahead of ours makes it "now"."""
    if unix_ms is None:
        return units.UNKNOWN
    seconds = max(0, now_ms - unix_ms) // 1000
    if seconds < 60:
        return "now" if seconds < 5 else f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h" if seconds < 48 * 3600 else f"{seconds // 86400} d"


def ago(unix_ms: int | None, now_ms: int) -> str:
    """How long ago, as a sentence's end: "just now", "3 h ago"."""
    text = age(unix_ms, now_ms)
    return "just now" if text == "now" else text if text == units.UNKNOWN else f"{text} ago"


def until(unix_ms: int | None, now_ms: int) -> str:
    """When something is due: "in 3 h", "now"."""
    if unix_ms is None:
        return units.UNKNOWN
    return "now" if unix_ms <= now_ms else f"in {age(2 * now_ms - unix_ms, now_ms)}"


def standing_tone(shown: str) -> Tone:
    """The colour of a node's word (see scheduler.lifecycle.shown)."""
    return _STANDING_TONES.get(shown, "muted")


def job_tone(state: JobState) -> Tone:
    """The colour of a job's state."""
    return _JOB_TONES[state]


def state(value: JobState | AttemptState | Standing) -> str:
    """A state as a word: "prepare failed"."""
    return value.name.lower().replace("_", " ")


def exit_words(code: int | None) -> str:
    """An exit code as a shell's user reads it: "0", "1", "137 (signal 9)"."""
    if code is None:
        return units.UNKNOWN
    return f"{code} (signal {code - 128})" if 128 < code < 193 else str(code)


def log_text(text: str) -> str:
    """A piece of a job's output as text for a page.

    Colours go; what steers a display or turns text around becomes "�"; of a line that was written over (a progress
    bar) the last state stays, as on a terminal.
    """
    text = _SEQUENCE.sub("", text).replace("\r\n", "\n")
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return "\n".join("\t".join(units.plain(part) for part in line.split("\t")) for line in lines)


def prose(text: str) -> Markup:
    """Sentences, escaped, with what stands between backticks as code; an odd backtick is one."""
    parts = units.plain(text).split("`")
    if len(parts) % 2 == 0:
        return escape(units.plain(text))
    code = Markup("<code>{}</code>")
    return Markup("").join(code.format(part) if place % 2 else escape(part) for place, part in enumerate(parts))


def unit(field: Field) -> str:
    """The unit of something a query may name, or what else it is compared with."""
    return field.unit or {"number": "number", "text": "text", "truth": "true or false"}[field.kind]


def inline(value: object) -> str:
    """A value of an event or a reason in a few words, on one line."""
    match value:
        case None:
            return units.UNKNOWN
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case dict():
            return ", ".join(_pair(str(key), one) for key, one in value.items() if one not in ("", [], (), {}))
        case list() | tuple():
            return ", ".join(inline(one) for one in value)
        case _:
            return units.plain(str(value))


def _pair(key: str, value: object) -> str:
    if key.endswith("_uh") and isinstance(value, int):
        return f"{spaced(key.removesuffix('_uh'))}: {money(value)}/h"
    return f"{spaced(key)}: {inline(value)}"


def spaced(name: str) -> str:
    """A field's name as words: "runner_up" gives "runner up"."""
    return units.plain(name.replace("_", " "))


def title(name: str) -> str:
    """A field's name as a heading: "runner_up" gives "Runner up"."""
    return spaced(name).capitalize()
