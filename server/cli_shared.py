"""What the verbs of this room share: how they end, print and reach the server. Nothing heavy is loaded here."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn, ParamSpec

import click

from scheduler.verbs import EXIT_OF_STATUS
from server import client_settings
from server.client import Client, ClientError, Json, ProblemError

P = ParamSpec("P")

#: of jobs, nodes and accounts; what JSON's readers keep exact
NUMBER_MAX = 2**53 - 1


def say(sentence: str) -> None:
    """A word on stderr; nobody need be listening."""
    with contextlib.suppress(OSError, ValueError):
        click.echo(f"gridmark: {sentence}", err=True)


def fail(sentence: str, code: int = 3) -> NoReturn:
    """End with one sentence on stderr."""
    say(sentence)
    sys.exit(code)


def connect(role: str = "renter") -> Client:
    """A client of the server that the environment or the data folder names, with the token of a role."""
    return Client(client_settings.load(os.environ, role))


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """End `command` with one sentence and the right exit code whatever the server, the network or stdout does."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except ProblemError as error:
            fail(worded(error), EXIT_OF_STATUS.get(error.status, 3))
        except ClientError as error:
            fail(
                f"{error}; start one with `gridmark up`, or name yours in GRIDMARK_SERVER"
                if error.nowhere
                else str(error)
            )
        except KeyboardInterrupt:
            fail("interrupted", 130)

    return run


def worded(error: ProblemError) -> str:
    """A refusal as a sentence, with what to do where we know."""
    if error.status == 401:
        return f"{error}; set GRIDMARK_TOKEN to a token of this server (`gridmark up` prints one)"
    return str(error)


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """Ends the process where stdout takes nothing: quietly when its reader left, with a sentence otherwise."""
    if sys.stdout is None or sys.stdout.closed:
        fail("stdout is closed: nothing could be printed; open it or redirect it to a file")
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        silence()
        sys.exit(3)
    except OSError as error:
        silence()
        fail(f"cannot write to stdout: {error.strerror or error}")


def silence() -> None:
    """Let what is still buffered go nowhere, so that the interpreter does not stumble over it when it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(document: object) -> None:
    """One JSON document on stdout."""
    with printing():
        click.echo(json.dumps(document, indent=2))


def pages(client: Client, path: str, limit: int | None, **query: object) -> Iterator[Json]:
    """The items of a list that comes in pages, up to `limit` of them."""
    cursor: str | None = None
    left = limit
    while left is None or left > 0:
        page = client.get(path, **query, cursor=cursor, limit=None if left is None else min(left, 200))
        items = page["items"]
        yield from items if left is None else items[:left]
        cursor = page.get("next_cursor")
        if cursor is None or not items:
            return
        left = None if left is None else left - len(items)
