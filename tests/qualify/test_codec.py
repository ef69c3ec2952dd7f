"""Records survive the way to JSON and back, and nothing else passes for one."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from qualify import codec
from qualify.codec import RecordError
from qualify.reading import MAX_DEPTH
from qualify.records import Measurement, Node, Report
from tests.strategies import of_record


@given(report=of_record(Report))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_report_survives_the_round_trip(report: Report) -> None:
    """Any report at all reads back equal to what was written."""
    assert codec.loads(codec.dumps(report)) == report


def small(**changes: Any) -> Report:
    """A report of one figure."""
    measurement = Measurement(key="memory.copy", unit="B/s", status="ok", value=2e9, samples=(1.9e9, 2e9, 2.1e9), n=3)
    fields: dict[str, Any] = {
        "id": "r1",
        "node": Node(id="n1", hostname="box", device_kind="cpu"),
        "measurements": (measurement,),
        "findings": (),
        "score": None,
        "verdict": "qualified",
        "reasons": (),
        "profile": "quick",
        "budget_s": 45.0,
        "lasted_s": 40.0,
        "started_unix_s": 1.7e9,
        "gridmark_version": "0.1.0",
    }
    return Report(**{**fields, **changes})


def test_samples_keep_seven_digits_and_values_all() -> None:
    """A sample is rounded to 7 significant digits; the headline figure is exact."""
    measurement = Measurement(key="a.b", unit="s", status="ok", value=1 / 3, samples=(1 / 3, 123456789.0))

    written = codec.to_json(measurement)

    assert written["samples"] == [0.3333333, 123456800.0]
    assert written["value"] == 1 / 3


def test_tuples_become_lists_and_mappings_are_copied() -> None:
    """What is written shares nothing with the record, whose context may be read-only."""
    context: Any = types.MappingProxyType({"shape": (4, 8)})

    written = codec.to_json(dataclasses.replace(small().measurements[0], context=context))

    assert written["context"] == {"shape": [4, 8]}


def test_a_file_name_that_is_not_utf8_does_not_spoil_the_report() -> None:
    """A lone surrogate, which no JSON reader accepts, is written as a question mark."""
    report = small(node=Node(id="n1", hostname="box\udcff", device_kind="cpu"))

    assert codec.loads(codec.dumps(report)).node.hostname == "box?"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_not_written(value: float) -> None:
    """NaN and the infinities are refused with the place they stand at."""
    measurement = dataclasses.replace(small().measurements[0], context={"clocks": [1.0, value]})

    with pytest.raises(RecordError, match=r"^\$\.measurements\[0\]\.context\.clocks\[1\]: expected a finite number"):
        codec.dumps(small(measurements=(measurement,)))


@pytest.mark.parametrize("value", [{1, 2}, b"raw", object(), {1: "a"}, 1j, 2**63])
def test_what_has_no_json_form_is_not_written(value: Any) -> None:
    """A context holds JSON values only; others are named, not guessed at."""
    measurement = dataclasses.replace(small().measurements[0], context={"x": value})

    with pytest.raises(RecordError, match=r"^\$\.context\.x: expected"):
        codec.to_json(measurement)


def put(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    """A change of the parsed report at a path such as "measurements.0.unit"."""

    def change(data: Any) -> None:
        *steps, last = path.split(".")
        for step in steps:
            data = data[int(step)] if isinstance(data, list) else data[step]
        data[int(last) if isinstance(data, list) else last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("colour", "red"), '$: unknown field "colour" in Report'),
        (put("measurements.0.speed", 1), '$.measurements[0]: unknown field "speed" in Measurement'),
        (lambda data: data.pop("verdict"), "$.verdict: missing in Report"),
        (lambda data: data.pop("schema"), "$.schema: missing; every report says which schema it follows"),
        (lambda data: data["measurements"][0].pop("unit"), "$.measurements[0].unit: missing in Measurement"),
        (put("schema", 2), "$.schema: expected schema 1, found the number 2"),
        (put("schema", True), "$.schema: expected schema 1, found true"),
        (put("schema", 1.0), "$.schema: expected schema 1, found the number 1.0"),
        (put("verdict", "fine"), '$.verdict: expected one of qualified, not_qualified, unknown, found "fine"'),
        (put("verdict", []), "$.verdict: expected one of qualified, not_qualified, unknown, found a list of 0"),
        (put("node", None), "$.node: expected an object (Node), found null"),
        (put("node.cpu.cores", 2.0), "$.node.cpu.cores: expected a whole number, found the number 2.0"),
        (put("node.cpu.cores", True), "$.node.cpu.cores: expected a whole number, found true"),
        (
            put("node.cpu.cores", 2**63),
            "$.node.cpu.cores: expected a whole number of at most 64 bits, found a larger one",
        ),
        (put("options", {"a": -(2**63) - 1}), "$.options.a: expected a whole number of at most 64 bits"),
        (put("node.hostname", 3), "$.node.hostname: expected text, found the number 3"),
        (put("partial", 0), "$.partial: expected true or false, found the number 0"),
        (put("budget_s", "45"), '$.budget_s: expected a number, found "45"'),
        (put("budget_s", True), "$.budget_s: expected a number, found true"),
        (put("budget_s", 10**400), "$.budget_s: expected a number below 1.8e308, found a larger one"),
        (put("budget_s", float("inf")), "$.budget_s: expected a finite number, found inf"),
        (put("reasons", "none"), '$.reasons: expected a list, found "none"'),
        (put("measurements.0.samples.1", None), "$.measurements[0].samples[1]: expected a number, found null"),
        (put("measurements.0.ci95", [1.0]), "$.measurements[0].ci95: expected a list of 2, found a list of 1"),
        (put("measurements.0.value", None), "$.measurements[0]: memory.copy: a value goes with status ok"),
        (put("measurements.0.context", []), "$.measurements[0].context: expected an object, found a list of 0"),
        (put("options", {"a b": [0, float("nan")]}), '$.options["a b"][1]: expected a finite number, found nan'),
        (put("options", {"a": "\ud800"}), "$.options.a: expected Unicode text, found half of a surrogate pair"),
        (put("options", {"\udfff": 1}), "$.options: expected Unicode text, found half of a surrogate pair"),
    ],
)
def test_wrong_data_is_refused_where_it_stands(change: Callable[[Any], object], message: str) -> None:
    """The message gives the JSON path, what was expected and what was found."""
    data = json.loads(codec.dumps(small()))
    change(data)

    with pytest.raises(RecordError) as caught:
        codec.report_from_json(data)

    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("data", [None, 3, "report", [1]])
def test_what_is_no_object_is_no_report(data: object) -> None:
    """A JSON value of another kind is refused as a whole."""
    with pytest.raises(RecordError, match=r"^\$: expected a report"):
        codec.report_from_json(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ('{"schema": NaN}', "NaN is not a number"),
        ('{"schema": -Infinity}', "-Infinity is not a number"),
        ('{"schema": 1, "schema": 1}', 'an object has the key "schema" twice'),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "not JSON"),
        (b"\xff\xfe{", "not JSON"),
        (b'{"schema": 1, "id": "\xe9"}', "not JSON"),
        ('{"schema": 1e999}', "expected schema 1, found a huge number"),
    ],
)
def test_text_that_is_not_strict_json_is_refused(text: str | bytes, message: str) -> None:
    """Python's own reader would let half of these pass."""
    with pytest.raises(RecordError, match=message):
        codec.loads(text)


def test_a_field_with_a_default_may_be_absent() -> None:
    """A report written before a field was added stays readable."""
    data = json.loads(codec.dumps(small()))
    del data["telemetry"], data["measurements"][0]["attempts"], data["node"]["cpu"]

    assert codec.report_from_json(data) == small()


def test_a_whole_number_will_do_for_a_float() -> None:
    """JSON writers of other languages drop the .0; it comes back as a float."""
    data = json.loads(codec.dumps(small()))
    data["budget_s"] = 45

    budget_s = codec.report_from_json(data).budget_s

    assert (budget_s, type(budget_s)) == (45.0, float)


def test_length_is_limited_in_bytes() -> None:
    """A text one byte too long is refused before it is parsed; é counts 2."""
    text = codec.dumps(small())

    codec.loads(text, max_bytes=len(text))
    with pytest.raises(RecordError, match=f"expected at most {len(text) - 1} bytes, found {len(text)}"):
        codec.loads(text, max_bytes=len(text) - 1)
    with pytest.raises(RecordError, match="found 2"):
        codec.loads("é", max_bytes=1)


@pytest.mark.parametrize("levels", [MAX_DEPTH - 1, MAX_DEPTH])
def test_depth_is_limited_alike_both_ways(levels: int) -> None:
    """A context may nest 31 lists, being itself the 32nd level; one more is neither written nor read."""
    nested: Any = 0
    for _ in range(levels):
        nested = [nested]
    deep = small(options={"x": nested})
    data = {**codec.to_json(small()), "options": {"x": nested}}

    if levels < MAX_DEPTH:
        assert codec.report_from_json(data) == codec.loads(codec.dumps(deep)) == deep
        return
    with pytest.raises(RecordError, match="nested deeper than 32 levels"):
        codec.dumps(deep)
    with pytest.raises(RecordError, match="nested deeper than 32 levels"):
        codec.report_from_json(data)


def test_the_text_is_plain_ascii() -> None:
    """A terminal in any locale can carry it."""
    report = small(reasons=("±5 % – “fine”",))

    text = codec.dumps(report)

    assert text.isascii()
    assert codec.loads(text) == report


def test_long_rubbish_makes_a_short_message() -> None:
    """The found value is quoted in at most 40 characters."""
    with pytest.raises(RecordError) as caught:
        codec.report_from_json({**codec.to_json(small()), "verdict": "x" * 10**6})

    assert len(str(caught.value)) < 140


def test_other_records_read_too() -> None:
    """A measurement that a child process sent is read by the same rules."""
    measurement = small().measurements[0]

    assert codec.from_json(Measurement, codec.to_json(measurement)) == measurement
    with pytest.raises(RecordError, match=r"^\$\.key: missing in Measurement"):
        codec.from_json(Measurement, {})


def test_only_records_are_written() -> None:
    """A list or a class is a mistake of the caller."""
    mistakes: list[object] = [[], Report]
    for mistake in mistakes:
        with pytest.raises(RecordError, match="expected a record"):
            codec.to_json(mistake)
