"""JSON from a stranger: bounded before it is parsed, exact in its members, one way to write each value.

Bytes of 16 and 32 travel as lower-case hex, longer ones as padded base64; each has a length known beforehand. There
is one canonical text for every document: sorted keys, no white space, ASCII.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any

from qualify.codec import parse as parse_json
from qualify.reading import RecordError, finite, found, member, quoted
from qualify.records import Json

_HEX = re.compile(r"[0-9a-f]*")
_DEVICE = re.compile(r"0|[1-9][0-9]{0,3}")


class ProtocolError(ValueError):
    """A document or a call that the protocol does not allow; the message says where and what was expected."""


def parse(data: bytes, *, most_bytes: int) -> object:
    """What the bytes say in JSON: no NaN, no key twice, no deep nesting, no integer beyond 64 bits.

    Raises:
        ProtocolError: too many bytes, or not such JSON.
    """
    if len(data) > most_bytes:
        raise ProtocolError(f"expected at most {most_bytes} bytes, found {len(data)}")
    if not data.isascii():
        raise ProtocolError("expected ASCII, found other bytes")
    try:
        return parse_json(data)
    except RecordError as error:
        raise ProtocolError(str(error)) from None


def canonical(document: Json | Mapping[str, Json]) -> bytes:
    """The one text of a document."""
    return json.dumps(document, allow_nan=False, sort_keys=True, separators=(",", ":")).encode("ascii")


def members(data: object, names: tuple[str, ...], place: str) -> dict[str, Any]:
    """The object itself, when it has exactly these members."""
    if not isinstance(data, dict):
        raise ProtocolError(f"{place}: expected an object, found {found(data)}")
    if missing := [name for name in names if name not in data]:
        raise ProtocolError(f"{place}{member(missing[0])}: missing")
    if len(data) != len(names):
        raise ProtocolError(f"{place}: unknown member {quoted(next(name for name in data if name not in names))}")
    return data


def entries(data: object, place: str, *, least: int = 0, most: int) -> list[object]:
    """The list itself, when its length is within bounds."""
    if not isinstance(data, list):
        raise ProtocolError(f"{place}: expected a list, found {found(data)}")
    if not least <= len(data) <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        raise ProtocolError(f"{place}: expected {wanted} entries, found {len(data)}")
    return data


def by_device(data: object, devices: tuple[int, ...], place: str) -> dict[int, object]:
    """An object with one member for each device, keyed by its number in decimal."""
    named = members(data, tuple(map(str, devices)), place)
    return {device: named[str(device)] for device in devices}


def device_number(text: str, place: str) -> int:
    """The number behind a device's key."""
    if _DEVICE.fullmatch(text) is None:
        raise ProtocolError(f"{place}: expected the number of a device, found {quoted(text)}")
    return int(text)


def whole(value: object, low: int, high: int, place: str) -> int:
    """A whole number within bounds; true and 1.0 are none."""
    if type(value) is not int or not low <= value <= high:
        raise ProtocolError(f"{place}: expected a whole number from {low} to {high}, found {_shown(value)}")
    return value


def truth(value: object, place: str) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise ProtocolError(f"{place}: expected true or false, found {_shown(value)}")
    return value


def number(value: object, low: float, high: float, place: str) -> float:
    """A number within bounds; one written without a point is taken for what it means."""
    if type(value) is int and abs(value) < 1 << 63:
        value = float(value)
    if type(value) is not float or not low <= value <= high:  # NaN compares with nothing
        raise ProtocolError(f"{place}: expected a number from {low:g} to {high:g}, found {_shown(value)}")
    return finite(value)


def text(value: object, most: int, place: str) -> str:
    """Printable ASCII of at most `most` characters."""
    if not isinstance(value, str) or len(value) > most or not (value.isascii() and value.isprintable()):
        raise ProtocolError(f"{place}: expected at most {most} printable ASCII characters, found {_shown(value)}")
    return value


def one_of(value: object, allowed: tuple[str, ...], place: str) -> str:
    """One of a few words."""
    if not isinstance(value, str) or value not in allowed:
        raise ProtocolError(f"{place}: expected one of {', '.join(allowed)}, found {_shown(value)}")
    return value


def hexed(value: object, length: int, place: str) -> bytes:
    """Exactly `length` bytes in lower-case hex."""
    if not isinstance(value, str) or len(value) != 2 * length or _HEX.fullmatch(value) is None:
        raise ProtocolError(f"{place}: expected {2 * length} lower-case hex digits, found {_shown(value)}")
    return bytes.fromhex(value)


def based(value: object, length: int, place: str) -> bytes:
    """Exactly `length` bytes in base64, padded, with no second spelling."""
    wanted = (length + 2) // 3 * 4
    if not isinstance(value, str) or len(value) != wanted:
        size = f"{len(value)} characters" if isinstance(value, str) else _shown(value)
        raise ProtocolError(f"{place}: expected {length} bytes as {wanted} characters of base64, found {size}")
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError(f"{place}: not base64") from None
    if len(data) != length or base64_of(data) != value:
        raise ProtocolError(f"{place}: expected {length} bytes in the one base64 spelling of them")
    return data


def base64_of(data: bytes) -> str:
    """Bytes in padded base64."""
    return base64.b64encode(data).decode("ascii")


def _shown(value: object) -> str:
    return found(value) if not isinstance(value, int) or abs(value) < 1 << 63 else "a huge number"
