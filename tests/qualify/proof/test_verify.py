"""What the verdict on a transcript is, and what it is worth."""

from __future__ import annotations

import pytest

from qualify.proof import transcript as transcripts
from qualify.proof.verdict import BANDWIDTH, BF16, INT8, MEMORY
from qualify.proof.verify import verify, verify_bytes
from tests.qualify.proof.play import KINDS, challenge_of, good, play


@pytest.mark.parametrize(
    ("kind", "keys"), [("int8", {INT8}), ("bf16", {BF16}), ("memory", {BANDWIDTH, MEMORY})], ids=list(KINDS)
)
def test_an_honest_run_passes(kind: str, keys: set[str]) -> None:
    """Every kind of chain, through all codecs, from the text alone."""
    verdict = verify_bytes(transcripts.to_bytes(good(kind)))

    assert (verdict.outcome, verdict.why, set(verdict.figures)) == ("pass", "", keys)


def test_honest_provers_are_never_rejected() -> None:
    """Exactness leaves nothing to chance: other seeds, other draws, the same verdict."""
    verdicts = [
        verify(play(challenge_of(KINDS[kind], seed=seed), seed=seed + 1)).outcome
        for seed in range(12)
        for kind in KINDS
    ]

    assert verdicts == ["pass"] * 36
