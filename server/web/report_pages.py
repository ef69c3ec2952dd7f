"""A node's newest report, whole: as its page, and the ratios in it that say what mending would bring."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TypeVar

from qualify import codec
from qualify.records import Report
from server.problems import ProblemError
from server.runtime import Runtime

T = TypeVar("T")

MOST_PAGES = 16  #: kept; a page has 0.3 to 1 MB
MOST_RATIOS = 1000


class Kept(OrderedDict[str, T]):
    """What was made of the last few reports, by report; the one unused longest goes first."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def look(self, report: str) -> T | None:
        """What is kept of a report."""
        if report in self:
            self.move_to_end(report)
        return self.get(report)

    def keep(self, report: str, what: T) -> None:
        """Keep it, and let go of the oldest beyond what may be kept."""
        self[report] = what
        while len(self) > self._most:
            self.popitem(last=False)


class ReportPages:
    """Made when first asked for. Belongs to one event loop."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._pages: Kept[str] = Kept(MOST_PAGES)
        self._ratios: Kept[Mapping[str, float]] = Kept(MOST_RATIOS)
        # one at a time: drawing takes a second of a core, and matplotlib's settings are the whole process's
        self._drawing = asyncio.Lock()

    async def page(self, node: int) -> str:
        """The page of a node's newest report.

        Raises:
            ProblemError: it was never measured, or nothing to draw with is installed.
        """
        report = await self._newest(node)
        if report is None:
            raise ProblemError("not-found", f"node {node} has no report")
        async with self._drawing:
            return await self._made(self._pages, report, draw)

    async def ratios(self, node: int) -> Mapping[str, float]:
        """Measured ÷ expected by metric, from the newest report; above 1 is better, for times too."""
        report = await self._newest(node)
        if report is None:
            return {}
        try:
            return await self._made(self._ratios, report, ratios)
        except ProblemError:  # the document is gone, the figures in the node's row are not
            return {}

    async def _newest(self, node: int) -> str | None:
        found = await self._runtime.read(self._runtime.reader.reports, node, limit=1)
        return found[0].id if found else None

    async def _made(self, kept: Kept[T], report: str, make: Callable[[Report], T]) -> T:
        known = kept.look(report)
        if known is None:
            known = await self._runtime.read(self._make, report, make)
            kept.keep(report, known)
        return known

    def _make(self, report: str, make: Callable[[Report], T]) -> T:
        content = self._runtime.files.report(report)
        if content is None:
            raise ProblemError("not-found", "the report is no longer kept")
        return make(codec.loads(content, max_bytes=self._runtime.settings.limits.report_bytes))


def draw(report: Report) -> str:
    """The report's page.

    Raises:
        ProblemError: matplotlib is not installed here.
    """
    try:
        from reports.page import page

        return page(report)
    except ModuleNotFoundError as error:
        text = f"drawing a report needs {error.name}, which is not installed beside this server (gridmark[node] has it)"
        raise ProblemError("unavailable", text) from error


def ratios(report: Report) -> Mapping[str, float]:
    """Measured ÷ expected, where something is expected."""
    metrics = report.score.metrics if report.score else {}
    return {key: metric.ratio for key, metric in metrics.items() if metric.ratio is not None}
