"""`gridmark run`: what is handed over, what is shown, how it ends; against a /v1 that does as it is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gridmark import cli
from tests.imports import PROJECT
from tests.server.client_fake import WORD, FakeMarket, answer, hang_up, lines, problem, serving

DONE = {"end": {"state": "done", "exit_code": 0, "reason": ""}}


def end(state: str, exit_code: int | None, reason: str) -> dict[str, object]:
    return {"end": {"state": state, "exit_code": exit_code, "reason": reason}}


@pytest.fixture
def fake() -> Iterator[FakeMarket]:
    with serving() as found:
        found.on("POST /v1/jobs", answer({"id": 7, "state": "queued"}, 201))
        found.on("GET /v1/jobs/7/logs", lines(DONE))
        yield found


def run(fake: FakeMarket, *arguments: str, stdin: str | None = None, **environment: str) -> Result:
    known = {"GRIDMARK_SERVER": fake.url, "GRIDMARK_TOKEN": WORD, "GRIDMARK_DATA": "/nowhere"}
    return CliRunner(env=known | environment).invoke(cli, ["run", *arguments], input=stdin, prog_name="gridmark")


def submitted(fake: FakeMarket) -> Any:
    (asked,) = [one for one in fake.asked if one.line == "POST /v1/jobs"]
    return asked.json


def test_options_become_the_document(fake: FakeMarket) -> None:
    """Units are resolved here; what was not typed is not said, so that the server's defaults hold."""
    arguments = ["--cpus", "0.5", "--memory", "4GiB", "--gpus", "0.25", "-e", "A=1=2", "-e", "B", "--secret", "S=x"]
    arguments += ["--max-duration", "90m", "--max-price", "2.5", "--retries", "2", "--artifact", "out/*"]
    arguments += ["--work", "matmul.bf16=1e18", "--no-network", "--where", "price < 1 $/h"]

    done = run(fake, *arguments, "--", "python3", "train.py", "--fast", B="from here")

    assert done.exit_code == 0
    assert submitted(fake) == {
        "command": ["python3", "train.py", "--fast"],
        "resources": {"cpus": 0.5, "memory": 4 << 30, "gpus": 0, "gpu_milli": 250},
        "env": {"A": "1=2", "B": "from here"},
        "secrets": {"S": "x"},
        "max_duration": 5400,
        "max_price": 2.5,
        "retries": 2,
        "artifacts": ["out/*"],
        "work": {"metric": "matmul.bf16", "amount": 1e18},
        "network": False,
        "where": "price < 1 $/h",
    }


def test_what_is_typed_comes_on_top_of_the_file(fake: FakeMarket) -> None:
    """Values are replaced, maps and lists added to, both conditions must hold; - is stdin."""
    document = (
        "command: [a]\nname: x\nwhere: cpus > 1\nenv: {A: 1, B: 2}\nartifacts: [a]\nresources: {cpus: 1, disk: 1GB}\n"
    )

    run(fake, "-f", "-", "--cpus", "2", "-e", "B=3", "--artifact", "b", "--where", "price < 1 $/h", "b", stdin=document)

    assert submitted(fake) == {
        "command": ["b"],
        "name": "x",
        "where": "(cpus > 1) and (price < 1 $/h)",
        "env": {"A": "1", "B": "3"},
        "artifacts": ["a", "b"],
        "resources": {"cpus": 2.0, "disk": "1GB"},
    }


def test_a_deadline_counts_from_now(fake: FakeMarket) -> None:
    """--deadline 1h is an hour from now in Unix time, whatever the clock says meanwhile."""
    before = time.time()

    run(fake, "--deadline", "1h", "--", "x")

    assert before + 3599 <= submitted(fake)["deadline"] <= time.time() + 3601


def test_secrets_stay_off_the_command_line(fake: FakeMarket, tmp_path: Path) -> None:
    """From the environment or a file; of a file the last line end goes."""
    (tmp_path / "key").write_text("from file\n")

    run(fake, "--secret", f"F=@{tmp_path / 'key'}", "--secret", "E", "--", "x", E="from here")

    assert submitted(fake)["secrets"] == {"F": "from file", "E": "from here"}


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ([], "nothing to run"),
        (["--memory", "many", "--", "x"], "is no size"),
        (["--gpus", "1.5", "--", "x"], "whole GPUs or a share"),
        (["--gpus", "inf", "--", "x"], "a number expected; found inf"),
        (["--cpus", "nan", "--", "x"], "a number expected; found nan"),
        (["--max-price", "nan", "--", "x"], "a number expected; found nan"),
        (["--work", "matmul", "--", "x"], "METRIC=AMOUNT"),
        (["--work", "matmul.bf16=inf", "--", "x"], "METRIC=AMOUNT"),
        (["-e", "NOT_SET_ANYWHERE", "--", "x"], "is not set here"),
        (["--secret", "A=@/nowhere", "--", "x"], "cannot read the secret"),
        (["-f", "/nowhere.yaml"], "cannot read /nowhere.yaml: No such file"),
        (["--frobnicate", "--", "x"], "No such option"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_is_sent(
    fake: FakeMarket, arguments: list[str], wrong: str
) -> None:
    """Exit code 2, the server has heard nothing."""
    done = run(fake, *arguments)

    assert done.exit_code == 2
    assert wrong in done.stderr
    assert fake.asked == []


def test_a_fault_of_the_document_has_its_line(fake: FakeMarket, tmp_path: Path) -> None:
    """The server finds it, we know where it stands."""
    (tmp_path / "job.yaml").write_text("command: [a]\nresources:\n  gpus: many\n  cpus: 1\n")
    faults = [{"at": "body.resources.gpus", "text": "should be a valid integer"}]
    fake.on("POST /v1/jobs", problem(422, "invalid", "gpus …", errors=faults))

    done = run(fake, "-f", str(tmp_path / "job.yaml"))

    assert done.exit_code == 2
    assert done.stderr == f"gridmark: {tmp_path / 'job.yaml'}:3: resources.gpus: should be a valid integer\n"


def test_output_is_shown_as_it_was_written(fake: FakeMarket) -> None:
    """stdout on stdout, stderr on stderr, byte for byte; the second attempt is announced."""
    fake.on(
        "GET /v1/jobs/7/logs",
        lines(
            {"stream": "out", "offset": 0, "attempt": 1, "data": "one\r"},
            {"stream": "err", "offset": 0, "attempt": 1, "data": "oops\n"},
            {"stream": "out", "offset": 4, "attempt": 2, "data64": "/wA="},
            DONE,
        ),
    )

    done = run(fake, "--", "x")

    assert done.stdout_bytes == b"one\r\xff\x00"
    assert done.stderr == "oops\ngridmark: job 7 was started again: this is attempt 2\n"


@pytest.mark.parametrize(
    ("ended", "code", "words"),
    [
        (end("done", 0, ""), 0, ""),
        (end("failed", 3, "exit code 3"), 3, ""),
        (end("failed", 137, "exit code 137"), 137, "gridmark: job 7 failed: ended by signal 9\n"),
        (end("failed", 137, "ran longer than its max_duration"), 137, "failed: ran longer than its max_duration\n"),
        (end("failed", None, "could not be prepared"), 1, "gridmark: job 7 failed: could not be prepared\n"),
        (end("failed", 0, "ran longer than its max_duration"), 1, "failed: ran longer than its max_duration\n"),
        (end("cancelled", 143, "cancelled"), 1, "gridmark: job 7 cancelled: cancelled\n"),
        (end("expired", None, "its deadline passed"), 1, "gridmark: job 7 expired: its deadline passed\n"),
    ],
)
def test_the_exit_code_is_the_job_s(fake: FakeMarket, ended: dict[str, object], code: int, words: str) -> None:
    """Never 0 unless it is done; a word where its own output cannot have said why."""
    fake.on("GET /v1/jobs/7/logs", lines(ended))

    done = run(fake, "--", "x")

    assert done.exit_code == code
    assert done.stderr.endswith(words)
    assert bool(done.stderr) == bool(words)


def test_detached_the_number_is_all(fake: FakeMarket) -> None:
    """With --json the whole job."""
    assert run(fake, "-d", "--", "x").stdout == "7\n"
    assert json.loads(run(fake, "--json", "--", "x").stdout) == {"id": 7, "state": "queued"}
    assert "GET /v1/jobs/7/logs?follow=1&out=0&err=0" not in fake.lines()


def test_a_lost_answer_makes_no_second_job(fake: FakeMarket) -> None:
    """The same key twice."""
    fake.on("POST /v1/jobs", hang_up, answer({"id": 7}))

    done = run(fake, "-d", "--", "x")

    keys = [one.headers["Idempotency-Key"] for one in fake.asked]
    assert done.stdout == "7\n"
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_local_files_are_handed_over(fake: FakeMarket, tmp_path: Path) -> None:
    """Named in the document relative to it, or typed relative to here; what the document says of them stays."""
    (tmp_path / "data").write_text("data")
    (tmp_path / "job.yaml").write_text("command: [a]\ninputs:\n- {file: data, to: in/data, executable: true}\n")
    sha256 = "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7"
    fake.on(f"HEAD /v1/blobs/{sha256}", answer(b""))

    run(fake, "-f", str(tmp_path / "job.yaml"), "--input", f"{tmp_path / 'data'}:other")

    assert submitted(fake)["inputs"] == [
        {"to": "in/data", "sha256": sha256, "size": 4, "executable": True},
        {"to": "other", "sha256": sha256, "size": 4, "executable": False},
    ]


def test_refusals_end_in_a_sentence(fake: FakeMarket) -> None:
    """No token that is known: what to do; nobody there: what to start."""
    fake.on("POST /v1/jobs", problem(401, "unauthenticated", "the token is no account's"))

    unknown = run(fake, "--", "x")
    nobody = run(fake, "--", "x", GRIDMARK_SERVER="http://127.0.0.1:1")
    nonsense = run(fake, "--", "x", GRIDMARK_SERVER="127.0.0.1")

    assert [one.exit_code for one in (unknown, nobody, nonsense)] == [3, 3, 3]
    assert "set GRIDMARK_TOKEN" in unknown.stderr
    assert "gridmark up" in nobody.stderr
    assert "http://HOST:PORT" in nonsense.stderr
    assert all(one.stderr.count("\n") == 1 for one in (unknown, nobody, nonsense))


def started(fake: FakeMarket) -> subprocess.Popen[str]:
    environment = {**os.environ, "GRIDMARK_SERVER": fake.url, "GRIDMARK_TOKEN": WORD}
    command = [sys.executable, str(PROJECT / "gridmark.py"), "run", "--", "x"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_detaches(fake: FakeMarket, number: int, code: int) -> None:
    """The job is not cancelled; how to follow and how to cancel is said."""
    import threading

    over = threading.Event()
    first = {"stream": "out", "offset": 0, "data": "begun\n"}
    fake.on("GET /v1/jobs/7/logs", lines(first, then=lambda: over.wait(20)))
    with started(fake) as follower:
        assert follower.stdout
        assert follower.stdout.readline() == "begun\n"
        follower.send_signal(number)
        _, words = follower.communicate(timeout=20)
        over.set()

    assert follower.returncode == code
    assert "gridmark logs -f 7" in words
    assert "gridmark cancel 7" in words
    assert "Traceback" not in words
    assert fake.lines("POST") == ["POST /v1/jobs"]


def test_a_full_disk_is_no_traceback(fake: FakeMarket) -> None:
    """`gridmark run … > /dev/full`: said, and the job goes on."""
    fake.on("GET /v1/jobs/7/logs", lines({"stream": "out", "offset": 0, "data": "x\n"}, DONE))
    environment = {**os.environ, "GRIDMARK_SERVER": fake.url, "GRIDMARK_TOKEN": WORD}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, str(PROJECT / "gridmark.py"), "run", "--", "x"],
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=20,
        )

    assert done.returncode == 3
    assert "No space left on device" in done.stderr
    assert "job 7 goes on" in done.stderr
    assert "Traceback" not in done.stderr
