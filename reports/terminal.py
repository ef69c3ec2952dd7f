"""A report as text for a terminal: verdict, figures, findings, score; nothing is said by colour alone."""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from qualify.records import Report, Severity, Verdict
from reports import units, view
from reports.units import plain

_VERDICT_STYLES: dict[Verdict, str] = {
    "qualified": "bold green",
    "not_qualified": "bold red",
    "unknown": "bold yellow",
}
_SEVERITY_STYLES: dict[Severity, str] = {"failure": "bold red", "warning": "bold yellow", "info": "bold cyan"}

_MOST_LINES = 5  #: of reasons, and of findings that have the same remedy


def table(report: Report, console: Console) -> None:
    """Print a report; fits 80 columns, and uses more where there are more."""
    _head(report, console)
    _figures(report, console)
    _gaps(report, console)
    _findings(report, console)
    _score(report, console)
    console.print(
        Text.assemble("\nverdict: ", (_verdict(report), _VERDICT_STYLES[report.verdict]), f" ({_tally(report)})")
    )


def _verdict(report: Report) -> str:
    return view.VERDICTS[report.verdict].upper()


def _head(report: Report, console: Console) -> None:
    title = Text(_verdict(report), style=_VERDICT_STYLES[report.verdict])
    if report.partial:
        title.append("  interrupted: a partial report", style="default")
    console.print(title)
    for reason in report.reasons[:_MOST_LINES]:
        _print(Text(plain(reason)), console)
    _more(len(report.reasons), console, indent=2)
    console.print(Text(view.machine(report), style="dim"))
    console.print(Text(view.occasion(report), style="dim"))


def _print(what: RenderableType, console: Console, *, indent: int = 2) -> None:
    console.print(Padding(what, (0, 0, 0, indent), expand=False))


def _title(text: str, console: Console, aside: str = "") -> None:
    console.print(Text.assemble(("\n" + text, "bold"), ("  " + aside if aside else "", "dim")))


def _figures(report: Report, console: Console) -> None:
    groups = view.groups(report)
    _title("Figures", console, view.counted(report))
    if not groups:
        return
    grid = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    grid.add_column("", no_wrap=True)
    grid.add_column("median", justify="right", no_wrap=True)
    grid.add_column("", no_wrap=True)
    grid.add_column("95 % ", justify="right", no_wrap=True)
    grid.add_column("n", justify="right", no_wrap=True)
    grid.add_column("expected", justify="right", no_wrap=True)
    grid.add_column("", ratio=1, overflow="fold")
    for group in groups:
        grid.add_row(Text(group.bench, style="bold"))
        for row in group.rows:
            grid.add_row(*_cells(row))
    _print(grid, console)
    if any(row.unsettled for group in groups for row in group.rows):
        _print(Text("! not settled: the interval is wider than wanted", style="dim"), console)


def _cells(row: view.Row) -> tuple[Text, ...]:
    mark, style = ("!", "yellow") if row.unsettled else (" ", "")
    return (
        Text("  " + row.label),
        Text(row.number, style="bold"),
        Text(row.unit),
        Text(row.spread + mark, style=style),
        Text(str(row.measurement.n), style="dim"),
        Text(row.share + " "),
        Text(row.note, style="dim"),
    )


def _gaps(report: Report, console: Console) -> None:
    gaps = view.gaps(report)
    if not gaps:
        return
    _title("Not measured", console)
    for gap in gaps:
        why = Text.assemble((gap.status, "bold red" if gap.status == "failed" else "bold"), f": {gap.reason}")
        if len(gap.keys) == 1:
            _print(Text.assemble(f"{gap.keys[0]} ", why), console)
            continue
        _print(why, console)
        for keys in view.by_bench(gap.keys):
            _print(Text(", ".join(keys)), console, indent=4)


def _findings(report: Report, console: Console) -> None:
    notices = view.notices(report)
    _title("Findings", console, "" if notices else "none")
    for notice in notices:
        many = f"  {len(notice.lines)} times" if len(notice.lines) > 1 else ""
        head = (
            (notice.severity.upper(), _SEVERITY_STYLES[notice.severity]),
            (f" {notice.code}", "bold"),
            (many, "dim"),
        )
        _print(Text.assemble(*head), console)
        for line in notice.lines[:_MOST_LINES]:
            _print(Text.assemble(line.text, (f"  [{line.about}]" if line.about else "", "dim")), console, indent=4)
        _more(len(notice.lines), console, indent=4)
        _print(Text.assemble(("Remedy: ", "italic"), notice.remedy), console, indent=4)


def _more(count: int, console: Console, *, indent: int) -> None:
    """Say how many lines were left out; the page has them all."""
    if count > _MOST_LINES:
        _print(Text(f"… and {count - _MOST_LINES} more", style="dim"), console, indent=indent)


def _score(report: Report, console: Console) -> None:
    score = report.score
    if score is None:
        _title("Score", console, "none: nothing was scored")
        return
    _title("Score", console)
    if score.health is None:
        _print(Text("health unknown: no figure has an expectation to be compared with"), console)
    else:
        health = f"{units.percent(score.health)} {units.plus_minus(score.health, score.health_ci95)}"
        _print(Text.assemble("health ", (health, "bold"), ("  of what its kind can do", "dim")), console)
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for justify in ("left", "right", "right"):
        grid.add_column(justify=justify, no_wrap=True)
    grid.add_column(ratio=1, overflow="fold")
    for one in view.strengths(report):
        explained = f"missing: {one.missing}" if one.missing else one.weights
        grid.add_row(Text(one.name), Text(one.value, style="bold"), Text(one.spread), Text(explained, style="dim"))
    _print(grid, console)
    unscored = view.unscored(report)
    if unscored:
        _print(Text(f"measured but not scored: {', '.join(unscored)}", style="dim"), console)


def _tally(report: Report) -> str:
    """How many findings of each severity: "2 failures, 1 warning"."""
    plural = {"failure": "failures", "warning": "warnings", "info": "remarks"}
    single = {**{severity: severity for severity in plural}, "info": "remark"}
    counts = [(severity, sum(one.severity == severity for one in report.findings)) for severity in view.SEVERITIES]
    said = [f"{count} {(single if count == 1 else plural)[severity]}" for severity, count in counts if count]
    return ", ".join(said) or "no findings"
