"""A container engine's socket with scripted answers: what an agent asks of Docker, without Docker."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any
from urllib.parse import unquote

DOCKER = {"Version": "28.0", "Components": [{"Name": "Engine"}]}
PODMAN = {"Version": "5.0", "Components": [{"Name": "Podman Engine"}]}
IMAGE: Mapping[str, Any] = {
    "Config": {"Entrypoint": ["/entry"], "Cmd": ["default"], "User": "", "StopSignal": "SIGINT"}
}


@dataclass
class FakeEngine:
    """What it answers, and what it was asked."""

    address: str
    version: Mapping[str, Any] = field(default_factory=lambda: DOCKER)
    images: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    containers: list[Mapping[str, Any]] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def answer(self, method: str, target: str) -> tuple[int, object]:
        """Status and document."""
        self.asked.append(f"{method} {target}")
        path = target.partition("?")[0]
        if path == "/version":
            return 200, self.version
        if path == "/info":
            return 200, {"SecurityOptions": self.options}
        if path == "/containers/json":
            return 200, self.containers
        if path.startswith("/images/"):
            image = self.images.get(unquote(path.removeprefix("/images/").removesuffix("/json")))
            return (404, {"message": "no such image"}) if image is None else (200, image)
        return 404, {"message": "no such thing"}


@contextmanager
def fake_engine(folder: Path, **said: Any) -> Iterator[FakeEngine]:
    """It listens in `folder`, whose name must be short."""
    engine = FakeEngine(f"unix://{folder}/e.sock", **said)

    with ThreadingUnixStreamServer(f"{folder}/e.sock", _handler(engine)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield engine
        finally:
            server.shutdown()
            thread.join()


def _handler(engine: FakeEngine) -> type[BaseHTTPRequestHandler]:
    def respond(self: BaseHTTPRequestHandler) -> None:
        status, document = engine.answer(self.command, self.path)
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def silent(self: BaseHTTPRequestHandler, *words: object) -> None:
        del self, words

    own = {"do_GET": respond, "do_DELETE": respond, "log_message": silent, "address_string": lambda self: "unix"}
    return type("Handler", (BaseHTTPRequestHandler,), own)
