"""The market's records survive the way to JSON and back, and nothing else passes for one."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler import codec
from scheduler.lifecycle import Standing
from scheduler.records import Attempt, Event, Job, JobSpec, MarketNode, ReportEntry, Resources, Result
from scheduler.wire import Assignment, Held, SyncAnswer, SyncRequest, Wish
from tests.strategies import of_record

KINDS = (Attempt, Event, Job, JobSpec, MarketNode, ReportEntry, Result, SyncAnswer, SyncRequest)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_record_survives_the_round_trip(kind: type, data: st.DataObject) -> None:
    """Any record at all reads back equal to what was written."""
    record = data.draw(of_record(kind))

    assert codec.loads(kind, codec.dumps(record)) == record


def test_an_answer_reads_as_it_is_documented() -> None:
    """Fields by name; a wish without an assignment says null."""
    answer = SyncAnswer(wishes=(Wish(token=7, desired="run"),), lease_ms=10_000, next_sync_ms=3_000)

    assert codec.encode(answer) == {
        "wishes": [{"token": 7, "desired": "run", "assignment": None, "reason": ""}],
        "lease_ms": 10_000,
        "next_sync_ms": 3_000,
        "qualify": False,
        "prove": False,
    }


def held(**changes: Any) -> dict[str, Any]:
    """What an agent says of one attempt."""
    return {"boot_id": "b", "held": [{"token": 7, "state": "running", **changes}]}


def test_what_has_a_default_may_be_absent() -> None:
    """An agent one version older than the server is understood."""
    assert codec.decode(SyncRequest, held()) == SyncRequest(boot_id="b", held=(Held(token=7, state="running"),))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (held(pid=1), r"^\$\.held\[0\]: unknown field \"pid\" in Held$"),
        (held(state="dreaming"), r"^\$\.held\[0\]\.state: expected one of preparing,"),
        (held(token=7.5), r"^\$\.held\[0\]\.token: expected a whole number, found the number 7.5$"),
        (held(token=True), r"^\$\.held\[0\]\.token: expected a whole number, found true$"),
        (held(token=None), r"^\$\.held\[0\]\.token: expected a whole number, found null$"),
        (held(token=2**63), r"^\$\.held\[0\]\.token: .*at most 64 bits"),
        ({"held": []}, r"^\$\.boot_id: missing in SyncRequest$"),
        ({"boot_id": "b", "held": {}}, r"^\$\.held: expected a list, found an object$"),
        ([], r"^\$: expected an object \(SyncRequest\), found a list of 0$"),
    ],
)
def test_what_is_no_record_is_refused_by_place(data: object, complaint: str) -> None:
    """Unknown, mistyped, null, too large, missing, another shape."""
    with pytest.raises(codec.CodecError, match=complaint):
        codec.decode(SyncRequest, data)


def test_a_key_given_twice_is_refused() -> None:
    """Which of the two would count?"""
    with pytest.raises(codec.CodecError, match='the key "token" twice'):
        codec.loads(Wish, '{"token": 1, "token": 2, "desired": "run"}')


def test_a_state_travels_as_its_number_and_only_as_a_known_one() -> None:
    """3 is "ready"; 9 is none."""
    node = MarketNode(id=1, name="n", supplier=1, public_key="", machine="", standing=Standing.READY)
    data = codec.encode(node)

    assert data["standing"] == 3
    assert codec.decode(MarketNode, data).standing is Standing.READY
    with pytest.raises(codec.CodecError, match=r"^\$\.standing: expected one of 1 \(new\), .*found the number 9$"):
        codec.decode(MarketNode, {**data, "standing": 9})


def test_figures_that_are_no_numbers_are_not_written() -> None:
    """No JSON reader would take NaN."""
    event = Event(seq=1, at_ms=0, kind="node.report", actor="node 1", data={"health": float("nan")})

    with pytest.raises(codec.CodecError, match=r"^\$\.data\.health: expected a finite number"):
        codec.dumps(event)


def test_an_assignment_carries_the_whole_spec() -> None:
    """Nested records come back as records."""
    spec = JobSpec(name="j", command=("true",), resources=Resources(gpus=2))
    assignment = Assignment(job=1, n=1, spec=spec, gpus=(0, 1), secrets={"KEY": "v"})

    again = codec.loads(Assignment, codec.dumps(assignment))

    assert again == assignment
    assert dataclasses.is_dataclass(again.spec.resources)
