"""A whole quick run of the real command on a GPU, and the programs we compare with, built and run once."""

from __future__ import annotations

import pytest

import kernels.benches
from kernels.spec import Bench
from qualify.registry import load
from tests.gpu.bench import goals
from tests.gpu.bench.command import Ran, qualify
from tests.gpu.bench.ground import Ground
from tests.gpu.bench.rows import PeerError

BENCHES: dict[str, Bench] = load(kernels.benches, "BENCH")
MIB = 1 << 20


@pytest.fixture(scope="module")
def quick(ground: Ground) -> Ran:
    """One run for all tests here."""
    return qualify("--profile", "quick", budget_s=goals.PROFILES["quick"])


def test_every_figure_is_there_or_says_why_not(quick: Ran) -> None:
    """Each key that a bench of the profile can report on a GPU; none failed."""
    found = {one.key: one for one in quick.report.measurements}
    wanted = {key for bench in BENCHES.values() if "quick" in bench.seconds for key in bench.keys.get("cuda", ())}

    assert wanted <= set(found)
    assert {key: one.reason for key, one in found.items() if one.status == "failed"} == {}
    assert all(one.reason for one in found.values() if one.status != "ok")


def test_it_keeps_to_its_time(quick: Ran) -> None:
    """105 % of its budget by its own clock."""
    assert quick.report.lasted_s <= goals.OVERRUN * quick.report.budget_s


def test_gpus_were_looked_at(quick: Ran) -> None:
    """What NVML told, before and after, and readings in between."""
    report = quick.report

    assert report.node.device_kind == "cuda"
    assert report.node.gpus
    assert report.gpus_after
    assert [reading for one in report.telemetry for reading in one.gpus]


@pytest.mark.parametrize(
    ("name", "numbers", "words"),
    [
        ("babel", (64 * MIB, 10), ("copy", "triad", "dot")),
        ("copies", (64 * MIB, 4, 1, 3), ("h2d", "d2h", "both")),
        ("chase", (64 * MIB, 4096, 0, 3), ("walk",)),
        ("chase", (16 << 10, 1 << 16, 1, 3), ("walk",)),
    ],
)
def test_other_programs_answer_rightly(
    name: str, numbers: tuple[int, ...], words: tuple[str, ...], ground: Ground
) -> None:
    """Built by nvcc for this GPU; their own checks hold."""
    try:
        ground.built(name)
    except PeerError as error:
        pytest.skip(str(error))
    with ground.peer(name, *numbers) as peer:
        for word in words:
            assert peer.ask(word)["value"] > 0
