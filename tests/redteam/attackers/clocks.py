"""Time as the attacker would have it."""

from __future__ import annotations

from collections.abc import Callable

from kernels.chain.params import Params
from tests.redteam.attack import Attack, ends
from tests.redteam.attackers.skipped_work import ONE_CHAIN
from tests.redteam.bout import Bout, Json
from tests.redteam.hardware import CPU, H100, side_by_side

ALONE = side_by_side(H100)
HOUR_S = 3600.0


def _stamped(spoil: Callable[[Json], Json]) -> Callable[[Bout], str]:
    """Every epoch brings times of its own."""

    def run(bout: Bout) -> str:
        bout.line.claim(ONE_CHAIN, 1)
        return bout.check(side_by_side(CPU), epochs=spoil)

    return run


def _headers(bout: Bout) -> str:
    """A CPU whose clock says that it was quick."""
    bout.line.claim(ONE_CHAIN, 1)
    forged = {"Date": "Thu, 01 Jan 1970 00:00:00 GMT", "X-Elapsed-Seconds": "0.001", "X-Request-Start": "t=0"}
    return bout.check(side_by_side(CPU), headers=forged)


def _late(bout: Bout) -> str:
    """Answers when the challenge has expired, dated before."""
    bout.line.claim(ONE_CHAIN, 1)

    def think(document: Json) -> Json:
        bout.spend(24 * HOUR_S)
        return document

    return bout.prove(ALONE, openings=think, headers={"Date": "Thu, 01 Jan 1970 00:00:00 GMT"})


def _late_roots(bout: Bout) -> str:
    """The same with the roots of an epoch."""
    bout.line.claim(ONE_CHAIN, 1)

    def think(document: Json) -> Json:
        bout.spend(24 * HOUR_S)
        return document

    return bout.prove(ALONE, epochs=think)


def _one_by_one(bout: Bout) -> str:
    """An epoch for every segment, hoping that the best of many counts."""
    bout.line.claim(ONE_CHAIN, 1)
    return bout.check(ALONE, most=1)


def _bursts(bout: Bout) -> str:
    """Slow for four fifths of the time, quick in many short epochs between."""
    bout.line.claim(ONE_CHAIN, 1)
    turns = [0]

    def pace(params: Params, _: int) -> float:
        turns[0] += 1
        return H100.seconds(params) * (32 if turns[0] % 8 == 0 else 1)

    return bout.check(pace, most=1)


def _relay(bout: Bout) -> str:
    """A card elsewhere, 5 ms away."""
    bout.line.claim(H100, 1)
    return bout.check(ALONE, way_s=0.0025)


def _far_relay(bout: Bout) -> str:
    """A card on another continent, 100 ms away: beside epochs of 20 ms, as 1 s would be beside 200 ms."""
    bout.line.claim(H100, 1)
    return bout.check(ALONE, way_s=0.05)


STAMPS = "SN27, whose time limit was a multiple of the time that the miner reported"

ATTACKS = (
    Attack(
        name="own-stopwatch",
        against=STAMPS,
        does="adds the seconds it says it took to its roots",
        run=_stamped(lambda document: {**document, "elapsed_s": 0.001}),
        ends=ends("protocol_error"),
        why="unknown member",
    ),
    Attack(
        name="own-stamps",
        against="Prime Intellect's shipping check, which carried a time stamp of the prover's",
        does="adds when it got the salt and when it had the roots",
        run=_stamped(lambda document: {**document, "released_ns": 0, "received_ns": 1}),
        ends=ends("protocol_error"),
        why="unknown member",
    ),
    Attack(
        name="forged-date",
        against=STAMPS,
        does="dates its answers to before they were asked for",
        run=_headers,
        ends=ends("below_floor"),
        truth=CPU.proves(),
    ),
    Attack(
        name="late-openings",
        against="deadlines by the prover's clock",
        does="opens its rows a day later",
        run=_late,
        ends=ends("unreachable"),
    ),
    Attack(
        name="late-roots",
        against="deadlines by the prover's clock",
        does="hands in an epoch a day later",
        run=_late_roots,
        ends=ends("unreachable"),
    ),
    Attack(
        name="an-epoch-each",
        against="scores by the best of many runs",
        does="hands in every segment as an epoch of its own",
        run=_one_by_one,
        ends=ends("pass"),
        truth=H100.proves(),
    ),
    Attack(
        name="bursts",
        against="scores by the median of many runs, however long each was",
        does="is slow for four fifths of the time, in an eighth of the epochs",
        run=_bursts,
        ends=ends("below_floor"),
        why="floor",
        truth={key: value / 2 for key, value in H100.proves().items()},
    ),
    Attack(
        name="relay",
        against="every protocol that proves work and not where it is done: ours too",
        does="passes all on to an H100 5 ms away; what is listed is true, and its place is unproven",
        run=_relay,
        ends=ends("pass"),
        truth=H100.proves(),
    ),
    Attack(
        name="far-relay",
        against="every protocol that proves work and not where it is done: ours too",
        does="passes all on to an H100 100 ms away",
        run=_far_relay,
        ends=ends("below_floor"),
        truth=H100.proves(),
    ),
)
