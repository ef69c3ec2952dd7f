"""Messages of a child: what arrives is what was sent, and nothing else is let in."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kernels.device import Device
from qualify import wire

KEYS = frozenset({"memory.triad", "memory.copy"})
FIGURE = wire.Measured(
    key="memory.triad",
    unit="B/s",
    statistic="median",
    value=4e10,
    ci95=(3.9e10, 4.1e10),
    mad=1e8,
    p5=3.8e10,
    p95=4.2e10,
    samples=(4e10, 3.9e10, 4.1e10),
    converged=True,
    at=None,
    axis="",
    lasted_s=0.5,
    version=1,
    context={"variant": "streaming"},
)


@pytest.mark.parametrize(
    "message",
    [
        FIGURE,
        replace(FIGURE, at=8.0, axis="size_bytes", ci95=None),
        wire.Started(keys=("memory.copy", "memory.triad")),
        wire.Missed(keys=("memory.copy",), status="failed", reason="c[7] is 0.0", error="wrong_result"),
        wire.Done(),
    ],
    ids=lambda message: message.kind,
)
def test_what_was_sent_arrives(message: wire.Message) -> None:
    """Encoding and decoding change nothing."""
    assert wire.decode(wire.encode(message), KEYS) == message


def test_a_task_crosses_to_the_child_whole() -> None:
    """The device, too, is plain data."""
    device = Device(kind="cpu", index=0, name="a CPU", cpus=(0, 1), threads=2, llc_bytes=1 << 25)
    task = wire.Task(
        bench="memory", device=device, profile="quick", seconds=5.0, seed=1, only=("memory.copy",), workdir="."
    )

    assert wire.decode_task(wire.encode(task)) == task


def sent(**changes: Any) -> bytes:
    fields = json.loads(wire.encode(FIGURE))
    return json.dumps({**fields, **changes}).encode()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"Segmentation fault",
        b"{",
        b"[]",
        b"3",
        b'{"kind":"figure"}',
        b'{"kind":"done","more":1}',
        b"\xff\xfe",
        b"[" * 100_000,
        sent(value=float("nan")),
        sent(value=float("inf")),
        sent(value="4e10"),
        sent(value=True),
        sent(value=-1),
        sent(samples=[]),
        sent(samples=[1, None]),
        sent(ci95=[2, 1]),
        sent(ci95=[1]),
        sent(unit="GB/s"),
        sent(key="matmul.fp32"),
        sent(key=7),
        sent(converged=1),
        sent(context=[]),
        b'{"kind":"missed","keys":"memory.copy","status":"failed","reason":"x"}',
        b'{"kind":"missed","keys":["memory.copy"],"status":"ok","reason":"x"}',
        b'{"kind":"missed","keys":["memory.copy"],"status":"failed","reason":"x","error":"odd"}',
        b'{"kind":"started","keys":["disk.read"]}',
    ],
)
def test_rubbish_is_refused(line: bytes) -> None:
    """Whatever is not exactly a message about a key that was asked for ends the child's credit."""
    with pytest.raises(wire.WireError):
        wire.decode(line, KEYS)


@given(some.binary(max_size=200))
def test_no_bytes_at_all_get_past_the_border(line: bytes) -> None:
    """Random bytes raise WireError and nothing else."""
    try:
        wire.decode(line, KEYS)
    except wire.WireError:
        return
    raise AssertionError(f"{line!r} was taken for a message")


def test_a_figure_that_is_not_finite_is_never_sent() -> None:
    """NaN is not JSON; the child fails rather than sending it."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        wire.encode(replace(FIGURE, value=float("nan")))
