"""The processor, the memory and the network interfaces, read from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from qualify import hardware
from qualify.files import Files
from qualify.records import Cpu, Memory, Nic
from tests.machines import CPU, EPYC, arm64, cpu_files, lay, nic, server

KIB = 1 << 10


def read(root: Path, *, affinity: tuple[int, ...] = (0, 1, 2, 3), architecture: str = "x86_64") -> Cpu:
    return hardware.cpu(Files(root), affinity=affinity, architecture=architecture)


def test_a_server_s_processor_is_read_in_full(tmp_path: Path) -> None:
    """2 cores of 2 threads; the nominal clock of the firmware is the base clock."""
    assert read(server(tmp_path)) == Cpu(
        model="AMD EPYC 9R14",
        vendor="AuthenticAMD",
        architecture="x86_64",
        family=25,
        model_number=17,
        sockets=1,
        cores=2,
        threads=4,
        usable_cpus=(0, 1, 2, 3),
        base_hz=2.6e9,
        max_hz=3.7e9,
        governor="performance",
        vector=("sse2", "sse4_2", "avx", "f16c", "fma", "avx2", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16"),
        l1d_bytes=32 * KIB,
        l2_bytes=1024 * KIB,
        l3_bytes=16384 * KIB,
        smt=True,
    )


def test_an_arm_core_is_named_by_its_part(tmp_path: Path) -> None:
    """arm64 gives numbers for names; the vector units carry the names people use."""
    found = read(arm64(tmp_path), architecture="aarch64")

    assert (found.vendor, found.model, found.family, found.model_number) == ("ARM", "Neoverse V1", 0x41, 0xD40)
    assert found.vector == ("neon", "neon_fp16", "neon_dot", "bf16", "i8mm", "sve")
    assert (found.base_hz, found.max_hz, found.governor) == (None, None, None)


def test_cores_are_counted_per_socket(tmp_path: Path) -> None:
    """Core ids repeat in the second socket."""
    files: dict[str, str | int] = {f"{CPU}/online": "0-3\n"}
    for cpu in range(4):
        files |= cpu_files(cpu, package=cpu // 2, core=cpu % 2, siblings=f"{cpu}")

    found = read(lay(tmp_path, files))

    assert (found.sockets, found.cores, found.threads, found.smt) == (2, 4, 4, False)


def test_the_affinity_mask_confines_what_is_usable_and_not_what_exists(tmp_path: Path) -> None:
    """A process pinned to one CPU sits on a machine of four."""
    found = read(server(tmp_path), affinity=(2,))

    assert (found.usable_cpus, found.threads, found.cores) == ((2,), 4, 2)


def test_a_guest_without_cpufreq_has_the_clock_of_its_invariant_counter(tmp_path: Path) -> None:
    """5200 bogomips are 2600 MHz, but only where the counter keeps one pace."""
    flagged = lay(tmp_path / "a", {"proc/cpuinfo": EPYC.format(number=0, extra="")})
    varying = lay(tmp_path / "b", {"proc/cpuinfo": EPYC.format(number=0, extra="").replace("constant_tsc", "")})

    assert read(flagged, affinity=(0,)).base_hz == 2.6e9
    assert read(varying, affinity=(0,)).base_hz is None


@pytest.mark.parametrize(
    ("online", "threads"), [("0-", None), ("0-\0", None), ("²", None), ("x,1,3-2", 1), ("0-99999999999", 65536)]
)
def test_a_malformed_list_of_cpus_stops_nothing(tmp_path: Path, online: str, threads: int | None) -> None:
    """What is no number is left out, and no list fills the memory."""
    assert read(lay(tmp_path, {f"{CPU}/online": online}), affinity=(0,)).threads == threads


def test_governors_that_differ_are_all_named(tmp_path: Path) -> None:
    """One CPU left behind by a script spoils a run."""
    lay(server(tmp_path), {f"{CPU}/cpufreq/policy1/scaling_governor": "powersave\n"})

    assert read(tmp_path).governor == "performance, powersave"


def test_nothing_readable_leaves_nothing_but_the_mask(tmp_path: Path) -> None:
    """No field is zero or empty text."""
    assert read(tmp_path, affinity=(0,)) == Cpu(architecture="x86_64", usable_cpus=(0,))


def test_memory_is_read_in_full(tmp_path: Path) -> None:
    """The kernel's kB are KiB; corrected errors are summed over two controllers."""
    assert hardware.memory(Files(server(tmp_path))) == Memory(
        total_bytes=16_000_000 * KIB,
        available_bytes=12_000_000 * KIB,
        swap_total_bytes=2_000_000 * KIB,
        swap_used_bytes=500_000 * KIB,
        transparent_hugepages="madvise",
        numa_nodes=1,
        numa_bytes=(16_000_000 * KIB,),
        numa_balancing=False,
        ecc_corrected=7,
        ecc_uncorrected=1,
    )


def test_without_a_driver_for_the_controllers_errors_are_unknown(tmp_path: Path) -> None:
    """No EDAC is not an absence of errors; nor is one controller that cannot be read."""
    files = Files(server(tmp_path))
    (tmp_path / "sys/devices/system/edac/mc/mc1/ce_count").unlink()
    found = hardware.memory(files)
    assert (found.ecc_corrected, found.ecc_uncorrected) == (None, 1)

    assert hardware.memory(Files(tmp_path / "nothing")) == Memory()


def test_numa_nodes_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """node10 comes after node2."""
    sizes = {10: 300, 2: 200, 0: 100}
    lay(
        tmp_path,
        {f"sys/devices/system/node/node{n}/meminfo": f"Node {n} MemTotal:  {kib} kB\n" for n, kib in sizes.items()},
    )

    found = hardware.memory(Files(tmp_path))

    assert (found.numa_nodes, found.numa_bytes) == (3, (100 * KIB, 200 * KIB, 300 * KIB))


def test_used_memory_is_what_could_not_be_had(tmp_path: Path) -> None:
    """16 GB less the 12 GB available; page cache does not count."""
    assert hardware.memory_used_bytes(Files(server(tmp_path))) == 4_000_000 * KIB
    assert hardware.memory_used_bytes(Files(tmp_path / "nothing")) is None


def test_an_interface_is_read_in_full_and_loopback_is_left_out(tmp_path: Path) -> None:
    """25 Gbit/s; errors and drops of both directions are added up."""
    assert hardware.nics(Files(server(tmp_path))) == (
        Nic(name="eno1", speed_bits_per_s=25_000_000_000, mtu=1500, duplex="full", errors=3, drops=7),
    )


@pytest.mark.parametrize("state", ["down", "dormant", "lowerlayerdown"])
def test_an_interface_that_is_not_up_is_left_out(tmp_path: Path, state: str) -> None:
    """A port without a cable carries nothing."""
    assert hardware.nics(Files(lay(tmp_path, nic("eth0", state=state)))) == ()


def test_a_tunnel_counts_and_its_speed_is_unknown(tmp_path: Path) -> None:
    """Its state stays "unknown" while its carrier is on; a speed of -1 is not a speed."""
    (found,) = hardware.nics(Files(lay(tmp_path, nic("tun0", state="unknown", speed=-1))))

    assert (found.name, found.speed_bits_per_s) == ("tun0", None)


def test_the_host_s_end_of_a_container_s_cable_is_left_out(tmp_path: Path) -> None:
    """A bridge port without hardware is not the node's network; one with hardware is."""
    files = (
        nic("veth0") | {"sys/class/net/veth0/brport/state": 3} | nic("eth0") | {"sys/class/net/eth0/brport/state": 3}
    )
    lay(tmp_path, files | {"sys/class/net/eth0/device/vendor": "0x8086\n"})

    assert [found.name for found in hardware.nics(Files(tmp_path))] == ["eth0"]
