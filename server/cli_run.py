"""`gridmark run`: hand over a job, follow its output, and end as it ended."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from qualify.options import Duration, Size
from server import client_follow
from server.cli_document import Typed, merged, uploaded
from server.cli_shared import connect, fail, guarded, print_json, say, silence
from server.client import Client, Json, ProblemError
from server.client_follow import Chunk, End, Place, Watch

if TYPE_CHECKING:
    from server.jobfile import Document

#: silence of a new job after which its reader is told what it waits for
FIRST_SILENCE_S = 1.0
WAITING_SILENCE_S = 2.0


@click.command(context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@click.option("-f", "--file", metavar="FILE", help="A job document, JSON or YAML; - for stdin. Options come on top.")
@click.option("--name", help="What to call it. [the command's first word]")
@click.option("--cpus", type=float, help="CPUs, such as 2 or 0.5. [1]")
@click.option("--memory", type=Size(), help="Main memory: 4GiB. [512MiB]")
@click.option("--disk", type=Size(), help="Room in the job's folder: 20GiB. [1GiB]")
@click.option("--gpus", type=float, help="Whole GPUs, or a share of one, such as 0.25, where suppliers share. [0]")
@click.option("--image", help="Run in a container of this image. [a plain process]")
@click.option("-e", "--env", multiple=True, metavar="K=V", help="An environment variable; repeatable.")
@click.option(
    "--secret",
    "secret",
    multiple=True,
    metavar="NAME[=VALUE|=@FILE]",
    help="Kept sealed; NAME alone: from your environment.",
)
@click.option("--where", metavar="QUERY", help="What its node must fulfil, as in `gridmark offers`.")
@click.option("--region", help="Where its node must be.")
@click.option("--max-price", type=float, metavar="DOLLARS", help="Per hour, of what the job occupies.")
@click.option("--max-duration", type=Duration(), help="Stop an attempt after this: 90s, 2h. [never]")
@click.option("--deadline", type=Duration(), metavar="IN", help="Give the job up when this has passed from now: 6h.")
@click.option("--retries", type=click.IntRange(0, 100), help="Times it is started again when its program fails. [0]")
@click.option("--input", "inputs", multiple=True, metavar="FILE[:TO]", help="A file to have beside it; repeatable.")
@click.option(
    "--upload", "folders", multiple=True, metavar="DIR[:TO]", help="A folder's content to have beside it; repeatable."
)
@click.option("--artifact", "artifacts", multiple=True, metavar="GLOB", help="Files to keep when it ended; repeatable.")
@click.option("--checkpoint", metavar="DIR", help="A folder that travels to the next attempt.")
@click.option("--policy", metavar="NAME", help="How its node is chosen: finish_cheapest, fastest, cheapest, pack.")
@click.option("--work", metavar="METRIC=AMOUNT", help="How much there is to do: matmul.bf16=1e18.")
@click.option("--priority", type=int, help="Higher goes first among yours. [0]")
@click.option("--preemptible", is_flag=True, help="A job that is not may take its place; it is placed again.")
@click.option("--no-network", is_flag=True, help="Without a network but its own loopback.")
@click.option("--read-only", is_flag=True, help="Containers: a root file system that cannot be written.")
@click.option("-d", "--detach", is_flag=True, help="Print the job's number and leave it.")
@click.option("--json", "as_json", is_flag=True, help="Print the job as one JSON document; implies --detach.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@guarded
def run(command: tuple[str, ...], file: str | None, detach: bool, as_json: bool, **options: Any) -> None:
    """Run COMMAND as a job on the node where it finishes cheapest, and follow it.

    Its stdout and stderr come out as they are, and its exit code is this command's (128 + n: ended by signal n).
    1 is also: the job was cancelled, expired or could not be run; 2 usage; 3 the server could not be reached.
    Ctrl-C stops following; the job goes on.

    Example: gridmark run --cpus 2 --upload . --artifact 'out/*' -- python3 train.py --epochs 3
    """
    with connect() as client:
        job = _submit(client, file, command, Typed(**options))
        if as_json:
            print_json(job)
        elif detach:
            click.echo(job["id"])
        else:
            sys.exit(attend(client, int(job["id"]), Place()))


def attend(client: Client, job: int, place: Place) -> int:
    """Print the job's output until it ends; its exit code, or 130 when Ctrl-C detached us."""
    waiting = Waiting(client, job)
    watch = Watch(quiet=waiting.look, lost=waiting.lost, found=waiting.found)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        for one in client_follow.follow(client, job, place, watch=watch, first_s=FIRST_SILENCE_S):
            if isinstance(one, End):
                return ended(job, one)
            waiting.heard(one)
            show(one)
    except KeyboardInterrupt as error:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C shall not cut the sentence short
        click.echo(err=True)
        say(f"job {job} goes on; follow it with `gridmark logs -f {job}`, stop it with `gridmark cancel {job}`")
        return 143 if error.args == (signal.SIGTERM,) else 130
    except BrokenPipeError:
        silence()
        say(f"nobody reads the output any more; job {job} goes on, stop it with `gridmark cancel {job}`")
        return 3
    except OSError as error:
        silence()
        fail(
            f"cannot write the output: {error.strerror or error}; job {job} goes on, "
            f"follow it with `gridmark logs -f {job}`"
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    raise AssertionError("a follower's last word is the job's end")


def show(chunk: Chunk) -> None:
    """A piece of output on the stream it came from, byte for byte."""
    if chunk.missing:
        say(f"{chunk.missing} bytes of its std{chunk.stream} are missing here: more was written than is kept")
    target = sys.stdout if chunk.stream == "out" else sys.stderr
    target.buffer.write(chunk.data)
    target.buffer.flush()


def ended(job: int, end: End) -> int:
    """The exit code of an ended job; a word where its own output cannot have said why."""
    if end.state == "done":
        return 0
    code = end.exit_code or 1 if end.state == "failed" else 1
    if code > 128 and end.reason == f"exit code {code}":
        say(f"job {job} failed: ended by signal {code - 128}")
    elif code != end.exit_code or end.reason != f"exit code {code}":
        say(f"job {job} {end.state}" + (f": {end.reason}" if end.reason else ""))
    return code


class Waiting:
    """Says on stderr what a job without output waits for, each reason once."""

    def __init__(self, client: Client, job: int) -> None:
        self._client = client
        self._job = job
        self._said = ""
        self._attempt = 1

    def heard(self, chunk: Chunk) -> None:
        """Output came; of another attempt than before, perhaps."""
        if chunk.attempt > self._attempt:
            say(f"job {self._job} was started again: this is attempt {chunk.attempt}")
            self._attempt = chunk.attempt

    def look(self) -> float:
        """Look the job up; how long to listen next."""
        found = self._client.get(f"/v1/jobs/{self._job}")
        if found["state"] not in ("queued", "backoff"):
            self._said = ""
            return client_follow.SILENCE_S
        reason = str(found.get("reason") or "waits to be placed")
        if reason != self._said:
            say(f"job {self._job} is queued: {reason}")
            self._said = reason
        return WAITING_SILENCE_S

    def lost(self, reason: str) -> None:
        """The server is gone."""
        say(f"the server does not answer ({reason}); job {self._job} goes on, trying again")

    def found(self) -> None:
        """It is back."""
        say("the server answers again")


def _interrupt(number: int, frame: FrameType | None) -> None:
    del frame
    raise KeyboardInterrupt(number)


def _submit(client: Client, file: str | None, command: tuple[str, ...], typed: Typed) -> Json:
    written = _read(file) if file is not None else None
    if written is None and not command and typed.image is None:
        raise click.UsageError("nothing to run: give `-- COMMAND…`, an --image, or a job document with -f")
    job = merged(written.content if written else {}, command, typed, os.environ, now_unix_s=time.time())
    base = Path(file).parent if file not in (None, "-") else Path()
    job = uploaded(client, job, base, os.environ)
    try:
        return client.submit(job, os.urandom(16).hex())
    except ProblemError as error:
        if error.status not in (400, 422):
            raise
        fail(faults(error, written), 2)


def _read(file: str) -> Document:
    from server import jobfile

    try:
        return jobfile.read(file, sys.stdin.buffer)
    except jobfile.JobFileError as error:
        fail(str(error), 2)


def faults(error: ProblemError, written: Document | None) -> str:
    """What is wrong with a job, each fault with its place: a line of the file, or the field."""
    found = error.problem.get("errors")
    if not isinstance(found, list) or not found:
        return str(error)
    lines = []
    for fault in found:
        at = str(fault.get("at", "")).removeprefix("body").lstrip(".")
        where = f"{written.where(at)}: " if written is not None else ""
        lines.append(f"{where}{at or 'the job'}: {fault.get('text')}")
    return "\n  ".join(["the job is not valid:", *lines]) if len(lines) > 1 else lines[0]
