"""The supplier's verbs that serve: join and agent. They parse, call and print; nothing is decided here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import random
import signal
import sys
import time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NoReturn

import click

from qualify import places
from scheduler.verbs import EXIT_OF_STATUS, node_name


class Price(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.2 on
    """Micro-dollars per hour, typed as dollars: 0.10."""

    name = "$/h"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Exact to a micro-dollar, or a usage error."""
        if isinstance(value, int):
            return value
        try:
            micro = Decimal(str(value).removesuffix("$/h").strip()) * 1_000_000
        except InvalidOperation:
            self.fail(f"expected dollars per hour such as 0.10, found {str(value)!r}", param, ctx)
        if not micro.is_finite() or micro != micro.to_integral_value() or not 0 <= micro <= 10**11:
            self.fail(f"expected 0 to 100000 dollars per hour, to a millionth, found {value!s}", param, ctx)
        return int(micro)


_data = click.option(
    "--data", type=click.Path(path_type=Path), metavar="DIR", help="Where everything is kept. [$GRIDMARK_DATA]"
)


@click.command()
@click.argument("url")
@click.option("--token", required=True, envvar="GRIDMARK_TOKEN", help="Of your supplier's account. [$GRIDMARK_TOKEN]")
@click.option("--price", "price_uh", type=Price(), default="0.10", show_default=True, help="Of the whole node, $/h.")
@click.option("--name", default=lambda: node_name(platform.node()), help="What people see. [this host's name]")
@click.option("--region", default="", help="Where the node stands, such as eu-north.")
@click.option(
    "--allow-process", is_flag=True, help="Also run jobs as commands of this machine, not only in containers."
)
@click.option("--share-gpus", is_flag=True, help="Let jobs rent a part of a GPU.")
@click.option("--ca", type=click.Path(path_type=Path), metavar="FILE", help="Authority of the server's certificate.")
@_data
def join(
    url: str,
    token: str,
    price_uh: int,
    name: str,
    region: str,
    allow_process: bool,
    share_gpus: bool,
    ca: Path | None,
    data: Path | None,
) -> None:
    """List this machine on a server: enrol, be measured, and serve until Ctrl-C.

    The terms can be changed by joining again; `gridmark agent` serves without changing them.

    Exit codes: 0 left politely, 1 the server says no, 2 usage, 3 could not be done.

    Example: gridmark join https://market.example:8700 --token gm_… --price 0.25 --region eu
    """
    from scheduler.node import join as joining
    from scheduler.node.identity import IdentityError
    from scheduler.node.remote import RefusedError, RemoteError

    folder = data_folder(data)
    offer = joining.Offer(name=name, price_uh=price_uh, region=region, shares_gpus=share_gpus, process=allow_process)
    try:
        names = joining.offered(os.environ, folder, process=allow_process, say=_say)
        kept = asyncio.run(
            joining.enrol(
                url,
                token,
                offer,
                data=folder,
                names=names,
                ca=None if ca is None else str(ca.resolve()),
                unix_ms=_unix_ms(),
            )
        )
    except RefusedError as error:
        if error.status == 401:
            _fail(f"{error}; --token takes a supplier's, which `gridmark account add NAME --role supplier` makes")
        _fail(str(error), EXIT_OF_STATUS.get(error.status, 3))
    except (RemoteError, IdentityError, joining.JoinError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{folder} cannot be used: {error.strerror or error}; choose another --data")
    _say(f"enrolled as node {kept.node}, jobs run as {' and '.join(names)}; it is listed once it is measured")
    _serve(folder)


@click.command()
@_data
def agent(data: Path | None) -> None:
    """Serve the node that `gridmark join` enrolled, until SIGTERM or Ctrl-C.

    Jobs that run then go on under their supervisors for as long as the server still holds them to be this node's (some
    ten seconds, after which they are frozen); an agent that is started again takes them over. As a systemd service it
    wants KillMode=process, so that they are left alone, Delegate=yes, so that they can be limited, and Restart=always.

    Exit codes: 0 left politely, 3 could not serve.

    Example: gridmark agent --data /var/lib/gridmark
    """
    _serve(data_folder(data))


def data_folder(chosen: Path | None) -> Path:
    """The option, $GRIDMARK_DATA, or the user's data folder."""
    return (chosen or places.data_folder(os.environ)).absolute()


def _serve(data: Path) -> None:
    from scheduler.node.agent import AgentError

    try:
        asyncio.run(_until_told(data))
    except AgentError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or data} cannot be used: {error.strerror or error}")


async def _until_told(data: Path) -> None:
    from scheduler.node.agent import Agent, Config

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    config = Config(data=data, environment=os.environ, random=random.random, unix_ms=_unix_ms, say=_say)
    await Agent(config).run(stop)


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000


def _say(sentence: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        click.echo(f"gridmark: {sentence}", err=True)


def _fail(sentence: str, code: int = 3) -> NoReturn:
    _say(sentence)
    sys.exit(code)
