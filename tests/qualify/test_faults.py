"""The command under faults: whatever a benchmark does, the exit code is right and the JSON is valid and honest."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
from click.testing import CliRunner, Result

import gridmark
from qualify import codec
from qualify.records import Report
from tests.fake_machine import KEYS

#: made once: that the schema is one is tests/qualify/test_schema.py's to say
SCHEMA = jsonschema.Draft202012Validator(json.loads(files("qualify").joinpath("report.schema.json").read_text()))
Machine = Callable[[dict[str, Any]], None]

#: what ends a child, or makes it unbelievable, at once
FATAL = (
    *("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGTRAP", "SIGSYS", "SIGXCPU"),
    *("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGALRM"),
    *("exit-0", "exit-3", "exit-255", "raise", "raise-empty", "raise-unicode", "recursion", "allocate", "orphan"),
    *("truncated", "two-in-one", "empty-line", "words", "binary", "nul", "null", "array", "number", "deep"),
    *("nan", "infinite", "negative", "text-value", "no-samples", "other-key", "other-unit", "extra-field"),
    *("missing-field", "huge-line", "closed-pipe"),
)
#: what a child reports itself, or leaves out
TOLD = ("error", "oom", "silent")
#: what must not disturb
HARMLESS = ("noise", "noise-json", "closed-stdout", "many-lines")
SLOW = ("hang", "spin", "chatter")
#: struck in one run; each key of the first bench has one beside it that must not notice
PAIRS = (("alpha.one", "alpha.three"), ("alpha.two", "beta.four"))


@dataclass(frozen=True)
class Ran:
    """One command's end."""

    result: Result
    report: Report
    lasted_s: float

    def reasons(self) -> dict[str, str | None]:
        return {m.key: m.reason for m in self.report.measurements if m.key in KEYS}

    def statuses(self) -> dict[str, str]:
        return {m.key: m.status for m in self.report.measurements if m.key in KEYS}


def qualify(*arguments: str) -> Ran:
    """Run the command; its JSON must be one valid document, and nothing may be left running."""
    before = set(psutil.Process().children(recursive=True))
    start = time.monotonic()
    result = CliRunner().invoke(gridmark.cli, ["qualify", "--json", *arguments], prog_name="gridmark")
    lasted_s = time.monotonic() - start
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.stderr
    document = json.loads(result.stdout)
    SCHEMA.validate(document)
    report = codec.report_from_json(document)
    assert result.exit_code == {"qualified": 0, "not_qualified": 1, "unknown": 3}[report.verdict]
    assert set(psutil.Process().children(recursive=True)) <= before
    return Ran(result, report, lasted_s)


def test_a_healthy_run_is_qualified(machine: Machine) -> None:
    """The control: without a fault every figure is there."""
    ran = qualify("--budget", "12")

    assert ran.statuses() == dict.fromkeys(KEYS, "ok")
    assert ran.result.exit_code == 0


@pytest.mark.parametrize("struck", PAIRS, ids=" ".join)
@pytest.mark.parametrize("fault", [*FATAL, *TOLD])
def test_a_fault_costs_its_own_figure_and_no_other(machine: Machine, fault: str, struck: tuple[str, ...]) -> None:
    """The keys it struck have a reason and no value, those beside are measured, and nothing is called qualified."""
    machine(dict.fromkeys(struck, fault))

    ran = qualify("--budget", "12")

    expected = {key: "failed" if key in struck else "ok" for key in KEYS}
    assert ran.statuses() == expected, ran.reasons()
    for measurement in ran.report.measurements:
        if measurement.key in struck:
            assert measurement.value is None
            assert measurement.reason
            assert measurement.samples == ()
            assert any(measurement.key in f.text or f.key == measurement.key for f in ran.report.findings)
    assert ran.report.verdict != "qualified"


@pytest.mark.parametrize("fault", HARMLESS)
def test_what_a_child_prints_besides_changes_nothing(machine: Machine, fault: str) -> None:
    """Words on stdout, even JSON ones, are not figures; nor is a figure said twice two figures."""
    machine({"alpha.two": fault})

    ran = qualify("--budget", "12")

    assert ran.statuses() == dict.fromkeys(KEYS, "ok")
    (figure,) = [m for m in ran.report.measurements if m.key == "alpha.two"]
    assert figure.value == 1e9


def test_a_wrong_result_disqualifies(machine: Machine) -> None:
    """Not unknown: a device that computes rubbish is unfit."""
    machine({"alpha.two": "wrong"})

    ran = qualify("--budget", "12")

    assert ran.result.exit_code == 1
    assert "WRONG_RESULT" in {finding.code for finding in ran.report.findings}


def test_what_a_machine_cannot_do_is_skipped_with_its_reason(machine: Machine) -> None:
    """Unsupported is not broken."""
    machine({"alpha.two": "skip"})

    ran = qualify("--budget", "12")

    assert ran.statuses()["alpha.two"] == "skipped"
    assert ran.result.exit_code == 0


@pytest.mark.alone
@pytest.mark.parametrize("struck", [("alpha.one",), ("alpha.three", "beta.four")], ids=" ".join)
@pytest.mark.parametrize("fault", SLOW)
def test_a_hung_child_is_ended_and_the_budget_holds(machine: Machine, fault: str, struck: tuple[str, ...]) -> None:
    """105 % of the budget, whatever hangs; what came before it is kept."""
    machine(dict.fromkeys(struck, fault))

    ran = qualify("--budget", "3")

    statuses = ran.statuses()
    assert {statuses[key] for key in struck} == {"failed"}
    before = KEYS[: KEYS.index(struck[0])]
    assert all(statuses[key] == "ok" for key in before if key.startswith(struck[0][:4]))
    assert ran.report.verdict == "unknown"
    assert ran.lasted_s <= 3 * 1.05 + 0.5  # the half second is this test's own: imports, JSON Schema


def test_everything_at_once(machine: Machine) -> None:
    """All benches broken: still a report, and every key says why."""
    machine({"alpha.one": "SIGSEGV", "alpha.two": "wrong", "alpha.three": "words", "beta.four": "raise"})

    ran = qualify("--budget", "12")

    assert ran.statuses() == dict.fromkeys(KEYS, "failed")
    assert ran.result.exit_code == 1


def test_an_interrupt_gives_a_valid_partial_report(machine: Machine) -> None:
    """SIGINT in the middle: what was measured is kept, the rest says why it is missing, no child is left."""
    machine({"alpha.three": "hang"})
    _interrupt_soon(signal.SIGINT)

    ran = qualify("--budget", "30")

    assert ran.report.partial
    assert ran.report.verdict == "unknown"
    assert ran.result.exit_code == 3
    assert ran.statuses()["alpha.one"] == "ok"
    assert ran.statuses()["beta.four"] == "skipped"
    assert ran.lasted_s < 10


def _interrupt_soon(number: signal.Signals) -> None:
    """Send `number` to this process once the child hangs in its third key."""
    import os
    import threading

    def watch() -> None:
        counter = Path(os.environ["GRIDMARK_DATA"]).parent / "alpha.three.count"
        until = time.monotonic() + 20
        while not counter.exists() and time.monotonic() < until:
            threading.Event().wait(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=watch, daemon=True).start()


def test_a_crash_that_did_not_come_back_is_still_told(machine: Machine) -> None:
    """Measured again, the figure is there; the attempt that crashed is kept, and a finding names it."""
    machine({"alpha.two": ["SIGSEGV", 1e9]})

    ran = qualify("--budget", "12")

    (figure,) = [m for m in ran.report.measurements if m.key == "alpha.two"]
    assert figure.status == "ok"
    assert "crash" in {attempt.context.get("error") for attempt in figure.attempts}
    assert "CRASHED" in {finding.code for finding in ran.report.findings}
