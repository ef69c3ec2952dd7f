"""Everything a running server holds: opened in order, closed in order, and the two ways to reach the market."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

from scheduler.book import Book
from scheduler.clock import Clock, Now, SystemClock
from scheduler.collector import not_collecting
from scheduler.control import Control, ControlSettings, Touched
from scheduler.placement.index import Index
from scheduler.placement.place import IndexPlacer
from scheduler.records import Account, Role
from scheduler.shares import Quota
from scheduler.store.check import check
from scheduler.store.errors import BusyError, StoreError
from scheduler.store.files import Files
from scheduler.store.reader import Reader
from scheduler.store.store import Store, open_store
from scheduler.store.writer import Writer
from server import auth, offers
from server.alarms import Alarms, worded
from server.finder import Finder
from server.housekeeping import Housekeeper
from server.limits import Buckets, Slots
from server.metrics import Metrics
from server.notify import Bells
from server.observe import Watch
from server.offers import Asked
from server.problems import ProblemError
from server.proving import Proofs
from server.quota import Quotas
from server.settings import Settings
from server.signing import Replays
from server.syncs import Syncs

P = ParamSpec("P")
T = TypeVar("T")

DATABASE = "gridmark.db"
#: threads that read the database and files; the event loop itself never waits for a disk
READERS = 8
#: a file that no row names is kept so long: what was uploaded last has no job yet
UNNAMED_S = 24 * 3600
#: roles that the first start makes an account of each
FIRST_ACCOUNTS: tuple[Role, ...] = ("operator", "supplier", "renter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Time and chance."""

    clock: Clock = field(default_factory=SystemClock)
    monotonic_s: Callable[[], float] = time.monotonic
    random: Callable[[], float] = random.random
    random_bytes: Callable[[int], bytes] = os.urandom
    monotonic_ns: Callable[[], int] = time.monotonic_ns  #: by which proofs are timed


class Runtime:
    """The open market and all that the routes share. `open` makes it, `close` ends it."""

    def __init__(self, settings: Settings, sources: Sources, store: Store, market: _Market) -> None:
        self.settings = settings
        self.sources = sources
        self.server_boot = store.boot_number
        self.database = store.path
        self.sealer = store.sealer
        self.evidence_key = store.evidence_key  #: Ed25519, private
        self.book = market.book  #: others than the writer's thread only look up single rows in it
        self.index = market.index
        self.files = Files(settings.data / "files")
        self.reader = Reader(store.path)
        self.metrics = Metrics()
        self.writer = Writer(
            market.control,
            store,
            sources.clock,
            on_commit=self._committed,
            on_written=self.metrics.commit_s.observe,
        )
        self.directory = auth.Directory(market.book.accounts.values())
        self.replays = Replays()
        limits = settings.limits
        self.callers = Buckets(limits.account_requests_per_s, limits.account_requests_burst, sources.monotonic_s)
        self.addresses = Buckets(limits.address_requests_per_s, limits.address_requests_burst, sources.monotonic_s)
        self.watch = Watch(
            metrics=self.metrics,
            addresses=self.addresses,
            clock_s=sources.monotonic_s,
            new_id=lambda: sources.random_bytes(8).hex(),
        )
        self.quotas = Quotas(limits.blob_quota_bytes, self.reader.blob_bytes)
        self.follows = Slots(limits.follows, "log streams")
        self.proofs = Proofs(judges=settings.judges)
        self.syncs = Syncs(self.writer.do)
        self.jobs = Bells()  #: rung when a job changed or its output grew
        self.alarms = Alarms()
        self.finder = Finder(
            self.index,
            store.path,
            self.metrics,
            least_nodes=settings.finder_nodes,
            settle=lambda: self.do(lambda _control, _now: None),
        )
        self.housekeeper = Housekeeper(self)
        self.metrics.waiting_syncs.set_function(lambda: self.syncs.held)
        self._control = market.control  #: the writer's thread's alone
        self._store = store
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="gridmark-reader")
        self.faults: tuple[str, ...] = ()  #: in what the database says, as it was opened
        self.stopping = False  #: nobody may be made to wait any more

    @classmethod
    def open(cls, settings: Settings, sources: Sources | None = None) -> Runtime:
        """Open the data folder, made if it is not there, and start the writer.

        Raises:
            StoreError: it cannot be used; says why in a sentence.
        """
        sources = sources or Sources()
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.ExitStack() as undoing:
            store = open_store(settings.data / DATABASE)
            undoing.callback(store.close)
            with ThreadPoolExecutor(1) as beside:  # the other core looks at the database while this one reads it
                faults = beside.submit(check, store.path, deep=False)
                market = _Market.load(store, settings, sources)
            runtime = cls(settings, sources, store, market)
            runtime.faults = tuple(faults.result())
            undoing.pop_all()
        runtime.writer.start()
        return runtime

    def bootstrap(self) -> Mapping[Role, str]:
        """Make the first accounts where there is none at all; their tokens by role, this once."""
        if self.directory.known:
            return {}
        tokens = {role: auth.new_token(self.sources.random_bytes) for role in FIRST_ACCOUNTS}

        def create(control: Control, now: Now) -> list[Account]:
            return [control.create_account(role, role, auth.digest(token), now) for role, token in tokens.items()]

        for account in self.writer.do(create).result():
            self.directory.put(account)
        return tokens

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ring the bells in `loop`, the running one, from now on, and have offers found beside it."""
        self._loop = loop
        self.finder.start()

    def stop_waiting(self) -> None:
        """The server stops: answer whoever is held back. To be called in the event loop."""
        self.stopping = True
        self.syncs.ring_all()
        self.jobs.ring_all()

    def detach(self) -> None:
        """The loop ends; nobody is there to hear a bell."""
        self._loop = None
        self.finder.stop()

    def tidy(self) -> int:
        """Remove files that nothing refers to any more and logs that are too old; how many went. Waits for the disk.

        Raises:
            StoreError: one cannot be removed.
        """
        return self.housekeeper.tidy(UNNAMED_S)

    def remove_events(self, below: int) -> int:
        """Remove events numbered under `below`, for good; how many went. Waits for the writer.

        Raises:
            StoreError: the disk does not take it.
        """
        return self.writer.do(lambda _control, _now: self._store.prune_events(below)).result()

    @property
    def log_file_bytes(self) -> int:
        """How long the database's write-ahead log is."""
        return self._store.log.size_bytes

    def close(self) -> None:
        """Commit what is waiting, then let go of everything."""
        self.finder.close()
        self.proofs.close()
        self.writer.close()
        self._pool.shutdown(wait=True)
        self.reader.close()
        self._store.close()

    async def do(self, command: Callable[[Control, Now], T]) -> T:
        """Have the writer run a command; returns when what it changed is on the disk.

        Raises:
            Refused: the rules do not allow it.
            ProblemError: it cannot be written now.
        """
        return await self.settled(self.writer.do(command))

    async def settled(self, future: Future[T]) -> T:
        """The answer of a command that was handed over."""
        try:
            # a caller who goes away takes nothing back: what was asked for happens
            return await asyncio.shield(asyncio.wrap_future(future))
        except StoreError as error:
            raise unwritten(error) from error

    async def offers(self, asked: Asked) -> bytes:
        """A page of offers.

        Raises:
            ProblemError: the query, the order or the cursor cannot be understood.
        """
        now_ms = self.now().unix_ms
        page = await self.finder.find(asked, now_ms)
        return await self.read(offers.find, self.index, asked, now_ms) if page is None else page

    async def read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call something that waits for a disk, in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: function(*args, **kwargs))

    def now(self) -> Now:
        """This moment."""
        return self.sources.clock.now()

    def _committed(self, touched: Touched) -> None:
        outage = self._control.outage
        self.alarms.set("outage", None if outage is None else worded(outage), self.now().unix_ms)
        loop = self._loop
        if loop is not None and (touched.nodes or touched.jobs) and not loop.is_closed():
            loop.call_soon_threadsafe(self._ring, touched)

    def _ring(self, touched: Touched) -> None:
        self.finder.changed()
        self.syncs.ring(touched.nodes)
        self.jobs.ring(touched.jobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Market:
    """The rows in memory and the rules over them."""

    book: Book
    index: Index
    control: Control

    @staticmethod
    def load(store: Store, settings: Settings, sources: Sources) -> _Market:
        index, book = Index(), Book()
        with not_collecting():
            loaded = store.load()
            book.load(loaded.rows, loaded.counters)
            index.load([*book.nodes.values()])
            for row in (*book.jobs.values(), *book.attempts.values()):
                index.changed(None, row)
            book.follow(index)
        limits = settings.limits
        quota = Quota(jobs=limits.jobs_waiting, gpu_milli=limits.gpu_milli_held, cpu_milli=limits.cpu_milli_held)
        rules = ControlSettings(proving=settings.proving, quota=quota)
        control = Control(book, IndexPlacer(index), random=sources.random, settings=rules)
        return _Market(book=book, index=index, control=control)


def unwritten(error: StoreError) -> ProblemError:
    """What whoever asked for a change is told when it could not be committed."""
    if isinstance(error, BusyError):
        return ProblemError("unavailable", str(error), headers={"Retry-After": "2"})
    return ProblemError("unavailable", "the change could not be stored", headers={"Retry-After": "5"})


def backups(data: Path) -> Path:
    """Where backups are put."""
    return data / "backups"
