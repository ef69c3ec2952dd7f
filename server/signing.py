"""Whether a node's request is its own, meant for this run of the server, and not a repetition."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from scheduler import wire
from server.problems import ProblemError

WINDOW = 1024  #: numbers below the highest one seen that may still come, each once
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
_SIGNATURE = re.compile(r"[0-9a-f]{128}", re.ASCII)
_KEY = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Claimed(NamedTuple):
    """What the headers of a node's request say; true once its signature holds."""

    node: int
    epoch: int
    server_boot: int
    seq: int
    signature: bytes


class Window:
    """Which numbers were seen: the highest, and a bit for each of the WINDOW below it."""

    def __init__(self) -> None:
        self._top = -1
        self._seen = 0  # bit i: number top - i was seen

    def admit(self, seq: int) -> bool:
        """Whether `seq` is new; it is not any more afterwards. Requests may overtake each other by WINDOW - 1."""
        if seq > self._top:
            ahead = seq - self._top
            self._seen = 1 if ahead >= WINDOW else (self._seen << ahead | 1) & ((1 << WINDOW) - 1)
            self._top = seq
            return True
        behind = self._top - seq
        if behind >= WINDOW or self._seen >> behind & 1:
            return False
        self._seen |= 1 << behind
        return True


class Replays:
    """The windows of all nodes, each of its current epoch; of an older one nothing is taken anyway."""

    def __init__(self) -> None:
        self._windows: dict[int, tuple[int, Window]] = {}

    def admit(self, node: int, epoch: int, seq: int) -> bool:
        """Whether this is the first request of its number."""
        held_epoch, window = self._windows.get(node, (-1, Window()))
        if epoch < held_epoch:
            return False
        if epoch > held_epoch:
            window = Window()
            self._windows[node] = (epoch, window)
        return window.admit(seq)


def claimed(headers: Mapping[str, str]) -> Claimed:
    """The headers of a signed request.

    Raises:
        ProblemError: one is missing or malformed.
    """
    signature = headers.get(wire.HEADER_SIGNATURE, "")
    if not _SIGNATURE.fullmatch(signature):
        raise ProblemError("bad-signature", f"expected {wire.HEADER_SIGNATURE}: 128 hexadecimal digits")
    return Claimed(
        node=_number(headers, wire.HEADER_NODE),
        epoch=_number(headers, wire.HEADER_EPOCH),
        server_boot=_number(headers, wire.HEADER_BOOT),
        seq=_number(headers, wire.HEADER_SEQ),
        signature=bytes.fromhex(signature),
    )


def _number(headers: Mapping[str, str], name: str) -> int:
    text = headers.get(name, "")
    if not _NUMBER.fullmatch(text):
        raise ProblemError("bad-signature", f"expected {name}: a whole number")
    return int(text)


def holds(public_key: str, claim: Claimed, *, method: str, target: str, body_sha256: str) -> bool:
    """Whether `claim` was signed with the key (hex) over this request."""
    if not _KEY.fullmatch(public_key):
        return False
    envelope = wire.Envelope(
        method=method,
        target=target,
        server_boot=claim.server_boot,
        node=claim.node,
        epoch=claim.epoch,
        seq=claim.seq,
        body_sha256=body_sha256,
    )
    try:
        # libsodium takes half of OpenSSL's time, and refuses keys of small order
        crypto_sign_open(claim.signature + wire.signed_text(envelope), bytes.fromhex(public_key))
    except BadSignatureError:
        return False
    return True
