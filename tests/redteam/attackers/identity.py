"""Somebody else's challenge, key or name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.redteam.attack import REFUSED, Attack, ends
from tests.redteam.attackers.skipped_work import ONE_CHAIN
from tests.redteam.bout import Bout
from tests.redteam.hardware import H100, side_by_side
from tests.redteam.over_http import reply
from tests.server.served import Agent

ALONE = side_by_side(H100)


def _victim(bout: Bout) -> Bout:
    """Another node that is about to prove itself."""
    other = bout.open_others()
    other.line.claim(ONE_CHAIN, 1)
    assert other.fetch() is not None
    return other


def _steals(bout: Bout) -> str:
    """Begins another node's challenge under its own name; the other's goes on as if nothing were."""
    other = _victim(bout)
    bout.line.claim(ONE_CHAIN, 1)
    answers = [bout.say(step, id_=other.id) for step in ("ready", "epochs", "openings")]
    assert other.prove(ALONE) == "pass", other.ended
    return REFUSED if all(one.status == 404 for one in answers) else str(answers)


def _signed_by(forge: Callable[[Bout, Bout, str], Any]) -> Callable[[Bout], str]:
    """A request about another node's challenge; that node must not come to harm by it."""

    def run(bout: Bout) -> str:
        other = _victim(bout)
        answer = reply(forge(bout, other, f"/v1/challenges/{other.id}/ready"))
        bout.replies.append(answer)
        assert other.prove(ALONE) == "pass", other.ended
        return REFUSED if answer.status in (401, 409) else str(answer)

    return run


def _unsigned(bout: Bout, other: Bout, target: str) -> Any:
    return bout.line.served.ask("POST", target, content=b"{}", headers={"Content-Type": "application/json"})


def _other_key(bout: Bout, other: Bout, target: str) -> Any:
    """The victim's number, the attacker's signature."""
    victim = other.line.agent
    forger = Agent(bout.line.served, key=bout.line.agent.key, node=victim.node, epoch=victim.epoch, seq=victim.seq + 50)
    return bout.line.signed(forger, "POST", target, b"{}")


def _other_body(bout: Bout, other: Bout, target: str) -> Any:
    """The victim's signature, under another body."""
    headers = other.line.agent.headers("POST", target, b"{}") | {"Content-Type": "application/json"}
    return bout.line.served.ask("POST", target, content=b'{"x": 1}', headers=headers)


def _other_target(bout: Bout, other: Bout, target: str) -> Any:
    """The victim's signature, for another step."""
    headers = other.line.agent.headers("POST", target, b"{}") | {"Content-Type": "application/json"}
    return bout.line.served.ask("POST", target.replace("ready", "openings"), content=b"{}", headers=headers)


def _earlier_run(bout: Bout, other: Bout, target: str) -> Any:
    """The victim's signature of before the server started."""
    boot = bout.line.served.runtime.server_boot
    return bout.line.signed(other.line.agent, "POST", target, b"{}", server_boot=boot - 1)


def _banned(bout: Bout) -> str:
    """Is proven a cheat, and comes back under the same key."""
    bout.line.claim(ONE_CHAIN, 1)

    def wrong(document: Any) -> Any:
        for one in document["openings"]["0"]:
            one["end"] = one["end"][::-1] if not one["end"].endswith("=") else "A" * (len(one["end"]) - 2) + "=="
        return document

    assert bout.check(ALONE, openings=wrong) == "cheat_proven", bout.ended
    again = bout.line.agent.enrol(name="somebody-else")
    bout.replies.append(reply(again))
    assert bout.fetch() is None
    return REFUSED if again.status_code in (403, 409) else again.text


def _attack(name: str, does: str, run: Callable[[Bout], str], **more: Any) -> Attack:
    against = "io.net in 2024, where whoever held a token posted metadata for any device"
    return Attack(name=name, against=against, does=does, run=run, ends=ends(REFUSED), **more)


ATTACKS = (
    _attack("another-node-s-challenge", "answers a challenge that another node was given", _steals),
    _attack("unsigned", "answers without a signature", _signed_by(_unsigned)),
    _attack("another-node-s-key", "signs as another node with its own key", _signed_by(_other_key)),
    _attack("another-body", "puts another body under a signature", _signed_by(_other_body)),
    _attack("another-step", "uses a signature for another step", _signed_by(_other_target)),
    _attack("signature-of-before", "uses a signature of before the server's start", _signed_by(_earlier_run)),
    _attack("comes-back", "enrols again after it was banned", _banned),
)
