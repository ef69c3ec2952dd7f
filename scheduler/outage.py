"""When many nodes fall silent at once the fault is probably the server's: its link, its name, its clock.

Their jobs are left alone then, for a while: the nodes' own leases freeze them, so nothing runs twice, and whoever is
heard again goes on where it was. A control plane that takes its own trouble for its workers' restarts a whole fleet;
Kubernetes stops evicting when no node is heard for the same reason (its docs, "Nodes": rate limits on eviction).
"""

from __future__ import annotations

from dataclasses import dataclass

from scheduler import lease
from scheduler.clock import Now

#: more than this part of the nodes
PART = 0.2
#: and no fewer: of 14 nodes that are each cut off once a day, by chance alone, three fall silent within 30 s once in
#: 20 years, while of nine such nodes two do once in 40 days; and one of three is more than a fifth and means nothing
LEAST = 3
#: so close together
WITHIN_MS = 30_000
#: a lease that ends this soon was not renewed by two calls in a row: its node is silent already
AHEAD_MS = lease.SERVER_LEASE_MS + lease.EXPIRY_MARGIN_MS - 2 * lease.RENEW_MS
#: how long the jobs of silent nodes are left alone
WAIT_MS = 120_000
#: once only few are silent the others have this long to come back too
CALM_MS = lease.SERVER_LEASE_MS + lease.EXPIRY_MARGIN_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Who fell silent at about the same time."""

    silent: int  #: nodes; where it is asked whether an outage begins, those too that were and are heard again
    of: int  #: with those that are heard
    suppliers: int = 0  #: whose they are; all of one supplier's is likely that supplier's own trouble

    @property
    def is_mass(self) -> bool:
        """Whether it cannot be chance."""
        return self.silent >= LEAST and self.silent > PART * self.of


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A mass outage under way."""

    since: Now  #: anew when most had come back and fell silent again
    began: Silence  #: as it was seen first
    seen: Silence  #: as it was seen last


class Brake:
    """Whether jobs of silent nodes are left alone; in memory only, for after a restart every node has a whole lease."""

    def __init__(self) -> None:
        self.outage: Outage | None = None
        self._calm_ms: int | None = None  #: of Now.mono_ms; since when only few are silent

    def window_ms(self, now: Now) -> tuple[int, int]:
        """After when and until when (Now.mono_ms) a lease ends whose node counts as silent."""
        since_ms = now.mono_ms if self.outage is None else self.outage.since.mono_ms
        return since_ms - (WITHIN_MS - AHEAD_MS), now.mono_ms + AHEAD_MS

    def follow(self, seen: Silence, now: Now) -> bool:
        """Pull the brake or let go of it. Returns whether either was done."""
        before = self.outage
        if before is None:
            self.outage = Outage(since=now, began=seen, seen=seen) if seen.is_mass else None
            return seen.is_mass
        # where most had come back in between, whoever is silent now has been so for no longer than since then
        since = now if seen.is_mass and self._calm_ms is not None else before.since
        self.outage = Outage(since=since, began=before.began, seen=seen)
        if seen.is_mass:
            self._calm_ms = None
        elif self._calm_ms is None:
            self._calm_ms = now.mono_ms
        calm = self._calm_ms is not None and now.mono_ms - self._calm_ms >= CALM_MS
        if not calm and now.mono_ms - since.mono_ms < WAIT_MS:
            return False
        self.outage = self._calm_ms = None
        return True
