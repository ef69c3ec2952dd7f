"""The prover as a process, spoken to line by line."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import qualify
from kernels.chain.engine import Engine, open_engine
from kernels.spec import DeviceKind
from qualify.proof import challenge as challenges
from qualify.proof import messages
from qualify.proof.child import Session, serve
from qualify.proof.referee import Now, Referee
from qualify.proof.verify import verify
from tests.qualify.proof.play import INT8, Ledger, challenge_of, randomness

SALT = "00" * 32


def small_engine(kind: DeviceKind, index: int) -> Engine:
    return Ledger() if kind == "cpu" else open_engine(kind, index)


def begin(**changes: object) -> dict[str, object]:
    return {"challenge": {**challenges.to_json(challenge_of()), **changes}, "device_kind": "cpu"}


def said(*lines: object) -> tuple[int, list[Any]]:
    """The exit code and what the child says to these lines; epochs end after their first segment."""
    source = io.BytesIO(
        b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    )
    target, seconds = io.BytesIO(), iter(range(10_000))
    code = serve(source, target, Session(small_engine, lambda: float(next(seconds))))
    return code, [json.loads(line) for line in target.getvalue().splitlines()]


def test_a_whole_challenge_runs_through_a_real_process() -> None:
    """Ready, epochs until the referee asks, openings; the process ends with its input, and the verdict is a pass."""
    challenge = challenge_of(INT8)
    referee, clock = Referee(challenge, randomness(3)), iter(range(0, 10**12, 10**9))
    home = str(Path(qualify.__file__).resolve().parents[1])
    with subprocess.Popen(
        [sys.executable, "-m", "qualify.proof.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=home,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None

        def ask(message: object) -> Any:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(json.dumps(message).encode() + b"\n")
            child.stdin.flush()
            return json.loads(child.stdout.readline())

        ready = ask({"challenge": {**challenges.to_json(challenge), "epoch_s": 0.01}, "device_kind": "cpu"})
        answer: messages.EpochAnswer = referee.ready(Now(next(clock), 0))
        while isinstance(answer, messages.NextEpoch):
            ran = messages.epoch_from_json(ask(messages.answer_to_json(answer)), challenge)
            answer = referee.epoch(ran, Now(next(clock), 0))
        opened = messages.openings_from_json(ask(messages.answer_to_json(answer)), challenge)
        child.stdin.close()
        code = child.wait(timeout=10)

    assert ready == {"ready": True}
    assert verify(referee.openings(opened, Now(next(clock), 0))).outcome == "pass"
    assert code == 0


def test_epochs_are_numbered_as_they_come() -> None:
    """With a segment each, as a second has passed whenever the clock is looked at."""
    code, answers = said(begin(), {"epoch": 0, "salt": SALT}, {"epoch": 1, "salt": SALT})

    assert (code, answers[0]) == (0, {"ready": True})
    assert [(answer["epoch"], len(answer["roots"]["0"])) for answer in answers[1:]] == [(0, 1), (1, 1)]


def test_another_challenge_begins_anew() -> None:
    """One process serves a whole check: loading what computes takes longer than many a challenge."""
    code, answers = said(begin(), {"epoch": 0, "salt": SALT}, begin(), {"epoch": 0, "salt": SALT})

    assert (code, answers[0], answers[2]) == (0, {"ready": True}, {"ready": True})
    assert answers[1] == answers[3]


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ([b"nonsense"], "not JSON"),
        ([{"epoch": 0, "salt": SALT}], "a challenge comes first"),
        ([begin(), {"epoch": 0, "salt": "00"}], "64 lower-case hex digits"),
        ([begin(), {"open": {"0": []}}], "expected 16 entries"),
        ([begin(), {"open": {"0": [[3, 0, 0]] * 16}}], "(3, 0, 0)"),
        ([begin(devices=[])], "1 to 64 entries"),
        ([b'{"challenge": NaN}'], "NaN"),
        ([b"[" * 100_000], "nested too deeply"),
        ([b'{"salt": "' + b"0" * (5 << 20) + b'"}'], "at most"),
    ],
)
def test_a_line_that_does_not_fit_is_answered_with_a_sentence(lines: list[object], error: str) -> None:
    """And with the end: what it ran is worth nothing by then."""
    code, answers = said(*lines)

    assert code == 1
    assert error in answers[-1]["error"]


def test_a_device_that_is_not_there_is_a_sentence_as_well() -> None:
    """Not a traceback."""
    code, answers = said({**begin(devices=[{"index": 77, "uuid": "", "seed": "00" * 32}]), "device_kind": "cuda"})

    assert code == 1
    assert list(answers[0]) == ["error"]
