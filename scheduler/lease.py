"""Who may run until when: the lease a node holds, and what the supervisor of an attempt does by it.

The agent's lease is counted from when it *sent* a sync that was answered, the server's from when it *received* it, so
the server's begins later and is half as long again: while clocks run within 20 % of true, a job is frozen before the
server gives it to another node. Nobody compares the two clocks.

Read by the supervisor, a process of a few MiB: nothing but the standard library's smallest modules is imported here.
"""

from __future__ import annotations

import enum
import struct

AGENT_LEASE_MS = 10_000
SERVER_LEASE_MS = 15_000
EXPIRY_MARGIN_MS = 1_000  #: the server waits this much longer before it places the job anew
RENEW_MS = 3_000  #: a third of the lease, rounded down: two syncs may be lost
CLOCK_RATE_ERROR = 0.2  #: of either side, that the figures above allow for
HOLD_MS = 600_000  #: a frozen attempt without contact is killed after this, unless the job says otherwise

#: deadline (ns of CLOCK_BOOTTIME), command; written by the agent, mapped by the supervisor
_LEASE = struct.Struct("<QQ")
LEASE_BYTES = _LEASE.size


class Command(enum.IntEnum):
    """What the agent last asked of a supervisor."""

    RUN = 0
    STOP = 1  #: politely, then by force
    KILL = 2  #: superseded: no politeness, nothing is kept


class Action(enum.IntEnum):
    """What a supervisor does now."""

    RUN = 0
    FREEZE = 1
    STOP = 2
    KILL = 3


def pack(deadline_ns: int, command: Command) -> bytes:
    """The lease file's content, LEASE_BYTES long."""
    return _LEASE.pack(deadline_ns, command)


def unpack(content: bytes) -> tuple[int, Command]:
    """Deadline in ns of CLOCK_BOOTTIME, and the command."""
    deadline_ns, command = _LEASE.unpack(content)
    return deadline_ns, Command(command)


def write(mapped: bytearray | memoryview, deadline_ns: int, command: Command) -> None:
    """Change a mapped lease file so that a reader in between never sees more than was granted.

    The deadline is the last word: it is only moved forward once the command beside it is the new one.
    """
    mapped[8:16] = command.to_bytes(8, "little")
    mapped[0:8] = deadline_ns.to_bytes(8, "little")


def decide(now_ns: int, deadline_ns: int, command: Command, frozen_since_ns: int | None, hold_ns: int) -> Action:
    """What the supervisor does at `now_ns`.

    A deadline is only moved forward by an answer of the server that names the attempt's token, so an attempt that was
    frozen and sees a deadline ahead of it may go on: nobody else was given its job.
    """
    if command is Command.KILL:
        return Action.KILL
    if now_ns < deadline_ns:
        return Action.STOP if command is Command.STOP else Action.RUN
    if command is Command.STOP:  # it was to end anyway, and may not run on without a lease
        return Action.KILL
    if frozen_since_ns is not None and now_ns - frozen_since_ns >= hold_ns:
        return Action.KILL
    return Action.FREEZE


def agent_deadline_ns(sent_ns: int, lease_ms: int) -> int:
    """When the agent's lease ends, from when it sent the sync that was answered (ns of CLOCK_BOOTTIME)."""
    return sent_ns + lease_ms * 1_000_000


def server_expiry_ms(received_ms: int, poll_ms: int) -> int:
    """When the server gives a node up, from when it received its last sync.

    Args:
        poll_ms: how long the answer may be held back while there is nothing to say; beyond RENEW_MS it delays the next
            sync, so it is allowed for.
    """
    return received_ms + max(0, poll_ms - RENEW_MS) + SERVER_LEASE_MS + EXPIRY_MARGIN_MS


def poll_ms(nodes: int, *, busy: bool) -> int:
    """How long a sync is held when there is nothing to do; longer in a large fleet, never for a node with work.

    1,000 syncs a second at most, as Nomad scales its heartbeats to the fleet (nomad/config.go, MaxHeartbeatsPerSecond).
    """
    return RENEW_MS if busy else max(RENEW_MS, nodes)
