"""What is known of a node and how it was measured: frozen records, JSON in and out (see qualify/codec.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from qualify.gpu_records import GpuEvent, GpuHealth, GpuReading, GpuSettings, NvLink

SCHEMA = 1  #: of a Report; raised when a reader of the old one would misread the new one

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Status = Literal["ok", "skipped", "failed"]
Severity = Literal["info", "warning", "failure"]
Verdict = Literal["qualified", "not_qualified", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """The processor, as the operating system shows it; None = could not be read."""

    model: str | None = None
    vendor: str | None = None
    architecture: str | None = None  #: "x86_64", "aarch64"
    family: int | None = None
    model_number: int | None = None
    sockets: int | None = None
    cores: int | None = None  #: physical cores
    threads: int | None = None  #: logical CPUs online
    usable_cpus: tuple[int, ...] = ()  #: the affinity mask
    base_hz: float | None = None
    max_hz: float | None = None
    governor: str | None = None
    vector: tuple[str, ...] = ()  #: units that matter: "avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "neon" …
    l1d_bytes: int | None = None  #: per core
    l2_bytes: int | None = None  #: per core
    l3_bytes: int | None = None  #: all instances together
    smt: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Main memory; limits of a cgroup stand in Cgroup."""

    total_bytes: int | None = None
    available_bytes: int | None = None
    swap_total_bytes: int | None = None
    swap_used_bytes: int | None = None
    transparent_hugepages: str | None = None  #: "always", "madvise", "never"
    numa_nodes: int | None = None
    numa_bytes: tuple[int, ...] = ()
    numa_balancing: bool | None = None
    ecc_corrected: int | None = None  #: EDAC counters, all controllers
    ecc_uncorrected: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cgroup:
    """The limits this process lives under; None = no limit was found."""

    version: Literal["v1", "v2", "hybrid", "none"] = "none"
    cpu_quota_cpus: float | None = None  #: cpu.max: quota / period, in CPUs; the tightest on the path to the root
    memory_max_bytes: int | None = None
    cpuset_cpus: int | None = None  #: CPUs the cpuset leaves
    throttled_periods: int | None = None  #: since the group began
    periods: int | None = None
    oom_kills: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The file system behind the work folder."""

    path: str
    filesystem: str | None = None  #: "ext4", "overlay", "tmpfs"
    device: str | None = None
    rotational: bool | None = None
    total_bytes: int | None = None
    free_bytes: int | None = None
    read_only: bool | None = None
    direct_io: bool | None = None  #: whether O_DIRECT opens here


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """A network interface that is up, loopback left out."""

    name: str
    speed_bits_per_s: int | None = None
    mtu: int | None = None
    duplex: str | None = None
    errors: int | None = None  #: received plus sent
    drops: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What else ran, over a short window before the first benchmark."""

    window_s: float | None = None
    busy_ratio: float | None = None  #: of all CPUs' time, by anybody
    steal_ratio: float | None = None  #: taken by the hypervisor
    iowait_ratio: float | None = None
    load_1m: float | None = None
    foreign: tuple[str, ...] = ()  #: "name (pid 123) 98 %", processes above 10 % of a CPU, busiest first
    pressure_cpu_ratio: float | None = None  #: PSI some avg10, 0..1
    pressure_memory_ratio: float | None = None
    pressure_io_ratio: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockState:
    """Whether the node's clock can be believed."""

    synchronized: bool | None = None
    source: str | None = None  #: the kernel's clocksource: "tsc", "kvm-clock", "hpet"
    max_error_s: float | None = None  #: the kernel's own bound (adjtimex)
    unixtime_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One accelerator as NVML tells it; None = not supported, never zero."""

    index: int
    name: str | None = None
    uuid: str | None = None
    memory_bytes: int | None = None
    memory_used_bytes: int | None = None
    ecc_enabled: bool | None = None
    ecc_uncorrected: int | None = None
    power_limit_w: float | None = None
    power_default_w: float | None = None
    temperature_c: float | None = None
    sm_clock_max_hz: float | None = None
    pcie_generation: int | None = None
    pcie_width: int | None = None
    mig: bool | None = None
    processes: int | None = None
    health: GpuHealth | None = None
    settings: GpuSettings | None = None
    nvlinks: tuple[NvLink, ...] | None = None
    pci_address: str | None = None  #: as the kernel writes it: "0000:0a:00.0"
    refused: tuple[str, ...] = ()  #: NVML's errors to questions it should have answered: "gpu_is_lost" …


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine as probed, before any load."""

    id: str  #: stable over reboots: a hash of the machine id and of the devices' own ids
    hostname: str
    device_kind: Literal["cpu", "cuda"]
    boot_id: str | None = None
    cpu: Cpu = field(default_factory=Cpu)
    memory: Memory = field(default_factory=Memory)
    cgroup: Cgroup = field(default_factory=Cgroup)
    disk: Disk | None = None
    nics: tuple[Nic, ...] = ()
    load: Load = field(default_factory=Load)
    clock: ClockState = field(default_factory=ClockState)
    gpus: tuple[Gpu, ...] = ()
    gpu_reason: str | None = None  #: why no GPU could be looked at ("libnvidia-ml.so.1 not found")
    hypervisor: str | None = None  #: "kvm", "vmware", "none"; None = unknown
    container: str | None = None  #: "docker", "podman", "lxc", "none"; None = unknown
    os: str | None = None
    kernel: str | None = None
    is_root: bool | None = None
    open_files_max: int | None = None
    versions: Mapping[str, str | None] = field(default_factory=dict)  #: python, numpy, numba, torch, iperf3, driver, …
    problems: tuple[str, ...] = ()  #: what the probe could not read, a sentence each


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What the supplier says the node is; only what was said is compared."""

    cores: int | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None
    gpu: str | None = None
    gpus: int | None = None
    down_bytes_per_s: float | None = None
    up_bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One place of a sweep."""

    at: float
    value: float
    ci95: tuple[float, float] | None
    n: int
    samples: tuple[float, ...]
    context: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An earlier measurement of the same figure, kept when a limit made it be measured again."""

    status: Status
    reason: str | None
    value: float | None
    ci95: tuple[float, float] | None
    n: int
    samples: tuple[float, ...]
    context: Mapping[str, Json] = field(default_factory=dict)
    converged: bool | None = None
    series: tuple[Point, ...] = ()  #: of a sweep


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One figure with its evidence. `value` is None unless the status is ok; a reason is there unless it is."""

    key: str
    unit: str
    status: Status
    reason: str | None = None
    value: float | None = None
    ci95: tuple[float, float] | None = None  #: of `statistic`, from order statistics; None when n is too small
    statistic: str = "median"
    n: int = 0
    converged: bool | None = None
    mad: float | None = None  #: median absolute deviation, same unit
    p5: float | None = None
    p95: float | None = None
    samples: tuple[float, ...] = ()  #: every one, in the order taken, in `unit`
    bench_version: int = 1
    axis: str | None = None
    series: tuple[Point, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    started_s: float | None = None  #: since the run began
    lasted_s: float | None = None
    context: Mapping[str, Json] = field(default_factory=dict)  #: clock_hz, cpu_share, variant, variants, stopped_by, …

    def __post_init__(self) -> None:
        if (self.status == "ok") != (self.value is not None):
            raise ValueError(f"{self.key}: a value goes with status ok and with nothing else, got {self.status}")
        if self.status != "ok" and not self.reason:
            raise ValueError(f"{self.key}: status {self.status} needs a reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something a supplier should know or mend."""

    code: str
    severity: Severity
    text: str  #: one sentence with the figures in it
    evidence: Mapping[str, Json]
    remedy: str  #: one sentence: what to do
    key: str | None = None  #: the measurement it is about
    confirmed: str | None = None  #: "2 of 3" where a limit was measured again; None = needs no repetition


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """One reading taken beside the benchmarks."""

    at_s: float  #: since the run began
    running: str | None = None  #: the bench at that time
    busy_ratio: float | None = None
    steal_ratio: float | None = None
    clock_hz: float | None = None
    temperature_c: float | None = None
    memory_used_bytes: int | None = None
    throttled_ratio: float | None = None  #: of the cgroup's periods since the reading before
    gpus: tuple[GpuReading, ...] = ()  #: every GPU that was sampled since the reading before


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricScore:
    """A measured figure beside what could be expected of it."""

    unit: str
    estimate: float
    ci95: tuple[float, float] | None
    n: int
    age_s: float
    expected: float | None  #: None = nothing to compare with yet
    basis: str  #: where `expected` comes from, or why there is none
    ratio: float | None  #: estimate / expected (inverted for times): above 1 is better
    context: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """How a capability figure came about."""

    value: float | None  #: reference node = 100; None when anything it needs is missing
    ci95: tuple[float, float] | None
    weights: Mapping[str, float]  #: metric -> weight, summing to 1
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Never one magic number alone: every part, its interval and what is missing."""

    health: float | None  #: geometric mean of the ratios to expectation; 1 = as good as its kind can be
    health_ci95: tuple[float, float] | None
    capability: Mapping[str, float | None]  #: workload profile -> value
    capability_detail: Mapping[str, Capability]
    metrics: Mapping[str, MetricScore]
    missing: tuple[str, ...]  #: keys not measured
    formula: str  #: in words, with the version of the reference table


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that one run of `gridmark qualify` found."""

    schema: int = SCHEMA
    id: str
    node: Node
    measurements: tuple[Measurement, ...]
    findings: tuple[Finding, ...]
    score: Score | None
    verdict: Verdict
    reasons: tuple[str, ...]  #: why this verdict, most important first
    profile: str
    budget_s: float
    lasted_s: float
    started_unix_s: float
    gridmark_version: str
    partial: bool = False  #: interrupted before its end
    claim: Claim | None = None
    telemetry: tuple[Telemetry, ...] = ()
    gpus_after: tuple[Gpu, ...] = ()  #: as NVML told them after the last benchmark
    gpu_events: tuple[GpuEvent, ...] = ()  #: what the driver announced during the run
    options: Mapping[str, Json] = field(default_factory=dict)  #: seed, device, only, peer
