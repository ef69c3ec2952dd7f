"""What may be served, and what is refused before anything listens."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.settings import Settings, SettingsError


@pytest.mark.parametrize(
    ("host", "beyond"),
    [("127.0.0.1", False), ("127.8.8.8", False), ("::1", False), ("localhost", False), ("0.0.0.0", True),
     ("::", True), ("192.0.2.7", True), ("example.org", True)],
)  # fmt: skip
def test_loopback_is_told_from_the_world(host: str, beyond: bool, tmp_path: Path) -> None:
    """A name that is not localhost may stand for anything."""
    assert Settings(data=tmp_path, host=host).beyond_loopback is beyond


def test_plain_http_beyond_this_machine_is_refused(tmp_path: Path) -> None:
    """Unless it was asked for."""
    with pytest.raises(SettingsError, match=r"plain HTTP on 0\.0\.0\.0 .* --insecure"):
        Settings(data=tmp_path, host="0.0.0.0").check()

    Settings(data=tmp_path, host="0.0.0.0", insecure=True).check()
    Settings(data=tmp_path).check()


def test_tls_needs_both_files(tmp_path: Path) -> None:
    """A certificate without its key, and files that are not there."""
    there = tmp_path / "there.pem"
    there.touch()

    with pytest.raises(SettingsError, match="only one of the two"):
        Settings(data=tmp_path, tls_certificate=there).check()
    with pytest.raises(SettingsError, match=r"gone\.pem is no file"):
        Settings(data=tmp_path, tls_certificate=there, tls_key=tmp_path / "gone.pem").check()
    Settings(data=tmp_path, host="0.0.0.0", tls_certificate=there, tls_key=there).check()


def test_a_port_is_one() -> None:
    """0 to 65535."""
    with pytest.raises(SettingsError, match="65536 is no port"):
        Settings(data=Path(), port=65536).check()
