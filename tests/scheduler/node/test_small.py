"""Small parts of the agent: the load it tells of, what it adopts, how it removes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qualify.files import Files
from scheduler import codec
from scheduler.node.load import BusyRatio
from scheduler.node.removal import remove
from scheduler.node.scan import adoptable
from scheduler.records import JobSpec
from scheduler.wire import Assignment
from tests.machines import lay

ASSIGNMENT = Assignment(job=1, n=1, spec=JobSpec(name="j", command=("true",)), gpus=())


def test_the_load_is_what_was_not_idle(tmp_path: Path) -> None:
    """Of 100 ticks 30 idle and 10 waiting for a disk: 0.6 busy."""
    lay(tmp_path, {"proc/stat": "cpu 0 0 0 0 0 0 0 0 0 0\n"})
    ratio = BusyRatio(Files(tmp_path))
    lay(tmp_path, {"proc/stat": "cpu 40 5 10 30 10 2 2 1 0 0\ncpu0 1\n"})

    assert ratio.since_last() == 0.6
    assert ratio.since_last() is None  # no tick has passed


@pytest.mark.parametrize("text", ["", "cpu\n", "cpu a b c d e f g h\n", "intr 1\n"])
def test_a_kernel_that_does_not_tell_has_no_load(tmp_path: Path, text: str) -> None:
    """Unknown is not idle."""
    lay(tmp_path, {"proc/stat": text})

    assert BusyRatio(Files(tmp_path)).since_last() is None


def test_only_what_was_started_is_adopted(tmp_path: Path) -> None:
    """The rest is removed: the server sends it again."""
    order = codec.dumps(ASSIGNMENT)
    lay(
        tmp_path,
        {
            "7/order.json": order,
            "7/lease": "x",
            "8/order.json": order,
            "9/lease": "x",
            "10/order.json": "{",
            "10/lease": "x",
            "other/order.json": order,
            "other/lease": "x",
            "file": "",
        },
    )

    assert list(adoptable(tmp_path)) == [(7, ASSIGNMENT)]
    assert [path.name for path in tmp_path.iterdir()] == ["7"]


def test_whatever_a_job_did_to_its_folder_it_can_be_removed(tmp_path: Path) -> None:
    """Rights taken away, a link to elsewhere."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("")
    folder = tmp_path / "7"
    (folder / "a/b").mkdir(parents=True)
    (folder / "a/b/file").write_text("")
    (folder / "link").symlink_to(outside)
    os.mkfifo(folder / "pipe")
    for closed in ("a/b", "a"):
        (folder / closed).chmod(0)

    remove(folder)
    remove(folder)

    assert not folder.exists()
    assert (outside / "kept").exists()
