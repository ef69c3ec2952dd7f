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
_NUMBER = r"(?:0|[1-9][0-9]{0,17})"
_NUMBERS = (wire.HEADER_NODE, wire.HEADER_EPOCH, wire.HEADER_BOOT, wire.HEADER_SEQ)
_NAMES = tuple(name.lower() for name in (*_NUMBERS, wire.HEADER_SIGNATURE))
_SIGNATURE = r"[0-9a-f]{128}"
#: all of them with a space between, which none of them has
_CLAIM = re.compile(" ".join([*(_NUMBER for _ in _NUMBERS), _SIGNATURE]), re.ASCII)
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
    """The headers of a signed request, by their names in lower case.

    Raises:
        ProblemError: one is missing or malformed.
    """
    node, epoch, server_boot, seq, signature = texts = [headers.get(name, "") for name in _NAMES]
    if not _CLAIM.fullmatch(" ".join(texts)):
        raise _malformed(headers)
    return Claimed(int(node), int(epoch), int(server_boot), int(seq), bytes.fromhex(signature))


def _malformed(headers: Mapping[str, str]) -> ProblemError:
    """What is said of the first that is."""
    found = headers.get(wire.HEADER_SIGNATURE.lower(), "")
    if re.fullmatch(_SIGNATURE, found, re.ASCII):
        for name in _NUMBERS:
            if not re.fullmatch(_NUMBER, headers.get(name.lower(), ""), re.ASCII):
                return ProblemError("bad-signature", f"expected {name}: a whole number")
    return ProblemError("bad-signature", f"expected {wire.HEADER_SIGNATURE}: 128 hexadecimal digits")


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
