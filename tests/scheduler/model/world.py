"""The whole protocol as a model: a server that can crash, agents, supervisors, and a network that does as it likes."""

from __future__ import annotations

import functools
import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from scheduler.book import Change
from scheduler.clock import Now
from scheduler.control import Control, Refused
from scheduler.records import Attempt, Job, JobSpec, Resources, Result
from scheduler.wire import SyncAnswer, SyncRequest
from tests.scheduler.clocks import START_UNIX_MS
from tests.scheduler.model.network import CALM, Letter, Network
from tests.scheduler.model.parts import Agent, Call, Machine, Program, Supervisor
from tests.scheduler.model.server import ModelServer, create_accounts, enrol, report
from tests.scheduler.model.store import ModelStore

STEP_MS = 250
#: a step so long that nothing can happen within it but programs running
HOUR_MS = 3_600_000
T = TypeVar("T")


def _answer(control: Control, now: Now, *, call: Call) -> SyncAnswer:
    assert call.epoch is not None
    return control.answer(call.node, call.epoch, now)


@dataclass
class Life:
    """One life of the server: its rules, its clock, and the syncs that it holds back."""

    model: ModelServer
    mono_base_ms: int
    held_back: dict[int, tuple[Call, int]] = field(default_factory=dict)  #: by node: the call, true ms of its answer

    @property
    def control(self) -> Control:
        """Its rules."""
        return self.model.control


class World:
    """True time and everything in it; an AssertionError says which invariant does not hold."""

    def __init__(
        self, *, server_rate: float, rates: list[float], takes_late: bool, seed: int, real_placer: bool = False
    ) -> None:
        self.random = random.Random(seed)
        self.real_placer = real_placer
        self.true_ms = 0
        self.server_rate = server_rate
        self.takes_late = takes_late
        self.store = ModelStore(self._check_commit)
        self.server: Life | None = None
        self.server_sleeps_until_ms = 0
        self.server_lives = 0
        self.net = Network(self.random)
        self.paused: set[int] = set()
        self.repairs: list[tuple[int, int, Callable[[], None]]] = []  #: heap: true ms, number, what ends a fault
        self.machines = {node: Machine(node, rate) for node, rate in enumerate(rates, start=1)}
        self.agents: dict[int, Agent | None] = {}
        self.programs: dict[int, Program] = {}
        self.tokens: set[int] = set()
        self.finished: dict[int, int | None] = {}  #: token -> exit code with which its program really ended
        self.lives = self.repair_numbers = self.keys = 0
        self._orders = [*itertools.permutations(self.machines)]
        self.start_server()
        for command in create_accounts():
            self.do(command)
        for node in self.machines:
            self.do(enrol(node))
            self.do(report(node, f"r{node}"))
            self.start_agent(node)

    # what may happen

    def submit(self, spec: dict[str, Any], program: Program) -> int | None:
        """A renter's job; None when the server was not there."""
        fields = {"name": "j", "command": ("x",), "resources": Resources(), **spec}
        self.keys += 1
        made = self.do(lambda c, now: c.submit(1, JobSpec(**fields), f"k{self.keys}", now))
        if made is None:
            return None
        self.programs[made.id] = program
        return made.id

    def start_server(self) -> None:
        """From what was committed; its machine may have started anew, so its clock begins anywhere."""
        self.server_lives += 1
        model = ModelServer(self.store, self.random, real_placer=self.real_placer)
        self.server = Life(model, self.random.randrange(10**6) - int(self.true_ms * self.server_rate))

    def kill_server(self) -> None:
        """With all that it holds back, and what is on its way to it."""
        self.server = None

    def start_agent(self, node: int) -> None:
        """A new life of the node's agent, over the supervisors that are there."""
        self.lives += 1
        self.paused.discard(node)
        self.agents[node] = Agent(self.machines[node], self.lives, takes_late=self.takes_late)

    def kill_agent(self, node: int) -> None:
        """Its supervisors live on."""
        self.agents[node] = None

    def reboot(self, node: int) -> None:
        """The node's power failed."""
        self.kill_agent(node)
        self.machines[node].reboot()

    def drain(self, node: int, *, on: bool) -> None:
        """The operator's wish."""
        self.do(lambda c, now: c.drain(node, on, "operator", now))

    def busiest(self) -> int:
        """The node with most attempts; the first of those."""
        return max(self.machines, key=lambda node: (len(self.machines[node].supervisors), -node))

    def after(self, ms: int, repair: Callable[[], None]) -> None:
        """A fault ends when `ms` have passed."""
        self.repair_numbers += 1
        heapq.heappush(self.repairs, (self.true_ms + ms, self.repair_numbers, repair))

    def do(self, command: Callable[[Control, Now], T]) -> T | None:
        """A command as the writer carries it out; None when it was refused, or the server is not there."""
        if self.server is None:
            return None
        try:
            return self._do(command)
        except Refused:
            return None

    def server_now(self) -> Now:
        """The server's clocks."""
        assert self.server is not None
        return Now(self.server.mono_base_ms + int(self.true_ms * self.server_rate), START_UNIX_MS + self.true_ms)

    # time

    def advance(self, ms: int) -> None:
        """Let true time pass in steps, everybody doing what is due, in any order."""
        end_ms = self.true_ms + ms
        while self.true_ms < end_ms:
            self.true_ms += STEP_MS
            while self.repairs and self.repairs[0][0] <= self.true_ms:
                heapq.heappop(self.repairs)[2]()
            self._step_machines()
            self._step_server()
            self._deliver()
            self._step_agents()

    def settle(self) -> None:
        """All faults stop: everything that is down comes up again, and time passes until every job has ended."""
        self.net.weather, self.store.fails_next, self.server_sleeps_until_ms = CALM, False, 0
        self.repairs.clear()
        self.net.deaf.clear()
        self.net.mute.clear()
        self.paused.clear()
        if self.server is None:
            self.start_server()
        for node, agent in self.agents.items():
            self.machines[node].fails_to_prepare = 0
            if agent is None:
                self.start_agent(node)
            self.drain(node, on=False)
            self.do(report(node, f"again{node}"))
        end_ms = self.true_ms + HOUR_MS
        while self.unended() and self.true_ms < end_ms:
            self.advance(5_000)
        assert not self.unended(), f"these never end: {self.unended()}"
        self.advance(20_000)
        left = [s for machine in self.machines.values() for s in machine.supervisors.values()]
        assert not left, f"jobs have ended, and these are still held: {left}"

    def unended(self) -> list[Job]:
        """Jobs that something may still happen to."""
        return [row for row in self.store.live.values() if isinstance(row, Job)]

    # invariants

    def _check_commit(self, changes: Sequence[Change]) -> None:
        """I3 and the tokens: a result is what its program did, and belongs to the newest attempt."""
        for change in changes:
            row = change.after
            if isinstance(row, Attempt) and change.before is None:
                assert row.token not in self.tokens, f"token {row.token} was given before"
                self.tokens.add(row.token)
            if isinstance(row, Result):
                assert change.before is None
                assert self.finished.get(row.token) == row.exit_code, f"nobody ended so: {row}"

    def check_book(self) -> None:
        """I4 and the memory."""
        if self.server is not None:
            self.server.model.check()

    # the inner workings

    def _do(self, command: Callable[[Control, Now], T]) -> T | None:
        assert self.server is not None
        made = self.server.model.do(command, self.server_now())
        self._answer_touched(self.server)
        return made

    def _answer_touched(self, server: Life) -> None:
        for node in server.control.touched().nodes & server.held_back.keys():
            call, _ = server.held_back[node]
            server.held_back[node] = (call, self.true_ms)

    def _step_machines(self) -> None:
        """I1: of no job two attempts are executing; only here one begins to."""
        executing: dict[int, Supervisor] = {}
        for machine in self.machines.values():
            if not machine.supervisors:
                continue
            now_ns = machine.now_ns(self.true_ms)
            for supervisor in machine.supervisors.values():
                supervisor.step(now_ns, STEP_MS)
                if supervisor.end is not None:
                    self.finished.setdefault(supervisor.token, supervisor.exit_code)
                elif supervisor.executing:
                    other = executing.setdefault(supervisor.job, supervisor)
                    assert other is supervisor, f"job {supervisor.job} runs twice: {other} and {supervisor}"

    def _step_server(self) -> None:
        if self.server is None or self.true_ms < self.server_sleeps_until_ms:
            return
        self.server.model.tick(self.server_now())
        self._answer_touched(self.server)
        for node, (call, due_ms) in [*self.server.held_back.items()]:
            if due_ms <= self.true_ms:
                del self.server.held_back[node]
                self._send(call, self.do(functools.partial(_answer, call=call)) or "stale")

    def _step_agents(self) -> None:
        for node in self._orders[int(self.random.random() * len(self._orders))]:
            agent = self.agents[node]
            if agent is not None and node not in self.paused:
                call = agent.call(self.machines[node].now_ns(self.true_ms))
                if call is not None:
                    self._send(call)

    def _send(self, call: Call, answer: Any = None) -> None:
        self.net.send(Letter(call, answer), self.true_ms)

    def _deliver(self) -> None:
        later = []
        while (letter := self.net.arrived(self.true_ms)) is not None:
            if letter.answer is None and self.true_ms < self.server_sleeps_until_ms:
                later.append(letter)
            elif letter.answer is None and self.server is not None:
                self._serve(letter.call)
            elif letter.answer is not None and letter.call.node in self.paused:
                later.append(letter)
            elif letter.answer is not None:
                self._take(letter.call, letter.answer)
        for letter in later:
            self.net.keep(letter, self.true_ms)

    def _serve(self, call: Call) -> None:
        assert self.server is not None
        server, node, epoch = self.server, call.node, call.epoch
        if epoch is None:
            self._send(call, server.control.book.nodes[node].epoch)
            return
        body = call.body
        try:
            if isinstance(body, SyncRequest):
                request = body
                answer = self._do(lambda c, now: c.sync(node, epoch, request, now))
                if answer is not None and not server.control.has_news(node, answer):
                    server.held_back[node] = (call, self.true_ms + min(answer.next_sync_ms, 3_000))
                    return
                self._send(call, answer or "failed")
            else:
                row = self._do(lambda c, now: c.register(node, epoch, str(body), now))
                self._send(call, ("registered", row.epoch) if row else "failed")
        except Refused as refused:
            self._send(call, "stale" if refused.kind == "stale_epoch" else refused)

    def _take(self, call: Call, answer: Any) -> None:
        agent = self.agents[call.node]
        if agent is None or agent.life != call.life:
            return
        now_ns = self.machines[call.node].now_ns(self.true_ms)
        if isinstance(answer, SyncAnswer):
            agent.on_answer(call, answer, now_ns, self.programs)
        elif isinstance(answer, int):
            following = agent.on_hello(call, answer, now_ns)
            if following is not None:
                self._send(following)
        elif isinstance(answer, tuple):
            agent.on_registered(call, answer[1])
        elif answer == "stale":
            agent.on_stale(call)
        else:
            agent.on_failure(call, now_ns)
