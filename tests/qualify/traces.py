"""Evidence of a healthy node, and what to change in it to make each code fire."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from qualify import reference
from qualify.gates import Evidence
from qualify.records import (
    Attempt,
    Cgroup,
    Claim,
    ClockState,
    Cpu,
    Disk,
    Gpu,
    Load,
    Measurement,
    Memory,
    Nic,
    Node,
    Report,
    Status,
    Telemetry,
)

GIB = 1 << 30
CLOCK_HZ = 3.5e9
THREADS = 16
REFERENCE = reference.load()

#: 16 cores of Zen 4 at 3.5 GHz: 0.8 of 1.792 TFLOP/s in fp32, half of it in fp64; 4 and 14 cycles to L1 and L2
HEALTHY = {
    "matmul.fp32": ("FLOP/s", 1.4336e12),
    "matmul.fp64": ("FLOP/s", 0.7168e12),
    "matmul.bf16": ("FLOP/s", 2.8672e12),
    "matmul.int8": ("OP/s", 5.7344e12),
    "memory.triad": ("B/s", 1.4e11),
    "memory.copy": ("B/s", 1.3e11),
    "memory.read": ("B/s", 1.5e11),
    "memlatency.l1": ("s", 4 / CLOCK_HZ),
    "memlatency.l2": ("s", 14 / CLOCK_HZ),
    "memlatency.dram": ("s", 98e-9),
    "disk.read": ("B/s", 2.9e9),
    "disk.sync_p99": ("s", 2e-3),
    "network.rtt": ("s", 2e-4),
    "network.down": ("B/s", 1.1e9),
    "network.up": ("B/s", 1.1e9),
    "network.udp_loss": ("ratio", 0.0001),
    "network.loaded_rtt": ("s", 5e-3),
}


def measured(key: str, value: float | None = None, **fields: Any) -> Measurement:
    """A measurement of the healthy node, undisturbed, with another value or other fields on demand."""
    unit, healthy = HEALTHY.get(key, ("s", 1.0))
    value = healthy if value is None else value
    context = {
        "clock_hz": CLOCK_HZ,
        "clock_before_hz": CLOCK_HZ,
        "clock_after_hz": CLOCK_HZ,
        "cpu_share": 0.995,
        "involuntary_switches_per_s": 90.0,
        "steal_ratio": 0.0,
        "timer_ratio": 1.0001,
        "threads": THREADS,
        "locality": "remote" if key.startswith("network.") else None,
    }
    given = fields.pop("context", {})
    summary: dict[str, Any] = {
        "ci95": (value * 0.998, value * 1.002),
        "n": 12,
        "converged": True,
        "mad": value * 0.002,
        "samples": (value,) * 12,
    }
    return Measurement(
        **{"key": key, "unit": unit, "status": "ok", "value": value, **summary, **fields},
        context={name: v for name, v in {**context, **given}.items() if v is not None},
    )


def failed(key: str, error: str, reason: str = "it went wrong", **context: Any) -> Measurement:
    """A measurement that came to nothing."""
    status: Status = "skipped" if error == "interrupted" else "failed"
    return Measurement(key=key, unit="", status=status, reason=reason, context={"error": error, **context})


def tried(measurement: Measurement, *values: float, **context: Any) -> Measurement:
    """The measurement with earlier attempts of these values."""
    return dataclasses.replace(
        measurement,
        attempts=tuple(
            Attempt(
                status="ok",
                reason=None,
                value=value,
                ci95=(value * 0.998, value * 1.002),
                n=12,
                samples=(value,) * 12,
                context={**measurement.context, **context},
            )
            for value in values
        ),
    )


def node(**fields: Any) -> Node:
    """A bare-metal server of 16 Zen 4 cores, idle, in order."""
    healthy: dict[str, Any] = {
        "id": "n1",
        "hostname": "server",
        "device_kind": "cpu",
        "cpu": cpu(),
        "memory": memory(),
        "cgroup": Cgroup(version="v2"),
        "disk": disk(),
        "nics": (nic(),),
        "load": load(),
        "clock": ClockState(synchronized=True, source="tsc", max_error_s=0.01),
        "hypervisor": "none",
        "container": "none",
        "kernel": "6.1.0-18-amd64",
        "open_files_max": 1 << 20,
        "versions": {"numpy": "2.1.0", "numba": "0.61.0", "torch": "2.13.0", "psutil": "7.0.0", "libiperf": "3.12"},
    }
    return Node(**{**healthy, **fields})


def cpu(**fields: Any) -> Cpu:
    healthy: dict[str, Any] = {
        "model": "AMD EPYC 9124",
        "vendor": "AuthenticAMD",
        "architecture": "x86_64",
        "family": 25,
        "model_number": 17,
        "cores": THREADS,
        "threads": THREADS,
        "usable_cpus": tuple(range(THREADS)),
        "base_hz": 3.0e9,
        "max_hz": 3.7e9,
        "governor": "performance",
        "vector": ("sse2", "avx", "fma", "avx2", "avx512f", "avx512_vnni", "avx512_bf16"),
        "smt": False,
    }
    return Cpu(**{**healthy, **fields})


def memory(**fields: Any) -> Memory:
    healthy: dict[str, Any] = {
        "total_bytes": 126 * GIB,
        "available_bytes": 120 * GIB,
        "swap_total_bytes": 8 * GIB,
        "swap_used_bytes": GIB,
        "transparent_hugepages": "madvise",
        "numa_nodes": 1,
        "numa_balancing": False,
        "ecc_corrected": 0,
        "ecc_uncorrected": 0,
    }
    return Memory(**{**healthy, **fields})


def disk(**fields: Any) -> Disk:
    healthy: dict[str, Any] = {
        "path": "/var/lib/gridmark",
        "filesystem": "ext4",
        "device": "/dev/nvme0n1p2",
        "total_bytes": 900 * GIB,
        "free_bytes": 700 * GIB,
        "read_only": False,
        "direct_io": True,
    }
    return Disk(**{**healthy, **fields})


def nic(**fields: Any) -> Nic:
    healthy: dict[str, Any] = {
        "name": "eth0",
        "speed_bits_per_s": 10**10,
        "mtu": 1500,
        "duplex": "full",
        "errors": 3,
        "drops": 1200,
    }
    return Nic(**{**healthy, **fields})


def load(**fields: Any) -> Load:
    healthy: dict[str, Any] = {
        "window_s": 1.0,
        "busy_ratio": 0.01,
        "steal_ratio": 0.0,
        "pressure_memory_ratio": 0.0,
    }
    return Load(**{**healthy, **fields})


def telemetry(**fields: Any) -> tuple[Telemetry, ...]:
    """Nine readings beside matmul and nine beside the single thread of memlatency."""
    busy = {"matmul": 0.99, "memlatency": 1.1 / THREADS}
    return tuple(
        Telemetry(
            at_s=place * 0.25 + (0 if bench == "matmul" else 5),
            running=bench,
            **{
                "busy_ratio": ratio,
                "steal_ratio": 0.0,
                "clock_hz": CLOCK_HZ,
                "temperature_c": 71.0,
                "throttled_ratio": 0.0,
                **{name: value(place) if callable(value) else value for name, value in fields.items()},
            },
        )
        for bench, ratio in busy.items()
        for place in range(9)
    )


def evidence(*changed: Measurement, **fields: Any) -> Evidence:
    """Evidence of the healthy node with some measurements or parts replaced."""
    measurements = {key: measured(key) for key in HEALTHY} | {m.key: m for m in changed}
    healthy: dict[str, Any] = {
        "node": node(),
        "measurements": measurements,
        "telemetry": telemetry(),
        "profile": "quick",
        "reference": REFERENCE,
    }
    return Evidence(**{**healthy, **fields})


def report(*measurements: Measurement, place: int = 0, **fields: Any) -> Report:
    """An earlier report of the healthy node."""
    given: dict[str, Any] = {
        "id": f"r{place}",
        "node": node(),
        "measurements": measurements,
        "findings": (),
        "score": None,
        "verdict": "qualified",
        "reasons": (),
        "profile": "quick",
        "budget_s": 45.0,
        "lasted_s": 40.0,
        "started_unix_s": 1.7e9 - 86400.0 * place,
        "gridmark_version": "0.1.0",
    }
    return Report(**{**given, **fields})


def past(key: str, *values: float, **fields: Any) -> tuple[Report, ...]:
    """Earlier reports that measured one key, newest first."""
    return tuple(report(measured(key, value, **fields), place=place) for place, value in enumerate(values, 1))


def claimed(**fields: Any) -> Evidence:
    return evidence(claim=Claim(**fields))


def of_node(**fields: Any) -> Evidence:
    return evidence(node=node(**fields))


def slow(key: str, part: float) -> Measurement:
    """Three attempts that agree on a figure of `part` times the healthy one."""
    value = HEALTHY[key][1] * part
    return tried(measured(key, value), value * 1.001, value * 0.999)


def in_all(key: str, **context: Any) -> Measurement:
    """Three attempts of the healthy value that agree on something of their context."""
    measurement = measured(key, context=context)
    return tried(measurement, *(measurement.value or 0.0,) * 2)


STEADY = (1.0, 1.004, 0.997, 1.002, 0.999)
TRIAD = HEALTHY["memory.triad"][1]
TWO_SPEEDS = (1.0e11, 1.4e11) * 15

#: code -> evidence that raises it
FAULTY: Mapping[str, Callable[[], Evidence]] = {
    "WRONG_RESULT": lambda: evidence(failed("matmul.fp32", "wrong_result", "row 7 differs")),
    "CRASHED": lambda: evidence(failed("matmul.fp32", "crash", "killed by signal 11", signal=11)),
    "TIMED_OUT": lambda: evidence(failed("disk.read", "timeout")),
    "OUT_OF_MEMORY": lambda: evidence(failed("memory.triad", "out_of_memory")),
    "BAD_OUTPUT": lambda: evidence(failed("memory.triad", "bad_output")),
    "NO_FIGURE": lambda: evidence(failed("matmul.bf16", "unsupported", "needs the package torch")),
    "NOT_CONVERGED": lambda: evidence(measured("network.rtt", converged=False)),
    "PARTIAL_RUN": lambda: evidence(failed("disk.read", "interrupted", "the run was interrupted before it")),
    "BELOW_HISTORY": lambda: evidence(
        slow("memory.triad", 0.9), history=past("memory.triad", *(TRIAD * s for s in STEADY))
    ),
    "BELOW_REFERENCE": lambda: evidence(slow("matmul.fp32", 0.5)),
    "ABOVE_PHYSICS": lambda: evidence(slow("matmul.fp32", 1.3)),
    "SUSTAINED_DECLINE": lambda: evidence(tried(measured("stress.decline", 0.8, unit="ratio"), 0.8, 0.8)),
    "DTYPE_RATIO": lambda: evidence(slow("matmul.fp32", 0.6)),
    "TIMER_DISAGREES": lambda: evidence(in_all("memory.copy", timer_ratio=0.95)),
    "UNEVEN": lambda: evidence(measured("memory.copy", samples=TWO_SPEEDS)),
    "CPU_QUOTA": lambda: of_node(cgroup=Cgroup(version="v2", cpu_quota_cpus=8.0)),
    "CGROUP_THROTTLED": lambda: evidence(telemetry=telemetry(throttled_ratio=0.4)),
    "CPUSET_NARROW": lambda: of_node(cpu=cpu(usable_cpus=(0, 1, 2, 3))),
    "CPU_STEAL": lambda: evidence(telemetry=telemetry(steal_ratio=0.12)),
    "NOISY_NEIGHBOUR": lambda: of_node(load=load(busy_ratio=0.07, foreign=("stress (pid 4711) 98 %",))),
    "CPU_STARVED": lambda: evidence(in_all("matmul.fp32", cpu_share=0.5, involuntary_switches_per_s=20.0)),
    "CPU_BELOW_CLAIM": lambda: claimed(cores=32),
    "CLOCK_LOW": lambda: evidence(*(measured(key, context={"clock_hz": 2.0e9}) for key in HEALTHY)),
    "GOVERNOR_POWERSAVE": lambda: evidence(
        *(measured(key, context={"clock_hz": 1.2e9}) for key in HEALTHY), node=node(cpu=cpu(governor="powersave"))
    ),
    "THERMAL_DECLINE": lambda: evidence(telemetry=telemetry(clock_hz=lambda place: 3.5e9 if place < 4 else 2.4e9)),
    "THERMAL_HOT": lambda: evidence(telemetry=telemetry(temperature_c=99.0)),
    "CLOCK_UNSYNCED": lambda: of_node(clock=ClockState(synchronized=False, source="tsc", max_error_s=16.0)),
    "CLOCKSOURCE_SLOW": lambda: of_node(clock=ClockState(synchronized=True, source="hpet", max_error_s=0.01)),
    "MEMORY_BELOW_CLAIM": lambda: claimed(memory_bytes=256 * GIB),
    "MEMORY_LIMIT": lambda: of_node(cgroup=Cgroup(version="v2", memory_max_bytes=64 * GIB)),
    "MEMORY_PRESSURE": lambda: of_node(load=load(pressure_memory_ratio=0.3)),
    "SWAP_IN_USE": lambda: of_node(memory=memory(swap_used_bytes=20 * GIB)),
    "ECC_CORRECTED": lambda: of_node(memory=memory(ecc_corrected=2)),
    "ECC_UNCORRECTED": lambda: of_node(memory=memory(ecc_uncorrected=1)),
    "HUGEPAGES_OFF": lambda: of_node(memory=memory(transparent_hugepages="never")),
    "NUMA_BALANCING": lambda: of_node(memory=memory(numa_nodes=2, numa_balancing=True)),
    "DISK_OVERLAY": lambda: of_node(disk=disk(filesystem="overlay")),
    "DISK_TMPFS": lambda: of_node(disk=disk(filesystem="tmpfs")),
    "DISK_FULL": lambda: of_node(disk=disk(free_bytes=GIB // 2)),
    "DISK_READ_ONLY": lambda: of_node(disk=disk(read_only=True)),
    "DISK_NO_DIRECT_IO": lambda: of_node(disk=disk(direct_io=False)),
    "DISK_BELOW_CLAIM": lambda: claimed(disk_bytes=2000 * GIB),
    "DISK_SLOW_SYNC": lambda: evidence(slow("disk.sync_p99", 80)),
    "NIC_ERRORS": lambda: of_node(nics=(nic(errors=50_000),)),
    "NIC_SLOW": lambda: of_node(nics=(nic(speed_bits_per_s=10**8),)),
    "NETWORK_BELOW_CLAIM": lambda: evidence(slow("network.down", 0.5), claim=Claim(down_bytes_per_s=1.1e9)),
    "NETWORK_LOSS": lambda: evidence(slow("network.udp_loss", 300)),
    "BUFFERBLOAT": lambda: evidence(slow("network.loaded_rtt", 100)),
    "NETWORK_LOOPBACK_ONLY": lambda: evidence(
        *(measured(key, context={"locality": "loopback"}) for key in HEALTHY if key.startswith("network."))
    ),
    "GPU_CLAIMED_NONE_FOUND": lambda: claimed(gpu="H100 80GB HBM3", gpus=8),
    "GPU_BELOW_CLAIM": lambda: evidence(node=node(gpus=(Gpu(index=0, name="NVIDIA L4"),)), claim=Claim(gpus=2)),
    "PACKAGE_MISSING": lambda: of_node(versions={"torch": None}),
    "OLD_VERSION": lambda: of_node(versions={"torch": "2.1.0"}),
    "FEW_OPEN_FILES": lambda: of_node(open_files_max=1024),
    "VIRTUALISED": lambda: of_node(hypervisor="kvm"),
    "CONTAINED": lambda: of_node(container="docker"),
    "PROBE_INCOMPLETE": lambda: of_node(problems=("EDAC counters: permission denied",)),
}
