"""Where a command finds its server and its token: the environment, else the file that `gridmark up` writes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qualify.places import data_folder
from server.client import ClientError, Settings

DEFAULT_SERVER = "http://127.0.0.1:8700"
FILE = "client.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the file holds: where the server is, and a token for each role that its owner has."""

    server: str
    tokens: Mapping[str, str]  #: by role: renter, supplier, operator


def load(environment: Mapping[str, str], role: str = "renter") -> Settings:
    """The server, and the token to use for what `role` may do.

    The file's tokens are never sent to a server that only the environment names.

    Raises:
        ClientError: the file is there and cannot be read.
    """
    server, token = environment.get("GRIDMARK_SERVER"), environment.get("GRIDMARK_TOKEN")
    if server and token:
        return Settings(server=server, token=token)
    kept = read(data_folder(environment))
    if server and (kept is None or server.rstrip("/") != kept.server.rstrip("/")):
        return Settings(server=server, token=token)
    if kept is None:
        return Settings(server=DEFAULT_SERVER, token=token)
    return Settings(server=kept.server, token=token or kept.tokens.get(role))


def save(folder: Path, kept: Kept) -> Path:
    """Write the file for its owner's eyes only; a reader sees the old one or the new one.

    Raises:
        OSError: the folder cannot be written.
    """
    path = folder / FILE
    unfinished = folder / f".{FILE}.part"
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"server": kept.server, "tokens": dict(kept.tokens)}, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    return path


def read(folder: Path) -> Kept | None:
    """What is kept in `folder`; None where nothing is.

    Raises:
        ClientError: it cannot be read.
    """
    path = folder / FILE
    advice = "start `gridmark up` again, or set GRIDMARK_SERVER and GRIDMARK_TOKEN"
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ClientError(f"cannot read {path}: {error.strerror}; or set GRIDMARK_SERVER and GRIDMARK_TOKEN") from error
    except ValueError as error:
        raise ClientError(f"{path} is damaged; {advice}") from error
    match content:
        case {"server": str(server), "tokens": dict(tokens)} if all(isinstance(one, str) for one in tokens.values()):
            return Kept(server=server, tokens=tokens)
    raise ClientError(f"{path} is damaged; {advice}")
