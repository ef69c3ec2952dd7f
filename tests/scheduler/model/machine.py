"""The state machine that looks for a way to run a job twice, to lose one, or to commit what is not so."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scheduler.records import Resources
from tests.scheduler.model.draws import FLAG, Draw, Each, Either, Made, OneOf, Whole, strategies
from tests.scheduler.model.network import CALM, Weather
from tests.scheduler.model.parts import Program
from tests.scheduler.model.world import World

NODES = 3
RATE = OneOf(0.8, 1.0, 1.2)
#: a node with work more often than any other, for what happens to an idle one matters little
NODE = OneOf(0, 0, 0, *range(1, NODES + 1))
FOR_MS = OneOf(500, 5_000, 11_000, 18_000, 40_000)
THEN_MS = OneOf(0, 250, 1_000, 4_000, 14_000)
WHICH = Whole(0, 100)
WANTED = OneOf(Resources(), Resources(cpu_milli=3000), Resources(gpus=1), Resources(gpus=2), Resources(gpu_milli=400))
PROGRAM = Made(
    Program,
    lasts_ms=OneOf(500, 8_000, 30_000, 90_000),
    exit_codes=OneOf(*[(0,)] * 6, (7, 0), (7,), (9, 7, 7, 0)),
)
WEATHER = Either(
    OneOf(CALM),
    Made(
        Weather,
        lose=OneOf(0.0, 0.2, 0.5),
        double=OneOf(0.0, 0.3),
        delay_ms=OneOf(50, 2_000, 6_000, 12_000),
    ),
)
LONG = Program(lasts_ms=90_000, exit_codes=(0,))
#: how a history begins
BEGIN: dict[str, Draw] = {
    "server_rate": RATE,
    "rates": Each(*[RATE] * NODES),
    "late": FLAG,
    "seed": Whole(0, 2**32),
    "weather": WEATHER,
    "real_placer": FLAG,
}
#: what may happen then: a method of Protocol, and what its arguments are drawn from
EVENTS: dict[str, dict[str, Draw]] = {}


def event(**draws: Draw) -> Callable[[Callable[..., None]], Any]:
    """A rule after which some time passes."""

    def decorate(happens: Callable[..., None]) -> Any:
        @functools.wraps(happens)
        def happens_and_time_passes(self: Protocol, then_ms: int, **values: Any) -> None:
            if "node" in values:
                values["node"] = values["node"] or self.world.busiest()
            happens(self, **values)
            self.world.advance(then_ms)

        EVENTS[happens.__name__] = {**draws, "then_ms": THEN_MS}
        made: Any = rule(**strategies(EVENTS[happens.__name__]))  # type: ignore[call-overload]
        return made(happens_and_time_passes)

    return decorate


class Protocol(RuleBasedStateMachine):
    """Real rules of the server and of the leases, model machines, and everything that can go wrong."""

    world: World

    @initialize(**strategies(BEGIN))  # type: ignore[call-overload, untyped-decorator]
    def begin(self, late: bool, rates: tuple[float, ...], weather: Weather, **begins: Any) -> None:
        self.world = World(takes_late=late, rates=list(rates), **begins)
        for wanted in (Resources(gpus=2), Resources(gpus=1)):  # the second goes to another node
            self.world.submit({"resources": wanted}, LONG)
        self.world.advance(3_000)
        self.world.net.weather = weather

    @event(
        program=PROGRAM,
        resources=WANTED,
        retries=Whole(0, 2),
        priority=Whole(0, 1),
        preemptible=FLAG,
        limit_s=OneOf(*[None] * 4, 5),
        deadline_in_ms=OneOf(*[None] * 6, 10_000, 60_000),
    )
    def submit(self, program: Program, deadline_in_ms: int | None, limit_s: int | None, **spec: Any) -> None:
        world = self.world
        if deadline_in_ms is not None and world.server is not None:
            spec["deadline_ms"] = world.server_now().unix_ms + deadline_in_ms
        world.submit({**spec, "max_duration_s": limit_s, "recover_on_exit_codes": (9,)}, program)

    @event(which=WHICH)
    def cancel(self, which: int) -> None:
        jobs = self.world.unended()
        if len(jobs) > 1:
            job = jobs[which % len(jobs)].id
            self.world.do(lambda c, now: c.cancel(job, "account 1", now))

    @event(weather=WEATHER)
    def weather_changes(self, weather: Weather) -> None:
        self.world.net.weather = weather

    @event(node=NODE, mute=FLAG, deaf=FLAG, for_ms=FOR_MS)
    def link_is_cut(self, node: int, mute: bool, deaf: bool, for_ms: int) -> None:
        for broken in (self.world.net.mute,) * mute + (self.world.net.deaf,) * deaf:
            broken.add(node)
            self.world.after(for_ms, functools.partial(broken.discard, node))

    @event(for_ms=FOR_MS)
    def server_is_cut_off(self, for_ms: int) -> None:
        for node in self.world.machines:
            for broken in (self.world.net.mute, self.world.net.deaf):
                broken.add(node)
                self.world.after(for_ms, functools.partial(broken.discard, node))

    @event(node=NODE, for_ms=FOR_MS)
    def agent_dies(self, node: int, for_ms: int) -> None:
        self.world.kill_agent(node)
        self.world.after(for_ms, functools.partial(self.world.start_agent, node))

    @event(node=NODE)
    def agent_begins_anew(self, node: int) -> None:
        self.world.start_agent(node)

    @event(node=NODE, for_ms=FOR_MS)
    def agent_is_stopped(self, node: int, for_ms: int) -> None:
        self.world.paused.add(node)
        self.world.after(for_ms, functools.partial(self.world.paused.discard, node))

    @event(node=NODE, which=WHICH)
    def supervisor_dies(self, node: int, which: int) -> None:
        there = list(self.world.machines[node].supervisors.values())
        if there:
            there[which % len(there)].die()

    @event(node=NODE)
    def node_reboots(self, node: int) -> None:
        self.world.reboot(node)
        self.world.start_agent(node)

    @event(node=NODE)
    def preparation_will_fail(self, node: int) -> None:
        self.world.machines[node].fails_to_prepare += 1

    @event(for_ms=FOR_MS)
    def server_dies(self, for_ms: int) -> None:
        self.world.kill_server()
        self.world.after(for_ms, self.world.start_server)

    @event()
    def server_begins_anew(self) -> None:
        self.world.start_server()

    @event(for_ms=FOR_MS)
    def server_stands_still(self, for_ms: int) -> None:
        self.world.server_sleeps_until_ms = self.world.true_ms + for_ms

    @event()
    def next_commit_fails(self) -> None:
        self.world.store.fails_next = True

    @event(node=NODE, for_ms=FOR_MS)
    def node_is_drained(self, node: int, for_ms: int) -> None:
        self.world.drain(node, on=True)
        self.world.after(for_ms, functools.partial(self.world.drain, node, on=False))

    @precondition(lambda self: hasattr(self, "world"))
    @invariant()
    def memory_is_what_was_committed(self) -> None:
        self.world.check_book()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.settle()
