"""What a prover and the server say to each other while a challenge runs, as JSON with bounds drawn from its sizes.

The node says it is ready; the server answers with the first salt (`NextEpoch`). After each epoch the node sends that
epoch's roots (`EpochRequest`) and gets the next salt, or what it has to open (`Ask`); it sends that (`Openings`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kernels.chain.engine import Opening
from kernels.chain.params import Params
from qualify.proof import strict
from qualify.proof.challenge import DIGEST_BYTES, Challenge
from qualify.records import Json

SALT_BYTES = 32
MOST_EPOCHS = 4096  #: of a challenge

Place = tuple[int, int, int]  #: segment, unit, commit
Places = Mapping[int, tuple[Place, ...]]  #: by device
Roots = Mapping[int, tuple[bytes, ...]]  #: by device, in the order of segments

_OPENING = ("segment", "unit", "commit", "start", "start_path", "end", "end_path")
_ROOT_CHARACTERS = 2 * DIGEST_BYTES + 3
_FRAME_BYTES = 4096


@dataclass(frozen=True, slots=True)
class NextEpoch:
    """The server: run on, with this salt."""

    epoch: int
    salt: bytes


@dataclass(frozen=True, slots=True)
class Ask:
    """The server: enough was run, open these."""

    asked: Places


EpochAnswer = NextEpoch | Ask


@dataclass(frozen=True, slots=True)
class EpochRequest:
    """The node: the roots of the segments that were run in this epoch."""

    epoch: int
    roots: Roots


@dataclass(frozen=True, slots=True)
class Openings:
    """The node: what it was asked for, in the order asked."""

    openings: Mapping[int, tuple[Opening, ...]]


def most_epoch_bytes(challenge: Challenge) -> int:
    """The largest text of an EpochRequest."""
    return _FRAME_BYTES + len(challenge.devices) * challenge.most_segments * _ROOT_CHARACTERS


def most_openings_bytes(challenge: Challenge) -> int:
    """The largest text of Openings."""
    return _FRAME_BYTES + len(challenge.devices) * (64 + challenge.samples * most_opening_bytes(challenge.params))


def most_opening_bytes(params: Params) -> int:
    """The largest text of one opening."""
    based = sum((length + 2) // 3 * 4 for length in (params.state_bytes, 32 * params.levels))
    return 2 * based + 256


def answer_to_json(answer: EpochAnswer) -> dict[str, Json]:
    """The server's answer to `ready` and to an EpochRequest."""
    if isinstance(answer, NextEpoch):
        return {"epoch": answer.epoch, "salt": answer.salt.hex()}
    return {"open": places_to_json(answer.asked)}


def answer_from_json(data: object, challenge: Challenge) -> EpochAnswer:
    """Read the server's answer.

    Raises:
        ProtocolError: it is none.
    """
    if isinstance(data, dict) and "open" in data:
        found = strict.members(data, ("open",), "answer")
        return Ask(places_from_json(found["open"], challenge, challenge.most_segments, "answer.open"))
    found = strict.members(data, ("epoch", "salt"), "answer")
    epoch = strict.whole(found["epoch"], 0, MOST_EPOCHS, "answer.epoch")
    return NextEpoch(epoch, strict.hexed(found["salt"], SALT_BYTES, "answer.salt"))


def epoch_to_json(request: EpochRequest) -> dict[str, Json]:
    """A node's roots."""
    return {"epoch": request.epoch, "roots": roots_to_json(request.roots)}


def epoch_from_json(data: object, challenge: Challenge) -> EpochRequest:
    """Read a node's roots.

    Raises:
        ProtocolError: they are not roots of this challenge's devices.
    """
    found = strict.members(data, ("epoch", "roots"), "epoch")
    number = strict.whole(found["epoch"], 0, MOST_EPOCHS, "epoch.epoch")
    return EpochRequest(number, roots_from_json(found["roots"], challenge, "epoch.roots"))


def openings_to_json(openings: Openings) -> dict[str, Json]:
    """A node's openings."""
    return {"openings": opened_to_json(openings.openings)}


def openings_from_json(data: object, challenge: Challenge) -> Openings:
    """Read a node's openings: every length is as the challenge's sizes have it.

    Raises:
        ProtocolError: they are not openings of such states.
    """
    found = strict.members(data, ("openings",), "message")
    return Openings(opened_from_json(found["openings"], challenge, "openings"))


def roots_to_json(roots: Roots) -> dict[str, Json]:
    """Roots by device, hex."""
    return {str(device): [root.hex() for root in ran] for device, ran in roots.items()}


def roots_from_json(data: object, challenge: Challenge, place: str) -> dict[int, tuple[bytes, ...]]:
    """Roots of exactly the challenge's devices."""
    named = strict.by_device(data, challenge.indices, place)
    return {device: _roots(ran, challenge.most_segments, f"{place}.{device}") for device, ran in named.items()}


def _roots(data: object, most: int, place: str) -> tuple[bytes, ...]:
    return tuple([strict.hexed(root, DIGEST_BYTES, place) for root in strict.entries(data, place, most=most)])


def places_to_json(asked: Places) -> dict[str, Json]:
    """Places by device."""
    return {str(device): [list(place) for place in places] for device, places in asked.items()}


def places_from_json(data: object, challenge: Challenge, segments: int, place: str) -> dict[int, tuple[Place, ...]]:
    """`samples` places of each of the challenge's devices, within its sizes."""
    named, k = strict.by_device(data, challenge.indices, place), challenge.samples
    return {
        device: tuple(
            _place(one, challenge.params, segments, f"{place}.{device}[{number}]")
            for number, one in enumerate(strict.entries(places, f"{place}.{device}", least=k, most=k))
        )
        for device, places in named.items()
    }


def _place(data: object, params: Params, segments: int, place: str) -> Place:
    segment, unit, commit = strict.entries(data, place, least=3, most=3)
    return (
        strict.whole(segment, 0, segments - 1, place),
        strict.whole(unit, 0, params.units - 1, place),
        strict.whole(commit, 0, params.commits - 1, place),
    )


def opened_to_json(openings: Mapping[int, Sequence[Opening]]) -> dict[str, Json]:
    """Openings by device."""
    return {str(device): [_opening_to_json(one) for one in opened] for device, opened in openings.items()}


def opened_from_json(data: object, challenge: Challenge, place: str) -> dict[int, tuple[Opening, ...]]:
    """`samples` openings of each of the challenge's devices."""
    named, k = strict.by_device(data, challenge.indices, place), challenge.samples
    return {
        device: tuple(
            _opening_from_json(one, challenge, f"{place}.{device}[{number}]")
            for number, one in enumerate(strict.entries(opened, f"{place}.{device}", least=k, most=k))
        )
        for device, opened in named.items()
    }


def _opening_to_json(opening: Opening) -> Json:
    return {
        "segment": opening.segment,
        "unit": opening.unit,
        "commit": opening.commit,
        "start": strict.base64_of(opening.start),
        "start_path": strict.base64_of(opening.start_path),
        "end": strict.base64_of(opening.end),
        "end_path": strict.base64_of(opening.end_path),
    }


def _opening_from_json(data: object, challenge: Challenge, place: str) -> Opening:
    found, params = strict.members(data, _OPENING, place), challenge.params
    segment, unit, commit = _place(
        [found["segment"], found["unit"], found["commit"]], params, challenge.most_segments, place
    )
    state, path = params.state_bytes, DIGEST_BYTES * params.levels
    derived = segment == 0 and commit == 0  # the first state follows from the seed and is not sent
    lengths = {"start": 0 if derived else state, "start_path": 0 if derived else path, "end": state, "end_path": path}
    read = {name: strict.based(found[name], length, f"{place}.{name}") for name, length in lengths.items()}
    return Opening(segment=segment, unit=unit, commit=commit, **read)
