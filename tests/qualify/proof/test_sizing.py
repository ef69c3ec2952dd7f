"""Sizes and times of checks, by arithmetic from what nodes claim."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.chain.params import Params
from kernels.spec import DeviceKind
from qualify.proof import challenge as challenges
from qualify.proof import messages
from qualify.proof.challenge import Level
from qualify.proof.sizing import (
    BEST_OPS_PER_S,
    FILL_SHARE,
    FLOOR_SHARE,
    POOL_SHARE,
    REGENERATION,
    SMALL,
    Claim,
    Phase,
    Scale,
    duty,
    issue,
    plan,
)
from tests.qualify.proof.play import randomness

GB = 10**9
H100 = Claim(
    kind="cuda",
    devices=(0,),
    int8_ops_per_s=1.4e15,
    bf16_flops=7.5e14,
    memory_bytes=80 * GB,
    memory_bytes_per_s=3.0e12,
)
T4 = Claim(
    kind="cuda", devices=(0,), int8_ops_per_s=1e14, bf16_flops=5e13, memory_bytes=16 * GB, memory_bytes_per_s=2.8e11
)
EPYC = Claim(
    kind="cpu", devices=(0,), int8_ops_per_s=1e12, bf16_flops=5e11, memory_bytes=256 * GB, memory_bytes_per_s=1e11
)
EIGHT = replace(H100, devices=tuple(range(8)))
CLAIMS = {"H100": H100, "8 x H100": EIGHT, "T4": T4, "EPYC": EPYC}
LEVELS: tuple[Level, Level] = ("light", "full")


def rate(claim: Claim, params: Params) -> float:
    found = {"int8": claim.int8_ops_per_s, "bf16": claim.bf16_flops}[params.arithmetic]
    return (claim.memory_bytes_per_s if params.kind == "memory" else found) or 0.0


def work(params: Params) -> int:
    return params.read_bytes_per_segment if params.kind == "memory" else params.ops_per_segment


def named(phases: tuple[Phase, ...]) -> list[str]:
    return ["memory" if phase.params.kind == "memory" else phase.params.arithmetic for phase in phases]


@pytest.mark.parametrize("level", LEVELS)
def test_a_check_proves_all_that_is_claimed(level: Level) -> None:
    """Both arithmetics and the memory, on all devices; several are run alone before a full one."""
    assert named(plan(H100, level, Scale())) == ["int8", "bf16", "memory"]
    assert {phase.devices for phase in plan(H100, level, Scale())} == {(0,)}
    assert all(phase.whole for phase in plan(H100, level, Scale()))
    solos = [phase.devices for phase in plan(EIGHT, level, Scale()) if not phase.whole]
    assert solos == ([(device,) for device in range(8)] if level == "full" else [])


def test_what_is_not_claimed_is_not_proved() -> None:
    """None where nothing is said."""
    assert plan(Claim(kind="cuda", devices=(0,)), "full", Scale()) == ()
    assert named(plan(replace(H100, int8_ops_per_s=None), "full", Scale())) == ["bf16", "memory"]
    assert named(plan(replace(H100, memory_bytes=None), "full", Scale())) == ["int8", "bf16"]


def test_times_are_as_planned() -> None:
    """Light: 5 s of products and 3 s of memory, 16 rows; full: 60 s and 30 s, 64 rows and 200 segments at least."""
    light, full = (plan(H100, level, Scale()) for level in LEVELS)

    assert [(one.target_s, one.samples, one.least_segments) for one in light] == [
        (2.5, 16, 50),
        (2.5, 16, 50),
        (3.0, 16, 50),
    ]
    assert [(one.target_s, one.samples, one.least_segments) for one in full] == [(30.0, 64, 200)] * 3


@pytest.mark.parametrize("name", ["H100", "8 x H100", "T4"])
@pytest.mark.parametrize("level", LEVELS)
def test_a_segment_takes_5_to_10_ms_at_the_claimed_rate(name: str, level: Level) -> None:
    """Sizes are powers of two, so between half of 10 ms and all of it."""
    claim = CLAIMS[name]

    seconds = [work(phase.params) / rate(claim, phase.params) for phase in plan(claim, level, Scale())]

    assert all(0.005 <= one <= 0.010 for one in seconds), seconds


@pytest.mark.parametrize("name", ["H100", "8 x H100", "T4", "EPYC"])
def test_checks_take_at_most_half_a_percent_of_a_node_s_time(name: str) -> None:
    """Light ones 0.35 %, every hour or less often, full ones 0.15 %, every day or less often."""
    light, full = (sum(phase.busy_s for phase in plan(CLAIMS[name], level, Scale())) for level in LEVELS)

    gaps = {"light_every_s": max(3600.0, light / 0.0035), "full_every_s": max(86_400.0, full / 0.0015)}

    assert duty(light, full, **gaps) <= 0.005 * (1 + 1e-9)


def test_an_h100_is_busy_for_some_seconds_an_hour() -> None:
    """8 s of work, 3 s around it, and 73.6e9 bytes of 2 * 512 * 16 operations each; a full one half as many again."""
    fill_s = 73.6e9 * 16_384 / (FILL_SHARE * 1.4e15)
    light, full = (sum(phase.busy_s for phase in plan(H100, level, Scale())) for level in LEVELS)

    assert light == pytest.approx(8 + 3 + fill_s, abs=0.01)
    assert full == pytest.approx(90 + 3 + 1.5 * fill_s, abs=0.02)
    assert duty(light, full) == pytest.approx(light / 3600 + full / 86_400)


@pytest.mark.parametrize("round_trip_s", [0.0001, 0.01, 0.08, 0.3])
@pytest.mark.parametrize("level", LEVELS)
def test_every_epoch_lasts_a_hundred_round_trips(round_trip_s: float, level: Level) -> None:
    """And so does the run, so that the network adds less than one part in a hundred."""
    for phase in plan(replace(H100, round_trip_s=round_trip_s), level, Scale()):
        assert phase.target_s >= phase.epoch_s >= 100 * round_trip_s


def test_memory_is_filled_by_what_is_claimed_of_it() -> None:
    """92 % of it in tiles of 256 KiB: an empty claim only makes its owner's pool larger."""
    pools = [plan(replace(H100, memory_bytes=size * GB), "full", Scale())[2].params for size in (24, 80, 288)]

    assert [params.pool_bytes / (0.92 * size * GB) for params, size in zip(pools, (24, 80, 288), strict=True)] == [
        pytest.approx(1, abs=1e-4)
    ] * 3
    assert POOL_SHARE == 0.92
    assert [(params.n, params.rows, params.commit_every) for params in pools] == [(512, 8, 1)] * 3


@given(
    bytes_per_s=st.floats(1e9, 1e13),
    level=st.sampled_from(LEVELS),
    int8=st.floats(1e11, 5e15) | st.none(),
)
def test_no_device_makes_a_pool_as_quickly_as_it_must_be_read(
    bytes_per_s: float, level: Level, int8: float | None
) -> None:
    """Whatever is claimed besides: a tile's byte costs 2 n depth operations, the best device does 5e15 a second."""
    claim = replace(H100, memory_bytes_per_s=bytes_per_s, int8_ops_per_s=int8)
    phase = plan(claim, level, Scale())[-1]

    made_per_s = BEST_OPS_PER_S / (2 * phase.params.n * phase.params.depth)

    assert phase.resident_per_s == pytest.approx(REGENERATION * made_per_s)
    assert phase.floor_per_s == pytest.approx(FLOOR_SHARE * bytes_per_s)
    # an honest one is asked for no more than half of what it claims, unless that is too slow for any depth
    assert phase.resident_per_s <= phase.floor_per_s or phase.params.depth == 64


def test_an_h100_that_claims_5_percent_too_much_memory_is_too_slow_in_a_full_check() -> None:
    """1.64e15 operations/s make 6.7e10 bytes of tiles: with 5 % missing 1.33e12 B/s are read, the floor is 1.5e12."""
    phase = plan(H100, "full", Scale())[2]
    made_per_s = 1.639e15 / (2 * phase.params.n * phase.params.depth)

    assert phase.params.depth == 24
    assert made_per_s / 0.05 < phase.floor_per_s


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("scale", [Scale(), SMALL], ids=["real", "small"])
def test_every_phase_becomes_a_challenge(name: str, level: Level, scale: Scale) -> None:
    """Sound, with a name and seeds of its own, that survives its text and expires after its longest."""
    claim, draw = CLAIMS[name], randomness(1)
    uuids = {device: f"GPU-{device}" for device in claim.devices}

    made = [
        issue(phase, node=3, level=level, uuids=uuids, random_bytes=draw, unix_ms=1_000)
        for phase in plan(claim, level, scale)
    ]

    assert [challenges.loads(challenges.dumps(one)) for one in made] == made
    assert len({one.id for one in made}) == len(made)
    assert len({device.seed for one in made for device in one.devices}) == sum(len(one.devices) for one in made)
    for one, phase in zip(made, plan(claim, level, scale), strict=True):
        assert one.expires_ms == 1_000 + math.ceil(1000 * phase.lasts_s)
        assert phase.lasts_s > 4 * one.target_s


@pytest.mark.parametrize("level", LEVELS)
def test_an_h100_s_answers_stay_below_3_mb(level: Level) -> None:
    """64 states of 8 KiB twice with their paths in base64, and 67 bytes for every segment at the claimed rate."""
    draw = randomness(1)
    for phase in plan(H100, level, Scale()):
        challenge = issue(phase, node=3, level=level, uuids={0: "GPU-0"}, random_bytes=draw, unix_ms=1_000)
        segments = phase.target_s * rate(H100, phase.params) / work(phase.params)

        assert segments <= challenge.most_segments
        assert messages.most_openings_bytes(challenge) + 67 * segments < 3e6


@given(
    kind=st.sampled_from(["cpu", "cuda"]),
    devices=st.integers(1, 64),
    rates=st.tuples(*[st.floats(1.0, 1e17) | st.none()] * 3),
    memory_bytes=st.integers(1, 1 << 45) | st.none(),
    level=st.sampled_from(LEVELS),
    small=st.booleans(),
)
def test_any_claim_has_a_sound_plan(
    kind: DeviceKind,
    devices: int,
    rates: tuple[float | None, float | None, float | None],
    memory_bytes: int | None,
    level: Level,
    small: bool,
) -> None:
    """However absurd: sizes that an engine takes, more room than need, and a floor on GPUs only."""
    claim = Claim(
        kind=kind,
        devices=tuple(range(devices)),
        int8_ops_per_s=rates[0],
        bf16_flops=rates[1],
        memory_bytes=memory_bytes,
        memory_bytes_per_s=rates[2],
    )

    for phase in plan(claim, level, SMALL if small else Scale()):
        assert phase.params.problem() is None
        assert phase.least_segments < phase.most_segments
        assert (phase.floor_per_s > 0) == (kind == "cuda" and not small)
        assert phase.samples >= 16


def test_a_small_check_is_done_within_seconds() -> None:
    """Full, on one CPU: 0.8 s of products, 0.4 s of memory."""
    assert sum(phase.target_s for phase in plan(EPYC, "full", SMALL)) == pytest.approx(1.2)
