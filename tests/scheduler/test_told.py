"""A JSON object kept as text is the mapping it stands for."""

from __future__ import annotations

import json
import math

import pytest

from scheduler.told import Told, number, quoted


def test_a_text_is_the_mapping_it_stands_for() -> None:
    """Looked up, counted, compared and copied as a dictionary; not to be changed."""
    told = Told('{"policy":"pack","terms":{"a":1.5}}')

    assert (told["policy"], len(told), list(told)) == ("pack", 2, ["policy", "terms"])
    assert told == {"policy": "pack", "terms": {"a": 1.5}} == dict(told)
    with pytest.raises(KeyError):
        told["cost"]


@pytest.mark.parametrize("value", [0.0, -0.5, 1e-9, 1.7e308, 123456789.125, 3])
def test_a_figure_is_read_back_as_it_was(value: float) -> None:
    """To the last bit."""
    assert json.loads(number(value)) == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_say_is_unknown(value: float) -> None:
    """NaN stands for an unknown figure."""
    assert number(value) == "null"


def test_a_name_is_read_back_as_it_was() -> None:
    """Whatever somebody calls a policy."""
    assert json.loads(quoted('a "quoted"\\ ünïcode')) == 'a "quoted"\\ ünïcode'
