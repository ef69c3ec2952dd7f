"""A verdict under limits: the same verdict, and no harm from one that would need more."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest

from kernels.chain.engine import Opening
from qualify.proof import transcript as transcripts
from qualify.proof.transcript import Transcript
from qualify.proof.verify import verify
from qualify.proof.worker import Limits, run_worker
from tests.qualify.proof.play import good


def test_a_worker_s_verdict_is_the_verdict() -> None:
    """Bit for bit, through a process and its JSON."""
    transcript = good("memory")

    assert run_worker(transcripts.to_bytes(transcript)) == verify(transcript)


def test_what_is_no_transcript_is_a_protocol_error() -> None:
    """The worker itself is well."""
    verdict = run_worker(b'{"challenge":')

    assert verdict.outcome == "protocol_error"


@functools.cache
def greedy() -> Transcript:
    """A transcript of a sound shape whose layers alone, 64 of 8192 x 8192 numbers, need 17 GB."""
    small = good("memory")
    params = replace(small.challenge.params, n=8192, depth=64)
    challenge = replace(small.challenge, params=params)
    asked = transcripts.drawn(challenge, small.epochs, small.draw)
    state, path = bytes(params.state_bytes), bytes(32 * params.levels)
    opened = {
        device: tuple(
            Opening(*place, *((state, path) if place[0] or place[2] else (b"", b"")), state, path) for place in places
        )
        for device, places in asked.items()
    }
    return replace(small, challenge=challenge, asked=asked, openings=opened)


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (Limits(memory_bytes=400 << 20), "memory"),
        (Limits(memory_bytes=1 << 36, cpu_s=1), "SIGXCPU"),
        (Limits(memory_bytes=1 << 36, wall_s=0.8), "within 0.8 s"),
    ],
    ids=["memory", "cpu", "wall"],
)
def test_a_transcript_that_needs_too_much_is_nobody_s_fault(limits: Limits, why: str) -> None:
    """It ends at the limit, as could_not_run, and the caller goes on."""
    verdict = run_worker(transcripts.to_bytes(greedy()), limits)

    assert (verdict.outcome, why in verdict.why) == ("could_not_run", True), verdict.why


def test_a_worker_that_never_gets_to_judge_is_our_own_failure() -> None:
    """An interpreter without room for its own modules ends with an error of one kind or another."""
    verdict = run_worker(b"", Limits(memory_bytes=1 << 20))

    assert verdict.outcome == "could_not_run"
