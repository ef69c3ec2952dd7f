"""The progress bar: what runs now and what is left; silent where stderr is no terminal."""

from __future__ import annotations

from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from qualify.run import Event

#: redraws per second: seldom enough to leave the machine to the benchmarks
REDRAWS = 2


class Progress:
    """Shows a run's events on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=Console(file=stream),
            refresh_per_second=REDRAWS,
            transient=True,
            disable=not stream.isatty(),
        )
        self._task = self._bar.add_task("probing", total=None, left="")

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, event: Event) -> None:
        """Move the bar to `event`."""
        what = {"end": "writing the report", "repeat": f"again: {' '.join(event.keys)}"}.get(
            event.kind, " ".join(event.keys) if event.kind == "keys" else event.bench
        )
        left = f"about {event.left_s:.0f} s left" if event.left_s else ""
        self._bar.update(
            self._task, description=what[:40], completed=event.done_s, total=event.done_s + event.left_s, left=left
        )
