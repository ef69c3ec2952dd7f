"""What a challenge ended with, and the figures it proved, as records and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

from qualify.proof import strict
from qualify.records import Json

Outcome = Literal[
    "pass",
    "below_floor",  # all of it true, but slower than the challenge's floor
    "cheat_proven",  # what was committed to does not follow from what went before
    "hardware_corruption",  # one opening of many is wrong: a bit flipped, or luck ran out
    "protocol_error",  # an answer that the protocol does not allow
    "unreachable",  # no answer
    "could_not_run",  # ours: nothing is known
]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
#: of the rules by which verdicts are reached; raised whenever the same transcript may come out differently
VERIFIER = "rsc-1/1"

INT8, BF16 = "proved.int8_ops_per_s", "proved.bf16_flops"
MEMORY, BANDWIDTH = "proved.memory_bytes", "proved.memory_bandwidth"
UNITS = {INT8: "OP/s", BF16: "FLOP/s", MEMORY: "B", BANDWIDTH: "B/s"}

MOST_BYTES = 256 << 10
_MOST_WHY = 500
_FIELDS = ("value", "low", "high", "sustained", "n", "unit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A proved figure. A rate is computed from the server's own stamps, so the true one is never below it."""

    value: float  #: reached or passed during half of the time
    low: float  #: reached or passed during 95 % of the time
    high: float  #: of the best twentieth of the time
    sustained: float  #: mean over the last quarter
    n: int  #: epochs counted
    unit: str


Figures = Mapping[str, Figure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a challenge ended. Without a pass or below_floor there are no figures."""

    outcome: Outcome
    why: str  #: a sentence; after a pass empty, or what was not proved by it
    figures: Figures = field(default_factory=dict)  #: of the node, all devices together
    devices: Mapping[int, Figures] = field(default_factory=dict)  #: the same of each
    verifier: str = VERIFIER


def to_json(verdict: Verdict) -> dict[str, Json]:
    """A verdict as JSON."""
    return {
        "outcome": verdict.outcome,
        "why": verdict.why,
        "figures": _figures_to_json(verdict.figures),
        "devices": {str(device): _figures_to_json(figures) for device, figures in verdict.devices.items()},
        "verifier": verdict.verifier,
    }


def from_json(data: object) -> Verdict:
    """Read a verdict from parsed JSON.

    Raises:
        ProtocolError: it is none.
    """
    found = strict.members(data, ("outcome", "why", "figures", "devices", "verifier"), "verdict")
    devices = found["devices"]
    if not isinstance(devices, dict) or len(devices) > 64:
        raise strict.ProtocolError("verdict.devices: expected an object of at most 64 members")
    return Verdict(
        outcome=cast("Outcome", strict.one_of(found["outcome"], OUTCOMES, "verdict.outcome")),
        why=strict.text(found["why"], _MOST_WHY, "verdict.why"),
        figures=_figures_from_json(found["figures"], "verdict.figures"),
        devices={
            strict.device_number(key, "verdict.devices"): _figures_from_json(figures, f"verdict.devices.{key}")
            for key, figures in devices.items()
        },
        verifier=strict.text(found["verifier"], 64, "verdict.verifier"),
    )


def sentence(text: str) -> str:
    """A reason as a verdict carries it: printable ASCII of bounded length."""
    plain = "".join(character if character.isascii() and character.isprintable() else "?" for character in text)
    return plain if len(plain) <= _MOST_WHY else plain[: _MOST_WHY - 3] + "..."


def _figures_to_json(figures: Figures) -> dict[str, Json]:
    return {key: {name: getattr(figure, name) for name in _FIELDS} for key, figure in figures.items()}


def _figures_from_json(data: object, place: str) -> dict[str, Figure]:
    if not isinstance(data, dict):
        raise strict.ProtocolError(f"{place}: expected an object")
    return {strict.one_of(key, tuple(UNITS), place): _figure(one, f"{place}.{key}") for key, one in data.items()}


def _figure(data: object, place: str) -> Figure:
    found = strict.members(data, _FIELDS, place)
    rates = {name: strict.number(found[name], 0, 1e30, f"{place}.{name}") for name in _FIELDS[:4]}
    unit = strict.one_of(found["unit"], tuple(UNITS.values()), f"{place}.unit")
    return Figure(**rates, n=strict.whole(found["n"], 1, 1 << 20, f"{place}.n"), unit=unit)
