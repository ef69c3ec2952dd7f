"""Who is looking at the pages: a session behind a cookie that no script can read, and the marks on forms.

A session lives in memory and ends with logging out, with its time, or with the server. It holds the token it was
opened with, and every page asks anew whose that is: whoever is revoked is out at once. The cookie is a number of its
own; whoever gets hold of it can neither call the API nor outlast the session.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

COOKIE = "gridmark_session"
FORM_COOKIE = "gridmark_form"  #: what the login form's mark is bound to, for there is no session yet
LIFETIME_MS = 12 * 3_600_000
MOST_SESSIONS = 10_000  #: the oldest gives way
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class _Session:
    token: str
    ends_mono_ms: int


class Sessions:
    """Open sessions by the digest of their cookie. Safe to use from several threads.

    Args:
        random_bytes: a source fit for keys.
        mono_ms: a clock that never goes back.
    """

    def __init__(self, *, random_bytes: Callable[[int], bytes], mono_ms: Callable[[], int]) -> None:
        self._random_bytes = random_bytes
        self._mono_ms = mono_ms
        self._key = random_bytes(_KEY_BYTES)
        self._open: OrderedDict[str, _Session] = OrderedDict()
        self._lock = threading.Lock()

    def fresh(self) -> str:
        """A value for a cookie that nobody can guess."""
        return self._random_bytes(_KEY_BYTES).hex()

    def open(self, token: str) -> str:
        """Begin a session for whoever holds the token; returns its cookie."""
        cookie = self.fresh()
        with self._lock:
            while len(self._open) >= MOST_SESSIONS:
                self._open.popitem(last=False)
            self._open[_digest(cookie)] = _Session(token, self._mono_ms() + LIFETIME_MS)
        return cookie

    def token(self, cookie: str) -> str | None:
        """The token behind a cookie; None when there is no such session or its time is over."""
        with self._lock:
            key = _digest(cookie)
            found = self._open.get(key)
            if found is None:
                return None
            if self._mono_ms() >= found.ends_mono_ms:
                del self._open[key]
                return None
            return found.token

    def close(self, cookie: str) -> None:
        """End a session, if there is one."""
        with self._lock:
            self._open.pop(_digest(cookie), None)

    def mark(self, cookie: str) -> str:
        """What a form must bring along to be believed: only pages shown to the holder of `cookie` carry it."""
        return hmac.new(self._key, cookie.encode(), hashlib.sha256).hexdigest()

    def is_marked(self, cookie: str, mark: str) -> bool:
        """Whether `mark` is the one of `cookie`."""
        return hmac.compare_digest(self.mark(cookie).encode(), mark.encode())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
