"""Whole runs: roots as the protocol's text gives them, and openings that lead back to them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from kernels.chain import derive, merkle
from kernels.chain.arithmetic import replay
from kernels.chain.cuda import Products, engine_of
from kernels.chain.engine import Engine, Opening, open_engine
from kernels.chain.params import Params
from kernels.chain.tiles import Tiles
from tests.kernels.chain.golden import CHAINS, ROOTS
from tests.kernels.chain.plain import CHALLENGE, DEVICE, SALTS, SEED, Plain
from tests.kernels.cuda.emulated import EmulatedGpu

if TYPE_CHECKING:
    import torch


def exactly(left: torch.Tensor, right: torch.Tensor, into: torch.Tensor) -> None:
    """A product in double precision, which is exact on every CPU."""
    into.copy_(left.double() @ right.double())


def emulated() -> Engine:
    """The CUDA engine; its kernels run as C++, torch's tensors are those of a CPU."""
    return engine_of(EmulatedGpu(), "cpu", products=Products(int8=exactly, bf16=exactly))


@pytest.fixture(params=["numpy", "compiled", "emulated cuda"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A CPU as it runs chains as small as these, as it runs larger ones (by two threads), and a GPU."""
    if request.param == "compiled":
        monkeypatch.setattr("kernels.chain.cpu.PLAIN_OPS", 0)
        monkeypatch.setattr("kernels.chain.products.SHARED_OPS", 0)
    opened = emulated() if request.param == "emulated cuda" else open_engine("cpu", threads=2)
    yield opened
    opened.close()


def prepare(engine: Engine, params: Params) -> None:
    engine.prepare(params, seed=SEED, challenge=CHALLENGE, device=DEVICE)


def accepted(params: Params, opening: Opening, roots: list[bytes], salts: list[bytes] = SALTS) -> bool:
    """What a verifier does, all of it."""
    leaf, node = derive.leaf_context(CHALLENGE, DEVICE), derive.node_context(CHALLENGE, DEVICE)
    segment, unit, commit = opening.segment, opening.unit, opening.commit

    def led(at: int, number: int, state: bytes, path: bytes) -> bool:
        digest = derive.leaf(leaf, at, unit, number, state)
        fits = len(path) == 32 * params.levels
        return fits and merkle.root_from(digest, unit * params.commits + number, path, node) == roots[at]

    if commit:
        known = led(segment, commit - 1, opening.start, opening.start_path)
    elif segment:
        known = led(segment - 1, params.commits - 1, opening.start, opening.start_path)
    else:
        known = opening.start == opening.start_path == b""
    state = derive.from_bytes(params, opening.start) if opening.start else derive.first_states(params, SEED, [unit])[0]
    before = roots[segment - 1] if segment else derive.start_root(CHALLENGE, DEVICE, SEED)
    order = derive.order(params, CHALLENGE, DEVICE, segment, before, salts[segment])
    rounds = range(commit * params.commit_every, (commit + 1) * params.commit_every)
    end = replay(params, state[np.newaxis], order, rounds, Tiles(params, SEED), units=[unit])[0]
    return known and derive.to_bytes(end) == opening.end and led(segment, commit, opening.end, opening.end_path)


@pytest.mark.parametrize("name", CHAINS)
def test_the_golden_roots_are_the_protocol_s(name: str) -> None:
    """Written a second time in plain integers."""
    segments = Plain(CHAINS[name]).segments()

    assert tuple(next(segments)[0].hex() for _ in ROOTS[name]) == ROOTS[name]


@pytest.mark.parametrize("name", CHAINS)
def test_an_engine_finds_the_golden_roots(name: str, engine: Engine) -> None:
    """Segment by segment, and once more after another preparation."""
    for _ in range(2):
        prepare(engine, CHAINS[name])
        assert engine.segments == 0
        assert tuple(engine.advance(salt).hex() for salt in SALTS[:3]) == ROOTS[name]
        assert engine.segments == 3


def sizes(**changed: object) -> Params:
    """A compute chain of int8 but for these."""
    given = {"kind": "compute", "arithmetic": "int8", "n": 128, "units": 64, "rows": 1, "tiles": 3, "depth": 0}
    given |= {"rounds": 2, "commit_every": 2, **changed}
    return Params(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "params",
    [
        sizes(units=512),
        sizes(n=2048, units=2, tiles=1, rounds=1, commit_every=1),
        sizes(kind="memory", rows=8, depth=1, commit_every=1, tiles=40),
        sizes(kind="memory", rows=32, depth=3, units=2),
        sizes(kind="memory", rows=1, depth=1, units=2, rounds=1, commit_every=1),
    ],
    ids=["several blocks of threads", "two blocks of K", "eight rows", "many rows", "one round"],
)
def test_engines_agree_on_other_sizes(params: Params) -> None:
    """Three segments by the CPU, by the emulated GPU, and openings of both that are the same."""
    engines = [open_engine("cpu", threads=2), emulated()]
    for engine in engines:
        prepare(engine, params)

    roots = [[engine.advance(salt) for salt in SALTS[:3]] for engine in engines]

    assert roots[0] == roots[1]
    asked = [(0, 0, 0), (2, params.units - 1, params.commits - 1), (1, 1, 0)]
    opened = [engine.open_many(asked) for engine in engines]
    assert opened[0] == opened[1]
    assert all(accepted(params, one, roots[0]) for one in opened[0])


def test_several_devices_run_at_once() -> None:
    """One engine and one thread for each; their libraries' threads are shared, their results are not."""
    names = ["int8", "memory", "bf16", "int8"]
    engines = [open_engine("cpu", threads=2) for _ in names]

    def run(which: int) -> tuple[str, ...]:
        prepare(engines[which], CHAINS[names[which]])
        return tuple(engines[which].advance(salt).hex() for salt in SALTS[:3])

    with ThreadPoolExecutor(len(names)) as pool:
        assert list(pool.map(run, range(len(names)))) == [ROOTS[name] for name in names]


@pytest.mark.parametrize("name", CHAINS)
def test_every_opening_is_accepted(name: str, engine: Engine) -> None:
    """Of the first, second and last segment, several units, each commitment."""
    params = CHAINS[name]
    prepare(engine, params)
    roots = [engine.advance(salt) for salt in SALTS]
    asked = [
        (segment, unit, commit)
        for segment in (0, 1, len(SALTS) - 1)
        for unit in {0, 1, params.units - 1}
        for commit in range(params.commits)
    ]

    opened = engine.open_many(asked)

    assert [(one.segment, one.unit, one.commit) for one in opened] == asked
    assert all(accepted(params, one, roots) for one in opened)
    assert engine.open(*asked[-1]) == opened[-1]


def test_an_opening_of_another_salt_is_not_accepted(engine: Engine) -> None:
    """A run under other salts has other roots; its openings lead to none of ours."""
    params = CHAINS["int8"]
    prepare(engine, params)
    roots = [engine.advance(salt) for salt in SALTS]
    prepare(engine, params)
    for salt in reversed(SALTS):
        engine.advance(salt)

    assert not accepted(params, engine.open(1, 3, 0), roots)


@pytest.mark.parametrize("asked", [(3, 0, 0), (-1, 0, 0), (0, 32, 0), (0, -1, 0), (0, 0, 1)])
def test_what_is_not_in_the_run_cannot_be_opened(asked: tuple[int, int, int], engine: Engine) -> None:
    """A segment not run, a unit and a commitment beyond the last."""
    prepare(engine, CHAINS["int8"])
    for salt in SALTS[:3]:
        engine.advance(salt)

    with pytest.raises(ValueError, match="no commitment"):
        engine.open(*asked)


def test_an_engine_that_was_not_prepared_says_so(engine: Engine) -> None:
    """Before, and after it was closed."""
    with pytest.raises(ValueError, match="not prepared"):
        engine.advance(SALTS[0])
    prepare(engine, CHAINS["int8"])
    engine.close()
    with pytest.raises(ValueError, match="not prepared"):
        engine.open(0, 0, 0)
    assert engine.segments == 0


def test_the_same_salt_again_is_another_segment(engine: Engine) -> None:
    """Nothing of a segment can be had twice; a salt that was refused leaves no trace."""
    params = CHAINS["int8"]
    prepare(engine, params)
    first = engine.advance(SALTS[0])
    with pytest.raises(ValueError, match="salt"):
        engine.advance(b"")

    assert len({first, engine.advance(SALTS[0]), engine.advance(SALTS[0])}) == 3
    assert engine.segments == 3


def test_secrets_of_a_wrong_length_are_refused(engine: Engine) -> None:
    """A short salt, a short seed."""
    prepare(engine, CHAINS["int8"])
    with pytest.raises(ValueError, match="salt"):
        engine.advance(b"short")
    with pytest.raises(ValueError, match="seed"):
        engine.prepare(CHAINS["int8"], seed=b"", challenge=CHALLENGE, device=0)
