"""Good while it is looked at, silent when it is caught, back for another try."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qualify.proof.verdict import INT8
from tests.redteam.attack import NOT_ASKED, Attack, ends
from tests.redteam.attackers.skipped_work import ONE_CHAIN, SkipsRows, quicker
from tests.redteam.bout import Bout, Json
from tests.redteam.hardware import H100, side_by_side
from tests.redteam.rogue import Rogue

ALONE = side_by_side(H100)
HOUR_S = 3600.0
SLOW = 4  #: times as slow when nobody looks


def _throttles(bout: Bout) -> str:
    """The next check comes unannounced, and is below the floor."""
    bout.line.claim(ONE_CHAIN, 1)
    assert bout.check(ALONE) == "pass"
    bout.spend(5 * HOUR_S)
    return bout.check(lambda params, _: SLOW * H100.seconds(params))


def _farms(attempt: Callable[[Bout], str]) -> Callable[[Bout], str]:
    """Tries again for a day whenever it may; three tries are all it gets."""

    def run(bout: Bout) -> str:
        bout.line.claim(ONE_CHAIN, 1)
        for _ in range(20):
            bout.line.agent.sync()
            attempt(bout)
            bout.spend(HOUR_S / 2)
        tries = [outcome for outcome, _ in bout.ended if outcome != NOT_ASKED]
        assert len(tries) == 3, bout.ended
        return tries[-1]

    return run


def _falls_silent(bout: Bout) -> str:
    """Half of the rows are skipped; when it sees that those are asked for, it says no more."""
    if bout.fetch() is None:
        return NOT_ASKED
    silent = bout.id
    bout.prove(quicker(0.5), lambda: SkipsRows(0.5), silent=lambda _: True)
    bout.spend(HOUR_S / 2)
    bout.line.agent.sync()
    found = bout.line.outcome(silent)
    bout.ended[-1] = found["outcome"], found["why"]
    return str(found["outcome"])


def _babbles(bout: Bout) -> str:
    """The same, with nonsense instead of silence."""
    if bout.fetch() is None:
        return NOT_ASKED
    return bout.prove(quicker(0.5), lambda: SkipsRows(0.5), openings=lambda _: {"openings": None})


def _one_wrong(bout: Bout) -> str:
    """One row in a hundred or so: what is taken for a flipped bit is taken for one only once."""
    bout.line.claim(ONE_CHAIN, 1)

    def flip(document: Json) -> Json:
        one = document["openings"]["0"][7]
        one["end"] = ("B" if one["end"][0] == "A" else "A") + one["end"][1:]
        return document

    assert bout.prove(ALONE, openings=flip) == "hardware_corruption"
    assert bout.line.listed()["standing"] == "quarantined"
    bout.spend(HOUR_S)
    bout.line.agent.sync()
    return bout.check(ALONE, openings=flip)


def _never_answers(bout: Bout) -> str:
    """An agent of before there were proofs: listed as what it is, and found by nobody who asks for proofs."""
    bout.line.claim(H100, 1)
    bout.line.agent.sync()
    listed = bout.line.offer("")
    assert listed is not None
    assert listed["proved"] == {}
    assert bout.line.offer("proved") is None
    assert bout.line.offer("proved.int8_ops_per_s > 1 OP/s") is None
    return NOT_ASKED


def _asks_for_less(bout: Bout) -> str:
    """Asks for an older protocol and a lighter check; gets what is due, and is not understood in the old one."""
    bout.line.claim(ONE_CHAIN, 1)
    wish = b'{"protocol": "rsc-0", "level": "light", "samples": 1}'
    reply = bout.call("POST", "/v1/challenges", wish, {"X-Gridmark-Version": "0.0.1", "Accept": "application/rsc-0"})
    issued = reply.document["challenge"]
    assert (issued["protocol"], issued["level"], issued["samples"]) == ("rsc-1", "full", 64)
    bout.say("ready", {"protocol": "rsc-0"}, id_=issued["id"])
    answer = bout.say("epochs", {"protocol": "rsc-0", "root": "00" * 32}, id_=issued["id"])
    found = bout.line.outcome(issued["id"])
    bout.ended.append((found["outcome"], found["why"] or str(answer.document)))
    return str(found["outcome"])


def _washes(bout: Bout) -> str:
    """Rents its own node, again and again, to seem proven by custom."""
    bout.line.claim(ONE_CHAIN, 1)
    agent, served = bout.line.agent, bout.line.served
    before = bout.line.listed()
    washer = served.account(f"washer-{agent.node}", "renter")
    for _ in range(5):
        job = served.submit(token=washer, where=f'name = "{bout.line.name}"')["id"]
        (wish,) = agent.sync()["wishes"]
        agent.sync({"token": wish["token"], "state": "running"})
        bout.spend(1.0)
        agent.sync({"token": wish["token"], "state": "exited", "exit_code": 0})
        assert served.ask("GET", f"/v1/jobs/{job}", token=washer).json()["state"] == "done"
        agent.sync()
    after = bout.line.listed()
    for gained in ("figures", "capability", "health", "standing"):
        assert after[gained] == before[gained], gained
    offer = bout.line.offer("")
    assert offer is not None
    assert offer["proved"] == {}
    return NOT_ASKED


class TooLarge(Rogue):
    """States beyond the range within which sums are exact: the verifier's floats would round where a GPU's do not."""

    def work(self, states: Any, order: Any, rounds: range) -> Any:
        after = super().work(states, order, rounds)
        return after if self.params.arithmetic == "int8" else after * 100


def _too_large(bout: Bout) -> str:
    bout.line.claim(H100, 1)
    return bout.check(ALONE, TooLarge)


ATTACKS = (
    Attack(
        name="throttle-after-the-test",
        against="lium's node 939b3e38: six broken rentals, and 1.0 in every check of 15 minutes",
        does="is an H100 in its first check, and a quarter of one in the next",
        run=_throttles,
        ends=ends("below_floor"),
        why="floor",
        truth={INT8: H100.int8_ops_per_s / SLOW},
    ),
    Attack(
        name="silent-when-caught",
        against="SN27's 22 retries, 60 s apart",
        does="skips half of the rows and falls silent when they are asked for, as often as it may",
        run=_farms(_falls_silent),
        ends=ends("unreachable"),
        why="not opened in time",
    ),
    Attack(
        name="babbles-when-caught",
        against="failures that are neutral: gittensor's and basilica's",
        does="skips half of the rows and answers nonsense when they are asked for, as often as it may",
        run=_farms(_babbles),
        ends=ends("protocol_error"),
    ),
    Attack(
        name="one-wrong-answer",
        against="our own leniency with flipped bits",
        does="has one wrong row in every check",
        run=_one_wrong,
        ends=ends("cheat_proven"),
        why="second wrong answer",
    ),
    Attack(
        name="agent-without-proofs",
        against="agents that are downgraded until nothing is asked of them",
        does="lists an H100 and never answers a challenge",
        run=_never_answers,
        ends=ends(NOT_ASKED),
    ),
    Attack(
        name="asks-for-less",
        against="agents that are downgraded until nothing is asked of them",
        does="asks for an older protocol and a lighter check",
        run=_asks_for_less,
        ends=ends("protocol_error"),
    ),
    Attack(
        name="wash-leases",
        against="reputation from rentals (gittensor's standing, lium's uptime), which a supplier can rent himself",
        does="rents its own node and ends every job well",
        run=_washes,
        ends=ends(NOT_ASKED),
    ),
    Attack(
        name="beyond-the-range",
        against="sums that are exact only within a range nobody checks",
        does="commits to bf16 states of a hundred times the largest number",
        run=_too_large,
        ends=ends("cheat_proven"),
        truth=H100.proves(),
    ),
)
