"""Offers are found in a process apart: as the server finds them, never older than what was answered, whatever dies."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.control import Control
from scheduler.records import MarketNode
from server import finder, finder_wire, offers
from server.finder_wire import Answer, Answers
from server.offers import Asked
from server.problem import Fault, ProblemError
from tests.chaos.fleet import ROOT
from tests.server.served import WAIT_S, Agent, Served, ready_agent

PATH = "/v1/offers"
OWN = "found by the server itself"


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the server found by itself, by the query's text."""
    found: list[str] = []
    find = offers.find

    def noted(market: Any, asked: Asked, now_ms: int) -> bytes:
        found.append(asked.text)
        return find(market, asked, now_ms)

    monkeypatch.setattr(offers, "find", noted)
    monkeypatch.setattr(finder, "PAUSE_S", 0.01)
    return found


@pytest.fixture
def served(tmp_path: Path, own: list[str]) -> Iterator[Served]:
    """A market of one node, which is large enough here."""
    del own
    with Served(tmp_path, finder_nodes=1) as found:
        yield found


@pytest.fixture
def agent(served: Served) -> Agent:
    """Of the one node; the process is ready."""
    found = ready_agent(served)
    until(served, lambda: served.runtime.finder.pid is not None)
    return found


def until(served: Served, holds: Callable[[], bool]) -> None:
    """Returns when it does."""

    turn = threading.Event()
    for _ in range(round(WAIT_S / 0.005)):
        if served.run(asked(holds)):
            return
        turn.wait(0.005)
    raise AssertionError(f"not within {WAIT_S:g} s")


async def asked(holds: Callable[[], bool]) -> bool:
    """In the server's loop, whose the finder is."""
    return holds()


async def told(found: finder.Finder) -> None:
    """As after a commit."""
    found.changed()


def process(served: Served, *, other_than: int | None = None) -> int:
    """The number of the process, once there is one."""
    until(served, lambda: served.runtime.finder.pid not in (None, other_than))
    assert served.runtime.finder.pid is not None
    return served.runtime.finder.pid


def items(served: Served, query: str = "", **more: Any) -> Any:
    """The offers that are found."""
    answer = served.ask("GET", PATH, params={"q": query, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def metric(served: Served, name: str) -> float:
    """A figure of the server's."""
    page = served.ask("GET", "/metrics", "operator").text
    (value,) = (line.split()[1] for line in page.splitlines() if line.startswith(f"{name} "))
    return float(value)


def has_ended(descriptor: int, patience_s: float = WAIT_S) -> bool:
    """Whether the process of a descriptor ends in time."""
    return bool(select.select([descriptor], [], [], patience_s)[0])


QUERIES = ("", "count >= 0", "memory.triad > 1 TB/s", "prise < 1", 'name = "node"')


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("more", [{}, {"sort": "-cpus"}, {"sort": "prise"}, {"cursor": "YWJj"}, {"limit": 1}])
def test_it_is_answered_as_by_the_server_itself(
    served: Served, agent: Agent, own: list[str], query: str, more: dict[str, Any]
) -> None:
    """Byte for byte, faults included; and it was not the server that found it."""
    del agent
    there = served.ask("GET", PATH, params={"q": query, **more})
    assert own == []

    link, served.runtime.finder._link = served.runtime.finder._link, None
    here = served.ask("GET", PATH, params={"q": query, **more})
    served.runtime.finder._link = link

    assert own == [query]
    assert (there.status_code, text_of(there)) == (here.status_code, text_of(here))


def text_of(answer: Any) -> str:
    """But for the request's id."""
    found: str = answer.text.replace(answer.headers["x-request-id"], "")
    return found


@pytest.mark.parametrize("more", [{"explain": True}, {"q": "count >= 0 and " * 20 + "count >= 0"}])
def test_what_may_take_long_holds_up_nobody_there(
    served: Served, agent: Agent, own: list[str], more: dict[str, Any]
) -> None:
    """An explanation, or a long query, is found in a thread of the server."""
    del agent

    assert served.ask("GET", PATH, params=more).status_code == 200
    assert own == [more.get("q", "")]


def test_a_page_shows_what_was_answered_before_it_was_asked_for(served: Served, agent: Agent, own: list[str]) -> None:
    """A price, a job that was placed, its end: each is seen by the very next query."""
    for price in range(2, 22):
        assert agent.enrol(price=price).status_code == 201
        assert items(served)[0]["price_uh"] == price * 1_000_000

    free = items(served)[0]["memory_free_bytes"]
    for n in range(10):
        served.submit(resources={"memory": "16 MB"})
        left = items(served)[0]["memory_free_bytes"]
        assert left == free - 16_000_000 * (n + 1)
    assert own == []


def test_a_node_and_a_figure_that_come_later_are_known(served: Served, agent: Agent, own: list[str]) -> None:
    """They are told with the next query, which may name them."""
    del agent
    other = ready_agent(served, name="other")

    assert [one["name"] for one in items(served, 'name = "other"')] == ["other"]
    assert [one["node"] for one in items(served, "matmul.fp32 > 1 FLOP/s")] == [1, other.node]
    assert own == []


def test_one_that_is_killed_while_it_is_asked_costs_nobody_an_answer(
    served: Served, agent: Agent, own: list[str]
) -> None:
    """The server finds what was asked, counts, and starts another one, which knows what happened meanwhile."""
    old = process(served)
    os.kill(old, signal.SIGSTOP)
    asking = [served.start(served.asking("GET", PATH)) for _ in range(3)]
    until(served, lambda: len(served.runtime.finder._link._waiting) == 3)  # type: ignore[union-attr]
    os.kill(old, signal.SIGKILL)

    assert [one.result(WAIT_S).status_code for one in asking] == [200] * 3
    assert own == [""] * 3
    agent.enrol(price=7)
    process(served, other_than=old)
    assert items(served)[0]["price_uh"] == 7_000_000
    assert own == [""] * 3
    assert metric(served, "gridmark_finder_ended_total") == 1
    assert metric(served, "gridmark_finder_up") == 1


def test_one_that_does_not_answer_is_replaced(
    served: Served, agent: Agent, own: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while, and who asked is answered by the server."""
    del agent
    monkeypatch.setattr(finder, "ANSWER_S", 0.05)
    old = process(served)
    os.kill(old, signal.SIGSTOP)

    assert len(items(served)) == 1
    assert own == [""]
    assert process(served, other_than=old) != old


def test_one_that_does_not_read_stops_nobody(
    served: Served, agent: Agent, own: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither writer nor queries; and when it reads again it hears of every node once, as it is then."""
    monkeypatch.setattr(finder, "MANY_CHANGES", 1)
    runtime = served.runtime
    link, pid = runtime.finder._link, process(served)
    assert link is not None
    link._transport.set_write_buffer_limits(high=1)
    os.kill(pid, signal.SIGSTOP)

    def change(price_uh: int) -> Callable[[Control, Any], MarketNode]:
        return lambda control, _: control.book.change(control.book.nodes[agent.node], price_uh=price_uh)

    for price_uh in range(1, 401):
        runtime.writer.do(change(price_uh)).result(WAIT_S)
        served.run(told(runtime.finder))
    assert link._is_behind
    assert (items(served)[0]["price_uh"], own) == (400, [""])
    assert len(link._source) == 1

    os.kill(pid, signal.SIGCONT)
    until(served, lambda: not link._is_behind)
    assert items(served)[0]["price_uh"] == 400
    assert (own, runtime.finder.pid) == ([""], pid)


def test_a_small_market_has_none_until_it_grows(tmp_path: Path, own: list[str]) -> None:
    """The server finds offers itself up to the threshold."""
    with Served(tmp_path, finder_nodes=2) as served:
        ready_agent(served)
        assert len(items(served)) == 1
        assert (own, served.runtime.finder.pid, metric(served, "gridmark_finder_up")) == ([""], None, 0)
        assert served.runtime.index.heard is None

        ready_agent(served, name="other")
        process(served)

        assert len(items(served)) == 2
        assert own == [""]


def test_one_that_cannot_start_is_counted_and_tried_again(
    tmp_path: Path, own: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The log has its last words; offers are found meanwhile."""
    with Served(tmp_path, finder_nodes=1) as served:
        right, served.runtime.finder._database = served.runtime.finder._database, tmp_path / "nowhere"
        ready_agent(served)
        until(served, lambda: any("finds offers ended" in one.getMessage() for one in caplog.records))
        assert len(items(served)) == 1

        served.runtime.finder._database = right
        process(served)

        assert len(items(served)) == 1
        assert metric(served, "gridmark_finder_ended_total") >= 1
    assert own == [""]
    said = [getattr(one, "values", {}) for one in caplog.records]
    assert "unable to open database file" in next(one["why"] for one in said if "why" in one)


def test_signals_that_end_a_server_do_not_end_it_before(served: Served, agent: Agent, own: list[str]) -> None:
    """Whoever stops a terminal's or a service's processes reaches both; the server needs it to the end."""
    del agent
    pid = process(served)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, number)

    assert len(items(served)) == 1
    assert (served.runtime.finder.pid, own) == (pid, [])


def test_it_ends_with_the_server_and_leaves_nothing(tmp_path: Path) -> None:
    """It is waited for: there is no such process any more, not even a dead one."""
    with Served(tmp_path, finder_nodes=1) as served:
        ready_agent(served)
        pid = process(served)

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


SERVER = """
import sys
from pathlib import Path
from tests.server.served import Served, ready_agent
from tests.server.test_finder import process
served = Served(Path(sys.argv[1]), finder_nodes=1)
ready_agent(served)
print(process(served), flush=True)
sys.stdin.read()
"""


def test_it_ends_when_the_server_is_killed(tmp_path: Path) -> None:
    """It sees the other end of its socket closed."""
    command = [sys.executable, "-c", SERVER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as server:
        assert server.stdout is not None
        descriptor = os.pidfd_open(int(server.stdout.readline()))
        with contextlib.closing(os.fdopen(descriptor)):
            assert not has_ended(descriptor, 0)

            server.kill()

            assert has_ended(descriptor)


TEXT = st.text(max_size=20)
PROBLEMS = st.builds(
    ProblemError,
    st.just("invalid"),
    TEXT,
    st.lists(st.builds(Fault, TEXT, TEXT)),
    st.dictionaries(TEXT, st.one_of(st.none(), st.integers(0, 9), TEXT)),
)
ANSWERS = st.builds(Answer, st.integers(0, 2**64 - 1), st.one_of(st.binary(), st.none(), PROBLEMS))


@given(sent=st.lists(ANSWERS), cuts=st.lists(st.integers(0, 400)))
def test_answers_arrive_whole_however_they_are_cut(sent: list[Answer], cuts: list[int]) -> None:
    """In their order, each once."""
    stream = b"".join(finder_wire.answer(one) for one in sent)
    ends = sorted({min(cut, len(stream)) for cut in cuts} | {len(stream)})
    answers = Answers()

    found = [one for begin, end in zip([0, *ends], ends, strict=False) for one in answers.add(stream[begin:end])]

    assert [comparable(one) for one in found] == [comparable(one) for one in sent]


def comparable(answer: Answer) -> tuple[object, ...]:
    """Problems are compared by what they say."""
    page = answer.page
    if not isinstance(page, ProblemError):
        return (answer.number, page)
    return (answer.number, page.slug, page.text, list(page.faults), dict(page.more))
