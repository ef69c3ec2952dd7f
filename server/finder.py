"""Offers are found in a process of their own, which has a copy of the market and an interpreter nobody else wants.

Finding is some forty calls of numpy, each of which lets go of the interpreter's lock; in the server it has to be won
back from the writer and the event loop every time, which takes longer than the finding. What changed is told before
each query, over the same socket, so a page shows everything that was answered before it was asked for. Where there is
no such process (the market is small, it is being started, it died, it does not keep up) the server finds by itself.

Everything here is the event loop's; the book's thread only notes which nodes change, and never waits for the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

from kernels import companion
from scheduler.placement.index import Index
from scheduler.placement.replica import Source
from server import finder_wire, logs
from server.finder_wire import Answers, Question, Told
from server.metrics import Metrics
from server.offers import Asked
from server.problem import ProblemError

#: changes that are told without a query that wants to see them, so that the next one need not wait for all of them
MANY_CHANGES = 1_024
#: characters of a query that is answered soon in a market of any size; what may take long is found in a thread of the
#: server instead of holding up everybody, as is what is to be explained
PLAIN_CHARS = 256
#: how long it may take to read the market, and to answer a query; then it is started anew
READY_S, ANSWER_S = 120.0, 5.0
#: how long one that closed its socket may take to say why
WORDS_S = 1.0
#: between the end of one and the start of the next; doubled each time it did not live longer than that
PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
#: what may wait for it to read, before it counts as behind and is neither told nor asked more
BEHIND_BYTES = 8 << 20


class Finder:
    """Starts the process when the market is large enough, keeps it up, and asks it."""

    def __init__(
        self,
        index: Index,
        database: Path,
        metrics: Metrics,
        *,
        settle: Callable[[], Awaitable[object]],
        least_nodes: int,
    ) -> None:
        """
        Args:
            settle: returns when every change that was made before is on the disk, or undone.
            least_nodes: of a market that has a process.
        """
        self._index, self._database, self._metrics = index, database, metrics
        self._settle, self._least_nodes = settle, least_nodes
        self._large = asyncio.Event()
        self._source: Source | None = None  #: while there is a process, or one is being started
        self._link: _Link | None = None  #: to a process that is ready
        self.pid: int | None = None  #: of that process
        self._keeper: asyncio.Task[None] | None = None
        self._process = contextlib.ExitStack()
        metrics.finder_up.set_function(lambda: self._link is not None)

    def start(self) -> None:
        """From now on there is a process whenever it is worth it; to be called in the event loop."""
        self._keeper = asyncio.get_running_loop().create_task(self._keep())
        self.changed()

    def stop(self) -> None:
        """No more; in the event loop, which ends it before it ends itself."""
        if self._keeper is not None:
            self._keeper.cancel()

    def close(self) -> None:
        """Leave no process behind, whatever became of the event loop."""
        self._process.close()

    def changed(self) -> None:
        """Something was committed."""
        if len(self._index) >= self._least_nodes:
            self._large.set()
        if self._source is None or len(self._source) < MANY_CHANGES:
            return
        if self._link is not None:
            self._link.tell()
        else:
            self._source.gather()

    async def find(self, asked: Asked, now_ms: int) -> bytes | None:
        """A page of offers as offers.find writes it; None when it is not to be had here.

        Raises:
            ProblemError: the query, the order or the cursor cannot be understood.
        """
        link = self._link
        if link is None or asked.explain or len(asked.text) > PLAIN_CHARS:
            return None
        page = await link.ask(asked, now_ms)
        if isinstance(page, ProblemError):
            raise page
        return page

    async def _keep(self) -> None:
        loop, pause_s = asyncio.get_running_loop(), PAUSE_S
        await self._large.wait()
        while True:
            begun_s = loop.time()
            why = await self._live()
            self._metrics.finder_ended.inc()
            pause_s = PAUSE_S if loop.time() - begun_s > LONGEST_PAUSE_S else min(2 * pause_s, LONGEST_PAUSE_S)
            logs.say("the process that finds offers ended", level=logging.WARNING, why=why, again_in_s=pause_s)
            await asyncio.sleep(pause_s)

    async def _live(self) -> str:
        """The life of one process; how it ended."""
        source = self._source = Source(self._index)
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                await self._settle()
                child = await asyncio.to_thread(self._begin, theirs.fileno())
            _, link = await asyncio.get_running_loop().create_connection(lambda: _Link(source), sock=ours)
            try:
                link.send(await asyncio.to_thread(source.names))
                async with asyncio.timeout(READY_S):
                    await link.ready.wait()
                if not link.lost.is_set():
                    link.send(await asyncio.to_thread(source.all_free))
                    self._link, self.pid = link, child.process.pid
                    logs.say("offers are found in a process apart", process=self.pid, nodes=len(self._index))
                    await link.lost.wait()
                    self._link = self.pid = None
                return link.fault or await asyncio.to_thread(_last_words, child)
            finally:
                self._link = self.pid = None
                link.abort()
        except TimeoutError:
            return f"it was not ready after {READY_S:g} s"
        except (OSError, ProblemError) as error:
            return f"it cannot be started: {error}"
        finally:
            self._source = None
            source.close()
            ours.close()
            await asyncio.to_thread(self._process.close)

    def _begin(self, descriptor: int) -> companion.Companion:
        arguments = (str(descriptor), str(self._database))
        return self._process.enter_context(companion.run("server.finder_child", *arguments, pass_fds=(descriptor,)))


def _last_words(child: companion.Companion) -> str:
    """What it said at its end, which comes after its socket is closed."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.process.wait(WORDS_S)
    return child.last_words()


class _Link(asyncio.Protocol):
    """The socket to a process: changes and queries go out in order, answers come back."""

    def __init__(self, source: Source) -> None:
        self.ready, self.lost = asyncio.Event(), asyncio.Event()
        self.fault = ""  #: why we hung up
        self._source, self._answers = source, Answers()
        self._waiting: dict[int, asyncio.Future[bytes | ProblemError | None]] = {}
        self._number = finder_wire.READY
        self._transport: asyncio.Transport
        self._is_behind = False
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ours."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._transport.set_write_buffer_limits(high=BEHIND_BYTES)

    def connection_lost(self, error: Exception | None) -> None:
        """It ended; who waits for an answer gets it otherwise."""
        del error
        self.lost.set()
        self.ready.set()
        if self._watch is not None:
            self._watch.cancel()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()

    def pause_writing(self) -> None:
        """It does not read as fast as it is told."""
        self._is_behind = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self._is_behind = False

    def data_received(self, data: bytes) -> None:
        """Answers, or part of one."""
        for number, page in self._answers.add(data):
            if number == finder_wire.READY:
                self.ready.set()
            elif (waiting := self._waiting.pop(number, None)) is not None and not waiting.done():
                waiting.set_result(page)

    def send(self, told: Told) -> None:
        """The next thing for it to read."""
        self._transport.write(finder_wire.frame(told))

    def tell(self) -> None:
        """What changed."""
        if self._is_behind:
            self._source.gather()
        elif (changes := self._source.take()) is not None:
            self.send(changes)

    async def ask(self, asked: Asked, now_ms: int) -> bytes | ProblemError | None:
        """An answer that knows of everything that was committed before; None when there will be none."""
        self.tell()
        if self._is_behind or self.lost.is_set():
            return None
        self._number += 1
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[bytes | ProblemError | None] = loop.create_future()
        self._waiting[self._number] = waiting
        self.send(Question(self._number, asked, now_ms))
        if self._watch is None:
            self._watch = loop.call_later(ANSWER_S, self._look, self._number)
        return await waiting

    def abort(self) -> None:
        """Hang up."""
        self._transport.abort()

    def _look(self, number: int) -> None:
        """Hang up on a process that has not answered what was asked a while ago."""
        self._watch = None
        if number in self._waiting:
            self.fault = f"it did not answer within {ANSWER_S:g} s"
            self.abort()
        elif self._waiting:
            self._watch = asyncio.get_running_loop().call_later(ANSWER_S, self._look, max(self._waiting))
