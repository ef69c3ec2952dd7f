"""Challenges that are answered twice, out of order, or with what was worked out for another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kernels.chain.params import Params
from tests.redteam.attack import NOT_ASKED, REFUSED, Attack, ends
from tests.redteam.attackers.skipped_work import ONE_CHAIN
from tests.redteam.bout import Bout, Json
from tests.redteam.hardware import CPU, H100, side_by_side
from tests.redteam.rogue import Rogue

ALONE = side_by_side(H100)


class Bank(Rogue):
    """Works out every challenge as if it were another node's, whose answers it has."""

    def __init__(self, seed: bytes, challenge: bytes) -> None:
        self._seed, self._challenge = seed, challenge

    def prepare(self, params: Params, *, seed: bytes, challenge: bytes, device: int) -> None:
        super().prepare(params, seed=self._seed, challenge=self._challenge, device=device)


def _others(bout: Bout) -> str:
    """The answers of another node of its supplier."""
    other = bout.open_others()
    other.line.claim(ONE_CHAIN, 1)
    had = other.fetch()
    assert had is not None
    bout.line.claim(ONE_CHAIN, 1)
    return bout.check(ALONE, lambda: Bank(had.devices[0].seed, had.id))


def _same_seed(bout: Bout) -> str:
    """Its own seed, but named as the challenge before was."""
    bout.line.claim(ONE_CHAIN, 1)
    challenge = bout.fetch()
    assert challenge is not None
    return bout.check(ALONE, lambda: Bank(challenge.devices[0].seed, bytes(16)))


def _again(step: str) -> Callable[[Bout], str]:
    """Everything answered well, then a step once more."""

    def run(bout: Bout) -> str:
        bout.line.claim(ONE_CHAIN, 1)
        challenge = bout.fetch()
        assert challenge is not None
        sent: list[Any] = []

        def keep(document: Json) -> Json:
            sent.append(document)
            return document

        spoils = {step: keep} if step != "ready" else {}
        assert bout.prove(ALONE, epochs=spoils.get("epochs"), openings=spoils.get("openings")) == "pass"
        answer = bout.say(step, sent[-1] if sent else None, id_=challenge.id.hex())
        bout.ended.append((REFUSED, str(answer.document)))
        return REFUSED if answer.status == 404 else str(answer)

    return run


def _disordered(*steps: tuple[str, Json | None]) -> Callable[[Bout], str]:
    """Steps that are well formed, at the wrong time."""

    def run(bout: Bout) -> str:
        bout.line.claim(ONE_CHAIN, 1)
        assert bout.fetch() is not None
        for step, document in steps:
            bout.say(step, document)
        return bout.ending()

    return run


def _race(bout: Bout) -> str:
    """Eight readies under way at once: one salt at most, and no second clock."""
    bout.line.claim(ONE_CHAIN, 1)
    assert bout.fetch() is not None
    replies = bout.line.at_once("POST", f"/v1/challenges/{bout.id}/ready", 8)
    bout.replies += replies
    salts = [one.document["salt"] for one in replies if one.status == 200]
    assert len(salts) <= 1, replies
    return bout.ending()


def _two_epochs(bout: Bout) -> str:
    """The same roots for two epochs: the salt between them was not used."""
    bout.line.claim(ONE_CHAIN, 1)
    first: list[Json] = []

    def twice(document: Json) -> Json:
        first.append(document)
        return {**first[0], "epoch": document["epoch"]}

    return bout.check(ALONE, epochs=twice)


def _picks(bout: Bout) -> str:
    """Fetches again and again, to choose the challenge it likes."""
    bout.line.claim(ONE_CHAIN, 1)
    assert bout.fetch() is not None
    replies = [bout.call("POST", "/v1/challenges", b"{}") for _ in range(3)]
    return NOT_ASKED if all(one.status == 204 for one in replies) else str(replies)


def _roots(epoch: int, text: str = "00" * 32) -> Json:
    return {"epoch": epoch, "roots": {"0": [text]}}


def _attack(
    name: str, against: str, does: str, run: Callable[[Bout], str], end: str, why: str = "", **more: Any
) -> Attack:
    return Attack(name=name, against=against, does=does, run=run, ends=ends(end), why=why, **more)


REPLAY = "answers that are bound to nothing: recorded once, good for ever"
USED = "nonces that are checked and not burned"

ATTACKS = (
    _attack(
        "replayed-from-another",
        REPLAY,
        "hands in what another node of its supplier worked out",
        _others,
        "cheat_proven",
    ),
    _attack("replayed-name", REPLAY, "hashes under the name of another challenge", _same_seed, "cheat_proven"),
    _attack(
        "same-roots-again",
        REPLAY,
        "hands in the first epoch's roots in every epoch",
        _two_epochs,
        "cheat_proven",
        truth=CPU.proves(),
    ),
    _attack(
        "ready-again",
        USED,
        "begins a challenge that has passed",
        _again("ready"),
        REFUSED,
        "not-found",
        truth=H100.proves(),
    ),
    _attack(
        "epoch-again",
        USED,
        "adds an epoch to a challenge that has passed",
        _again("epochs"),
        REFUSED,
        "not-found",
        truth=H100.proves(),
    ),
    _attack(
        "openings-again", USED, "opens a challenge twice", _again("openings"), REFUSED, "not-found", truth=H100.proves()
    ),
    _attack(
        "two-clocks",
        USED,
        "begins a challenge twice",
        _disordered(("ready", None), ("ready", None)),
        "protocol_error",
        "begun once",
    ),
    _attack("nonce-race", USED, "begins a challenge eight times at once", _race, "protocol_error", "begun once"),
    _attack(
        "no-beginning",
        USED,
        "hands in roots before the clock runs",
        _disordered(("epochs", _roots(0))),
        "protocol_error",
    ),
    _attack(
        "openings-first",
        USED,
        "opens rows before any were drawn",
        _disordered(("ready", None), ("openings", {"openings": {"0": []}})),
        "protocol_error",
    ),
    _attack(
        "epoch-twice",
        USED,
        "hands in an epoch twice",
        _disordered(("ready", None), ("epochs", _roots(0)), ("epochs", _roots(0))),
        "protocol_error",
        "number 1",
    ),
    _attack(
        "epoch-ahead",
        USED,
        "leaves out an epoch",
        _disordered(("ready", None), ("epochs", _roots(1))),
        "protocol_error",
        "number 0",
    ),
    _attack(
        "picks-its-challenge",
        "challenges that can be asked for until one is easy",
        "asks for more while it has one",
        _picks,
        NOT_ASKED,
    ),
)
