"""What all tests share: where real parts must be present, a test that skips for want of one fails."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a `real` test into a failure under GRIDMARK_REAL_PARTS=required (set by .ci/run)."""
    report = yield
    required = os.environ.get("GRIDMARK_REAL_PARTS") == "required"
    if required and report.skipped and item.get_closest_marker("real") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} skipped, and here every real part must be present: {call.excinfo}"
    return report
