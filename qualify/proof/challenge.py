"""A challenge: one timed run of one kind of chain on one set of devices, good for a single use."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, cast

from kernels.chain.params import Params
from qualify.proof import strict
from qualify.proof.strict import ProtocolError
from qualify.records import Json

PROTOCOL: Literal["rsc-1"] = "rsc-1"
ID_BYTES = 16
SEED_BYTES = 32
DIGEST_BYTES = 32

MOST_DEVICES = 64
MOST_SEGMENTS = 1 << 20
MOST_SAMPLES = 1024
MOST_SECONDS = 86_400.0
MOST_UUID = 96
MOST_BYTES = 64 << 10  #: of a challenge's text
_MOST_INT = (1 << 63) - 1

Level = Literal["light", "full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One accelerator that takes part; its seed is its own, so that no work serves two."""

    index: int
    uuid: str
    seed: bytes  #: 32 random bytes of the server


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What a node is asked to run. Everything in it is the server's word; the node only answers."""

    id: bytes  #: 16 random bytes of the server; part of every digest, so an answer fits no other challenge
    node: int
    level: Level
    params: Params
    devices: tuple[Device, ...]
    target_s: float  #: seconds of timed work after which, and not before, rows are drawn
    epoch_s: float  #: a new salt about every so many seconds
    least_segments: int  #: of each device; a run with fewer is too slow for what was claimed
    most_segments: int  #: of each device; bounds the transcript
    samples: int  #: openings drawn for each device
    floor_per_s: float  #: each device's least rate, operations/s or bytes/s; 0 = none
    resident_per_s: float = (
        0.0  #: of a memory chain, bytes/s that no device reaches that makes tiles anew; 0 = not asked
    )
    issued_ms: int  #: calendar, Unix
    expires_ms: int
    whole: bool = True  #: whether these are all of the node's devices; only then are their sums the node's figures
    protocol: Literal["rsc-1"] = PROTOCOL

    def __post_init__(self) -> None:
        if problem := self._problem():
            raise ProtocolError(f"challenge: {problem}")

    @property
    def indices(self) -> tuple[int, ...]:
        """The numbers of the devices, in order."""
        return tuple(device.index for device in self.devices)

    def _problem(self) -> str | None:
        indices = self.indices
        sound = (
            (self.params.problem() is None, self.params.problem() or ""),
            (len(self.id) == ID_BYTES, f"an id has {ID_BYTES} bytes"),
            (all(len(device.seed) == SEED_BYTES for device in self.devices), f"a seed has {SEED_BYTES} bytes"),
            (1 <= len(indices) <= MOST_DEVICES, f"1 to {MOST_DEVICES} devices"),
            (list(indices) == sorted(set(indices)), "devices stand in rising order, each once"),
            (0 < self.epoch_s <= self.target_s <= MOST_SECONDS, "0 < epoch_s <= target_s <= a day"),
            (1 <= self.least_segments <= self.most_segments <= MOST_SEGMENTS, "1 <= least <= most segments <= 2^20"),
            (1 <= self.samples <= MOST_SAMPLES, f"1 to {MOST_SAMPLES} samples"),
            (self.floor_per_s >= 0 and self.resident_per_s >= 0, "a floor is not negative"),
            (0 <= self.issued_ms < self.expires_ms, "it expires after it was issued"),
        )
        return next((text for holds, text in sound if not holds), None)


def to_json(challenge: Challenge) -> dict[str, Json]:
    """A challenge as JSON."""
    document = {field.name: getattr(challenge, field.name) for field in dataclasses.fields(challenge)}
    document["id"] = challenge.id.hex()
    document |= {
        name: float(document[name]) for name in ("target_s", "epoch_s", "floor_per_s", "resident_per_s")
    }  # 3 would read as 3.0
    document["params"] = {field.name: getattr(challenge.params, field.name) for field in dataclasses.fields(Params)}
    document["devices"] = [{"index": one.index, "uuid": one.uuid, "seed": one.seed.hex()} for one in challenge.devices]
    return cast("dict[str, Json]", document)


def from_json(data: object) -> Challenge:
    """Read a challenge from parsed JSON.

    Raises:
        ProtocolError: it is not exactly one, or not one that can be run.
    """
    names = tuple(field.name for field in dataclasses.fields(Challenge))
    found = strict.members(data, names, "challenge")
    return Challenge(
        protocol=cast("Literal['rsc-1']", strict.one_of(found["protocol"], (PROTOCOL,), "challenge.protocol")),
        id=strict.hexed(found["id"], ID_BYTES, "challenge.id"),
        node=_whole(found, "node"),
        level=cast("Level", strict.one_of(found["level"], ("light", "full"), "challenge.level")),
        params=_params(found["params"]),
        devices=tuple(
            _device(one, f"challenge.devices[{number}]")
            for number, one in enumerate(
                strict.entries(found["devices"], "challenge.devices", least=1, most=MOST_DEVICES)
            )
        ),
        target_s=strict.number(found["target_s"], 0, MOST_SECONDS, "challenge.target_s"),
        epoch_s=strict.number(found["epoch_s"], 0, MOST_SECONDS, "challenge.epoch_s"),
        least_segments=_whole(found, "least_segments"),
        most_segments=_whole(found, "most_segments"),
        samples=_whole(found, "samples"),
        floor_per_s=strict.number(found["floor_per_s"], 0, 1e30, "challenge.floor_per_s"),
        resident_per_s=strict.number(found["resident_per_s"], 0, 1e30, "challenge.resident_per_s"),
        whole=strict.truth(found["whole"], "challenge.whole"),
        issued_ms=_whole(found, "issued_ms"),
        expires_ms=_whole(found, "expires_ms"),
    )


def dumps(challenge: Challenge) -> bytes:
    """A challenge as canonical JSON."""
    return strict.canonical(to_json(challenge))


def loads(data: bytes) -> Challenge:
    """Read a challenge from JSON text.

    Raises:
        ProtocolError: it is none.
    """
    return from_json(strict.parse(data, most_bytes=MOST_BYTES))


def _whole(found: dict[str, object], name: str) -> int:
    return strict.whole(found[name], 0, _MOST_INT, f"challenge.{name}")


def _device(data: object, place: str) -> Device:
    found = strict.members(data, ("index", "uuid", "seed"), place)
    return Device(
        index=strict.whole(found["index"], 0, 9999, f"{place}.index"),
        uuid=strict.text(found["uuid"], MOST_UUID, f"{place}.uuid"),
        seed=strict.hexed(found["seed"], SEED_BYTES, f"{place}.seed"),
    )


def _params(data: object) -> Params:
    names = tuple(field.name for field in dataclasses.fields(Params))
    found = strict.members(data, names, "challenge.params")
    place = "challenge.params"
    numbers = {
        name: strict.whole(found[name], 0, 1 << 30, f"{place}.{name}")
        for name in names
        if name not in ("kind", "arithmetic")
    }
    kind = strict.one_of(found["kind"], ("compute", "memory"), f"{place}.kind")
    arithmetic = strict.one_of(found["arithmetic"], ("int8", "bf16"), f"{place}.arithmetic")
    return Params(
        kind=cast("Literal['compute', 'memory']", kind),
        arithmetic=cast("Literal['int8', 'bf16']", arithmetic),
        **numbers,
    )
