"""What can go wrong with the store, each told in one sentence."""

from __future__ import annotations


class StoreError(Exception):
    """The store could not be opened, read or written; nothing of what was asked for has happened."""


class StaleWriteError(StoreError):
    """The database does not hold what the change starts from, or its rules forbid what it leads to."""


class DamagedError(StoreError):
    """The database file cannot be trusted any more; only a backup helps."""


class BusyError(StoreError):
    """More is waiting to be written than the writer takes on; try again later."""
