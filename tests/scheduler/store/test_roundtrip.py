"""Whatever strangers put into their jobs and nodes comes back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.book import Change, Row
from scheduler.records import Attempt, Capacity, Figure, Input, Job, JobSpec, MarketNode, Resources, Work
from scheduler.store.store import Store, open_store
from tests.scheduler.store.rows import ACCOUNT, ATTEMPT, COUNTERS, JOB, NODE

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
SMALL = st.integers(0, 2**31)
LARGE = st.integers(-(2**63), 2**63 - 1)
REAL = st.floats(allow_nan=False, allow_infinity=False)
NUMBERS = st.lists(SMALL, max_size=4, unique=True).map(tuple)
JSON = st.recursive(
    st.none() | st.booleans() | LARGE | REAL | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)

INPUTS = st.builds(
    Input, to=TEXT, sha256=TEXT, url=st.none() | TEXT, size_bytes=st.none() | LARGE, unpack=..., executable=...
)
RESOURCES = st.builds(Resources, gpus=SMALL, gpu_milli=SMALL, cpu_milli=SMALL, memory_bytes=LARGE, disk_bytes=LARGE)
SPECS = st.builds(
    JobSpec,
    name=TEXT,
    command=TEXTS,
    image=st.none() | TEXT,
    resources=RESOURCES,
    where=TEXT,
    max_price_uh=st.none() | LARGE,
    recover_on_exit_codes=NUMBERS,
    env=st.dictionaries(TEXT, TEXT, max_size=3),
    secrets=TEXTS,
    inputs=st.lists(INPUTS, max_size=2).map(tuple),
    artifacts=TEXTS,
    checkpoint=st.none() | TEXT,
    work=st.none() | st.builds(Work, metric=TEXT, amount=REAL),
    priority=SMALL,
    network=...,
)
JOBS = st.builds(
    replace,
    st.just(JOB),
    spec=SPECS,
    token=st.none() | LARGE,
    reason=TEXT,
    next_at_ms=LARGE,
    exit_code=st.none() | LARGE,
    checkpoint_ms=st.none() | LARGE,
    crash_nodes=NUMBERS,
    lost_nodes=NUMBERS,
    cancelled=st.booleans(),
)
FIGURES = st.builds(Figure, value=REAL, low=st.none() | REAL, high=st.none() | REAL, n=SMALL, at_ms=LARGE)
NODES = st.builds(
    replace,
    st.just(NODE),
    name=TEXT,
    model=TEXT,
    why=TEXT,
    capacity=st.builds(Capacity, gpu_milli=NUMBERS, cpu_milli=SMALL, memory_bytes=LARGE, disk_bytes=LARGE),
    figures=st.dictionaries(TEXT, FIGURES, max_size=3),
    capability=st.dictionaries(TEXT, REAL, max_size=3),
    health=st.none() | REAL,
    executors=TEXTS,
    lost_jobs=NUMBERS,
)
ATTEMPTS = st.builds(
    replace,
    st.just(ATTEMPT),
    resources=RESOURCES,
    gpus=NUMBERS,
    reason=TEXT,
    why=st.dictionaries(TEXT, JSON, max_size=3),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """With an account in it."""
    opened = open_store(tmp_path_factory.mktemp("rows") / "gridmark.db")
    opened.write([Change(None, ACCOUNT)], COUNTERS)
    yield opened
    opened.close()


NEXT = count(10)


def shown(row: Row) -> str:
    """Every field of it, with what stands in an attempt's reasons in place of how they are kept."""
    return str(replace(row, why=dict(row.why)) if isinstance(row, Attempt) else row)


@settings(deadline=None, max_examples=60)
@given(job=JOBS, node=NODES, attempt=ATTEMPTS)
def test_every_row_comes_back_as_it_was(store: Store, job: Job, node: MarketNode, attempt: Attempt) -> None:
    """Any text but half a surrogate pair, any number of 64 bits; as added and as changed to."""
    number = next(NEXT)
    first: tuple[Row, ...] = (
        replace(NODE, id=number),
        replace(JOB, id=number, idempotency_key=str(number), spec=job.spec),
        replace(attempt, token=number, job=number, node=number, reason=""),
    )
    then: tuple[Row, ...] = (
        replace(node, id=number),
        replace(job, id=number, idempotency_key=str(number)),
        replace(attempt, token=number, job=number, node=number),
    )

    store.write([Change(None, row) for row in first], COUNTERS)
    assert set(map(shown, store.load().rows)) >= {shown(row) for row in first}
    store.write([*map(Change, first, then)], COUNTERS)

    rows = store.load().rows
    assert [row for row in rows if isinstance(row, MarketNode) and row.id == number] == [then[0]]
    assert [row for row in rows if isinstance(row, Job) and row.id == number] == [then[1]]
    assert [row for row in rows if isinstance(row, Attempt) and row.token == number] == [then[2]]
