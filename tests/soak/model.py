"""The protocol's state machine in slices: each tries some histories from a seed of its own."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from tests.scheduler.model.machine import Protocol

STEPS_OF_A_HISTORY = 40
HISTORIES = 50
#: what is kept of a failure: its end says what did not hold and by which steps
KEPT_CHARS = 6_000


def search(
    first: int, histories: int = HISTORIES, machine: type[Protocol] = Protocol
) -> tuple[dict[str, int], list[str]]:
    """Try so many histories; what was done, and what was found wrong.

    A failure is kept as it was found: its seed shows it again, and the model's own test makes it small. The steps of a
    slice that fails are not counted.
    """
    counts = {"histories": 0, "steps": 0}

    class Counted(machine):  # type: ignore[misc, valid-type]
        """Counts what it does."""

        @invariant()
        def counted(self) -> None:
            counts["steps"] += 1

        def teardown(self) -> None:
            counts["histories"] += 1
            super().teardown()

    limits = settings(
        max_examples=histories,
        stateful_step_count=STEPS_OF_A_HISTORY,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        phases=(Phase.generate,),
        print_blob=False,
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    with kept() as failures:
        run_state_machine_as_test(seed(first)(Counted), settings=limits)
    found = [f"seed {first}: {text[-KEPT_CHARS:]}" for text in failures]
    return ({"histories": 0, "steps": 0} if found else counts), found


@contextmanager
def kept() -> Iterator[list[str]]:
    """Whatever goes wrong inside is a finding, not the end of the search."""
    failures: list[str] = []
    try:
        yield failures
    except Exception as error:  # noqa: BLE001 - the rules under test may fail in any way; all of them are findings
        failures.append("".join(traceback.format_exception(error)))
