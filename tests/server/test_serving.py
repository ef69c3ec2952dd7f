"""A server as a process of its own: sockets, TLS, and its end."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import json
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from scheduler.store.errors import StoreError
from server.runtime import Runtime
from server.serving import ServingError, serve
from server.settings import Settings, SettingsError

WAIT_S = 20.0
PROJECT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, sys
from pathlib import Path
from server.runtime import Runtime
from server.serving import serve
from server.settings import Settings

options = json.loads(sys.argv[1])
files = {name: Path(options.pop(name)) for name in ("tls_certificate", "tls_key") if name in options}
settings = Settings(data=Path(options.pop("data")), port=0, **files, **options)
runtime = Runtime.open(settings)
tokens = dict(runtime.bootstrap())
serve(settings, runtime=runtime, ready=lambda url: print(json.dumps([url, tokens]), flush=True))
"""


@dataclass
class Process:
    """A server that runs."""

    process: subprocess.Popen[str]
    url: str
    tokens: dict[str, str]
    lines: list[str] = field(default_factory=list)  #: of its stderr, once it has ended

    def client(self, verify: ssl.SSLContext | bool = True) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.tokens['renter']}"} if self.tokens else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=WAIT_S, verify=verify, trust_env=False)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)


@contextlib.contextmanager
def running(data: Path, **options: Any) -> Iterator[Process]:
    """A server over `data`; killed at the end if it did not end before."""
    arguments = json.dumps({"data": str(data), **options})
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "PYTHONWARNINGS": "error"},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    lines: list[str] = []
    errors = process.stderr
    reader = threading.Thread(target=lambda: lines.extend(errors))
    reader.start()
    try:
        said = process.stdout.readline()
        assert said, lines
        url, tokens = json.loads(said)
        yield Process(process, url, tokens, lines)
    finally:
        process.kill()
        process.wait(WAIT_S)
        reader.join(WAIT_S)
        process.stdout.close()
        process.stderr.close()


def test_sigterm_ends_it_in_order(tmp_path: Path) -> None:
    """A follower is let go, what was answered is there after the next start, and the log says it all in JSON."""
    with running(tmp_path / "data") as server:
        with server.client() as client:
            job = client.post("/v1/jobs", json={"command": ["true"]}).json()["id"]
            with client.stream("GET", f"/v1/jobs/{job}/logs?follow=1") as following:
                code = threading.Thread(target=lambda: ended.append(server.end()))
                ended: list[int] = []
                code.start()
                assert list(following.iter_lines()) == []
                code.join(WAIT_S)
        assert ended == [0]
    lines = [json.loads(line) for line in server.lines]
    with running(tmp_path / "data") as again:
        assert again.tokens == {}
        answer = httpx.get(
            f"{again.url}/v1/jobs/{job}",
            headers={"Authorization": f"Bearer {server.tokens['renter']}"},
            trust_env=False,
        )

    assert answer.json()["state"] == "queued"
    assert [line["text"] for line in lines if line["logger"] == "gridmark.server"] == [
        "serving", "request", "stopping", "request", "stopped"
    ]  # fmt: skip
    first = next(line for line in lines if line["text"] == "request")
    assert (first["method"], first["route"], first["status"], first["account"]) == ("POST", "/v1/jobs", 201, 3)
    assert not any(token in line for line in server.lines for token in server.tokens.values())


def test_a_database_that_contradicts_itself_is_told_at_the_start(tmp_path: Path) -> None:
    """A job that is active without a live attempt holds nothing and would never end; the log says which."""
    with running(tmp_path / "data") as server:
        with server.client() as client:
            job = client.post("/v1/jobs", json={"command": ["true"]}).json()["id"]
        assert server.end() == 0
    assert not any("contradicts" in line for line in server.lines)
    with contextlib.closing(sqlite3.connect(tmp_path / "data/gridmark.db")) as database:
        database.execute("update job set state = 3 where id = ?", (job,))
        database.commit()

    with running(tmp_path / "data") as again:
        again.end()

    told = [json.loads(line) for line in again.lines if "contradicts" in line]
    assert [line["level"] for line in told] == ["error"]
    assert f"job {job} " in told[0]["fault"]


def test_an_upload_under_way_is_finished_before_the_end(tmp_path: Path) -> None:
    """SIGTERM in its middle: it is answered, and nothing new is accepted."""
    content = b"x" * 1000
    digest = hashes.Hash(hashes.SHA256())
    digest.update(content)
    with running(tmp_path / "data") as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=WAIT_S) as connection:
            head = (
                f"PUT /v1/blobs/{digest.finalize().hex()} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
                f"Authorization: Bearer {server.tokens['renter']}\r\nExpect: 100-continue\r\n\r\n"
            )
            connection.sendall(head.encode())
            assert connection.recv(1000).startswith(b"HTTP/1.1 100")  # it is being read
            connection.sendall(content[:500])
            server.process.send_signal(signal.SIGTERM)
            while accepts(host, int(port)):
                pass
            connection.sendall(content[500:])
            assert connection.recv(1000).startswith(b"HTTP/1.1 201")
        assert server.process.wait(WAIT_S) == 0


def accepts(host: str, port: int) -> bool:
    """Whether somebody would still be heard there: not refused, not reset, not hung up on."""
    try:
        with socket.create_connection((host, port), timeout=WAIT_S) as late:
            late.settimeout(0.1)
            return late.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


def test_it_speaks_tls(tmp_path: Path) -> None:
    """With the certificate it was given, and nothing else on that port."""
    certificate, key = self_signed(tmp_path)
    with running(tmp_path / "data", tls_certificate=str(certificate), tls_key=str(key)) as server:
        context = ssl.create_default_context(cafile=str(certificate))
        with server.client(verify=context) as client:
            assert client.get("/healthz").json() == {"status": "ok"}
        with pytest.raises(httpx.HTTPError):
            httpx.get(server.url.replace("https", "http") + "/healthz", timeout=WAIT_S, trust_env=False)

        assert server.url.startswith("https://127.0.0.1:")


def test_two_servers_do_not_share_a_folder(tmp_path: Path) -> None:
    """The second one says why in a sentence."""
    runtime = Runtime.open(Settings(data=tmp_path))
    try:
        with pytest.raises(StoreError):
            Runtime.open(Settings(data=tmp_path))
    finally:
        runtime.close()


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    """Before anything of the data is touched."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServingError, match=f"cannot listen on 127.0.0.1 port {port}.*--port"):
            serve(Settings(data=tmp_path / "data", port=port))

    assert not (tmp_path / "data").exists()


def test_what_must_not_be_served_is_not(tmp_path: Path) -> None:
    """Plain HTTP for the world."""
    with pytest.raises(SettingsError, match="--insecure"):
        serve(Settings(data=tmp_path / "data", host="0.0.0.0", port=0))


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate of this machine's loopback address, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gridmark test")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2120, 1, 1, tzinfo=dt.UTC))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, secret
