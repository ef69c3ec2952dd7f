"""No job runs twice or is lost, whatever happens between a server, its agents and their supervisors.

GRIDMARK_MODEL_EXAMPLES sets how many histories are tried; for a long search `make soak` is faster.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.scheduler.model.machine import Protocol

EXAMPLES = int(os.environ.get("GRIDMARK_MODEL_EXAMPLES", "100"))
HISTORIES = settings(
    max_examples=EXAMPLES, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_no_job_runs_twice_or_is_lost_in_any_history() -> None:
    """At most one unfrozen attempt of a job; all end; only the current token commits; capacity is what lives."""
    run_state_machine_as_test(Protocol, settings=HISTORIES)
