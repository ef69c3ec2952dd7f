"""Whether the clock can be believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from qualify import timekeeping
from qualify.files import Files
from qualify.records import ClockState
from qualify.timekeeping import STA_UNSYNC, TIME_ERROR, Discipline
from tests.machines import server

STA_PLL = 0x0001


@pytest.mark.parametrize(
    ("state", "status", "synchronized"),
    [
        (0, STA_PLL, True),
        (0, STA_UNSYNC, False),
        (TIME_ERROR, STA_UNSYNC | STA_PLL, False),
        (TIME_ERROR, STA_PLL, False),
    ],
)
def test_the_kernel_s_word_is_taken(tmp_path: Path, state: int, status: int, synchronized: bool) -> None:
    """Either mark of an undisciplined clock suffices; microseconds become seconds."""
    found = timekeeping.clock_state(
        Files(server(tmp_path)), ask=lambda: Discipline(state, status, 2500), unixtime_s=1.5e9
    )

    assert found == ClockState(synchronized=synchronized, source="tsc", max_error_s=0.0025, unixtime_s=1.5e9)


def test_a_sandbox_that_refuses_leaves_it_unknown(tmp_path: Path) -> None:
    """Neither synchronised nor not."""

    def refuse() -> Discipline:
        raise PermissionError(1, "Operation not permitted")

    found = timekeeping.clock_state(Files(tmp_path), ask=refuse, unixtime_s=7.0)

    assert found == ClockState(unixtime_s=7.0)


def test_the_real_kernel_answers_in_its_own_terms() -> None:
    """The structure is laid out as the C library expects it: state, bound and status lie in their ranges."""
    answer = timekeeping.ask_kernel()

    assert 0 <= answer.state <= TIME_ERROR
    assert 0 <= answer.max_error_us <= 16_000_000  # NTP_PHASE_LIMIT, where the kernel stops counting
    assert (answer.state == TIME_ERROR) >= bool(answer.status & STA_UNSYNC)
