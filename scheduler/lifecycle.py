"""The states of nodes, jobs and attempts, what may follow what, and what each kind of end costs the job."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

#: attempts in a state below this hold resources; the database allows one of them per job
LIVE_BELOW = 10
#: ends that are nobody's program's fault do not use up a job's own retries, but not for ever
MAX_REPLACEMENTS = 20
#: different nodes on which the same job ended with the same exit code before it is the program's fault
SAME_CRASH_NODES = 3
#: different jobs a node may lose before it is taken out and measured again
LOST_JOBS_QUARANTINE = 3
BACKOFF_FIRST_MS = 5_000
BACKOFF_LONGEST_MS = 600_000


class Standing(enum.IntEnum):
    """What the market thinks of a node, whether or not it can be reached just now."""

    NEW = 1  #: enrolled, never measured
    QUALIFYING = 2  #: being measured
    READY = 3
    DEGRADED = 4  #: qualified, with warnings or a stale report
    QUARANTINED = 5  #: not qualified, or it lost too many jobs; measured again before it gets work
    RETIRED = 6


class JobState(enum.IntEnum):
    """Where a job is; from DONE on it stays there."""

    QUEUED = 1
    BACKOFF = 2  #: waits until `next_at_ms`
    ACTIVE = 3  #: has exactly one live attempt
    DONE = 10  #: a result was committed, exit code 0
    FAILED = 11
    CANCELLED = 12
    EXPIRED = 13  #: its deadline passed before it ended


class AttemptState(enum.IntEnum):
    """Where one try of a job is; below LIVE_BELOW it holds resources and a fencing token."""

    RESERVED = 1  #: placed, the node has not said that it knows
    PREPARING = 2  #: image and inputs are being fetched
    STARTING = 3
    RUNNING = 4
    FROZEN = 5  #: its node's lease lapsed; the supervisor stopped it, it may go on
    STOPPING = 6  #: asked to end
    SUCCEEDED = 10
    APP_FAILED = 11
    LOST = 12  #: node or supervisor gone
    PREEMPTED = 13
    PREPARE_FAILED = 14
    SUPPLIER_FAULT = 15
    CANCELLED = 16
    TIMEOUT = 17  #: ran longer than the job's own limit


_FOLLOWS: dict[AttemptState, frozenset[AttemptState]] = {
    AttemptState.RESERVED: frozenset({AttemptState.PREPARING, AttemptState.STARTING, AttemptState.RUNNING}),
    AttemptState.PREPARING: frozenset({AttemptState.STARTING, AttemptState.RUNNING}),
    AttemptState.STARTING: frozenset({AttemptState.RUNNING}),
    AttemptState.RUNNING: frozenset({AttemptState.FROZEN}),
    AttemptState.FROZEN: frozenset({AttemptState.RUNNING}),
    AttemptState.STOPPING: frozenset(),
}


def is_live(state: AttemptState) -> bool:
    """Whether an attempt in `state` still holds its node's resources."""
    return state < LIVE_BELOW


def is_ended(state: JobState) -> bool:
    """Whether nothing will happen to the job any more."""
    return state >= JobState.DONE


def may_follow(before: AttemptState, after: AttemptState) -> bool:
    """Whether an attempt may go from `before` to `after`; any live one may be stopped, or end in any way."""
    if not is_live(before):
        return False
    return after in _FOLLOWS[before] or not is_live(after) or after is AttemptState.STOPPING is not before


def shown(standing: Standing, *, online: bool, draining: bool) -> str:
    """The one word people see for a node: "offline" and "draining" hide what it is otherwise."""
    if standing is Standing.RETIRED or (online and not draining):
        return standing.name.lower()
    return "draining" if online else "offline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """One attempt's end, with what the job has behind it."""

    state: AttemptState
    exit_code: int | None
    retries_used: int  #: of the job's own
    retries_allowed: int
    replacements: int  #: attempts lost to nodes so far, this one included
    recovers: bool  #: the exit code is one the job asked to be tried again for
    same_crash_nodes: int  #: different nodes on which it ended the same way, this one included
    again_there: bool = False  #: it could not be prepared on this very node before
    reason: str = ""  #: what its agent said


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """What becomes of the job."""

    state: JobState
    delay_ms: int = 0  #: before it may be placed again, in BACKOFF
    uses_retry: bool = False
    reason: str = ""


def after(ending: Ending, *, random: Callable[[], float]) -> Next:
    """What an attempt's end means for its job.

    Args:
        random: uniform in [0, 1), so that jobs that fell together do not rise together.
    """
    if ending.state is AttemptState.SUCCEEDED:
        return Next(state=JobState.DONE)
    if ending.state is AttemptState.CANCELLED:
        return Next(state=JobState.CANCELLED, reason="cancelled")
    if ending.state is AttemptState.TIMEOUT:
        return Next(state=JobState.FAILED, reason="ran longer than its max_duration")
    if ending.state is AttemptState.APP_FAILED:
        return _after_crash(ending, random)
    if ending.state is AttemptState.PREPARE_FAILED:
        return _after_no_start(ending, random)
    if ending.state is AttemptState.PREEMPTED:
        return Next(state=JobState.QUEUED, reason="preempted")
    if ending.replacements >= MAX_REPLACEMENTS:
        delay_ms = _backoff_ms(ending.replacements - MAX_REPLACEMENTS, random)
        return Next(state=JobState.BACKOFF, delay_ms=delay_ms, reason=f"{ending.replacements} attempts lost to nodes")
    return Next(state=JobState.QUEUED, reason=ending.state.name.lower())


def _after_crash(ending: Ending, random: Callable[[], float]) -> Next:
    if ending.same_crash_nodes >= SAME_CRASH_NODES:
        reason = f"exit code {ending.exit_code} on {ending.same_crash_nodes} different nodes: it looks like the program"
        return Next(state=JobState.FAILED, reason=reason)
    if not ending.recovers and ending.retries_used >= ending.retries_allowed:
        why = f": {ending.reason}" if ending.reason else ""  # the node knows more, such as that its memory ran out
        return Next(state=JobState.FAILED, reason=f"exit code {ending.exit_code}{why}")
    delay_ms = _backoff_ms(ending.retries_used, random)
    reason = f"exit code {ending.exit_code}, to be tried again"
    return Next(state=JobState.BACKOFF, delay_ms=delay_ms, uses_retry=True, reason=reason)


def _after_no_start(ending: Ending, random: Callable[[], float]) -> Next:
    """An image or input that nobody can fetch is the job's own fault; a full disk is one node's."""
    if ending.same_crash_nodes >= SAME_CRASH_NODES or ending.again_there:
        where = "twice on the same node" if ending.again_there else f"on {ending.same_crash_nodes} different nodes"
        return Next(state=JobState.FAILED, reason=f"could not be prepared, {where}: {ending.reason}")
    delay_ms = _backoff_ms(ending.same_crash_nodes, random)
    return Next(state=JobState.BACKOFF, delay_ms=delay_ms, reason=f"could not be prepared: {ending.reason}")


def _backoff_ms(step: int, random: Callable[[], float]) -> int:
    """Full jitter over 5 s x 2^step, 10 min at most (AWS Architecture Blog, "Exponential backoff and jitter")."""
    longest = min(BACKOFF_LONGEST_MS, BACKOFF_FIRST_MS * 2 ** min(step, 10))
    return int(longest * random())
