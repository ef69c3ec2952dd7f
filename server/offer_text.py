"""An offer as JSON, put together by hand: of a row that was found before only what changed since is written anew.

What the row alone decides is written once, what is free of its node when that changes, and ages every time.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from scheduler.lifecycle import shown
from scheduler.market.fields import STALE_AFTER_MS
from scheduler.market.offers import Found, dated
from scheduler.proofs.claims import LOCALITY, PREFIX, is_proved
from scheduler.records import Figure, MarketNode

#: rows whose text is kept, some 2 kB each: those that people find are found again and again
KEPT = 2048
#: members that are written between those that the row decides, in their order: what is free, and what time changes
FREE = ("free", "cpus_free", "memory_free_bytes", "disk_free_bytes")
AGING = ("is_fresh", "age_s", "proved", "proof_age_s", "ages_s")
#: thousandths of a second as the end of a number, without what a number may go without
_MILLI = tuple(repr(ms / 1000)[1:] for ms in range(1000))
_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


class _Text(NamedTuple):
    """An offer's text as it was written last, without what time changes."""

    found: Found
    pieces: tuple[str, ...]  #: between the members of FREE and AGING, and around them
    free: str  #: up to the first member of AGING
    proofs: tuple[tuple[str, int], ...]  #: what is proved: its text up to its age, and when it was measured
    proved: tuple[str, ...]  #: figures whose ages are told with those that a query names


_texts: dict[int, _Text] = {}


def of_offer(found: Found, named: tuple[str, ...], now_ms: int) -> str:
    """An offer as JSON, with the ages of the figures that are `named`."""
    node = found.node
    text = _texts.get(node.id)
    if text is None or text.found.node is not node or text.found != found:
        text = _kept(found, text)
    reported_ms, proved_ms, figures, pieces = node.reported_ms, node.proof.proved_ms, node.figures, text.pieces
    is_fresh, age_s = "false", "null"
    if reported_ms is not None:
        late_ms = now_ms - reported_ms
        is_fresh, age_s = "true" if late_ms <= STALE_AFTER_MS else "false", _seconds(late_ms)
    proofs = ",".join([f"{begin}{_seconds(now_ms - at_ms)}}}" for begin, at_ms in text.proofs]) if text.proofs else ""
    ages_s = ",".join(
        [f"{name}{_seconds(now_ms - figures[key].at_ms)}" for key, name in _dated(named, text.proved) if key in figures]
    )
    return (
        f"{text.free}{is_fresh}{pieces[5]}{age_s}{pieces[6]}{{{proofs}}}{pieces[7]}"
        f"{'null' if proved_ms is None else _seconds(now_ms - proved_ms)}{pieces[8]}{{{ages_s}}}{pieces[9]}"
    )


def inside(members: Mapping[str, Any]) -> str:
    """An object as JSON without its braces."""
    return _encode(members)[1:-1]


def _seconds(ms: int) -> str:
    """What `repr(ms / 1000)` says, in half the time."""
    return f"{ms // 1000}{_MILLI[ms % 1000]}" if ms >= 0 else repr(ms / 1000)


@lru_cache(maxsize=KEPT)
def _dated(named: tuple[str, ...], proved: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The figures whose ages are told, and their names as JSON, with a colon."""
    return tuple((key, f"{_encode(key)}:") for key in dated(named, proved))


def _kept(found: Found, before: _Text | None) -> _Text:
    """The text of what was found, for now and later."""
    node = found.node
    if before is not None and before.found.node is node:
        pieces, proofs, proved = before.pieces, before.proofs, before.proved
    else:
        pieces, proofs, proved = _pieces(node), _proofs(node), tuple(node.proof.figures)
    free = (
        f"{pieces[0]}{found.gpus}{pieces[1]}{found.cpu_milli / 1000!r}{pieces[2]}{found.memory_bytes}"
        f"{pieces[3]}{found.disk_bytes}{pieces[4]}"
    )
    if before is None and len(_texts) >= KEPT:
        with contextlib.suppress(KeyError, RuntimeError, StopIteration):  # another thread was faster
            del _texts[next(iter(_texts))]
    text = _texts[node.id] = _Text(found, pieces, free, proofs, proved)
    return text


def _pieces(node: MarketNode) -> tuple[str, ...]:
    """What a row says: up to the first of FREE, between them and AGING, and what is behind the last."""
    pieces, before, fixed = [], "{", dict[str, Any]()
    for name, value in _of_node(node).items():
        if name not in FREE and name not in AGING:
            fixed[name] = value
            continue
        pieces.append(f'{before}{inside(fixed)}{"," if fixed else ""}"{name}":')
        before, fixed = ",", {}
    return (*pieces, f"{before}{inside(fixed)}}}" if fixed else "}")


def _proofs(node: MarketNode) -> tuple[tuple[str, int], ...]:
    if not is_proved(node):
        return ()
    return tuple(
        (f'{_encode(key.removeprefix(PREFIX))}:{{{inside(_of_figure(one))},"age_s":', one.at_ms)
        for key, one in node.figures.items()
        if key.startswith(PREFIX)
    )


def _of_node(node: MarketNode) -> dict[str, Any]:
    """The members of an offer in their order; None for those that are put in."""
    return {
        "node": node.id,
        "name": node.name,
        "device_kind": node.device_kind,
        "model": node.model,
        "count": len(node.capacity.gpu_milli),
        "free": None,
        "vram_bytes": node.vram_bytes,
        "cpus": node.capacity.cpu_milli / 1000,
        "cpus_free": None,
        "memory_bytes": node.capacity.memory_bytes,
        "memory_free_bytes": None,
        "disk_bytes": node.capacity.disk_bytes,
        "disk_free_bytes": None,
        "price_uh": node.price_uh,
        "region": node.region,
        "standing": shown(node.standing, online=node.online, draining=node.draining),
        "why": node.why,
        "is_fresh": None,
        "shares_gpus": node.shares_gpus,
        "executors": node.executors,
        "health": node.health,
        "capability": dict(node.capability),
        "figures": {key: _of_figure(one) for key, one in node.figures.items()},
        "age_s": None,
        "proved": None,
        "proof_age_s": None,
        "locality": LOCALITY,
        "ages_s": None,
    }


def _of_figure(one: Figure) -> dict[str, Any]:
    return {
        "value": one.value,
        "low": one.low,
        "high": one.high,
        "n": one.n,
        "at_ms": one.at_ms,
        "unit": one.unit,
    }
