"""What lies between a job's document and the rules: whose it is, its key, its blobs and its secrets."""

from __future__ import annotations

import dataclasses
import hmac

from scheduler.clock import Now
from scheduler.control import Control
from scheduler.lifecycle import JobState
from scheduler.market.query import QueryError, parse
from scheduler.placement.policy import policies
from scheduler.records import Account, Job, JobSpec
from server.problems import Fault, ProblemError
from server.runtime import Runtime
from server.schemas.job import JobDocument

_STATES = {state.name.lower(): state for state in JobState}


def states(text: str | None) -> frozenset[JobState] | None:
    """The states named in "queued,active"; None = any.

    Raises:
        ProblemError: one of them is none.
    """
    if text is None:
        return None
    names = text.split(",")
    unknown = [name for name in names if name not in _STATES]
    if unknown:
        fault = Fault("query.state", f"{unknown[0]} is no state; there are {', '.join(_STATES)}")
        raise ProblemError("invalid", fault.text, [fault])
    return frozenset(_STATES[name] for name in names)


def missing(job: int) -> ProblemError:
    """What is said of a job that is not there, and of one that is another's: the same."""
    return ProblemError("not-found", f"there is no job {job} of yours")


async def owned(runtime: Runtime, account: Account, job: int) -> Job:
    """A job of the account's own.

    Raises:
        ProblemError: there is none.
    """
    found = await runtime.read(runtime.reader.job, job)
    if found is None or found.owner != account.id:
        raise missing(job)
    return found


async def visible(runtime: Runtime, account: Account, job: int) -> Job:
    """A job of the account's own, or any for an operator.

    Raises:
        ProblemError: there is none.
    """
    found = await runtime.read(runtime.reader.job, job)
    if found is None or (found.owner != account.id and account.role != "operator"):
        raise missing(job)
    return found


async def submit(runtime: Runtime, account: Account, document: JobDocument, key: str | None) -> tuple[Job, bool]:
    """The job of this key, and whether it is a new one.

    Raises:
        ProblemError: the key is another job's, an input is no blob of the account's, or too many jobs wait.
        Refused: the rules do not take it.
    """
    spec = document.spec()
    _check_choice(runtime, spec)
    spec = await _with_inputs(runtime, account, spec)
    key = key or runtime.sources.random_bytes(16).hex()

    def command(control: Control, now: Now) -> tuple[Job, bool]:
        before = runtime.writer.job_by_key(account.id, key)
        if before is not None:
            return before, False
        job = control.submit(account.id, spec, key, now)
        for name, value in document.secrets.items():
            control.book.add(runtime.sealer.seal(job.id, name, value))
        return job, True

    job, created = await runtime.do(command)
    if not created and not await runtime.read(_is_same, runtime, job, spec, document):
        raise ProblemError("key-reused", f"the key belongs to job {job.id}, whose document is another one")
    return job, created


def _check_choice(runtime: Runtime, spec: JobSpec) -> None:
    """Refuse a query or a policy now that would never place the job."""
    if spec.policy not in policies():
        text = f"there is no policy {spec.policy}; there are {', '.join(policies())}"
        raise ProblemError("invalid", text, [Fault("body.policy", text)])
    try:
        if spec.where.strip():
            parse(spec.where, runtime.index.fields)
    except QueryError as error:
        raise ProblemError("invalid", f"where: {error}", [Fault("body.where", str(error))]) from None


def _is_same(runtime: Runtime, job: Job, spec: JobSpec, document: JobDocument) -> bool:
    """Whether a job came from the same document; the secrets of one that has ended are gone, their names stay."""
    if job.spec != spec:
        return False
    for name, sealed in runtime.reader.secrets(job.id).items():
        kept = runtime.sealer.open(job.id, name, sealed)
        if not hmac.compare_digest(kept.encode(), document.secrets[name].encode()):
            return False
    return True


async def _with_inputs(runtime: Runtime, account: Account, spec: JobSpec) -> JobSpec:
    """With the sizes of the blobs it names, each of which must be the account's own."""
    inputs = []
    for number, one in enumerate(spec.inputs):
        if one.url is None:
            blob = await runtime.read(runtime.reader.blob, account.id, one.sha256)
            if blob is None:
                text = "you uploaded no such blob; PUT it to /v1/blobs/{sha256} first, or give a url"
                raise ProblemError("invalid", text, [Fault(f"body.inputs.{number}.sha256", text)])
            one = dataclasses.replace(one, size_bytes=blob.size_bytes)  # noqa: PLW2901 - the same input, known better
        inputs.append(one)
    return dataclasses.replace(spec, inputs=tuple(inputs))
