"""The sampler: ratios between readings, what ran, an orderly end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from qualify.load import CpuTime
from qualify.records import Telemetry
from qualify.telemetry import Counters, Machine, Sampler
from tests.machines import CPU, V2_MOUNT, FakeClock, lay, server, stat

GROUP, PARENT = Path("/sys/fs/cgroup/a/b"), Path("/sys/fs/cgroup/a")


def scripted(*counters: Counters) -> Iterator[Counters]:
    yield from counters


def test_a_reading_holds_what_happened_since_the_one_before() -> None:
    """100 ticks passed: 80 busy, 5 stolen; 2 of 5 periods throttled."""
    clock = FakeClock()
    readings = scripted(
        Counters(cpu=CpuTime(0, 0, 0, 0), throttling={GROUP: (10, 1)}),
        Counters(
            cpu=CpuTime(80, 15, 0, 5),
            throttling={GROUP: (15, 3)},
            clock_hz=3.5e9,
            temperature_c=61.0,
            memory_used_bytes=1 << 30,
        ),
    )
    sampler = Sampler(lambda: next(readings), clock=clock, origin_s=990.0)
    sampler.running = "memory"
    sampler.take()
    clock.sleep(0.25)

    sampler.take()

    assert sampler.stop()[1] == Telemetry(
        at_s=10.25,
        running="memory",
        busy_ratio=0.80,
        steal_ratio=0.05,
        clock_hz=3.5e9,
        temperature_c=61.0,
        memory_used_bytes=1 << 30,
        throttled_ratio=0.4,
    )


def test_the_first_reading_has_no_ratios() -> None:
    """There is nothing before it."""
    sampler = Sampler(lambda: Counters(cpu=CpuTime(5, 5, 0, 0), throttling={GROUP: (1, 1)}), clock=FakeClock())

    sampler.take()

    (first,) = sampler.stop()
    assert (first.at_s, first.busy_ratio, first.steal_ratio, first.throttled_ratio) == (0.0, None, None, None)


def test_each_reading_says_what_ran_then() -> None:
    """The run sets it; a pause has no bench."""
    sampler = Sampler(Counters, clock=FakeClock())

    for running in ("matmul", None, "disk"):
        sampler.running = running
        sampler.take()

    assert [reading.running for reading in sampler.stop()] == ["matmul", None, "disk"]


@pytest.mark.parametrize(
    ("after", "ratio"),
    [
        ({GROUP: (110, 20), PARENT: (100, 0)}, 0.2),
        ({GROUP: (110, 20), PARENT: (110, 9)}, 0.9),
        ({GROUP: (100, 18), PARENT: (100, 0)}, 0.0),
        ({}, None),
    ],
    ids=["ours", "the quota above us is worse", "no period ended", "the group is gone"],
)
def test_the_worst_group_on_the_path_tells_how_throttled_we_are(
    after: dict[Path, tuple[int, int]], ratio: float | None
) -> None:
    """A quota above us stops us too; without a period there is nothing to be stopped in."""
    readings = scripted(Counters(throttling={GROUP: (100, 18), PARENT: (100, 0)}), Counters(throttling=after))
    sampler = Sampler(lambda: next(readings), clock=FakeClock())
    sampler.take()

    sampler.take()

    assert sampler.stop()[1].throttled_ratio == ratio


def test_the_thread_reads_until_it_is_stopped() -> None:
    """Three readings are waited for; after the end there is none more."""
    count, enough = [0], threading.Event()

    def read() -> Counters:
        count[0] += 1
        if count[0] > 3:  # the first one is the base of the ratios
            enough.set()
        return Counters(memory_used_bytes=count[0])

    sampler = Sampler(read, interval_s=0.001)
    sampler.start()
    assert enough.wait(10)

    taken = sampler.stop()

    assert len(taken) >= 3
    assert [reading.memory_used_bytes for reading in taken] == list(range(2, count[0] + 1))
    assert sampler.stop() == taken
    assert not [thread for thread in threading.enumerate() if thread.name == "telemetry"]


@pytest.mark.parametrize(("since_s", "more"), [(29.0, 0), (30.0, 1)], ids=["just read", "half an interval ago"])
def test_the_end_is_read_unless_it_was_just_read(since_s: float, more: int) -> None:
    """The counters of next to no time would say nothing."""
    clock = FakeClock()
    sampler = Sampler(Counters, clock=clock, interval_s=60.0)
    sampler.start()
    sampler.take()
    clock.sleep(since_s)

    assert len(sampler.stop()) == 1 + more


def test_a_run_shorter_than_the_interval_has_one_reading() -> None:
    """A report without any would look as if nothing had been watched."""
    sampler = Sampler(Counters, interval_s=60.0)
    sampler.start()

    assert len(sampler.stop()) == 1


def test_a_sampler_that_never_started_has_nothing_to_tell() -> None:
    """An interrupt may come before the start."""
    assert Sampler(Counters).stop() == ()


def test_a_sampler_runs_once() -> None:
    """Two threads would mix their readings."""
    sampler = Sampler(Counters)
    sampler.start()

    with pytest.raises(RuntimeError, match="runs once"):
        sampler.start()
    sampler.stop()


def sensors(root: Path, **temperatures: int) -> Path:
    """An hwmon chip; each sensor is named by its label with "_" for a space."""
    files: dict[str, str | int] = {"sys/class/hwmon/hwmon1/name": "coretemp\n"}
    for place, (label, millidegrees) in enumerate(temperatures.items(), start=1):
        files[f"sys/class/hwmon/hwmon1/temp{place}_input"] = millidegrees
        files[f"sys/class/hwmon/hwmon1/temp{place}_label"] = label.replace("_", " ")
    return lay(root, files)


def test_a_machine_s_counters_are_read_from_its_files(tmp_path: Path) -> None:
    """The fastest clock, the hottest package, the memory in use, the group's periods."""
    server(tmp_path)
    sensors(tmp_path, Package_id_0=64000, Core_0=71000, Package_id_1=66000)
    lay(
        tmp_path,
        {
            f"{CPU}/cpu0/cpufreq/scaling_cur_freq": 1500000,
            f"{CPU}/cpu1/cpufreq/scaling_cur_freq": 3650000,
            "proc/self/mountinfo": V2_MOUNT.format(subtree="/"),
            "proc/self/cgroup": "0::/job\n",
            "sys/fs/cgroup/job/cpu.stat": "usage_usec 1\nnr_periods 40\nnr_throttled 8\n",
        },
    )

    assert Machine(root=tmp_path, cpus=(0, 1)).read() == Counters(
        cpu=CpuTime(busy=100, idle=300, iowait=0, steal=0),
        throttling={tmp_path / "sys/fs/cgroup/job": (40, 8)},
        clock_hz=3.65e9,
        temperature_c=66.0,
        memory_used_bytes=4_000_000 << 10,
    )


def test_every_reading_is_fresh(tmp_path: Path) -> None:
    """Only where the files lie is remembered."""
    machine = Machine(root=server(tmp_path), cpus=(0,))
    machine.read()
    lay(tmp_path, {"proc/stat": stat(user=7, idle=8)})

    assert machine.read().cpu == CpuTime(busy=7, idle=8, iowait=0, steal=0)


def test_a_guest_without_sensors_has_no_clock_and_no_temperature(tmp_path: Path) -> None:
    """None, not 0 Hz and not 0 °C."""
    found = Machine(root=server(tmp_path), cpus=(0, 1)).read()

    assert (found.clock_hz, found.temperature_c) == (None, None)


@pytest.mark.parametrize(
    ("files", "degrees"),
    [
        ({"hwmon/hwmon0/name": "nvme", "hwmon/hwmon0/temp1_input": 80000}, None),
        ({"hwmon/hwmon0/name": "k10temp", "hwmon/hwmon0/temp1_input": -273000}, None),
        ({"hwmon/hwmon0/name": "k10temp", "hwmon/hwmon0/temp1_input": 255000}, None),
        ({"thermal/thermal_zone0/type": "x86_pkg_temp", "thermal/thermal_zone0/temp": 58000}, 58.0),
        ({"thermal/thermal_zone0/type": "iwlwifi_1", "thermal/thermal_zone0/temp": 58000}, None),
        ({"thermal/thermal_zone0/type": "cpu-thermal", "thermal/thermal_zone0/temp": 41000,
          "hwmon/hwmon0/name": "k10temp", "hwmon/hwmon0/temp1_input": 55500}, 55.5),
    ],
    ids=["a drive", "absent", "broken", "a zone", "a radio", "a sensor before a zone"],
)  # fmt: skip
def test_only_a_believable_sensor_of_the_processor_counts(
    tmp_path: Path, files: dict[str, str | int], degrees: float | None
) -> None:
    """Drives and radios have temperatures too, and absent sensors have absurd ones."""
    lay(tmp_path, {f"sys/class/{name}": contents for name, contents in files.items()})

    assert Machine(root=tmp_path, cpus=(0,)).read().temperature_c == degrees


def test_of_many_cpus_a_few_are_asked_for_their_clock(tmp_path: Path) -> None:
    """Each question may wake a CPU: of 64, eight in equal steps."""
    lay(tmp_path, {f"{CPU}/cpu{cpu}/cpufreq/scaling_cur_freq": 1000000 + cpu for cpu in range(64)})

    assert Machine(root=tmp_path, cpus=range(64)).read().clock_hz == (1000000 + 56) * 1e3
