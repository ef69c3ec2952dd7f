"""What an operator is told and sets from the command line: alarms, the terms of accounts, the server's own limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gridmark import cli
from server import cli_serve
from server.settings import Settings
from tests.server.client_fake import WORD, FakeMarket, answer, problem, serving

ALARM = {"kind": "disk", "text": "12 MiB are left on the disk of /data", "since_ms": 0}


@pytest.fixture
def fake() -> Iterator[FakeMarket]:
    with serving() as market:
        yield market


def call(fake: FakeMarket, *args: str) -> Result:
    return CliRunner().invoke(cli, list(args), env={"GRIDMARK_SERVER": fake.url, "GRIDMARK_TOKEN": WORD})


def test_alarms_stand_above_the_nodes(fake: FakeMarket) -> None:
    """On stderr, so that the list stays a list."""
    fake.on("GET /v1/nodes", answer({"items": [], "next_cursor": None}))
    fake.on("GET /v1/alarms", answer({"items": [ALARM]}))

    found = call(fake, "nodes", "-q")

    assert found.exit_code == 0, found.output
    assert found.stdout == ""
    assert "ALARM: 12 MiB are left on the disk of /data (for " in found.stderr


def test_who_may_not_see_alarms_sees_the_nodes(fake: FakeMarket) -> None:
    """A supplier."""
    fake.on("GET /v1/nodes", answer({"items": [], "next_cursor": None}))
    fake.on("GET /v1/alarms", problem(403, "forbidden", "not yours"))

    assert call(fake, "nodes", "-q").exit_code == 0


def test_terms_of_an_account_are_sent_whole(fake: FakeMarket) -> None:
    """What is not typed is what the server has for everybody."""
    fake.on("POST /v1/accounts/3/terms", answer({}))

    assert call(fake, "account", "terms", "3", "--weight", "2", "--max-gpus", "8").exit_code == 0

    (asked,) = fake.asked
    assert asked.json == {"weight": 2.0, "max_jobs": None, "max_gpus": 8.0, "max_cpus": None}


def test_serve_hands_its_limits_on(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those typed; the others are as they are without."""
    seen: list[Settings] = []
    monkeypatch.setattr("server.up.serve_alone", lambda settings, _: seen.append(settings))
    typed = ["--data", str(tmp_path), "--account-gpus", "1.5", "--account-jobs", "7", "--keep-logs", "3"]
    typed += ["--keep-transcripts", "9"]

    assert CliRunner().invoke(cli_serve.serve, typed).exit_code == 0

    (settings,) = seen
    usual = Settings(data=tmp_path)
    limits, retention = settings.limits, settings.retention
    assert (limits.gpu_milli_held, limits.cpu_milli_held, limits.jobs_waiting) == (1500, None, 7)
    assert (retention.logs_days, retention.transcripts_days) == (3, 9)
    assert retention.events_days == usual.retention.events_days
