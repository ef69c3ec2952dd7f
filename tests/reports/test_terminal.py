"""The table in a terminal: verdict first, every figure, readable without colour and at 80 columns."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from rich.console import Console

from qualify.records import Report
from reports import terminal, view
from tests import builders
from tests.strategies import of_record


def shown(report: Report, *, width: int = 80, **options: Any) -> str:
    """The table as text."""
    stream = io.StringIO()
    terminal.table(report, Console(file=stream, width=width, highlight=False, **options))
    return stream.getvalue()


@pytest.mark.parametrize("build", builders.ALL.values(), ids=builders.ALL)
@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(build: Callable[[], Report], width: int) -> None:
    """At 80 and at 120 columns; figures are never cut."""
    text = shown(build(), width=width)

    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text.replace("… and", "")


@pytest.mark.parametrize(
    ("build", "first"),
    [
        (builders.healthy, "QUALIFIED"),
        (builders.faulty, "NOT QUALIFIED"),
        (builders.partial, "NO VERDICT  interrupted: a partial report"),
        (builders.nothing, "NO VERDICT"),
    ],
)
def test_the_verdict_stands_on_top_in_words(build: Callable[[], Report], first: str) -> None:
    """And under it why."""
    report = build()
    lines = shown(report, width=200).splitlines()

    assert lines[0] == first
    assert [line.strip() for line in lines[1 : 1 + len(report.reasons)]] == list(report.reasons)


def test_a_figure_shows_value_interval_count_and_ratio() -> None:
    """(95 .. 101) GB/s around 100 is ±5 %; 100 of 125 expected is 80 %."""
    found = builders.exactly("memory.triad", "B/s", 100e9, (95e9, 101e9), n=12, context={"variant": "streaming"})
    score = builders.score((found,))
    metric = dataclasses.replace(score.metrics["memory.triad"], expected=125e9, ratio=0.8)
    score = dataclasses.replace(score, metrics={"memory.triad": metric})
    lines = shown(builders.report(measurements=(found,), score=score)).splitlines()

    row = next(line for line in lines if "triad" in line)

    assert row.split() == ["triad", "100", "GB/s", "±5.0", "%", "12", "80", "%", "streaming"]


def test_what_did_not_settle_is_marked_and_explained() -> None:
    """By a sign at its interval and in words, not by colour alone."""
    found = builders.exactly("a.b", "s", 1.0, (0.9, 1.1), converged=False, context={"stopped_by": "budget"})

    lines = shown(builders.report(measurements=(found,), score=None)).splitlines()
    row = next(place for place, line in enumerate(lines) if "±" in line)

    assert "±10 %!" in lines[row]
    assert lines[row + 1] == "  ! not settled: the interval is wider than wanted"


def test_what_is_missing_is_listed_by_reason() -> None:
    """Failures first; keys that share a reason stand together, a line for each bench."""
    found = (
        builders.missed("disk.read", "B/s", "skipped", "no disk"),
        builders.missed("disk.write", "B/s", "skipped", "no disk"),
        builders.missed("network.rtt", "s", "skipped", "no disk"),
        builders.missed("matmul.fp32", "FLOP/s", "failed", "killed by signal 9"),
    )

    text = shown(builders.report(measurements=found))

    listed = text[text.index("Not measured") : text.index("Findings")].split("\n")
    assert [line.rstrip() for line in listed if line] == [
        "Not measured",
        "  matmul.fp32 failed: killed by signal 9",
        "  skipped: no disk",
        "    disk.read, disk.write",
        "    network.rtt",
    ]


def test_findings_come_by_severity_with_their_remedy() -> None:
    """Failures, warnings, remarks; those with the same remedy are told once."""
    findings = (
        builders.finding("ODD", "info", text="Odd it is.", remedy="Leave it."),
        builders.finding("SLOW", "warning", text="First is slow.", remedy="Wait."),
        builders.finding("BROKEN", "failure", text="It is broken.", remedy="Mend it.", confirmed="2 of 3"),
        builders.finding("SLOW", "warning", text="Second is slow.", remedy="Wait."),
    )

    text = shown(builders.report(findings=findings))

    order = ["FAILURE BROKEN", "It is broken.  [seen 2 of 3]", "Remedy: Mend it.", "WARNING SLOW  2 times"]
    order += ["First is slow.", "Second is slow.", "Remedy: Wait.", "INFO ODD", "Remedy: Leave it."]
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert text.count("Remedy: Wait.") == 1
    assert text.rstrip().endswith("(1 failure, 2 warnings, 1 remark)")


def test_a_flood_of_findings_is_cut_with_its_count() -> None:
    """Five of a kind are shown; the rest is counted."""
    findings = tuple(builders.finding("NO_FIGURE", text=f"Case {n} is missing.", remedy="Look.") for n in range(9))

    text = shown(builders.report(findings=findings))

    assert text.count("is missing.") == 5
    assert "… and 4 more" in text


def test_the_score_says_what_is_missing() -> None:
    """A profile without a value shows why; health shows its interval."""
    text = shown(builders.healthy())

    assert "missing: hostlink.h2d" in text
    assert "health 91.8 % ±1.5 %" in text


def test_nothing_depends_on_colour() -> None:
    """Without its escape codes the coloured text is the plain text."""
    from rich.text import Text

    coloured = shown(builders.faulty(), force_terminal=True, color_system="truecolor")
    plain = shown(builders.faulty())

    assert "\x1b[" in coloured
    assert "\x1b" not in plain
    assert Text.from_ansi(coloured).plain.split() == plain.split()


def test_a_report_cannot_steer_the_terminal() -> None:
    """Escape codes and rich's own markup in any text are shown, not obeyed."""
    evil = "\x1b[2J[bold red]gone[/bold red]\x07"
    found = builders.exactly("a." + evil, "s", 1.0, context={"variant": evil, "stopped_by": evil}, converged=False)
    missing = builders.missed("b.c", "s", "failed", evil)
    finding = builders.finding(evil, text=evil, remedy=evil, key=evil)
    node = builders.node(hostname=evil)
    text = shown(
        builders.report(measurements=(found, missing), findings=(finding,), node=node, reasons=(evil,), profile=evil)
    )

    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[bold red]gone" in text


@given(report=of_record(Report))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_report_can_be_shown(report: Report) -> None:
    """However absurd its figures are."""
    text = shown(report)

    assert view.VERDICTS[report.verdict].upper() in text
