"""What a server does beside serving: old things go, alarms come and go, the database is checked at night."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.lifecycle import AttemptState
from scheduler.store.errors import StoreError
from server.housekeeping import DAY_MS, HOUR_MS
from tests.server.served import Agent, Served, ready_agent


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path) as opened:
        yield opened


def retain(served: Served, **changes: int) -> None:
    """Other settings than the usual ones."""
    settings = served.runtime.settings
    served.runtime.settings = replace(settings, retention=replace(settings.retention, **changes))


def alarms(served: Served) -> dict[str, str]:
    found = served.ask("GET", "/v1/alarms", "operator").json()["items"]
    return {one["kind"]: one["text"] for one in found}


def metric(served: Served, line: str) -> bool:
    return line in served.ask("GET", "/metrics").text.splitlines()


def test_old_events_go_to_the_archive_and_no_event_is_lost(served: Served) -> None:
    """After 90 days; whoever reads on from a number goes on, and what is gone stands in a file."""
    job = served.submit()["id"]
    before = served.ask("GET", "/v1/events?limit=200", "operator").json()["items"]
    served.clock.forward(90 * DAY_MS + 1)
    served.ask("POST", f"/v1/jobs/{job}/cancel", "renter")

    removed = served.runtime.housekeeper.retire_events()

    left = served.ask("GET", "/v1/events?limit=200", "operator").json()["items"]
    (file,) = (served.runtime.settings.data / "archive").iterdir()
    with gzip.open(file, "rt") as lines:
        archived = [json.loads(line) for line in lines]
    assert removed == len(before) == len(archived)
    assert file.name == f"events-1-{len(before)}.jsonl.gz"
    assert [event["seq"] for event in archived] == [event["seq"] for event in before]
    assert archived[-1]["kind"] == "job.queued"
    assert [event["kind"] for event in left] == ["job.cancelled"]
    assert served.runtime.housekeeper.retire_events() == 0


def test_events_that_cannot_be_archived_stay(served: Served) -> None:
    """The folder cannot be made."""
    (served.runtime.settings.data / "archive").write_text("in the way")
    served.clock.forward(91 * DAY_MS)

    with pytest.raises(StoreError, match="archive"):
        served.runtime.housekeeper.retire_events()

    assert served.ask("GET", "/v1/events", "operator").json()["items"]


def ended_with_a_log(served: Served, agent: Agent) -> int:
    """A job that printed something and ended; its token."""
    served.submit()
    token: int = agent.assigned()["token"]
    served.runtime.files.logs.append(token, "out", 0, b"x" * 1000, quota_bytes=10_000)
    agent.sync({"token": token, "state": "exited", "exit_code": 0})
    return token


def test_logs_go_thirty_days_after_their_attempt_and_earlier_when_there_are_too_many(served: Served) -> None:
    """A live attempt's stay."""
    agent = ready_agent(served)
    token = ended_with_a_log(served, agent)
    logs = served.runtime.files.logs
    assert (served.runtime.housekeeper.tidy(0), logs.size(token, "out")) == (0, 1000)

    retain(served, logs_bytes=999)
    assert (served.runtime.housekeeper.tidy(0), logs.size(token, "out")) == (1, 0)

    retain(served, logs_bytes=10**6, logs_days=0)
    late = ended_with_a_log(served, agent)
    served.clock.set_calendar(served.clock.now().unix_ms + 400 * DAY_MS)  # beyond the files' own times
    assert (served.runtime.housekeeper.tidy(0), logs.size(late, "out")) == (1, 0)


def test_transcripts_go_after_thirty_days(served: Served) -> None:
    """One that nothing rests on: of a market that has not judged anybody, any."""
    kept = served.runtime.files.put_transcript(b"{}")
    retain(served, transcripts_days=30)
    (path,) = (served.runtime.settings.data / "files/transcripts").rglob("*.gz")
    written_ms = int(path.stat().st_mtime * 1000)
    served.clock.set_calendar(written_ms + 29 * DAY_MS)
    assert served.runtime.housekeeper.tidy(0) == 0
    assert served.runtime.files.transcript(kept) == b"{}"

    served.clock.set_calendar(written_ms + 31 * DAY_MS)

    assert served.runtime.housekeeper.tidy(0) == 1
    assert served.runtime.files.transcript(kept) is None


def test_a_disk_that_is_nearly_full_and_a_log_that_grows_are_told(served: Served) -> None:
    """And no more when it is over."""
    house = served.runtime.housekeeper
    house.look()
    assert alarms(served) == {}
    assert metric(served, 'gridmark_alarm{kind="disk"} 0.0')

    retain(served, disk_free_bytes=1 << 60, log_file_bytes=-1)
    house.look()
    assert sorted(alarms(served)) == ["disk", "log"]
    assert "MiB are left on the disk" in alarms(served)["disk"]
    assert metric(served, 'gridmark_alarm{kind="disk"} 1.0')

    retain(served, disk_free_bytes=0, log_file_bytes=1 << 40)
    house.look()
    assert alarms(served) == {}


def test_the_check_is_due_once_a_night(served: Served) -> None:
    """At three, UTC; a server that begins at noon waits for the next night."""
    house, clock = served.runtime.housekeeper, served.clock
    midnight_ms = -(-clock.now().unix_ms // DAY_MS) * DAY_MS
    clock.set_calendar(midnight_ms + 12 * HOUR_MS)
    house.check()
    clock.set_calendar(midnight_ms + DAY_MS + 3 * HOUR_MS - 1)
    assert not house.is_night()
    clock.set_calendar(midnight_ms + DAY_MS + 3 * HOUR_MS)
    assert house.is_night()

    house.check()

    assert not house.is_night()


def test_a_sound_market_passes_the_check(served: Served) -> None:
    """With a job at work."""
    agent = ready_agent(served)
    served.submit()
    agent.assigned()

    assert served.runtime.housekeeper.check() == []
    assert alarms(served) == {}


def test_capacity_that_is_counted_wrongly_raises_an_alarm(served: Served) -> None:
    """What placing takes for free is not what the allocations leave."""
    agent = ready_agent(served)
    served.submit()
    agent.assigned()
    index = served.runtime.index
    slot = index.slot_of(agent.node)
    assert slot is not None
    index._table.set("cpu_milli_free", slot, 7)

    (problem,) = served.runtime.housekeeper.check()

    assert problem.startswith(f"node {agent.node}: placing counts Room(")
    assert alarms(served) == {"integrity": problem}


def test_rows_that_were_tampered_with_raise_an_alarm(served: Served) -> None:
    """Somebody wrote to the file: it is not what the memory was loaded from."""
    agent = ready_agent(served)
    served.submit()
    token = agent.assigned()["token"]
    with sqlite3.connect(served.runtime.database) as db:
        db.execute("update attempt set state = ? where token = ?", (AttemptState.STOPPING, token))

    problems = served.runtime.housekeeper.check()

    assert f"attempt {token} is another in memory than in the database" in problems


def pass_seconds(served: Served, seconds: int, heard: Sequence[Agent] = ()) -> None:
    """As a server sees them: a tick in each."""
    for _ in range(seconds):
        served.clock.forward(1_000)
        for agent in heard:
            agent.sync()
        served.runtime.writer.do(lambda control, now: control.tick(now)).result()


def test_a_mass_outage_is_an_alarm_everywhere_an_operator_looks(served: Served) -> None:
    """In the list of alarms, the metrics; it ends when the nodes are heard again."""
    agents = [ready_agent(served) for _ in range(3)]
    pass_seconds(served, 18)

    text = alarms(served)["outage"]
    assert text.startswith("3 of 3 nodes, one supplier's, fell silent at once: their jobs wait for them, 120 s at most")
    assert metric(served, 'gridmark_alarm{kind="outage"} 1.0')

    pass_seconds(served, 18, agents)

    assert alarms(served) == {}


def test_terms_of_an_account_hold_at_once(served: Served) -> None:
    """A limit of no CPU refuses the next job, with the reason; the account's list shows it."""
    token = served.account("tess", "renter")
    account = served.ask("GET", "/v1/accounts/me", token=token).json()["id"]
    terms = {"weight": 2.5, "max_jobs": 5, "max_cpus": 0.5}
    changed = served.ask("POST", f"/v1/accounts/{account}/terms", "operator", json=terms)
    assert changed.status_code == 200, changed.text
    assert (changed.json()["weight_milli"], changed.json()["cpu_milli_max"]) == (2500, 500)

    refused = served.ask("POST", "/v1/jobs", token=token, json={"command": ["true"]})

    assert refused.status_code == 403
    assert refused.json()["detail"] == "the job asks for 1 CPU, and the account may use 0.5 CPUs at once"
