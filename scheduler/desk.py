"""What the rules work with: the book, their settings, and what is remembered in memory only.

Nothing here has to survive: after a restart nodes get a fresh lease, and what they hold they tell again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from kernels.spec import DeviceKind
from qualify.proof.sizing import Scale
from scheduler import lease, outage
from scheduler.book import Book, Row
from scheduler.clock import Now
from scheduler.events import Kind
from scheduler.lifecycle import AttemptState, is_live
from scheduler.line import Line
from scheduler.records import Attempt, Event, Job, MarketNode
from scheduler.shares import Quota, Shares
from scheduler.wire import Held

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

#: what a CPU proves is no reason to rent it, and somebody may be sitting at it: seconds, and small
CPU_SCALE = Scale(
    light_compute_s=0.6,
    light_memory_s=0.4,
    light_segments=8,
    full_compute_s=3.0,
    full_memory_s=1.5,
    full_samples=32,
    full_segments=30,
    epoch_s=0.25,
)

Problem = Literal["not_found", "conflict", "stale_epoch", "forbidden", "invalid", "too_many"]


class Refused(Exception):  # noqa: N818 - an answer, not a fault: the word people read
    """What was asked for cannot be; `text` says why, in a sentence for whoever asked."""

    def __init__(self, kind: Problem, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvingSettings:
    """How nodes have to prove their figures."""

    on: bool = False
    scale: Scale = field(default_factory=Scale)  #: of GPUs' checks
    cpu_scale: Scale = CPU_SCALE  #: of nodes without one
    light_ms: int = HOUR_MS  #: mean of the gaps between light checks, which are exponential: nobody can await one
    full_ms: int = 24 * HOUR_MS
    jitter: float = 0.1  #: of the gap between full checks
    light_duty: float = 0.0035  #: part of a node's time; where a check takes longer, the gaps do
    full_duty: float = 0.0015
    attempts: int = 3  #: that may fail within a day, each with fresh nonces; then none until the first is a day old
    misses: int = 3  #: attempts in a row that failed, after which the node is benched
    bench_ms: int = 12 * HOUR_MS
    retry_ms: int = 10 * MINUTE_MS  #: after a challenge that came to nothing
    check_ms: int = 6 * HOUR_MS  #: a check that takes longer begins anew

    def scale_of(self, kind: DeviceKind) -> Scale:
        """How large the checks of such a node are."""
        return self.scale if kind == "cuda" else self.cpu_scale


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSettings:
    """What an operator may set."""

    requalify_ms: int = 24 * HOUR_MS  #: from one report to the next
    requalify_jitter: float = 0.1  #: part of it, earlier or later, so that a fleet is not measured at once
    unsure_ms: int = HOUR_MS  #: until a node whose report said neither yes nor no is measured again
    busy_ms: int = 3 * MINUTE_MS  #: the same where others' work may be why; twice as long each time, to unsure_ms
    stale_ms: int = 48 * HOUR_MS  #: a report older than this degrades its node
    ask_again_ms: int = 10 * MINUTE_MS  #: between two requests to measure that brought no report
    retry_ms: int = 10_000  #: a job that fits nowhere is tried again after this, if nothing changed before
    gap_ms: int = 2_000  #: between two ticks; after a longer one it was the server that stood still
    start_ms: int = 15_000  #: how long `start` is repeated to an agent that does not take up the attempt
    scan_ms: int = 5_000  #: between two looks at all nodes for what is due or stale
    proving: ProvingSettings = field(default_factory=ProvingSettings)
    quota: Quota = field(default_factory=Quota)  #: of accounts whose own terms say nothing else


@dataclass(slots=True)
class Missing:
    """A live attempt that its agent does not list."""

    since_ms: int  #: of Now.mono_ms: when the agent was first told of it, or first did not list it
    told_ms: int  #: when it was last told to start it


@dataclass(slots=True)
class Presence:
    """What is known of a node's agent from its calls."""

    expiry_ms: int | None = None  #: of Now.mono_ms; None = not heard of since the server started
    heard_ms: int | None = None
    spared_ms: int | None = None  #: when its lease would have ended, as it last fell silent and was heard again
    held: dict[int, Held] = field(default_factory=dict)  #: by token, as it last told
    missing: dict[int, Missing] = field(default_factory=dict)
    qualifying: bool = False
    asked_ms: int | None = None  #: when it was last asked to measure
    took_up: bool = False  #: it began to measure since it was asked
    asked_proof_ms: int | None = None  #: when it was last asked to prove what it can do
    given_ms: int = 0  #: Unix; when it was last given an attempt

    def renew(self, now: Now, poll_ms: int) -> int:
        """Its lease begins again, and never ends earlier than it did. Returns when it ends."""
        if self.expiry_ms is not None and self.expiry_ms <= now.mono_ms + outage.AHEAD_MS:
            self.spared_ms = self.expiry_ms
        self.expiry_ms = max(self.expiry_ms or 0, lease.server_expiry_ms(now.mono_ms, poll_ms))
        return self.expiry_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """Whom a batch of changes concerns."""

    nodes: frozenset[int]  #: their agents should be answered now
    jobs: frozenset[int]  #: those that changed, for whoever follows them


class Desk:
    """The book and everything beside it; one thread owns it, as it owns the book."""

    def __init__(self, book: Book, *, random: Callable[[], float], settings: ControlSettings) -> None:
        self.book = book
        self.random = random
        self.settings = settings
        self.line = Line(Shares(book, settings.quota))
        self.first_token = book.counters.token  #: tokens from here on were placed since the server started
        self.orphans = tuple(book.challenges)  #: challenges that an earlier server led
        self.woken: set[int] = set()  #: nodes, since `touched` was last asked
        self.jobs_changed: set[int] = set()
        self._presences: dict[int, Presence] = {}
        book.watch(self.line)
        book.watch(self)
        self.woken.clear()
        self.jobs_changed.clear()

    def presence(self, node: int) -> Presence:
        """What is known of a node's agent."""
        found = self._presences.get(node)
        if found is None:
            found = self._presences[node] = Presence()
        return found

    def poll_ms(self, node: int) -> int:
        """How long a sync of the node may be held."""
        return lease.poll_ms(len(self.book.nodes), busy=bool(self.book.tokens_of_node.get(node)))

    def live_attempts(self, node: int) -> list[Attempt]:
        """Those of the node, oldest first."""
        return [self.book.attempts[token] for token in sorted(self.book.tokens_of_node.get(node, ()))]

    def attempt_of(self, job: Job) -> Attempt:
        """The live attempt of an ACTIVE job."""
        return self.book.attempts[job.token or 0]

    def say(
        self,
        kind: Kind,
        now: Now,
        actor: str,
        *,
        job: int | None = None,
        token: int | None = None,
        node: int | None = None,
        **data: object,
    ) -> None:
        """Write an event down."""
        self.write_down(kind.value, now, actor, data, job=job, token=token, node=node)

    def write_down(
        self,
        kind: str,
        now: Now,
        actor: str,
        data: Mapping[str, object],
        *,
        job: int | None,
        token: int | None,
        node: int | None,
    ) -> None:
        """The same for data that is an object already, or its text."""
        seq = self.book.number("event")
        self.book.add(
            Event(seq=seq, at_ms=now.unix_ms, kind=kind, actor=actor, job=job, token=token, node=node, data=data)
        )

    def node(self, node: int) -> MarketNode:
        """A node by its id.

        Raises:
            Refused: there is none.
        """
        found = self.book.nodes.get(node)
        if found is None:
            raise Refused("not_found", f"there is no node {node}")
        return found

    def changed(self, before: Row | None, after: Row | None) -> None:
        """As the book's watcher: collect whom it concerns; a change that is undone concerns the same."""
        row = after if after is not None else before
        if isinstance(row, Job):
            self.jobs_changed.add(row.id)
        elif isinstance(row, Attempt):
            if after is None:  # its token will be given to another attempt
                self.presence(row.node).missing.pop(row.token, None)
            if before is None:
                self.presence(row.node).given_ms = row.placed_ms
            if before is None or not is_live(row.state) or row.state is AttemptState.STOPPING:
                self.woken.add(row.node)

    def touched(self) -> Touched:
        """Whom the changes since the last call concern."""
        touched = Touched(nodes=frozenset(self.woken), jobs=frozenset(self.jobs_changed))
        self.woken.clear()
        self.jobs_changed.clear()
        return touched
