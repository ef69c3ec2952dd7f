"""Who this node is: its key, made once and kept to itself, where it is enrolled, and that no other agent is it too."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from scheduler import codec, wire

ENROLMENT = "node.json"


class IdentityError(Exception):
    """The agent's folder does not say who it is; one sentence with the cure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """Where this node is enrolled, and on which terms. The file node.json."""

    server: str  #: its URL
    node: int
    name: str
    ca: str | None = None  #: file of the certificate authority that the server's certificate is checked against
    executors: tuple[str, ...] = ()


class Key:
    """The node's Ed25519 key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    def sign(self, envelope: wire.Envelope) -> str:
        """The signature of a request, hex."""
        return self._key.sign(wire.signed_text(envelope)).hex()


def own_key(folder: Path) -> Key:
    """The key in `folder`, made if there is none yet; readable by its owner only.

    Raises:
        IdentityError: the file is no key, or others may read it.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "key"
    if not path.exists():
        made = Ed25519PrivateKey.generate().private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        _write_private(path, made.hex() + "\n")
    if path.stat().st_mode & 0o077:
        raise IdentityError(f"others may read the node's key {path}; chmod 600 it, or remove it and join again")
    try:
        return Key(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text().strip())))
    except ValueError:
        raise IdentityError(f"{path} is no key; remove it and join again") from None


def enrolment(folder: Path) -> Enrolment:
    """Where this node is enrolled.

    Raises:
        IdentityError: nowhere, or the file cannot be read.
    """
    path = folder / ENROLMENT
    try:
        return codec.loads(Enrolment, path.read_bytes())
    except FileNotFoundError:
        raise IdentityError(f"this node is enrolled nowhere (no {path}); gridmark join URL --token T") from None
    except (OSError, codec.CodecError) as error:
        raise IdentityError(f"{path} cannot be read: {error}; gridmark join URL --token T writes it anew") from None


def keep_enrolment(folder: Path, kept: Enrolment) -> None:
    """Write node.json so that a reader sees the old one or the new one."""
    _write_private(folder / ENROLMENT, codec.dumps(kept) + "\n")


def only_agent(folder: Path) -> IO[str]:
    """Hold the folder for this process; the lock goes with the file, or with the process.

    Raises:
        IdentityError: another agent holds it.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = (folder / "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise IdentityError(f"another agent runs in {folder} (process {holder}); stop it, or choose --data") from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def first_seq(folder: Path, unix_ms: int) -> int:
    """Where this run counts its requests from: above every number of the runs before, whatever the calendar says.

    A run would have to send a million requests a second to reach the next one's numbers.
    """
    path = folder / "seq"
    try:
        before = int(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        before = 0
    first = max(unix_ms * 1000, before + 1_000_000_000)
    _write_private(path, str(first))
    return first


def _write_private(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.part")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w") as file:  # noqa: PTH123 - a descriptor, so that it is private from the start
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
