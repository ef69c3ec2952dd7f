"""Headers of a plain sync: read as the parser reads them, or not at all."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.heads import DIRECT_BYTES, HEADERS_BYTES, head_of, keeps

FIRST = b"POST /v1/agent/sync HTTP/1.1\r\n"
LENGTH = b"Content-Length: 2\r\n"


def test_headers_are_read_by_their_names_in_lower_case() -> None:
    """With the place where the body begins."""
    head = FIRST + b"Host: market:8700\r\nGridmark-Node: 7\r\n" + LENGTH + b"\r\n"

    assert head_of(head + b"{}") == ({"host": "market:8700", "gridmark-node": "7", "content-length": "2"}, len(head))


@pytest.mark.parametrize("line", [b"Connection: close", b"Connection: Keep-Alive", b"Expected: 1", b"A: b:  c"])
def test_what_is_plain_is_read(line: bytes) -> None:
    """The two usual words about the connection, and any header that asks for nothing."""
    assert head_of(FIRST + line + b"\r\n" + LENGTH + b"\r\n") is not None


@pytest.mark.parametrize(
    ("said", "goes_on"), [({}, True), ({"connection": "Close"}, False), ({"connection": "close, x"}, None)]
)
def test_a_connection_goes_on_unless_it_is_said_otherwise(said: dict[str, str], goes_on: bool | None) -> None:
    """What is said in more than one word is not understood."""
    assert keeps(said) is goes_on


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        LENGTH + LENGTH,
        LENGTH + b"content-length: 2\r\n",
        LENGTH + b"Transfer-Encoding: chunked\r\n",
        LENGTH + b"Transfer-Encoding : chunked\r\n",
        LENGTH + b" folded: 1\r\n",
        LENGTH + b"Expect: 100-continue\r\n",
        LENGTH + b"Upgrade: h2c\r\n",
        LENGTH + b"Connection: upgrade\r\n",
        LENGTH + b"A:b\r\n",
        LENGTH + b"A:  b\r\n",
        LENGTH + b"A: b \r\n",
        LENGTH + b"A: \r\n",
        LENGTH + b"A: b\nTransfer-Encoding: chunked\r\n",
        LENGTH + b"A: b\rB: c\r\n",
        LENGTH + b"A: b\x00\r\n",
        LENGTH + b"A: b\x80\r\n",
        LENGTH + b"A_: b\r\n",
        b"Content-Length: +2\r\n",
        b"Content-Length: 1e1\r\n",
        b"Content-Length: %d\r\n" % (DIRECT_BYTES + 1),
        b"Content-Length: %b2\r\n" % (b"0" * 5000),
        LENGTH + b"A: %b\r\n" % (b"b" * HEADERS_BYTES),
    ],
)
def test_what_could_be_read_otherwise_is_not_read(lines: bytes) -> None:
    """Twice, folded, with other spaces or ends of lines, or with more asked than an answer."""
    assert head_of(FIRST + lines + b"\r\n{}") is None


@pytest.mark.parametrize(
    "first", [FIRST[:-2], b"POST /v1/agent/sync HTTP/1.0\r\n", b"POST /v1/agent/sync?x HTTP/1.1\r\n", b"\r\n" + FIRST]
)
def test_another_request_is_not_read(first: bytes) -> None:
    """Nor one whose headers have not all come."""
    assert head_of(first + LENGTH + b"\r\n{}") is None
    assert head_of(FIRST + LENGTH + b"\r") is None


class Parsed:
    """What the parser calls back."""

    def __init__(self) -> None:
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        self.ended = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ended = True


PIECES = [
    b"A",
    b"content-length",
    b"Content-Length: 2",
    b": ",
    b":",
    b" ",
    b"\r\n",
    b"\n",
    b"\r",
    b"x",
    b"2",
    b"\t",
    b"\x00",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join))
@example(b"A: x\r\nContent-Length: 2")
@example(b"Content-Length: 22222")
def test_what_is_read_is_what_the_parser_reads(lines: bytes) -> None:
    """The same headers, and the same body behind them."""
    data = FIRST + lines + b"\r\n\r\n" + bytes(range(256)) * (DIRECT_BYTES // 256)
    found = head_of(data)
    if found is None:
        return
    headers, begin = found
    end = begin + int(headers["content-length"])
    parsed = Parsed()
    httptools.HttpRequestParser(parsed).feed_data(data[:end])

    assert dict(parsed.headers) == headers
    assert len(parsed.headers) == len(headers)
    assert (parsed.body, parsed.ended) == (data[begin:end], True)
