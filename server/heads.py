"""The headers of a plain sync, read at once: one way to write them, in which no two readers can find something else.

A parser calls back for each header and each part of a request, which is most of what an idle agent's sync costs beside
its signature. Whatever is written otherwise, however rightly, is left to the parser.
"""

from __future__ import annotations

import re

from server.observe import SYNC

#: a larger body is not read here: uvicorn would pause the connection half-way
DIRECT_BYTES = 32 << 10
#: of all headers together, or of anything else that is no body
HEADERS_BYTES = 64 << 10

_FIRST_LINE = b"POST %b HTTP/1.1\r\n" % SYNC.encode()
_END = b"\r\n\r\n"
_LINE = rb"[A-Za-z0-9-]+: [!-~](?:[ -~]*[!-~])?"
_LINES = re.compile(rb"%b(?:\r\n%b)*" % (_LINE, _LINE))
_LENGTH = re.compile("[0-9]{1,5}")
#: headers that ask for more than an answer
_NOT_PLAIN = frozenset({"transfer-encoding", "expect", "upgrade"})
_KEEPS = {"keep-alive": True, "close": False}


def head_of(data: bytes) -> tuple[dict[str, str], int] | None:
    """The headers with which `data` begins, by their names in lower case, and where the body begins.

    None = it does not begin with all headers of a plain sync; somebody else has to read it.
    """
    if not data.startswith(_FIRST_LINE):
        return None
    end = data.find(_END, 0, HEADERS_BYTES)
    lines = data[len(_FIRST_LINE) : end] if end > 0 else b""
    if not _LINES.fullmatch(lines):
        return None
    pairs = [line.split(": ", 1) for line in lines.decode("ascii").split("\r\n")]
    found = {name.lower(): value for name, value in pairs}
    if len(found) < len(pairs) or not _NOT_PLAIN.isdisjoint(found):
        return None
    length = found.get("content-length", "")
    if not _LENGTH.fullmatch(length) or int(length) > DIRECT_BYTES or keeps(found) is None:
        return None
    return found, end + len(_END)


def keeps(headers: dict[str, str]) -> bool | None:
    """Whether the connection goes on after the answer; None = it says something that is not for us."""
    return _KEEPS.get(headers.get("connection", "keep-alive").lower())
