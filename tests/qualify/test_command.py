"""The command as a process: what its streams, its files and its signals may do to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


class Command:
    """`gridmark` on the fake machine, with a data folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.script = folder, folder / "behaviour.json"
        self.environment = {**os.environ, "GRIDMARK_DATA": str(folder / "data"), "COLUMNS": "80"}
        self.behave({})

    def behave(self, behaviour: dict[str, Any]) -> None:
        self.script.write_text(json.dumps(behaviour))

    def line(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "tests.fake_machine", str(self.script), *arguments]

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.run(self.line(*arguments), cwd=ROOT, env=self.environment, text=True, timeout=60, **streams)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.line(*arguments),
            cwd=ROOT,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def wait_for(self, key: str) -> None:
        """Until the child has come to `key`."""
        until = time.monotonic() + 30
        while not (self.folder / f"{key}.count").exists():
            assert time.monotonic() < until, f"{key} was never begun"
            time.sleep(0.02)  # another process is waited for: there is no clock to fake


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


def sentence(stderr: str) -> str:
    """The one sentence that begins with our name; there must be no traceback beside it."""
    assert "Traceback" not in stderr, stderr
    (found,) = [line for line in stderr.splitlines() if line.startswith("gridmark: ")]
    return found


def test_stdout_is_one_json_document_and_stderr_is_words(command: Command) -> None:
    """A pipe to jq works; nothing is drawn where there is no terminal."""
    done = command.run("qualify", "--json", "--budget", "12")

    assert done.returncode == 0
    assert json.loads(done.stdout)["verdict"] == "qualified"
    assert "\x1b" not in done.stderr
    assert "kept as" in done.stderr


def test_a_full_disk_behind_stdout_is_a_failure(command: Command) -> None:
    """A report that did not arrive must not look like a good one."""
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = command.run("qualify", "--json", "--budget", "12", stdout=full)

    assert done.returncode == 3
    assert "could not be printed: No space left on device" in sentence(done.stderr)


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["table", "json"])
def test_a_reader_that_went_away_is_a_failure(command: Command, form: tuple[str, ...]) -> None:
    """`gridmark qualify | head -0`."""
    reading, writing = os.pipe()
    os.close(reading)
    done = command.run("qualify", "--budget", "12", *form, stdout=writing)
    os.close(writing)

    assert done.returncode == 3
    assert "could not be printed: Broken pipe" in sentence(done.stderr)


def test_a_closed_stdout_is_refused_before_a_minute_is_spent(command: Command) -> None:
    """`gridmark qualify >&-`."""
    quoted = " ".join(f"'{word}'" for word in command.line("qualify", "--json"))
    done = subprocess.run(["sh", "-c", f"{quoted} >&-"], cwd=ROOT, env=command.environment, text=True, stderr=-1)

    assert done.returncode == 3
    assert "stdout is closed" in sentence(done.stderr)
    assert not (command.folder / "alpha.one.count").exists()


def test_a_full_disk_behind_the_page_is_a_failure(command: Command) -> None:
    """The page is what was asked for; its absence is said."""
    done = command.run("qualify", "--json", "--budget", "12", "--html", "/dev/full")

    assert done.returncode == 3
    assert "the page could not be written to '/dev/full': No space left" in sentence(done.stderr)


@pytest.mark.parametrize("path", ["/nowhere/page.html", "/proc/page.html", "/tmp"])
def test_a_page_that_cannot_be_written_is_refused_at_once(command: Command, path: str) -> None:
    """Before anything is measured."""
    done = command.run("qualify", "--html", path)

    assert done.returncode == 3
    assert "--html" in sentence(done.stderr)
    assert not (command.folder / "alpha.one.count").exists()


def test_a_data_folder_that_cannot_be_written_costs_only_the_history(command: Command) -> None:
    """The report is printed, and the exit code is its verdict's."""
    command.environment["GRIDMARK_DATA"] = "/proc/nowhere"

    done = command.run("qualify", "--json", "--budget", "12")

    assert done.returncode == 0
    assert json.loads(done.stdout)["verdict"] == "qualified"
    assert "could not be kept" in sentence(done.stderr)


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (("--only", "alpha.on"), "did you mean alpha.one", 2),
        (("--budget", "1"), "too short for alpha, beta", 2),
        (("--budget", "soon"), "is no duration", 2),
        (("--claim", "cores=many"), "is no count", 2),
        (("--claim", "colour=red"), "is no claim", 2),
        (("--peer", "somewhere"), "--peer wants HOST:PORT", 2),
        (("--peer", "host:99999"), "--peer wants HOST:PORT", 2),
        (("--workdir", "/nowhere"), "--workdir wants a folder", 3),
        (("--profile", "slow"), "'slow' is not one of", 2),
        (("--seed", "-1"), "-1 is not in the range", 2),
        (("--colour",), "No such option", 2),
    ],
)
def test_bad_input_is_refused_with_a_reason(
    command: Command, arguments: tuple[str, ...], words: str, code: int
) -> None:
    """One sentence, the right code, nothing on stdout."""
    done = command.run("qualify", *arguments)

    assert done.returncode == code
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_missing_package_is_named_with_its_extra(command: Command) -> None:
    """The base installation has no matplotlib: a page needs it, and the command says which extra brings it."""
    (command.folder / "matplotlib.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'matplotlib'\", name='matplotlib')"
    )
    command.environment["PYTHONPATH"] = str(command.folder)

    done = command.run("qualify", "--budget", "12", "--html", str(command.folder / "page.html"))

    assert done.returncode == 3
    assert "pip install 'gridmark[node]'" in sentence(done.stderr)
    assert not (command.folder / "alpha.one.count").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_a_signal_ends_a_run_with_a_partial_report(command: Command, number: signal.Signals) -> None:
    """Valid JSON, exit code 3, no child left."""
    command.behave({"alpha.three": "hang"})
    running = command.start("qualify", "--json", "--budget", "40")
    command.wait_for("alpha.three")

    running.send_signal(number)
    stdout, stderr = running.communicate(timeout=20)

    report = json.loads(stdout)
    assert running.returncode == 3
    assert report["partial"] is True
    assert report["verdict"] == "unknown"
    assert "Traceback" not in stderr
    assert _children_of(running.pid) == []


def test_a_young_report_is_shown_instead_of_a_run(command: Command) -> None:
    """For cron: the second call within the hour measures nothing and gives the first one's report and exit code."""
    first = command.run("qualify", "--json", "--budget", "12")
    begun = (command.folder / "alpha.one.count").stat().st_size

    second = command.run("qualify", "--json", "--budget", "12", "--if-older-than", "1h")

    assert second.returncode == 0
    assert second.stdout == first.stdout
    assert "nothing was measured" in second.stderr
    assert (command.folder / "alpha.one.count").stat().st_size == begun


def test_an_old_report_is_replaced_by_a_run(command: Command) -> None:
    """Older than asked for: measured anew."""
    first = command.run("qualify", "--json", "--budget", "12")

    second = command.run("qualify", "--json", "--budget", "12", "--if-older-than", "0s")

    assert json.loads(second.stdout)["id"] != json.loads(first.stdout)["id"]


def _children_of(pid: int) -> list[str]:
    """Processes that were started by `pid`, by the session they are in or their parent."""
    listed = subprocess.run(["ps", "-e", "-o", "ppid=,args="], capture_output=True, text=True).stdout
    return [line for line in listed.splitlines() if line.split()[0] == str(pid)]
