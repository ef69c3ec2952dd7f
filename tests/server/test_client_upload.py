"""What is uploaded: the same bytes for the same files, nothing from outside of the folder."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from server.client import Client
from server.client_upload import UploadError, measure, pack, send_file, send_folder
from tests.server.client_fake import FakeClock, answer, serving


def packed(folder: Path) -> bytes:
    into = io.BytesIO()
    pack(folder, into)
    return into.getvalue()


def fill(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
        os.utime(folder / name, (1, 1_700_000_000))
    for found in [folder, *folder.rglob("*/")]:
        os.utime(found, (1, 1_700_000_000))


def test_equal_folders_make_equal_archives(tmp_path: Path) -> None:
    """Made in another order, owned by whomever: sorted, owned by 0, times to the second."""
    one, other = tmp_path / "one", tmp_path / "other"
    fill(one, ["b.txt", "a/x.py", "a.txt", "ä/ö"])
    fill(other, ["ä/ö", "a.txt", "b.txt", "a/x.py"])

    archive = packed(one)

    assert archive == packed(other)
    with tarfile.open(fileobj=io.BytesIO(archive)) as found:
        assert found.getnames() == ["a", "a/x.py", "a.txt", "b.txt", "ä", "ä/ö"]
        assert {(m.uid, m.gid, m.uname, m.mtime) for m in found} == {(0, 0, "", 1_700_000_000)}


def test_what_may_be_run_may_be_run_there(tmp_path: Path) -> None:
    """The executable bit travels; other modes become the usual ones."""
    fill(tmp_path, ["run.sh", "secret"])
    (tmp_path / "run.sh").chmod(0o700)
    (tmp_path / "secret").chmod(0o600)

    with tarfile.open(fileobj=io.BytesIO(packed(tmp_path))) as found:
        assert {m.name: m.mode for m in found} == {"run.sh": 0o755, "secret": 0o644}


def test_links_inside_stay_links(tmp_path: Path) -> None:
    """To a file, to a folder, to nothing."""
    fill(tmp_path, ["a/x"])
    (tmp_path / "file").symlink_to("a/x")
    (tmp_path / "a/up").symlink_to("../file")
    (tmp_path / "later").symlink_to("not-yet")

    with tarfile.open(fileobj=io.BytesIO(packed(tmp_path))) as found:
        assert {m.name: m.linkname for m in found if m.issym()} == {
            "file": "a/x",
            "a/up": "../file",
            "later": "not-yet",
        }


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "a/../../outside", "way/../outside"])
def test_links_that_lead_out_are_refused(tmp_path: Path, target: str) -> None:
    """By themselves or over another link."""
    folder = tmp_path / "folder"
    fill(folder, ["a/x"])
    (folder / "way").symlink_to(".")  # so that way/.. is not what it looks like
    (tmp_path / "outside").write_text("not yours")
    (folder / "link").symlink_to(target)

    with pytest.raises(UploadError, match=r"link.*outside of the folder"):
        packed(folder)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A pipe would be waited for for ever; no folder is no folder."""
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(UploadError, match="neither a file, a folder nor a link"):
        packed(tmp_path)
    with pytest.raises(UploadError, match="wants a folder"):
        packed(tmp_path / "pipe")


def test_uploads_become_inputs(tmp_path: Path) -> None:
    """A folder as an archive to unpack, a file with its bit; each is asked for before it is sent."""
    fill(tmp_path / "folder", ["x"])
    (tmp_path / "tool").write_bytes(b"data")
    (tmp_path / "tool").chmod(0o755)
    archive = measure(io.BytesIO(packed(tmp_path / "folder")))
    file = measure(io.BytesIO(b"data"))
    with serving() as fake, Client(fake.settings, clock=FakeClock().clock) as client:
        fake.on(f"HEAD /v1/blobs/{archive.sha256}", answer(b""))
        fake.on(f"PUT /v1/blobs/{file.sha256}", answer({}, 201))

        folder_entry = send_folder(client, tmp_path / "folder", ".")
        file_entry = send_file(client, tmp_path / "tool", "bin/tool")

        assert fake.lines("PUT") == [f"PUT /v1/blobs/{file.sha256}"]
    assert folder_entry == {"to": ".", "sha256": archive.sha256, "size": archive.size_bytes, "unpack": True}
    assert file_entry == {"to": "bin/tool", "sha256": file.sha256, "size": 4, "executable": True}


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    """A folder, or nothing."""
    with serving() as fake, Client(fake.settings) as client:
        for path, wrong in [(tmp_path, "Is a directory"), (tmp_path / "none", "No such file")]:
            with pytest.raises(UploadError, match=wrong):
                send_file(client, path, "x")
