"""Why a connection came to nothing, in words for people."""

from __future__ import annotations

import http.client


def reason_of(error: BaseException) -> str:
    """What went wrong with a connection, in a few words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, http.client.RemoteDisconnected):
        return "it hung up without an answer"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return str(error) or type(error).__name__


def without_tls(server: str, error: OSError) -> str:
    """Why no TLS connection came about, and what to do; empty where TLS is not the reason."""
    import ssl  # here and not above: http.client has loaded it where the address is https

    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of {server} is not to be believed ({error.verify_message}); "
            "where it is right, name the file of its authority in SSL_CERT_FILE"
        )
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return ""  # it went away in the middle
    if isinstance(error, ssl.SSLError):
        return f"{server} speaks no TLS ({error.reason or error}); is its address http://?"
    return ""
