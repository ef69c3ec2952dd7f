"""All that was said in a challenge, as one canonical JSON text: the evidence from which a verdict follows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kernels.chain.engine import Opening
from qualify.proof import challenge as challenges
from qualify.proof import messages, strict
from qualify.proof.challenge import Challenge
from qualify.proof.messages import MOST_EPOCHS, SALT_BYTES, Place, Places, Roots
from qualify.proof.strict import ProtocolError
from qualify.records import Json

MOST_BYTES = 64 << 20  #: of any transcript; one H100's full check takes about 2.5 MB
DRAW_BYTES = 32
_DRAW = b"gridmark rsc1 draw\0"
_MOST_NS = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What ran under one salt; the stamps are the server's."""

    salt: bytes
    released_ns: int  #: when the salt was sent
    received_ns: int  #: when the roots had arrived
    roots: Roots


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """A challenge with all its answers."""

    challenge: Challenge
    epochs: tuple[Epoch, ...]
    draw: bytes  #: the server's randomness, made when the last root had arrived
    asked: Places  #: as drawn
    openings: Mapping[int, tuple[Opening, ...]]

    def segments(self, device: int) -> int:
        """How many segments the device ran."""
        return sum(len(epoch.roots[device]) for epoch in self.epochs)


def drawn(challenge: Challenge, epochs: Sequence[Epoch], draw: bytes) -> Places:
    """What is to be opened: `samples` places of each device, one after another and alike from all that it ran.

    So a part f of them that is wrong is missed with (1 - f)^samples. The draw depends on the challenge, on every root
    and on every stamp: whoever changes one of them afterwards has the wrong openings.
    """
    said = hashlib.sha256(_DRAW + draw + hashlib.sha256(challenges.dumps(challenge)).digest())
    for epoch in epochs:
        said.update(
            epoch.salt + b"".join(stamp.to_bytes(8, "little") for stamp in (epoch.released_ns, epoch.received_ns))
        )
        for device in challenge.indices:
            said.update(len(epoch.roots[device]).to_bytes(4, "little") + b"".join(epoch.roots[device]))
    context = said.digest()
    return {
        device: _places(challenge, context, device, sum(len(epoch.roots[device]) for epoch in epochs))
        for device in challenge.indices
    }


def _places(challenge: Challenge, context: bytes, device: int, segments: int) -> tuple[Place, ...]:
    params, places = challenge.params, []
    for number in range(challenge.samples):
        word = hashlib.sha256(context + device.to_bytes(4, "little") + number.to_bytes(4, "little")).digest()
        # 256 bits over at most 2^40 places: none is likelier than another by more than 2^-216
        segment, leaf = divmod(int.from_bytes(word, "little") % (segments * params.leaves), params.leaves)
        places.append((segment, *divmod(leaf, params.commits)))
    return tuple(places)


def to_bytes(transcript: Transcript) -> bytes:
    """The one text of a transcript."""
    document: dict[str, Json] = {
        "challenge": challenges.to_json(transcript.challenge),
        "epochs": _epochs_to_json(transcript.epochs),
        "draw": transcript.draw.hex(),
        "asked": messages.places_to_json(transcript.asked),
        "openings": messages.opened_to_json(transcript.openings),
    }
    return strict.canonical(document)


def from_bytes(data: bytes) -> Transcript:
    """Read a transcript; only its canonical text is one, so that its digest names one meaning.

    Raises:
        ProtocolError: it is none.
    """
    names = ("challenge", "epochs", "draw", "asked", "openings")
    found = strict.members(strict.parse(data, most_bytes=MOST_BYTES), names, "transcript")
    challenge = challenges.from_json(found["challenge"])
    epochs = tuple(
        _epoch(one, challenge, f"epochs[{number}]")
        for number, one in enumerate(strict.entries(found["epochs"], "epochs", least=1, most=MOST_EPOCHS))
    )
    transcript = Transcript(
        challenge=challenge,
        epochs=epochs,
        draw=strict.hexed(found["draw"], DRAW_BYTES, "draw"),
        asked=messages.places_from_json(found["asked"], challenge, challenge.most_segments, "asked"),
        openings=messages.opened_from_json(found["openings"], challenge, "openings"),
    )
    _check(transcript)
    if to_bytes(transcript) != data:
        raise ProtocolError("transcript: not in its canonical form")
    return transcript


def _epochs_to_json(epochs: Sequence[Epoch]) -> list[Json]:
    return [
        {
            "salt": epoch.salt.hex(),
            "released_ns": epoch.released_ns,
            "received_ns": epoch.received_ns,
            "roots": messages.roots_to_json(epoch.roots),
        }
        for epoch in epochs
    ]


def _epoch(data: object, challenge: Challenge, place: str) -> Epoch:
    found = strict.members(data, ("salt", "released_ns", "received_ns", "roots"), place)
    return Epoch(
        salt=strict.hexed(found["salt"], SALT_BYTES, f"{place}.salt"),
        released_ns=strict.whole(found["released_ns"], 0, _MOST_NS, f"{place}.released_ns"),
        received_ns=strict.whole(found["received_ns"], 0, _MOST_NS, f"{place}.received_ns"),
        roots=messages.roots_from_json(found["roots"], challenge, f"{place}.roots"),
    )


def _check(transcript: Transcript) -> None:
    """What a referee would not have let pass."""
    challenge, before_ns = transcript.challenge, 0
    for number, epoch in enumerate(transcript.epochs):
        if not before_ns <= epoch.released_ns < epoch.received_ns:
            raise ProtocolError(f"epochs[{number}]: stamps out of order")
        before_ns = epoch.received_ns
    for device in challenge.indices:
        segments = transcript.segments(device)
        if not 1 <= segments <= challenge.most_segments:
            raise ProtocolError(f"device {device}: expected 1 to {challenge.most_segments} segments, found {segments}")
    if transcript.asked != drawn(challenge, transcript.epochs, transcript.draw):
        raise ProtocolError("asked: other places than were drawn")
    check_places(transcript.asked, transcript.openings)


def check_places(asked: Places, openings: Mapping[int, Sequence[Opening]]) -> None:
    """Raises ProtocolError unless the openings are of exactly these places, in their order."""
    if openings.keys() != asked.keys():
        raise ProtocolError("openings: expected those of each device that was asked")
    for device, places in asked.items():
        if tuple((one.segment, one.unit, one.commit) for one in openings[device]) != places:
            raise ProtocolError(f"openings.{device}: expected the places that were asked, in that order")
