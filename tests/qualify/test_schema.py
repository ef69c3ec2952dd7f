"""The shipped JSON Schema is that of the records, accepts what we write and refuses what we would not read."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from typing import Any

import jsonschema
import pytest

from qualify import codec, schema
from qualify.codec import RecordError
from qualify.records import Report
from tests import builders


@pytest.fixture(scope="module")
def validator() -> Any:
    """Of the schema as it is shipped."""
    shipped = json.loads(resources.files("qualify").joinpath("report.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(shipped)
    return jsonschema.Draft202012Validator(shipped)


def test_the_shipped_schema_is_that_of_the_records() -> None:
    """A field added to a record is in the schema; `python -m qualify.schema > qualify/report.schema.json` renews it."""
    shipped = resources.files("qualify").joinpath("report.schema.json").read_text(encoding="utf-8")

    assert shipped == schema.dumps()


def test_comments_of_the_records_are_its_descriptions(validator: Any) -> None:
    """Whoever reads the schema reads the units and the meaning of None."""
    measurement = validator.schema["$defs"]["Measurement"]["properties"]

    assert measurement["samples"]["description"] == "every one, in the order taken, in `unit`"
    assert validator.schema["$defs"]["Cpu"]["description"].endswith("None = could not be read.")


@pytest.mark.parametrize("build", builders.ALL.values(), ids=builders.ALL)
def test_what_we_write_is_valid(validator: Any, build: Callable[[], Report]) -> None:
    """Reports of a healthy node, a faulty one, a run cut short and one that measured nothing."""
    validator.validate(codec.to_json(build()))


def test_a_report_that_fills_every_record_is_valid(validator: Any) -> None:
    """GPU, repeated attempts, sweeps and telemetry too."""
    validator.validate(codec.to_json(builders.everything()))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.update(colour="red"),
        lambda data: data.pop("verdict"),
        lambda data: data.pop("schema"),
        lambda data: data.update(schema=2),
        lambda data: data.update(verdict="fine"),
        lambda data: data.update(budget_s="45"),
        lambda data: data.update(budget_s=-1),
        lambda data: data.update(reasons="none"),
        lambda data: data.update(telemetry=None),
        lambda data: data["node"].update(device_kind="tpu"),
        lambda data: data["node"]["cpu"].update(cores=2.5),
        lambda data: data["node"]["versions"].update(python=3),
        lambda data: data["measurements"][0].update(speed=1),
        lambda data: data["measurements"][0].update(ci95=[1.0]),
        lambda data: data["measurements"][0].update(ci95=[1.0, 2.0, 3.0]),
        lambda data: data["measurements"][0].update(value=None),
        lambda data: data["measurements"][0].update(samples=[1.0, None]),
        lambda data: data["measurements"][0].update(status="skipped", value=None, reason=None),
        lambda data: data["measurements"][0].update(status="skipped", reason="not today"),
        lambda data: data["findings"][0].pop("remedy"),
        lambda data: data["score"]["metrics"].update(x=1.0),
    ],
)
def test_it_refuses_what_the_reader_refuses(validator: Any, spoil: Callable[[Any], object]) -> None:
    """The schema and the codec agree on what is no report; a negative length of time the schema alone refuses."""
    data = json.loads(codec.dumps(builders.healthy()))
    spoil(data)

    with pytest.raises(jsonschema.ValidationError):
        validator.validate(data)
    if data.get("budget_s") != -1:
        with pytest.raises(RecordError):
            codec.report_from_json(data)
