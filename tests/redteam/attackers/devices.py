"""Devices that are not there, or not what they are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from kernels.chain.engine import Opening
from kernels.chain.params import Params
from tests.redteam.attack import Attack, ends
from tests.redteam.attackers.skipped_work import ONE_CHAIN
from tests.redteam.bout import Bout
from tests.redteam.hardware import CPU, H100, RTX4090, Card, one_after_another, side_by_side
from tests.redteam.rogue import Rogue

EIGHT = 8


def _claims_h100(real: Card, count: int = 1) -> Callable[[Bout], str]:
    def run(bout: Bout) -> str:
        bout.line.claim(H100, count)
        return bout.check(side_by_side(real))

    return run


def _serial(bout: Bout) -> str:
    bout.line.claim(ONE_CHAIN, EIGHT)
    return bout.check(one_after_another(H100))


def _sandbag(bout: Bout) -> str:
    """Each eighth claims an eighth, and the card is slow on purpose while it plays one of them alone."""
    eighth = replace(ONE_CHAIN, int8_ops_per_s=H100.int8_ops_per_s / EIGHT)
    bout.line.claim(eighth, EIGHT)

    def pace(params: Params, devices: int) -> float:
        return EIGHT * H100.seconds(params) if devices < EIGHT else devices * H100.seconds(params)

    return bout.check(pace)


class _Copy:
    """A device that says what another one found."""

    def __init__(self, of: Rogue) -> None:
        self.of, self.segments = of, 0

    def prepare(self, params: Params, *, seed: bytes, challenge: bytes, device: int) -> None:
        pass

    def advance(self, salt: bytes) -> bytes:
        self.segments += 1
        if self.segments > self.of.segments:
            self.of.advance(salt)
        return self.of.roots[self.segments]

    def open(self, segment: int, unit: int, commit: int) -> Opening:
        return self.of.open(segment, unit, commit)

    def open_many(self, asked: Sequence[tuple[int, int, int]]) -> list[Opening]:
        return self.of.open_many(asked)

    def close(self) -> None:
        pass


def _same_for_all(bout: Bout) -> str:
    """Honest with each device alone; together, one works and the other repeats what it says."""
    bout.line.claim(ONE_CHAIN, 2)
    ending = "pass"
    while ending == "pass":
        challenge = bout.fetch()
        assert challenge is not None
        if len(challenge.devices) == 1:
            ending = bout.prove(side_by_side(H100))
            continue
        first = challenge.devices[0]
        one = Rogue()
        one.prepare(challenge.params, seed=first.seed, challenge=challenge.id, device=first.index)
        ending = bout.prove(side_by_side(H100), engines=[_Copy(one), _Copy(one)])
    return ending


FAKES = "io.net in April 2024 and lium in August 2026: NVML and nvidia-smi say what they are told to say"

ATTACKS = (
    Attack(
        name="fake-nvml",
        against=FAKES,
        does="lists an RTX 4090 as an H100",
        run=_claims_h100(RTX4090),
        ends=ends("below_floor"),
        why="floor",
        truth=RTX4090.proves(),
    ),
    Attack(
        name="no-gpu-at-all",
        against=FAKES,
        does="lists a CPU as an H100 and computes the chain exactly, on the CPU",
        run=_claims_h100(CPU),
        ends=ends("below_floor"),
        truth=CPU.proves(),
    ),
    Attack(
        name="one-as-eight",
        against="lium's absolute budget: 90 s for all cards, of which each needs 4 to 10 (its change 1224)",
        does="plays eight H100s with one, one after another",
        run=_serial,
        ends=ends("below_floor"),
        truth=H100.proves(),
    ),
    Attack(
        name="one-as-eight-slices",
        against="ratios of joint to single runs, by being slow alone",
        does="lists eight cards of an eighth of an H100 each; their sum is true, their number is not",
        run=_sandbag,
        ends=ends("pass", "below_floor"),
        truth=H100.proves(),
    ),
    Attack(
        name="one-answer-for-two",
        against="seeds that all devices of a node share",
        does="hands in the roots of one device for another as well",
        run=_same_for_all,
        ends=ends("cheat_proven"),
        why="device 1",
        truth=H100.proves(2),
    ),
)
