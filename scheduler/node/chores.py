"""What a node does for the market while it has no work: measures itself, proves its figures; one thing at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from scheduler.node import proving, qualification
from scheduler.node.remote import RefusedError, Remote, UnreachableError


class Chores:
    """At most one of them runs; work that arrives puts it off at once."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        qualify: tuple[str, ...] | None,
        prove: tuple[str, ...] | None,
        say: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        """
        Args:
            qualify, prove: instead of the usual commands.
            changed: called when one has ended.
        """
        self._environment, self._say, self._changed = environment, say, changed
        self._qualify, self._prove = qualify, prove
        self._task: asyncio.Task[None] | None = None
        self._what = ""
        self._again = False  #: the server wants another proof, which it could not know to be too early

    @property
    def measures(self) -> bool:
        """Whether this node is being measured."""
        return self._task is not None and self._what == "measurement"

    def measure(self, remote: Remote, folder: Path) -> bool:
        """Begin to measure and hand in the report, unless something else is under way; whether it began."""
        argv = self._qualify or tuple(qualification.command(folder))

        async def work() -> None:
            await remote.post_report(await qualification.measure(list(argv), self._environment))

        return self._begin("measurement", "not measured", work)

    def prove(self, remote: Remote) -> bool:
        """Begin to fetch a challenge and answer it, likewise; while one is being answered another follows it."""
        self._again = self._task is not None and self._what == "proof"
        argv = self._prove or tuple(proving.command())

        async def work() -> None:
            await proving.prove(remote, list(argv), self._environment)
            while self._again:
                self._again = False
                await proving.prove(remote, list(argv), self._environment)

        return self._begin("proof", "not proved", work)

    def put_off(self) -> None:
        """Work has come."""
        if self._task is not None and not self._task.cancelling():
            self._task.cancel()
            self._say(f"the {self._what} was put off: work has come")

    async def close(self) -> None:
        """Stop what runs; returns when it has."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _begin(self, what: str, failed: str, work: Callable[[], Awaitable[None]]) -> bool:
        if self._task is not None:
            return False
        self._what = what
        self._task = asyncio.create_task(self._run(failed, work), name=what)
        return True

    async def _run(self, failed: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except (
            qualification.QualificationError,
            proving.ProvingError,
            UnreachableError,
            RefusedError,
            OSError,
        ) as error:
            self._say(f"{failed}: {error}")
        except asyncio.CancelledError:
            pass  # for work, or because we are told to stop
        finally:
            self._task = None
            self._changed()
