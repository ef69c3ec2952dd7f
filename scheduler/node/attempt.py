"""One attempt's life on a node: fetch, wait for the word, run under a supervisor, hand in, be forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from scheduler import codec, lease
from scheduler.node import handing, kernel, preparation
from scheduler.node.checkpoint import Checkpointer
from scheduler.node.execution import Executor, Order, PrepareError, executor_of, executors
from scheduler.node.guard import guard
from scheduler.node.handing import Surroundings
from scheduler.node.logs import LogPusher
from scheduler.node.removal import remove
from scheduler.node.scan import ORDER
from scheduler.node.supervised import ENDED, Status, Supervised, Terms
from scheduler.records import Artifact
from scheduler.wire import Assignment, Held, LocalState

#: states in which nothing of the attempt runs any more
OVER: frozenset[LocalState] = frozenset({"exited", "timeout", "prepare_failed", "vanished"})
#: how long a supervisor may take to kill its job before it is killed itself
KILL_WAIT_S = 5.0
#: of the disk, which stay free whatever a job wants
DISK_SPARE_BYTES = 256 << 20
REASON_MAX_CHARS = 2000
STOPPED_BEFORE_START = 143  #: as if SIGTERM had ended it


class Attempt:
    """Owned by one event loop. `run` is its life; the rest is what the server wants of it."""

    def __init__(self, token: int, assignment: Assignment, folder: Path, around: Surroundings) -> None:
        self.token = token
        self.state: LocalState = "preparing"
        self.deadline_ns = 0  #: of its lease, CLOCK_BOOTTIME
        self._assignment, self._folder, self._around = assignment, folder, around
        self._order = Order(
            token=token,
            job=assignment.job,
            n=assignment.n,
            spec=assignment.spec,
            gpus=assignment.gpus,
            folder=folder,
            secrets=assignment.secrets,
        )
        self._supervised = Supervised(folder)
        self._started = False
        self._start_wanted, self._poked, self._extended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._stopping = False
        self._exit_code: int | None = None
        self._reason = ""
        self._frozen_ms = 0
        self._artifacts: tuple[Artifact, ...] = ()
        self._task: asyncio.Task[None] | None = None

    def held(self) -> Held:
        """As it is told to the server."""
        return Held(
            token=self.token,
            state=self.state,
            exit_code=self._exit_code,
            reason=self._reason,
            artifacts=self._artifacts,
            frozen_ms=self._frozen_ms,
        )

    def begin(self) -> None:
        """Start its life."""
        self._task = asyncio.create_task(self._live(), name=f"attempt {self.token}")
        self._task.add_done_callback(self._check)

    def adopt(self) -> None:
        """Go on with a supervisor that an agent before us started."""
        self._started = True
        self.state = "running"
        self._task = asyncio.create_task(self._go_on(), name=f"attempt {self.token}")
        self._task.add_done_callback(self._check)

    def extend(self, deadline_ns: int) -> None:
        """The server named it: it may run until then."""
        self.deadline_ns = max(self.deadline_ns, deadline_ns)
        self._extended.set()
        if self._started and self.state not in OVER:
            with contextlib.suppress(OSError, ValueError):  # a lease that cannot be moved ends: that is safe
                self._supervised.extend(self.deadline_ns)

    def start(self) -> bool:
        """The server wants it to run, as soon as it is prepared; False when it knew."""
        knew = self._start_wanted.is_set()
        self._start_wanted.set()
        return not knew

    def drop_artifacts(self, reason: str) -> None:
        """The server does not take what it left behind."""
        self._artifacts = ()
        self._reason = f"{self._reason}; no artifacts were kept: {reason}".removeprefix("; ")

    def stop(self, reason: str) -> bool:
        """The server wants it to end: politely when it runs, at once when it does not yet; False when it knew."""
        if self._stopping or self.state in OVER:
            return False
        self._stopping = True
        if self._started and self._supervised.is_alive():
            with contextlib.suppress(OSError, ValueError):
                self._supervised.command(lease.Command.STOP)
        elif self._task is not None:
            self._task.cancel()
            code = self._exit_code if self._started else STOPPED_BEFORE_START
            self._end("exited", code, reason or "stopped before it started")
        return True

    def poke(self) -> None:
        """Its supervisor has something to say."""
        self._poked.set()

    async def leave(self) -> None:
        """Let go of it; a supervisor goes on by itself."""
        await self._cancel()
        self._supervised.close()

    async def wipe(self) -> None:
        """End whatever of it still runs, and remove every trace."""
        await self._cancel()
        if self._started and self._supervised.is_alive():
            with contextlib.suppress(OSError, ValueError):
                self._supervised.command(lease.Command.KILL)
            await self._gone()
            self._supervised.end()
        self._supervised.close()
        await asyncio.to_thread(self._executor().clean, self._around.machine, self.token)
        await asyncio.to_thread(remove, self._folder)

    def _check(self, task: asyncio.Task[None]) -> None:
        """A fault of ours, or of the disk, ends the attempt here: it is told, and wiped when it is forgotten."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            with contextlib.suppress(OSError, ValueError):
                self._supervised.command(lease.Command.KILL)
            self._end("vanished", None, f"the node's agent failed: {type(error).__name__}: {error}")

    async def _gone(self) -> None:
        """Until its supervisor has ended, KILL_WAIT_S at most."""
        with contextlib.suppress(TimeoutError), self._woken_by_its_end(asyncio.get_running_loop()):
            async with asyncio.timeout(KILL_WAIT_S):
                while self._supervised.is_alive():
                    self._poked.clear()
                    await self._poked.wait()

    async def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _executor(self) -> Executor:
        return executors()[executor_of(self._order.spec)]

    async def _live(self) -> None:
        try:
            await self._prepare()
            if not self._start_wanted.is_set():
                self._become("prepared")
                await self._start_wanted.wait()
            self.state = "starting"  # over in a moment: what follows is told
            await self._start()
        except PrepareError as error:
            self._end("prepare_failed", None, str(error))
            return
        except OSError as error:
            self._end("prepare_failed", None, f"{error.strerror or error} ({error.filename or self._folder})")
            return
        await self._go_on()

    async def _prepare(self) -> None:
        spec, machine = self._order.spec, self._around.machine
        name = executor_of(spec)
        if name not in self._around.offered:
            raise PrepareError(f"this node does not offer the executor {name}")
        self._executor().check(machine, self._order)
        for folder in (self._order.work, self._order.temporary):
            folder.mkdir(parents=True, exist_ok=True)
        (self._folder / ORDER).write_text(codec.dumps(replace(self._assignment, secrets={})))
        await self._ensure_room()
        fetch = self._around.fetcher.fill(self.token, spec, self._assignment.checkpoint_sha256, self._order.work)
        await fetch
        launch = await asyncio.to_thread(self._executor().preparation, machine, self._order)
        if launch is not None:
            await preparation.run(launch)

    async def _ensure_room(self) -> None:
        wanted = self._order.spec.resources.disk_bytes + DISK_SPARE_BYTES

        def free_bytes() -> int:
            return shutil.disk_usage(self._folder).free

        if not await asyncio.to_thread(self._around.cache.make_room, wanted, free_bytes=free_bytes):
            raise PrepareError(f"the node's disk has {free_bytes()} bytes free, the job and its spare need {wanted}")

    async def _start(self) -> None:
        spec = self._order.spec
        launch = await asyncio.to_thread(self._executor().launch, self._around.machine, self._order)
        terms = Terms(
            token=self.token,
            hold_ms=spec.hold_s * 1000,
            grace_ms=spec.stop_grace_s * 1000,
            max_ms=None if spec.max_duration_s is None else spec.max_duration_s * 1000,
            quota_bytes=spec.log_quota_bytes,
        )
        while self.deadline_ns <= kernel.now_ns():  # fetching took longer than the lease: somebody else may have it
            self._extended.clear()
            await self._extended.wait()
        # not in a thread: between its start and what follows nothing may come in between
        self._started = True
        self._supervised.start(launch, terms, deadline_ns=self.deadline_ns, poke=self._around.poke)

    async def _go_on(self) -> None:
        """From the start of its supervisor to the end of what is handed in."""
        loop = asyncio.get_running_loop()
        pushers = handing.pushers(self._around, self._order)
        helpers = [loop.create_task(one.run()) for one in pushers]
        helpers.append(loop.create_task(guard(self._supervised)))
        checkpointer = handing.checkpointer(self._around, self._order)
        if checkpointer is not None:
            helpers.append(loop.create_task(checkpointer.run()))
        try:
            with self._woken_by_its_end(loop):
                status = await self._follow(pushers)
            if checkpointer is not None:
                helpers.pop().cancel()
            await self._hand_in(status, pushers, checkpointer)
        finally:
            for helper in helpers:
                helper.cancel()

    async def _follow(self, pushers: list[LogPusher]) -> Status | None:
        """Until its supervisor is gone; what it said last, None if it did not say how the job ended."""
        while True:
            self._poked.clear()
            alive = self._supervised.is_alive()  # asked first: what it says after that is its last word
            status = self._supervised.status()
            for pusher in pushers:
                pusher.wake()
            if status is not None and status.state in ENDED:
                return status
            if not alive:
                return None
            if status is not None:
                self._frozen_ms = status.frozen_ms
                self._become(status.state)
            await self._poked.wait()

    @contextlib.contextmanager
    def _woken_by_its_end(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        descriptor = self._supervised.watch()
        if descriptor is None:  # the agent looks after each sync as well
            yield
            return

        def ended() -> None:
            loop.remove_reader(descriptor)  # it stays readable
            self._poked.set()

        loop.add_reader(descriptor, ended)
        try:
            yield
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    async def _hand_in(self, status: Status | None, pushers: list[LogPusher], saver: Checkpointer | None) -> None:
        """The job is over; its results are uploaded before its end is told."""
        if status is None:
            await asyncio.to_thread(self._executor().clean, self._around.machine, self.token)
        else:
            self._exit_code, self._frozen_ms = status.exit_code, status.frozen_ms
        for pusher in pushers:
            await pusher.drained()
        notes = [
            status.reason if status else "its supervisor is gone without a word",
            *(one.given_up for one in pushers),
        ]
        if status is not None and status.state != "vanished":
            self._artifacts, note = await handing.keep_artifacts(self._around, self._order)
            notes.append(note)
            if saver is not None and (status.exit_code != 0 or self._stopping):  # it may be placed again
                await saver.save()
                notes.append(saver.trouble)
        state: LocalState = status.state if status else "vanished"
        self._end(state, self._exit_code, "; ".join(note for note in notes if note))

    def _become(self, state: LocalState) -> None:
        if state != self.state:
            self.state = state
            self._around.changed()

    def _end(self, state: LocalState, code: int | None, reason: str) -> None:
        self._exit_code, self._reason = code, reason[:REASON_MAX_CHARS]
        self._become(state)
