"""Documents: what is taken, what is refused, and how a job's becomes the record."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from scheduler.records import Input, JobSpec, Resources, Work
from server.app import DOCUMENTS
from server.problems import faults_of
from server.schemas import accounts, agent, base, job, nodes, offers, views
from server.schemas.agent import SyncDocument
from server.schemas.job import JobDocument

SHA = "9f" * 32
MODELS = [
    model
    for module in (accounts, agent, job, nodes, offers, views)
    for _, model in inspect.getmembers(module, inspect.isclass)
    if issubclass(model, BaseModel) and model.__module__ == module.__name__
]


def spec(**document: Any) -> JobSpec:
    """The record of a document."""
    return JobDocument.model_validate({"command": ["true"], **document}).spec()


def fault(**document: Any) -> str:
    """Where a document is wrong."""
    with pytest.raises(ValidationError) as found:
        JobDocument.model_validate({"command": ["true"], **document})
    return ".".join(map(str, found.value.errors()[0]["loc"]))


def test_the_shortest_job() -> None:
    """A command, and every default of the record."""
    assert spec() == JobSpec(name="true", command=("true",))


def test_every_field_arrives() -> None:
    """Human quantities as SI: 4 GB = 4e9 B, 1.5 GiB = 1,610,612,736 B, 2h = 7200 s, 0.50 $/h = 500,000 µ$/h."""
    found = spec(
        name="train",
        image="docker.io/library/busybox:1",
        resources={"gpus": 2, "cpus": 1.5, "memory": "4 GB", "disk": "1.5 GiB"},
        where="health > 0.9",
        region="eu-north",
        max_price="0.50 $/h",
        max_duration="2h",
        deadline="2027-01-15T08:00:00Z",
        retries=3,
        recover_on_exit_codes=[75, 3, 75],
        env={"A": "1"},
        secrets={"B": "x"},
        inputs=[{"to": "a/b", "sha256": SHA, "url": "https://example.org/b", "size": "1 kB", "executable": True}],
        artifacts=["out/**/*.txt"],
        checkpoint="ck",
        policy="pack",
        work={"metric": "matmul.bf16", "amount": 10},
        priority=-5,
        preemptible=True,
        network=False,
        read_only=True,
        stop_grace="5s",
        hold=60,
        log_quota="1 MB",
    )

    assert found == JobSpec(
        name="train",
        command=("true",),
        image="docker.io/library/busybox:1",
        resources=Resources(gpus=2, cpu_milli=1500, memory_bytes=4 * 10**9, disk_bytes=1_610_612_736),
        where="health > 0.9",
        region="eu-north",
        max_price_uh=500_000,
        max_duration_s=7200,
        deadline_ms=1_800_000_000_000,
        retries=3,
        recover_on_exit_codes=(3, 75),
        env={"A": "1"},
        secrets=("B",),
        inputs=(Input(to="a/b", sha256=SHA, url="https://example.org/b", size_bytes=1000, executable=True),),
        artifacts=("out/**/*.txt",),
        checkpoint="ck",
        policy="pack",
        work=Work(metric="matmul.bf16", amount=10),
        priority=-5,
        preemptible=True,
        network=False,
        read_only=True,
        stop_grace_s=5,
        hold_s=60,
        log_quota_bytes=1_000_000,
    )


@pytest.mark.parametrize(
    ("document", "at"),
    [
        ({"extra": 1}, "extra"),
        ({"command": "true"}, "command"),
        ({"command": []}, ""),
        ({"command": [""]}, ""),
        ({"command": ["a\0b"]}, "command.0"),
        ({"command": ["x"] * 1025}, "command"),
        ({"command": [1]}, "command.0"),
        ({"command": ["\ud800"]}, "command.0"),
        ({"name": "-x"}, "name"),
        ({"name": None, "image": "-x"}, "image"),
        ({"resources": {"gpus": 1, "gpu_milli": 500}}, "resources"),
        ({"resources": {"gpus": True}}, "resources.gpus"),
        ({"resources": {"gpus": 1.0}}, "resources.gpus"),
        ({"resources": {"gpus": 65}}, "resources.gpus"),
        ({"resources": {"cpus": 0}}, "resources.cpus"),
        ({"resources": {"cpus": "two"}}, "resources.cpus"),
        ({"resources": {"cpus": float("nan")}}, "resources.cpus"),
        ({"resources": {"memory": "4 lb"}}, "resources.memory"),
        ({"resources": {"memory": -1}}, "resources.memory"),
        ({"resources": {"memory": "9" * 400}}, "resources.memory"),
        ({"max_price": "0.50"}, "max_price"),
        ({"max_price": float("inf")}, "max_price"),
        ({"max_duration": 0}, "max_duration"),
        ({"max_duration": "5 years"}, "max_duration"),
        ({"deadline": "tomorrow"}, "deadline"),
        ({"deadline": "2027-01-15T08:00:00"}, "deadline"),
        ({"deadline": 10**15}, "deadline"),
        ({"recover_on_exit_codes": [0]}, "recover_on_exit_codes.0"),
        ({"env": {"A B": "x"}}, "env.A B.[key]"),
        ({"env": {"A": None}}, "env.A"),
        ({"env": {"A": "x"}, "secrets": {"A": "y"}}, ""),
        ({"env": {f"A{n}": "x" * 30_000 for n in range(9)}}, ""),
        ({"secrets": {"A": ""}}, "secrets.A"),
        ({"inputs": [{"to": "../a", "sha256": SHA}]}, "inputs.0.to.function-after[_inside(), constrained-str]"),
        ({"inputs": [{"to": ".", "sha256": SHA}]}, "inputs.0"),
        ({"inputs": [{"to": "a", "sha256": "x"}]}, "inputs.0.sha256"),
        ({"inputs": [{"to": "a", "sha256": SHA, "url": "file:///etc/passwd"}]}, "inputs.0.url"),
        ({"inputs": [{"to": "a", "sha256": SHA}] * 2}, ""),
        ({"artifacts": ["/etc/*"]}, "artifacts.0"),
        ({"artifacts": ["a//b"]}, "artifacts.0"),
        ({"artifacts": ["a/../b"]}, "artifacts.0"),
        ({"artifacts": ["a\0"]}, "artifacts.0"),
        ({"artifacts": ["é" * 128]}, "artifacts.0"),
        ({"checkpoint": ".."}, "checkpoint"),
        ({"policy": "../x"}, "policy"),
        ({"work": {"metric": "matmul.bf16", "amount": 0}}, "work.amount"),
        ({"priority": 101}, "priority"),
        ({"stop_grace": 3601}, ""),
    ],
)  # fmt: skip
def test_what_is_refused_is_named(document: dict[str, Any], at: str) -> None:
    """The place, not the value."""
    assert fault(**document) == at


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"resources": {"cpus": 5000}}, "must be 0.001 to 4096 CPUs"),
        ({"resources": {"memory": "2048 TiB"}}, "must be 0 B to 1024 TiB"),
        ({"max_duration": "400d"}, "must be 1 s to 366 d"),
        ({"max_price": 2e6}, "must be 0 to 1000000 $/h"),
        ({"deadline": 1e12}, "must be between the years 1970 and 9999"),
    ],
)
def test_bounds_are_told_in_the_unit_that_was_written(document: dict[str, Any], said: str) -> None:
    """Not in thousandths, bytes, millionths or milliseconds, which only we count in."""
    with pytest.raises(ValidationError) as found:
        JobDocument.model_validate({"command": ["true"], **document})

    assert [fault.text for fault in faults_of(found.value.errors())] == [said]


@pytest.mark.parametrize(
    ("command", "name"),
    [("/usr/bin/python3", "python3"), ("./run.sh", "run.sh"), ("ein wenig", "ein-wenig"), ("--", "job"), ("é", "-")],
)
def test_a_job_without_a_name_gets_its_program_s(command: str, name: str) -> None:
    """What a name may not hold is replaced; what is left of nothing is "job"."""
    assert spec(command=[command]).name == ("job" if name == "-" else name)


def test_a_folder_s_archive_goes_to_the_job_s_own() -> None:
    """`.` is where an archive may go, and nothing else."""
    assert spec(inputs=[{"to": ".", "sha256": SHA, "unpack": True}]).inputs[0].to == "."


def test_a_sync_becomes_the_record() -> None:
    """With what it may leave out."""
    found = SyncDocument.model_validate({"boot_id": "b", "held": [{"token": 1, "state": "running"}]}).record()

    assert (found.boot_id, found.wait, found.held[0].token, found.held[0].artifacts) == ("b", True, 1, ())


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_schema_has_an_example_that_fits_it(model: type[BaseModel]) -> None:
    """What the OpenAPI document shows would be taken."""
    extra = model.model_config.get("json_schema_extra")
    assert isinstance(extra, dict)
    examples = extra["examples"]

    assert isinstance(examples, list)
    assert [model.model_validate(example) for example in examples]


@pytest.mark.parametrize("model", DOCUMENTS, ids=lambda model: model.__name__)
def test_what_is_sent_to_us_is_strict_all_the_way_down(model: type[BaseModel]) -> None:
    """Unknown fields are refused at every level."""
    schema = model.model_json_schema()
    objects = [one for one in (schema, *schema.get("$defs", {}).values()) if one.get("type") == "object"]

    assert objects
    assert all(one["additionalProperties"] is False for one in objects)
    assert issubclass(model, base.Document)


@pytest.mark.parametrize("model", DOCUMENTS, ids=lambda model: model.__name__)
def test_everything_sent_to_us_is_bounded(model: type[BaseModel]) -> None:
    """Each text by length or pattern, each number on both sides, each list and map by count."""
    schema = model.model_json_schema()
    unbounded = [place for name, one in {"": schema, **schema.get("$defs", {})}.items() for place in loose(one, name)]

    assert unbounded == []


def loose(schema: dict[str, Any], place: str) -> list[str]:
    """The parts of a schema without bounds."""
    found = []
    kind = schema.get("type")
    if kind == "string" and not {"maxLength", "pattern", "enum", "const"} & schema.keys():
        found.append(place)
    if kind in ("integer", "number"):
        low, high = {"minimum", "exclusiveMinimum"} & schema.keys(), {"maximum", "exclusiveMaximum"} & schema.keys()
        if not (low and high) and "enum" not in schema:
            found.append(place)
    if kind == "array":
        found += [] if "maxItems" in schema else [place]
        found += loose(schema["items"], f"{place}[]")
    if kind == "object" and "properties" not in schema:
        found += [] if "maxProperties" in schema else [place]
    for name, one in schema.get("properties", {}).items():
        found += loose(one, f"{place}.{name}")
    for one in (*schema.get("anyOf", ()), *schema.get("patternProperties", {}).values()):
        found += loose(one, place)
    return found
