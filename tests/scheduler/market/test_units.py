"""scheduler.market.units: what units are worth, and what they measure."""

from __future__ import annotations

from fractions import Fraction

import pytest

from scheduler.market.units import (
    BYTES,
    MONEY_RATE,
    PER,
    PURE,
    SIMPLE,
    TIME,
    UnknownUnitError,
    called,
    dimension_of,
    over_,
    times,
    unit,
    usual,
)


@pytest.mark.parametrize(
    ("text", "worth"),
    [
        ("GB", 10**9),
        ("GiB", 2**30),
        ("kB", 1000),
        ("TFLOP/s", 10**12),
        ("Gbit/s", 125_000_000),
        ("ns", Fraction(1, 10**9)),
        ("µs", Fraction(1, 10**6)),
        ("us", Fraction(1, 10**6)),
        ("m", 60),
        ("h", 3600),
        ("d", 86400),
        ("%", Fraction(1, 100)),
        ("$/h", 10**6),
        ("kIO/s", 1000),
        ("", 1),
    ],
)
def test_units_are_worth_what_they_say(text: str, worth: Fraction) -> None:
    """Decimal and binary prefixes apart; bits are eighths of bytes; a $/h is a million, as prices are stored."""
    assert unit(text)[0] == worth


def test_a_rate_is_a_thing_per_time() -> None:
    """Bytes over time, whatever the time is written in."""
    assert unit("GB/min") == (Fraction(10**9, 60), over_(BYTES, TIME))
    assert unit("$/h")[1] == MONEY_RATE


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("TFLOPS", "TFLOP/s"),
        ("gbps", "Gbit/s"),
        ("IOPS", "IO/s"),
        ("hours", "h"),
        ("Gb", "GB"),
        ("USD", "$"),
        ("gib", "GiB"),
        ("GB/h/s", None),
        ("furlong", None),
    ],
)
def test_what_was_meant_is_suggested(word: str, meant: str | None) -> None:
    """Usual ways to write a unit lead to ours; a wild guess is not made."""
    with pytest.raises(UnknownUnitError, match=word) as caught:
        unit(word)

    assert caught.value.suggestion == meant or meant is None


def test_dimensions_multiply_and_divide() -> None:
    """(B/s) x s = B, and what cancels leaves a number."""
    rate = over_(BYTES, TIME)

    assert times(rate, TIME) == BYTES
    assert over_(BYTES, BYTES) == PURE
    assert called(times(BYTES, BYTES)) == "B^2"


def test_every_unit_of_a_report_has_a_name_and_a_unit_for_people() -> None:
    """What figures come in can be written in a query."""
    for reported in ("FLOP/s", "OP/s", "B/s", "IO/s", "s"):
        dimension = dimension_of(reported)
        assert dimension is not None
        assert "^" not in called(dimension)
        assert unit(usual(dimension))[1] == dimension
    assert dimension_of("ratio") == PURE
    assert dimension_of("furlong") is None


def test_what_stands_under_a_stroke_is_a_time() -> None:
    """The grammar knows them by heart; this table must agree."""
    assert all(SIMPLE[word][1] == "s" for word in PER)
    assert {word for word, (_, base) in SIMPLE.items() if base == "s"} == set(PER)
