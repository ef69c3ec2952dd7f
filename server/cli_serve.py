"""The verbs that serve: up, the market on one machine, and serve, the server alone."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qualify import places
from server.cli_shared import fail, guarded, say

if TYPE_CHECKING:
    from scheduler.records import MarketNode
    from server.own_node import Ready

PORT = 8700


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="The folder for everything. [~/.local/share/gridmark]")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0 takes a free one.")
@click.option(
    "--price", type=click.FloatRange(0, 1_000_000), default=0.0, metavar="DOLLARS", help="Of this machine per hour. [0]"
)
@click.option("--name", help="What this machine is called. [its host name]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print address, token and node as one JSON document when ready.")
@guarded
def up(data: Path | None, port: int, price: float, name: str | None, device: str, as_json: bool) -> None:
    """Measure this machine, list it, and serve the market and its page on it, until Ctrl-C.

    The first start measures for up to 45 s. A later one finds its data again, and serves at once. Whoever has the
    token can run commands on this machine as you: it listens on 127.0.0.1 only. Jobs that run at Ctrl-C are frozen
    after 10 s; start it again within 10 minutes and they go on.

    Exit codes: 0 stopped, 3 it could not begin, 130 interrupted before it served.

    Example: gridmark up
    """
    from scheduler.store.errors import StoreError
    from scheduler.verbs import node_name
    from server.own_node import Wishes, Words
    from server.serving import ServingError
    from server.settings import SettingsError
    from server.up import UpError
    from server.up import up as serve_all

    wishes = Wishes(
        data=(data or places.data_folder(os.environ)).absolute(),
        port=port,
        price_uh=round(price * 1_000_000),
        name=name or node_name(socket.gethostname()),
        device=device,
    )
    command = "gridmark run" if data is None else f"GRIDMARK_DATA={shlex.quote(str(wishes.data))} gridmark run"
    words = Words(say=say, ready=lambda ready: _announce(ready, command, as_json=as_json), standing=_tell_standing)
    try:
        running = serve_all(wishes, os.environ, words)
    except (UpError, StoreError, ServingError, SettingsError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or wishes.data}: {error.strerror}; choose another folder with --data")
    if running:
        jobs = "1 job runs on; it" if running == 1 else f"{running} jobs run on; they"
        say(f"stopped; {jobs} will be frozen in 10 s and go on when `gridmark up` is started again within 10 min")
    else:
        say("stopped")


def _announce(ready: Ready, command: str, *, as_json: bool) -> None:
    from reports import units
    from scheduler import codec
    from scheduler.lifecycle import shown
    from server import cli_words as words
    from server.own_node import takes_jobs

    node = ready.node
    token = ready.tokens["renter"]
    if as_json:
        click.echo(json.dumps({"url": ready.url, "token": token, "node": node.id}))
        sys.stdout.flush()
        return
    click.echo(f"url    {ready.url}\ntoken  {token}")
    sys.stdout.flush()
    has = words.capacity(codec.encode(node.capacity))
    standing = shown(node.standing, online=True, draining=node.draining)
    say(f"node {node.id} is {units.plain(node.name)}: {units.plain(node.model)}, {has}: {standing}")
    if not takes_jobs(node):
        _tell_standing(node)
    say(f"in another terminal: {command} -- echo hello")


def _tell_standing(node: MarketNode) -> None:
    from reports import units
    from server import cli_words as words
    from server.own_node import takes_jobs

    if takes_jobs(node):
        say(f"node {node.id} takes jobs now")
        return
    again = words.until(node.due_ms, time.time_ns() // 1_000_000)
    say(f"node {node.id} takes no jobs: {units.plain(node.why)}; `gridmark node {node.id}` says more")
    say(f"it is measured again {again}, or as soon as `gridmark due --within 1d --run` asks for it")


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="The folder for everything. [~/.local/share/gridmark]")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0 takes a free one.")
@click.option("--tls-certificate", type=click.Path(path_type=Path), metavar="FILE", help="PEM, with its chain.")
@click.option("--tls-key", type=click.Path(path_type=Path), metavar="FILE", help="PEM.")
@click.option("--insecure", is_flag=True, help="Plain HTTP beyond this machine, where something else encrypts.")
@click.option("--no-proofs", is_flag=True, help="Believe reports: have no node prove its figures.")
@click.option("--account-jobs", type=click.IntRange(1), help="Of one account, not yet ended, at most. [10000]")
@click.option("--account-gpus", type=click.FloatRange(0), help="Held by one account at once. [all there are]")
@click.option("--account-cpus", type=click.FloatRange(0), help="Held by one account at once. [all there are]")
@click.option("--keep-events", type=click.IntRange(1), metavar="DAYS", help="Then they go to the archive. [90]")
@click.option("--keep-logs", type=click.IntRange(1), metavar="DAYS", help="Of jobs that have ended. [30]")
@click.option("--keep-transcripts", type=click.IntRange(1), metavar="DAYS", help="Of proofs that no longer count. [30]")
@guarded
def serve(
    data: Path | None,
    host: str,
    port: int,
    tls_certificate: Path | None,
    tls_key: Path | None,
    insecure: bool,
    no_proofs: bool,
    account_jobs: int | None,
    account_gpus: float | None,
    account_cpus: float | None,
    keep_events: int | None,
    keep_logs: int | None,
    keep_transcripts: int | None,
) -> None:
    """Serve the market and its page, without a node of this machine, until SIGTERM or Ctrl-C.

    Its log goes to stderr, one JSON object a line. The first start makes an account of each role; their tokens are in
    the file client.json of its data folder, where commands on this machine find them. `gridmark account terms` gives
    one account other limits than everybody.

    Exit codes: 0 stopped, 3 it could not begin.

    Example: gridmark serve --host 0.0.0.0 --tls-certificate cert.pem --tls-key key.pem
    """
    from scheduler.desk import ProvingSettings
    from scheduler.store.errors import StoreError
    from server.serving import ServingError
    from server.settings import Limits, Retention, Settings, SettingsError
    from server.up import serve_alone

    folder = (data or places.data_folder(os.environ)).absolute()
    settings = Settings(
        data=folder,
        host=host,
        port=port,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        insecure=insecure,
        proving=ProvingSettings(on=not no_proofs),
        limits=Limits(
            **_given(
                jobs_waiting=account_jobs, gpu_milli_held=_milli(account_gpus), cpu_milli_held=_milli(account_cpus)
            )
        ),
        retention=Retention(**_given(events_days=keep_events, logs_days=keep_logs, transcripts_days=keep_transcripts)),
    )
    try:
        serve_alone(settings, click.echo)
    except (StoreError, ServingError, SettingsError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or folder}: {error.strerror}; choose another folder with --data")


def _given(**values: int | None) -> dict[str, Any]:
    """Those that were typed."""
    return {name: value for name, value in values.items() if value is not None}


def _milli(count: float | None) -> int | None:
    return None if count is None else round(count * 1000)
