"""`python -m tests.bench.proof [PART …] [--honest N] [--json]`: what proofs find, and what they cost.

Parts: honest, skipped, verifier, market, speed (default: all, about four minutes). A part that is not run keeps its
earlier result in reports/samples/bench-proof.json.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import json
import logging
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kernels import device
from kernels.chain.derive import Order, States
from kernels.chain.engine import Engine, open_engine
from kernels.chain.params import Params
from kernels.cpu.blas import set_numpy_threads
from qualify.proof import bundle, evidence, sizing, verdict
from qualify.proof import transcript as transcripts
from qualify.proof.challenge import Level
from qualify.proof.sizing import Claim
from qualify.proof.verify import verify
from qualify.proof.worker import ONE_THREAD
from tests.bench import proof_forged
from tests.qualify.proof.play import KINDS, FakeClock, Paced, challenge_of, play
from tests.redteam.rogue import Rogue

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "reports/samples/bench-proof.json"
HONEST = 10_000
REAL = 20
TRIALS = 3_000  #: of 5 %; two fifths of it of 10 %, which is seldom missed
K = 64
SEGMENTS = 25  #: of 8 rows: 200 places, of which 10 and 20 are left out
JOINS = 3
ROUNDS = 7
TIMED_S = 0.3
#: what is to be reached: figure -> bound, and whether it is the most or the least
TARGETS: dict[str, tuple[float, str]] = {
    "honest.rejected": (0, "most"),
    "skipped.10 %.caught": (0.998, "least"),
    "skipped.5 %.caught": (0.96, "least"),
    "verifier.full.cpu_s": (10.0, "most"),
    "verifier.light.cpu_s": (2.0, "most"),
    "verifier.full.largest_bytes": (3e6, "most"),
    "verifier.light.largest_bytes": (3e6, "most"),
    "verifier.full.replay_s": (30.0, "most"),
    "market.join_to_proved.worst_s": (10.0, "most"),
}
Figures = dict[str, Any]


def honest_part(count: int = HONEST) -> Figures:
    """Honest runs of the smallest sizes, each with secrets of its own, through every codec to the verdict.

    One in `REAL` is run by the engine that nodes use, which tries out libraries before each run and so takes longer.
    """
    set_numpy_threads(1)
    begun, outcomes = time.perf_counter(), Counter[str]()
    kinds = [replace(KINDS["int8"], units=2), replace(KINDS["bf16"], units=2), replace(KINDS["memory"], tiles=2)]
    for number in range(count):
        challenge = challenge_of(kinds[number % len(kinds)], seed=2 * number, samples=4)
        challenge = replace(challenge, target_s=1.0, epoch_s=0.5)
        clock = FakeClock()
        engine: Engine = open_engine("cpu", threads=1) if number % REAL == 0 else Rogue()
        found = verify(play(challenge, clock=clock, engines=[Paced(engine, clock)], seed=2 * number + 1))
        outcomes[found.outcome] += 1
    return {
        "runs": count,
        "by_the_real_engine": -(-count // REAL),
        "rejected": count - outcomes["pass"],
        "outcomes": dict(outcomes),
        "lasted_s": time.perf_counter() - begun,
    }


def skipped_part(trials: int = TRIALS) -> Figures:
    """Checks in which a part of the rows was left out, with 64 openings each, judged as any other."""
    set_numpy_threads(1)
    found: Figures = {"k": K}
    for part, count in ((0.10, 2 * trials // 5), (0.05, trials)):
        outcomes = Counter(_skipping(part, number) for number in range(count))
        caught = 1 - outcomes["pass"] / count
        found[f"{part:.0%}".replace("%", " %")] = {
            "trials": count,
            "caught": caught,
            "by_arithmetic": 1 - (1 - part) ** K,
            "outcomes": dict(outcomes),
        }
    return found


def _skipping(part: float, number: int) -> str:
    params = replace(KINDS["int8"], units=8)
    challenge = replace(
        challenge_of(params, seed=2 * number, samples=K), least_segments=SEGMENTS, most_segments=SEGMENTS
    )
    clock = FakeClock()
    engine = _Skips(part, params.units, number)
    found = verify(play(challenge, clock=clock, engines=[Paced(engine, clock)], seed=2 * number + 1))
    return found.outcome


class _Skips(Rogue):
    """Leaves out exactly this part of all rows of all segments, by a draw of its own."""

    def __init__(self, part: float, units: int, seed: int) -> None:
        every = [(segment, unit) for segment in range(SEGMENTS) for unit in range(units)]
        self.left_out = set(random.Random(seed).sample(every, round(part * len(every))))

    def work(self, states: States, order: Order, rounds: range) -> States:
        after = super().work(states, order, rounds)
        for unit in range(self.params.units):
            if (self.segments, unit) in self.left_out:
                after[unit] = states[unit]
        return after


def verifier_part() -> Figures:
    """What a check of an H100 costs who verifies it: a process of one thread for each transcript, as the server's."""
    return {level: _check(level) for level in ("full", "light")}


def _check(level: Level) -> Figures:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for phase in proof_forged.phases(level):
            text = transcripts.to_bytes(proof_forged.forged(phase, level))
            rows.append(
                {
                    "kind": phase.params.kind,
                    "arithmetic": phase.params.arithmetic,
                    "openings": phase.samples,
                    "bytes": len(text),
                    "gzip_bytes": len(gzip.compress(text)),
                    **_judged(Path(folder), text),
                    "replay_s": _judged(Path(folder), _bundled(text))["wall_s"],
                }
            )
    return {
        "phases": rows,
        **{key: sum(row[key] for row in rows) for key in ("cpu_s", "gzip_bytes", "replay_s")},
        "largest_bytes": max(row["bytes"] for row in rows),
        "memory_bytes": max(row["memory_bytes"] for row in rows),
    }


def _bundled(text: bytes) -> bytes:
    """The transcript as signed evidence that it passes."""
    key = Ed25519PrivateKey.generate()
    passed = verdict.Verdict(outcome="pass", why="")
    entry = evidence.Entry(
        seq=1,
        prev=evidence.NO_ENTRY,
        challenge=bytes.fromhex(json.loads(text)["challenge"]["id"]),
        node=1,
        transcript_sha256=hashlib.sha256(text).digest(),
        verdict=passed,
        verifier=passed.verifier,
        at_ms=0,
    )
    head = evidence.Head(seq=1, digest=evidence.digest(entry), at_ms=0)
    return bundle.to_bytes(
        bundle.Bundle(
            entry=entry,
            transcript=text,
            head=head,
            signature=evidence.sign_head(head, key),
            public_key=key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw),
            links=(),
        )
    )


def _judged(folder: Path, content: bytes) -> Figures:
    """In a process of its own, as the server judges; all of its CPU time, its start included."""
    path = folder / "judged.json"
    path.write_bytes(content)
    command = [sys.executable, "-m", "tests.bench.proof_judge", str(path)]
    begun = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=ROOT, env={**os.environ, **ONE_THREAD}
    )
    told: Figures = json.loads(done.stdout)
    return {**told, "wall_s": time.perf_counter() - begun}


def market_part() -> Figures:
    """A node joins a server: seconds until it is listed as proved, by the real agent, prover and judge."""
    seconds = [_join() for _ in range(JOINS)]
    return {"join_to_proved": {"n": JOINS, "median_s": statistics.median(seconds), "worst_s": max(seconds)}}


def _join() -> float:
    from server import logs
    from tests.server.served import Served
    from tests.server.test_proving import PROVING, real_agent, until_proved

    said: list[str] = []
    logs.LOGGER.addHandler(logging.NullHandler())  # or every request would be a word on stderr
    with tempfile.TemporaryDirectory() as folder, Served(Path(folder, "server"), proving=PROVING) as served:
        begun = time.perf_counter()
        with real_agent(served, Path(folder, "node"), said) as agent:
            until_proved(served, agent.node, said)
            lasted = time.perf_counter() - begun
            offers = served.ask("GET", "/v1/offers", "renter", params={"q": "proved"}).json()["items"]
    if [offer["node"] for offer in offers] != [agent.node]:
        raise SystemExit(f"proved, and not listed as such: {offers} {said}")
    return lasted


def speed_part() -> Figures:
    """A chain's rate beside that of the quickest bare product of its shape, in turn, on this CPU."""
    claim = Claim(kind="cpu", devices=(0,), int8_ops_per_s=1e11)
    found: Figures = {}
    for name, size in (("tests", sizing.SMALL), ("whole", sizing.Scale())):
        params = sizing.plan(claim, "full", size)[0].params
        pairs = [_pair(params) for _ in range(ROUNDS)]
        found[name] = {
            "n": params.n,
            "units": params.units,
            "rounds": params.rounds,
            "proof_ops_per_s": statistics.median(proof for proof, _ in pairs),
            "bare_ops_per_s": statistics.median(bare for _, bare in pairs),
            "ratio": statistics.median(proof / bare for proof, bare in pairs),
        }
    return {"rounds": ROUNDS, "sizes": found, "on_a_gpu": "not measured: there was none"}


def _pair(params: Params) -> tuple[float, float]:
    """Operations per second of a chain, and of its products alone."""
    engine = open_engine("cpu")
    engine.prepare(params, seed=bytes(32), challenge=bytes(16), device=0)
    engine.advance(bytes(32))
    proof = _rate(lambda: engine.advance(bytes(32)), params.ops_per_segment)
    engine.close()
    return proof, max(_rate(bare, params.ops_per_segment // params.rounds) for bare in _products(params))


def _products(params: Params) -> list[Callable[[], Any]]:
    """One product of the chain's shape by each way there is: numpy's, and torch's with floats and with integers."""
    shape, draw = (params.units * params.rows, params.n), np.random.default_rng(1)
    x = draw.integers(-128, 128, shape, dtype=np.int8)
    w = draw.integers(-128, 128, (params.n, params.n), dtype=np.int8)
    left, right, out = x.astype(np.float32), w.astype(np.float32), np.empty(shape, np.float32)
    ways: list[Callable[[], Any]] = [lambda: np.matmul(left, right, out=out)]
    with contextlib.suppress(ImportError):
        import torch

        lt, rt, ot = (torch.from_numpy(array) for array in (left, right, out))
        ways.append(lambda: torch.mm(lt, rt, out=ot))
        xt, wt, sums = torch.from_numpy(x), torch.from_numpy(w), torch.empty(shape, dtype=torch.int32)
        if hasattr(torch, "_int_mm"):
            ways.append(lambda: torch._int_mm(xt, wt, out=sums))
    return ways


def _rate(call: Callable[[], Any], ops: int) -> float:
    call()
    calls, begun = 0, time.perf_counter()
    while (lasted := time.perf_counter() - begun) < TIMED_S:
        call()
        calls += 1
    return calls * ops / lasted


PARTS: dict[str, Callable[[], Figures]] = {
    "honest": honest_part,
    "skipped": skipped_part,
    "verifier": verifier_part,
    "market": market_part,
    "speed": speed_part,
}


def reached(results: Figures) -> list[tuple[str, float, float, bool]]:
    """Of every target whose part was run: figure, value, bound, whether it holds."""
    rows = []
    for key, (bound, kind) in TARGETS.items():
        value: Any = results
        for step in key.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        if value is not None:
            rows.append((key, float(value), bound, value <= bound if kind == "most" else value >= bound))
    return rows


def table(results: Figures) -> str:
    """What was found, a line for each figure."""
    lines = [
        f"{key:<34} {value:>14.6g}  to reach {bound:<8g} {'reached' if holds else 'MISSED'}"
        for key, value, bound, holds in reached(results)
    ]
    lines += [
        f"  {level:<5} {row['kind']:<7} {row['arithmetic']:<4} k={row['openings']:<3} {row['cpu_s']:6.2f} CPU-s"
        f" {row['bytes'] / 1e6:6.2f} MB ({row['gzip_bytes'] / 1e6:.2f} packed)"
        for level in ("full", "light")
        for row in results.get("verifier", {}).get(level, {}).get("phases", [])
    ]
    for name, row in results.get("speed", {}).get("sizes", {}).items():
        lines.append(
            f"  speed {name:<6} n={row['n']} units={row['units']}: {row['proof_ops_per_s'] / 1e9:.1f} of "
            f"{row['bare_ops_per_s'] / 1e9:.1f} GOP/s, {row['ratio']:.0%} of the quickest bare product"
        )
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    """Run the parts, keep and show what they found."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.proof", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--honest", type=int, default=HONEST, help="honest runs (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=TRIALS, help="checks with skipped rows (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the whole result")
    given = parser.parse_args(argv)
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}; known are {', '.join(PARTS)}")
    parts: dict[str, Callable[[], Figures]] = {
        **PARTS,
        "honest": lambda: honest_part(given.honest),
        "skipped": lambda: skipped_part(given.trials),
    }
    results: Figures = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for name in given.parts or parts:
        print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
        results[name] = parts[name]()
        results["machine"] = {"cpu": device.cpu().name, "threads": device.cpu().threads}
        RESULT.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    print(json.dumps(results, indent=1, sort_keys=True) if given.json else table(results))


if __name__ == "__main__":
    main(sys.argv[1:])
