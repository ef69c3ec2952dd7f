"""The client and TLS: whom it believes, and that it does not wait for belief."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from server.client import Client, Settings, UnreachableError
from tests.server.client_fake import FakeClock, answer, serving
from tests.server.test_serving import self_signed


def test_a_certificate_that_is_not_believed_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later try believes no more than the first: one sentence, with what to set; once it is set, the answer."""
    certificate, key = self_signed(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    time = FakeClock()

    with serving(tls) as fake:
        fake.on("GET /v1/jobs", answer({"items": []}))
        client = Client(fake.settings, clock=time.clock)
        with pytest.raises(UnreachableError, match=r"not to be believed \(self.signed certificate\).*SSL_CERT_FILE"):
            client.get("/v1/jobs")
        with pytest.raises(UnreachableError, match="SSL_CERT_FILE"), client.stream("/v1/jobs/1/logs", timeout_s=5):
            pass
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with Client(fake.settings, clock=time.clock) as believing:
            assert believing.get("/v1/jobs") == {"items": []}

    assert time.slept_s == []


def test_tls_with_a_server_that_speaks_none_is_refused_at_once() -> None:
    """https:// in the address of a plain server: said, not waited for."""
    time = FakeClock()

    with serving() as fake:
        address = fake.settings.server.replace("http:", "https:")
        with pytest.raises(UnreachableError, match=f"{address} speaks no TLS"):
            Client(Settings(server=address), clock=time.clock).get("/v1/jobs")

    assert time.slept_s == []
