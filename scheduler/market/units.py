"""The units of the offers' language: what each is worth, of which dimension it is, and how a dimension is called."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from fractions import Fraction

#: base -> exponent, sorted by base, none of them 0; () = a pure number
Dimension = tuple[tuple[str, int], ...]

PURE: Dimension = ()
TIME: Dimension = (("s", 1),)
BYTES: Dimension = (("B", 1),)
MONEY_RATE: Dimension = (("$", 1), ("s", -1))

_SI = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_BINARY = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50}

#: word -> (worth in base units, base). Money counts in 1/3.6e9 $, so that a $/h is 10^6 exactly, as prices are stored.
SIMPLE: Mapping[str, tuple[Fraction, str]] = {
    **{f"{prefix}B": (Fraction(worth), "B") for prefix, worth in (_SI | _BINARY).items()},
    "KB": (Fraction(1000), "B"),
    **{f"{prefix}bit": (Fraction(worth, 8), "B") for prefix, worth in _SI.items()},
    **{f"{prefix}{what}": (Fraction(worth), what) for what in ("FLOP", "OP", "IO") for prefix, worth in _SI.items()},
    "s": (Fraction(1), "s"),
    "ms": (Fraction(1, 10**3), "s"),
    **dict.fromkeys(("us", "µs", "μs"), (Fraction(1, 10**6), "s")),
    "ns": (Fraction(1, 10**9), "s"),
    **dict.fromkeys(("min", "m"), (Fraction(60), "s")),
    "h": (Fraction(3600), "s"),
    "d": (Fraction(86400), "s"),
    "$": (Fraction(3_600_000_000), "$"),
    "%": (Fraction(1, 100), ""),
}
#: words of time that may stand under a stroke
PER = ("s", "ms", "us", "µs", "μs", "ns", "min", "m", "h", "d")
#: the dimension of the units that reports use
_REPORTED: Mapping[str, Dimension] = {
    "FLOP/s": (("FLOP", 1), ("s", -1)),
    "OP/s": (("OP", 1), ("s", -1)),
    "B/s": (("B", 1), ("s", -1)),
    "IO/s": (("IO", 1), ("s", -1)),
    "B": BYTES,
    "s": TIME,
    "ratio": PURE,
}
#: what a dimension is called, and a unit to suggest for it
_CALLED: Mapping[Dimension, tuple[str, str]] = {
    PURE: ("a pure number", ""),
    TIME: ("a time", "s"),
    BYTES: ("bytes", "GB"),
    MONEY_RATE: ("money per time", "$/h"),
    (("$", 1),): ("money", "$"),
    _REPORTED["B/s"]: ("bytes per time", "GB/s"),
    _REPORTED["FLOP/s"]: ("floating-point operations per time", "TFLOP/s"),
    _REPORTED["OP/s"]: ("integer operations per time", "TOP/s"),
    _REPORTED["IO/s"]: ("accesses per time", "kIO/s"),
}
_SUGGESTED = (
    *SIMPLE,
    *(f"{word}/s" for word, (_, base) in SIMPLE.items() if base in ("B", "FLOP", "OP", "IO")),
    "$/h",
)
#: what people write for units that are spelled otherwise here
_USUAL = {
    **{f"{prefix}flops": f"{prefix.upper()}FLOP/s" for prefix in ("g", "t", "p")},
    **{f"{prefix}bps": f"{prefix.upper()}bit/s" for prefix in ("m", "g", "t")},
    "tops": "TOP/s",
    "iops": "IO/s",
    **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("minute", "minutes", "mins"), "min"),
    **dict.fromkeys(("hour", "hours", "hr", "hrs"), "h"),
    **dict.fromkeys(("day", "days"), "d"),
    **dict.fromkeys(("usd", "dollar", "dollars"), "$"),
}


class UnknownUnitError(ValueError):
    """No such unit; `suggestion` may be what was meant."""

    def __init__(self, word: str, suggestion: str | None) -> None:
        super().__init__(f"unknown unit {word!r}")
        self.word, self.suggestion = word, suggestion


def unit(text: str) -> tuple[Fraction, Dimension]:
    """What "GB", "TFLOP/s", "$/h" or "" is worth in base units, and its dimension.

    Raises:
        UnknownUnitError: no such unit.
    """
    if not text:
        return Fraction(1), PURE
    over, stroke, under = text.partition("/")
    if over not in SIMPLE or (stroke and under not in PER):
        raise UnknownUnitError(text, _suggestion(text))
    worth, base = SIMPLE[over]
    dimension: Dimension = ((base, 1),) if base else PURE
    if not stroke:
        return worth, dimension
    return worth / SIMPLE[under][0], over_(dimension, TIME)


def dimension_of(reported: str) -> Dimension | None:
    """The dimension of a unit that reports use; None for one that is not known."""
    return _REPORTED.get(reported)


def times(left: Dimension, right: Dimension) -> Dimension:
    """The dimension of a product."""
    powers = dict(left)
    for base, power in right:
        powers[base] = powers.get(base, 0) + power
    return tuple(sorted((base, power) for base, power in powers.items() if power))


def over_(left: Dimension, right: Dimension) -> Dimension:
    """The dimension of a quotient."""
    return times(left, tuple((base, -power) for base, power in right))


def called(dimension: Dimension) -> str:
    """What a dimension is called: "bytes", "money per time", "B^2 s^-1"."""
    if dimension in _CALLED:
        return _CALLED[dimension][0]
    return " ".join(base if power == 1 else f"{base}^{power}" for base, power in dimension)


def usual(dimension: Dimension) -> str:
    """A unit that people use for a dimension; "" where there is none."""
    return _CALLED.get(dimension, ("", ""))[1]


def _suggestion(text: str) -> str | None:
    usual_word = _USUAL.get(text.lower())
    if usual_word is not None:
        return usual_word
    folded = {word.lower(): word for word in reversed(_SUGGESTED)}
    near = difflib.get_close_matches(text.lower(), folded, n=1, cutoff=0.5)
    return folded[near[0]] if near else None
