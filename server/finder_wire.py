"""What the server and the process that finds offers say to each other, over a pair of sockets nobody else has.

The server's frames are pickles, read in their order: what changed in the market, then a query that is to see it.
Whoever reads a pickle does what its writer says, so the process takes them from its parent alone, and the server takes
none: answers are a number and text.
"""

from __future__ import annotations

import json
import pickle
import struct
from typing import Any, NamedTuple

from scheduler.market.fields import Names
from scheduler.placement.replica import Changes
from server.offers import Asked
from server.problem import Fault, ProblemError

#: before a frame of the server's: bytes of it
LENGTH = struct.Struct("<Q")
#: before an answer: number of the query, what it is, bytes of it
ANSWER = struct.Struct("<QcQ")
PAGE, PROBLEM, FAILED = b"p", b"w", b"f"
#: the number of the answer that says the process is ready
READY = 0


class Question(NamedTuple):
    """A query."""

    number: int  #: of its answer
    asked: Asked
    now_ms: int


class Answer(NamedTuple):
    """What came of it."""

    number: int
    page: bytes | ProblemError | None  #: None = it failed for no fault of the query's


#: names first, then changes and queries in their order
Told = Names | Changes | Question


def frame(told: Told) -> bytes:
    """What the process is sent."""
    content = pickle.dumps(told, pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(content)) + content


def read(content: bytes) -> Told:
    """What is in a frame of the parent's."""
    told: Told = pickle.loads(content)  # noqa: S301 - written by the parent, which alone has the other end
    return told


def answer(found: Answer) -> bytes:
    """What the process says."""
    match found.page:
        case bytes(content):
            kind = PAGE
        case None:
            kind, content = FAILED, b""
        case problem:
            kind, content = PROBLEM, _of_problem(problem)
    return ANSWER.pack(found.number, kind, len(content)) + content


class Answers:
    """Puts answers together from the pieces in which they arrive."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._have = 0  #: bytes in the pieces
        self._want = ANSWER.size  #: bytes there have to be before it is worth looking

    def add(self, piece: bytes) -> list[Answer]:
        """What is complete now."""
        self._pieces.append(piece)
        self._have += len(piece)
        found: list[Answer] = []
        if self._have < self._want:
            return found
        whole = b"".join(self._pieces) if len(self._pieces) > 1 else piece
        at = 0
        while (begin := at + ANSWER.size) <= len(whole):
            number, kind, size = ANSWER.unpack_from(whole, at)
            if len(whole) - begin < size:
                break
            content = whole[begin : begin + size]
            found.append(Answer(number, _page(kind, content)))
            at = begin + size
        self._pieces, self._have = [whole[at:]], len(whole) - at
        self._want = ANSWER.size if self._have < ANSWER.size else ANSWER.size + ANSWER.unpack_from(whole, at)[2]
        return found


def _page(kind: bytes, content: bytes) -> bytes | ProblemError | None:
    if kind == FAILED:
        return None
    return content if kind == PAGE else _problem(content)


def _of_problem(problem: ProblemError) -> bytes:
    faults = [[fault.at, fault.text] for fault in problem.faults]
    return json.dumps([problem.slug, problem.text, faults, dict(problem.more)]).encode("ascii")


def _problem(content: bytes) -> ProblemError:
    found: Any = json.loads(content)
    slug, text, faults, more = found
    return ProblemError(slug, text, [Fault(*fault) for fault in faults], more)
