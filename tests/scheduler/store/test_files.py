"""Content beside the database: whole or not there, by its own name, and gone when nobody refers to it."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.store.errors import StoreError
from scheduler.store.files import DigestError, Files, TooLargeError
from scheduler.store.keep import Keep

HELLO = b"hello"
HELLO_SHA = hashlib.sha256(HELLO).hexdigest()
NOTHING = Keep(blobs=frozenset(), tokens=frozenset(), reports=frozenset())


def on_disk(folder: Path) -> list[str]:
    """Names of all files below."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def upload(files: Files, content: bytes, *, limit_bytes: int = 100) -> str:
    """Store content in one piece; its digest."""
    with files.blob_writer(limit_bytes=limit_bytes) as writer:
        writer.write(content)
    return writer.stored().sha256


def test_an_upload_in_pieces_is_found_by_its_digest(tmp_path: Path) -> None:
    """The whole content, under its own SHA-256, and nothing else is left."""
    files = Files(tmp_path)

    with files.blob_writer(limit_bytes=5, expected_sha256=HELLO_SHA) as writer:
        writer.write(b"hel")
        assert files.blob_path(HELLO_SHA) is None
        writer.write(b"lo")

    path = files.blob_path(HELLO_SHA)
    assert path is not None
    assert path.read_bytes() == HELLO
    assert (writer.stored().sha256, writer.stored().size_bytes) == (HELLO_SHA, 5)
    assert on_disk(tmp_path) == [f"blobs/{HELLO_SHA[:2]}/{HELLO_SHA}"]


def test_content_is_on_the_disk_before_it_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut there is all of it or nothing: file, name, folder are made durable in this order."""
    files = Files(tmp_path)
    seen: list[tuple[bool, bool]] = []

    def fsync(file: int) -> None:
        is_folder = os.fstat(file).st_mode & 0o170000 == 0o040000
        seen.append((is_folder, files.blob_path(HELLO_SHA) is not None))

    monkeypatch.setattr(os, "fsync", fsync)

    upload(files, HELLO)

    # content; the new folder's name in its parent; the content's name in its folder
    assert seen == [(False, False), (True, False), (True, True)]


def test_an_upload_that_is_too_large_leaves_nothing(tmp_path: Path) -> None:
    """It is refused at the first byte beyond what is allowed."""
    files = Files(tmp_path)

    with pytest.raises(TooLargeError, match="at most 4 bytes"):
        upload(files, b"hello", limit_bytes=4)

    assert files.blob_path(HELLO_SHA) is None
    assert on_disk(tmp_path) == []


def test_content_that_is_not_what_was_announced_is_not_kept(tmp_path: Path) -> None:
    """A digest is a promise about content."""
    files = Files(tmp_path)

    with (
        pytest.raises(DigestError, match="was announced"),
        files.blob_writer(limit_bytes=9, expected_sha256="0" * 64) as writer,
    ):
        writer.write(HELLO)

    assert on_disk(tmp_path) == []


def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    """The sender went away in the middle; the error is theirs and stays as it is."""
    files = Files(tmp_path)

    def sent() -> Iterator[bytes]:
        yield b"hel"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError), files.blob_writer(limit_bytes=9) as writer:
        writer.write(b"".join(sent()))

    assert on_disk(tmp_path) == []


def test_what_a_killed_server_left_half_written_is_removed(tmp_path: Path) -> None:
    """The next start cleans up."""
    Files(tmp_path)
    (tmp_path / "unfinished" / "0123").write_bytes(b"hel")

    Files(tmp_path)

    assert on_disk(tmp_path) == []


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "a" * 63, f"{'a' * 64}\n", "/" + "a" * 63])
def test_a_name_that_is_no_digest_never_becomes_a_path(tmp_path: Path, name: str) -> None:
    """Names come from strangers."""
    with pytest.raises(DigestError, match="SHA-256"):
        Files(tmp_path).blob_path(name)


def test_the_same_content_twice_is_one_file(tmp_path: Path) -> None:
    """Two renters upload the same data set."""
    files = Files(tmp_path)

    assert upload(files, HELLO) == upload(files, HELLO)

    assert len(on_disk(tmp_path)) == 1


def test_an_upload_for_which_the_disk_has_no_room_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the disk says so only at the end."""
    files = Files(tmp_path)

    def no_room(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_room)

    with pytest.raises(StoreError, match="cannot be written: No space left on device"):
        upload(files, HELLO)
    with pytest.raises(StoreError, match="cannot be written: No space left on device"):
        files.put_report("abcd", b"{}")

    assert on_disk(tmp_path) == []


def test_a_report_is_kept_compressed_and_read_as_it_was(tmp_path: Path) -> None:
    """A deep report is megabytes of samples."""
    files = Files(tmp_path)
    document = b'{"schema":1,"samples":[' + b"1," * 10_000 + b"1]}"

    files.put_report("0123abcd", document)
    files.put_report("0123abcd", document)

    assert files.report("0123abcd") == document
    assert on_disk(tmp_path) == ["reports/01/0123abcd.json.gz"]
    assert (tmp_path / "reports/01/0123abcd.json.gz").stat().st_size < 1_000
    assert files.report("ffff") is None


def test_a_damaged_report_is_an_error_in_one_sentence(tmp_path: Path) -> None:
    """Cut short by whatever it was."""
    files = Files(tmp_path)
    files.put_report("abcd", b"{}" * 500)
    path = tmp_path / "reports/ab/abcd.json.gz"
    path.write_bytes(path.read_bytes()[:15])

    with pytest.raises(StoreError, match="report abcd cannot be read"):
        files.report("abcd")
    path.write_bytes(b"no gzip at all")
    with pytest.raises(StoreError, match="report abcd cannot be read"):
        files.report("abcd")
    path.write_bytes(gzip.compress(b"{}")[:-8] + b"\0" * 8)
    with pytest.raises(StoreError, match="report abcd cannot be read"):
        files.report("abcd")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a.b", "x" * 65])
def test_a_reports_id_never_becomes_a_path(tmp_path: Path, name: str) -> None:
    """Ids come from strangers."""
    with pytest.raises(StoreError, match="letters and digits"):
        Files(tmp_path).put_report(name, b"{}")


def test_a_transcript_is_kept_by_its_digest(tmp_path: Path) -> None:
    """Compressed, and read as it was; no other name opens a file."""
    files = Files(tmp_path)
    kept = files.put_transcript(b'{"epochs":[]}')

    assert kept == hashlib.sha256(b'{"epochs":[]}').hexdigest()
    assert files.transcript(kept) == b'{"epochs":[]}'
    assert files.transcript("0" * 64) is None
    with pytest.raises(DigestError):
        files.transcript("../../gridmark.db")


def test_prune_removes_what_nobody_refers_to_and_nobody_touched_lately(tmp_path: Path) -> None:
    """Old and unnamed goes; named stays; new stays, because its row may still be on the way."""
    files = Files(tmp_path)
    named, unnamed, fresh = (upload(files, content) for content in (b"named", b"unnamed", b"fresh"))
    files.put_report("old", b"{}")
    files.put_report("kept", b"{}")
    judged, late, _ = (files.put_transcript(content) for content in (b"judged", b"late", b"abandoned"))
    for token in (1, 2):
        files.logs.append(token, "out", 0, b"line\n", quota_bytes=100)
    keep = Keep(
        blobs=frozenset({named}), tokens=frozenset({1}), reports=frozenset({"kept"}), transcripts=frozenset({judged})
    )
    for path in tmp_path.rglob("*"):
        os.utime(path, (1_000, 1_000))
    os.utime(str(files.blob_path(fresh)), (3_000, 3_000))
    os.utime(tmp_path / f"transcripts/{late[:2]}/{late}.json.gz", (1_600, 1_600))

    assert files.prune(keep, before_unix_s=2_000, judged_before_unix_s=1_500) == 4

    assert on_disk(tmp_path) == sorted(
        [f"blobs/{sha[:2]}/{sha}" for sha in (named, fresh)]
        + ["logs/0/1.out", "reports/ke/kept.json.gz"]
        + [f"transcripts/{sha[:2]}/{sha}.json.gz" for sha in (judged, late)]
    )
    assert files.blob_path(unnamed) is None
    assert files.prune(NOTHING, before_unix_s=1_000, judged_before_unix_s=1_000) == 0


def test_uploading_again_makes_content_young_again(tmp_path: Path) -> None:
    """It was about to be pruned when somebody began to need it."""
    files = Files(tmp_path)
    path = files.blob_path(upload(files, HELLO))
    assert path is not None
    os.utime(path, (1_000, 1_000))

    upload(files, HELLO)

    assert files.prune(NOTHING, before_unix_s=2_000, judged_before_unix_s=2_000) == 0


def test_a_folder_that_cannot_be_made_is_said_in_a_sentence(tmp_path: Path) -> None:
    """A file lies where the folder should be."""
    (tmp_path / "files").touch()

    with pytest.raises(StoreError, match=r"the folder .* cannot be written"):
        Files(tmp_path / "files")
