"""The renter's verbs for jobs that were handed over: ps, job, logs, cancel."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence

import click

from server.cli_run import attend, show
from server.cli_shared import NUMBER_MAX, connect, guarded, pages, print_json, printing, say, worded
from server.client import Json, ProblemError
from server.client_follow import STREAMS, Place, so_far

JOB = click.IntRange(1, NUMBER_MAX)
WAITING = "queued,backoff,active"


@click.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Those that have ended, too.")
@click.option("-n", "--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="The newest.")
@click.option("-q", "--quiet", is_flag=True, help="Numbers only, one a line.")
@click.option("--json", "as_json", is_flag=True, help="Print the jobs as one JSON document.")
@guarded
def ps(everything: bool, limit: int, quiet: bool, as_json: bool) -> None:
    """List your jobs, the newest first.

    Example: gridmark ps -a
    """
    with connect() as client:
        found = list(pages(client, "/v1/jobs", limit, state=None if everything else WAITING))
    if as_json:
        print_json(found)
        return
    with printing():
        if quiet:
            for one in found:
                click.echo(one["id"])
        else:
            _table(found)


@click.command()
@click.argument("job", type=JOB)
@click.option("--json", "as_json", is_flag=True, help="Print all of it as one JSON document.")
@guarded
def job(job: int, as_json: bool) -> None:
    """Show one job in full: its attempts, why each node was chosen, and what happened.

    Example: gridmark job 7
    """
    with connect() as client:
        found = client.get(f"/v1/jobs/{job}")
        events = list(pages(client, f"/v1/jobs/{job}/events", 1000))
    if as_json:
        print_json({**found, "events": events})
        return
    with printing():
        _in_full(found, events)


@click.command()
@click.argument("job", type=JOB)
@click.option("-f", "--follow", is_flag=True, help="Go on until it ends; the exit code is then the job's.")
@click.option("--stream", type=click.Choice(["out", "err", "both"]), default="both", show_default=True)
@click.option(
    "--since-offset", type=click.IntRange(min=0), default=0, metavar="BYTES", help="Leave out so much of each."
)
@guarded
def logs(job: int, follow: bool, stream: str, since_offset: int) -> None:
    """Print what a job wrote: its stdout on stdout, its stderr on stderr, of all its attempts.

    Example: gridmark logs -f 7
    """
    wanted = [one for one in STREAMS if stream in (one, "both")]
    place = Place(dict.fromkeys(wanted, since_offset))
    with connect() as client:
        if follow:
            sys.exit(attend(client, job, place))
        with printing():
            for chunk in so_far(client, job, place):
                show(chunk)


@click.command()
@click.argument("jobs", type=JOB, nargs=-1, required=True, metavar="JOB...")
@guarded
def cancel(jobs: tuple[int, ...]) -> None:
    """Stop jobs: politely, then by force after their grace. Each number is printed when it was asked for.

    Exit codes: 0 all are or will be stopped, 1 one of them cannot be.

    Example: gridmark cancel 7 8
    """
    refused = False
    with connect() as client:
        for one in jobs:
            try:
                client.post(f"/v1/jobs/{one}/cancel", again=True)
            except ProblemError as error:
                if error.status not in (404, 409):
                    raise
                say(f"job {one}: {worded(error)}")
                refused = True
            else:
                with printing():
                    click.echo(one)
    sys.exit(1 if refused else 0)


def _table(found: Sequence[Json]) -> None:
    from server import cli_words as words
    from server.cli_tables import table

    now_ms = round(time.time() * 1000)
    rows = [
        (
            str(one["id"]),
            one["name"],
            words.toned(one["state"]),
            words.exit_code(one["exit_code"]),
            words.age(one["created_ms"], now_ms),
            str(one["attempts"]),
            one["reason"] or shlex.join(one["command"]),
        )
        for one in found
    ]
    titles = ("JOB", "NAME", "STATE", "EXIT", "AGE", "TRIES", "REASON OR COMMAND")
    table(titles, rows, right=("JOB", "AGE", "TRIES"), stretch=titles[-1])


def _in_full(found: Json, events: Sequence[Json]) -> None:
    from reports import units
    from server import cli_words as words
    from server.cli_tables import facts, heading, table

    facts(_facts(found))
    if found["tries"]:
        heading("Attempts")
        rows = [
            (
                str(one["n"]),
                str(one["node"]),
                words.toned(one["state"]),
                words.exit_code(one["exit_code"]),
                words.moment(one["placed_ms"]),
                units.duration(words.between_s(one["started_ms"], one["ended_ms"])),
                f"{words.money(one['price_uh'])}/h",
                one["reason"],
            )
            for one in found["tries"]
        ]
        table(("N", "NODE", "STATE", "EXIT", "PLACED", "RAN", "PRICE", "REASON"), rows, right=("N", "NODE"))
        heading("Why this node")
        why = found["tries"][-1]["why"].items()
        facts((name.replace("_", " "), words.inline(value)) for name, value in why if value not in ({}, [], "", None))
    artifacts = (found["result"] or {}).get("artifacts", ())
    if artifacts:
        heading("Artifacts")
        table(("SIZE", "PATH"), [(units.size(one["size_bytes"]), one["path"]) for one in artifacts], right=("SIZE",))
    heading("Events")
    table(("WHEN", "WHAT", "WHO", "DATA"), [words.event(one) for one in events])


def _facts(found: Json) -> list[tuple[str, str | tuple[str, str]]]:
    from reports import units
    from server import cli_words as words

    resources = found["spec"]["resources"]
    wanted = [
        words.count(resources["cpu_milli"] / 1000, "CPU"),
        f"{units.size(resources['memory_bytes'])} memory",
        f"{units.size(resources['disk_bytes'])} disk",
    ]
    if resources["gpus"] or resources["gpu_milli"]:
        wanted.insert(0, words.count(resources["gpus"] + resources["gpu_milli"] / 1000, "GPU"))
    pairs: list[tuple[str, str | tuple[str, str]]] = [
        ("job", f"{found['id']} {found['name']}"),
        ("state", words.toned(found["state"])),
        ("reason", found["reason"]),
        ("exit code", words.exit_code(found["exit_code"])),
        ("command", shlex.join(found["command"])),
        ("image", found["image"] or ""),
        ("occupies", ", ".join(wanted)),
        ("where", found["spec"]["where"]),
        ("policy", found["spec"]["policy"]),
        ("handed over", words.moment(found["created_ms"])),
        ("ended", words.moment(found["ended_ms"]) if found["ended_ms"] else ""),
    ]
    return [(name, cell) for name, cell in pairs if cell]
