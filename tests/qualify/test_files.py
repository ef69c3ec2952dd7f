"""Files that are read, and what is said of those that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from qualify.files import Files, number, pairs, real
from tests.machines import lay, link


def test_a_file_is_read_below_the_root(tmp_path: Path) -> None:
    """/proc/stat of the fake machine, not of this one."""
    files = Files(lay(tmp_path, {"proc/stat": "cpu 1\n"}))

    assert files.text("/proc/stat") == "cpu 1"


def test_what_is_not_there_is_none_and_not_empty(tmp_path: Path) -> None:
    """Unknown is None in every kind of reading; only collections are empty."""
    files = Files(tmp_path)

    assert (files.text("/a"), files.head("/a"), files.number("/a"), files.link("/a")) == (None, None, None, None)
    assert (files.lines("/a"), files.names("/a"), files.exists("/a")) == ((), (), False)


def test_the_head_is_the_beginning(tmp_path: Path) -> None:
    """Only the bytes asked for; a folder has none."""
    files = Files(lay(tmp_path, {"proc/stat": "0123456789"}))

    assert files.head("/proc/stat", 4) == "0123"
    assert files.head("/proc") is None


def test_bytes_that_are_no_text_do_not_stop_a_probe(tmp_path: Path) -> None:
    """Firmware tables hold anything."""
    (tmp_path / "name").write_bytes(b"ASUS\xff\n")

    assert Files(tmp_path).text("/name") == "ASUS\ufffd"


def test_a_link_is_told_as_it_stands(tmp_path: Path) -> None:
    """A namespace is a link to nothing."""
    link(tmp_path, "proc/self/ns/pid", "pid:[4026531836]")

    assert Files(tmp_path).link("/proc/self/ns/pid") == "pid:[4026531836]"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42),
        ("-1\n", -1),
        ("0", 0),
        ("max", None),
        ("1.5", None),
        ("", None),
        (None, None),
        ("--1", None),
        ("9" * 5000, None),
    ],
)
def test_only_a_whole_number_is_a_number(text: str | None, value: int | None) -> None:
    """The "max" of a cgroup must not become a limit."""
    assert number(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.25", 0.25), ("-3", -3.0), ("nan", None), ("inf", None), ("1e999", None), ("", None), (None, None)],
)
def test_only_a_finite_number_is_real(text: str | None, value: float | None) -> None:
    """JSON has no nan, and no file of the kernel should."""
    assert real(text) == value


def test_the_first_of_equal_names_counts() -> None:
    """/proc/cpuinfo repeats every name for each processor; a line without a value is no pair."""
    assert pairs(("model : 17", "model : 18", "flags :", "power"), ":") == {"model": "17", "flags": ""}


@pytest.mark.parametrize(
    ("path", "words"), [("/absent", "is not there"), ("/folder", "says nothing of it"), ("/file", "says nothing of it")]
)
def test_why_a_file_told_nothing(tmp_path: Path, path: str, words: str) -> None:
    """The sentence ends as a person would end it."""
    files = Files(lay(tmp_path, {"file": "", "folder/inside": ""}))

    assert files.why_not(path) == words
