"""The page: one file, no script, no request, everything a reader needs, and nothing that a report could inject."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import time
from functools import cache
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qualify import codec
from qualify.codec import RecordError
from qualify.records import Measurement, Report, Telemetry
from reports import page
from tests import builders
from tests.strategies import NUMBERS, WHOLE, of_record

VOID = {"meta", "link", "br", "path", "use"}


class Outline(HTMLParser):
    """Checks that tags nest and collects what the page shows, loads and runs."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            self.attributes.append((name, value or ""))
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
                self.links.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)


@cache
def built(name: str) -> str:
    """The page of a report from the builders, made once."""
    return page.page({**builders.ALL, "everything": builders.everything}[name]())


def outline(text: str) -> Outline:
    """The page, parsed; fails where tags do not nest."""
    parsed = Outline()
    parsed.feed(text)
    parsed.close()
    assert parsed.open == []
    return parsed


def words(text: str) -> str:
    """All that a reader sees, on one line."""
    return " ".join(" ".join(outline(text).text).split())


EACH = pytest.mark.parametrize("name", [*builders.ALL, "everything"])


@EACH
def test_it_is_well_formed_and_every_id_is_unique(name: str) -> None:
    """Drawings of one page do not share ids, or one would clip the other."""
    parsed = outline(built(name))

    assert len(parsed.ids) == len(set(parsed.ids))


@EACH
def test_it_loads_nothing_and_runs_nothing(name: str) -> None:
    """Links lead within the page; the only script element is data; the policy forbids the rest."""
    text = built(name)
    parsed = outline(text)

    assert all(link.startswith("#") or link == "data:," for link in parsed.links)
    assert {link[1:] for link in parsed.links if link.startswith("#")} <= set(parsed.ids)
    assert re.findall(r"url\((?!#)", text) == []
    assert "@import" not in text
    assert re.findall(r"<script[^>]*>", text) == ['<script type="application/json" id="gridmark-report">']
    assert "default-src 'none'" in text
    assert [name for name, _ in parsed.attributes if name.startswith("on")] == []


@pytest.mark.parametrize(
    ("name", "verdict"),
    [("healthy", "Qualified"), ("faulty", "Not qualified"), ("partial", "No verdict"), ("nothing", "No verdict")],
)
def test_the_verdict_comes_before_anything_else(name: str, verdict: str) -> None:
    """In words, with its reasons right below."""
    text, report = built(name), builders.ALL[name]()
    places = [text.index(f"</span> {verdict}</h1>"), text.index(report.reasons[0]), text.index('id="next"')]

    assert [*places, text.index('id="figures"')] == sorted([*places, text.index('id="figures"')])
    assert ("this report is partial" in text) == report.partial


@EACH
def test_every_figure_and_every_gap_is_there(name: str) -> None:
    """Each measured key has a row; each missing one stands with its reason."""
    report = {**builders.ALL, "everything": builders.everything}[name]()
    seen = words(built(name))

    assert report.measurements
    for one in report.measurements:
        assert one.key in seen
        if one.reason:
            assert one.reason in seen


def test_findings_come_with_remedy_and_evidence() -> None:
    """The failures first; evidence that the text already says is not repeated."""
    seen = words(built("faulty"))

    for finding in builders.faulty().findings:
        assert finding.text in seen
        assert finding.remedy.replace("`", "").split(";")[0] in seen
        assert finding.code in seen
    assert seen.index("WRONG_RESULT") < seen.index("MEMORY_BELOW_CLAIM") < seen.index("NOT_CONVERGED")
    assert "periods 412" in seen
    assert "<code>gridmark qualify --profile deep</code>" in built("faulty")


def test_every_plot_is_drawn_with_words_for_those_who_cannot_see_it() -> None:
    """Latency plateaus, the sweep, links, the timeline and the samples, each with title and description."""
    text = built("healthy")

    for name in ("latency", "sweep", "links", "timeline", "samples-0"):
        assert f'aria-labelledby="{name}-title {name}-desc"' in text
    assert "memlatency.dram 97.9 ns at 512 MiB" in text
    assert text.count("<svg ") > 40


def test_drawings_take_their_colours_from_the_page() -> None:
    """Light, dark and print differ by custom properties alone; no drawing brings a colour or a typeface."""
    drawings = "".join(re.findall(r"<svg .*?</svg>", built("healthy"), re.DOTALL))

    assert "var(--accent)" in drawings
    assert re.findall(r"#[0-9a-f]{6}\b", drawings) == []
    assert "font-family" not in drawings


@EACH
def test_it_carries_the_whole_report(name: str) -> None:
    """The page is also the data: what is read out of it is the report it was made from."""
    report = {**builders.ALL, "everything": builders.everything}[name]()

    inner = page.embedded(built(name))

    assert inner is not None
    assert codec.loads(inner) == report


def test_other_texts_hold_no_report() -> None:
    """JSON, another page and an empty file are told apart from a page of ours."""
    assert page.embedded(codec.dumps(builders.nothing())) is None
    assert page.embedded("<!doctype html><title>hello</title>") is None
    assert page.embedded("") is None


def test_the_same_report_gives_the_same_bytes() -> None:
    """No date, no random id: pages can be compared and cached."""
    assert page.page(builders.partial()) == built("partial")


def test_it_is_small_and_quick() -> None:
    """Half of the limits of 1.5 MB and 4 s, for the slow machines that run this."""
    start = time.process_time()
    text = page.page(builders.healthy())

    assert len(text.encode()) < 750_000
    assert time.process_time() - start < 4.0


def test_many_samples_do_not_make_it_large() -> None:
    """5000 samples are drawn as the 240 that show their range; beyond the data a page grows by no more."""
    one = builders.measured("memory.read", "B/s", 1e11, n=5000)
    report = builders.report(measurements=(one,))

    text = page.page(report)

    assert len(text) - len(codec.dumps(report)) < 120_000


EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'`&lt;{{7*7}}\x1b[2J"


def poisoned() -> Report:
    """A report with the same attack in every text it can hold."""
    report = builders.everything()
    one = dataclasses.replace(
        builders.measured(f"memlatency.{EVIL}", "s", 1e-7, n=20),
        context={"variant": EVIL, "working_set_bytes": 1 << 20, "note": EVIL, EVIL: EVIL, "tool": EVIL},
        started_s=1.0,
        lasted_s=30.0,
    )
    measurements = (
        one,
        dataclasses.replace(one, key=f"{EVIL}.case", unit=EVIL, statistic=EVIL),
        dataclasses.replace(one, key=f"network.{EVIL}"),
        builders.missed(f"disk.{EVIL}", EVIL, "failed", EVIL),
        *report.measurements,
    )
    finding = builders.finding(EVIL, "failure", text=EVIL, remedy=EVIL, key=EVIL, confirmed=EVIL, evidence={EVIL: EVIL})
    assert report.score is not None
    detail = dataclasses.replace(report.score.capability_detail["general"], missing=(EVIL,), weights={EVIL: 1.0})
    score = dataclasses.replace(
        report.score, capability={EVIL: 1.0}, capability_detail={EVIL: detail}, formula=EVIL, missing=(EVIL,)
    )
    cpu = dataclasses.replace(report.node.cpu, model=EVIL, vendor=EVIL, governor=EVIL, vector=(EVIL,))
    node = dataclasses.replace(
        report.node, hostname=EVIL, id=EVIL, cpu=cpu, problems=(EVIL,), versions={EVIL: EVIL}, os=EVIL, container=EVIL
    )
    return dataclasses.replace(
        report,
        id=EVIL,
        node=node,
        measurements=measurements,
        findings=(finding,),
        score=score,
        reasons=(EVIL,),
        profile=EVIL,
        gridmark_version=EVIL,
        options={EVIL: EVIL},
    )


def test_a_report_can_inject_nothing() -> None:
    """Every text is escaped, in the page, in its drawings and in the data; Jinja sees no template in it."""
    clean, text = outline(page.page(builders.everything())), page.page(poisoned())
    parsed = outline(text)

    assert set(parsed.tags) <= set(clean.tags)
    assert parsed.tags.count("script") == 1
    assert "img" not in parsed.tags
    assert {name for name, _ in parsed.attributes} <= {name for name, _ in clean.attributes}
    assert "49" not in " ".join(piece for piece in parsed.text if "7*7" in piece)
    assert "\x1b" not in text
    assert html.escape("<img src=x") in text
    inner = page.embedded(text)
    assert inner is not None
    assert json.loads(inner)["id"] == EVIL


def test_a_figure_that_is_no_number_is_refused() -> None:
    """The page would carry data that nobody can read back."""
    bad = dataclasses.replace(builders.nothing(), budget_s=float("nan"))

    with pytest.raises(RecordError, match=r"^\$\.budget_s"):
        page.page(bad)


ABSURD = NUMBERS | st.sampled_from([0.0, -0.0, 5e-324, 1e-300, 1.7e308, -1.0, 1.0, 1e18])


@st.composite
def absurd(draw: st.DrawFn) -> Report:
    """A report whose every drawn number is arbitrary."""

    def spoil(one: Measurement) -> Measurement:
        pair = draw(st.none() | st.tuples(ABSURD, ABSURD))
        points = tuple(dataclasses.replace(p, at=draw(ABSURD), value=draw(ABSURD), ci95=pair) for p in one.series[:3])
        numbers: dict[str, Any] = {name: draw(st.none() | ABSURD) for name in ("p5", "p95", "started_s", "lasted_s")}
        context = {"working_set_bytes": draw(ABSURD | WHOLE), "size_bytes": draw(ABSURD), "clock_hz": draw(ABSURD)}
        samples = tuple(draw(st.lists(ABSURD, max_size=4)))
        return dataclasses.replace(
            one, value=draw(ABSURD), ci95=pair, series=points, samples=samples, context=context, **numbers
        )

    kept = [one for one in builders.healthy().measurements if one.value is not None]
    chosen = draw(st.lists(st.sampled_from(kept), min_size=1, max_size=4, unique_by=lambda one: one.key))
    maybe = st.none() | ABSURD
    reading = st.builds(
        Telemetry, at_s=ABSURD, busy_ratio=maybe, steal_ratio=maybe, clock_hz=maybe, temperature_c=maybe
    )
    telemetry = tuple(draw(st.lists(reading, max_size=3)))
    sizes = st.none() | WHOLE
    cpu = dataclasses.replace(builders.node().cpu, l1d_bytes=draw(sizes), l2_bytes=draw(sizes), l3_bytes=draw(sizes))
    return builders.report(
        measurements=tuple(map(spoil, chosen)), telemetry=telemetry, node=builders.node(cpu=cpu), score=None
    )


@given(report=absurd())
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_absurd_figures_are_drawn_or_left_out(report: Report) -> None:
    """Negative times, 1e308 B/s, clocks of 0 Hz: the page is made, without a warning from the plots."""
    outline(page.page(report))


@given(report=of_record(Report))
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_report_has_a_page(report: Report) -> None:
    """And every page carries its report."""
    inner = page.embedded(page.page(report))

    assert inner is not None
    assert codec.loads(inner) == report


def test_a_flood_of_findings_is_folded() -> None:
    """Four of a kind are shown, the others unfold."""
    findings = tuple(builders.finding("NO_FIGURE", text=f"Case {n} is missing.", remedy="Look.") for n in range(9))
    text = page.page(dataclasses.replace(builders.nothing(), findings=findings))

    assert "<summary>5 more</summary>" in text
    assert text.count("Look.</p>") == 1
