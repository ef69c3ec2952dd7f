"""How large a challenge is: from what a node claims, the chains that would take its devices the planned time.

Sizes and floors follow the claim, so one that is too high makes the run slow and its floor unreachable. Memory
follows no claim: whoever claims little speed besides gets deeper tiles, and must still read them as quickly as no
device could make them anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kernels.chain.params import Arithmetic, Params
from kernels.spec import DeviceKind
from qualify.proof.challenge import ID_BYTES, MOST_SEGMENTS, SEED_BYTES, Challenge, Device, Level
from qualify.proof.referee import PATIENCE

#: of what a GPU claims, its floor; a chain reaches 90 % of a bare product, and a claim may be of its best minute
FLOOR_SHARE = 0.5
#: of a GPU's memory, the pool's part; the rest is the driver's, the states' and the checkpoints'
POOL_SHARE = 0.92
#: operations/s that no device sold exceeds: 4.5e15 is the dense int8 peak of a B200
BEST_OPS_PER_S = 5e15
#: memory counts as held when it is read so many times faster than the best device could make it anew
REGENERATION = 4
#: tiles of a compute chain: keys make its rounds depend on all that went before, more tiles only the verifier's work
COMPUTE_TILES = 1
#: a byte of a pool costs 2 n operations a layer; small tiles of many layers cost the verifier least
GPU_SIDE, GPU_DEPTHS = 512, (16, 64)  #: least and most layers
#: a full check's tiles have half as many layers again, and a light one, which comes hourly, is cheaper to judge
FULL_DEPTH = 1.5
#: openings times layers that a verifier makes of one device: 10 CPU-s
LAYERS_MOST = 2048
#: of the claimed rate, what products of that side reach while a pool is made; an estimate, no GPU has told it yet
FILL_SHARE = 0.15
CPU_POOL = (256, 4)
CPU_POOL_BYTES = 16 << 20
#: rates above which a CPU's chain, made for exactness, is not expected to run; they only size its segments
CPU_OPS_PER_S, CPU_BYTES_PER_S = 1e11, 1e9
#: beside the timed work and the filling of a pool: tiles and warm-up before it, openings after it
AROUND_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a node says of its devices, which are alike; None = it says nothing, so nothing is proved."""

    kind: DeviceKind
    devices: tuple[int, ...]
    int8_ops_per_s: float | None = None  #: of each device, as is all below
    bf16_flops: float | None = None
    memory_bytes: int | None = None
    memory_bytes_per_s: float | None = None
    round_trip_s: float = 0.01  #: between the node and the server


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How long and how large checks are; tests shrink it."""

    light_compute_s: float = 5.0  #: int8 and bf16 together
    light_memory_s: float = 3.0
    light_samples: int = 16
    light_segments: int = 50  #: at least
    full_compute_s: float = 60.0
    full_memory_s: float = 30.0
    full_samples: int = 64
    full_segments: int = 200
    solo_s: float = 2.0  #: of each of several devices alone
    epoch_s: float = 1.0
    segment_s: float = 0.01  #: at the claimed rate; sizes are powers of two, which makes it half of it at the least
    round_trips: int = 100  #: that an epoch is long at least, so that the network adds less than one part in a hundred
    largest_n: int = 4096
    units_most: int = 1 << 16
    rounds_most: int = 256
    pool_bytes_most: int = 1 << 40
    best_ops_per_s: float = BEST_OPS_PER_S
    floors: bool = True  #: whether a GPU has to reach a part of what it claims
    grace_s: float = 60.0  #: for preparing, and again for answering


#: the same protocol within a second or two on any CPU
SMALL = Scale(
    light_compute_s=0.4,
    light_memory_s=0.2,
    light_segments=4,
    full_compute_s=0.8,
    full_memory_s=0.4,
    full_segments=8,
    solo_s=0.2,
    epoch_s=0.05,
    segment_s=0.002,
    round_trips=5,
    largest_n=64,
    units_most=64,
    rounds_most=4,
    pool_bytes_most=1 << 18,
    floors=False,
    grace_s=20.0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One challenge of a check, before it has a name, a seed and a node."""

    params: Params
    devices: tuple[int, ...]
    whole: bool  #: all of the node's devices at once
    target_s: float
    epoch_s: float
    least_segments: int
    most_segments: int
    samples: int
    floor_per_s: float
    resident_per_s: float
    fill_s: float  #: that the pool takes to make, about
    grace_s: float

    @property
    def busy_s(self) -> float:
        """Seconds for which it usually keeps the node busy: what counts for the duty."""
        return self.target_s + self.fill_s + AROUND_S

    @property
    def lasts_s(self) -> float:
        """Seconds after which a node that has not answered will not: a slow one gets `PATIENCE` times the target."""
        return PATIENCE * (self.target_s + self.fill_s) + 2 * self.grace_s


def plan(claim: Claim, level: Level, scale: Scale) -> tuple[Phase, ...]:
    """The challenges of one check, in their order; none where nothing is claimed.

    A full check of several devices begins with each of them alone, so that the ratio to all together tells how many
    they are (qualify/proof/count.py).
    """
    chains = _compute_chains(claim, scale)
    full = level == "full"
    compute_s = (scale.full_compute_s if full else scale.light_compute_s) / max(1, len(chains))
    phases = []
    if full and len(claim.devices) > 1 and chains:
        phases = [_phase(claim, scale, chains[0], (device,), scale.solo_s, level) for device in claim.devices]
    phases += [_phase(claim, scale, chain, claim.devices, compute_s, level) for chain in chains]
    if pool := _memory_chain(claim, scale, level):
        memory_s = scale.full_memory_s if full else scale.light_memory_s
        phases.append(_phase(claim, scale, pool, claim.devices, memory_s, level))
    return tuple(phases)


def issue(
    phase: Phase,
    *,
    node: int,
    level: Level,
    uuids: Mapping[int, str],
    random_bytes: Callable[[int], bytes],
    unix_ms: int,
) -> Challenge:
    """A challenge for a phase, with a name and seeds of its own."""
    return Challenge(
        id=random_bytes(ID_BYTES),
        node=node,
        level=level,
        params=phase.params,
        devices=tuple(Device(index=index, uuid=uuids[index], seed=random_bytes(SEED_BYTES)) for index in phase.devices),
        whole=phase.whole,
        target_s=phase.target_s,
        epoch_s=phase.epoch_s,
        least_segments=phase.least_segments,
        most_segments=phase.most_segments,
        samples=phase.samples,
        floor_per_s=phase.floor_per_s,
        resident_per_s=phase.resident_per_s,
        issued_ms=unix_ms,
        expires_ms=unix_ms + math.ceil(1000 * phase.lasts_s),
    )


def duty(light_s: float, full_s: float, *, light_every_s: float = 3600.0, full_every_s: float = 86_400.0) -> float:
    """The part of a node's time that checks of these lengths take, light and full ones at these mean gaps."""
    return light_s / light_every_s + full_s / full_every_s


def compute_params(arithmetic: Arithmetic, rate_per_s: float, kind: DeviceKind, scale: Scale) -> Params:
    """A compute chain of which one segment takes between a half and the whole of `segment_s` at that rate."""
    gpu = kind == "cuda"
    n, rounds = min(scale.largest_n, 4096 if gpu else 256), min(scale.rounds_most, 16 if gpu else 4)
    work = rate_per_s * scale.segment_s
    units = work / (2 * n * n * rounds)
    while units < n / 4 and n > 64:  # fewer rows than that use a device badly
        n //= 2
        units *= 4
    return Params(
        kind="compute",
        arithmetic=arithmetic,
        n=n,
        units=_power(units, 16, scale.units_most),
        rows=1,
        tiles=COMPUTE_TILES,
        depth=0,
        rounds=rounds,
        commit_every=rounds,
    )


def memory_params(claim: Claim, scale: Scale, level: Level) -> Params:
    """A memory chain over a pool of `POOL_SHARE` of the claimed memory; a CPU's is small and says so by its size.

    The slower the memory is said to be, the more layers a tile has, so that it would take longer yet to make one.
    Each round of each unit is committed to: an opening makes the verifier make one tile and no more.
    """
    gpu, memory_bytes, rate = claim.kind == "cuda", claim.memory_bytes or 0, _memory_rate(claim)
    n, depth = CPU_POOL
    if gpu:
        n = GPU_SIDE
        needed = REGENERATION * scale.best_ops_per_s / (2 * n * FLOOR_SHARE * rate)
        depth = math.ceil(max(GPU_DEPTHS[0], needed) * (FULL_DEPTH if level == "full" else 1))
        depth = min(GPU_DEPTHS[1], depth)
    n = min(n, scale.largest_n)
    pool_bytes = min(POOL_SHARE * memory_bytes, scale.pool_bytes_most, math.inf if gpu else CPU_POOL_BYTES)
    units = min(scale.units_most, 1024 if gpu else 16)
    return Params(
        kind="memory",
        arithmetic="int8",
        n=n,
        units=units,
        rows=8 if gpu else 4,
        tiles=max(1, min(1 << 20, int(pool_bytes // (n * n)))),
        depth=depth,
        rounds=_power(rate * scale.segment_s / (units * n * n), 1, scale.rounds_most),
        commit_every=1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chain:
    params: Params
    rate_per_s: float  #: expected, of operations or bytes
    floor_per_s: float = 0.0
    resident_per_s: float = 0.0
    fill_s: float = 0.0


def _compute_chains(claim: Claim, scale: Scale) -> list[_Chain]:
    chains = []
    claimed: tuple[tuple[Arithmetic, float | None], ...] = (
        ("int8", claim.int8_ops_per_s),
        ("bf16", claim.bf16_flops),
    )
    for arithmetic, rate in claimed:
        if rate is not None and rate > 0:
            expected = rate if claim.kind == "cuda" else min(rate, CPU_OPS_PER_S)
            params = compute_params(arithmetic, expected, claim.kind, scale)
            floor = FLOOR_SHARE * rate if _has_floor(claim, scale) else 0.0
            chains.append(_Chain(params=params, rate_per_s=expected, floor_per_s=floor))
    return chains


def _memory_chain(claim: Claim, scale: Scale, level: Level) -> _Chain | None:
    rate = _memory_rate(claim)
    if not claim.memory_bytes or rate <= 0:
        return None
    params = memory_params(claim, scale, level)
    layers_ops = 2 * params.n * params.depth  # to make one byte
    makes = claim.int8_ops_per_s if claim.kind == "cuda" else min(claim.int8_ops_per_s or math.inf, CPU_OPS_PER_S)
    floored = _has_floor(claim, scale)
    return _Chain(
        params=params,
        rate_per_s=rate,
        floor_per_s=FLOOR_SHARE * rate if floored else 0.0,
        resident_per_s=REGENERATION * scale.best_ops_per_s / layers_ops if floored else 0.0,
        fill_s=params.pool_bytes * layers_ops / (FILL_SHARE * makes) if makes else 0.0,
    )


def _memory_rate(claim: Claim) -> float:
    rate = claim.memory_bytes_per_s or 0.0
    return rate if claim.kind == "cuda" else min(rate, CPU_BYTES_PER_S)


def _has_floor(claim: Claim, scale: Scale) -> bool:
    return scale.floors and claim.kind == "cuda"


def _phase(claim: Claim, scale: Scale, chain: _Chain, devices: tuple[int, ...], seconds: float, level: Level) -> Phase:
    params = chain.params
    whole, full = devices == claim.devices, level == "full"
    epoch_s = max(min(scale.epoch_s, seconds), scale.round_trips * claim.round_trip_s)
    target_s = max(seconds, epoch_s)
    work = params.read_bytes_per_segment if params.kind == "memory" else params.ops_per_segment
    least = scale.full_segments if full and whole else scale.light_segments
    most = max(2 * least, math.ceil(PATIENCE * target_s * chain.rate_per_s / work))
    # a device's own openings shrink with the number of devices; a node's as a whole do not
    wanted = scale.full_samples // len(devices) if full and whole else scale.light_samples
    samples = max(scale.light_samples, wanted)
    if params.depth:
        samples = min(samples, max(scale.light_samples, LAYERS_MOST // params.depth))
    return Phase(
        params=params,
        devices=devices,
        whole=whole,
        target_s=target_s,
        epoch_s=epoch_s,
        least_segments=least,
        most_segments=min(MOST_SEGMENTS, most),
        samples=samples,
        floor_per_s=chain.floor_per_s,
        resident_per_s=chain.resident_per_s,
        fill_s=chain.fill_s,
        grace_s=scale.grace_s,
    )


def _power(number: float, least: int, most: int) -> int:
    """The largest power of two up to `number`, within bounds that are powers of two."""
    return max(least, min(most, 1 << max(0, int(number).bit_length() - 1)))
