"""What every comparison stands on: the GPU, how its work is timed, the programs built for it, our own cases."""

from __future__ import annotations

import contextlib
import itertools
import json
import select
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kernels.benches
from kernels import device as devices
from kernels.cpu import crew
from kernels.device import Device
from kernels.spec import BenchError, Case, Setting, Skip, Step, UnsupportedError
from kernels.timing import EFFORT, measure
from qualify.registry import load
from tests.gpu.bench.rows import PeerError, Side

PEERS = Path(__file__).resolve().parent.parent / "peers"
ROOT = PEERS.parent.parent.parent
PATIENCE_S = 60.0
BATCHES = 5
Answer = dict[str, Any]
#: seconds that so many calls in a row took
Clock = Callable[[Callable[[], object], int], float]


def compiler(path: str | None = None) -> str:
    """CUDA's compiler.

    Raises:
        PeerError: it is neither on PATH nor where CUDA installs it.
    """
    found = shutil.which("nvcc", path=path) or shutil.which("nvcc", path="/usr/local/cuda/bin" if path is None else "")
    if not found:
        raise PeerError("nvcc of the CUDA toolkit was not found on PATH or in /usr/local/cuda/bin; install it")
    return found


def nvcc_command(device: Device, source: Path, program: Path) -> list[str]:
    """What builds a program for that GPU."""
    major, minor = device.capability or (7, 5)
    return [compiler(), "-O3", "-std=c++17", f"-arch=sm_{major}{minor}", "-o", str(program), str(source)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Where comparisons are made."""

    device: Device
    torch_device: str  #: torch's name of it
    clock: Clock  #: of torch's calls
    folder: Path  #: of the programs that are built
    command: Callable[[Device, Path, Path], list[str]] = nvcc_command  #: that builds a source
    seed: int = 1
    side: int = 8192  #: of torch's products
    copied_bytes: int = 1 << 30  #: by torch's copy
    linked_bytes: int = 512 << 20  #: nvbandwidth's own default
    seconds: float = 2.5  #: of ours, a round
    batch_s: float = 0.1  #: of torch's calls, five batches a round

    def built(self, name: str) -> Path:
        """The program of peers/<name>.cu, compiled the first time it is asked for.

        Raises:
            PeerError: it cannot be.
        """
        program = self.folder / name
        if not program.exists():
            command = self.command(self.device, PEERS / f"{name}.cu", program)
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                said = (done.stderr or done.stdout).strip().partition("\n")[0]
                raise PeerError(f"{name}.cu was not compiled: {said}")
        return program

    @contextlib.contextmanager
    def peer(self, name: str, *arguments: int) -> Iterator[Peer]:
        """The program `name` on this GPU, waiting for words; from the CPUs next to it, as nvbandwidth does."""
        words = [str(self.built(name)), str(self.device.index), *map(str, arguments)]
        with crew.pinned(*self.device.cpus):  # the process inherits it
            started = Peer(words)
        try:
            yield started
        finally:
            started.close()

    def setting(self, key: str) -> Setting:
        """In which our bench is asked for that figure alone."""
        return Setting(device=self.device, profile="standard", budget_s=20.0, seed=self.seed, only=frozenset({key}))

    @contextlib.contextmanager
    def case(self, key: str, *, point: int = 0) -> Iterator[Case]:
        """Our case of `key`, data allocated until the block is left; `point`: which of a sweep, from 0.

        Raises:
            UnsupportedError: this machine has no such figure.
        """
        bench = load(kernels.benches, "BENCH")[key.partition(".")[0]]
        steps = bench.open["cuda"](self.setting(key))
        try:
            step = next(itertools.islice((_measurable(each) for each in steps), point, None), None)
            if step is None:
                raise BenchError(f"{key} has no point {point}")
            yield step
        finally:
            close = getattr(steps, "close", None)
            if close:
                close()

    def ours(self, case: Case) -> Side:
        """A call that measures a case as a run does, checks included."""
        timer = devices.timer_for(self.device)
        return lambda: measure(case, timer, EFFORT["cuda"], self.seconds)[0].summary.value

    def steady(self, call: Callable[[], object]) -> float:
        """Seconds per call of torch's: the median of five batches; the first call is dropped."""
        self.clock(call, 1)
        calls = max(1, round(self.batch_s / max(self.clock(call, 1), 1e-9)))
        found = sorted(self.clock(call, calls) / calls for _ in range(BATCHES))
        return found[BATCHES // 2]


def _measurable(step: Step) -> Case:
    if isinstance(step, Skip):
        raise UnsupportedError(step.reason)
    if not isinstance(step, Case):
        raise BenchError(f"a timed case was expected, found {step!r}")
    return step


class Peer:
    """Another program, waiting on its stdin."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start it and read what it says of its device.

        Raises:
            PeerError: it ended instead.
        """
        self._name = Path(command[0]).name
        self._process = subprocess.Popen(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, cwd=ROOT
        )
        try:
            self.about = self._line(PATIENCE_S)
        except PeerError:
            self.close()
            raise

    def ask(self, word: str, *, patience_s: float = PATIENCE_S) -> Answer:
        """What it measures at that word.

        Raises:
            PeerError: it ended, gave no answer in time, or its own check failed.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{word}\n".encode())
        except OSError as error:
            raise PeerError(f"{self._name} ended: {self._last_words()}") from error
        answer = self._line(patience_s)
        if answer.get("wrong") != 0 or answer.get("word") != word or not answer.get("value", 0) > 0:
            raise PeerError(f"{self._name} answered {word} with {json.dumps(answer)}; its result is not to be believed")
        return answer

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _line(self, patience_s: float) -> Answer:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], patience_s)
        if not ready:
            raise PeerError(f"{self._name} gave no answer within {patience_s:.0f} s")
        line = self._process.stdout.readline()
        try:
            answer = json.loads(line)
        except ValueError as error:
            self._process.wait(timeout=patience_s)
            raise PeerError(f"{self._name} ended: {self._last_words()}") from error
        if not isinstance(answer, dict):
            raise PeerError(f"{self._name} said {line!r}, expected a JSON object")
        return answer

    def _last_words(self) -> str:
        assert self._process.stderr is not None
        self._process.wait(timeout=PATIENCE_S)
        lines = self._process.stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self._process.returncode}"


def event_clock(call: Callable[[], object], calls: int) -> float:
    """Seconds by torch's events."""
    import torch

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(calls):
        call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) * 1e-3
