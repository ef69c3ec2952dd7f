"""Secrets at rest: AES-256-GCM under a key in a file of its own, so that a copy of the database tells nothing."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from scheduler.records import SealedSecret
from scheduler.store.durable import write_new
from scheduler.store.errors import StoreError

KEY_BYTES = 32
#: of a random nonce; 2^32 secrets under one key before a repetition is as likely as 2^-32 (NIST SP 800-38D, 8.3)
NONCE_BYTES = 12
_SHOWN_TO_ALL = stat.S_IRWXG | stat.S_IRWXO


class Sealer:
    """Seals the values of secrets and opens them; safe to use from any thread."""

    def __init__(self, key: bytes, *, random: Callable[[int], bytes] = os.urandom) -> None:
        """Use `key`, KEY_BYTES long; `random` gives that many bytes nobody can guess."""
        self._cipher = AESGCM(key)
        self._random = random
        #: tells keys apart and says nothing about them
        self.mark = hashlib.sha256(b"gridmark key mark\n" + key).hexdigest()[:16]

    def seal(self, job: int, name: str, value: str) -> SealedSecret:
        """The row that keeps a secret; it can be opened as this job's secret of this name only."""
        nonce = self._random(NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, value.encode(), _bound_to(job, name))
        return SealedSecret(job=job, name=name, sealed=sealed)

    def open(self, job: int, name: str, sealed: bytes) -> str:
        """The value that was sealed.

        Raises:
            StoreError: it was sealed with another key, for another job or name, or was changed since.
        """
        nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, rest, _bound_to(job, name)).decode()
        except (InvalidTag, ValueError) as error:
            raise StoreError(f"secret {name} of job {job} cannot be opened: another key sealed it") from error


def read_key(path: Path) -> bytes | None:
    """The key in the file, None when there is no file.

    Raises:
        StoreError: others may read the file, or it holds no key.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            key = file.read(KEY_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"the key {path} cannot be read: {error.strerror}") from error
    if mode & _SHOWN_TO_ALL:
        raise StoreError(f"the key {path} is open to others (mode {stat.S_IMODE(mode):o}); run chmod 600 on it")
    if len(key) != KEY_BYTES:
        raise StoreError(f"the key {path} should have {KEY_BYTES} bytes and has not; put the right one back")
    return key


def make_key(path: Path, *, random: Callable[[int], bytes] = os.urandom) -> bytes:
    """A new key, on the disk before it is used.

    Raises:
        StoreError: the file cannot be written, or is there already.
    """
    key = random(KEY_BYTES)
    try:
        write_new(path, key, mode=0o600)
    except OSError as error:
        raise StoreError(f"the key {path} cannot be written: {error.strerror}") from error
    return key


def _bound_to(job: int, name: str) -> bytes:
    return f"{job}\n{name}".encode()
