"""A child process that does what a script says instead of measuring: figures, lies, crashes, silence.

`python -m tests.fake_child SCRIPT.json PIPE`: SCRIPT maps a key to a behaviour, or to a list of them, one for each
time the key is measured (the last one stays). How often a key was measured is counted in files beside SCRIPT.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from qualify import wire


def figure(key: str, value: float, **context: Any) -> wire.Measured:
    """A converged figure of 21 samples within 0.2 % of `value`, in FLOP/s."""
    samples = tuple(value * (1 + (i - 10) * 2e-4) for i in range(21))
    return wire.Measured(
        key=key,
        unit="FLOP/s",
        statistic="median",
        value=value,
        ci95=(samples[5], samples[15]),
        mad=value * 1e-3,
        p5=samples[1],
        p95=samples[19],
        samples=samples,
        converged=True,
        at=None,
        axis="",
        lasted_s=0.01,
        version=1,
        context={"threads": 2, "clock_hz": 3e9, "cpu_share": 1.0, "stopped_by": "converged", **context},
    )


def _die(number: signal.Signals) -> NoReturn:
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)  # a shell's background job ignores some, and so do its children
    os.kill(os.getpid(), number)
    time.sleep(60)
    raise SystemExit(99)


def _hang() -> None:
    time.sleep(600)


def _spin() -> None:
    while True:
        pass


def _chatter() -> None:
    while True:
        print("x" * 4096)


def _orphan() -> None:
    import subprocess

    subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    _die(signal.SIGKILL)


def _raise(error: BaseException) -> NoReturn:
    raise error


def _allocate() -> None:
    raise MemoryError("no memory")


def behave(key: str, behaviour: Any, pipe: Any) -> None:
    """Do for `key` what `behaviour` names; a number is a figure."""

    def send(message: wire.Message) -> None:
        pipe.write(wire.encode(message))

    def rubbish(text: str) -> None:
        pipe.write(text.encode() + b"\n")

    def honest_after(act: Callable[[], object]) -> None:
        act()
        send(figure(key, 1e9))

    if isinstance(behaviour, (int, float)):
        send(figure(key, float(behaviour)))
        return
    line = json.loads(wire.encode(figure(key, 1e9)))
    acts: dict[str, Callable[[], Any]] = {
        **{number.name: (lambda n=number: _die(n)) for number in signal.Signals},  # type: ignore[misc]
        "hang": _hang,
        "spin": _spin,
        "chatter": _chatter,
        "orphan": _orphan,
        "exit-0": lambda: sys.exit(0),
        "exit-3": lambda: sys.exit(3),
        "exit-255": lambda: sys.exit(255),
        "raise": lambda: _raise(RuntimeError("no kernel image is available")),
        "raise-empty": lambda: _raise(ValueError()),
        "raise-unicode": lambda: _raise(RuntimeError("\udcff \x1b[31m é")),
        "recursion": lambda: behave(key, "recursion", pipe),
        "allocate": _allocate,
        "wrong": lambda: send(wire.Missed(keys=(key,), status="failed", reason="c[7] is 0", error="wrong_result")),
        "error": lambda: send(wire.Missed(keys=(key,), status="failed", reason="no answer", error="bench_error")),
        "oom": lambda: send(wire.Missed(keys=(key,), status="failed", reason="no memory", error="out_of_memory")),
        "skip": lambda: send(wire.Missed(keys=(key,), status="skipped", reason="not here", error="unsupported")),
        "silent": lambda: None,
        "truncated": lambda: (pipe.write(wire.encode(figure(key, 1e9))[:100]), sys.exit(0)),
        "two-in-one": lambda: pipe.write(wire.encode(figure(key, 1e9)).strip() * 2 + b"\n"),
        "empty-line": lambda: rubbish(""),
        "words": lambda: rubbish("Bandwidth: 12 GB/s"),
        "binary": lambda: pipe.write(bytes(range(256)) + b"\n"),
        "nul": lambda: pipe.write(b"\0\n"),
        "null": lambda: rubbish("null"),
        "array": lambda: rubbish("[]"),
        "number": lambda: rubbish("1e999"),
        "deep": lambda: rubbish("[" * 50_000),
        "nan": lambda: rubbish(json.dumps({**line, "value": float("nan")})),
        "infinite": lambda: rubbish(json.dumps({**line, "value": float("inf")})),
        "negative": lambda: rubbish(json.dumps({**line, "value": -1.0})),
        "text-value": lambda: rubbish(json.dumps({**line, "value": "1e9"})),
        "no-samples": lambda: rubbish(json.dumps({**line, "samples": []})),
        "other-key": lambda: rubbish(json.dumps({**line, "key": "disk.read"})),
        "other-unit": lambda: rubbish(json.dumps({**line, "unit": "GB/s"})),
        "extra-field": lambda: rubbish(json.dumps({**line, "verdict": "qualified"})),
        "missing-field": lambda: rubbish(json.dumps({k: v for k, v in line.items() if k != "n" and k != "mad"})),
        "huge-line": lambda: pipe.write(b"9" * (wire.MAX_LINE_BYTES + 10)),
        "many-lines": lambda: [pipe.write(wire.encode(figure(key, 1e9))) for _ in range(500)],
        "closed-pipe": pipe.close,
        "closed-stdout": lambda: honest_after(lambda: os.close(1)),
        "noise": lambda: honest_after(lambda: print("Segmentation fault (core dumped)", flush=True)),
        "noise-json": lambda: honest_after(lambda: print(json.dumps({**line, "value": 9e99}), flush=True)),
        "early-done": lambda: send(wire.Done()),
    }
    acts[behaviour]()


def main(script: Path, pipe_number: int) -> None:
    """Measure what the task on stdin asks for, the way `script` says."""
    pipe = os.fdopen(pipe_number, "wb", buffering=0)
    task = wire.decode_task(sys.stdin.buffer.readline())
    behaviours = json.loads(script.read_text())
    for key in task.only:
        counter = script.with_name(f"{key}.count")
        times = counter.stat().st_size if counter.exists() else 0
        with counter.open("ab") as marks:  # a mark a time: a child may be killed at any point
            marks.write(b"x")
        pipe.write(wire.encode(wire.Started(keys=(key,))))
        wanted = behaviours.get(key, 1e9)
        behave(key, wanted[min(times, len(wanted) - 1)] if isinstance(wanted, list) else wanted, pipe)
    pipe.write(wire.encode(wire.Done()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
