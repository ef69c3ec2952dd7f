"""What is too large for rows, in a folder beside the database: uploads by their content, logs, reports.

A row only ever names content that is on the disk already, and a file nobody names does no harm until `prune`.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from scheduler.store.durable import sync_folder
from scheduler.store.errors import StoreError
from scheduler.store.keep import Keep
from scheduler.store.logs import Logs

_SHA256 = re.compile(r"[0-9a-f]{64}")
_REPORT_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


class TooLargeError(StoreError):
    """More bytes than were allowed."""


class DigestError(StoreError):
    """The content is not what its name says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Content that is on the disk."""

    sha256: str
    size_bytes: int


class BlobWriter:
    """An upload under way; used through `Files.blob_writer`."""

    def __init__(self, file: BinaryIO, limit_bytes: int) -> None:
        self._file, self._limit_bytes = file, limit_bytes
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def write(self, chunk: bytes) -> None:
        """Add bytes.

        Raises:
            TooLargeError: it would be more than allowed; nothing is kept.
            StoreError: the disk does not take them.
        """
        if self.size_bytes + len(chunk) > self._limit_bytes:
            raise TooLargeError(f"at most {self._limit_bytes} bytes are taken, and more came")
        with _disk("an upload"):
            self._file.write(chunk)
        self._digest.update(chunk)
        self.size_bytes += len(chunk)

    def stored(self) -> Stored:
        """What was written so far, by its digest."""
        return Stored(sha256=self._digest.hexdigest(), size_bytes=self.size_bytes)


class Files:
    """The folder. Safe to use from any thread of one process."""

    def __init__(self, folder: Path, *, name: Callable[[], str] = lambda: secrets.token_hex(8)) -> None:
        """Use `folder`, made if it is not there; what an earlier process left half written is removed.

        Args:
            name: gives a file that is being written a name that no other has.

        Raises:
            StoreError: the folder cannot be written.
        """
        self._blobs, self._reports, self._unfinished = folder / "blobs", folder / "reports", folder / "unfinished"
        self._transcripts = folder / "transcripts"
        self._name = name
        self._names = threading.Lock()  # a file is not removed while it is put there again
        self.logs = Logs(folder / "logs")
        with _disk(f"the folder {folder}"):
            for one in (self._blobs, self._reports, self._transcripts, self._unfinished):
                one.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left in self._unfinished.iterdir():
                left.unlink()

    @contextlib.contextmanager
    def blob_writer(self, *, limit_bytes: int, expected_sha256: str | None = None) -> Iterator[BlobWriter]:
        """Take an upload in pieces; leaving the block without an error puts it in its place, durably and at once.

        Raises:
            DigestError: (on leaving) it is not the content that was announced; nothing is kept.
            StoreError: the disk does not take it; nothing is kept.
        """
        path = self._unfinished / self._name()
        with _disk("an upload"):
            file = path.open("xb")
        try:
            with file:
                writer = BlobWriter(file, limit_bytes)
                yield writer
                found = writer.stored().sha256
                if expected_sha256 not in (None, found):
                    raise DigestError(f"content with the digest {expected_sha256} was announced, {found} came")
                self._put(file, path, self._blob(found))
        finally:
            path.unlink(missing_ok=True)

    def blob_path(self, sha256: str) -> Path | None:
        """Where content lies, for a response that sends the file; None when it is not there. Check the owner before."""
        path = self._blob(sha256)
        return path if path.is_file() else None

    def put_report(self, report: str, document: bytes) -> None:
        """Keep a report's JSON, compressed; the same again replaces it by itself.

        Raises:
            StoreError: the disk does not take it, or its id cannot be a file's name.
        """
        self._put_packed("a report", document, self._report(report))

    def report(self, report: str) -> bytes | None:
        """A report's JSON; None when it is not there."""
        return self._packed(f"report {report}", self._report(report))

    def put_transcript(self, document: bytes) -> str:
        """Keep the transcript of a proof, compressed; its SHA-256.

        Raises:
            StoreError: the disk does not take it.
        """
        found = hashlib.sha256(document).hexdigest()
        self._put_packed("a transcript", document, self._transcript(found))
        return found

    def transcript(self, sha256: str) -> bytes | None:
        """A transcript by its digest; None when it is not there."""
        return self._packed(f"transcript {sha256}", self._transcript(sha256))

    def prune(self, keep: Keep, *, before_unix_s: float, judged_before_unix_s: float) -> int:
        """Remove what nothing refers to and nobody touched since a time; how many files went.

        Args:
            before_unix_s: so far back that whatever was uploaded before it has its row by now.
            judged_before_unix_s: likewise of transcripts; their rows stay, and name what was there.

        Raises:
            StoreError: a file cannot be removed.
        """
        with _disk("old files"):
            removed = self.logs.prune(keep.tokens, before_unix_s=before_unix_s)
            kept = {self._blob(sha256) for sha256 in keep.blobs} | {self._report(report) for report in keep.reports}
            for folder in (self._blobs, self._reports):
                removed += self._sweep(folder, kept, before_unix_s)
            judged = {self._transcript(sha256) for sha256 in keep.transcripts}
            return removed + self._sweep(self._transcripts, judged, judged_before_unix_s)

    def _sweep(self, folder: Path, kept: Set[Path], before_unix_s: float) -> int:
        removed = 0
        for path in folder.glob("*/*"):
            with self._names:
                if path not in kept and path.stat().st_mtime < before_unix_s:
                    path.unlink()
                    removed += 1
        return removed

    def _put(self, file: BinaryIO, path: Path, target: Path) -> None:
        """Give finished content its name; of the same content the newer file stays, its age counts in `prune`."""
        with _disk("a file"):
            file.flush()
            os.fsync(file.fileno())
            with self._names:
                if not target.parent.exists():
                    target.parent.mkdir()
                    sync_folder(target.parent.parent)
                path.replace(target)
            sync_folder(target.parent)

    def _put_packed(self, what: str, document: bytes, target: Path) -> None:
        path = self._unfinished / self._name()
        try:
            with _disk(what), path.open("xb") as file:
                file.write(gzip.compress(document, mtime=0))
                self._put(file, path, target)
        finally:
            path.unlink(missing_ok=True)

    def _packed(self, what: str, path: Path) -> bytes | None:
        try:
            return gzip.decompress(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, EOFError) as error:
            raise StoreError(f"{what} cannot be read: {error}") from error

    def _transcript(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise DigestError(f"expected a SHA-256 digest of 64 small hexadecimal digits, got {sha256[:80]!r}")
        return self._transcripts / sha256[:2] / f"{sha256}.json.gz"

    def _blob(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise DigestError(f"expected a SHA-256 digest of 64 small hexadecimal digits, got {sha256[:80]!r}")
        return self._blobs / sha256[:2] / sha256

    def _report(self, report: str) -> Path:
        if not _REPORT_ID.fullmatch(report):
            raise StoreError(f"expected a report's id of letters and digits, got {report[:80]!r}")
        return self._reports / report[:2] / f"{report}.json.gz"


@contextlib.contextmanager
def _disk(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{what} cannot be written: {error.strerror}") from error
