"""Rates from the epochs of a transcript, by the server's stamps alone.

A salt is unknown before it is released, and roots that arrive commit to all of their epoch's work: whatever was done
in between was done in that time, so a rate is never too high. The round trip that each epoch contains makes it a
little too low.
"""

from __future__ import annotations

from collections.abc import Sequence

from kernels.chain.params import Params
from qualify.proof.transcript import Epoch, Transcript
from qualify.proof.verdict import BANDWIDTH, BF16, INT8, MEMORY, UNITS, Figure

#: from so many epochs on the first is left out: clocks and caches were cold
COLD_FROM = 4


def rate_key(params: Params) -> str:
    """The figure that a chain of this kind proves a rate of."""
    if params.kind == "memory":
        return BANDWIDTH
    return INT8 if params.arithmetic == "int8" else BF16


def work_per_segment(params: Params) -> int:
    """Operations, or bytes read, of one device's segment."""
    return params.read_bytes_per_segment if params.kind == "memory" else params.ops_per_segment


def of_devices(transcript: Transcript, devices: Sequence[int]) -> dict[str, Figure]:
    """The figures of these devices together."""
    params = transcript.challenge.params
    epochs = transcript.epochs[1:] if len(transcript.epochs) >= COLD_FROM else transcript.epochs
    work = [sum(len(epoch.roots[device]) for device in devices) * work_per_segment(params) for epoch in epochs]
    key = rate_key(params)
    found = {key: _rate(epochs, work, UNITS[key])}
    if params.kind == "memory":
        size = float(params.pool_bytes * len(devices))
        found[MEMORY] = Figure(value=size, low=size, high=size, sustained=size, n=len(epochs), unit=UNITS[MEMORY])
    return found


def _rate(epochs: Sequence[Epoch], work: Sequence[int], unit: str) -> Figure:
    spans_ns = [epoch.received_ns - epoch.released_ns for epoch in epochs]
    rates = [done * 1e9 / span for done, span in zip(work, spans_ns, strict=True)]
    last = (len(epochs) + 3) // 4
    return Figure(
        value=_exceeded(rates, spans_ns, 50),
        low=_exceeded(rates, spans_ns, 95),
        high=_exceeded(rates, spans_ns, 5),
        sustained=sum(work[-last:]) * 1e9 / sum(spans_ns[-last:]),
        n=len(epochs),
        unit=unit,
    )


def _exceeded(rates: Sequence[float], spans_ns: Sequence[int], percent: int) -> float:
    """The largest rate that was reached or passed during `percent` of the time.

    By time and not by number of epochs: a node says itself when an epoch ends, and could report many quick ones.
    """
    left = percent * sum(spans_ns)
    for rate, span in sorted(zip(rates, spans_ns, strict=True), reverse=True):
        left -= 100 * span
        if left <= 0:
            return rate
    return min(rates)
