"""Nodes that have to prove what they claim, and verdicts for the tests of the market's rules."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from qualify.proof import verdict
from qualify.proof.verdict import BANDWIDTH, BF16, INT8, MEMORY, UNITS, Outcome, Verdict
from scheduler.control import ControlSettings
from scheduler.desk import ProvingSettings
from scheduler.figure import Figure
from scheduler.proofs.outcome import Finding, Judged
from scheduler.proofs.rows import Challenge, ChallengeState, Proof
from scheduler.records import MarketNode
from tests.scheduler.market_floor import Floor, summary

GB = 10**9
DAY_MS = 86_400_000
CLAIMS = {"matmul.int8": 1000e12, "matmul.bf16": 500e12, "memory.read": 3000e9, "memory.triad": 2800e9}
#: what a node with two GPUs that does as it claims, and no more, proves
TRUE = {INT8: 2000e12, BF16: 1000e12, MEMORY: 160.0 * GB, BANDWIDTH: 6000e9}


def claims(**values: float) -> dict[str, Figure]:
    """Figures of a report, each known to a tenth."""
    found = CLAIMS | {key.replace("_", ".", 1): value for key, value in values.items()}
    return {
        key: Figure(value=one, low=0.9 * one, high=1.1 * one, n=9, at_ms=0, unit="FLOP/s") for key, one in found.items()
    }


class ProvingFloor(Floor):
    """A market with one node of two GPUs, whose proofs are due."""

    def __init__(self, *, gpus: int = 2, **proving: Any) -> None:
        self.gpus = gpus
        self.drawn = 0
        super().__init__(nodes=0, settings=ControlSettings(proving=ProvingSettings(**{"on": True, **proving})))
        self.id = self.enrol()
        self.report("r1")
        self.control.register(self.id, 0, "boot-1", self.now)
        self.sync(self.id)

    @property
    def row(self) -> MarketNode:
        """The node."""
        return self.node(self.id)

    @property
    def proof(self) -> Proof:
        """Where it stands."""
        return self.row.proof

    def report(self, name: str, **changes: Any) -> None:
        """A report of a node with GPUs of 80 GB."""
        self.control.accept_report(
            self.id,
            summary(
                **{
                    "report_id": name,
                    "device_kind": "cuda",
                    "vram_bytes": 80 * GB,
                    "devices": tuple(f"GPU-{index}" for index in range(self.gpus)),
                    "figures": claims(),
                    **changes,
                }
            ),
            self.now,
        )
        self.commit()

    def draw(self, count: int) -> bytes:
        """Bytes that were never drawn before."""
        self.drawn += 1
        return hashlib.shake_256(str(self.drawn).encode()).digest(count)

    def issue(self) -> Challenge | None:
        """The node asks for a challenge."""
        found = self.control.issue_challenge(self.id, self.row.epoch, self.now, self.draw)
        self.commit()
        return found

    def issued(self) -> Challenge:
        """The node gets one."""
        found = self.issue()
        assert found is not None
        return found

    def advance(self, challenge: Challenge, *states: ChallengeState) -> None:
        """It goes on."""
        for state in states:
            self.control.advance_challenge(challenge.id, self.id, state, self.now)
        self.commit()

    def settle(self, challenge: Challenge, finding: Finding) -> Challenge:
        """It ends."""
        done = self.control.settle_challenge(challenge.id, self.id, finding, self.now)
        self.commit()
        return done

    def end(self, outcome: Outcome, figures: dict[str, float] | None = None) -> Challenge:
        """The next challenge ends so, by a verdict over a transcript."""
        challenge = self.issued()
        return self.settle(challenge, judged(challenge, outcome, figures or {}))

    def go_through(
        self, figures: dict[str, float] | None = None, outcome: Callable[[Challenge], Outcome] = lambda _: "pass"
    ) -> list[Challenge]:
        """Answer every challenge of a check."""
        done = []
        while True:
            challenge = self.issued()
            end = outcome(challenge)
            done.append(self.settle(challenge, judged(challenge, end, figures or TRUE)))
            if self.proof.check is None:
                return done


def judged(challenge: Challenge, outcome: Outcome, figures: dict[str, float], **more: Any) -> Finding:
    """A verdict with those of the figures that such a challenge proves, when it is of the whole node."""
    mine = proved_by(challenge) if '"whole":true' in challenge.document else ()
    found = {
        key: verdict.Figure(value=one, low=0.9 * one, high=1.1 * one, sustained=one, n=5, unit=UNITS[key])
        for key, one in figures.items()
        if key in mine and outcome in ("pass", "below_floor")
    }
    said = Verdict(outcome=outcome, why="" if outcome == "pass" else "so it was", figures=found)
    kept = Judged(
        transcript_sha256=hashlib.sha256(challenge.id.encode()).hexdigest(),
        verdict=verdict.to_json(said),
        verifier=said.verifier,
    )
    return Finding(outcome=outcome, why=said.why, judged=kept, **more)


def proved_by(challenge: Challenge) -> tuple[str, ...]:
    """The figures that a challenge is about."""
    if challenge.kind == "memory":
        return (MEMORY, BANDWIDTH)
    return (INT8,) if '"arithmetic":"int8"' in challenge.document else (BF16,)
