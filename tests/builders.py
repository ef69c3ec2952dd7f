"""Reports as runs make them: a healthy node, a faulty one, a run cut short, one where nothing could be measured.

Samples are drawn from a seeded generator, so that every call builds the same report. Figures are those of a 16-core
server; each is `centre` exactly only where a test sets it.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from typing import Any

from kernels import stats
from kernels.spec import Statistic
from qualify.records import (
    Attempt,
    Capability,
    Cgroup,
    Claim,
    ClockState,
    Cpu,
    Disk,
    Finding,
    Gpu,
    Json,
    Load,
    Measurement,
    Memory,
    MetricScore,
    Nic,
    Node,
    Point,
    Report,
    Score,
    Telemetry,
)

GB = 1e9
NS = 1e-9
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

#: key, unit, centre, relative spread, samples, context, version
_FIGURES: tuple[tuple[str, str, float, float, int, dict[str, Any]], ...] = (
    ("matmul.fp64", "FLOP/s", 812e9, 0.006, 64, {"shape": [4096, 4096, 4096], "variant": "torch 4096"}),
    ("matmul.fp32", "FLOP/s", 1.63e12, 0.007, 82, {"shape": [4096, 4096, 4096], "variant": "torch 4096"}),
    ("matmul.bf16", "FLOP/s", 3.11e12, 0.009, 90, {"shape": [4096, 4096, 4096], "variant": "torch 4096"}),
    ("matmul.int8", "OP/s", 5.92e12, 0.011, 97, {"shape": [4096, 4096, 4096], "variant": "torch 4096"}),
    ("matmul.fp32_numba", "FLOP/s", 411e9, 0.008, 40, {"shape": [1024, 1024, 1024], "variant": "numba 1024"}),
    ("memory.read", "B/s", 151.2e9, 0.012, 210, {}),
    ("memory.write", "B/s", 118.4e9, 0.013, 190, {"variant": "streaming"}),
    ("memory.copy", "B/s", 132.0e9, 0.012, 171, {"variant": "streaming"}),
    ("memory.scale", "B/s", 131.1e9, 0.012, 168, {"variant": "streaming"}),
    ("memory.add", "B/s", 139.5e9, 0.011, 120, {"variant": "streaming"}),
    ("memory.triad", "B/s", 140.2e9, 0.011, 124, {"variant": "streaming"}),
    ("memlatency.l1", "s", 1.09 * NS, 0.004, 100, {"working_set_bytes": 16 * KIB}),
    ("memlatency.l2", "s", 3.82 * NS, 0.006, 100, {"working_set_bytes": 512 * KIB}),
    ("memlatency.l3", "s", 13.4 * NS, 0.010, 100, {"working_set_bytes": 16 * MIB}),
    ("memlatency.dram", "s", 98.2 * NS, 0.008, 60, {"working_set_bytes": 512 * MIB, "page_bytes": 2 * MIB}),
    ("memlatency.dram_4k", "s", 131.0 * NS, 0.010, 60, {"working_set_bytes": 512 * MIB, "page_bytes": 4 * KIB}),
    ("launch.numba", "s", 312 * NS, 0.02, 400, {}),
    ("launch.sync", "s", 1.42e-6, 0.03, 400, {}),
    ("network.rtt", "s", 24.6e-6, 0.06, 200, {"peer": "127.0.0.1:41873", "locality": "loopback"}),
    ("network.loaded_rtt", "s", 71.0e-6, 0.10, 120, {}),
    ("network.down", "B/s", 5.8e9, 0.02, 30, {"tool": "libiperf 3.12"}),
    ("network.up", "B/s", 5.7e9, 0.02, 30, {"tool": "libiperf 3.12"}),
    ("disk.read", "B/s", 2.9e9, 0.02, 60, {"filesystem": "ext4", "direct": True}),
    ("disk.write", "B/s", 2.1e9, 0.03, 60, {"filesystem": "ext4", "direct": True}),
    ("disk.rand_read", "IO/s", 182e3, 0.02, 60, {"filesystem": "ext4", "direct": True}),
    ("disk.rand_write", "IO/s", 96e3, 0.03, 60, {"filesystem": "ext4", "direct": True}),
    ("disk.sync_p99", "s", 410e-6, 0.15, 200, {"filesystem": "ext4"}),
)
_EXPECTED = {
    "matmul.fp64": (883e9, "16 cores × 3.45 GHz × 16 FLOP/cycle"),
    "matmul.fp32": (1.766e12, "16 cores × 3.45 GHz × 32 FLOP/cycle"),
    "memory.triad": (153.6e9, "12 channels of DDR5-4800, a third of a socket"),
}
_CLOCK_HZ = 3.45e9
_SPENT_S = {
    "matmul": 9.0,
    "memory": 8.0,
    "memlatency": 6.0,
    "launch": 2.0,
    "allreduce": 4.0,
    "network": 4.0,
    "disk": 5.0,
}


def measured(
    key: str,
    unit: str,
    centre: float,
    *,
    spread: float = 0.01,
    n: int = 40,
    statistic: Statistic = "median",
    converged: bool = True,
    **fields: Any,
) -> Measurement:
    """A measurement whose samples scatter around `centre` and whose summary was computed from them."""
    draw = random.Random(key)
    samples = tuple(float(f"{centre * draw.gauss(1, spread):.7g}") for _ in range(n))
    summary = stats.summarise(samples, statistic)
    return Measurement(
        key=key,
        unit=unit,
        status="ok",
        value=summary.value,
        ci95=summary.ci95,
        statistic=statistic,
        n=n,
        converged=converged,
        mad=summary.mad,
        p5=summary.p5,
        p95=summary.p95,
        samples=samples,
        **fields,
    )


def exactly(key: str, unit: str, value: float, ci95: tuple[float, float] | None = None, **fields: Any) -> Measurement:
    """A measurement of one given value, for assertions on numbers."""
    given = {"n": 10, "converged": True, "samples": (value,) * 10, **fields}
    return Measurement(key=key, unit=unit, status="ok", value=value, ci95=ci95, **given)


def missed(key: str, unit: str, status: str, reason: str) -> Measurement:
    """A figure that was not obtained."""
    return Measurement(key=key, unit=unit, status=status, reason=reason)  # type: ignore[arg-type]  # callers give "skipped" or "failed"


def sweep(key: str = "allreduce.busbw", *, peak: float = 9.4 * GB, overhead_s: float = 38e-6) -> Measurement:
    """An all-reduce over sizes: time = overhead + size / peak, two ranks, so that busbw equals algbw."""
    sizes = [8 * 8**power for power in range(8)] + [64 * MIB]
    points = []
    for size in sizes:
        at = measured(f"{key}@{size}", "B/s", size / (overhead_s + size / peak), spread=0.02, n=30)
        assert at.value is not None
        points.append(Point(at=float(size), value=at.value, ci95=at.ci95, n=at.n, samples=at.samples))
    last = measured(f"{key}@{sizes[-1]}", "B/s", sizes[-1] / (overhead_s + sizes[-1] / peak), spread=0.02, n=30)
    return dataclasses.replace(
        last, key=key, axis="size_bytes", series=tuple(points), context={"ranks": 2, "backend": "gloo"}
    )


def node(**changes: Any) -> Node:
    """A 16-core virtual server without a GPU."""
    fields: dict[str, Any] = {
        "id": "n-7f3a90c2d1",
        "hostname": "rack4-node17",
        "device_kind": "cpu",
        "boot_id": "6c1f1a52-9d0e-4f0e-8a53-0c6b1e0c9a11",
        "cpu": Cpu(
            model="AMD EPYC 9354P 32-Core Processor",
            vendor="AuthenticAMD",
            architecture="x86_64",
            family=25,
            model_number=17,
            sockets=1,
            cores=16,
            threads=16,
            usable_cpus=tuple(range(16)),
            base_hz=3.25e9,
            max_hz=3.80e9,
            governor="performance",
            vector=("sse2", "avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni"),
            l1d_bytes=32 * KIB,
            l2_bytes=MIB,
            l3_bytes=128 * MIB,
            smt=False,
        ),
        "memory": Memory(
            total_bytes=128 * GIB,
            available_bytes=121 * GIB,
            swap_total_bytes=0,
            swap_used_bytes=0,
            transparent_hugepages="madvise",
            numa_nodes=1,
            numa_bytes=(128 * GIB,),
            numa_balancing=False,
        ),
        "cgroup": Cgroup(version="v2", memory_max_bytes=120 * GIB),
        "disk": Disk(
            path="/var/lib/gridmark",
            filesystem="ext4",
            device="nvme0n1",
            rotational=False,
            total_bytes=900 * GIB,
            free_bytes=610 * GIB,
            read_only=False,
            direct_io=True,
        ),
        "nics": (Nic(name="eth0", speed_bits_per_s=25_000_000_000, mtu=1500, duplex="full", errors=0, drops=3),),
        "load": Load(window_s=1.0, busy_ratio=0.012, steal_ratio=0.0, iowait_ratio=0.001, load_1m=0.21),
        "clock": ClockState(synchronized=True, source="tsc", max_error_s=0.004, unixtime_s=1_785_400_000.0),
        "gpu_reason": "libnvidia-ml.so.1 not found: no NVIDIA driver is installed",
        "hypervisor": "kvm",
        "container": "none",
        "os": "Debian GNU/Linux 12",
        "kernel": "6.1.0-28-amd64",
        "is_root": False,
        "open_files_max": 1_048_576,
        "versions": {"python": "3.11.9", "numpy": "2.3.1", "numba": "0.62.0", "torch": "2.13.0", "iperf3": None},
    }
    return Node(**{**fields, **changes})


def measurements(slower: Mapping[str, float] | None = None) -> tuple[Measurement, ...]:
    """Every figure of a CPU run; `slower` multiplies the centre of a key (0.5 = half of it)."""
    found: list[Measurement] = []
    start = 3.0
    for bench in ("matmul", "memory", "memlatency", "launch", "allreduce", "network", "disk"):
        rows = [row for row in _FIGURES if row[0].startswith(f"{bench}.")]
        lasted = _SPENT_S[bench] / (len(rows) or 1)
        if bench == "allreduce":
            found.append(dataclasses.replace(sweep(), started_s=start, lasted_s=lasted / 2))
            found.append(dataclasses.replace(sweep("allreduce.algbw"), started_s=start, lasted_s=lasted / 2))
            latency = measured(
                "allreduce.latency", "s", 38e-6, spread=0.05, n=200, context={"ranks": 2, "size_bytes": 8}
            )
            found.append(dataclasses.replace(latency, started_s=start + lasted / 2, lasted_s=lasted / 2))
            start += lasted
        for key, unit, centre, spread, n, context in rows:
            clock = {
                "clock_hz": _CLOCK_HZ * random.Random(key).gauss(1, 0.004),
                "threads": 16,
                "stopped_by": "converged",
            }
            factor = (slower or {}).get(key, 1.0)
            one = measured(key, unit, centre * factor, spread=spread, n=n, context={**clock, **context})
            found.append(dataclasses.replace(one, started_s=round(start, 3), lasted_s=round(lasted * 0.95, 3)))
            start += lasted
    found.append(missed("hostlink.h2d", "B/s", "skipped", "this node has no accelerator, so no link to one"))
    found.append(missed("peerlink.0-1", "B/s", "skipped", "needs two accelerators, found none"))
    return tuple(found)


def telemetry(lasted_s: float = 41.0) -> tuple[Telemetry, ...]:
    """Five readings a second: load and clock follow the benches."""
    draw = random.Random(7)
    readings = []
    for index in range(int(lasted_s * 5)):
        at_s = index / 5
        bench = _running_at(at_s)
        busy = (
            0.02
            if bench is None
            else {"memlatency": 0.07, "launch": 0.08, "network": 0.3, "disk": 0.15}.get(bench, 0.98)
        )
        readings.append(
            Telemetry(
                at_s=at_s,
                running=bench,
                busy_ratio=min(1.0, max(0.0, busy + draw.gauss(0, 0.01))),
                steal_ratio=max(0.0, draw.gauss(0, 0.002)),
                clock_hz=_CLOCK_HZ * draw.gauss(1.0 if busy > 0.5 else 1.08, 0.004),
                memory_used_bytes=int((6 + 4 * busy) * GIB),
                throttled_ratio=0.0,
            )
        )
    return tuple(readings)


def _running_at(at_s: float) -> str | None:
    end = 3.0
    for bench, seconds in _SPENT_S.items():
        if end <= at_s < end + seconds:
            return bench
        end += seconds
    return None


def score(found: tuple[Measurement, ...]) -> Score:
    """Ratios to expectation where a formula gives one; one workload profile that lacks a figure."""
    metrics: dict[str, MetricScore] = {}
    for one in found:
        if one.value is None:
            continue
        expected, basis = _EXPECTED.get(one.key, (None, "no formula gives it; compared with a fleet once there is one"))
        ratio = None if expected is None else one.value / expected
        metrics[one.key] = MetricScore(
            unit=one.unit,
            estimate=one.value,
            ci95=one.ci95,
            n=one.n,
            age_s=12.0,
            expected=expected,
            basis=basis,
            ratio=ratio,
        )
    detail = {
        "general": Capability(
            value=104.2,
            ci95=(103.1, 105.4),
            weights={"matmul.bf16": 0.6, "memory.triad": 0.25, "allreduce.busbw": 0.15},
            missing=(),
        ),
        "hpc-fp64": Capability(
            value=97.8, ci95=(96.9, 98.8), weights={"matmul.fp64": 0.6, "memory.triad": 0.4}, missing=()
        ),
        "data-preparation": Capability(
            value=None,
            ci95=None,
            weights={"memory.triad": 0.4, "disk.read": 0.3, "hostlink.h2d": 0.3},
            missing=("hostlink.h2d",),
        ),
    }
    ratios = [metric.ratio for metric in metrics.values() if metric.ratio]
    health = None
    if ratios:
        health = 1.0
        for ratio in ratios:
            health *= ratio ** (1 / len(ratios))
    return Score(
        health=health,
        health_ci95=None if health is None else (health * 0.985, health * 1.015),
        capability={name: one.value for name, one in detail.items()} if metrics else dict.fromkeys(detail),
        capability_detail=detail if metrics else {},
        metrics=metrics,
        missing=tuple(one.key for one in found if one.value is None),
        formula="100 × product of (estimate / reference) ^ weight, times inverted; reference table 2026-08",
    )


def finding(code: str, severity: str = "warning", **changes: Any) -> Finding:
    """A finding with all that a reader needs."""
    fields: dict[str, Any] = {
        "code": code,
        "severity": severity,
        "text": f"{code} was seen.",
        "evidence": {},
        "remedy": "Look into it.",
    }
    return Finding(**{**fields, **changes})


def report(**changes: Any) -> Report:
    """A report in the making: a healthy node unless told otherwise."""
    found = changes.get("measurements")
    found = measurements() if found is None else found
    fields: dict[str, Any] = {
        "id": "r-20260801-114502-7f3a",
        "node": node(),
        "measurements": found,
        "findings": (),
        "score": score(found),
        "verdict": "qualified",
        "reasons": ("every required figure was measured and no limit was missed",),
        "profile": "quick",
        "budget_s": 45.0,
        "lasted_s": 41.7,
        "started_unix_s": 1_785_584_702.0,
        "gridmark_version": "0.1.0",
        "telemetry": telemetry(),
        "options": {"seed": 1, "device": "cpu", "only": [], "peer": None},
    }
    return Report(**{**fields, **changes})


def healthy() -> Report:
    """All is well; one remark."""
    remark = finding(
        "HUGEPAGES_MADVISE",
        "info",
        text="2 MiB pages are given on request only (transparent_hugepage is madvise).",
        evidence={"transparent_hugepages": "madvise"},
        remedy="Nothing need be done; programs that do not ask wait about a third longer for memory.",
    )
    return report(findings=(remark,), claim=Claim(cores=16, memory_bytes=128 * GIB))


def faulty() -> Report:
    """A node that lies about its memory, is throttled and computes rubbish in one format."""
    found = []
    for one in measurements(slower={"matmul.fp32": 0.52, "memory.triad": 0.83}):
        if one.key == "matmul.int8":
            found.append(missed(one.key, one.unit, "failed", "wrong result: element (17, 403) is 8102, expected 8070"))
        elif one.key == "memory.triad":
            found.append(dataclasses.replace(one, converged=False, context={**one.context, "stopped_by": "budget"}))
        else:
            found.append(one)
    evidence: dict[str, Json] = {"periods": 412, "throttled_periods": 203, "cpu_quota_cpus": 8.0}
    findings = (
        finding(
            "WRONG_RESULT",
            "failure",
            key="matmul.int8",
            text="The int8 product is wrong: element (17, 403) is 8102, expected 8070.",
            evidence={"row": 17, "column": 403, "found": 8102, "expected": 8070},
            remedy="Take the node out of service; test its memory, then run `gridmark qualify --profile deep`.",
            confirmed="3 of 3",
        ),
        finding(
            "CPU_QUOTA",
            "failure",
            key="matmul.fp32",
            text="A cgroup gives this process 8.0 of 16 CPUs; it was throttled in 49 % of its periods.",
            evidence=evidence,
            remedy="Raise or remove cpu.max of the container (docker run --cpus, Kubernetes limits.cpu).",
            confirmed="2 of 3",
        ),
        finding(
            "MEMORY_BELOW_CLAIM",
            "warning",
            text="Memory is 128 GiB; 256 GiB were claimed.",
            evidence={"total_bytes": 128 * GIB, "claimed_bytes": 256 * GIB},
            remedy="Correct the claim or look for a module that the firmware has disabled.",
        ),
        finding(
            "NOT_CONVERGED",
            "info",
            key="memory.triad",
            text="memory.triad did not settle within its time: its interval is ±2.4 %.",
            evidence={"half_width": 0.024},
            remedy="Stop what else runs here, or allow more time with --budget.",
        ),
    )
    return report(
        id="r-20260801-120911-c01d",
        measurements=tuple(found),
        findings=findings,
        verdict="not_qualified",
        reasons=("a wrong result (WRONG_RESULT)", "half of the CPUs are out of reach (CPU_QUOTA)"),
        node=node(
            hostname="cheap-17", cgroup=Cgroup(version="v2", cpu_quota_cpus=8.0, periods=412, throttled_periods=203)
        ),
        claim=Claim(cores=16, memory_bytes=256 * GIB),
    )


def partial() -> Report:
    """Ctrl-C in the middle: what was measured stands, the rest says why it is missing."""
    found = tuple(
        one
        if one.key.startswith(("matmul", "memory."))
        else missed(one.key, one.unit, "skipped", "the run was interrupted before it")
        for one in measurements()
    )
    return report(
        measurements=found,
        partial=True,
        verdict="unknown",
        reasons=("the run was interrupted", "memlatency.dram was not measured"),
        lasted_s=19.2,
        telemetry=telemetry(19.0),
    )


def nothing() -> Report:
    """Every benchmark was skipped, the probe read next to nothing."""
    found = tuple(
        missed(
            one.key,
            one.unit,
            "skipped",
            "needs the package torch (No module named 'torch'); pip install 'gridmark[node]'",
        )
        for one in measurements()
    )
    bare = Node(id="n-0", hostname="localhost", device_kind="cpu", problems=("/proc/cpuinfo could not be read",))
    return report(
        node=bare,
        measurements=found,
        verdict="unknown",
        reasons=("nothing was measured",),
        telemetry=(),
        lasted_s=0.4,
        options={},
    )


def everything() -> Report:
    """Every record that a report can hold: GPUs, repeated attempts, a peer's telemetry, problems, foreign load."""
    first = measured("matmul.bf16", "FLOP/s", 2.9e12, n=20)
    again = Attempt(
        status="ok",
        reason=None,
        value=first.value,
        ci95=first.ci95,
        n=first.n,
        samples=first.samples,
        context={"steal_ratio": 0.2},
    )
    lost = Attempt(status="failed", reason="killed by signal 9", value=None, ci95=None, n=0, samples=())
    found = tuple(
        dataclasses.replace(one, attempts=(again, lost)) if one.key == "matmul.bf16" else one for one in measurements()
    )
    gpu = Gpu(
        index=0, name="NVIDIA H100 80GB HBM3", uuid="GPU-5a", memory_bytes=80 * GIB, ecc_enabled=True, pcie_width=16
    )
    load = Load(
        window_s=1.0, busy_ratio=0.4, steal_ratio=0.03, foreign=("stress-ng (pid 4711) 98 %",), pressure_cpu_ratio=0.31
    )
    warm = tuple(dataclasses.replace(one, temperature_c=40 + one.at_s / 2) for one in telemetry())
    return report(
        node=node(
            device_kind="cuda", gpus=(gpu,), gpu_reason=None, load=load, problems=("/sys/class/dmi is not there",)
        ),
        measurements=found,
        telemetry=warm,
        findings=faulty().findings,
    )


ALL = {"healthy": healthy, "faulty": faulty, "partial": partial, "nothing": nothing}
