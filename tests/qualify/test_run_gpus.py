"""A run keeps what its GPUs did: their state at the end, what the driver announced, silence beside latency work."""

from __future__ import annotations

import time
from pathlib import Path

from kernels.device import Device
from kernels.spec import Bench
from qualify import plan, run
from qualify.nvml import Library
from qualify.records import Report
from qualify.telemetry import Counters, Sampler
from qualify.telemetry_gpu import GpuSampler
from tests.fake_pynvml import H100, FakePynvml
from tests.qualify import traces


class Recording(GpuSampler):
    """Remembers each time it was told to be quiet or not."""

    told: list[bool]

    def __setattr__(self, name: str, value: object) -> None:
        if name == "is_quiet":
            self.__dict__.setdefault("told", []).append(value)
        super().__setattr__(name, value)


def _run(gpus: GpuSampler, *benches: Bench) -> Report:
    slots = tuple(plan.Slot(bench=bench, keys=bench.keys["cuda"], seconds=1.0) for bench in benches)
    found = traces.node(device_kind="cuda", gpus=())
    request = run.Request(
        node=found,
        started_unix_s=1.7e9,
        started_s=time.monotonic(),
        report_id="r1",
        version="0",
        reference=traces.REFERENCE,
        workdir=Path(),
        seed=1,
        command=("false",),  # a child that ends at once
        on_event=lambda _: None,
    )
    gpu = Device(kind="cuda", index=0, name="NVIDIA H100 80GB HBM3", cpus=(0,), threads=1)
    planned = plan.Plan(device=gpu, profile="quick", budget_s=3.0, slots=slots, waived={}, required=frozenset())
    return run.qualify(planned, request, Sampler(Counters, gpus=gpus))


def _bench(name: str, *, quiet: bool) -> Bench:
    return Bench(name=name, version=1, title=name, keys={"cuda": (f"{name}.x",)}, open={}, quiet=quiet)


def test_the_report_has_the_gpus_at_the_end_and_what_the_driver_announced() -> None:
    """An XID in the middle of a run is in the report and in its findings."""
    module = FakePynvml([{**H100, "SupportedEventTypes": 8}], events=[(0, 8, 119)])

    report = _run(GpuSampler(Library(module), [0]))

    assert [gpu.name for gpu in report.gpus_after] == ["NVIDIA H100 80GB HBM3"]
    assert [event.xid for event in report.gpu_events] == [119]
    assert "GPU_XID_FATAL" in {finding.code for finding in report.findings}
    assert report.verdict == "not_qualified"


def test_a_quiet_bench_is_run_in_silence_and_the_next_is_not() -> None:
    """Told so when it begins, and the contrary when it ends; what is measured again is told again."""
    gpus = Recording(Library(FakePynvml([H100])), [0])

    _run(gpus, _bench("memlatency", quiet=True), _bench("matmul", quiet=False))

    assert gpus.told[:5] == [False, True, False, False, False]
    assert gpus.told[-1] is False
