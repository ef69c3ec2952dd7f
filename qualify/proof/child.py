"""The prover as a process: one JSON object a line on stdin, one on stdout, until the input ends.

    {"challenge": {…}, "device_kind": "cpu"}  ->  {"ready": true}
    {"epoch": 0, "salt": "…"}                  ->  {"epoch": 0, "roots": {"0": ["…"]}}
    {"open": {"0": [[segment, unit, commit]]}} ->  {"openings": {"0": [{…}]}}

Another challenge may follow, which gives back what the one before held.

What cannot be done is answered with {"error": "a sentence"}, after which the process ends with exit 1. Whoever wants
it to stop closes its input or kills it: it holds nothing but a device.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, cast

from kernels.chain.engine import Engine, open_engine
from kernels.conditions import die_with_parent
from kernels.spec import DeviceKind, UnsupportedError
from qualify.proof import challenge as challenges
from qualify.proof import messages, strict
from qualify.proof.challenge import Challenge
from qualify.proof.prover import Prover
from qualify.proof.strict import ProtocolError
from qualify.records import Json

#: a line holds a challenge, a salt, or the places asked of 64 devices, 1024 each
MOST_LINE_BYTES = 4 << 20

OpenEngine = Callable[[DeviceKind, int], Engine]


@dataclass
class Session:
    """Challenges one after another, from the first line to the end of the input."""

    open_engine: OpenEngine
    now: Callable[[], float]
    challenge: Challenge | None = None
    prover: Prover | None = None

    def answer(self, line: bytes) -> dict[str, Json]:
        """What to say to a line.

        Raises:
            ProtocolError: it is no such line, or not the one that is expected now.
            UnsupportedError: a device cannot do it.
        """
        data = strict.parse(line, most_bytes=MOST_LINE_BYTES)
        if not isinstance(data, dict):
            raise ProtocolError("a line holds an object")
        if "challenge" in data:
            return self._begin(strict.members(data, ("challenge", "device_kind"), "line"))
        if self.prover is None or self.challenge is None:
            raise ProtocolError("a challenge comes first")
        said = messages.answer_from_json(data, self.challenge)
        if isinstance(said, messages.NextEpoch):
            return messages.epoch_to_json(self.prover.epoch(said.salt))
        return messages.openings_to_json(self.prover.openings(said.asked))

    def close(self) -> None:
        """Give the devices back."""
        if self.prover is not None:
            self.prover.close()
            self.prover = None

    def _begin(self, data: dict[str, object]) -> dict[str, Json]:
        self.close()
        kind = cast("DeviceKind", strict.one_of(data["device_kind"], ("cpu", "cuda"), "device_kind"))
        self.challenge = challenges.from_json(data["challenge"])
        engines = [self.open_engine(kind, device.index) for device in self.challenge.devices]
        self.prover = Prover(self.challenge, engines, self.now)
        self.prover.ready()
        return {"ready": True}


def serve(source: IO[bytes], target: IO[bytes], session: Session) -> int:
    """Answer line after line; the exit code."""
    try:
        while line := source.readline(MOST_LINE_BYTES + 1):
            try:
                said, code = session.answer(line), 0
            except (UnsupportedError, ValueError, MemoryError, RuntimeError) as error:  # RuntimeError: torch's
                said, code = {"error": str(error) or type(error).__name__}, 1
            target.write(strict.canonical(said) + b"\n")
            target.flush()
            if code:
                return code
    except BrokenPipeError:
        pass  # nobody waits for the answer any more
    finally:
        session.close()
    return 0


def main() -> int:
    """Serve stdin and stdout."""
    die_with_parent()
    return serve(sys.stdin.buffer, sys.stdout.buffer, Session(open_engine, time.monotonic))


if __name__ == "__main__":
    sys.exit(main())
