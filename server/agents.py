"""What lies between an agent's requests and the rules: waiting for news, and whose attempt a token is."""

from __future__ import annotations

import asyncio
import dataclasses

from scheduler.records import Artifact, Attempt, Job
from scheduler.store.errors import StoreError
from scheduler.wire import Assignment, Held, SyncAnswer, SyncRequest, Wish
from server.deps import Signed
from server.problems import ProblemError
from server.runtime import Runtime, unwritten
from server.syncs import waited_for

#: output is taken this long after its attempt ended
LATE_MS = 600_000
#: what an agent says of an attempt that will print and leave nothing more
_ENDED = frozenset({"exited", "timeout", "prepare_failed", "vanished"})


async def sync(runtime: Runtime, what: Signed, request: SyncRequest) -> SyncAnswer:
    """Take in what an agent tells; answer at once when there is news, else hold the answer back for a while.

    Raises:
        Refused: the node has registered anew meanwhile, or is retired.
        ProblemError: it names artifacts that were not uploaded, or nothing can be written now.
    """
    if leaves_something(request):
        request = await _saved(runtime, what, request)
    future, done = waited_for(asyncio.get_running_loop())
    one = runtime.syncs.begin(what.node.id, what.epoch, request, done)
    try:
        answer: SyncAnswer = await future
    except StoreError as error:
        raise unwritten(error) from error
    finally:
        runtime.syncs.leave(one)
    runtime.metrics.syncs.inc()
    return await with_secrets(runtime, answer) if needs_secrets(answer) else answer


def leaves_something(request: SyncRequest) -> bool:
    """Whether files have to be looked at before the rules may be told."""
    return any(held.artifacts or held.state in _ENDED for held in request.held)


def needs_secrets(answer: SyncAnswer) -> bool:
    """Whether secrets have to be opened before it is given."""
    return any(wish.assignment is not None and wish.assignment.spec.secrets for wish in answer.wishes)


async def with_secrets(runtime: Runtime, answer: SyncAnswer) -> SyncAnswer:
    """The answer with the secrets of what is to be run."""
    return await runtime.read(_with_secrets, runtime, answer)


async def _saved(runtime: Runtime, what: Signed, request: SyncRequest) -> SyncRequest:
    """See to it that what ended attempts printed and left is on the disk before their end is committed.

    Returns the request with the artifacts of this node's live attempts only, which are checked.
    """
    checked: list[Held] = []
    live: list[tuple[int, Held]] = []  # with the owner of each one's job
    for held in request.held:
        attempt = runtime.book.attempts.get(held.token)
        job = runtime.book.jobs.get(attempt.job) if attempt is not None else None
        if attempt is None or job is None or attempt.node != what.node.id:
            checked.append(dataclasses.replace(held, artifacts=()))  # it may be live by the time it is looked at
            continue
        checked.append(held)
        if held.artifacts or held.state in _ENDED:
            live.append((job.owner, held))
    if live:
        await runtime.read(_save, runtime, live)
    return dataclasses.replace(request, held=tuple(checked))


def _save(runtime: Runtime, live: list[tuple[int, Held]]) -> None:
    for owner, held in live:
        if held.state in _ENDED:
            runtime.files.logs.sync(held.token)
        if held.artifacts:
            _check_artifacts(runtime, owner, held.artifacts)


def _check_artifacts(runtime: Runtime, owner: int, artifacts: tuple[Artifact, ...]) -> None:
    """Only content that came in for this owner may be named: else a digest would open somebody else's."""
    for one in artifacts:
        blob = runtime.reader.blob(owner, one.sha256)
        if blob is None or blob.size_bytes != one.size_bytes:
            raise ProblemError("conflict", f"artifact {one.sha256} was not uploaded with {one.size_bytes} bytes")
    if len({one.path for one in artifacts}) < len(artifacts):
        raise ProblemError("invalid", "two artifacts have the same path")


def _with_secrets(runtime: Runtime, answer: SyncAnswer) -> SyncAnswer:
    """Open the secrets of what is to be run; only the node that holds the current token is answered with them."""

    def opened(assignment: Assignment) -> Assignment:
        sealed = runtime.reader.secrets(assignment.job)
        secrets = {name: runtime.sealer.open(assignment.job, name, value) for name, value in sealed.items()}
        return dataclasses.replace(assignment, secrets=secrets)

    def filled(wish: Wish) -> Wish:
        if wish.assignment is None or not wish.assignment.spec.secrets:
            return wish
        return dataclasses.replace(wish, assignment=opened(wish.assignment))

    return dataclasses.replace(answer, wishes=tuple(filled(wish) for wish in answer.wishes))


def live(runtime: Runtime, what: Signed, token: int) -> tuple[Attempt, Job]:
    """An attempt that this node runs now.

    Raises:
        ProblemError: it runs none of this token; it may never have, or no longer does.
    """
    attempt = runtime.book.attempts.get(token)
    job = runtime.book.jobs.get(attempt.job) if attempt is not None else None
    if attempt is None or job is None or attempt.node != what.node.id or job.token != token:
        raise superseded(token)
    return attempt, job


async def newest(runtime: Runtime, what: Signed, token: int) -> tuple[Attempt, Job]:
    """An attempt of this node that no other has taken over from, ended or not: what it printed last may come late.

    Raises:
        ProblemError: there is none of this token.
    """
    try:
        return live(runtime, what, token)
    except ProblemError:
        attempt = await runtime.read(runtime.reader.attempt, token)
        job = await runtime.read(runtime.reader.job, attempt.job) if attempt is not None else None
    if attempt is None or job is None or attempt.node != what.node.id or job.token != token:
        raise superseded(token)
    if attempt.ended_ms is not None and runtime.now().unix_ms - attempt.ended_ms > LATE_MS:
        raise superseded(token)
    return attempt, job


def superseded(token: int) -> ProblemError:
    """What is said of a token that is not this node's any more, or never was."""
    return ProblemError("superseded", f"token {token} is not that of an attempt of this node: nothing of it is kept")
