"""What of a job and of a node decides who fits whom."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable

from scheduler.book import Row
from scheduler.records import Job, JobSpec, MarketNode

#: of a spec: no node is better or worse for these
_NOT_OF_THE_SHAPE = frozenset(
    {
        "name",
        "command",
        "deadline_ms",
        "retries",
        "recover_on_exit_codes",
        "env",
        "secrets",
        "inputs",
        "artifacts",
        "checkpoint",
        "priority",
        "stop_grace_s",
        "hold_s",
        "log_quota_bytes",
    }
)
_SHAPE_FIELDS = tuple(f.name for f in dataclasses.fields(JobSpec) if f.name not in _NOT_OF_THE_SHAPE)


def avoided(job: Job) -> frozenset[int]:
    """Nodes on which the job is placed only when no other will do."""
    return frozenset((*job.lost_nodes, *job.crash_nodes)) if job.lost_nodes or job.crash_nodes else frozenset()


def shape_of(job: Job) -> Hashable:
    """All that a job's place depends on."""
    return (avoided(job), *(getattr(job.spec, name) for name in _SHAPE_FIELDS))


def terms_of(node: Row | None) -> tuple[object, ...]:
    """What of a node decides who fits."""
    if not isinstance(node, MarketNode):
        return ()
    return (
        node.standing,
        node.online,
        node.draining,
        node.capacity,
        node.report_id,
        node.price_uh,
        node.region,
        node.executors,
        node.shares_gpus,
    )
