"""Figures read as people write them."""

from __future__ import annotations

import pytest

from reports import units


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (42.31e9, "B/s", "42.3 GB/s"),
        (812e9, "FLOP/s", "812 GFLOP/s"),
        (999.7e9, "FLOP/s", "1.00 TFLOP/s"),
        (182_400.0, "IO/s", "182 kIO/s"),
        (98.2e-9, "s", "98.2 ns"),
        (1.423e-6, "s", "1.42 µs"),
        (0.9996, "s", "1.00 s"),
        (-3.2e9, "B/s", "-3.20 GB/s"),
        (0.0, "s", "0 s"),
        (1e25, "B/s", "1.00e+25 B/s"),
        (1e-30, "s", "1.00e-30 s"),
        (0.0012, "ratio", "0.120 %"),
        (0.0, "ratio", "0 %"),
        (12.345, "", "12.35"),
        (None, "B/s", "–"),
    ],
)
def test_a_figure_has_three_digits_a_prefix_and_a_unit(value: float | None, unit: str, text: str) -> None:
    """Rounding may carry into the next prefix; what no prefix reaches is written with a power of ten."""
    assert units.figure(value, unit) == text


@pytest.mark.parametrize(
    ("ratio", "digits", "text"),
    [
        (0.9812, 3, "98.1 %"),
        (1.0, 3, "100 %"),
        (0.0999999, 3, "10.0 %"),
        (0.5, 1, "50 %"),
        (0.00012, 2, "0.012 %"),
        (250.0, 3, "250×"),
    ],
)
def test_a_percentage_has_significant_digits(ratio: float, digits: int, text: str) -> None:
    """Digits are counted from the first that is not zero."""
    assert units.percent(ratio, digits) == text


@pytest.mark.parametrize(
    ("value", "ci95", "text"),
    [
        (100.0, (99.0, 100.5), "±1.0 %"),
        (100.0, (100.0, 100.0), "±<0.01 %"),
        (100.0, None, "–"),
        (0.0, (0.0, 1.0), "–"),
        (100.0, (90.0, 130.0), "±30 %"),
    ],
)
def test_an_interval_is_said_by_its_longer_arm(value: float, ci95: tuple[float, float] | None, text: str) -> None:
    """A skewed interval is not made to look shorter than it is."""
    assert units.plus_minus(value, ci95) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(100, "100 B"), (32 << 10, "32 KiB"), (24 << 30, "24 GiB"), (25.5 * (1 << 30), "25.5 GiB"), (None, "–")],
)
def test_a_capacity_is_in_binary_units(count: float | None, text: str) -> None:
    """Whole numbers stay whole."""
    assert units.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.41, "410 ms"),
        (41.7, "41.7 s"),
        (252.0, "4 min 12 s"),
        (11_100.0, "3 h 05 min"),
        (187_200.0, "2 d 4 h"),
        (None, "–"),
    ],
)
def test_a_length_of_time_is_in_its_two_largest_units(seconds: float | None, text: str) -> None:
    """Nobody reads 11100 s."""
    assert units.duration(seconds) == text


def test_a_moment_is_in_utc() -> None:
    """1 785 584 702 s after the epoch; a moment that no calendar has is unknown."""
    assert units.moment(1_785_584_702.0) == "2026-08-01 11:45 UTC"
    assert units.moment(1e300) == "–"
    assert units.moment(None) == "–"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("matmul.fp32", "matmul.fp32"),
        ("größer", "größer"),
        ("\x1b[31mred\x1b[0m", "�[31mred�[0m"),
        ("two\nlines\tand a tab", "two lines and a tab"),
        ("abc\u202egnp.exe", "abc�gnp.exe"),
        ("\x9b2J", "�2J"),
        ("\ud800", "�"),
    ],
)
def test_text_of_strangers_cannot_steer_a_terminal(text: str, safe: str) -> None:
    """Escape codes, C1 controls, marks of direction and half surrogates become a sign that something was there."""
    assert units.plain(text) == safe
