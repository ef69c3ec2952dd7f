"""The core's clock: a chain of additions, counted and timed."""

from __future__ import annotations

import platform

import numba
import pytest

from kernels.cpu import clock

KNOWN = platform.machine() in clock.CHAIN


@pytest.mark.skipif(not KNOWN, reason="this architecture's chain is not known")
def test_the_chain_is_as_long_as_its_count_says() -> None:
    """5 + 256 x 3: each addition is really done, and depends on the one before."""

    @numba.njit  # type: ignore[untyped-decorator]
    def run(start: int, addend: int) -> int:
        result: int = clock._chain(start, addend)
        return result

    assert run(5, 3) == 5 + clock.LINKS * 3


@pytest.mark.skipif(not KNOWN, reason="this architecture's chain is not known")
def test_a_clock_is_one_a_core_can_have() -> None:
    """Between 0.2 and 7 GHz; anything else would mean that an addition does not take one cycle."""
    found = clock.core_clock_hz()

    assert found is not None
    assert 0.2e9 < found < 7e9


def test_unknown_architecture_has_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """None, not a guess."""
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")

    assert clock.core_clock_hz() is None


@pytest.mark.skipif(not KNOWN, reason="this architecture's chain is not known")
def test_the_shortest_stretch_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """76 800 ns for 307 200 additions: 4 GHz."""
    monkeypatch.setattr(clock, "_fastest_ns", lambda turns, segments, room: 76_800)

    assert clock.core_clock_hz() == pytest.approx(4e9)
