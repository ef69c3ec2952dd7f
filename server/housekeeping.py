"""What a server does beside serving: old events and logs go, the disk and the database are looked at."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import os
import shutil
import time
from typing import TYPE_CHECKING

from scheduler import audit, codec
from scheduler.clock import Now
from scheduler.control import Control
from scheduler.store import attempts, nodes
from scheduler.store.check import check
from scheduler.store.connection import connect_reader, freeze
from scheduler.store.durable import sync_folder
from scheduler.store.errors import StoreError
from scheduler.store.statement import translated
from server import logs

if TYPE_CHECKING:
    from server.runtime import Runtime

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
#: events in one file of the archive, and those removed by one command, which the writer carries out between others
ARCHIVED_AT_ONCE = 100_000
REMOVED_AT_ONCE = 5_000
READ_AT_ONCE = 1_000
#: so long others have the interpreter to themselves, again and again while the evidence is judged
PAUSE_S = 0.002
#: differences that are logged; the alarm names the first
LOGGED_MAX = 50


class Housekeeper:
    """Its methods wait for the disk: not for the event loop."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._checked_ms = runtime.now().unix_ms

    def tidy(self, unnamed_s: int) -> int:
        """Remove files that nothing refers to, transcripts and logs that are too old or too many; how many went.

        Args:
            unnamed_s: a file that no row names is kept so long.

        Raises:
            StoreError: one cannot be removed.
        """
        runtime, kept = self._runtime, self._runtime.settings.retention
        now_ms = runtime.now().unix_ms
        keep = runtime.reader.kept(logs_since_ms=now_ms - kept.logs_days * DAY_MS)
        judged_before_ms = now_ms - kept.transcripts_days * DAY_MS
        removed = runtime.files.prune(
            keep, before_unix_s=now_ms / 1000 - unnamed_s, judged_before_unix_s=judged_before_ms / 1000
        )
        return removed + runtime.files.logs.shrink(runtime.reader.live_tokens(), most_bytes=kept.logs_bytes)

    def retire_events(self) -> int:
        """Put events that are too old into the archive and remove them; how many went.

        Raises:
            StoreError: they cannot be written elsewhere, and stay.
        """
        runtime = self._runtime
        before_ms = runtime.now().unix_ms - runtime.settings.retention.events_days * DAY_MS
        below = runtime.reader.first_event_since(before_ms)
        removed = 0
        while (first := runtime.reader.events(limit=1)) and first[0].seq < below:
            end = min(below, first[0].seq + ARCHIVED_AT_ONCE)
            self._archive(first[0].seq, end)
            for upto in (*range(first[0].seq + REMOVED_AT_ONCE, end, REMOVED_AT_ONCE), end):
                removed += runtime.remove_events(upto)
        return removed

    def look(self) -> None:
        """Raise or end the alarms that a look at the disk tells."""
        runtime, kept = self._runtime, self._runtime.settings.retention
        now_ms, log_bytes = runtime.now().unix_ms, runtime.log_file_bytes
        long = f"the database's log is {_mib(log_bytes)} long: a read that never ends keeps it from being copied back"
        runtime.alarms.set("log", long if log_bytes > kept.log_file_bytes else None, now_ms)
        free = shutil.disk_usage(runtime.settings.data).free
        full = f"{_mib(free)} are left on the disk of {runtime.settings.data}"
        runtime.alarms.set("disk", full if free < kept.disk_free_bytes else None, now_ms)

    def is_night(self) -> bool:
        """Whether the nightly check is due."""
        now_ms, at_ms = self._runtime.now().unix_ms, self._runtime.settings.retention.check_hour_utc * HOUR_MS
        return self._checked_ms < now_ms - (now_ms - at_ms) % DAY_MS <= now_ms

    def check(self) -> list[str]:
        """Check the file, the rows, and memory against the rows; an alarm says what was found.

        Raises:
            StoreError: it could not be looked at.
        """
        runtime = self._runtime
        self._checked_ms = runtime.now().unix_ms
        problems = [*check(runtime.database, pause=_give_way), *self._audit()]
        for problem in problems[:LOGGED_MAX]:
            logs.say("the check found something", level=logging.ERROR, problem=problem)
        more = f", and {len(problems) - 1} more; the server's log has them" if len(problems) > 1 else ""
        alarm = f"{problems[0]}{more}" if problems else None
        runtime.alarms.set("integrity", alarm, runtime.now().unix_ms)
        logs.say("checked", problems=len(problems))
        return problems

    def _audit(self) -> list[str]:
        runtime = self._runtime
        with translated(f"checking {runtime.database}"), contextlib.closing(connect_reader(runtime.database)) as db:

            def take(control: Control, now: Now) -> audit.Memory:
                del now
                freeze(db)  # in the writer's thread: nothing is committed between the two
                return audit.memory(control.book, runtime.index.rooms())

            seen = runtime.writer.do(take).result()
            return list(audit.differences(nodes.every(db), attempts.live(db), seen))

    def _archive(self, first: int, end: int) -> None:
        """Write events from `first` to below `end` into a file; the same again replaces it."""
        folder = self._runtime.settings.data / "archive"
        target = folder / f"events-{first}-{end - 1}.jsonl.gz"
        unfinished = target.with_suffix(".part")
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            with unfinished.open("wb") as file:
                with gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="") as packed:
                    self._write(packed, first, end)
                os.fsync(file.fileno())
            unfinished.replace(target)
            sync_folder(folder)
        except OSError as error:
            raise StoreError(f"{target} cannot be written: {error.strerror}") from error

    def _write(self, packed: gzip.GzipFile, first: int, end: int) -> None:
        after = first - 1
        while found := self._runtime.reader.events(after=after, limit=READ_AT_ONCE):
            for event in found:
                if event.seq >= end:
                    return
                packed.write(json.dumps(codec.encode(event), separators=(",", ":")).encode() + b"\n")
            after = found[-1].seq


def _give_way() -> None:
    time.sleep(PAUSE_S)


def _mib(size_bytes: int) -> str:
    return f"{size_bytes >> 20} MiB"
