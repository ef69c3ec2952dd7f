"""The agent: tells the server what this node holds, obeys what it is answered, and never lets a lease run further.

One call carries everything (wire.py). A lease is moved from the moment the answered call was *sent*, and only for
attempts that the answer names. What was told and is not named is killed and wiped. The agent itself may be killed at
any time: its supervisors go on, and the next agent in the folder finds them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from scheduler import lease
from scheduler.node import identity, inputs, kernel, machine
from scheduler.node.attempt import OVER, STOPPED_BEFORE_START, Attempt
from scheduler.node.cache import Cache, default_limit_bytes
from scheduler.node.chores import Chores
from scheduler.node.execution import Machine, executors
from scheduler.node.handing import Surroundings
from scheduler.node.load import BusyRatio
from scheduler.node.remote import CertificateError, RefusedError, Remote, RemoteError, StaleEpochError, UnreachableError
from scheduler.node.scan import adoptable
from scheduler.node.trust import trusted
from scheduler.node.waiting import first, pauses
from scheduler.wire import Held, SyncAnswer, SyncRequest, Wish

#: an answer that is not held back although it could be is not asked for again at once
NOT_HELD_BACK_S = 0.1
REPEAT_FIRST_S, REPEAT_LONGEST_S = 0.02, 1.0
QUALIFY_AGAIN_S = 600.0
GONE_MAX = 10_000


class AgentError(Exception):
    """The agent cannot serve; one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What an agent is told by whoever starts it."""

    data: Path  #: gridmark's data folder; the agent's is `agent` in it
    environment: Mapping[str, str] = field(repr=False)
    random: Callable[[], float]  #: uniform in [0, 1)
    unix_ms: Callable[[], int]
    say: Callable[[str], None]  #: a sentence for the log
    transport: httpx.AsyncBaseTransport | None = None  #: instead of the network
    qualify: tuple[str, ...] | None = None  #: instead of the usual command
    prove: tuple[str, ...] | None = None  #: instead of the usual command
    boot_id: str | None = None  #: instead of the kernel's


class Agent:
    """One node's agent; `run` once."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._folder = agent_folder(config.data)
        self._attempts: dict[int, Attempt] = {}
        self._never: dict[int, Held] = {}  #: asked to be stopped before it was known here
        self._gone: dict[int, None] = {}  #: tokens that must never start here again
        self._wiping: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._chores = Chores(
            config.environment,
            qualify=config.qualify,
            prove=config.prove,
            say=config.say,
            changed=self._changed.set,
        )
        self._registered = False
        self._boot_id = config.boot_id or kernel.boot_id()
        self._busy = BusyRatio()
        self._repeat_s = REPEAT_FIRST_S
        self._held_back_s = lease.RENEW_MS / 1000

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`; then leave politely: what runs goes on under its supervisor, for the next agent.

        Raises:
            AgentError: another agent holds the folder, or the server will not have this node.
        """
        try:
            lock = identity.only_agent(self._folder)
        except (identity.IdentityError, OSError) as error:
            raise AgentError(str(error)) from error
        with lock:
            try:
                found = await self._connect()
            except (identity.IdentityError, OSError) as error:
                raise AgentError(str(error)) from error
            poke = self._listen()
            try:
                self._around = self._surroundings(found, frozenset(self._offered))
                await self._adopt(found)
                await self._serve(stop)
            finally:
                asyncio.get_running_loop().remove_reader(poke)
                poke.close()
                await self._leave()

    async def _connect(self) -> Machine:
        """Who we are, where we are enrolled, and what this machine has."""
        key = identity.own_key(self._folder)
        enrolled = identity.enrolment(self._folder)
        self._offered = enrolled.executors
        self._remote = Remote(
            enrolled.server,
            node=enrolled.node,
            key=key,
            first_seq=identity.first_seq(self._folder, self._config.unix_ms()),
            verify=trusted(enrolled.server, enrolled.ca),
            transport=self._config.transport,
        )
        tag = key.public[:12]
        return await asyncio.to_thread(machine.probe, self._config.environment, tag=tag, data=self._config.data)

    def _surroundings(self, found: Machine, offered: frozenset[str]) -> Surroundings:
        folder = self._config.data / "cache"
        cache = Cache(folder, limit_bytes=default_limit_bytes(folder))
        cache.clear_unfinished()
        return Surroundings(
            machine=found,
            remote=self._remote,
            fetcher=inputs.Fetcher(self._remote, cache, pauses=self._pause),
            cache=cache,
            poke=self._folder / "poke.sock",
            offered=offered,
            changed=self._changed.set,
            pauses=self._pause,
        )

    def _listen(self) -> socket.socket:
        """Where supervisors say that there is something to look at."""
        path = self._folder / "poke.sock"
        path.unlink(missing_ok=True)
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        folder = os.open(self._folder, os.O_PATH | os.O_DIRECTORY)
        try:  # a socket's name has 107 bytes at most, a folder's has thousands
            receiver.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
        asyncio.get_running_loop().add_reader(receiver, self._poked, receiver)
        return receiver

    def _poked(self, receiver: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while said := receiver.recv(64):
                if said.isdigit() and (attempt := self._attempts.get(int(said))) is not None:
                    attempt.poke()

    async def _adopt(self, found: Machine) -> None:
        """Take over what an agent before this one left running; remove what it left half-done."""
        for token, assignment in adoptable(self._folder / "attempts"):
            attempt = Attempt(token, assignment, self._folder / "attempts" / str(token), self._around)
            self._attempts[token] = attempt
            attempt.adopt()
        for executor in executors().values():
            if await asyncio.to_thread(executor.available, found) is None:
                for token in await asyncio.to_thread(executor.tokens, found) - self._attempts.keys():
                    await asyncio.to_thread(executor.clean, found, token)

    async def _leave(self) -> None:
        await self._chores.close()
        for attempt in self._attempts.values():
            await attempt.leave()
        if self._wiping:
            await asyncio.wait(self._wiping)
        await self._around.fetcher.close()
        await self._remote.close()

    async def _serve(self, stop: asyncio.Event) -> None:
        pause, away = self._pause(), ""
        while not stop.is_set():
            try:
                await self._tell(stop)
            except CertificateError as error:
                raise AgentError(str(error)) from error
            except UnreachableError as error:
                if isinstance(error, StaleEpochError):
                    self._registered = False
                if str(error) != away:
                    away = str(error)
                    self._config.say(f"{away}; trying again, leases run on")
                await first(stop.wait(), seconds=pause())
            except RefusedError as refusal:
                if not self._gives_in(refusal):
                    raise AgentError(str(refusal)) from refusal
            else:
                if away:
                    self._config.say("the server is back")
                pause, away = self._pause(), ""

    async def _tell(self, stop: asyncio.Event) -> None:
        if not self._registered:
            await self._remote.register(self._boot_id)
            self._registered = True
            self._changed.set()
        try:
            await self._sync(stop)
        except RemoteError:
            self._changed.set()  # the next answer is not to be held back: leases wait for it
            raise

    def _pause(self) -> Callable[[], float]:
        return pauses(self._config.random, lambda: bool(self._attempts))

    def _gives_in(self, refusal: RefusedError) -> bool:
        """A result that the server does not take would be told for ever; without its files it can end."""
        told = [one for one in self._attempts.values() if one.held().artifacts]
        for attempt in told:
            attempt.drop_artifacts(str(refusal))
        return bool(told)

    async def _sync(self, stop: asyncio.Event) -> None:
        """One call, and what follows from its answer."""
        news = self._changed.is_set()
        self._changed.clear()
        held = (*(one.held() for one in self._attempts.values()), *self._never.values())
        request = SyncRequest(
            boot_id=self._boot_id,
            held=held,
            wait=not news,
            qualifying=self._chores.measures,
            load_busy_ratio=self._busy.since_last(),
        )
        sent_ns = kernel.now_ns()
        call = asyncio.ensure_future(self._remote.sync(request, held_back_s=0.0 if news else self._held_back_s))
        if not news:
            await first(call, self._changed.wait(), stop.wait())
            if not call.done():  # there is something to tell now; what the server wanted to say it says again
                call.cancel()
                await asyncio.wait({call})
                return
        answer = await call
        acted = self._obey(answer, sent_ns, {one.token for one in held})
        self._held_back_s = answer.next_sync_ms / 1000
        if acted or kernel.now_ns() - sent_ns > NOT_HELD_BACK_S * 1e9:
            self._repeat_s = REPEAT_FIRST_S
        elif not news:
            await first(self._changed.wait(), stop.wait(), seconds=min(self._repeat_s, answer.next_sync_ms / 1000))
            self._repeat_s = min(REPEAT_LONGEST_S, 2 * self._repeat_s)

    def _obey(self, answer: SyncAnswer, sent_ns: int, told: set[int]) -> bool:
        """Whether anything was done that the server had not heard of."""
        deadline_ns = lease.agent_deadline_ns(sent_ns, answer.lease_ms)
        acted = False
        for token in told - {wish.token for wish in answer.wishes}:
            self._forget(token)
            acted = True
        for wish in answer.wishes:
            acted |= self._grant(wish, deadline_ns)
        if self._attempts:
            return acted
        if answer.qualify:
            return self._chores.measure(self._remote, self._folder) or acted
        return (answer.prove and self._chores.prove(self._remote)) or acted

    def _grant(self, wish: Wish, deadline_ns: int) -> bool:
        """Do what is wanted of one attempt; whether that is news to it."""
        attempt = self._attempts.get(wish.token)
        if wish.desired == "forget":
            self._forget(wish.token)
            return True
        if attempt is None:
            return self._begin(wish, deadline_ns)
        attempt.extend(deadline_ns)
        if wish.desired == "start":
            return attempt.start()
        if wish.desired == "stop":
            return attempt.stop(wish.reason)
        return False

    def _begin(self, wish: Wish, deadline_ns: int) -> bool:
        if wish.desired == "stop" and wish.token not in self._never:
            self._gone[wish.token] = None
            self._never[wish.token] = Held(
                token=wish.token, state="exited", exit_code=STOPPED_BEFORE_START, reason="stopped before it started"
            )
            self._changed.set()
            return True
        if wish.assignment is None or wish.token in self._gone:
            return False
        self._chores.put_off()
        folder = self._folder / "attempts" / str(wish.token)
        attempt = Attempt(wish.token, wish.assignment, folder, self._around)
        self._attempts[wish.token] = attempt
        attempt.extend(deadline_ns)
        if wish.desired == "start":
            attempt.start()
        attempt.begin()
        return True

    def _forget(self, token: int) -> None:
        """Nothing of this token may run here any more."""
        self._never.pop(token, None)
        self._gone[token] = None
        if len(self._gone) > GONE_MAX:
            del self._gone[next(iter(self._gone))]
        attempt = self._attempts.pop(token, None)
        if attempt is not None:
            if attempt.state not in OVER:
                self._config.say(f"attempt {token} is not this node's any more; it is killed")
            wiping = asyncio.create_task(attempt.wipe(), name=f"wipe {token}")
            self._wiping.add(wiping)
            wiping.add_done_callback(self._wiped)

    def _wiped(self, task: asyncio.Task[None]) -> None:
        self._wiping.discard(task)
        if (error := None if task.cancelled() else task.exception()) is not None:
            self._config.say(f"{task.get_name()} did not succeed: {error}; it is tried again when an agent starts")


def agent_folder(data: Path) -> Path:
    """Where an agent keeps what is its own."""
    return data / "agent"
