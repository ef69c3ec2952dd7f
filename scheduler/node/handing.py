"""What of an attempt goes to the server while it runs and when it has ended: output, checkpoints, artifacts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scheduler.node import artifacts, tree
from scheduler.node.cache import Cache
from scheduler.node.checkpoint import Checkpointer
from scheduler.node.execution import Machine, Order
from scheduler.node.inputs import Fetcher, inside
from scheduler.node.logs import LogPusher
from scheduler.node.remote import RefusedError, Remote
from scheduler.records import Artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every attempt of an agent shares."""

    machine: Machine
    remote: Remote
    fetcher: Fetcher
    cache: Cache
    poke: Path  #: the agent's socket
    offered: frozenset[str]  #: executors the owner lets jobs use
    changed: Callable[[], None]  #: something is to be told to the server now
    pauses: Callable[[], Callable[[], float]]


def pushers(around: Surroundings, order: Order) -> list[LogPusher]:
    """One for each stream."""
    return [
        LogPusher(around.remote, order.token, stream, order.folder / f"{stream}.log", pauses=around.pauses)
        for stream in ("out", "err")
    ]


def checkpointer(around: Surroundings, order: Order) -> Checkpointer | None:
    """For a job that has a checkpoint folder."""
    if order.spec.checkpoint is None:
        return None
    made = Checkpointer(
        around.remote,
        order.token,
        inside(order.work, order.spec.checkpoint),
        order.folder / "checkpoint.tar",
        limit_bytes=order.spec.resources.disk_bytes,
        pauses=around.pauses,
    )
    if not (order.folder / "status.json").exists():  # not adopted: what is there is what was put there
        made.begin()
    return made


async def keep_artifacts(around: Surroundings, order: Order) -> tuple[tuple[Artifact, ...], str]:
    """Upload what the job leaves; what was uploaded, or nothing and why."""
    globs, limit = order.spec.artifacts, order.spec.resources.disk_bytes
    try:
        found = await asyncio.to_thread(artifacts.find, order.work, globs, limit_bytes=limit)
        await artifacts.upload(around.remote, order.token, order.work, found, around.pauses)
    except (tree.TreeError, OSError, RefusedError) as error:
        return (), f"no artifacts were kept: {error}"
    return found, ""
