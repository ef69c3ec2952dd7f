"""Money, ages and output as people read them."""

from __future__ import annotations

import pytest

from server.web import words


@pytest.mark.parametrize(
    ("micro_dollars", "text"),
    [
        (None, "–"),
        (0, "$0"),
        (2_500_000, "$2.50"),
        (400_000, "$0.400"),
        (120, "$0.000120"),
        (1_234_567_890, "$1,234.57"),
    ],
)
def test_money_keeps_the_digits_that_say_something(micro_dollars: float | None, text: str) -> None:
    """Micro-dollars become dollars."""
    assert words.money(micro_dollars) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "now"), (4, "now"), (5, "5 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"),
     (48 * 3600 - 1, "47 h"), (48 * 3600, "2 d"), (-900, "now")],
)  # fmt: skip
def test_an_age_is_told_in_its_largest_unit(seconds: int, text: str) -> None:
    """A clock ahead of ours makes nothing younger than now."""
    assert words.age(1_000_000_000 - seconds * 1000, 1_000_000_000) == text


def test_what_is_unknown_is_said_to_be() -> None:
    """No moment has no age, and nothing is due never."""
    assert words.age(None, 5) == words.ago(None, 5) == words.until(None, 5) == "–"


def test_what_is_due_is_told_forwards() -> None:
    """Three hours ahead; what is past is now."""
    assert words.until(3 * 3_600_000, 0) == "in 3 h"
    assert words.until(1, 5) == "now"


@pytest.mark.parametrize(("code", "text"), [(None, "–"), (0, "0"), (1, "1"), (137, "137 (signal 9)"), (128, "128")])
def test_an_exit_code_names_its_signal(code: int | None, text: str) -> None:
    """As a shell counts: 128 + n for signal n."""
    assert words.exit_words(code) == text


def test_output_loses_colours_and_keeps_lines() -> None:
    """A page is no terminal."""
    assert words.log_text("\x1b[1;31mred\x1b[0m\r\nnext\tcolumn\n") == "red\nnext\tcolumn\n"


def test_of_a_line_that_was_written_over_the_last_state_stays() -> None:
    """A progress bar is one line."""
    assert words.log_text("10 %\r50 %\r100 %\ndone") == "100 %\ndone"
    assert words.log_text("10 %\r50 %\r") == "50 %"


def test_output_that_steers_is_made_visible() -> None:
    """Control codes, bells and marks that turn text around become one sign."""
    assert words.log_text("a\x9b\x07\u202eb") == "a���b"


def test_a_value_of_any_shape_fits_a_line() -> None:
    """What a reason or an event holds was decided elsewhere."""
    value = {"price": 3, "nodes": ["a", "b"], "ok": True, "gone": None, "rate": 0.123456}
    assert words.inline(value) == "price: 3, nodes: a, b, ok: yes, gone: –, rate: 0.1235"


def test_prose_shows_commands_as_code_and_everything_else_as_text() -> None:
    """A single backtick is a backtick."""
    assert words.prose("run `a <b>`, then <c>") == "run <code>a &lt;b&gt;</code>, then &lt;c&gt;"
    assert words.prose("it`s") == "it`s"
