"""The supplier's side of the protocol as a model: programs, their supervisors, and the agents above them.

A supervisor's program dies with it, as the real one's does (parent-death signal). An agent adopts every supervisor of
its machine when it begins, and moves a deadline only by an answer that names the token.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from scheduler import lease
from scheduler.lease import Action, Command
from scheduler.records import JobSpec
from scheduler.wire import Assignment, Held, LocalState, SyncAnswer, SyncRequest

NS = 1_000_000  # in a millisecond
CALL_TIMEOUT_MS = 6_000  #: an agent gives an answer up after this
End = Literal["exited", "timeout", "prepare_failed", "vanished"]


@dataclass(frozen=True)
class Program:
    """What a job's command does."""

    lasts_ms: int
    exit_codes: tuple[int, ...]  #: of its attempts in turn; the last one for all that follow

    def exit_code(self, n: int) -> int:
        """Of attempt `n`, from 1."""
        return self.exit_codes[min(n, len(self.exit_codes)) - 1]


@dataclass(eq=False)
class Supervisor:
    """One attempt on a machine; lives on when its agent dies."""

    token: int
    job: int
    spec: JobSpec
    left_ms: int
    exit_code_of_its_own: int
    deadline_ns: int
    command: Command = Command.RUN
    preparing_ms: int = 200
    fails_to_prepare: bool = False
    ran_ms: int = 0
    frozen_since_ns: int | None = None
    executing: bool = False
    end: End | None = None
    exit_code: int | None = None
    _held: Held | None = None  #: as it was told last

    def step(self, now_ns: int, true_ms: int) -> None:
        """`true_ms` pass for the program, and at `now_ns` of the machine's clock the supervisor looks at its lease."""
        if self.end is not None:
            return
        if self.executing:
            self._run(true_ms)
        if self.end is None:
            self._obey(now_ns, true_ms)

    def die(self) -> None:
        """It was killed, and its program with it."""
        if self.end is None:
            self._finish("vanished", None)

    def held(self) -> Held:
        """As its agent tells of it."""
        state = self._state()
        if self._held is None or self._held.state != state:  # an exit code comes with its state
            self._held = Held(token=self.token, state=state, exit_code=self.exit_code)
        return self._held

    def _state(self) -> LocalState:
        if self.end is not None:
            return self.end
        if self.frozen_since_ns is not None:
            return "frozen"
        if self.preparing_ms > 0:
            return "preparing"
        return "stopping" if self.command is Command.STOP else "running"

    def _run(self, true_ms: int) -> None:
        self.ran_ms += true_ms
        self.left_ms -= true_ms
        limit_s = self.spec.max_duration_s
        if self.left_ms <= 0:
            self._finish("exited", self.exit_code_of_its_own)
        elif limit_s is not None and self.ran_ms > limit_s * 1000:
            self._finish("timeout", 137)

    def _obey(self, now_ns: int, true_ms: int) -> None:
        hold_ns = self.spec.hold_s * 1000 * NS
        match lease.decide(now_ns, self.deadline_ns, self.command, self.frozen_since_ns, hold_ns):
            case Action.KILL:
                self._finish("vanished", None)
            case Action.STOP:
                self._finish("exited", 143)
            case Action.FREEZE:
                self.executing = False
                self.frozen_since_ns = now_ns if self.frozen_since_ns is None else self.frozen_since_ns
            case Action.RUN:
                self.frozen_since_ns = None
                self.preparing_ms -= true_ms
                if self.preparing_ms <= 0 and self.fails_to_prepare:
                    self._finish("prepare_failed", None)
                elif self.preparing_ms <= 0:
                    self.executing = True

    def _finish(self, end: End, exit_code: int | None) -> None:
        self.end, self.exit_code, self.executing = end, exit_code, False


@dataclass(frozen=True)
class Call:
    """A request of an agent, on its way or answered."""

    node: int
    life: int  #: of the agent that made it
    number: int
    epoch: int | None  #: None = hello
    body: SyncRequest | str | None  #: a sync, a registration (its boot id), a hello
    sent_ns: int  #: of the machine's clock


@dataclass
class Machine:
    """A node's hardware: its clock, its boot, and what runs on it."""

    node: int
    rate: float  #: of its clock, against true time
    boot: int = 1
    supervisors: dict[int, Supervisor] = field(default_factory=dict)
    fails_to_prepare: int = 0  #: so many times more

    def now_ns(self, true_ms: int) -> int:
        """CLOCK_BOOTTIME; it does not begin at 0 again after a boot, which makes old deadlines no easier to tell."""
        return int(true_ms * self.rate) * NS

    @property
    def boot_id(self) -> str:
        """Of its kernel."""
        return f"boot-{self.node}-{self.boot}"

    def reboot(self) -> None:
        """Nothing of before runs."""
        self.boot += 1
        self.supervisors.clear()


class Agent:
    """The agent's rules; `takes_late` makes it obey answers to calls that it has given up, as long as it lives."""

    def __init__(self, machine: Machine, life: int, *, takes_late: bool) -> None:
        self.machine = machine
        self.life = life
        self.takes_late = takes_late
        self.epoch: int | None = None
        self.pending: Call | None = None
        self.next_sync_ns = 0
        self.numbers = 0
        self.calls: dict[int, Call] = {}
        self.never_held: set[int] = set()  #: named by the server and unknown here: it is told so
        self.wiped: set[int] = set()  #: never to be started again, however late an answer comes
        self._told: tuple[Held, ...] = ()
        self.adopt()

    def adopt(self) -> None:
        """Take over the supervisors that are there; their leases stay as they are."""

    def held(self) -> tuple[Held, ...]:
        """All it knows of."""
        held = tuple([supervisor.held() for supervisor in self.machine.supervisors.values()])
        if not self.never_held:
            return held
        return (*held, *[Held(token=token, state="vanished") for token in sorted(self.never_held)])

    def call(self, now_ns: int) -> Call | None:
        """The next request, if it is time for one."""
        held = self.held()
        if self.pending is not None:
            changed = isinstance(self.pending.body, SyncRequest) and held != self._told
            if now_ns - self.pending.sent_ns < CALL_TIMEOUT_MS * NS and not changed:
                return None
        elif self.epoch is not None and now_ns < self.next_sync_ns and held == self._told:
            return None
        self.numbers += 1
        body: SyncRequest | str | None
        if self.epoch is None:
            body = None
        else:
            self._told = held
            body = SyncRequest(boot_id=self.machine.boot_id, held=held)
        self.pending = Call(self.machine.node, self.life, self.numbers, self.epoch, body, now_ns)
        self.calls[self.numbers] = self.pending
        return self.pending

    def on_hello(self, call: Call, epoch: int, now_ns: int) -> Call | None:
        """The server said which epoch it is: register."""
        if call != self.pending:
            return None
        self.numbers += 1
        self.pending = Call(self.machine.node, self.life, self.numbers, epoch, self.machine.boot_id, now_ns)
        return self.pending

    def on_registered(self, call: Call, epoch: int) -> None:
        """It may sync from now on."""
        if call == self.pending:
            self.pending, self.epoch, self.next_sync_ns = None, epoch, 0
            self.calls.clear()

    def on_stale(self, call: Call) -> None:
        """Its epoch is over: begin anew."""
        if call == self.pending:
            self.pending, self.epoch = None, None

    def on_failure(self, call: Call, now_ns: int) -> None:
        """No answer will come: again in a while."""
        if call == self.pending:
            self.pending, self.next_sync_ns = None, now_ns + 500 * NS

    def on_answer(self, call: Call, answer: SyncAnswer, now_ns: int, programs: dict[int, Program]) -> None:
        """Do what the server wants; what the call told of and the answer does not name is wiped."""
        current = call == self.pending
        if call.epoch != self.epoch or not (current or (self.takes_late and call.number in self.calls)):
            return
        self.calls.pop(call.number, None)
        if current:
            self.pending = None
            self.next_sync_ns = call.sent_ns + min(answer.next_sync_ms, lease.RENEW_MS) * NS
        assert isinstance(call.body, SyncRequest)
        until_ns = lease.agent_deadline_ns(call.sent_ns, answer.lease_ms)
        for token in {held.token for held in call.body.held} - {wish.token for wish in answer.wishes}:
            self._wipe(token)
        for wish in answer.wishes:
            supervisor = self.machine.supervisors.get(wish.token)
            if wish.desired == "forget":
                self._wipe(wish.token)
            elif supervisor is not None:
                supervisor.deadline_ns = max(supervisor.deadline_ns, until_ns)
                if wish.desired == "stop":
                    supervisor.command = Command.STOP
            elif wish.assignment is not None and wish.token not in self.never_held | self.wiped:
                self._start(wish.token, wish.assignment, until_ns, programs)
            elif wish.desired in ("run", "stop") and not self.takes_late:
                self.never_held.add(wish.token)

    def _start(self, token: int, what: Assignment, until_ns: int, programs: dict[int, Program]) -> None:
        program = programs[what.job]
        fails = self.machine.fails_to_prepare > 0
        self.machine.fails_to_prepare -= fails
        self.machine.supervisors[token] = Supervisor(
            token=token,
            job=what.job,
            spec=what.spec,
            left_ms=program.lasts_ms,
            exit_code_of_its_own=program.exit_code(what.n),
            deadline_ns=until_ns,
            fails_to_prepare=fails,
        )

    def _wipe(self, token: int) -> None:
        self.never_held.discard(token)
        self.wiped.add(token)
        self.machine.supervisors.pop(token, None)
