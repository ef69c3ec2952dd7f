"""A clock that stands still until a test moves it."""

from __future__ import annotations

from scheduler.clock import Now

START_UNIX_MS = 1_800_000_000_000


class FakeClock:
    """Starts at 1,000,000 ms of both; the calendar may be set apart from the time that never jumps."""

    def __init__(self, mono_ms: int = 1_000_000, unix_ms: int = START_UNIX_MS) -> None:
        self._now = Now(mono_ms, unix_ms)

    def now(self) -> Now:
        """The moment it stands at."""
        return self._now

    def forward(self, ms: int) -> Now:
        """Let time pass."""
        self._now = Now(self._now.mono_ms + ms, self._now.unix_ms + ms)
        return self._now

    def set_calendar(self, unix_ms: int) -> Now:
        """Somebody sets the date."""
        self._now = Now(self._now.mono_ms, unix_ms)
        return self._now
