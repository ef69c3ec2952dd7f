"""The verdict on a transcript: drawn stretches of every chain computed anew and compared, bit for bit.

It follows from the transcript's bytes alone: no clock, no randomness, no tolerance, exact integers throughout.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kernels.chain import derive, merkle
from kernels.chain.derive import States
from kernels.chain.engine import Opening
from kernels.chain.params import Params
from kernels.chain.replay import Stretch, replay_many
from kernels.chain.tiles import Tiles
from qualify.proof import figures
from qualify.proof.challenge import Challenge, Device
from qualify.proof.strict import ProtocolError
from qualify.proof.transcript import Transcript, from_bytes
from qualify.proof.verdict import BANDWIDTH, MEMORY, Figure, Figures, Verdict, sentence

#: of so many openings, one that is wrong may be a flipped bit; of fewer it is too large a part
CORRUPTION_FROM = 16


def verify_bytes(data: bytes) -> Verdict:
    """The verdict on a transcript's text; text that is none is a protocol error."""
    try:
        transcript = from_bytes(data)
    except ProtocolError as error:
        return Verdict(outcome="protocol_error", why=sentence(str(error)))
    return verify(transcript)


def verify(transcript: Transcript) -> Verdict:
    """The verdict on a transcript that `from_bytes` or a Referee has made."""
    challenge = transcript.challenge
    wrong = [fault for device in challenge.devices for fault in _faults(transcript, device)]
    total = len(challenge.devices) * challenge.samples
    if wrong:
        single = len(set(wrong)) == 1 and total >= CORRUPTION_FROM  # a place may have been drawn twice
        why = f"{len(wrong)} of {total} openings are wrong; the first: {wrong[0]}"
        return Verdict(outcome="hardware_corruption" if single else "cheat_proven", why=why)
    return _rated(transcript)


def _rated(transcript: Transcript) -> Verdict:
    """All that was opened is right: whether it was quick enough."""
    challenge = transcript.challenge
    devices: dict[int, Figures] = {index: figures.of_devices(transcript, [index]) for index in challenge.indices}
    together = figures.of_devices(transcript, challenge.indices) if challenge.whole else {}
    why = _too_slow(transcript, {index: found[figures.rate_key(challenge.params)] for index, found in devices.items()})
    note = why or _not_resident(challenge, devices)
    if note:
        together, devices = _rates(together), {index: _rates(found) for index, found in devices.items()}
    return Verdict(outcome="below_floor" if why else "pass", why=note, figures=together, devices=devices)


def _not_resident(challenge: Challenge, devices: Mapping[int, Figures]) -> str:
    """Why a pool, read this slowly, may have been made anew all along instead of being held: it proves no memory."""
    if challenge.params.kind != "memory":
        return ""
    for index, found in devices.items():
        rate = found[BANDWIDTH].value
        if rate < challenge.resident_per_s:
            return f"device {index} read {rate:.4g} B/s; its memory counts from {challenge.resident_per_s:.4g} B/s on"
    return ""


def _rates(found: Figures) -> dict[str, Figure]:
    return {key: figure for key, figure in found.items() if key != MEMORY}


def _too_slow(transcript: Transcript, rates: dict[int, Figure]) -> str:
    challenge = transcript.challenge
    for index, rate in rates.items():
        if (ran := transcript.segments(index)) < challenge.least_segments:
            return f"device {index} ran {ran} segments, at least {challenge.least_segments} were expected"
        if rate.value < challenge.floor_per_s:
            return f"device {index} reached {rate.value:.4g} {rate.unit}, the floor is {challenge.floor_per_s:.4g}"
    return ""


def _faults(transcript: Transcript, device: Device) -> Iterator[str]:
    """What is wrong with each of a device's openings that is not right, a sentence each."""
    chain = _Chain.of(transcript, device)
    opened = transcript.openings[device.index]
    found: dict[int, str] = {}
    starts: dict[int, States] = {}
    for number, opening in enumerate(opened):
        problem = chain.misplaced(opening)
        if problem is None:
            starts[number] = chain.start(opening)
        else:
            found[number] = problem
    tiles = Tiles(chain.params, device.seed)
    stretches = [
        Stretch(opened[at].unit, state, chain.order(opened[at]), chain.rounds(opened[at]))
        for at, state in starts.items()
    ]
    for at, state in zip(starts, replay_many(chain.params, stretches, tiles), strict=True):
        if not hmac.compare_digest(derive.to_bytes(state), opened[at].end):
            found[at] = "its rounds do not lead from its first state to its last"
    for at in sorted(found):
        one = opened[at]
        yield f"device {device.index}, segment {one.segment}, unit {one.unit}, commit {one.commit}: {found[at]}"


@dataclass(frozen=True, slots=True)
class _Chain:
    """One device's run, as it was committed to."""

    challenge: Challenge
    device: Device
    roots: tuple[bytes, ...]  #: by segment
    salts: tuple[bytes, ...]  #: by segment

    @classmethod
    def of(cls, transcript: Transcript, device: Device) -> _Chain:
        pairs = [(root, epoch.salt) for epoch in transcript.epochs for root in epoch.roots[device.index]]
        return cls(transcript.challenge, device, tuple(root for root, _ in pairs), tuple(salt for _, salt in pairs))

    @property
    def params(self) -> Params:
        return self.challenge.params

    def misplaced(self, opening: Opening) -> str | None:
        """Why the opening's states are not those that were committed to; None = they are."""
        segment, unit, commit = opening.segment, opening.unit, opening.commit
        if not self._committed(segment, unit, commit, opening.end, opening.end_path):
            return "its last state is not what was committed to"
        if segment == 0 and commit == 0:
            return None
        before = (segment, unit, commit - 1) if commit else (segment - 1, unit, self.params.commits - 1)
        if not self._committed(*before, opening.start, opening.start_path):
            return "its first state is not what was committed to"
        # beyond the range, sums would not be exact and the verdict not one
        state, most = self.start(opening), derive.STATE_HALF
        if self.params.arithmetic == "bf16" and (state.max() > most or state.min() < -most):
            return "its first state holds numbers that no round leaves"
        return None

    def _committed(self, segment: int, unit: int, commit: int, state: bytes, path: bytes) -> bool:
        who = self.challenge.id, self.device.index
        leaf = derive.leaf(derive.leaf_context(*who), segment, unit, commit, state)
        index = unit * self.params.commits + commit
        return hmac.compare_digest(merkle.root_from(leaf, index, path, derive.node_context(*who)), self.roots[segment])

    def start(self, opening: Opening) -> States:
        """The state that the opening's rounds begin with, shape (rows, n)."""
        if opening.segment == 0 and opening.commit == 0:
            first: States = derive.first_states(self.params, self.device.seed, [opening.unit])[0]
            return first
        return derive.from_bytes(self.params, opening.start)

    def order(self, opening: Opening) -> derive.Order:
        """The order of the opening's segment."""
        at, index = opening.segment, self.device.index
        before = self.roots[at - 1] if at else derive.start_root(self.challenge.id, index, self.device.seed)
        return derive.order(self.params, self.challenge.id, index, at, before, self.salts[at])

    def rounds(self, opening: Opening) -> range:
        """The rounds that the opening spans."""
        every = self.params.commit_every
        return range(opening.commit * every, (opening.commit + 1) * every)
