"""Syncs under way: told to the writer together, and held back while there is nothing to say.

An idle agent is most of what a large market hears, and each of them waits here most of its life. So a sync that is held
back is one small object: no task, no timer and no event of its own. Everything here belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from itertools import count
from typing import Any

from scheduler.clock import Now
from scheduler.control import Control
from scheduler.store.errors import StaleWriteError
from scheduler.wire import SyncAnswer, SyncRequest

#: a sync that may be held back anyway waits so long for others, to be told with them
GATHER_S = 0.01
#: told to the writer at once; it has other work, and a batch that fails is told again one by one
AT_ONCE = 64
#: those that came are looked at for so long before it is others' turn
TURN_S = 0.005
#: answers that are due within this are given together: little beside the seconds for which they were held back, and a
#: server that wakes for each finds nothing of itself in the processor's caches, which takes longer than the answer
GRAIN_S = 0.05

#: what came of a sync: its answer, or why there is none
Done = Callable[["SyncAnswer | None", "BaseException | None"], None]
Command = Callable[[Control, Now], None]


class Sync:
    """One sync of a node, from when it is believed until it is answered."""

    __slots__ = ("answer", "began_s", "done", "epoch", "error", "held", "news", "node", "poll_ms", "request", "rung",
                 "until_s")  # fmt: skip

    def __init__(self, node: int, epoch: int, request: SyncRequest, began_s: float, done: Done) -> None:
        self.node, self.epoch, self.began_s = node, epoch, began_s
        self.request: SyncRequest | None = request  #: until the rules have taken it in
        self.done: Done | None = done  #: None = it is over
        self.until_s: float | None = None  #: of the loop's clock; when it is answered whatever there is to say
        self.held = False  #: nothing is under way for it
        self.rung = False  #: something may be new since it was last looked at
        self.answer: SyncAnswer | None = None
        self.error: BaseException | None = None
        self.news = False
        self.poll_ms = 0

    def run(self, control: Control, now: Now) -> None:
        """Tell the rules, or ask them again; in the writer's thread, and perhaps more than once."""
        if self.request is not None:
            self.answer = control.sync(self.node, self.epoch, self.request, now)
        else:
            self.answer = control.answer(self.node, self.epoch, now)
        self.news = control.has_news(self.node, self.answer)
        self.poll_ms = self.answer.next_sync_ms


class Syncs:
    """All that are under way."""

    def __init__(self, do: Callable[[Command], Future[None]]) -> None:
        """Hand commands to `do`, which is Writer.do."""
        self._do = do
        self._of_node: dict[int, list[Sync]] = {}
        self._gathered: list[Sync] = []
        self._gathering: asyncio.Handle | None = None
        self._hurry = False  #: what is gathered is told in this turn of the loop
        self._due: list[tuple[float, int, Sync]] = []  #: heap by `until_s`; those that were answered before stay
        self._number = count()  #: so that the heap never compares two syncs
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0
        self._arrived: deque[Callable[[], None]] = deque()
        self._in_turn = False
        self._stopping = False
        self.held = 0  #: how many are held back now

    def in_turn(self, look: Callable[[], None]) -> None:
        """Look at one that came, behind those before it; a fleet that comes back at once makes nobody else wait."""
        self._arrived.append(look)
        if not self._in_turn:
            self._in_turn = True
            asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        until_s = time.monotonic() + TURN_S
        while self._arrived:
            self._arrived.popleft()()
            if time.monotonic() >= until_s:
                break
        self._in_turn = bool(self._arrived)
        if self._in_turn:
            asyncio.get_running_loop().call_soon(self._take_turn)

    def begin(self, node: int, epoch: int, request: SyncRequest, done: Done) -> Sync:
        """Take up a sync; `done` is called once, later, in this loop, unless it is left before."""
        one = Sync(node, epoch, request, asyncio.get_running_loop().time(), done)
        self._of_node.setdefault(node, []).append(one)
        self._gather(one, hurry=not request.wait)
        return one

    def leave(self, one: Sync) -> None:
        """Nobody waits for the answer any more; what was told stays told."""
        if one.done is None:
            return
        one.done = None
        self._let_go(one)
        others = self._of_node[one.node]
        others.remove(one)
        if not others:
            del self._of_node[one.node]

    def ring(self, nodes: Iterable[int]) -> None:
        """There may be news for these nodes."""
        for node in nodes:
            for one in self._of_node.get(node, ()):
                self._look_again(one)

    def ring_all(self) -> None:
        """The server stops: nobody is held back any longer."""
        self._stopping = True
        for some in self._of_node.values():
            for one in some:
                self._look_again(one)

    @property
    def nodes(self) -> int:
        """How many have a sync under way."""
        return len(self._of_node)

    def _look_again(self, one: Sync) -> None:
        if one.held:
            self._let_go(one)
            self._gather(one, hurry=True)
        else:
            one.rung = True

    def _let_go(self, one: Sync) -> None:
        self.held -= one.held
        one.held = False

    def _gather(self, one: Sync, *, hurry: bool) -> None:
        """Have it told with whatever else there is: in this turn of the loop, or soon."""
        self._gathered.append(one)
        if self._hurry or (self._gathering is not None and not hurry):
            return
        if self._gathering is not None:
            self._gathering.cancel()
        loop = asyncio.get_running_loop()
        self._hurry = hurry
        self._gathering = loop.call_soon(self._hand_over) if hurry else loop.call_later(GATHER_S, self._hand_over)

    def _hand_over(self) -> None:
        gathered = [one for one in self._gathered if one.done is not None]
        self._gathered, self._gathering, self._hurry = [], None, False
        for first in range(0, len(gathered), AT_ONCE):
            self._tell(gathered[first : first + AT_ONCE])

    def _tell(self, some: list[Sync]) -> None:
        loop = asyncio.get_running_loop()

        def told(future: Future[None]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever waited
                loop.call_soon_threadsafe(self._told, some, future)

        self._do(lambda control, now: _run(control, now, some)).add_done_callback(told)

    def _told(self, some: list[Sync], future: Future[None]) -> None:
        """What the writer made of some syncs is on the disk, or none of it is."""
        error = future.exception()
        if isinstance(error, StaleWriteError) and len(some) > 1:  # one of them cannot be written: the others can
            for one in some:
                self._tell([one])
            return
        for one in some:
            if one.done is None:
                continue
            why = error or one.error
            if why is not None:
                self._end(one, None, why)
            else:
                self._consider(one)

    def _consider(self, one: Sync) -> None:
        """Answer it, or hold it back."""
        now_s = asyncio.get_running_loop().time()
        if one.request is not None:
            may_wait, one.request = one.request.wait, None
            one.until_s = one.began_s + one.poll_ms / 1000 if may_wait else now_s
        if one.news or self._stopping or one.until_s is None or one.until_s <= now_s:
            self._end(one, one.answer, None)
        elif one.rung:
            one.rung = False
            self._gather(one, hurry=True)
        else:
            one.held = True
            self.held += 1
            heapq.heappush(self._due, (one.until_s, next(self._number), one))
            self._set_timer(now_s)

    def _set_timer(self, now_s: float) -> None:
        """One for all: by the first that is due."""
        due_s = self._due[0][0]
        if self._timer is not None:
            if self._timer_s <= due_s + GRAIN_S:
                return
            self._timer.cancel()
        self._timer_s = max(due_s, now_s + GRAIN_S)
        self._timer = asyncio.get_running_loop().call_at(self._timer_s, self._end_due)

    def _end_due(self) -> None:
        self._timer = None
        now_s = asyncio.get_running_loop().time()
        while self._due and self._due[0][0] <= now_s:
            _, _, one = heapq.heappop(self._due)
            if one.held:
                self._end(one, one.answer, None)
        if self._due:
            self._set_timer(now_s)

    def _end(self, one: Sync, answer: SyncAnswer | None, error: BaseException | None) -> None:
        done = one.done
        self.leave(one)
        one.answer = one.error = None
        if done is not None:
            done(answer, error)


def _run(control: Control, now: Now, some: list[Sync]) -> None:
    """One command for all of them; what one changed is undone alone when it is refused."""
    for one in some:
        mark = control.book.mark()
        one.error = None
        try:
            one.run(control, now)
        except BaseException as error:  # noqa: BLE001 - told to the one whose sync it is
            control.book.undo(mark)
            one.error = error


def waited_for(loop: asyncio.AbstractEventLoop) -> tuple[asyncio.Future[Any], Done]:
    """A future for a coroutine that waits, and what makes it done."""
    future: asyncio.Future[Any] = loop.create_future()

    def done(answer: SyncAnswer | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(answer)

    return future, done
