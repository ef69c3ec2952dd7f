"""Reports a node keeps of itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qualify import history
from tests import builders


def test_what_is_kept_is_found_newest_first(tmp_path: Path) -> None:
    """Only this node's reports, at most as many as asked for."""
    first = builders.healthy()
    later = [replace(first, id=f"r{i}", started_unix_s=first.started_unix_s + i) for i in range(3)]
    other = replace(first, id="other", node=replace(first.node, id="elsewhere"))
    for report in (*later, other):
        history.keep(report, tmp_path)

    assert [report.id for report in history.recent(tmp_path, first.node.id, limit=2)] == ["r2", "r1"]


def test_what_is_no_report_is_passed_over(tmp_path: Path) -> None:
    """Rubbish in the folder hides nothing and breaks nothing."""
    history.keep(builders.healthy(), tmp_path)
    (tmp_path / "999999999999-x.json").write_text("{")
    (tmp_path / "999999999998-x.json").write_bytes(b"\xff\xfe")
    (tmp_path / "999999999997-x.json").mkdir()

    assert len(history.recent(tmp_path, builders.healthy().node.id, limit=5)) == 1


def test_the_number_of_reports_is_bounded(tmp_path: Path) -> None:
    """The oldest go first."""
    report = builders.healthy()
    old = [replace(report, id=f"r{i}", started_unix_s=1e9 + i) for i in range(history.KEPT)]
    for each in old:
        (tmp_path / f"{int(each.started_unix_s):012d}-{each.id}.json").write_text("{}")

    history.keep(replace(report, started_unix_s=2e9), tmp_path)

    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == history.KEPT
    assert names[0].endswith("-r1.json")


def test_the_folder_follows_the_environment() -> None:
    """$GRIDMARK_DATA, then $XDG_DATA_HOME, then the home folder."""
    assert history.folder({"GRIDMARK_DATA": "/data", "HOME": "/home/a"}) == Path("/data/reports")
    assert history.folder({"XDG_DATA_HOME": "/x", "HOME": "/home/a"}) == Path("/x/gridmark/reports")
    assert history.folder({"HOME": "/home/a"}) == Path("/home/a/.local/share/gridmark/reports")


def test_nothing_kept_is_no_error(tmp_path: Path) -> None:
    """The first run of a node has no history."""
    assert history.recent(tmp_path / "absent", "node", limit=5) == ()
