"""Leads the challenges of nodes: who may say what when is the referee's, what it means is the market's.

A referee lives in memory only; a challenge that outlives its server is ended without harm. Transcripts are judged in
processes of their own, a few at a time, and never in the event loop.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qualify.proof import challenge as protocol
from qualify.proof import messages, strict, transcript, verdict
from qualify.proof.challenge import Challenge
from qualify.proof.referee import ExpiredError, Now, Referee
from qualify.proof.strict import ProtocolError
from qualify.proof.verdict import Outcome, Verdict
from qualify.proof.worker import run_worker
from qualify.records import Json
from scheduler import clock
from scheduler.control import Control, Refused
from scheduler.proofs.count import too_few
from scheduler.proofs.outcome import Finding, Judged
from scheduler.proofs.rows import Challenge as Row
from scheduler.proofs.rows import ChallengeState
from scheduler.store.errors import StoreError
from server import bodies, logs
from server.problems import ProblemError

if TYPE_CHECKING:
    from server.deps import Signed
    from server.runtime import Runtime

#: bytes of a request about a challenge that nobody leads
SMALL_BYTES = 64 << 10
#: what is parsed in the event loop; more takes longer than others should wait
QUICK_BYTES = 64 << 10


@dataclass(slots=True)
class Led:
    """A challenge under way."""

    row: Row
    challenge: Challenge
    referee: Referee
    begun: bool = False


class Proofs:
    """All challenges that this server leads, one of a node at the most."""

    def __init__(self, *, judges: int, judge: Callable[[bytes], Verdict] = run_worker) -> None:
        """
        Args:
            judges: transcripts that are judged at the same time.
            judge: from a transcript's text to the verdict; blocks, and never raises.
        """
        self._led: dict[int, Led] = {}
        self._judge = judge
        self._pool = ThreadPoolExecutor(judges, thread_name_prefix="gridmark-judge")

    def close(self) -> None:
        """Wait for verdicts that are being reached; what has only arrived is not judged any more."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def led(self, node: int, challenge: str) -> Led | None:
        """The challenge, when it is this node's and under way."""
        found = self._led.get(node)
        return found if found is not None and found.row.id == challenge else None

    def most_bytes(self, node: int, challenge: str, what: str) -> int:
        """The largest body that is taken for an answer to a challenge."""
        found = self.led(node, challenge)
        if found is None:
            return SMALL_BYTES
        bound = {"epochs": messages.most_epoch_bytes, "openings": messages.most_openings_bytes}[what]
        return bound(found.challenge)

    async def issue(self, runtime: Runtime, what: Signed) -> Row | None:
        """A fresh challenge, written down; None when the node has nothing to prove now."""
        node, draw = what.node.id, runtime.sources.random_bytes
        row = await runtime.do(lambda control, now: control.issue_challenge(node, what.epoch, now, draw))
        if row is not None:
            challenge = protocol.loads(row.document.encode("ascii"))
            self._led[node] = Led(row, challenge, Referee(challenge, draw))
        return row

    async def ready(self, runtime: Runtime, node: int, challenge: str) -> dict[str, Json]:
        """The node has prepared: burn the challenge, then let the first salt go and the clock run."""
        led = self._own(node, challenge)
        if led.begun:
            raise await self._burn(runtime, led, ProtocolError("a challenge is begun once"))
        led.begun = True
        await self._advance(runtime, led, ChallengeState.USED)
        try:
            return messages.answer_to_json(led.referee.ready(moment(runtime)))
        except ProtocolError as error:
            raise await self._burn(runtime, led, error) from None

    async def epoch(self, runtime: Runtime, node: int, challenge: str, body: bytes, at: Now) -> dict[str, Json]:
        """The roots of an epoch, received at `at`: the next salt, or what is to be opened."""
        led = self._own(node, challenge)
        try:
            request = messages.epoch_from_json(await _parsed(runtime, body), led.challenge)
            answer = led.referee.epoch(request, at)
        except ProtocolError as error:
            raise await self._burn(runtime, led, error) from None
        if isinstance(answer, messages.Ask):
            await self._advance(runtime, led, ChallengeState.ASKED)
        return messages.answer_to_json(answer)

    async def unpacked(self, runtime: Runtime, node: int, challenge: str, packed: bytes, most: int) -> bytes:
        """A gzipped answer, stopped as soon as it is larger than its challenge allows; one that is none burns it."""
        led = self._own(node, challenge)
        try:
            return await runtime.read(bodies.unpacked, packed, most)
        except ProblemError as error:
            raise await self._burn(runtime, led, ProtocolError(error.text)) from None

    async def openings(self, runtime: Runtime, node: int, challenge: str, body: bytes, at: Now) -> None:
        """The openings: the transcript is whole, kept, and judged as soon as there is room."""
        led = self._own(node, challenge)
        try:
            opened = await runtime.read(_openings, body, led.challenge)
            text = await runtime.read(transcript.to_bytes, led.referee.openings(opened, at))
        except ProtocolError as error:
            raise await self._burn(runtime, led, error) from None
        self._led.pop(node, None)
        await self._advance(runtime, led, ChallengeState.ANSWERED)
        try:
            await runtime.read(runtime.files.put_transcript, text)
        except StoreError as error:
            await self._settle(runtime, led, Finding(outcome="could_not_run", why="the transcript could not be kept"))
            raise ProblemError("unavailable", "the transcript could not be stored") from error
        self._pool.submit(self._judged, runtime, led, text)

    def _judged(self, runtime: Runtime, led: Led, text: bytes) -> None:
        """In a thread of its own: reach the verdict and have the market take it over."""
        found = self._judge(text)
        try:
            finding = finding_of(runtime, led.row, found, text)
            runtime.writer.do(lambda control, now: _settled(control, led.row, finding, now)).result()
        except (StoreError, Refused, ProtocolError) as error:
            logs.say("a verdict was lost", level=logging.ERROR, challenge=led.row.id, why=str(error))

    def _own(self, node: int, challenge: str) -> Led:
        found = self.led(node, challenge)
        if found is None:
            raise ProblemError("not-found", f"no challenge {challenge} of node {node} is under way")
        return found

    async def _advance(self, runtime: Runtime, led: Led, state: ChallengeState) -> None:
        row = led.row
        await runtime.do(lambda control, now: control.advance_challenge(row.id, row.node, state, now))

    async def _burn(self, runtime: Runtime, led: Led, error: ProtocolError) -> ProblemError:
        """End a challenge with an answer that the protocol does not allow; the problem to answer with."""
        late = isinstance(error, ExpiredError)
        outcome: Outcome = "unreachable" if late else "protocol_error"
        if self._led.get(led.row.node) is led:
            del self._led[led.row.node]
        await self._settle(runtime, led, Finding(outcome=outcome, why=verdict.sentence(str(error))))
        if late:
            return ProblemError("conflict", str(error))
        return ProblemError("protocol-error", f"{error}; the challenge is over")

    async def _settle(self, runtime: Runtime, led: Led, finding: Finding) -> None:
        await runtime.do(lambda control, now: _settled(control, led.row, finding, now))


def finding_of(runtime: Runtime, row: Row, found: Verdict, text: bytes) -> Finding:
    """What a verdict means for the market: evidence, unless nothing came of it."""
    if found.outcome == "could_not_run":
        return Finding(outcome=found.outcome, why=found.why)
    judged = Judged(
        transcript_sha256=hashlib.sha256(text).hexdigest(), verdict=verdict.to_json(found), verifier=found.verifier
    )
    node = runtime.book.nodes[row.node]
    entries = node.proof.check.entries if node.proof.check is not None else ()
    earlier = [entry for seq in entries for entry in runtime.reader.evidence(after=seq - 1, limit=1)]
    why = too_few(node, [verdict.from_json(entry.verdict) for entry in earlier] + [found])
    return Finding(outcome=found.outcome, why=found.why, judged=judged, too_few=why)


def _settled(control: Control, row: Row, finding: Finding, now: clock.Now) -> None:
    """What has ended meanwhile, by its time or by a second answer, has ended."""
    if row.id in control.book.challenges:
        control.settle_challenge(row.id, row.node, finding, now)


async def _parsed(runtime: Runtime, body: bytes) -> object:
    if len(body) <= QUICK_BYTES:
        return _json(body)
    return await runtime.read(_json, body)


def _json(body: bytes) -> object:
    return strict.parse(body, most_bytes=len(body))


def _openings(body: bytes, challenge: Challenge) -> messages.Openings:
    return messages.openings_from_json(_json(body), challenge)


def moment(runtime: Runtime) -> Now:
    """This moment, as the referee counts it."""
    return Now(runtime.sources.monotonic_ns(), runtime.now().unix_ms)
