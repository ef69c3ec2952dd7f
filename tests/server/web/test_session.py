"""Sessions end when they should, and a form is believed only from whoever was shown it."""

from __future__ import annotations

from itertools import count

from server.web.session import LIFETIME_MS, MOST_SESSIONS, Sessions


class Counted:
    """Random bytes that never repeat, and a clock that is set by hand."""

    def __init__(self) -> None:
        self.now_ms = 0
        self._next = count(1)

    def random_bytes(self, size: int) -> bytes:
        return next(self._next).to_bytes(size, "big")

    def sessions(self) -> Sessions:
        return Sessions(random_bytes=self.random_bytes, mono_ms=lambda: self.now_ms)


def test_a_session_gives_back_its_token_until_its_time_is_over() -> None:
    """Twelve hours to the millisecond; afterwards it is forgotten, not only refused."""
    source = Counted()
    sessions = source.sessions()
    cookie = sessions.open("gm_token")

    source.now_ms = LIFETIME_MS - 1
    assert sessions.token(cookie) == "gm_token"
    source.now_ms = LIFETIME_MS
    assert sessions.token(cookie) is None
    source.now_ms = 0
    assert sessions.token(cookie) is None


def test_the_cookie_says_nothing_of_the_token() -> None:
    """It is a number of its own."""
    assert "gm_token" not in Counted().sessions().open("gm_token")


def test_logging_out_ends_one_session_alone() -> None:
    """Somebody else's, and another of the same account, stay open."""
    sessions = Counted().sessions()
    first, second = sessions.open("gm_token"), sessions.open("gm_token")

    sessions.close(first)

    assert sessions.token(first) is None
    assert sessions.token(second) == "gm_token"


def test_the_oldest_session_gives_way_when_there_are_too_many() -> None:
    """Memory is bounded whatever is asked of the login."""
    sessions = Counted().sessions()
    first, second = sessions.open("a"), sessions.open("b")
    for _ in range(MOST_SESSIONS - 1):
        sessions.open("c")

    assert sessions.token(first) is None
    assert sessions.token(second) == "b"


def test_a_mark_belongs_to_one_cookie_of_one_server() -> None:
    """Neither another session's mark nor another server's is taken, nor an empty one."""
    source = Counted()
    sessions, other = source.sessions(), source.sessions()
    cookie, stranger = sessions.open("a"), sessions.open("b")

    assert sessions.is_marked(cookie, sessions.mark(cookie))
    assert not sessions.is_marked(cookie, sessions.mark(stranger))
    assert not sessions.is_marked(cookie, other.mark(cookie))
    assert not sessions.is_marked(cookie, "")
    assert not sessions.is_marked(cookie, "é")
