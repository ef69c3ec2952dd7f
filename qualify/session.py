"""One call of `gridmark qualify`: device, plan, probe, run and the reports kept before, put together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kernels import benches as bench_folder
from kernels.spec import Profile, UnsupportedError
from qualify import history, nvml, plan, quantities, reference, registry, run, selection
from qualify.probe import probe
from qualify.records import Node, Report
from qualify.telemetry import Sampler
from qualify.telemetry_gpu import GpuSampler

#: earlier reports of this node that drift is judged against
HISTORY = 20


class SessionError(Exception):
    """A qualification that cannot begin; `exit_code` is 2 for what was typed, 3 for what the machine lacks."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for."""

    profile: Profile = "quick"
    device: str = "auto"
    only: tuple[str, ...] = ()
    budget_s: float | None = None
    claims: tuple[str, ...] = ()
    peer: str | None = None
    workdir: Path = Path()
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What was asked for, where it happens, and who watches."""

    options: Options
    environment: Mapping[str, str]
    version: str
    report_id: str

    def young_report(self, now_unix_s: float, *, max_age_s: float) -> Report | None:
        """The newest complete report of this node in this profile, when it is at most `max_age_s` old."""
        node = probe(workdir=self.options.workdir, window_s=0.0)
        for report in history.recent(history.folder(self.environment), node.id, limit=HISTORY):
            whole = not report.partial and report.profile == self.options.profile
            same = report.options.get("device", "auto") == self.options.device
            if whole and same and report.options.get("only") == list(self.options.only):
                return report if 0 <= now_unix_s - report.started_unix_s <= max_age_s else None
        return None

    def qualify(self, *, now_unix_s: float, on_event: Callable[[run.Event], None]) -> Report:
        """Plan, probe, measure, judge.

        Raises:
            SessionError: the run cannot begin.
        """
        started_s = time.monotonic()
        options = self.options
        try:
            claim = quantities.claim(options.claims)
            benches = registry.load(bench_folder, "BENCH")
            chosen = selection.choose(options.device, self.environment)
            device = chosen.device
            planned = plan.make(benches, device, profile=options.profile, budget_s=options.budget_s, only=options.only)
        except (plan.PlanError, quantities.QuantityError, selection.SelectionError) as error:
            raise SessionError(str(error), 2) from error
        except UnsupportedError as error:
            raise SessionError(str(error), 3) from error
        self._check_peer()
        self._check_workdir()
        node = self._node(chosen)
        request = run.Request(
            node=node,
            started_unix_s=now_unix_s,
            started_s=started_s,
            report_id=self.report_id,
            version=self.version,
            reference=reference.load(),
            workdir=options.workdir,
            seed=options.seed,
            peer=options.peer,
            claim=claim,
            history=history.recent(history.folder(self.environment), node.id, limit=HISTORY),
            options={
                "device": options.device,
                "only": list(options.only),
                "peer": options.peer,
                "seed": options.seed,
                "workdir": str(options.workdir.resolve()),
            },
            command=run.CHILD,
            environment=chosen.environment,
            on_event=on_event,
        )
        gpus = _gpu_sampler(node, started_s) if device.kind == "cuda" else None
        return run.qualify(planned, request, Sampler(origin_s=started_s, gpus=gpus))

    def _node(self, chosen: selection.Selection) -> Node:
        node = probe(workdir=self.options.workdir, device_kind=chosen.device.kind)
        try:
            return selection.narrow(node, chosen.gpus)
        except UnsupportedError as error:
            raise SessionError(str(error), 3) from error

    def keep(self, report: Report) -> Path:
        """Keep `report` among this node's reports.

        Raises:
            OSError: the folder cannot be written.
        """
        return history.keep(report, history.folder(self.environment))

    def _check_peer(self) -> None:
        peer = self.options.peer
        if peer is None:
            return
        host, colon, port = peer.rpartition(":")
        if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise SessionError(f"--peer wants HOST:PORT, found {peer!r}", 2)

    def _check_workdir(self) -> None:
        where = self.options.workdir
        if not where.is_dir():
            raise SessionError(f"--workdir wants a folder, found none at {str(where)!r}", 3)
        if not os.access(where, os.W_OK | os.X_OK):
            raise SessionError(f"--workdir cannot be written: {str(where)!r}; choose another", 3)


def _gpu_sampler(node: Node, origin_s: float) -> GpuSampler | None:
    """A sampler of the node's GPUs; None where they cannot be asked any more."""
    try:
        return GpuSampler(nvml.open_nvml(), [gpu.index for gpu in node.gpus], origin_s=origin_s)
    except nvml.NvmlError:
        return None
