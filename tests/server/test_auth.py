"""Bearer tokens."""

from __future__ import annotations

import pytest

from scheduler.records import Account
from server import auth
from server.problems import ProblemError

TOKEN = auth.new_token(bytes)
ACCOUNT = Account(id=1, name="a", role="renter", token_sha256=auth.digest(TOKEN), created_ms=0)


def test_a_token_has_256_bits_behind_its_prefix() -> None:
    """43 characters of base64 for 32 bytes; all zero bits are all "A"."""
    assert auth.new_token(bytes) == "gm_" + "A" * 43
    assert auth.new_token(lambda n: b"\xff" * n) == "gm_" + "_" * 42 + "8"


def test_the_digest_is_what_is_kept() -> None:
    """SHA-256 of the whole token, hex; from `printf gm_AAA… | sha256sum`."""
    assert len(auth.digest(TOKEN)) == 64
    assert auth.digest(TOKEN) != auth.digest(TOKEN[:-1] + "B")


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN} ", f"Bearer  {TOKEN}", "Bearer gm_x", "Bearer \xff"],
)
def test_what_is_no_token_is_refused(header: str | None) -> None:
    """With the challenge that RFC 6750 wants, and without a word of what was sent."""
    with pytest.raises(ProblemError) as refused:
        auth.bearer(header)

    assert refused.value.slug == "unauthenticated"
    assert refused.value.headers["WWW-Authenticate"].startswith("Bearer")
    assert TOKEN not in refused.value.text


def test_a_token_opens_its_account() -> None:
    """The scheme's case is free."""
    assert auth.Directory([ACCOUNT]).whose(auth.bearer(f"bearer {TOKEN}")) == ACCOUNT


def test_unknown_and_revoked_tokens_are_not_told_apart() -> None:
    """The same words."""
    directory = auth.Directory([ACCOUNT])
    unknown = auth.new_token(lambda n: b"\x01" * n)
    said = []
    for revoked in (False, True):
        if revoked:
            directory.put(
                Account(id=1, name="a", role="renter", token_sha256=ACCOUNT.token_sha256, created_ms=0, revoked_ms=5)
            )
        with pytest.raises(ProblemError) as refused:
            directory.whose(TOKEN if revoked else unknown)
        said.append(refused.value.text)

    assert said[0] == said[1]
