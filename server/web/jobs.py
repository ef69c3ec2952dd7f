"""A renter's jobs: where each stands and why, its attempts, its output as it is written, its files."""

from __future__ import annotations

import codecs
import shlex
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse

from reports import units
from scheduler.lifecycle import AttemptState, is_ended, is_live
from scheduler.records import Artifact, Attempt, Job, Stream
from server import jobs
from server.deps import Caller
from server.follow import PIECE_BYTES, Output
from server.routes import joblogs
from server.routes import jobs as api
from server.routes.described import Id
from server.runtime import Runtime
from server.schemas.base import ID_MAX
from server.web import events, reasons, render, words
from server.web.nodes import Fact
from server.web.site import Site, to

ROWS = 50
MOST_ATTEMPTS = 50
MOST_EVENTS = 200
LOG_TAIL_BYTES = 64 << 10
Before = Annotated[int | None, Query(ge=1, le=ID_MAX)]
TITLES: dict[Stream, str] = {"out": "Standard output", "err": "Standard error"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A job as a line of the table."""

    id: int
    name: str
    command: str
    state: str
    tone: str
    reason: str
    attempts: int
    exit_code: str
    age: str
    moment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The end of a stream as it is now."""

    stream: Stream
    title: str
    text: str
    end: int  #: where the next byte will stand
    size: int
    shown: int

    @property
    def cut(self) -> bool:
        """Whether its beginning is left out."""
        return self.shown < self.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """An attempt, worded."""

    n: int
    state: str
    tone: str
    node: int
    node_name: str
    reason: str
    facts: Sequence[tuple[str, str]]
    why: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """An artifact to fetch."""

    path: str
    href: str
    sha256: str
    size_bytes: int


def routes(site: Site, router: APIRouter) -> None:
    """Serve /jobs and what lies below."""
    runtime = site.runtime

    @router.get("/jobs")
    async def listing(request: Request, account: Caller, before: Before = None) -> Response:
        owner = None if account.role == "operator" else account.id
        found = await runtime.read(runtime.reader.jobs, owner, before=before, limit=ROWS + 1)
        return await site.page(
            request,
            "jobs.html",
            here="/jobs",
            lead="Of everybody, newest first." if owner is None else "Yours, newest first.",
            rows=[row(job, runtime.now().unix_ms) for job in found[:ROWS]],
            first_href="/jobs" if before else "",
            next_href=f"/jobs?before={found[ROWS - 1].id}" if len(found) > ROWS else "",
        )

    @router.get("/jobs/{job}")
    async def job_page(request: Request, job: Id, account: Caller) -> Response:
        found = await jobs.visible(runtime, account, job)
        shown = await runtime.read(_shown, runtime, found, mine=found.owner == account.id)
        return await site.page(request, "job.html", here="/jobs", **shown)

    @router.post("/jobs/{job}/cancel")
    async def cancel(request: Request, job: Id, account: Caller) -> Response:
        await site.form(request)
        await api.cancel(runtime, account, job)
        return to(f"/jobs/{job}")

    _output(runtime, router)


def _output(runtime: Runtime, router: APIRouter) -> None:
    """What the API serves already, for whoever came with a cookie."""

    @router.get("/jobs/{job}/logs")
    async def follow(job: Id, account: Caller, out: joblogs.Offset = 0, err: joblogs.Offset = 0) -> Response:
        return _bare(await joblogs.logs(runtime, account, job, follow=True, out=out, err=err))

    @router.get("/jobs/{job}/logs/{stream}")
    async def download(job: Id, stream: Stream, account: Caller) -> Response:
        await jobs.owned(runtime, account, job)
        return _bare(
            StreamingResponse(_whole(runtime, job, stream), media_type="text/plain"), f"job-{job}.{stream}.txt"
        )

    @router.get("/jobs/{job}/artifacts/{path:path}")
    async def artifact(job: Id, path: str, account: Caller) -> Response:
        return _bare(await joblogs.artifact(runtime, account, job, path))


def _bare(answer: Response, name: str = "") -> Response:
    """Something that is no page of ours and never shown as one: a job wrote it."""
    answer.headers.update(render.HEADERS)
    if name:
        answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


async def _whole(runtime: Runtime, job: int, stream: Stream) -> AsyncIterator[bytes]:
    """A stream from its first byte to the last there is now."""
    output = Output(runtime, job)
    _, end = await runtime.read(output.text, stream, 0)
    while output.offsets[stream] < end:
        piece, _ = await runtime.read(output.text, stream, min(PIECE_BYTES, end - output.offsets[stream]))
        if not piece:
            return
        output.offsets[stream] += len(piece)
        yield piece


def _shown(runtime: Runtime, job: Job, *, mine: bool) -> Mapping[str, Any]:
    """A job for its page; what it printed and left behind is its owner's alone. Waits for the disk."""
    now_ms = runtime.now().unix_ms
    reader = runtime.reader
    attempts = reader.attempts(job.id, limit=MOST_ATTEMPTS)
    result = reader.result(job.id) if mine else None
    ended = is_ended(job.state)

    def name_of(node: int) -> str:
        known = runtime.book.nodes.get(node)
        return known.name if known else f"node {node}"

    return {
        "job": job,
        "mine": mine,
        "ended": ended,
        "command": shlex.join(job.spec.command),
        "state": "being cancelled" if job.cancelled and not ended else words.state(job.state),
        "tone": words.job_tone(job.state),
        "reason": job.reason,
        "facts": facts(job, attempts[0] if attempts else None, now_ms),
        "logs": logs(runtime, job) if mine else [],
        "artifacts": [_file(job.id, one) for one in result.artifacts] if result else [],
        "artifacts_none": "None." if ended else "None yet: they are kept when the job ends.",
        "attempts": [attempt(one, name_of, now_ms) for one in attempts],
        "events": [events.line(one, linked=False) for one in reader.latest_events(job=job.id, limit=MOST_EVENTS)],
    }


def _file(job: int, one: Artifact) -> File:
    href = f"/jobs/{job}/artifacts/{quote(one.path)}"
    return File(path=one.path, href=href, sha256=one.sha256, size_bytes=one.size_bytes)


def row(job: Job, now_ms: int) -> Row:
    """A job as a line of the list."""
    return Row(
        id=job.id,
        name=job.spec.name,
        command=_shortened(shlex.join(job.spec.command)),
        state=words.state(job.state),
        tone=words.job_tone(job.state),
        reason=job.reason,
        attempts=job.attempts,
        exit_code=words.exit_words(job.exit_code),
        age=words.ago(job.created_ms, now_ms),
        moment=words.moment(job.created_ms),
    )


def _shortened(text: str, most: int = 100) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def facts(job: Job, last: Attempt | None, now_ms: int) -> list[Fact]:
    """The cards of a job."""
    asked = job.spec.resources
    gpus = f"{asked.gpus} GPUs" if asked.gpus != 1 else "1 GPU"
    share = f"{asked.gpu_milli / 1000:g} of a GPU" if asked.gpu_milli else gpus if asked.gpus else "no GPU"
    found = [
        Fact(name="Exit code", value=words.exit_words(job.exit_code)),
        Fact(name="Submitted", value=words.ago(job.created_ms, now_ms), gloss=words.moment(job.created_ms)),
        Fact(
            name="Asks for",
            value=share,
            gloss=f"{asked.cpu_milli / 1000:g} CPU, {units.size(asked.memory_bytes)}, "
            f"{units.size(asked.disk_bytes)} of disk",
        ),
        Fact(name="Runs as", value=job.spec.image or "a process", gloss=f"placed by {words.spaced(job.spec.policy)}"),
    ]
    if last is not None and last.started_ms is not None:
        end_ms = last.ended_ms if last.ended_ms is not None else now_ms
        ran = units.duration(max(0, end_ms - last.started_ms) / 1000)
        found.insert(
            1, Fact(name="Ran" if last.ended_ms else "Runs for", value=ran, gloss=f"at {words.money(last.price_uh)}/h")
        )
    if job.spec.where:
        found.append(Fact(name="Where", value=job.spec.where))
    return found


def logs(runtime: Runtime, job: Job) -> list[Log]:
    """The end of both streams. Waits for the disk."""
    found = []
    for stream, title in TITLES.items():
        output = Output(runtime, job.id)
        _, size = output.text(stream, 0)
        output.offsets[stream] = begin = max(0, size - LOG_TAIL_BYTES)
        content, _ = output.text(stream, size - begin)
        end = begin + len(content)
        if begin:
            content = content[content.find(b"\n") + 1 :]
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = words.log_text(decoder.decode(content, final=is_ended(job.state)))
        end -= len(decoder.getstate()[0])  # the first bytes of a letter wait for the others
        found.append(Log(stream=stream, title=title, text=text, end=end, size=size, shown=len(content)))
    return found


def attempt(one: Attempt, name_of: Callable[[int], str], now_ms: int) -> Try:
    """An attempt with the reasons for its place."""
    ran_ms = (one.ended_ms or now_ms) - one.started_ms if one.started_ms is not None else None
    pairs = [
        ("Placed", words.moment(one.placed_ms)),
        ("Ran", units.duration(None if ran_ms is None else max(0, ran_ms) / 1000)),
        ("Price", f"{words.money(one.price_uh)}/h"),
        ("GPUs", ", ".join(map(str, one.gpus))),
        ("Exit code", words.exit_words(one.exit_code)),
    ]
    return Try(
        n=one.n,
        state=words.state(one.state),
        tone=_tone(one.state),
        node=one.node,
        node_name=name_of(one.node),
        reason=one.reason,
        facts=[(name, value) for name, value in pairs if value not in ("", units.UNKNOWN)],
        why=reasons.told(one.why, name_of),
    )


def _tone(state: AttemptState) -> words.Tone:
    if is_live(state):
        return "warn" if state in (AttemptState.FROZEN, AttemptState.STOPPING) else "good"
    if state is AttemptState.SUCCEEDED:
        return "good"
    return "muted" if state is AttemptState.CANCELLED else "bad"
