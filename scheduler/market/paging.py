"""Pages of a sorted list, held together by the last place seen and not by counting."""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scheduler.market.columns import Mask, Numbers, Part
from scheduler.market.query import Sorting

MAX_CURSOR_CHARACTERS = 4000


class CursorError(ValueError):
    """A cursor that was not given out for this search."""

    def __init__(self) -> None:
        super().__init__("the cursor is not of this search; ask for the first page again")


@dataclass(frozen=True, slots=True)
class Place:
    """The last offer of a page: what it was sorted by, and its number."""

    key: float | str | None  #: None = unknown
    node: int

    def written(self, mark: str) -> str:
        """As a cursor."""
        key = self.key.hex() if isinstance(self.key, float) else self.key
        kind = "n" if isinstance(self.key, float) else "t" if isinstance(self.key, str) else "u"
        text = json.dumps([mark, kind, key, self.node], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def read(cls, cursor: str, *, mark: str) -> Place:
        """From a cursor.

        Raises:
            CursorError: it is of another search, or of none.
        """
        if len(cursor) > MAX_CURSOR_CHARACTERS:
            raise CursorError
        try:
            text = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
            parts = json.loads(text)
        except (ValueError, binascii.Error, RecursionError):
            raise CursorError from None
        match parts:
            case [str(found), "n", str(key), int(node)] if found == mark:
                try:
                    value = float.fromhex(key)
                except (ValueError, OverflowError):
                    raise CursorError from None
                if not math.isnan(value):
                    return cls(value, node)
            case [str(found), "t", str(key), int(node)] if found == mark:
                return cls(key, node)
            case [str(found), "u", None, int(node)] if found == mark:
                return cls(None, node)
        raise CursorError


def page(
    found: Part, sorting: Sorting, place: Place | None, limit: int, now_ms: int
) -> tuple[NDArray[np.intp], Place | None]:
    """The places of one page of what was found, in order, and where it ends if more follow."""
    known, words = sorting.keys(found, now_ms)
    slots, ids, unknown = found.slots, found.numbers("id"), np.isnan(known)
    keys = np.where(unknown, np.inf, -known if sorting.descends else known)
    if place is not None:
        behind = _behind(keys, unknown, ids, place, sorting, words)
        slots, keys, ids, unknown = slots[behind], keys[behind], ids[behind], unknown[behind]
    chosen = _first(keys, unknown, ids, limit)
    if chosen.size == slots.size:
        return slots[chosen], None
    last = int(chosen[-1])
    key = -float(keys[last]) if sorting.descends else float(keys[last])
    told = None if unknown[last] else words[int(key)] if sorting.is_text else key
    return slots[chosen], Place(told, int(ids[last]))


def _behind(
    keys: NDArray[np.float64],
    unknown: Mask,
    ids: Numbers,
    place: Place,
    sorting: Sorting,
    words: tuple[str, ...],
) -> Mask:
    """What comes after `place` in the order."""
    if isinstance(place.key, str) != sorting.is_text and place.key is not None:
        raise CursorError
    later: Mask = ids > place.node
    if place.key is None:
        return unknown & later
    if isinstance(place.key, str):  # the text itself may be gone by now: half a rank before those that come after it
        known_before = sum(word < place.key for word in words)
        here = float(known_before) if place.key in words else known_before - 0.5
    else:
        here = place.key
    here = -here if sorting.descends else here
    behind: Mask = unknown | (keys > here) | ((keys == here) & later)
    return behind


def _first(keys: NDArray[np.float64], unknown: Mask, ids: Numbers, limit: int) -> NDArray[np.intp]:
    """The first `limit` places in the order of (unknown, key, number), without sorting all of them."""
    if keys.size > limit:
        bound = np.partition(keys, limit - 1)[limit - 1]
        among = np.flatnonzero(keys <= bound)
    else:
        among = np.arange(keys.size)
    order = np.lexsort((ids[among], keys[among], unknown[among]))
    return among[order[:limit]]
