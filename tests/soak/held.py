"""Supervisors without processes: the real rules of one, and the real hold of an agent on it, in the loop's own time."""

from __future__ import annotations

import asyncio
import json
import mmap
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scheduler import lease
from scheduler.node import kernel
from scheduler.node.supervised import Launch, Supervised, Terms
from scheduler.node.supervisor import Supervisor


class Body:
    """A job that does nothing, for ever."""

    out = err = -1
    pid = 1

    def start(self, may_run: Callable[[], bool]) -> bool:
        """It may run when it was placed."""
        return may_run()

    def exit_code(self) -> int | None:
        """It has none."""
        return None

    def freeze(self) -> None:
        """Nothing moves."""

    def thaw(self) -> None:
        """Nothing moves."""

    def terminate(self) -> bool:
        """There is nobody to ask."""
        return True

    def kill(self) -> None:
        """There is nothing to end."""

    def sweep(self) -> str:
        """There is nothing left."""
        return ""


class InLoop(Supervisor):
    """Looks at its lease when the loop's time says so; everything that it does then is the real one's."""

    def __init__(self, folder: Path, orders: Mapping[str, Any]) -> None:
        self._folder = folder
        with (folder / "lease").open("rb") as file:
            self._mapped = mmap.mmap(file.fileno(), lease.LEASE_BYTES, access=mmap.ACCESS_READ)
        super().__init__(orders, Body(), self._mapped, -1)
        self._loop = asyncio.get_running_loop()
        self._alarm_clock: asyncio.TimerHandle | None = None
        self._started_ns = kernel.now_ns()
        self._become("running")
        self.look()

    def look(self) -> None:
        """As when it is nudged, or its alarm rings."""
        if self._alarm_clock is not None:
            self._alarm_clock.cancel()
        now_ns = kernel.now_ns()
        self._follow(now_ns)
        self._alarm_clock = self._loop.call_later((self._next_ns(now_ns) - now_ns) / 1e9, self.look)

    def close(self) -> None:
        """The story is over."""
        if self._alarm_clock is not None:
            self._alarm_clock.cancel()
        self._socket.close()
        os.close(self._alarm.descriptor)
        self._mapped.close()

    @property
    def frozen_s(self) -> float:
        """In all so far."""
        running_ns = 0 if self._frozen_since_ns is None else kernel.now_ns() - self._frozen_since_ns
        return (self._frozen_ns + running_ns) / 1e9

    @property
    def runs(self) -> bool:
        """Whether the job is not frozen."""
        return self._frozen_since_ns is None

    def _say(self, code: int | None = None) -> None:
        said = {"state": self._state, "supervisor": 1, "pid": 1, "exit_code": code, "reason": self._reason}
        said["frozen_ms"] = self._frozen_ns // 1_000_000
        (self._folder / "status.json").write_text(json.dumps(said))


class InLoopHold(Supervised):
    """An agent's hold on such a one."""

    #: all that there are, by token
    all: dict[int, InLoop] = {}  # noqa: RUF012 - set by whoever tells the story

    def start(self, launch: Launch, terms: Terms, *, deadline_ns: int, poke: Path) -> None:
        """See Supervised."""
        (self.folder / "lease").write_bytes(lease.pack(deadline_ns, lease.Command.RUN))
        orders = {"token": terms.token, "hold_ms": terms.hold_ms, "grace_ms": terms.grace_ms, "max_ms": terms.max_ms}
        self.token = terms.token
        self.all[terms.token] = InLoop(self.folder, {**orders, "poke": str(poke)})

    def is_alive(self) -> bool:
        """It is never killed here."""
        return True

    def watch(self) -> int | None:
        """It does not end."""
        return None

    def _nudge(self) -> None:
        self.all[self.token].look()
