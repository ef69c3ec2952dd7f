"""Openings of other rows than were drawn, of fewer, or of none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.redteam.attack import Attack, ends
from tests.redteam.attackers.skipped_work import ONE_CHAIN, SkipsRows, quicker
from tests.redteam.bout import Bout, Json
from tests.redteam.hardware import CPU

List = list[Any]


def _changed(change: Callable[[List], Any]) -> Callable[[Bout], str]:
    """Openings of one device, made into others; the work behind them is half done."""

    def spoil(document: Json) -> Json:
        return {"openings": {device: change(opened) for device, opened in document["openings"].items()}}

    return _sent(spoil)


def _sent(spoil: Callable[[Any], Any]) -> Callable[[Bout], str]:
    def run(bout: Bout) -> str:
        bout.line.claim(ONE_CHAIN, 1)
        return bout.check(quicker(0.5), lambda: SkipsRows(0.5), openings=spoil)

    return run


def _foreign(opened: List) -> List:
    """Rows of its own choice, said to be so."""
    return [{**opened[0], "unit": number} for number in range(len(opened))]


def _attack(name: str, against: str, does: str, run: Callable[[Bout], str], why: str = "") -> Attack:
    return Attack(
        name=name, against=against, does=does, run=run, ends=ends("protocol_error"), why=why, truth=CPU.proves()
    )


PRIME = "Prime Intellect's gpu-challenge, which looped over the rows that the prover sent"

ATTACKS = (
    _attack("empty-row-list", f"{PRIME}: none of them was wrong", "opens nothing", _changed(lambda _: []), "entries"),
    _attack("no-devices", PRIME, "names no device at all", _sent(lambda _: {"openings": {}}), "missing"),
    _attack(
        "doubled-rows",
        PRIME,
        "opens one good row as often as was asked",
        _changed(lambda all_: all_[:1] * len(all_)),
        "asked",
    ),
    _attack("foreign-rows", PRIME, "opens rows of its own choice", _changed(_foreign), "asked"),
    _attack(
        "reordered-rows", PRIME, "opens the asked rows in another order", _changed(lambda all_: all_[::-1]), "asked"
    ),
    _attack("too-many-rows", PRIME, "opens more than was asked", _changed(lambda all_: [*all_, all_[0]]), "entries"),
    _attack(
        "rows-left-out",
        PRIME,
        "leaves out the rows it skipped",
        _changed(lambda all_: all_[: len(all_) // 2]),
        "entries",
    ),
    _attack(
        "null-error",
        "basilica, where a failed job without an error counted as a success",
        "answers with an error that is null",
        _sent(lambda _: {"status": "failed", "error": None}),
        "missing",
    ),
    _attack(
        "null-openings",
        "basilica, whose results could be absent and still count",
        "opens null",
        _sent(lambda _: {"openings": None}),
        "object",
    ),
    _attack(
        "says-it-passed",
        "basilica, which took success and figures from the node",
        "adds its own verdict to the openings",
        _sent(lambda document: {**document, "success": True, "proved.int8_ops_per_s": 1e18}),
        "unknown member",
    ),
)
