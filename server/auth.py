"""Who calls: bearer tokens of people, kept as digests only."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable

from scheduler.records import Account
from server.problems import ProblemError

PREFIX = "gm_"  #: so that a leaked token is found by scanners
TOKEN_BYTES = 32
_TOKEN = re.compile(r"gm_[A-Za-z0-9_-]{43}", re.ASCII)
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="gridmark"'}


def new_token(random_bytes: Callable[[int], bytes]) -> str:
    """A token of 256 random bits."""
    return PREFIX + base64.urlsafe_b64encode(random_bytes(TOKEN_BYTES)).rstrip(b"=").decode("ascii")


def digest(token: str) -> str:
    """What is kept of a token: SHA-256, hex; 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()


def bearer(header: str | None) -> str:
    """The token in an Authorization header.

    Raises:
        ProblemError: none, or something else.
    """
    if header is None:
        raise ProblemError("unauthenticated", "this needs a token: Authorization: Bearer gm_…", headers=_CHALLENGE)
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not _TOKEN.fullmatch(token):
        raise ProblemError("unauthenticated", "expected Authorization: Bearer gm_…", headers=_CHALLENGE)
    return token


class Directory:
    """The accounts by their tokens' digests; kept beside the book, so that a request needs no query."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        self._by_digest = {account.token_sha256: account for account in accounts}

    def put(self, account: Account) -> None:
        """An account was added or changed."""
        self._by_digest[account.token_sha256] = account

    def whose(self, token: str) -> Account:
        """The account of a token.

        Raises:
            ProblemError: no account's, or a revoked one's; the two are not told apart.
        """
        found = digest(token)
        account = self._by_digest.get(found)
        # the table is searched by digest, of which a caller cannot choose a single bit, so its time tells nothing
        if account is None or account.revoked_ms is not None or not hmac.compare_digest(account.token_sha256, found):
            raise ProblemError("unauthenticated", "the token is no account's", headers=_CHALLENGE)
        return account

    @property
    def known(self) -> int:
        """How many accounts there are."""
        return len(self._by_digest)
