"""The launch bench: medians over batches, tails over single calls."""

from __future__ import annotations

import pytest

from kernels.benches import launch
from kernels.spec import Case, WrongResultError
from tests.kernels.devices import small_setting, variant


def test_medians_are_batched_and_tails_are_not() -> None:
    """The p99 of batches would hide what single calls suffer."""
    cases = [case for case in launch.on_cpu(small_setting()) if isinstance(case, Case)]

    assert [case.key for case in cases] == list(launch.KEYS)
    assert [(case.statistic, case.min_sample_s) for case in cases] == [("median", 2e-3), ("p99", 0.0)] * 2
    assert all(found.work.steps == 1 for case in cases for found in case.variants)


def test_tails_tell_what_the_timer_takes() -> None:
    """Two readings of the clock, less than 20 µs anywhere."""
    for case in launch.on_cpu(small_setting("launch.numba_p99")):
        assert isinstance(case, Case)
        overhead_s = case.context["timer_overhead_s"]
        assert isinstance(overhead_s, float)
        assert 0 <= overhead_s < 20e-6


def test_an_operation_that_did_nothing_is_caught() -> None:
    """The sum must be there, and be there anew."""
    (case,) = launch.on_cpu(small_setting("launch.sync"))
    found = variant(case)

    with pytest.raises(WrongResultError, match="expected 82"):
        found.check()
    found.call()
    found.check()


def test_a_compiled_function_that_errs_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer is compared, not only its time taken."""
    from kernels.cpu import calls

    monkeypatch.setattr(calls, "successor", lambda number: number)
    found = variant(next(launch.on_cpu(small_setting("launch.numba"))))

    with pytest.raises(WrongResultError, match="is 41, expected 42"):
        found.check()
