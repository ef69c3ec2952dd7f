"""Which files a job's globs name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from scheduler.node import artifacts
from scheduler.node.tree import TreeError


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.txt", "a.txt", True),
        ("*.txt", "deep/a.txt", False),
        ("**/*.txt", "a.txt", True),
        ("**/*.txt", "very/deep/a.txt", True),
        ("out/**", "out/x/y", True),
        ("out/**", "out", False),
        ("out", "out/x/y", True),
        ("out", "outer", False),
        ("out/", "out/x", True),
        ("./out/?.bin", "out/1.bin", True),
        ("out/?.bin", "out/12.bin", False),
        ("a[1].txt", "a[1].txt", True),
        ("a[1].txt", "a1.txt", False),
        ("step-*/model", "step-3/model", True),
        ("**", "any/where", True),
        ("a.b", "axb", False),
    ],
)
def test_globs_are_of_paths(pattern: str, path: str, matches: bool) -> None:
    """A star stays within a name, two cross folders, and nothing else is special."""
    assert artifacts.matches(path, pattern) is matches


def test_what_matches_is_summed(tmp_path: Path) -> None:
    """In the order of their paths, each once."""
    for name in ("b.txt", "a.txt", "c.bin"):
        (tmp_path / name).write_text(name)

    found = artifacts.find(tmp_path, ("*.txt", "a.*"), limit_bytes=10)

    assert [(one.path, one.sha256, one.size_bytes) for one in found] == [
        (name, hashlib.sha256(name.encode()).hexdigest(), 5) for name in ("a.txt", "b.txt")
    ]


def test_more_than_allowed_is_refused(tmp_path: Path) -> None:
    """All of it or nothing."""
    (tmp_path / "a.txt").write_text("12345")

    with pytest.raises(TreeError, match="more than 4 bytes"):
        artifacts.find(tmp_path, ("*.txt",), limit_bytes=4)


def test_no_glob_looks_at_nothing(tmp_path: Path) -> None:
    """A job that keeps nothing is not walked."""
    assert artifacts.find(tmp_path / "none", (), limit_bytes=0) == ()
