"""How large a market one server carries: `python -m tests.bench.scale [--only PART]… [--json] [--write]`.

Every part is a process of its own, so that one's memory is not the next one's, and is bounded. The defaults take some
minutes in all; the figures that were set are for `--seconds 60 --jobs 1000000`, which takes about half an hour.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

from tests.bench import scale_crash, scale_http, scale_place
from tests.bench.scale_hall import SHAPES
from tests.bench.scale_table import Figures, Found, Line, Options, synced_writes, table
from tests.chaos.fleet import ROOT

RESULT = ROOT / "reports/samples/bench-scale.json"
TEN, HUNDRED = 10_000, 100_000
PARTS: Mapping[str, Callable[[Options], Found]] = {
    "place-10k": functools.partial(scale_place.placements, nodes=TEN),
    "place-alike-10k": functools.partial(scale_place.placements, nodes=TEN, shapes=SHAPES[1:2]),
    "place-100k": functools.partial(scale_place.placements, nodes=HUNDRED),
    "latency-10k": functools.partial(scale_place.latency, nodes=TEN),
    "latency-100k": functools.partial(scale_place.latency, nodes=HUNDRED),
    "million": scale_place.million,
    "lives": scale_http.lives,
    "query-10k": functools.partial(scale_http.query, nodes=TEN),
    "query-100k": functools.partial(scale_http.query, nodes=HUNDRED),
    "agents": scale_http.held,
    "crash": scale_crash.crash,
}


def main(argv: list[str]) -> int:
    """Run the parts asked for; show what they found."""
    arguments = parsed(argv)
    options = Options(**{one.name: getattr(arguments, one.name) for one in dataclasses.fields(Options)})
    if arguments.inside:
        found = PARTS[arguments.inside](options)
        print(json.dumps({"figures": found.figures, "lines": [dataclasses.asdict(line) for line in found.lines]}))
        return 0
    results = kept() if arguments.write else {}
    lines: list[Line] = []
    failed: list[str] = []
    for name in arguments.only or PARTS:
        print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
        told = apart(name, argv)
        if told is None:
            failed.append(name)
            continue
        results[name] = told | {"options": dataclasses.asdict(options), "python": interpreter()}
        lines += [Line(**line) for line in told["lines"]]
        if arguments.write:
            ordered = {part: results[part] for part in PARTS if part in results}
            RESULT.write_text(json.dumps({"load_generator": "on the same cores", "parts": ordered}, indent=1) + "\n")
    print(json.dumps(results, indent=1) if arguments.json else table(lines, synced_per_s=synced_writes()))
    print(f"Python {interpreter()}", file=sys.stderr)
    for name in failed:
        print(f"{name}: did not end well, see above", file=sys.stderr)
    return 1 if failed or any(line.reached is False for line in lines) else 0


def kept() -> Figures:
    """The parts that were measured before: one that is measured again takes the place of its figures alone."""
    try:
        parts: Figures = json.loads(RESULT.read_text())["parts"]
    except FileNotFoundError:
        return {}
    return parts


def interpreter() -> str:
    """Which Python; one built with profile-guided optimization is a sixth faster than one that is not."""
    return f"{platform.python_version()}, {' '.join(platform.python_build())}, {platform.python_compiler()}"


def apart(name: str, argv: list[str]) -> Figures | None:
    """What a part found in a process of its own; None = it failed, and said why on stderr."""
    command = [sys.executable, "-m", "tests.bench.scale", *argv, "--inside", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, cwd=ROOT, check=False)
    if done.returncode:
        return None
    told: Figures = json.loads(done.stdout)
    return told


def parsed(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART", help=f"one of {', '.join(PARTS)}")
    parser.add_argument("--json", action="store_true", help="print every figure instead of the table")
    parser.add_argument("--write", action="store_true", help=f"keep the figures in {RESULT.relative_to(ROOT)}")
    parser.add_argument("--inside", choices=PARTS, help=argparse.SUPPRESS)
    default = Options()
    parser.add_argument("--seconds", type=float, default=default.seconds, help="of measuring, in each part")
    parser.add_argument("--most-s", type=float, default=default.most_s, help="a part begins nothing new after this")
    parser.add_argument("--jobs", type=int, default=default.jobs, help="of the part million")
    parser.add_argument("--agents", type=int, default=default.agents, help="of the parts with simulated agents")
    parser.add_argument("--attempts", type=int, default=default.attempts, help="live ones, of the part crash")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
