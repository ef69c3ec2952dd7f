"""What time alone brings about: leases that lapse, backoffs and deadlines that pass, measurements that fall due."""

from __future__ import annotations

import heapq

from scheduler.admission import pass_deadline
from scheduler.book import Row
from scheduler.clock import Now
from scheduler.desk import Desk
from scheduler.events import Kind
from scheduler.lifecycle import JobState, Next, Standing, is_live
from scheduler.outage import WAIT_MS, Brake, Outage, Silence
from scheduler.outcome import lose, move_job
from scheduler.proofs import due, outcome
from scheduler.records import Attempt, MarketNode

#: a job that is asked to stop at its deadline is looked at again after this
REMIND_MS = 5_000
#: between two looks at who is still silent in an outage
OUTAGE_MS = 1_000
#: nodes whose reports are looked at in one tick: a market of 100,000 would stop placing for a twentieth of a second
SEEN_AT_ONCE = 2_000


class Watchman:
    """Looks at the time, a few times a second."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._leases: list[tuple[int, int]] = []  #: heap of (Now.mono_ms at which to look, node): all that are online
        self._ticked_ms: int | None = None
        self._scanned_ms: int | None = None
        self._silent: set[int] = set()  #: at least all nodes that are offline and have live attempts
        self._online = 0
        self._brake = Brake()
        self._judged_ms: int | None = None
        self._unseen: list[int] = []  #: nodes whose reports are still to be looked at in this round
        desk.book.watch(self)

    @property
    def outage(self) -> Outage | None:
        """The mass outage under way, for which jobs of silent nodes are left alone."""
        return self._brake.outage

    def changed(self, before: Row | None, after: Row | None) -> None:
        """As the book's watcher."""
        if isinstance(after, Attempt) and is_live(after.state):
            node = self._desk.book.nodes.get(after.node)
            if node is not None and not node.online:
                self._silent.add(node.id)
        if not isinstance(after if after is not None else before, MarketNode):
            return
        was, is_ = (isinstance(row, MarketNode) and row.online for row in (before, after))
        self._online += is_ - was
        if isinstance(after, MarketNode) and is_ and not was:
            heapq.heappush(self._leases, (0, after.id))
        elif isinstance(after, MarketNode) and was and not is_ and self._desk.book.tokens_of_node.get(after.id):
            self._silent.add(after.id)

    def tick(self, now: Now) -> None:
        """Do all that is due."""
        self._allow_for_own_absence(now)
        lapsed = self._end_leases(now)
        self._give_up_silent(now, lapsed=lapsed)
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
            self._unseen = self._unseen or [*desk.book.nodes]
            outcome.tick(desk, now)
        self._look_at_reports(now)

    def _allow_for_own_absence(self, now: Now) -> None:
        """While this process stood still it heard nobody: that is no node's silence."""
        gap_ms = 0 if self._ticked_ms is None else now.mono_ms - self._ticked_ms
        self._ticked_ms = now.mono_ms
        if gap_ms > self._desk.settings.gap_ms:
            for node in self._desk.book.nodes:
                presence = self._desk.presence(node)
                if presence.expiry_ms is not None:
                    presence.expiry_ms += gap_ms

    def _end_leases(self, now: Now) -> bool:
        """Take nodes that were not heard for offline. Returns whether there was one."""
        desk = self._desk
        lapsed = False
        while self._leases and self._leases[0][0] <= now.mono_ms:
            id_ = self._leases[0][1]
            node = desk.book.nodes.get(id_)
            if node is None or not node.online:
                heapq.heappop(self._leases)
                continue
            expiry_ms = self._expiry_ms(id_, now)
            if expiry_ms > now.mono_ms:
                heapq.heapreplace(self._leases, (expiry_ms, id_))
                continue
            heard_ms = desk.presence(id_).heard_ms
            silent_ms = None if heard_ms is None else now.mono_ms - heard_ms
            desk.book.change(node, online=False)
            desk.say(Kind.NODE_OFFLINE, now, "server", node=id_, silent_ms=silent_ms)
            heapq.heappop(self._leases)  # only now: what fails half-way is looked at again
            lapsed = True
        return lapsed

    def _expiry_ms(self, node: int, now: Now) -> int:
        """When its lease ends; one not heard since this server started gets a whole one."""
        expiry_ms = self._desk.presence(node).expiry_ms
        return self._desk.presence(node).renew(now, self._desk.poll_ms(node)) if expiry_ms is None else expiry_ms

    def _give_up_silent(self, now: Now, *, lapsed: bool) -> None:
        """Lose the attempts of silent nodes, unless so many are silent that it is probably not their fault."""
        desk = self._desk
        if self.outage is not None and self._judged_ms is not None and now.mono_ms - self._judged_ms < OUTAGE_MS:
            return
        for id_ in sorted(self._silent):
            if desk.book.nodes[id_].online or not desk.book.tokens_of_node.get(id_):
                self._silent.discard(id_)
        due = [id_ for id_ in sorted(self._silent) if self._expiry_ms(id_, now) <= now.mono_ms]
        if lapsed or due or self.outage is not None:
            self._judge(now)
        if self.outage is not None:  # one that begins anew again and again is no reason to wait for ever
            due = [id_ for id_ in due if self._expiry_ms(id_, now) <= now.mono_ms - WAIT_MS]
        for id_ in due:
            for attempt in desk.live_attempts(id_):
                lose(desk, attempt, now, "its node went silent")

    def _judge(self, now: Now) -> None:
        """Look whether this is a mass outage, or still one."""
        before = self.outage
        self._judged_ms = now.mono_ms
        seen = self._silence(now)
        if not self._brake.follow(seen, now):
            return
        desk, told = self._desk, {"silent": seen.silent, "of": seen.of, "suppliers": seen.suppliers}
        if before is None:
            desk.say(Kind.OUTAGE_BEGAN, now, "server", **told)
        else:
            desk.say(Kind.OUTAGE_OVER, now, "server", waited_ms=now.mono_ms - before.since.mono_ms, **told)

    def _silence(self, now: Now) -> Silence:
        desk = self._desk
        after_ms, until_ms = self._brake.window_ms(now)
        silent, offline, suppliers = 0, 0, set()
        begun = self.outage is not None
        for node in desk.book.nodes.values():
            presence = desk.presence(node.id)
            # what befell all at once befell those too that came back a moment before the first lease ends
            ends_ms = (presence.expiry_ms, None if begun else presence.spared_ms)
            if any(end_ms is not None and after_ms < end_ms <= until_ms for end_ms in ends_ms):
                silent += 1
                offline += not node.online
                suppliers.add(node.supplier)
        return Silence(silent=silent, of=self._online + offline, suppliers=len(suppliers))

    def _look_at_reports(self, now: Now) -> None:
        """Call idle nodes whose measurement is due, and mark those whose report is old; some at every tick."""
        desk = self._desk
        some, self._unseen = self._unseen[-SEEN_AT_ONCE:], self._unseen[:-SEEN_AT_ONCE]
        for id_ in some:
            node = desk.book.nodes.get(id_)  # what was enrolled and undone is gone
            if node is None or node.standing is Standing.RETIRED:
                continue
            idle = node.online and not desk.book.tokens_of_node.get(node.id)
            if idle and node.due_ms is not None and node.due_ms <= now.unix_ms:
                desk.woken.add(node.id)
            if idle and due.is_due(desk, node, now):
                desk.woken.add(node.id)
            old = node.reported_ms is not None and now.unix_ms - node.reported_ms > desk.settings.stale_ms
            if old and node.standing is Standing.READY:
                why = f"its report is older than {desk.settings.stale_ms // 3_600_000} h"
                desk.book.change(node, standing=Standing.DEGRADED, why=why)
                desk.say(Kind.NODE_STANDING, now, "server", node=node.id, before="ready", after="degraded", why=why)
