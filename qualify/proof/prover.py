"""The node's side of a challenge: engines run segments epoch by epoch, then lay open what is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from kernels.chain.engine import Engine, Opening
from qualify.proof.challenge import Challenge, Device
from qualify.proof.messages import EpochRequest, Openings, Place

T = TypeVar("T")


class Prover:
    """Runs one challenge; its devices work at the same time and meet at the end of every epoch."""

    def __init__(self, challenge: Challenge, engines: Sequence[Engine], now: Callable[[], float]) -> None:
        """
        Args:
            engines: one for each device of the challenge, in its order.
            now: seconds that never jump.

        Raises:
            ValueError: there are more or fewer engines than devices.
        """
        if len(engines) != len(challenge.devices):
            raise ValueError(f"{len(challenge.devices)} devices need as many engines, found {len(engines)}")
        self._challenge = challenge
        self._engines = dict(zip(challenge.devices, engines, strict=True))
        self._now = now
        self._epochs = 0
        self._crew = ThreadPoolExecutor(len(engines), "prover") if len(engines) > 1 else None

    def ready(self) -> None:
        """Make tiles and first states on every device; none of it is timed.

        Raises:
            UnsupportedError: a device cannot hold or compute such a chain.
        """
        challenge = self._challenge

        def prepare(device: Device, engine: Engine) -> None:
            engine.prepare(challenge.params, seed=device.seed, challenge=challenge.id, device=device.index)

        self._each(prepare)

    def epoch(self, salt: bytes) -> EpochRequest:
        """Run segments under this salt for about `epoch_s`, at least one on each device that has not run its most."""
        until = self._now() + self._challenge.epoch_s

        def run(_: Device, engine: Engine) -> tuple[bytes, ...]:
            roots: list[bytes] = []
            while engine.segments < self._challenge.most_segments and not (roots and self._now() >= until):
                roots.append(engine.advance(salt))
            return tuple(roots)

        self._epochs += 1
        return EpochRequest(self._epochs - 1, self._each(run))

    def openings(self, asked: Mapping[int, Sequence[Place]]) -> Openings:
        """Lay these open.

        Raises:
            ValueError: one of them was not run.
        """
        return Openings(self._each(lambda device, engine: tuple[Opening, ...](engine.open_many(asked[device.index]))))

    def close(self) -> None:
        """Give back what the engines hold."""
        if self._crew is not None:
            self._crew.shutdown()
        for engine in self._engines.values():
            engine.close()

    def _each(self, work: Callable[[Device, Engine], T]) -> dict[int, T]:
        """What `work` gives for every device, all at once; the first error is raised when all have ended."""
        if self._crew is None:
            return {device.index: work(device, engine) for device, engine in self._engines.items()}
        begun = {device: self._crew.submit(work, device, engine) for device, engine in self._engines.items()}
        wait(begun.values())
        return {device.index: future.result() for device, future in begun.items()}
