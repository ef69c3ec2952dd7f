"""Our figures beside those of another program: rounds that alternate, and the median of their ratios."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import kernels.benches
from kernels import device
from kernels.spec import Case, Setting
from kernels.timing import EFFORT, Figure, HostTimer, measure
from qualify.registry import load

Row = dict[str, Any]
SOURCES = Path(__file__).parent / "c"
SEED = 20260


@contextmanager
def compiled(name: str) -> Iterator[Path]:
    """The C program `name`, built in a folder that goes away afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / name
        flags = ["-O3", "-march=native", "-fopenmp", "-Wall", "-Wextra"]
        subprocess.run(["gcc", *flags, str(SOURCES / f"{name}.c"), "-o", str(program)], check=True)
        yield program


def run_json(command: Sequence[str], **options: Any) -> Row:
    """What a program prints, as JSON; raises CalledProcessError when it fails."""
    found: Row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout)
    return found


@contextmanager
def opened(bench: str, key: str) -> Iterator[Case]:
    """The case that the bench yields for `key` on this machine's CPU, data allocated until the block is left."""
    plugin = load(kernels.benches, "BENCH")[bench]
    setting = Setting(device=device.cpu(), profile="quick", budget_s=60.0, seed=SEED, only=frozenset({key}))
    steps = plugin.open["cpu"](setting)
    try:
        step = next(steps)
        if not isinstance(step, Case):
            raise SystemExit(f"{key} is not measured here: {step}")
        yield step
    finally:
        steps.close()


def ours(case: Case, budget_s: float) -> Figure:
    """The headline of a case, measured as a run measures it."""
    return measure(case, HostTimer(), EFFORT["cpu"], budget_s)[0]


def ratios(rows: Sequence[Row]) -> dict[str, float]:
    """Median of ours/theirs per key."""
    keys = dict.fromkeys(row["key"] for row in rows)
    return {key: median(row["ratio"] for row in rows if row["key"] == key) for key in keys}


def main(title: str, rounds: Callable[[int], list[Row]], arguments: Sequence[str] | None = None) -> None:
    """Run, print a table on stderr and the rows with their medians as JSON on stdout."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("rounds", type=int, nargs="?", default=5)
    rows = rounds(parser.parse_args(arguments).rounds)
    print(f"{title}\n{'key':<20} {'round':>5} {'ours':>12} {'theirs':>12} {'ratio':>7}", file=sys.stderr)
    for row in rows:
        print(
            f"{row['key']:<20} {row['round']:>5} {row['ours']:>12.4g} {row['theirs']:>12.4g} {row['ratio']:>7.3f}",
            file=sys.stderr,
        )
    for key, ratio in ratios(rows).items():
        print(f"{key:<20} median of the ratios {ratio:.3f}", file=sys.stderr)
    print(json.dumps({"title": title, "medians": ratios(rows), "rounds": rows}, indent=1))
