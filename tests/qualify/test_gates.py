"""Rules, findings and verdicts over traces of healthy and faulty nodes."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from qualify import gates
from qualify.records import Cgroup, Claim, Finding, Gpu, Measurement, Node, Severity
from tests.qualify import traces
from tests.qualify.traces import evidence, failed, in_all, load, measured, node, past, slow, telemetry, tried

README = Path(__file__).parents[2] / "README.md"
MARKED = re.compile(r"<!-- codes:begin -->\n(.*?)\n?<!-- codes:end -->", re.DOTALL)


def codes(found: gates.Evidence) -> set[str]:
    return {finding.code for finding in gates.judge(found)}


def one(found: gates.Evidence, code: str) -> Finding:
    (finding,) = [finding for finding in gates.judge(found) if finding.code == code]
    return finding


def test_a_healthy_node_raises_nothing_at_all() -> None:
    """Sixteen idle cores in order, every figure as it should be: not even an info."""
    assert gates.judge(evidence()) == ()
    assert gates.doubtful(evidence()) == frozenset()


#: codes about GPUs are raised by replays of NVML, in test_gpu_traces.py
OF_CPUS = sorted(code for code in gates.CODES if not code.startswith("GPU_") or code in traces.FAULTY)


@pytest.mark.parametrize("code", OF_CPUS)
def test_every_code_has_a_fault_that_raises_it(code: str) -> None:
    """Each code of the table fires on its trace, with figures, a sentence and a remedy."""
    found = [finding for finding in gates.judge(traces.FAULTY[code]()) if finding.code == code]

    assert found
    for finding in found:
        assert finding.text
        assert finding.remedy
        assert finding.evidence


def test_every_trace_belongs_to_a_code() -> None:
    """No trace outlives its code."""
    assert set(OF_CPUS) == traces.FAULTY.keys()


def test_there_are_at_least_thirty_codes_for_a_cpu() -> None:
    """Codes about GPUs left out."""
    assert sum(not code.startswith("GPU_") for code in gates.CODES) >= 30


def test_findings_come_worst_first_then_by_code() -> None:
    """Severity, code, key."""
    found = gates.judge(
        evidence(
            failed("matmul.fp32", "wrong_result"),
            failed("memory.copy", "timeout"),
            failed("disk.read", "timeout"),
            node=node(container="docker", memory=traces.memory(ecc_uncorrected=1)),
        )
    )

    assert [(finding.severity, finding.code, finding.key) for finding in found] == [
        ("failure", "ECC_UNCORRECTED", None),
        ("failure", "WRONG_RESULT", "matmul.fp32"),
        ("warning", "TIMED_OUT", "disk.read"),
        ("warning", "TIMED_OUT", "memory.copy"),
        ("info", "CONTAINED", None),
    ]


def test_a_limit_missed_once_is_measured_again_and_is_no_failure_until_then() -> None:
    """One attempt at half of the healthy figure: doubtful, and no more than a remark that says so."""
    once = evidence(measured("matmul.fp32", traces.HEALTHY["matmul.fp32"][1] * 0.5))

    assert "matmul.fp32" in gates.doubtful(once)
    finding = one(once, "BELOW_REFERENCE")
    assert (finding.severity, finding.confirmed) == ("info", "1 of 1")
    assert "no time to measure it again" in finding.text


def test_a_limit_missed_twice_is_decided() -> None:
    """Two of two: a failure, and nothing left to measure."""
    value = traces.HEALTHY["matmul.fp32"][1] * 0.4
    twice = evidence(tried(measured("matmul.fp32", value), value))

    assert "matmul.fp32" not in gates.doubtful(twice)
    finding = one(twice, "BELOW_REFERENCE")
    assert (finding.severity, finding.confirmed) == ("failure", "2 of 2")


def test_a_limit_missed_once_and_met_twice_is_no_finding() -> None:
    """Two of three agree that it is met."""
    healthy = traces.HEALTHY["matmul.fp32"][1]

    assert codes(evidence(tried(measured("matmul.fp32"), healthy * 0.4, healthy))) == set()


def test_one_miss_and_one_hit_stay_undecided_and_raise_no_warning() -> None:
    """Without time for a third attempt a reader is told, no more."""
    healthy = traces.HEALTHY["matmul.fp32"][1]
    split = evidence(tried(measured("matmul.fp32"), healthy * 0.4))

    assert "matmul.fp32" in gates.doubtful(split)
    finding = one(split, "BELOW_REFERENCE")
    assert (finding.severity, finding.confirmed) == ("info", "1 of 2")


def test_after_three_attempts_nothing_is_doubtful() -> None:
    """A budget is never spent on a fourth."""
    assert gates.doubtful(evidence(slow("matmul.fp32", 0.4), slow("disk.sync_p99", 80))) == frozenset()


def test_a_wrong_result_is_not_repeated_away() -> None:
    """Two right attempts after a wrong one do not mend it."""
    wrong = failed("matmul.fp32", "wrong_result", "row 7 differs")
    again = gates.combine(gates.combine(wrong, measured("matmul.fp32")), measured("matmul.fp32"))
    found = evidence(again)

    assert again.status == "failed"
    assert one(found, "WRONG_RESULT").severity == "failure"
    assert "matmul.fp32" not in gates.doubtful(found)


def test_a_crash_is_tried_again_and_forgiven_when_it_does_not_recur() -> None:
    """Crash, then two figures: measured, and no more than a remark."""
    crash = failed("matmul.fp32", "crash")
    assert "matmul.fp32" in gates.doubtful(evidence(crash))

    again = gates.combine(gates.combine(crash, measured("matmul.fp32")), measured("matmul.fp32"))

    assert again.status == "ok"
    assert one(evidence(again), "CRASHED").severity == "info"


@pytest.mark.parametrize("cores", [2, 4, 16, 128])
def test_half_of_the_cpus_by_quota_is_always_told(cores: int) -> None:
    """Whatever the size of the machine."""
    shape = traces.cpu(cores=cores, threads=cores, usable_cpus=tuple(range(cores)))
    found = evidence(node=node(cpu=shape, cgroup=Cgroup(version="v2", cpu_quota_cpus=cores / 2)))

    finding = one(found, "CPU_QUOTA")
    assert finding.severity == "warning"
    assert finding.evidence["quota_cpus"] == cores / 2


def test_a_quota_of_all_cpus_is_no_finding() -> None:
    """cpu.max of exactly the usable CPUs takes nothing away."""
    assert "CPU_QUOTA" not in codes(traces.of_node(cgroup=Cgroup(version="v2", cpu_quota_cpus=16.0)))


def test_a_hidden_quota_shows_in_the_cpu_time() -> None:
    """Half of the CPU time, nobody here preempting us: a limit that cannot be seen."""
    found = evidence(in_all("matmul.fp32", cpu_share=0.5, involuntary_switches_per_s=20.0))

    assert {"CPU_STARVED"} == codes(found)


@pytest.mark.parametrize("known", [{"steal_ratio": 0.3}, {"throttled_ratio": 0.5}], ids=["steal", "quota"])
def test_a_limit_that_is_seen_is_not_told_as_an_unseen_one(known: dict[str, float]) -> None:
    """Steal and throttling have codes of their own."""
    found = evidence(in_all("matmul.fp32", cpu_share=0.5, involuntary_switches_per_s=20.0, **known))

    assert "CPU_STARVED" not in codes(found)


@pytest.mark.parametrize(
    ("cpus", "foreign"),
    [(2, "yes (pid 9) 99 %"), (16, "yes (pid 9) 51 %"), (128, "yes (pid 9) 100 %")],
)
def test_a_busy_loop_before_the_run_is_told_on_any_machine(cpus: int, foreign: str) -> None:
    """Named processes count in CPUs, not in parts of the machine."""
    shape = traces.cpu(cores=cpus, threads=cpus, usable_cpus=tuple(range(cpus)))

    found = evidence(node=node(cpu=shape, load=load(foreign=(foreign,), busy_ratio=0.01)), telemetry=())

    assert one(found, "NOISY_NEIGHBOUR").severity == "warning"


def test_small_daemons_are_no_neighbours() -> None:
    """Three processes at 12 % are what a server idles at."""
    daemons = tuple(f"daemon{i} (pid {i}) 12 %" for i in range(3))

    assert codes(traces.of_node(load=load(foreign=daemons, busy_ratio=0.03))) == set()


def test_load_that_cannot_be_named_is_told() -> None:
    """From inside a container others' processes are invisible, their load is not."""
    assert "NOISY_NEIGHBOUR" in codes(traces.of_node(load=load(busy_ratio=0.5)))


def test_a_busy_loop_that_starts_later_is_told_by_the_figures() -> None:
    """One of two cores shared: half of the CPU time and 150 preemptions a second, in every attempt."""
    found = evidence(in_all("matmul.fp32", cpu_share=0.5, involuntary_switches_per_s=150.0, threads=2))

    finding = one(found, "NOISY_NEIGHBOUR")
    assert (finding.severity, finding.confirmed, finding.key) == ("warning", "3 of 3", "matmul.fp32")


def test_several_figures_beside_a_busy_loop_confirm_each_other() -> None:
    """One finding for all of them, though there was no time to repeat any; all of them are worth repeating."""
    share = {"cpu_share": 0.5, "involuntary_switches_per_s": 150.0, "threads": 2}
    keys = ("matmul.bf16", "matmul.fp32", "memory.copy", "memory.triad")
    found = evidence(*(measured(key, context=share) for key in keys))

    finding = one(found, "NOISY_NEIGHBOUR")
    assert (finding.severity, finding.confirmed, finding.key) == ("warning", "4 of 4", None)
    assert "matmul.bf16, matmul.fp32, memory.copy and 1 more were measured" in finding.text
    assert set(keys) <= gates.doubtful(found)


def test_passing_disturbances_of_several_figures_are_forgotten() -> None:
    """Two figures, each disturbed once and undisturbed twice."""
    crowded = {"cpu_share": 0.5, "involuntary_switches_per_s": 900.0}
    healthy = traces.HEALTHY
    changed = []
    for key in ("matmul.fp32", "memory.copy"):
        value = healthy[key][1]
        changed.append(gates.combine(tried(measured(key), value, **crowded), measured(key)))

    assert codes(evidence(*changed)) == set()


def test_a_busy_loop_beside_a_single_thread_is_told_by_telemetry() -> None:
    """While one thread chases pointers, two and more CPUs are busy."""
    found = evidence(telemetry=telemetry(busy_ratio=2.2 / traces.THREADS))

    assert "NOISY_NEIGHBOUR" in codes(found)


def test_a_disturbed_figure_is_not_blamed_on_the_machine() -> None:
    """Half the speed with half of the CPUs taken by others is the others' doing."""
    share = {"cpu_share": 0.5, "involuntary_switches_per_s": 900.0}
    value = traces.HEALTHY["matmul.fp32"][1] * 0.4
    found = evidence(tried(measured("matmul.fp32", value, context=share), value, value))

    assert codes(found) == {"NOISY_NEIGHBOUR"}


def test_a_neighbour_who_leaves_is_forgotten() -> None:
    """Disturbed once, undisturbed twice."""
    crowded = {"cpu_share": 0.6, "involuntary_switches_per_s": 900.0}
    value = traces.HEALTHY["matmul.fp32"][1]
    first = tried(measured("matmul.fp32"), value, **crowded)

    assert "matmul.fp32" in gates.doubtful(evidence(first))
    again = gates.combine(first, measured("matmul.fp32"))
    assert codes(evidence(again)) == set()


@pytest.mark.parametrize(
    "changed",
    [
        {"governor": "powersave"},  # intel_pstate calls its ordinary governor so
        {"governor": "schedutil"},
        {"max_hz": 5.7e9},  # of one core alone
        {"base_hz": None, "governor": None, "max_hz": None},  # a virtual machine
    ],
)
def test_names_alone_raise_nothing(changed: dict[str, object]) -> None:
    """What only looks like a fault needs a figure that shows it."""
    assert codes(traces.of_node(cpu=traces.cpu(**changed))) == set()


def test_turbo_that_gives_way_is_healthy() -> None:
    """4.5 GHz for a while, then 3.6 GHz: above the base clock and cool."""
    turbo = telemetry(clock_hz=lambda place: 4.5e9 if place < 4 else 3.6e9)

    assert codes(evidence(telemetry=turbo)) == set()


def test_all_core_turbo_after_single_core_turbo_is_healthy() -> None:
    """The clock depends on the load; only one and the same benchmark is compared with itself."""
    readings = tuple(
        dataclasses.replace(reading, clock_hz=2.9e9 if reading.running == "matmul" else 4.4e9)
        for reading in telemetry()
    )

    assert codes(evidence(telemetry=readings)) == set()


@pytest.mark.parametrize(
    ("claim", "code"),
    [
        (Claim(cores=16), None),
        (Claim(cores=17), "CPU_BELOW_CLAIM"),
        (Claim(memory_bytes=128 * traces.GIB), None),  # 126 GiB are visible of 128
        (Claim(memory_bytes=134 * traces.GIB), "MEMORY_BELOW_CLAIM"),
        (Claim(disk_bytes=960 * traces.GIB), None),
        (Claim(disk_bytes=1100 * traces.GIB), "DISK_BELOW_CLAIM"),
        (Claim(gpus=0), None),
        (Claim(gpus=1), "GPU_CLAIMED_NONE_FOUND"),
    ],
)
def test_claims_are_compared_with_room_for_honest_rounding(claim: Claim, code: str | None) -> None:
    """Only what was claimed is compared, each with its margin."""
    assert codes(evidence(claim=claim)) == ({code} if code else set())


def test_threads_of_a_core_are_not_cores_on_bare_metal() -> None:
    """Eight cores with sixteen threads do not fulfil a claim of sixteen cores; sixteen virtual CPUs do."""
    shape = traces.cpu(cores=8, smt=True)

    assert "CPU_BELOW_CLAIM" in codes(evidence(node=node(cpu=shape), claim=Claim(cores=16)))
    virtual = evidence(node=node(cpu=shape, hypervisor="kvm"), claim=Claim(cores=16))
    assert "CPU_BELOW_CLAIM" not in codes(virtual)


def test_the_name_of_a_gpu_must_be_equal() -> None:
    """An A100 PCIe is no A100 SXM; case and the maker's name do not count."""
    with_gpu = node(gpus=(Gpu(index=0, name="NVIDIA A100-PCIE-40GB"),))

    assert "GPU_BELOW_CLAIM" in codes(evidence(node=with_gpu, claim=Claim(gpu="A100-SXM4-40GB", gpus=1)))
    assert codes(evidence(node=with_gpu, claim=Claim(gpu="a100-pcie-40gb", gpus=1))) == set()


def test_loopback_says_nothing_of_the_network() -> None:
    """Loss and speed over loopback are not held against a claim."""
    local = {"locality": "loopback"}
    found = evidence(
        measured("network.down", 1e6, context=local),
        measured("network.up", 1e6, context=local),
        measured("network.udp_loss", 0.2, context=local),
        measured("network.loaded_rtt", 2.0, context=local),
        measured("network.rtt", context=local),
        claim=Claim(down_bytes_per_s=1e9, up_bytes_per_s=1e9),
    )

    assert codes(found) == {"NETWORK_LOOPBACK_ONLY"}


def test_an_unknown_is_never_a_finding() -> None:
    """A probe that could read nothing raises nothing; it is not healthy either, merely unknown."""
    bare = gates.Evidence(
        node=Node(id="x", hostname="x", device_kind="cpu"),
        measurements={"matmul.fp32": dataclasses.replace(measured("matmul.fp32"), context={})},
        profile="quick",
        reference=traces.REFERENCE,
    )

    assert gates.judge(bare) == ()


def test_a_figure_beyond_physics_needs_two_attempts() -> None:
    """130 % of the peak twice is a lie or a broken clock; once it is measured again."""
    value = traces.HEALTHY["matmul.fp32"][1] * 1.3  # 0.8 x 1.3 = 104 % of the peak

    assert "matmul.fp32" in gates.doubtful(evidence(measured("matmul.fp32", value)))
    assert one(evidence(tried(measured("matmul.fp32", value), value)), "ABOVE_PHYSICS").severity == "failure"


def test_one_interrupted_reading_of_the_clock_makes_no_figure_impossible() -> None:
    """A clock probe that was preempted reads low; the fastest reading of the run counts."""
    low = measured("matmul.fp32", context={"clock_hz": 2.4e9, "clock_before_hz": 2.4e9, "clock_after_hz": 2.4e9})

    assert codes(evidence(low)) == set()


def test_a_hypervisor_may_hide_a_better_part() -> None:
    """Twice the peak of the part that is named stays possible where wider units are visible."""
    value = traces.HEALTHY["matmul.fp32"][1] * 2
    virtual = evidence(
        tried(measured("matmul.fp32", value), value),
        tried(measured("matmul.fp64", value / 2), value / 2),
        node=node(hypervisor="kvm"),
    )

    assert "ABOVE_PHYSICS" not in codes(virtual)


def test_a_history_of_three_is_needed() -> None:
    """Two earlier figures are no history."""
    value = traces.TRIAD

    assert codes(evidence(slow("memory.triad", 0.8), history=past("memory.triad", value, value))) == set()


def test_verdict_of_a_healthy_node() -> None:
    """Everything planned was measured and no limit was missed."""
    found = evidence()

    verdict, reasons = gates.verdict(gates.judge(found), found.measurements, frozenset(traces.HEALTHY))

    assert verdict == "qualified"
    assert reasons == ("17 of 17 planned figures measured, without a warning",)


def _verdict(found: gates.Evidence, *required: str) -> tuple[str, tuple[str, ...]]:
    return gates.verdict(gates.judge(found), found.measurements, frozenset(required))


def test_a_failure_disqualifies_and_is_the_reason() -> None:
    """The text of the finding, with its code."""
    verdict, reasons = _verdict(traces.of_node(memory=traces.memory(ecc_uncorrected=1)))

    assert verdict == "not_qualified"
    assert reasons == ("1 memory errors could not be corrected since boot (ECC_UNCORRECTED)",)


def test_a_failed_required_figure_leaves_the_verdict_open() -> None:
    """A crash says nothing of the node's fitness, either way."""
    verdict, reasons = _verdict(evidence(failed("disk.read", "timeout", "no answer")), "disk.read")

    assert verdict == "unknown"
    assert reasons == ("disk.read could not be measured: no answer",)


def test_a_required_figure_that_is_absent_leaves_the_verdict_open() -> None:
    """Missing is not healthy."""
    assert _verdict(evidence(), "launch.torch")[0] == "unknown"


def test_what_the_machine_cannot_have_does_not_count_against_it() -> None:
    """Skipped with a reason, as all-reduce is on one core."""
    skipped = Measurement(key="allreduce.busbw", unit="", status="skipped", reason="one core")

    assert _verdict(evidence(skipped), "allreduce.busbw")[0] == "qualified"


def test_an_interrupted_run_is_unknown() -> None:
    """Even when all that was measured is fine."""
    assert _verdict(traces.FAULTY["PARTIAL_RUN"]())[0] == "unknown"


def test_a_clock_that_disagrees_leaves_nothing_to_be_said() -> None:
    """Not a number, so not a verdict."""
    assert _verdict(traces.FAULTY["TIMER_DISAGREES"]())[0] == "unknown"


def test_a_run_that_measured_nothing_is_unknown() -> None:
    """No figures, no verdict."""
    assert gates.verdict((), {}, frozenset())[0] == "unknown"


@pytest.mark.parametrize("severity", ["info", "warning"])
def test_less_than_a_failure_does_not_disqualify(severity: Severity) -> None:
    """Warnings are told and counted."""
    finding = Finding(code="X", severity=severity, text="x", evidence={}, remedy="x")

    verdict, reasons = gates.verdict((finding,), evidence().measurements, frozenset())

    assert verdict == "qualified"
    assert ("one warning" in reasons[0]) is (severity == "warning")


def test_the_table_lists_every_code_once() -> None:
    """One row a code, five cells a row."""
    rows = gates.table().splitlines()[2:]

    assert len(rows) == len(gates.CODES)
    assert {re.match(r"\| `(\w+)`", row)[1] for row in rows} == gates.CODES.keys()  # type: ignore[index]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 6 for row in rows)


def test_the_readme_shows_the_current_table() -> None:
    """Between its markers; `python -c "from qualify import gates; print(gates.table())"` writes it anew."""
    marked = MARKED.search(README.read_text(encoding="utf-8"))

    assert marked is not None
    assert marked[1] == gates.table()
