"""What an operator has to know now: raised once, said once in the log, shown until it is over."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Literal, get_args

from scheduler.outage import WAIT_MS, Outage
from server import logs

#: outage: so many nodes are silent that their jobs wait for them; integrity: the nightly check found something;
#: log: the database's write-ahead log does not shrink; disk: the data folder's disk is nearly full
AlarmKind = Literal["outage", "integrity", "log", "disk"]
KINDS: tuple[AlarmKind, ...] = get_args(AlarmKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something that somebody has to look at."""

    kind: AlarmKind
    text: str
    since_ms: int  #: Unix


def worded(outage: Outage) -> str:
    """A mass outage, and what to look at."""
    seen = outage.seen
    whose = "one supplier's" if seen.suppliers == 1 else f"of {seen.suppliers} suppliers"
    return (
        f"{seen.silent} of {seen.of} nodes, {whose}, fell silent at once: their jobs wait for them, "
        f"{WAIT_MS // 1000} s at most; look at this server's own link first"
    )


class Alarms:
    """At most one of each kind. Safe to use from any thread."""

    def __init__(self) -> None:
        self._raised: dict[AlarmKind, Alarm] = {}
        self._guard = threading.Lock()

    def set(self, kind: AlarmKind, text: str | None, now_ms: int) -> None:
        """Raise an alarm, or end it with None. One that is on already keeps its beginning, and is not said again."""
        if text is None and kind not in self._raised:
            return  # asked after every commit
        with self._guard:
            before = self._raised.get(kind)
            if text is None:
                self._raised.pop(kind, None)
            else:
                self._raised[kind] = Alarm(kind=kind, text=text, since_ms=before.since_ms if before else now_ms)
        if text is not None and before is None:
            logs.say("alarm", level=logging.ERROR, alarm=kind, why=text)
        elif text is None and before is not None:
            logs.say("alarm is over", alarm=kind, lasted_ms=now_ms - before.since_ms)

    def now(self) -> tuple[Alarm, ...]:
        """Those that are on, the oldest first."""
        with self._guard:
            return tuple(sorted(self._raised.values(), key=lambda alarm: (alarm.since_ms, alarm.kind)))
