"""The process that finds offers: `python -m server.finder_child SOCKET DATABASE`.

It is told what there are names for, reads the nodes that are committed, says that it is ready, and then does what
comes over the socket one after the other: change its copy of the market, or answer a query. It ends when the other end
of the socket is closed, which the kernel does whatever way the server ends; signals that end a server do not end it
before.
"""

from __future__ import annotations

import contextlib
import io
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from scheduler.collector import collect_rarely, not_collecting
from scheduler.market.fields import Names
from scheduler.placement.replica import Changes, Replica
from scheduler.store import nodes
from scheduler.store.connection import connect_reader
from scheduler.store.statement import translated
from server import finder_wire, offers
from server.finder_wire import Answer, Question, Told
from server.offers import Asked
from server.problem import ProblemError

#: asked before anybody does: the first query also reads the grammar and the reference, which takes a tenth of a second
FIRST = Asked(text="count >= 0", sort="price", limit=1, cursor=None, explain=False)


def main(descriptor: int, database: Path) -> None:
    """Answer until there is nobody to answer."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with (
        contextlib.suppress(ConnectionError),
        socket.socket(fileno=descriptor) as link,
        link.makefile("rb") as incoming,
    ):
        everything = _told(incoming)
        names = next(everything, None)
        if not isinstance(names, Names):
            return
        replica = opened(database, names)
        link.sendall(finder_wire.answer(Answer(finder_wire.READY, b"")))
        for told in everything:
            if isinstance(told, Changes):
                replica.apply(told)
            elif isinstance(told, Question):
                link.sendall(finder_wire.answer(Answer(told.number, _found(replica, told))))


def opened(database: Path, names: Names) -> Replica:
    """A copy of the market as the database has it, ready to be asked.

    Raises:
        StoreError: it cannot be read.
    """
    with translated(f"reading {database}"), contextlib.closing(connect_reader(database)) as db, not_collecting():
        replica = Replica(names, nodes.every(db))
    offers.find(replica.index, FIRST, 0)
    collect_rarely()
    return replica


def _told(incoming: io.BufferedReader) -> Iterator[Told]:
    """What comes, until there will be no more."""
    while len(head := incoming.read(finder_wire.LENGTH.size)) == finder_wire.LENGTH.size:
        (size,) = finder_wire.LENGTH.unpack(head)
        if len(content := incoming.read(size)) < size:
            return
        yield finder_wire.read(content)


def _found(replica: Replica, question: Question) -> bytes | ProblemError | None:
    try:
        return offers.find(replica.index, question.asked, question.now_ms)
    except ProblemError as problem:
        return problem
    except BaseException:  # noqa: BLE001 - the server asks itself then, where the fault is logged with its request
        return None


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
