"""The judge itself: it must see what it is there to see."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import check


def written(folder: Path, text: str) -> check.Trace:
    path = folder / "job"
    path.write_text(text)
    return check.read(path)


@pytest.mark.parametrize(
    ("text", "done", "lost", "doubled", "stale"),
    [
        ("7 0\n7 1\n", {1: 7}, (), (), ()),
        ("7 0\n9 0\n9 1\n", {1: 9}, (), (), ()),  # lost once, done by the second attempt
        ("7 0\n9 0\n7 1\n9 1\n", {1: 9}, (), (1,), ()),  # both at once
        ("7 0\n7 1\n9 0\n", {1: 7}, (), (), (1,)),  # an older attempt's result counts
        ("7 0\n", {1: 7}, (1,), (), ()),  # said to be done, half of it missing
        ("7 0\n7 1\n", {}, (1,), (), ()),  # never ended well
        ("", {}, (1,), (), ()),
        ("7 0\n7 1\n9", {1: 7}, (), (), ()),  # cut short by a kill
    ],
)
def test_what_jobs_wrote_decides(
    tmp_path: Path,
    text: str,
    done: dict[int, int],
    lost: tuple[int, ...],
    doubled: tuple[int, ...],
    stale: tuple[int, ...],
) -> None:
    """Lost, doubled and stale are told from the lines alone, whatever the server believes."""
    judged = check.judge({1: written(tmp_path, text)}, done, ticks=2)

    assert (judged.lost, judged.doubled, judged.stale) == (lost, doubled, stale)
    assert judged.clean == (not (lost or doubled or stale))


def test_a_job_that_never_ran_has_an_empty_trace(tmp_path: Path) -> None:
    """No file is no line."""
    assert check.read(tmp_path / "none") == check.Trace(tokens=(), overlaps=0, ticks={})
