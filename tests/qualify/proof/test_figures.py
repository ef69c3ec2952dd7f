"""Rates by the server's stamps, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qualify.proof import figures
from qualify.proof.transcript import Epoch, Transcript
from qualify.proof.verdict import BANDWIDTH, BF16, INT8, MEMORY, Figure
from tests.qualify.proof.play import KINDS, good

OPS = 2 * 4 * 64 * 64 * 2  #: of a segment: 4 units, a tile of 64 x 64, 2 rounds


def run(epochs: Sequence[tuple[float, int]], kind: str = "int8") -> Transcript:
    """A transcript with epochs of so many seconds and segments."""
    made, at_ns = [], 0
    for seconds, segments in epochs:
        end_ns = at_ns + int(seconds * 1e9)
        made.append(Epoch(salt=b"", released_ns=at_ns, received_ns=end_ns, roots={0: (b"",) * segments}))
        at_ns = end_ns
    return replace(good(kind), epochs=tuple(made))


def rate(epochs: Sequence[tuple[float, int]]) -> Figure:
    return figures.of_devices(run(epochs), [0])[INT8]


def test_each_kind_has_its_figures() -> None:
    """65536 operations a segment; 2 units that read 4 tiles of 4096 bytes are 32768 bytes of a pool of 8."""
    found = {kind: figures.of_devices(run([(1, 1)], kind), [0]) for kind in KINDS}

    assert {kind: set(one) for kind, one in found.items()} == {
        "int8": {INT8},
        "bf16": {BF16},
        "memory": {BANDWIDTH, MEMORY},
    }
    assert (found["int8"][INT8].value, found["bf16"][BF16].value) == (OPS, OPS)
    assert (found["memory"][BANDWIDTH].value, found["memory"][MEMORY].value) == (32_768, 8 * 4_096)


def test_half_of_the_time_was_at_the_value_or_above() -> None:
    """10, 20 and 30 segments in a second each; 95 % of the time the slowest was reached, 5 % the quickest."""
    found = rate([(1, 10), (1, 30), (1, 20)])

    assert (found.low, found.value, found.high, found.n) == (10 * OPS, 20 * OPS, 30 * OPS, 3)


def test_time_counts_and_not_the_number_of_epochs() -> None:
    """Nine short sprints in 0.9 s say less than one slow epoch of 2 s: a node ends its epochs when it likes."""
    found = rate([(0.1, 9), *[(0.1, 9)] * 9, (2.0, 20)])

    assert found.value == 10 * OPS
    assert (found.low, found.high) == (10 * OPS, 90 * OPS)


def test_the_first_epoch_is_left_out_of_four() -> None:
    """It was cold; of three it counts."""
    assert rate([(1, 1), (1, 10), (1, 10)]).low == OPS
    assert rate([(1, 1), (1, 10), (1, 10), (1, 10)]).low == 10 * OPS


def test_what_is_sustained_is_the_mean_of_the_last_quarter() -> None:
    """Of eight warm epochs the last two: 6 and 4 segments in 1 s and 4 s are 2 a second."""
    found = rate([(1, 50), *[(1, 10)] * 6, (1, 6), (4, 4)])

    assert (found.n, found.sustained) == (8, 2 * OPS)
