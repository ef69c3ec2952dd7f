"""Which sizes are sound."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kernels.chain.params import Params
from tests.kernels.chain.golden import CHAINS

COMPUTE, MEMORY = CHAINS["int8"], CHAINS["memory"]


def test_what_follows_from_the_sizes() -> None:
    """By hand: 32 rows of 64 over 4 rounds; 4 units of 2 x 64 that commit to 4 of 8 rounds."""
    assert (COMPUTE.commits, COMPUTE.leaves, COMPUTE.levels, COMPUTE.state_bytes) == (1, 32, 5, 64)
    assert COMPUTE.ops_per_segment == 2 * 32 * 64 * 64 * 4
    assert CHAINS["bf16"].state_bytes == 128
    assert (MEMORY.commits, MEMORY.leaves, MEMORY.levels, MEMORY.state_bytes) == (4, 16, 4, 128)
    assert MEMORY.read_bytes_per_segment == 4 * 64 * 64 * 8
    assert MEMORY.pool_bytes == 7 * 64 * 64


@pytest.mark.parametrize("params", [*CHAINS.values(), replace(COMPUTE, n=8192, units=1 << 20)])
def test_sound_sizes_have_no_problem(params: Params) -> None:
    """Those of the tests, and the largest."""
    params.check()
    assert params.problem() is None


@pytest.mark.parametrize(
    ("params", "change", "word"),
    [
        (COMPUTE, {"kind": "link"}, "kind"),
        (COMPUTE, {"arithmetic": "fp8"}, "arithmetic"),
        (COMPUTE, {"n": 32}, "n must"),
        (COMPUTE, {"n": 16384}, "n must"),
        (COMPUTE, {"n": 96}, "n must"),
        (COMPUTE, {"n": 64.0}, "integer"),
        (COMPUTE, {"units": True}, "integer"),
        (COMPUTE, {"units": 1}, "leaves"),
        (COMPUTE, {"units": 48}, "units"),
        (COMPUTE, {"units": 0}, "units"),
        (COMPUTE, {"units": 1 << 21}, "units"),
        (COMPUTE, {"rows": 2}, "compute chain"),
        (COMPUTE, {"depth": 1}, "compute chain"),
        (COMPUTE, {"commit_every": 2}, "compute chain"),
        (COMPUTE, {"rounds": 4097, "commit_every": 4097}, "rounds"),
        (COMPUTE, {"tiles": 0}, "tiles"),
        (COMPUTE, {"arithmetic": "bf16", "n": 8192}, "bf16"),
        (MEMORY, {"arithmetic": "bf16"}, "bf16"),
        (MEMORY, {"depth": 0}, "depth"),
        (MEMORY, {"depth": 65}, "depth"),
        (MEMORY, {"rows": 3}, "rows"),
        (MEMORY, {"rows": 128}, "rows"),
        (MEMORY, {"commit_every": 3}, "divide"),
        (MEMORY, {"commit_every": 0}, "divide"),
        (MEMORY, {"rounds": 6}, "power of two"),
        (MEMORY, {"units": 1 << 19}, "leaves"),
    ],
)
def test_unsound_sizes_are_refused_with_the_reason(params: Params, change: dict[str, Any], word: str) -> None:
    """One thing wrong each."""
    with pytest.raises(ValueError, match=word):
        replace(params, **change).check()
