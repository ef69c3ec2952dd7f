"""The server's side of a challenge: which call may come when, what is drawn, which clock counts.

Pure: the moment of each call and the source of randomness are passed in. A call that is out of order, late, doubled
or malformed raises ProtocolError and ends the challenge; the caller burns it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from qualify.proof.challenge import Challenge
from qualify.proof.messages import (
    MOST_EPOCHS,
    SALT_BYTES,
    Ask,
    EpochAnswer,
    EpochRequest,
    NextEpoch,
    Openings,
    Places,
)
from qualify.proof.strict import ProtocolError
from qualify.proof.transcript import DRAW_BYTES, Epoch, Transcript, check_places, drawn

#: a run that is still short of its least segments after so many times its target is cut: the node is too slow
PATIENCE = 4

State = Literal["issued", "running", "asked", "done", "burned"]


@dataclass(frozen=True, slots=True)
class Now:
    """One moment of the server."""

    mono_ns: int  #: never jumps: rates are computed from it
    unix_ms: int  #: of the calendar: challenges expire by it


class ExpiredError(ProtocolError):
    """A call that came after the challenge had expired."""


class Referee:
    """Leads one challenge from its first call to its transcript."""

    def __init__(self, challenge: Challenge, random_bytes: Callable[[int], bytes]) -> None:
        self.challenge = challenge
        self._random_bytes = random_bytes
        self._state: State = "issued"
        self._salt = b""
        self._released_ns = 0
        self._started_ns = 0
        self._epochs: list[Epoch] = []
        self._segments = dict.fromkeys(challenge.indices, 0)
        self._draw = b""
        self._asked: Places = {}

    @property
    def state(self) -> State:
        """Where the challenge stands."""
        return self._state

    @property
    def asked(self) -> Places:
        """What was drawn; empty before."""
        return self._asked

    def ready(self, now: Now) -> NextEpoch:
        """The node's devices hold all they need: the clock starts.

        Raises:
            ProtocolError: it was said before, or the challenge has ended.
        """
        self._expect("issued", now)
        self._state = "running"
        self._started_ns = now.mono_ns
        return self._release(now)

    def epoch(self, request: EpochRequest, now: Now) -> EpochAnswer:
        """An epoch's roots have arrived: a new salt, or what is to be opened.

        Raises:
            ProtocolError: not the epoch that runs, a device without a root or with too many.
        """
        self._expect("running", now)
        try:
            self._count(request)
        except ProtocolError:
            self._state = "burned"
            raise
        received_ns = max(now.mono_ns, self._released_ns + 1)
        self._epochs.append(
            Epoch(salt=self._salt, released_ns=self._released_ns, received_ns=received_ns, roots=request.roots)
        )
        if self._enough(received_ns):
            self._state = "asked"
            self._draw = self._random_bytes(DRAW_BYTES)
            self._asked = drawn(self.challenge, self._epochs, self._draw)
            return Ask(self._asked)
        return self._release(Now(received_ns, now.unix_ms))

    def openings(self, request: Openings, now: Now) -> Transcript:
        """The openings have arrived, which ends the challenge.

        Raises:
            ProtocolError: other places than were drawn, whatever the request says of them.
        """
        self._expect("asked", now)
        self._state = "burned"
        check_places(self._asked, request.openings)
        transcript = Transcript(
            challenge=self.challenge,
            epochs=tuple(self._epochs),
            draw=self._draw,
            asked=self._asked,
            openings=request.openings,
        )
        self._state = "done"
        return transcript

    def expired(self, now: Now) -> bool:
        """Whether the challenge has run out of time without an end; then it is burned."""
        if self._state in ("done", "burned") or now.unix_ms < self.challenge.expires_ms:
            return False
        self._state = "burned"
        return True

    def _expect(self, state: State, now: Now) -> None:
        found = self._state
        if self.expired(now):
            raise ExpiredError("the challenge has expired")
        if found != state:
            self._state = "done" if found == "done" else "burned"
            raise ProtocolError(f"a challenge that is {found} takes no such call, only one that is {state}")

    def _release(self, now: Now) -> NextEpoch:
        self._salt = self._random_bytes(SALT_BYTES)
        self._released_ns = now.mono_ns
        return NextEpoch(len(self._epochs), self._salt)

    def _count(self, request: EpochRequest) -> None:
        if len(self._epochs) == MOST_EPOCHS:  # some hundred are usual: whoever makes thousands wants an early end
            raise ProtocolError(f"epoch: expected at most {MOST_EPOCHS}")
        if request.epoch != len(self._epochs):
            raise ProtocolError(f"epoch: expected number {len(self._epochs)}, found {request.epoch}")
        if tuple(sorted(request.roots)) != self.challenge.indices:
            raise ProtocolError("epoch.roots: expected one list for each device of the challenge")
        most = self.challenge.most_segments
        for device, roots in request.roots.items():
            before = self._segments[device]
            if not roots and before < most:
                raise ProtocolError(f"epoch.roots.{device}: expected a segment at least, found none")
            if before + len(roots) > most:
                raise ProtocolError(f"epoch.roots.{device}: expected at most {most} segments in all")
            self._segments[device] = before + len(roots)

    def _enough(self, received_ns: int) -> bool:
        challenge, ran = self.challenge, self._segments.values()
        elapsed_s = (received_ns - self._started_ns) / 1e9
        return (
            (elapsed_s >= challenge.target_s and min(ran) >= challenge.least_segments)
            or elapsed_s >= PATIENCE * challenge.target_s
            or min(ran) == challenge.most_segments
        )
