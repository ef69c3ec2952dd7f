"""ps, job, logs, cancel, offers and the operator's lists: what is asked of the server and what is printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gridmark import VERBS, cli
from tests.imports import PROJECT
from tests.server.client_fake import WORD, FakeMarket, answer, lines, problem, serving

JOB: dict[str, Any] = {
    "id": 7,
    "name": "train",
    "command": ["python3", "train it.py"],
    "state": "queued",
    "reason": "",
    "exit_code": None,
    "attempts": 0,
    "created_ms": 0,
}
FIGURE = {"value": 42.3e9, "low": 42.0e9, "high": 42.6e9, "n": 9, "at_ms": 1000, "unit": "B/s"}
OFFER: dict[str, Any] = {
    "node": 3,
    "name": "rack\x1b[31m",
    "model": "EPYC",
    "count": 0,
    "free": 0,
    "cpus": 16.0,
    "cpus_free": 4.5,
    "memory_bytes": 64 << 30,
    "memory_free_bytes": 16 << 30,
    "price_uh": 250_000,
    "region": "eu",
    "standing": "ready",
    "is_fresh": True,
    "figures": {"memory.triad": FIGURE},
}


@pytest.fixture
def fake() -> Iterator[FakeMarket]:
    with serving() as found:
        yield found


def page(*items: Any, cursor: str | None = None, **more: Any) -> Any:
    return answer({"items": items, "next_cursor": cursor, **more})


def call(fake: FakeMarket, *arguments: str) -> Result:
    environment = {"GRIDMARK_SERVER": fake.url, "GRIDMARK_TOKEN": WORD}
    return CliRunner(env=environment).invoke(cli, arguments, prog_name="gridmark")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str) -> None:
    """What docs and people rely on; a group's verbs, too."""
    helped = CliRunner().invoke(cli, [verb, "--help"], prog_name="gridmark")

    assert helped.exit_code == 0
    assert "Example: gridmark " in helped.stdout


def test_ps_lists_what_has_not_ended(fake: FakeMarket) -> None:
    """-a lists all, in pages; -q the numbers alone."""
    fake.on("GET /v1/jobs", page(JOB, cursor="7"), page({**JOB, "id": 6, "reason": "waits"}))

    assert call(fake, "ps", "-aq").stdout == "7\n6\n"
    fake.on("GET /v1/jobs", page(JOB))
    listed = call(fake, "ps", "-n", "5").stdout.splitlines()

    assert [line.partition("?")[2] for line in fake.lines()] == [
        "limit=100",
        "cursor=7&limit=99",
        "state=queued%2Cbackoff%2Cactive&limit=5",
    ]
    assert listed[0].split() == ["JOB", "NAME", "STATE", "EXIT", "AGE", "TRIES", "REASON", "OR", "COMMAND"]
    assert "python3 'train it.py'" in listed[1]


def test_logs_print_what_is_there(fake: FakeMarket) -> None:
    """One stream where asked; with -f to the end, with the job's exit code."""
    fake.on("GET /v1/jobs/7/logs", answer(b"ut"), answer(b""))
    once = call(fake, "logs", "7", "--stream", "out", "--since-offset", "1")
    fake.on("GET /v1/jobs/7/logs", lines({"end": {"state": "failed", "exit_code": 5, "reason": "exit code 5"}}))
    followed = call(fake, "logs", "-f", "7")

    assert (once.exit_code, once.stdout) == (0, "ut")
    assert "stream=out&offset=1&" in fake.lines()[0]
    assert followed.exit_code == 5


def test_cancel_goes_on_after_a_refusal(fake: FakeMarket) -> None:
    """7 has ended, 8 is stopped: 8 is printed, the exit code is 1."""
    fake.on("POST /v1/jobs/7/cancel", problem(409, "conflict", "it has ended"))
    fake.on("POST /v1/jobs/8/cancel", answer({**JOB, "id": 8}, 202))

    done = call(fake, "cancel", "7", "8")

    assert (done.exit_code, done.stdout, done.stderr) == (1, "8\n", "gridmark: job 7: it has ended\n")


def test_offers_show_figures_with_interval_and_age(fake: FakeMarket) -> None:
    """The figures that the query names; a node's name cannot steer the terminal."""
    fake.on("GET /v1/offers", page(OFFER, count=1, at_ms=3_601_000 * 2, named=["memory.triad"], explanation=None))

    done = call(fake, "offers", "memory.triad > 1 GB/s", "--sort", "-memory.triad", "-n", "1")

    assert done.exit_code == 0
    assert "42.3 GB/s ±0.71 %, 2 h" in done.stdout
    assert "4.5/16" in done.stdout
    assert "16/64 GiB" in done.stdout
    assert "$0.25/h" in done.stdout
    assert "\x1b" not in done.stdout
    assert fake.lines() == ["GET /v1/offers?q=memory.triad+%3E+1+GB%2Fs&sort=-memory.triad&limit=1"]


def test_no_offer_is_explained(fake: FakeMarket) -> None:
    """Exit code 1, and the smallest change that helps."""
    why = {"sentence": "price < 1 $/h -> price < 2 $/h gives 3 nodes", "among": 9, "rejections": []}
    fake.on("GET /v1/offers", page(count=0, at_ms=0, named=[], explanation=why))

    done = call(fake, "offers", "price < 1 $/h")

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "gridmark: no node matches\ngridmark: price < 1 $/h -> price < 2 $/h gives 3 nodes\n"


def test_a_query_s_fault_is_pointed_at(fake: FakeMarket) -> None:
    """In the query, or in the order when the query alone is understood."""
    fault = problem(422, "invalid-query", "unknown field prise", position=4)
    fake.on("GET /v1/offers", fault, page(count=0, at_ms=0, named=[], explanation=None))

    done = call(fake, "offers", "price < 1 $/h", "--sort", "1 / prise")

    assert done.exit_code == 2
    assert done.stderr == "gridmark: unknown field prise\n  1 / prise\n      ^\n"


def test_due_is_made_for_cron(fake: FakeMarket) -> None:
    """1 while some are due and were not asked; --run asks each."""
    one = {"id": 3, "name": "a", "state": "degraded", "reported_ms": None, "due_ms": 5}
    fake.on("GET /v1/due", page(one))
    fake.on("POST /v1/nodes/3/qualify", answer({}))

    looked, asked = call(fake, "due", "--within", "1h"), call(fake, "due", "--run")
    fake.on("GET /v1/due", page())

    assert (looked.exit_code, asked.exit_code, call(fake, "due").exit_code) == (1, 0, 0)
    assert fake.lines()[0] == "GET /v1/due?within_ms=3600000"
    assert fake.lines("POST") == ["POST /v1/nodes/3/qualify"]


def test_a_new_account_s_token_is_the_data(fake: FakeMarket) -> None:
    """On stdout alone, so that a script can keep it."""
    fake.on("POST /v1/accounts", answer({"id": 4, "token": "gm_new"}, 201))

    done = call(fake, "account", "add", "alice", "--role", "renter")

    assert done.stdout == "gm_new\n"
    assert fake.asked[0].json == {"name": "alice", "role": "renter"}


@pytest.mark.parametrize("arguments", [("ps", "-a"), ("ps", "-aq"), ("ps", "--json"), ("events",)])
def test_a_reader_that_leaves_is_no_traceback(fake: FakeMarket, arguments: tuple[str, ...]) -> None:
    """`gridmark ps | head -0`: quiet, exit code 3; stdout closed from the start: said."""
    fake.on("GET /v1/jobs", page(*[JOB] * 50))
    fake.on(
        "GET /v1/events",
        page(
            *[{"seq": 1, "at_ms": 0, "kind": "x" * 9000, "actor": "", "job": 1, "token": 1, "node": 1, "data": {}}] * 50
        ),
    )
    environment = {**os.environ, "GRIDMARK_SERVER": fake.url, "GRIDMARK_TOKEN": WORD}
    command = [sys.executable, str(PROJECT / "gridmark.py"), *arguments]
    reading, writing = os.pipe()
    os.close(reading)
    broken = subprocess.run(command, env=environment, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=20)
    os.close(writing)

    assert (broken.returncode, broken.stderr) == (3, "")


def test_a_renter_needs_the_base_install_only() -> None:
    """Nothing of the extras is loaded by a renter's verbs, and nothing slow by `run`."""
    extras = {"numpy", "fastapi", "starlette", "uvicorn", "sqlite_utils", "sqlite3", "lark", "cryptography", "torch"}
    slow = {"httpx", "pydantic", "rich", "yaml", "hashlib", "asyncio"}
    script = (
        "import sys, gridmark, server.cli_run\n"
        f"print(sorted(({extras!r} | {slow!r}) & set(sys.modules)))\n"
        "import server.cli_jobs, server.cli_get, server.cli_offers, server.cli_operator, server.cli_records\n"
        "import server.cli_tables, server.cli_words, server.jobfile, server.client_upload, server.cli_serve\n"
        f"print(sorted({extras!r} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=PROJECT, timeout=20)

    assert done.stdout == "[]\n[]\n", done.stderr


def test_json_is_one_document(fake: FakeMarket) -> None:
    """What the server said, whole."""
    fake.on("GET /v1/jobs/7", answer(JOB))
    fake.on("GET /v1/jobs/7/events", page({"seq": 1}))

    assert json.loads(call(fake, "job", "7", "--json").stdout) == {**JOB, "events": [{"seq": 1}]}


@pytest.mark.parametrize("verb", ["job", "logs", "cancel", "get", "node", "drain"])
def test_a_number_that_nothing_can_have_is_a_usage_error(fake: FakeMarket, verb: str) -> None:
    """Numbers end at 2^53 - 1 = 9007199254740991; the server is not asked."""
    done = call(fake, verb, "9007199254740992")

    assert done.exit_code == 2
    assert "is not in the range 1<=x<=9007199254740991" in done.stderr
    assert fake.asked == []
