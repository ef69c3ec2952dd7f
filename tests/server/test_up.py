"""`gridmark up` and what a renter does with it: the real thing on a free port, measured beforehand."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from qualify import codec, history
from qualify.probe import probe
from tests.imports import PROJECT

GRIDMARK = (sys.executable, str(PROJECT / "gridmark.py"))
PATIENCE_S = 30


def prepare_report(data: Path) -> None:
    """Leave a report of this machine that ended a moment ago, so that nothing is measured."""
    sample = codec.loads((PROJECT / "reports/samples/cpu-quick.json").read_text())
    node = dataclasses.replace(sample.node, id=probe(workdir=data, window_s=0.0).id)
    fresh = dataclasses.replace(sample, node=node, id="0123456789abcdef", started_unix_s=time.time() - 120)
    history.keep(fresh, data / "reports")


class Market:
    """A running `gridmark up` and its folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GRIDMARK_")}
        self.environment = {**kept, "GRIDMARK_DATA": str(data)}
        self.process: subprocess.Popen[str] | None = None
        self.said: dict[str, Any] = {}

    def start(self) -> float:
        """Start it; how long it took until jobs could be run."""
        began_s = time.monotonic()
        command = [*GRIDMARK, "up", "--data", str(self.data), "--port", "0", "--name", "here", "--json"]
        self.process = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(f"it did not start: {self.process.communicate()[1]}")
        self.said = json.loads(line)
        return time.monotonic() - began_s

    def stop(self) -> tuple[int, str]:
        """Ctrl-C; its exit code and what it said."""
        assert self.process
        self.process.send_signal(signal.SIGINT)
        _, words = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, words

    def run(self, *arguments: str, more: Mapping[str, str] | None = None, cwd: Path | None = None) -> Any:
        """A command of its renter."""
        environment = self.environment | dict(more or {})
        return subprocess.run(
            [*GRIDMARK, *arguments], env=environment, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S
        )

    def follow(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that goes on."""
        return subprocess.Popen(
            [*GRIDMARK, *arguments], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    data = tmp_path_factory.mktemp("up")
    prepare_report(data)
    found = Market(data)
    found.start()
    yield found
    if found.process and found.process.poll() is None:
        found.stop()


def test_hello(market: Market) -> None:
    """What the README promises: the job's output and nothing else."""
    done = market.run("run", "--", "echo", "hello")

    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")


def test_exit_codes_and_streams_are_the_job_s(market: Market) -> None:
    """Its own, 128 + n of a signal; each stream on its own."""
    failed = market.run("run", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    killed = market.run("run", "--", "sh", "-c", "kill -9 $$")

    assert (failed.returncode, failed.stdout, failed.stderr) == (3, "out\n", "err\n")
    assert killed.returncode == 137
    assert "signal 9" in killed.stderr


def test_files_secrets_and_artifacts(market: Market, tmp_path: Path) -> None:
    """A job document with a file, a folder and a secret; what it leaves is fetched, checked, and fetched once."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src/work.sh").write_text("mkdir out; cat data.txt > out/copy; printf %s $KEY | wc -c >> out/copy\n")
    (tmp_path / "data.txt").write_text("data\n")
    (tmp_path / "job.yaml").write_text(
        "command: [sh, work.sh]\n"
        "inputs:\n  - file: data.txt\n  - folder: src\n"
        "secrets:\n  KEY: {env: MY_KEY}\n"
        "artifacts: [out/*]\n"
    )

    done = market.run("run", "-f", str(tmp_path / "job.yaml"), more={"MY_KEY": "12345"})
    job = market.run("ps", "-aq", "-n", "1").stdout.strip()
    got = market.run("get", job, cwd=tmp_path)
    again = market.run("get", job, cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / f"job-{job}/out/copy").read_text() == "data\n5\n"
    assert got.stdout == again.stdout == f"job-{job}/out/copy\n"
    assert "12345" not in market.run("job", job, "--json").stdout


def test_cancel_ends_a_job_and_its_follower(market: Market) -> None:
    """The follower says so and has the exit code 1."""
    job = market.run("run", "-d", "--", "sleep", "60").stdout.strip()

    cancelled = market.run("cancel", job)
    followed = market.run("logs", "-f", job)

    assert (cancelled.returncode, cancelled.stdout) == (0, f"{job}\n")
    assert (followed.returncode, followed.stdout) == (1, "")
    assert f"job {job} cancelled" in followed.stderr
    assert market.run("cancel", job).returncode == 1


def test_ctrl_c_leaves_the_job(market: Market) -> None:
    """It says how to come back; the job goes on."""
    follower = market.follow("run", "--", "sh", "-c", "echo begun; sleep 60")
    assert follower.stdout
    assert follower.stdout.readline() == "begun\n"

    follower.send_signal(signal.SIGINT)
    _, words = follower.communicate(timeout=PATIENCE_S)
    listed = json.loads(market.run("ps", "--json").stdout)

    assert follower.returncode == 130
    (job,) = listed
    assert job["state"] == "active"
    assert f"gridmark logs -f {job['id']}" in words
    assert market.run("cancel", str(job["id"])).returncode == 0


def test_a_reader_that_leaves_leaves_the_job(market: Market) -> None:
    """`gridmark run -- … | head -1`: no traceback, the job goes on."""
    follower = market.follow("run", "--", "sh", "-c", "while :; do echo line; sleep 0.05; done")
    assert follower.stdout
    follower.stdout.readline()
    follower.stdout.close()
    with follower:
        assert follower.stderr
        words = follower.stderr.read()

    assert follower.returncode == 3
    job = words.partition("job ")[2].split()[0]
    assert f"job {job} goes on" in words
    assert "Traceback" not in words
    assert market.run("cancel", job).stdout == f"{job}\n"


def test_a_job_that_fits_nowhere_says_why(market: Market) -> None:
    """On stderr, while it is queued."""
    follower = market.follow("run", "--memory", "100TiB", "--", "true")
    assert follower.stderr
    words = follower.stderr.readline()
    follower.send_signal(signal.SIGINT)
    rest = follower.communicate(timeout=PATIENCE_S)[1]

    assert "is queued: none of 1 node fits" in words
    assert market.run("cancel", words.split()[2]).returncode == 0
    assert follower.returncode == 130
    assert "goes on" in rest


def test_the_operator_sees_the_market(market: Market, tmp_path: Path) -> None:
    """Offers, nodes, events and a copy of the database, with the tokens that `up` left."""
    offers = market.run("offers", "memory.triad > 1 GB/s", "--sort", "-memory.triad")
    nothing = market.run("offers", "memory.triad > 1000 TB/s")
    wrong = market.run("offers", "memory.tried > 1 GB/s")
    copied = market.run("backup", str(tmp_path / "copy.db"))
    drained = market.run("drain", "1")
    back = market.run("drain", "1", "--undo")
    events = json.loads(market.run("events", "--node", "1", "--json").stdout)

    assert offers.returncode == 0
    assert "here" in offers.stdout
    assert (nothing.returncode, wrong.returncode) == (1, 2)
    assert "memory.triad" in nothing.stderr
    assert "did you mean memory.triad" in wrong.stderr
    assert copied.stdout == f"{tmp_path / 'copy.db'}\n"
    assert (drained.stdout.split(), back.stdout.split()[0]) == (["1", "draining"], "1")
    assert {"node.enrolled", "node.online"} <= {event["kind"] for event in events}


def test_a_second_one_is_refused(market: Market, tmp_path: Path) -> None:
    """On the same folder, and on a taken port; one sentence, exit code 3."""
    port = market.said["url"].rpartition(":")[2]

    folder = market.run("up", "--data", str(market.data), "--port", "0")
    taken = market.run("up", "--data", str(tmp_path / "other"), "--port", port)

    assert (folder.returncode, taken.returncode) == (3, 3)
    assert "in use by another gridmark" in folder.stderr
    assert f"port {port}" in taken.stderr
    assert folder.stderr.count("\n") == taken.stderr.count("\n") == 1


def test_another_start_finds_everything_again(market: Market) -> None:
    """The node, the token and the jobs; a job that ran at Ctrl-C goes on, and is not started again."""
    before, jobs = market.said, market.run("ps", "-aq").stdout.split()
    job = market.run("run", "-d", "--", "sh", "-c", "echo one; sleep 4; echo two").stdout.strip()
    assert market.run("logs", job).returncode == 0

    code, words = market.stop()
    market.start()
    followed = market.run("logs", "-f", job)

    assert code == 0
    assert "1 job runs on" in words
    assert (market.said["token"], market.said["node"]) == (before["token"], before["node"])
    assert set(jobs) < set(market.run("ps", "-aq").stdout.split())
    assert (followed.returncode, followed.stdout, followed.stderr) == (0, "one\ntwo\n", "")
    assert json.loads(market.run("job", job, "--json").stdout)["attempts"] == 1
    assert market.stop()[1] == "gridmark: stopped\n"  # nothing of a measurement
