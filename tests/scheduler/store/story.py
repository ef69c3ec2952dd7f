"""A short life of a market, told in rounds: what the crash tests run until something stops it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from qualify.proof import verdict
from scheduler.book import Book
from scheduler.clock import Now
from scheduler.control import Control, ControlSettings
from scheduler.desk import ProvingSettings
from scheduler.market.listing import ReportSummary
from scheduler.placement.place import Decision
from scheduler.proofs.outcome import Finding, Judged
from scheduler.proofs.rows import ChallengeState
from scheduler.records import Artifact, Blob, Capacity, Figure, JobSpec, NodeFigure, Remark, ReportEntry, SealedSecret
from scheduler.store.store import Store
from scheduler.store.writer import Writer
from scheduler.wire import Held, LocalState, SyncRequest
from tests.scheduler.store.rows import GIB, SHA, FakeClock

Command = Callable[[Control, Now], object]

FIGURE = Figure(value=1e12, low=0.9e12, high=1.1e12, n=9, at_ms=1_000)
SUMMARY = ReportSummary(
    report_id="r1",
    machine="m1",
    boot_id="boot-1",
    device_kind="cpu",
    model="a CPU",
    vram_bytes=0,
    capacity=Capacity(cpu_milli=3_000, memory_bytes=4 * GIB, disk_bytes=8 * GIB),
    figures={"memory.triad": FIGURE},
    verdict="qualified",
    measured_ms=1_000,
)
ENTRIES = ("event", "report", "figure", "evidence")
TABLES = ("account", "node", "job", "attempt", "result", "blob", "secret", "challenge", *ENTRIES)


META = "select * from meta where key not in ('boot', 'key_mark', 'probe') order by 1"


class OnlyNode:
    """Places everything on node 1, which has room for three."""

    def place(self, spec: JobSpec, avoid: frozenset[int], now: Now) -> Decision:
        """Control looks whether it can."""
        return Decision(node=1, price_uh=10, why={"rule": "the only node"})

    def suitable(self, spec: JobSpec, now: Now) -> tuple[int, ...]:
        """Of one node."""
        return (1,)


def tell(epoch: int, boot: str, **held: tuple[LocalState, int | None]) -> Command:
    """A sync of node 1; attempts are named t1, t2 …, exit codes come with their artifact."""

    def command(control: Control, now: Now) -> object:
        artifact = (Artifact(path="out", sha256=SHA, size_bytes=1),)
        seen = tuple(
            Held(token=int(name[1:]), state=state, exit_code=code, artifacts=artifact if state == "exited" else ())
            for name, (state, code) in held.items()
        )
        return control.sync(1, epoch, SyncRequest(boot_id=boot, held=seen), now)

    return command


def enrol(control: Control, now: Now) -> None:
    """Account 1 brings node 1."""
    control.enrol(
        1,
        name="rig",
        public_key="33" * 32,
        price_uh=10,
        region="eu",
        executors=("process",),
        shares_gpus=False,
        now=now,
    )


def report(control: Control, now: Now) -> None:
    """Node 1 is measured."""
    control.accept_report(1, SUMMARY, now)
    remark = Remark(code="C", severity="info", text="t", remedy="r")
    control.book.add(
        ReportEntry(id="r1", node=1, at_ms=now.unix_ms, verdict="qualified", profile="quick", remarks=(remark,))
    )
    control.book.add(NodeFigure(node=1, metric="memory.triad", figure=FIGURE))


def issue(control: Control, now: Now) -> None:
    """Node 1 gets a challenge."""
    assert control.issue_challenge(1, 1, now, lambda count: bytes([len(control.book.challenges)] * count)) is not None


def goes_on(state: ChallengeState) -> Command:
    """The challenge of node 1 does."""

    def command(control: Control, now: Now) -> object:
        (challenge,) = control.book.challenges
        return control.advance_challenge(challenge, 1, state, now)

    return command


def judge(control: Control, now: Now) -> object:
    """It was answered truly; its node is proved by that."""
    (challenge,) = control.book.challenges
    rate = verdict.Figure(value=1e9, low=9e8, high=2e9, sustained=1e9, n=3, unit="B/s")
    found = verdict.to_json(verdict.Verdict(outcome="pass", why="", figures={"proved.memory_bandwidth": rate}))
    judged = Judged(transcript_sha256=SHA, verdict=found, verifier=verdict.VERIFIER)
    return control.settle_challenge(challenge, 1, Finding(outcome="pass", judged=judged), now)


def submit(key: str, *, secret: bool = False) -> Command:
    """Account 2 wants something run."""

    def command(control: Control, now: Now) -> None:
        spec = JobSpec(name=key, command=("true",), secrets=("TOKEN",) if secret else (), retries=1)
        job = control.submit(2, spec, key, now)
        if secret:
            control.book.add(SealedSecret(job=job.id, name="TOKEN", sealed=b"sealed"))

    return command


#: rounds until jobs have come with their secrets
WITH_SECRETS = 8
#: (ms that pass before it, commands of the round)
ROUNDS: tuple[tuple[int, tuple[Command, ...]], ...] = (
    (
        0,
        (
            lambda control, now: control.create_account("sam", "supplier", "11" * 32, now),
            lambda control, now: control.create_account("ann", "renter", "22" * 32, now),
        ),
    ),
    (
        100,
        (
            enrol,
            lambda control, now: control.register(1, 0, "boot-1", now),
        ),
    ),
    (100, (report, tell(1, "boot-1"))),
    (100, (issue,)),
    (100, (goes_on(ChallengeState.USED),)),
    (100, (goes_on(ChallengeState.ASKED), goes_on(ChallengeState.ANSWERED))),
    (100, (judge,)),
    (
        100,
        (
            lambda control, now: control.book.add(Blob(owner=2, sha256=SHA, size_bytes=1, created_ms=now.unix_ms)),
            submit("one", secret=True),
            submit("two"),
            submit("three"),
        ),
    ),
    (100, (tell(1, "boot-1", t1=("running", None), t2=("running", None), t3=("preparing", None)),)),
    (
        500,
        (
            tell(1, "boot-1", t1=("exited", 0), t2=("running", None), t3=("running", None)),
            lambda control, now: control.cancel(2, "account 2", now),
            lambda control, now: control.cancel(99, "account 2", now),  # refused: it does not exist
        ),
    ),
    (100, (tell(1, "boot-1", t2=("exited", 137), t3=("running", None)), submit("four"))),
    (1_000, (lambda control, now: control.register(1, 1, "boot-2", now),)),  # a reboot: all of it is lost
    (100, (tell(2, "boot-2"),)),
    (100, (tell(2, "boot-2", t5=("running", None), t6=("exited", 3)),)),
    *((1_500, ()) for _ in range(12)),  # nothing is heard of the node: it goes offline, what ran there is lost
    (100, (lambda control, now: control.revoke_account(2, now),)),
)


def run(store: Store) -> Iterator[int]:
    """Tell the story through a writer; gives the number of each round once its commands are answered."""
    book = Book()
    loaded = store.load()
    book.load(loaded.rows, loaded.counters)
    clock = FakeClock()
    settings = ControlSettings(proving=ProvingSettings(on=True))
    control = Control(book, OnlyNode(), random=lambda: 0.5, settings=settings)
    writer: Writer[Control] = Writer(control, store, clock, on_commit=lambda touched: None)
    for number, (after_ms, commands) in enumerate(ROUNDS):
        clock.ms += after_ms
        for command in commands:
            writer.do(command)
        writer.step()
        assert writer.problem is None, writer.problem
        yield number


def dump(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables; of `meta` all but what each opening changes."""
    with closing(sqlite3.connect(path)) as db:
        rows = {table: db.execute(f"select * from {table} order by 1, 2, 3").fetchall() for table in TABLES}  # noqa: S608
        rows["meta"] = db.execute(META).fetchall()
    return rows
