"""Which certificates are believed."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

from scheduler.node.identity import IdentityError


def trusted(server: str, ca: str | None) -> ssl.SSLContext | bool:
    """What to check the server's certificate against: the file `ca`, or the authorities this machine knows.

    Raises:
        IdentityError: the URL or the file is none.
    """
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise IdentityError(f"expected a URL such as https://market.example:8700, found {server!r}")
    if parts.scheme == "http":
        if ca is not None:
            raise IdentityError(f"{server} is not encrypted, so the authority {ca} has nothing to check; use https")
        return False  # no certificates at all; loading the authorities would take 10 MiB
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise IdentityError(f"{ca} cannot be read as a certificate authority: {error}") from error
