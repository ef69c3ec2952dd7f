"""Whatever is missing, null, added, of another type or out of its turn: never a pass, never a 500, never forgotten."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kernels.cpu.blas import set_numpy_threads
from qualify.proof.worker import run_worker
from tests.redteam.attackers.skipped_work import ONE_CHAIN, SkipsRows, quicker
from tests.redteam.bout import Bout
from tests.redteam.hardware import H100, side_by_side
from tests.redteam.over_http import Contest, contest

ALONE = side_by_side(H100)
#: where in the documents of each step something is put out of joint
PLACES: dict[str, tuple[tuple[str | int, ...], ...]] = {
    "epochs": ((), ("epoch",), ("roots",), ("roots", "0"), ("roots", "0", 0)),
    "openings": (
        (),
        ("openings",),
        ("openings", "0"),
        ("openings", "0", 3),
        *(("openings", "0", 3, name) for name in ("unit", "start", "end_path")),  # read as the others of their kind are
    ),
}
GONE = object()
VALUES: dict[str, Any] = {"missing": GONE, "null": None, "list": [], "number": -1.5}


def changed(document: Any, place: tuple[str | int, ...], value: Any) -> Any:
    """The document with something else in that place, or nothing."""
    if not place:
        return value
    whole = copy.deepcopy(document)
    inner: Any = whole
    for step in place[:-1]:
        inner = inner[step]
    if value is GONE:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return whole


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contest]:
    set_numpy_threads(1)
    with contest(tmp_path_factory.mktemp("closed")) as opened:
        yield opened


@pytest.mark.parametrize("step", PLACES)
@pytest.mark.parametrize("what", VALUES)
def test_nothing_out_of_joint_passes(step: str, what: str, arena: Contest) -> None:
    """Each place of each document, each kind of fault; an honest node, which makes it the document's fault alone."""
    for place in PLACES[step]:
        if VALUES[what] is GONE and not place:
            continue
        bout = arena.bout()
        bout.line.claim(ONE_CHAIN, 1)
        spoil: Callable[[Any], Any] = lambda document: changed(document, place, VALUES[what])  # noqa: B023, E731
        ending = bout.prove(ALONE, **{step: spoil})  # type: ignore[arg-type]

        assert ending == "protocol_error", (place, bout.ended)
        assert all(reply.status < 500 for reply in bout.replies), place
        assert bout.line.proved() == {}, place


@pytest.mark.parametrize(("engine", "ending"), [(None, "pass"), (0.5, "cheat_proven")], ids=["honest", "half"])
def test_the_worker_judges_alike(engine: float | None, ending: str, tmp_path: Any) -> None:
    """In a process of its own, under its limits, as on a server that is not a test's."""
    with contest(tmp_path, judge=run_worker) as arena:
        bout: Bout = arena.bout()
        bout.line.claim(ONE_CHAIN, 1)
        found = bout.check(ALONE) if engine is None else bout.check(quicker(engine), lambda: SkipsRows(engine))

        assert found == ending, bout.ended
        assert bool(bout.line.proved()) is (ending == "pass")
