"""What is written down about every change of state: who did it, when, and why."""

from __future__ import annotations

import enum


class Kind(enum.StrEnum):
    """All kinds of events; in brackets the keys of their data."""

    ACCOUNT_CREATED = "account.created"  #: [account, name, role]
    ACCOUNT_TERMS = "account.terms"  #: [account, what changed: new value]
    ACCOUNT_REVOKED = "account.revoked"  #: [account]

    NODE_ENROLLED = "node.enrolled"  #: a key was seen for the first time, or after it retired [name, supplier]
    NODE_TERMS = "node.terms"  #: price, region, executors or sharing changed [what changed: new value]
    NODE_REGISTERED = "node.registered"  #: an agent began anew [epoch, boot_id, rebooted]
    NODE_ONLINE = "node.online"
    NODE_OFFLINE = "node.offline"  #: its lease lapsed [silent_ms]
    NODE_MEASURED = "node.measured"  #: a report was accepted [report, verdict, standing, why, machine]
    NODE_DISBELIEVED = "node.disbelieved"  #: a report that cannot be true [report, why]
    NODE_STANDING = "node.standing"  #: without a report: first measurement, stale [before, after, why]
    NODE_QUARANTINED = "node.quarantined"  #: it lost too many jobs [jobs]
    NODE_DRAINING = "node.draining"
    NODE_UNDRAINED = "node.undrained"
    NODE_DUE = "node.due"  #: somebody wants it measured now
    NODE_CHALLENGED = "node.challenged"  #: [challenge, level, chain, phase, phases]
    NODE_JUDGED = "node.judged"  #: what came of a challenge [challenge, outcome, why, entry]
    NODE_PROVED = "node.proved"  #: a check was gone through [level, fell_short]
    NODE_BARRED = "node.barred"  #: no work for what its proofs showed [bar, why, until_ms]
    NODE_READMITTED = "node.readmitted"  #: [bar]
    NODE_RETIRED = "node.retired"  #: [forced]

    OUTAGE_BEGAN = "outage.began"  #: so many nodes fell silent at once that jobs wait for them [silent, of, suppliers]
    OUTAGE_OVER = "outage.over"  #: they wait no more [waited_ms, silent, of, suppliers]

    JOB_QUEUED = "job.queued"  #: submitted, or to be placed again [reason]
    JOB_BACKOFF = "job.backoff"  #: to be placed again, not at once [reason, delay_ms]
    JOB_CANCELLING = "job.cancelling"  #: asked for; its attempt still has to end
    JOB_CHECKPOINT = "job.checkpoint"  #: [sha256]
    JOB_DONE = "job.done"  #: [exit_code, reason], as the three that follow
    JOB_FAILED = "job.failed"
    JOB_CANCELLED = "job.cancelled"
    JOB_EXPIRED = "job.expired"

    ATTEMPT_PLACED = "attempt.placed"  #: [price_uh, gpus]
    ATTEMPT_PREPARING = "attempt.preparing"
    ATTEMPT_STARTING = "attempt.starting"
    ATTEMPT_RUNNING = "attempt.running"
    ATTEMPT_FROZEN = "attempt.frozen"
    ATTEMPT_STOPPING = "attempt.stopping"  #: [reason]
    ATTEMPT_ENDED = "attempt.ended"  #: [state, exit_code, reason, frozen_ms]
