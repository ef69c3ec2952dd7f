"""server.cli_simulate: what is printed, drawn and refused."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gridmark import cli
from scheduler.simulate import generate


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small trace."""
    folder = tmp_path_factory.mktemp("trace")
    draw = random.Random(1)
    nodes = generate.nodes(12, draw)
    with (folder / "nodes.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["sn", "cpu_milli", "memory_mib", "gpu", "model"])
        rows.writerows((n.name, n.cpu_milli, n.memory_mib, n.gpus, n.model) for n in nodes)
    with (folder / "pods.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(
            ["name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "gpu_spec", "creation_time", "deletion_time"]
        )
        for p in generate.pods(nodes, draw, insisting=0.2):
            rows.writerow((p.name, p.cpu_milli, p.memory_mib, p.gpus, p.each_milli, "|".join(p.models), 0, p.lasts_s))
    return folder / "nodes.csv", folder / "pods.csv"


def simulate(files: tuple[Path, Path], *words: str) -> Result:
    """Run the verb."""
    return CliRunner().invoke(cli, ["simulate", "--nodes", str(files[0]), "--pods", str(files[1]), *words])


def test_one_document_for_programs(files: tuple[Path, Path]) -> None:
    """Policy, pods, each seed with its parts, the mean."""
    done = simulate(files, "--policy", "cheapest", "--seeds", "2", "--json")
    found = json.loads(done.stdout)

    assert done.exit_code == 0
    assert set(found) == {"policy", "pods", "seeds", "mean"}
    assert (found["policy"], found["pods"]) == ("cheapest", "pods.csv")
    assert [one["seed"] for one in found["seeds"]] == [42, 43]
    for one in found["seeds"]:
        assert set(one) == {"seed", "allocated_percent", "seconds", "placements"}
        assert 50 < one["allocated_percent"]["100"] <= one["allocated_percent"]["130"] <= 100
        assert one["placements"] > 0
        assert one["seconds"] > 0
    for load in ("100", "130"):
        parts = [one["allocated_percent"][load] for one in found["seeds"]]
        assert found["mean"][load] == pytest.approx(sum(parts) / 2)


def test_a_table_for_people_with_the_spread(files: tuple[Path, Path]) -> None:
    """A line per seed, the mean and the standard deviation."""
    done = simulate(files, "--seeds", "3", "--learn")

    lines = done.stdout.splitlines()
    assert done.exit_code == 0
    assert [line.split()[0] for line in lines] == ["seed", "42", "43", "44", "mean", "sd"]
    assert "at 100 %" in lines[0]


def test_departures_are_replayed_too(files: tuple[Path, Path]) -> None:
    """The same document, other figures."""
    done = simulate(files, "--seeds", "1", "--departures", "--json")

    assert done.exit_code == 0
    assert set(json.loads(done.stdout)["mean"]) == {"100", "130"}


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_curve_is_drawn(files: tuple[Path, Path], tmp_path: Path, suffix: str) -> None:
    """Into a file of the kind its name says."""
    pytest.importorskip("matplotlib", reason="drawing needs matplotlib")
    path = tmp_path / f"curve{suffix}"

    done = simulate(files, "--seeds", "2", "--plot", str(path))

    assert done.exit_code == 0
    assert path.read_bytes().startswith(b"<?xml" if suffix == ".svg" else b"\x89PNG")
    if suffix == ".svg":
        assert "GPUs asked for, % of all" in path.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--policy", "none"], "there is no policy 'none'; there are cheapest, fastest, finish_cheapest, pack"),
        (["--plot", "curve.gif"], "ends in none of .svg, .png, .pdf"),
        (["--plot", "nowhere/curve.svg"], "there is no folder nowhere"),
        (["--plot", "curve.svg", "--departures"], "--plot draws the curve of a replay without departures"),
        (["--seeds", "0"], "0 is not in the range"),
        (["--pods", "nowhere.csv"], "nowhere.csv cannot be read: No such file or directory"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_replayed(
    files: tuple[Path, Path], words: list[str], said: str
) -> None:
    """Exit code 2, one sentence, nothing on stdout."""
    done = simulate(files, *words)

    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
