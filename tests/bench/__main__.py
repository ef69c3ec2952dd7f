"""`make bench`: our figures beside those of other programs, how well they repeat, and what a run notices.

`python -m tests.bench [PART …]` with the parts beside, network, detect (default: all, about half an hour). A part that
is not run keeps its earlier result in reports/samples/bench-cpu.json.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kernels import device
from tests.bench import against, compare_latency, compare_matmul, compare_memory, compare_network, detect

RESULT = Path(__file__).resolve().parent.parent.parent / "reports/samples/bench-cpu.json"
ROUNDS = 7
CLEAN, DISTURBED = 20, 5
STREAM_REPEATS = 40
PRODUCT = ("numpy", "float32", "1536", "20")
#: what is to be reached: figure, lowest and highest ratio
TARGETS = {
    "memory.triad": (0.97, None),
    "memory.copy": (0.97, None),
    "matmul.fp32": (0.98, None),
    "matmul.fp64": (0.98, None),
    "memlatency.dram": (0.95, 1.05),
}


def tell(text: str) -> None:
    """Say how far it is, on stderr."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def beside() -> dict[str, Any]:
    """memory, matmul and memlatency beside C, torch and numpy."""
    rows: list[against.Row] = []
    for module in (compare_memory, compare_matmul, compare_latency):
        rows += module.rounds(ROUNDS)
        tell(f"{module.__name__} done")
    found = against.ratios(rows)
    verdicts = {key: _within(found[key], *limits) for key, limits in TARGETS.items()}
    return {"rounds": ROUNDS, "median_ratio": found, "reached": verdicts, "rows": rows}


def _within(ratio: float, lowest: float, highest: float | None) -> bool:
    return ratio >= lowest and (highest is None or ratio <= highest)


def network() -> dict[str, Any]:
    """The network's figures beside the iperf3 program and ping."""
    found = compare_network.rounds(ROUNDS)
    down, up = (found["ratios"][way]["median"] for way in ("down", "up"))
    found["reached"] = {
        "down": abs(down - 1) <= 0.03,
        "up": abs(up - 1) <= 0.03,
        "rtt": abs(found["rtt"]["difference_s"]) <= 50e-6,
    }
    return found


def detection() -> dict[str, Any]:
    """How well figures repeat, and whether runs raise what they should and nothing else."""
    with against.compiled("stream") as stream:
        size = str(4 * (device.cpu().llc_bytes or 64 << 20))

        def control() -> dict[str, float]:
            rates = against.run_json([str(stream), size, str(STREAM_REPEATS), "triad"])["triad"]
            product = against.run_json([sys.executable, "-m", "tests.bench.direct_matmul", *PRODUCT])
            return {"stream.c triad": max(kind["median"] for kind in rates.values()), "numpy fp32": product["median"]}

        found = detect.rounds(CLEAN, DISTURBED, tell=tell, control=control)
    return {"repeatability": detect.repeatability(found), "noticed": detect.summary(found)}


PARTS: dict[str, Callable[[], dict[str, Any]]] = {"beside": beside, "network": network, "detect": detection}


def main(wanted: list[str]) -> None:
    """Run the parts, print their results, keep them."""
    unknown = set(wanted) - set(PARTS)
    if unknown:
        raise SystemExit(f"unknown part {', '.join(sorted(unknown))}; known are {', '.join(PARTS)}")
    results: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for name in wanted or PARTS:
        tell(f"{name} begins")
        results[name] = {"machine": _machine(), "day": time.strftime("%Y-%m-%d"), **PARTS[name]()}
        RESULT.write_text(json.dumps(results, indent=1) + "\n")
        _show(name, results[name])


def _machine() -> dict[str, Any]:
    here = device.cpu()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=RESULT.parent)
    return {
        "cpu": here.name,
        "threads": here.threads,
        "llc_bytes": here.llc_bytes,
        "kernel": platform.release(),
        "load_1m": os.getloadavg()[0],
        "commit": commit.stdout.strip(),
    }


def _show(name: str, result: dict[str, Any]) -> None:
    if name == "beside":
        for key, ratio in result["median_ratio"].items():
            low, high = TARGETS.get(key, (None, None))
            goal = "" if low is None else f"  to reach {low}" + (f" to {high}" if high else "")
            print(f"{key:<22} ours / theirs {ratio:.3f}{goal}")
    elif name == "network":
        for key in compare_network.RATES:
            ratio = result["ratios"][key]
            print(f"network.{key:<14} over iperf3 {ratio['median']:.3f} ({ratio['lowest']:.3f}-{ratio['highest']:.3f})")
        print(f"network.rtt            ours - ping {result['rtt']['difference_s'] * 1e6:.1f} µs")
    else:
        for side in ("ours", "control"):
            for key, variation in result["repeatability"][side].items():
                print(f"{key:<22} CV over {result['repeatability']['runs']} runs {variation:.2%} ({side})")
        for kind, row in result["noticed"].items():
            print(f"{kind:<22} {row}")


if __name__ == "__main__":
    main(sys.argv[1:])
