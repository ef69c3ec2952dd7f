"""What time alone brings about: leases that lapse, backoffs and deadlines that pass, measurements that fall due."""

from __future__ import annotations

import heapq

from scheduler import proof_outcome, proving
from scheduler.admission import pass_deadline
from scheduler.book import Row
from scheduler.clock import Now
from scheduler.desk import Desk
from scheduler.events import Kind
from scheduler.lifecycle import JobState, Next, Standing
from scheduler.outcome import lose, move_job
from scheduler.records import MarketNode

#: a job that is asked to stop at its deadline is looked at again after this
REMIND_MS = 5_000


class Watchman:
    """Looks at the time, a few times a second."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._leases: list[tuple[int, int]] = []  #: heap of (Now.mono_ms at which to look, node): all that are online
        self._ticked_ms: int | None = None
        self._scanned_ms: int | None = None
        desk.book.watch(self)

    def changed(self, before: Row | None, after: Row | None) -> None:
        """As the book's watcher."""
        if isinstance(after, MarketNode) and after.online and not (isinstance(before, MarketNode) and before.online):
            heapq.heappush(self._leases, (0, after.id))

    def tick(self, now: Now) -> None:
        """Do all that is due."""
        self._allow_for_own_absence(now)
        self._expire_leases(now)
        desk = self._desk
        for id_ in desk.line.rested(now):
            job = desk.book.jobs.get(id_)
            if job is not None and job.state is JobState.BACKOFF and job.next_at_ms <= now.unix_ms:
                move_job(desk, job, Next(state=JobState.QUEUED, reason="its time to wait is over"), now, "server")
        for id_ in desk.line.late(now):
            if pass_deadline(desk, id_, now):
                desk.line.remind(id_, now.unix_ms + REMIND_MS)
        if self._scanned_ms is None or now.mono_ms - self._scanned_ms >= desk.settings.scan_ms:
            self._scanned_ms = now.mono_ms
            self._look_at_reports(now)
            proof_outcome.tick(desk, now)

    def _allow_for_own_absence(self, now: Now) -> None:
        """While this process stood still it heard nobody: that is no node's silence."""
        gap_ms = 0 if self._ticked_ms is None else now.mono_ms - self._ticked_ms
        self._ticked_ms = now.mono_ms
        if gap_ms > self._desk.settings.gap_ms:
            for node in self._desk.book.nodes:
                presence = self._desk.presence(node)
                if presence.expiry_ms is not None:
                    presence.expiry_ms += gap_ms

    def _expire_leases(self, now: Now) -> None:
        desk = self._desk
        while self._leases and self._leases[0][0] <= now.mono_ms:
            id_ = self._leases[0][1]
            node = desk.book.nodes.get(id_)
            if node is None or not node.online:
                heapq.heappop(self._leases)
                continue
            presence = desk.presence(id_)
            expiry_ms = presence.expiry_ms
            if expiry_ms is None:  # not heard since this server started: it gets a whole lease
                expiry_ms = presence.renew(now, desk.poll_ms(id_))
            if expiry_ms > now.mono_ms:
                heapq.heapreplace(self._leases, (expiry_ms, id_))
            else:
                self._give_up(node, now)
                heapq.heappop(self._leases)  # only now: what fails half-way is looked at again

    def _give_up(self, node: MarketNode, now: Now) -> None:
        desk = self._desk
        heard_ms = desk.presence(node.id).heard_ms
        silent_ms = None if heard_ms is None else now.mono_ms - heard_ms
        desk.book.change(node, online=False)
        desk.say(Kind.NODE_OFFLINE, now, "server", node=node.id, silent_ms=silent_ms)
        for attempt in desk.live_attempts(node.id):
            lose(desk, attempt, now, "its node went silent")

    def _look_at_reports(self, now: Now) -> None:
        """Call idle nodes whose measurement is due, and mark those whose report is old."""
        desk = self._desk
        for node in list(desk.book.nodes.values()):
            if node.standing is Standing.RETIRED:
                continue
            idle = node.online and not desk.book.tokens_of_node.get(node.id)
            if idle and node.due_ms is not None and node.due_ms <= now.unix_ms:
                desk.woken.add(node.id)
            if idle and proving.is_due(desk, node, now):
                desk.woken.add(node.id)
            old = node.reported_ms is not None and now.unix_ms - node.reported_ms > desk.settings.stale_ms
            if old and node.standing is Standing.READY:
                why = f"its report is older than {desk.settings.stale_ms // 3_600_000} h"
                desk.book.change(node, standing=Standing.DEGRADED, why=why)
                desk.say(Kind.NODE_STANDING, now, "server", node=node.id, before="ready", after="degraded", why=why)
