"""The README says what is true: its commands exist, its example is a benchmark, its tree is the tree."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

import gridmark
from kernels import benches, device, timing
from kernels.spec import Bench, Case, Setting
from qualify import registry

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
#: every `gridmark verb …` in code, inline or fenced, up to the end of its line or a shell operator
COMMANDS = sorted(set(re.findall(r"(?:`|\$ |/bin/)gridmark ([a-z][^`\n|&;]*)", README)))
KNOWN = {"FILE": "f.json", "A": "a.json", "B": "b.json", "HOST:5202": "host:5202"}


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_in_the_readme_parses(line: str) -> None:
    """Verbs and options exist and take what they are given; nothing is run."""
    words = [KNOWN.get(word, word) for word in shlex.split(line, comments=True)]
    command: click.Command = gridmark.cli
    context = click.Context(command, info_name="gridmark")
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None, line
        command = found

    command.make_context("gridmark", words, resilient_parsing=False)


def test_the_readme_has_commands() -> None:
    """Or the test above would pass on an empty page."""
    assert len(COMMANDS) >= 10


def test_the_example_is_a_benchmark() -> None:
    """It can be pasted into kernels/benches: it opens, measures and checks itself."""
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - our own page
    bench: Bench = names["BENCH"]
    setting = Setting(device=device.cpu(), profile="quick", budget_s=0.2, seed=1)

    (step,) = bench.open["cpu"](setting)

    assert isinstance(step, Case)
    (figure,) = timing.measure(step, timing.HostTimer(), timing.EFFORT["cpu"], 0.2)
    assert figure.key in bench.keys["cpu"]


def test_every_figure_is_explained() -> None:
    """The table of what the numbers mean names each key that a CPU can report."""
    text = README.partition("## What the numbers mean")[2].partition("### The score")[0]
    for bench in registry.load(benches, "BENCH").values():
        for key in bench.keys.get("cpu", ()):
            name, _, case = key.partition(".")
            rows = "".join(line.split(" | ")[0] for line in text.splitlines() if line.startswith(f"| `{name}."))
            assert re.search(rf"[.]{case}\b", rows), f"{key} is not in the table"


def test_every_file_of_the_tree_exists() -> None:
    """The annotated tree names nothing that is gone, and every package's modules are in it."""
    tree = README.partition("<!-- tree:begin -->")[2].partition("<!-- tree:end -->")[0]
    names = set(re.findall(r"[\w./-]+\.(?:py|toml|json|cu|md|txt)", tree))
    there = {path.name for path in ROOT.rglob("*") if ".venv" not in path.parts}
    assert {name.rpartition("/")[2] for name in names} <= there
    for package in ("kernels", "kernels/cpu", "kernels/benches", "qualify", "reports"):
        for path in (ROOT / package).glob("*.py"):
            if path.name != "__init__.py":
                assert re.search(rf"\b{re.escape(path.stem)}\b", tree), f"{path} is not in the README's tree"
