"""Docker's or Podman's HTTP interface at its socket, for the few questions an agent asks of it.

What starts and follows containers is the docker SDK, in the processes that do so (container.py, container_pull.py); it
would double the agent's memory.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

PATIENCE_S = 10.0
LABEL_AGENT, LABEL_TOKEN = "gridmark.agent", "gridmark.token"


class EngineError(Exception):
    """The engine cannot be used; one sentence."""


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        """See HTTPConnection."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(self._path)


class Engine:
    """One engine, by its address ("unix:///run/docker.sock")."""

    def __init__(self, address: str) -> None:
        """A remote engine cannot mount this node's folders, and is refused.

        Raises:
            EngineError: it is not a unix socket.
        """
        scheme, _, path = address.partition("://")
        if scheme != "unix" or not path.startswith("/"):
            raise EngineError(f"expected an engine on this machine, unix:///path/of/its.sock, found {address!r}")
        self._path = path

    def ask(self, method: str, target: str) -> tuple[int, Any]:
        """Status and parsed answer (None where it has none).

        Raises:
            EngineError: nobody answers there.
        """
        connection = _Connection(self._path)
        try:
            connection.request(method, target, headers={"Host": "engine"})
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise EngineError(f"no answer at {self._path}: {error}") from error
        finally:
            connection.close()
        try:
            return response.status, json.loads(body)
        except ValueError:
            return response.status, None

    def version(self) -> Mapping[str, Any]:
        """What the engine says it is.

        Raises:
            EngineError: nobody answers, or it is no engine.
        """
        status, said = self.ask("GET", "/version")
        if status != http.client.OK or not isinstance(said, dict):
            raise EngineError(f"{self._path} answers {status}, it is no container engine's")
        return said

    def image(self, name: str) -> Mapping[str, Any] | None:
        """What is known of an image that is here already."""
        status, said = self.ask("GET", f"/images/{quote(name, safe='')}/json")
        return said if status == http.client.OK and isinstance(said, dict) else None

    def is_rootless(self) -> bool:
        """Whether its root is an ordinary user."""
        _, said = self.ask("GET", "/info")
        options = said.get("SecurityOptions") if isinstance(said, dict) else None
        return any("rootless" in str(option) for option in options or ())

    def tokens(self, agent: str) -> frozenset[int]:
        """The attempts of which an agent's containers are here, whatever their state."""
        filters = quote(json.dumps({"label": [f"{LABEL_AGENT}={agent}"]}), safe="")
        _, said = self.ask("GET", f"/containers/json?all=true&filters={filters}")
        labels = [one.get("Labels") or {} for one in said] if isinstance(said, list) else []
        return frozenset(int(one[LABEL_TOKEN]) for one in labels if str(one.get(LABEL_TOKEN, "")).isdecimal())

    def remove(self, name: str) -> None:
        """End and remove a container; no error when there is none."""
        self.ask("DELETE", f"/containers/{quote(name, safe='')}?force=true&v=true")


def is_podman(version: Mapping[str, Any]) -> bool:
    """Whether an engine is Podman, which finds GPUs by CDI names alone."""
    return any("Podman" in str(one.get("Name")) for one in version.get("Components") or ())
