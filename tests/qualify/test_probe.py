"""The whole node from one machine, whole or full of holes, quickly."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qualify import codec, probe
from qualify.identity import node_id
from qualify.nvml import Library, Nvml, NvmlError
from qualify.probe import Surroundings
from qualify.records import Cpu, Memory
from qualify.timekeeping import STA_UNSYNC, TIME_ERROR, Discipline
from tests.fake_pynvml import H100, RTX_4090, FakePynvml, error
from tests.machines import V2_MOUNT, FakeClock, arm64, lay, process, server, stat

NO_DRIVER = "libnvidia-ml.so.1 not found: no NVIDIA driver is installed"


def no_driver() -> Nvml:
    raise NvmlError(NO_DRIVER)


def synchronised() -> Discipline:
    return Discipline(0, 0, 900)


def around(root: Path, meanwhile: Callable[[], object] = lambda: None) -> Surroundings:
    """Surroundings in whose window 50 ticks pass, 20 of them busy, and whatever `meanwhile` does."""

    def window() -> None:
        if (root / "proc/stat").exists():
            lay(root, {"proc/stat": stat(user=120, idle=330)})
        meanwhile()

    clock = FakeClock(window)
    return Surroundings(
        clock=clock,
        sleep=clock.sleep,
        now_s=lambda: 1.75e9,
        pid=500,
        affinity=frozenset((0, 1, 2, 3)),
        architecture="x86_64",
        hostname="node7",
        is_root=False,
        open_files_max=1024,
        ticks_per_s=100,
        ask_clock=synchronised,
        open_nvml=no_driver,
    )


def test_a_sound_server_has_no_problems(tmp_path: Path) -> None:
    """Every part is there; the absent GPU has its reason and is no problem of a CPU node."""
    root = server(tmp_path / "root")

    node = probe.probe(workdir=tmp_path, root=root, surroundings=around(root))

    assert node.problems == ()
    assert (node.hostname, node.device_kind, node.kernel) == ("node7", "cpu", "6.8.0-40-generic")
    assert (node.cpu.cores, node.memory.numa_nodes, node.cgroup.version) == (2, 1, "v2")
    assert (node.hypervisor, node.container, node.gpus, node.gpu_reason) == ("none", "none", (), NO_DRIVER)
    assert (node.load.busy_ratio, node.clock.synchronized, node.clock.unixtime_s) == (0.4, True, 1.75e9)
    assert (node.is_root, node.open_files_max) == (False, 1024)
    assert node.boot_id == "7a3aed6e-3a79-42e6-9657-d2d916b31122"
    assert node.disk is not None
    assert node.disk.path == str(tmp_path)


def test_the_load_is_watched_before_anything_is_read(tmp_path: Path) -> None:
    """What our own reading costs must not show up as load of the machine: the GPUs are opened after the window."""
    root, order = server(tmp_path / "root"), []

    def opened() -> Nvml:
        order.append("read")
        raise NvmlError(NO_DRIVER)

    surroundings = replace(around(root, lambda: order.append("watched")), open_nvml=opened)

    probe.probe(workdir=tmp_path, root=root, surroundings=surroundings)

    assert order == ["watched", "read"]


def test_gpus_are_listed_with_the_driver_s_versions(tmp_path: Path) -> None:
    """Measured on its CPU, a node with GPUs stays a CPU node."""
    module = FakePynvml([H100, RTX_4090])
    root = server(tmp_path / "root")

    node = probe.probe(
        workdir=tmp_path, root=root, surroundings=replace(around(root), open_nvml=lambda: Library(module))
    )

    assert [gpu.name for gpu in node.gpus] == ["NVIDIA H100 80GB HBM3", "NVIDIA GeForce RTX 4090"]
    assert (node.gpu_reason, node.device_kind) == (None, "cpu")
    assert (node.versions["driver"], node.versions["cuda"]) == ("570.86.10", "12.8")
    assert node.id == node_id(root=root, open_nvml=lambda: Library(module))
    assert not module.is_open


def test_a_driver_without_a_gpu_and_one_that_breaks_off_have_reasons(tmp_path: Path) -> None:
    """An empty list alone would look like a CPU node."""
    root = server(tmp_path / "root")

    class Broken(FakePynvml):
        def nvmlDeviceGetCount(self) -> int:  # noqa: N802
            raise error(15)

    def reason(module: FakePynvml) -> str | None:
        surroundings = replace(around(root), open_nvml=lambda: Library(module))
        return probe.probe(workdir=tmp_path, root=root, surroundings=surroundings).gpu_reason

    assert reason(FakePynvml()) == "the NVIDIA driver runs but shows no GPU"
    assert reason(Broken()) == "the NVIDIA driver did not answer: GPU is lost"


def test_a_lost_gpu_is_a_problem_of_the_node(tmp_path: Path) -> None:
    """The gates and the reader hear of it."""
    lost = FakePynvml([dict.fromkeys(H100, error(15))])

    root = server(tmp_path / "root")

    node = probe.probe(
        workdir=tmp_path,
        root=root,
        surroundings=replace(around(root), open_nvml=lambda: Library(lost)),
    )

    assert node.problems == ("GPU 0 did not answer 16 questions: GPU is lost.",)


def test_a_machine_that_tells_nothing_is_still_a_node(tmp_path: Path) -> None:
    """Every hole is None and has its sentence; nothing is raised and nothing is zero."""

    root = tmp_path / "empty"

    def refused() -> Discipline:
        raise PermissionError(1, "Operation not permitted")

    node = probe.probe(
        workdir=tmp_path / "absent",
        root=root,
        surroundings=replace(around(root), ask_clock=refused, affinity=frozenset((0,))),
    )

    assert node.cpu == Cpu(architecture="x86_64", usable_cpus=(0,))
    assert node.memory == Memory()
    assert (node.hypervisor, node.container, node.os, node.kernel) == (None, None, None, None)
    assert len(node.problems) == 1 + len(probe.IN_FILES) + 3  # the id; every file; space, direct I/O, clock
    assert "The size of the memory is unknown: /proc/meminfo is not there." in node.problems
    assert "Whether the clock is synchronised is unknown: the kernel did not answer adjtimex." in node.problems


def test_what_an_arm_guest_does_not_tell_is_said(tmp_path: Path) -> None:
    """No cpufreq and no firmware tables: one sentence, for what its host keeps to itself is no gap of its own."""
    root = arm64(tmp_path / "root")

    node = probe.probe(
        workdir=tmp_path,
        root=root,
        surroundings=replace(around(root), architecture="aarch64"),
    )

    assert node.hypervisor == "kvm"
    assert [problem.partition(" is unknown")[0] for problem in node.problems] == ["The base clock"]


def test_a_container_shows_its_limits_and_its_neighbours(tmp_path: Path) -> None:
    """Docker with half a CPU, beside a busy process that shares the PID namespace."""
    root = server(tmp_path / "root")
    (root / "proc/self/ns/pid").unlink()
    (root / "proc/self/ns/pid").symlink_to("pid:[4026532291]")
    lay(
        root,
        {
            ".dockerenv": "",
            "proc/self/mountinfo": "27 1 0:50 / / rw - overlay overlay rw\n" + V2_MOUNT.format(subtree="/docker/ab"),
            "proc/self/cgroup": "0::/docker/ab\n",
            "sys/fs/cgroup/cpu.max": "50000 100000\n",
            **process(7, "stress", used=0),
        },
    )

    node = probe.probe(
        workdir=Path("/"), root=root, surroundings=around(root, lambda: lay(root, process(7, "stress", used=25)))
    )

    assert (node.container, node.cgroup.cpu_quota_cpus) == ("docker", 0.5)
    assert node.load.foreign == ("stress (pid 7) 50 %",)
    assert node.disk is not None
    assert node.disk.filesystem == "overlay"


def test_a_doubtful_clock_is_no_unknown_clock(tmp_path: Path) -> None:
    """The gates judge it; the probe has read it."""
    unsynced = Discipline(TIME_ERROR, STA_UNSYNC, 16_000_000)

    root = server(tmp_path / "root")

    node = probe.probe(
        workdir=tmp_path,
        root=root,
        surroundings=replace(around(root), ask_clock=lambda: unsynced),
    )

    assert (node.clock.synchronized, node.problems) == (False, ())


ODD = (
    st.sampled_from(
        [b"", b"\n", b"max\n", b"-1\n", b"0\n", b"0-\n", b"::\n", b" - \n", b"[]\n", b"\0\n", b"nan\n", b"1 (\n"]
    )
    | st.binary(max_size=200)
    | st.text("0123456789 -:,()[].\nKMxcpu", max_size=120).map(str.encode)
)


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return server(tmp_path_factory.mktemp("fragile"))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_whatever_a_file_holds_the_probe_has_an_answer(fragile: Path, data: st.DataObject) -> None:
    """Kernels, hypervisors and container file systems put anything there: the node is whole and fit for JSON."""
    files = sorted(path for path in fragile.rglob("*") if path.is_file() and not path.is_symlink())
    spoilt = data.draw(st.sampled_from(files), "file")
    sound = spoilt.read_bytes()
    spoilt.write_bytes(data.draw(ODD, "contents"))

    try:
        node = probe.probe(workdir=fragile, root=fragile, surroundings=replace(around(fragile), sleep=lambda s: None))
    finally:
        spoilt.write_bytes(sound)

    assert codec.from_json(type(node), codec.to_json(node)) == node


def test_this_machine_is_probed_in_less_than_a_second(tmp_path: Path) -> None:
    """The real files, the whole window; the record survives JSON. Processor time, so that a busy neighbour is no fault.

    The wall time is the window and this; half a second of it would break the promise of one second.
    """
    used_s = time.process_time()

    node = probe.probe(workdir=tmp_path, window_s=0.05)

    assert time.process_time() - used_s < 0.5
    assert node.load.window_s == pytest.approx(0.05, abs=1.0)
    assert node.cpu.threads is not None
    assert node.memory.total_bytes is not None
    assert node.disk is not None
    assert node.disk.filesystem is not None
    assert codec.from_json(type(node), codec.to_json(node)) == node
