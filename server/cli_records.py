"""The operator's verbs for what the server keeps: events, backup, accounts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from qualify import places
from reports import units
from server.cli_shared import NUMBER_MAX, connect, fail, guarded, pages, print_json, printing, say
from server.client import Json

NUMBER = click.IntRange(1, NUMBER_MAX)


@click.command()
@click.option("--after", type=click.IntRange(min=0), default=0, help="Those numbered higher.")
@click.option("--job", type=NUMBER, help="Of one job.")
@click.option("--node", type=NUMBER, help="Of one node.")
@click.option("-n", "--limit", type=click.IntRange(1, 1_000_000), help="At most so many. [all]")
@click.option("--json", "as_json", is_flag=True, help="Print them as one JSON document.")
@guarded
def events(after: int, job: int | None, node: int | None, limit: int | None, as_json: bool) -> None:
    """Print who did what, when and why, oldest first.

    Example: gridmark events --node 3 --after 1200
    """
    with connect("operator") as client:
        found = list(pages(client, "/v1/events", limit, after=after, job=job, node=node))
    if as_json:
        print_json(found)
        return
    with printing():
        _events_table(found)


@click.command()
@click.argument("target", type=click.Path(path_type=Path), required=False)
@click.option("--data", type=click.Path(path_type=Path), help="The server's data folder, for TARGET. [yours]")
@guarded
def backup(target: Path | None, data: Path | None) -> None:
    """Make a consistent copy of the server's database while it serves, and print where it is.

    With TARGET this machine's server is copied there. Without it the server that commands talk to makes the copy, in
    the folder `backups` of its data folder. The key that its secrets are sealed with is in neither: keep a copy of
    gridmark.db.key in another place.

    Example: gridmark backup /mnt/backup/gridmark-monday.db
    """
    if target is None:
        with connect("operator") as client:
            made = client.post("/v1/backup")
        file, size_bytes = str(made["file"]), int(made["size_bytes"])
    else:
        file, size_bytes = str(target), _copied(data or places.data_folder(os.environ), target)
    with printing():
        click.echo(file)
    say(f"{units.size(size_bytes)} copied; the key of its secrets (gridmark.db.key) is not in it")


def _copied(data: Path, target: Path) -> int:
    from scheduler.store.backup import backup as copy
    from scheduler.store.errors import StoreError
    from server.runtime import DATABASE

    if not (data / DATABASE).is_file():
        fail(f"no server's data is in {data}; name its folder with --data, or leave TARGET out to ask the server")
    try:
        return copy(data / DATABASE, target)
    except StoreError as error:
        fail(str(error))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print them as one JSON document.")
@guarded
def accounts(as_json: bool) -> None:
    """List who may call the server.

    Example: gridmark accounts
    """
    with connect("operator") as client:
        found = list(pages(client, "/v1/accounts", None))
    if as_json:
        print_json(found)
        return
    with printing():
        _accounts_table(found)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def account() -> None:
    """Let somebody in, or out.

    Example: gridmark account add alice --role renter
    """


@account.command()
@click.argument("name")
@click.option("--role", type=click.Choice(["renter", "supplier", "operator"]), required=True, help="What they may do.")
@click.option("--json", "as_json", is_flag=True, help="Print the account as one JSON document.")
@guarded
def add(name: str, role: str, as_json: bool) -> None:
    """Make an account for NAME and print its token, which is shown this once.

    Example: gridmark account add alice --role renter
    """
    with connect("operator") as client:
        made = client.post("/v1/accounts", {"name": name, "role": role})
    if as_json:
        print_json(made)
        return
    with printing():
        click.echo(made["token"])
    say(f"account {made['id']} of {name}, a {role}; the token is not kept and is shown this once")


@account.command()
@click.argument("number", type=NUMBER)
@guarded
def revoke(number: int) -> None:
    """Let an account in no more; its jobs and nodes stay.

    Example: gridmark account revoke 3
    """
    with connect("operator") as client:
        client.post(f"/v1/accounts/{number}/revoke", again=True)
    say(f"account {number} is let in no more")


@account.command()
@click.argument("number", type=NUMBER)
@click.option("--weight", type=click.FloatRange(0.001, 1000), default=1.0, help="Of its turn where jobs wait. [1]")
@click.option("--max-jobs", type=click.IntRange(0), help="Not yet ended. [the server's]")
@click.option("--max-gpus", type=click.FloatRange(0, 1_000_000), help="Held at once. [the server's]")
@click.option("--max-cpus", type=click.FloatRange(0, 1_000_000), help="Held at once. [the server's]")
@guarded
def terms(number: int, weight: float, max_jobs: int | None, max_gpus: float | None, max_cpus: float | None) -> None:
    """Say what an account may take; what is left out is as the server has it for everybody.

    Accounts whose jobs wait take turns: next is one of the account that holds least for its weight. It holds at once
    for what waits, and what runs runs on.

    Example: gridmark account terms 3 --weight 2 --max-gpus 8
    """
    wanted = {"weight": weight, "max_jobs": max_jobs, "max_gpus": max_gpus, "max_cpus": max_cpus}
    with connect("operator") as client:
        client.post(f"/v1/accounts/{number}/terms", wanted, again=True)
    say(f"account {number} has these terms now")


def _events_table(found: Sequence[Json]) -> None:
    from server import cli_words as words
    from server.cli_tables import table

    rows = [(str(one["seq"]), *words.event(one)) for one in found]
    table(("N", "WHEN", "WHAT", "WHO", "DATA"), rows, right=("N",), stretch="DATA")


def _accounts_table(found: Sequence[Json]) -> None:
    from server import cli_words as words
    from server.cli_tables import table

    rows = [
        (
            str(one["id"]),
            one["name"],
            one["role"],
            f"{one['weight_milli'] / 1000:g}",
            _limits(one),
            words.moment(one["created_ms"]),
            words.moment(one["revoked_ms"]) if one["revoked_ms"] else "",
        )
        for one in found
    ]
    table(("ID", "NAME", "ROLE", "WEIGHT", "AT MOST", "CREATED", "REVOKED"), rows, right=("ID", "WEIGHT"))


def _limits(account: Json) -> str:
    """What an account's own row says it may take; "" = nothing."""
    counts = (
        (account["jobs_max"], 1, "jobs"),
        (account["gpu_milli_max"], 1000, "GPUs"),
        (account["cpu_milli_max"], 1000, "CPUs"),
    )
    return ", ".join(f"{most / unit:g} {what}" for most, unit, what in counts if most is not None)
