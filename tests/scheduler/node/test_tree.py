"""A job's folder is walked, packed and unpacked without being led out of it."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from scheduler.node import tree
from scheduler.node.tree import TreeError

FIVE = b"five\n"


def laid(top: Path) -> Path:
    """Two files, a link to a file outside, a link to a folder outside, a pipe."""
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "one").write_bytes(FIVE)
    (top / "a" / "b" / "two").write_bytes(FIVE)
    (top / "out").symlink_to("/etc/passwd")
    (top / "a" / "far").symlink_to("/etc")
    os.mkfifo(top / "pipe")
    return top


def test_links_and_pipes_are_passed_over(tmp_path: Path) -> None:
    """Folders first, sorted; nothing of where a link leads."""
    assert [entry.path for entry in tree.walk(laid(tmp_path))] == ["a", "a/b", "a/one", "a/b/two"]


def test_a_file_that_became_a_link_is_not_read(tmp_path: Path) -> None:
    """A job may swap it between our look and our opening."""
    (tmp_path / "file").write_bytes(FIVE)
    (entry,) = (found for found in tree.walk(tmp_path) for _ in [0])  # the walk stands at the file
    folder = os.open(tmp_path, os.O_RDONLY)
    (tmp_path / "file").unlink()
    (tmp_path / "file").symlink_to("/etc/passwd")
    try:
        with pytest.raises(OSError, match="symbolic links"):
            tree.Entry(entry.path, entry.name, folder, entry.facts).open()
    finally:
        os.close(folder)


def test_what_is_packed_is_unpacked(tmp_path: Path) -> None:
    """Contents and the right to execute."""
    top = laid(tmp_path / "top")
    (top / "a" / "one").chmod(0o755)

    tree.pack(top, tmp_path / "t.tar", limit_bytes=10)
    tree.unpack(tmp_path / "t.tar", tmp_path / "again", limit_bytes=10)

    assert [entry.path for entry in tree.walk(tmp_path / "again")] == ["a", "a/b", "a/one", "a/b/two"]
    assert (tmp_path / "again/a/b/two").read_bytes() == FIVE
    assert (tmp_path / "again/a/one").stat().st_mode & 0o777 == 0o755
    assert not (tmp_path / "again/out").exists()


def test_more_than_allowed_is_not_packed(tmp_path: Path) -> None:
    """Ten bytes are there."""
    with pytest.raises(TreeError, match="more than 9 bytes"):
        tree.pack(laid(tmp_path / "top"), tmp_path / "t.tar", limit_bytes=9)


def test_more_than_allowed_is_not_unpacked(tmp_path: Path) -> None:
    """Whatever the archive's own size is."""
    tree.pack(laid(tmp_path / "top"), tmp_path / "t.tar", limit_bytes=10)

    with pytest.raises(TreeError, match="the archive holds more than 9 bytes"):
        tree.unpack(tmp_path / "t.tar", tmp_path / "again", limit_bytes=9)


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "link/escaped"])
def test_nothing_of_an_archive_leaves_the_folder(tmp_path: Path, name: str) -> None:
    """Neither by a path nor by a link that it brings along."""
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, ".."
        archive.addfile(link)
        member = tarfile.TarInfo(name)
        member.size = len(FIVE)
        archive.addfile(member, io.BytesIO(FIVE))
    (tmp_path / "in").mkdir()

    with pytest.raises(TreeError, match="the archive cannot be unpacked"):
        tree.unpack(tmp_path / "t.tar", tmp_path / "in", limit_bytes=100)
    assert not (tmp_path / "escaped").exists()


def test_what_is_no_archive_says_so(tmp_path: Path) -> None:
    """Not a traceback."""
    (tmp_path / "t.tar").write_bytes(b"no archive" * 100)

    with pytest.raises(TreeError, match="the archive cannot be unpacked"):
        tree.unpack(tmp_path / "t.tar", tmp_path, limit_bytes=100)


def test_a_change_changes_the_fingerprint(tmp_path: Path) -> None:
    """Of a file's length, of its time, of the files that are there; a link is none."""
    top = laid(tmp_path)
    prints = [tree.fingerprint(top)]
    (top / "a" / "one").write_bytes(b"six six")
    prints.append(tree.fingerprint(top))
    os.utime(top / "a" / "one", ns=(1, 1))
    prints.append(tree.fingerprint(top))
    (top / "a" / "b" / "two").unlink()
    prints.append(tree.fingerprint(top))
    (top / "new").symlink_to("a/one")

    assert len(set(prints)) == 4
    assert tree.fingerprint(top) == prints[-1]


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job cannot keep an agent walking for ever."""
    monkeypatch.setattr(tree, "FILES_MAX", 3)

    with pytest.raises(TreeError, match="more than 3 files"):
        list(tree.walk(laid(tmp_path)))
