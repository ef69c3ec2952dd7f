"""The programs behind `make gpu-bench` and its kin: time, processes that crash, files, exit codes; nothing measured."""

from __future__ import annotations

import io
import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from qualify import codec
from qualify.records import Measurement, Report
from tests.gpu.bench import __main__ as bench
from tests.gpu.bench import child, command, deliver, goals, profiles, repeat, samples
from tests.gpu.bench.command import Ran, qualify
from tests.gpu.bench.parts import PARTS
from tests.gpu.bench.rows import Goal, PeerError, Row, limit, skipped
from tests.gpu_peers.built import DEVICE

SAMPLE = Path(__file__).parent.parent.parent / "reports/samples/cpu-quick.json"
ABOUT = {"driver": "580.1", "cuda": "13.0", "date": "2026-01-02"}
GOOD = limit("memory.copy", "torch copy", 2.0, 1.0, "B/s", Goal(low=0.99))
BAD = limit("memory.copy", "torch copy", 0.5, 1.0, "B/s", Goal(low=0.99))


@pytest.fixture(scope="module")
def report() -> Report:
    """One that was really made."""
    return codec.loads(SAMPLE.read_text())


def ran(report: Report, wall_s: float = 40.0) -> Ran:
    return Ran(report, codec.dumps(report), wall_s)


def script(text: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", text)


def test_time_is_shared_by_what_is_asked_for() -> None:
    """All five: at most what a part asks for; in half the time half of it; a part alone gets no more than it asked."""
    names = list(PARTS)
    asked = sum(part.seconds for part in PARTS.values())
    starts = bench.STARTUP_S * len(names)

    assert bench.allotted(names, starts + 10 * asked) == PARTS["matmul"].seconds
    assert bench.allotted(names, starts + asked / 2) == pytest.approx(PARTS["matmul"].seconds / 2)
    assert bench.allotted(["memory"], 1e6) == PARTS["memory"].seconds
    assert bench.allotted(names, 0.0) == 0.0


def test_everything_fits_into_nine_minutes() -> None:
    """What the parts ask for, their starts, the report; and the repeats, and both profiles."""
    assert bench.WITHIN_S < 540
    assert sum(part.seconds + bench.STARTUP_S for part in PARTS.values()) + bench.REPORT_S + bench.GRACE_S < 600
    assert repeat.RUNS * repeat.BUDGET_S < repeat.WITHIN_S < 540
    assert sum(goals.PROFILES.values()) * goals.OVERRUN < profiles.WITHIN_S < 540


def test_later_parts_get_what_earlier_ones_left() -> None:
    """Each in its order; a part that takes nothing leaves its seconds."""
    asked: list[tuple[str, float]] = []

    def run(name: str, seconds: float, rounds: int) -> list[Row]:
        asked.append((name, seconds))
        return [GOOD]

    within_s = bench.STARTUP_S * 2 + 100
    found = bench.compared(DEVICE, ["memory", "hostlink"], rounds=1, within_s=within_s, now=lambda: 0.0, run=run)

    assert found == {"memory": [GOOD], "hostlink": [GOOD]}
    assert asked == [("memory", 50.0), ("hostlink", 60.0)]


def test_the_rows_of_a_part_come_from_a_process_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Part, seconds, rounds and keys are its arguments; words of libraries are passed on."""
    text = (
        "import sys; sys.path.insert(0, '.')\n"
        "from tests.gpu.bench.rows import skipped\nfrom tests.gpu.bench.child import encode\n"
        "print('NCCL says hello')\nprint(encode(skipped(' '.join(sys.argv[1:]), 'x', 'y')))"
    )
    found = bench.run_part("memory", 1.0, 2, ["k"], command=(sys.executable, "-c", text))

    assert found == [skipped("memory 1.0 2 k", "x", "y")]
    assert "NCCL says hello" in capsys.readouterr().err


def test_a_part_that_crashes_keeps_what_it_had() -> None:
    """A row, then the end: the row stays, and one says how it ended."""
    line = json.dumps({"key": "k", "against": "x", "reason": "y", "ratios": [], "goal": None})
    crash = f"import os; print({line!r}, flush=True); os.write(2, b'illegal address\\n'); os.abort()"

    found = bench.run_part("memory", 1.0, 1, command=script(crash))

    assert found == [skipped("k", "x", "y"), skipped("memory", "", "ended with -6: illegal address")]


def test_a_part_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its seconds, its start and the grace."""
    monkeypatch.setattr(bench, "STARTUP_S", 0.0)
    monkeypatch.setattr(bench, "GRACE_S", 0.1)

    (row,) = bench.run_part("memory", 0.0, 1, command=script("import time; time.sleep(60)"))

    assert row.reason == "not done after 0 s"


def test_a_known_part_is_held_against_its_rates() -> None:
    """800 of 770 TFLOP/s on an H100 SXM; nothing on another; seconds are no rate."""
    h100 = replace(DEVICE, name="NVIDIA H100 80GB HBM3")
    fast = limit("matmul.bf16", "torch", 800e12, 790e12, "FLOP/s", Goal(low=1.0))
    slow = limit("matmul.bf16", "time to the first", 9.0, 20.0, "s", Goal(high=1.0))

    (row,) = bench.fixed(h100, [fast, slow])

    assert (row.against, row.reached) == ("known of this part", True)
    assert row.ratio == pytest.approx(800 / 770)
    assert bench.fixed(DEVICE, [fast]) == []
    assert bench.fixed(h100, [slow]) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bogus"], "no part bogus; known are matmul"),
        (["--rounds", "0"], "--rounds wants at least 1"),
        (["--search", "0"], "more than 0 seconds"),
        (["--only", "matmul.fp16"], "--only goes with --search"),
        (["--search", "9", "memory"], "compares no other part"),
    ],
)
def test_what_cannot_be_asked_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With exit code 2."""
    with pytest.raises(SystemExit) as ended:
        bench.arguments(words)

    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_the_one_that_looks_says_why_there_is_no_gpu(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one sentence, with exit code 3; where there is one, it is told whole."""
    monkeypatch.setattr(child, "die_with_parent", lambda: None)
    nothing = {"driver": lambda: False, "runtime": None, "pci": Path()}
    with monkeypatch.context() as patch:
        patch.setattr("kernels.cuda.device.find.__kwdefaults__", nothing)
        assert child.main(["device"]) == 3
    assert capsys.readouterr() == (
        "",
        "no GPU can be used: libcuda.so.1 of NVIDIA's driver was not found; run it on a machine with an NVIDIA GPU\n",
    )

    monkeypatch.setattr("kernels.cuda.device.find", lambda: (DEVICE, replace(DEVICE, index=1)))
    assert child.main(["device"]) == 0
    found = capsys.readouterr().out
    monkeypatch.setattr(deliver, "FIND", script(f"print({found!r})"))
    assert deliver.first_gpu("gpu-bench") == DEVICE


@pytest.mark.parametrize("program", [bench.main, repeat.main, profiles.main])
def test_without_a_gpu_the_answer_is_one_sentence(
    program: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3, nothing on stdout."""
    monkeypatch.setattr(deliver, "FIND", script("raise SystemExit('no GPU can be used: none')"))

    assert program([]) == 3

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.endswith(": no GPU can be used: none\n")
    assert said.err.count("\n") == 1


def test_all_parts_are_run_kept_and_printed(
    tmp_path: Path, report: Report, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is the last word; the files hold ratios, driver, CUDA and date; a missed goal is exit code 1."""
    monkeypatch.setattr(bench, "first_gpu", lambda program: DEVICE)
    monkeypatch.setattr(bench, "run_part", lambda name, *_: [replace(BAD if name == "memory" else GOOD, key=name)])
    monkeypatch.setattr(bench, "qualify", lambda *_, budget_s: ran(report))
    monkeypatch.setattr(samples, "about", lambda device: ABOUT)
    monkeypatch.setattr(samples.keep_report, "__defaults__", (tmp_path,))
    monkeypatch.setattr(deliver.deliver, "__kwdefaults__", {"about": None, "folder": tmp_path})

    assert bench.main([]) == 1

    table = capsys.readouterr().out.strip().splitlines()
    assert table[0].startswith("NVIDIA Emulated 1, driver 580.1, CUDA 13.0, 2026-01-02; kept in ")
    assert [line.split()[0] for line in table[2:]] == [*PARTS, "profile.quick", "profile.quick"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bench-nvidia-emulated-1.json",
        "nvidia-emulated-1.html",
        "nvidia-emulated-1.json",
    ]
    assert codec.loads((tmp_path / "nvidia-emulated-1.json").read_text()) == report
    assert report.id in (tmp_path / "nvidia-emulated-1.html").read_text()
    kept = json.loads((tmp_path / "bench-nvidia-emulated-1.json").read_text())
    assert kept["memory"]["driver"] == "580.1"
    assert kept["memory"]["rows"][0]["ratio"] == 0.5
    assert kept["memory"]["rows"][0]["reached"] is False


def test_a_gpu_s_name_becomes_part_of_a_file_s() -> None:
    """Letters and digits; never empty."""
    assert samples.slug("NVIDIA GeForce RTX 4090") == "nvidia-geforce-rtx-4090"
    assert samples.slug("NVIDIA H100 80GB HBM3 (MIG 1g.10gb)") == "nvidia-h100-80gb-hbm3-mig-1g-10gb"
    assert samples.slug("--") == "gpu"


def test_a_part_that_is_not_run_keeps_its_rows(tmp_path: Path) -> None:
    """Each with the date it was run on; a file that is no JSON is begun anew."""
    path = tmp_path / "bench-a-gpu.json"
    path.write_text("{")
    samples.keep_rows("memory", [GOOD], {"date": "first"}, "A GPU", tmp_path)
    samples.keep_rows("repeat", [BAD], {"date": "second"}, "A GPU", tmp_path)

    kept = json.loads(path.read_text())
    assert {part: found["date"] for part, found in kept.items()} == {"memory": "first", "repeat": "second"}


@pytest.mark.parametrize(
    ("rows", "code"), [([GOOD], 0), ([GOOD, skipped("k", "", "why")], 0), ([GOOD, BAD], 1), ([], 1)]
)
def test_the_exit_code_says_whether_goals_are_reached(rows: list[Row], code: int, tmp_path: Path) -> None:
    """A skipped row is none that was missed; no row at all is no success."""
    assert deliver.deliver(DEVICE, {"memory": rows}, out=io.StringIO(), about=ABOUT, folder=tmp_path) == code


def test_what_is_said_of_the_device_stands_without_nvml() -> None:
    """Names, versions, date, commit; unknown is None."""
    found = samples.about(DEVICE)

    assert found["gpu"] == DEVICE.name
    assert {"driver", "cuda", "torch", "date", "commit"} <= set(found)


def test_what_is_said_of_the_device_stands_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the files on a bare machine: minutes of figures are not lost for a name."""
    monkeypatch.setenv("PATH", "")

    assert samples.about(DEVICE)["commit"] == ""


def test_the_command_s_report_and_time_are_read(report: Report, tmp_path: Path) -> None:
    """What it prints is the report; it is asked for the GPU, JSON and nothing kept."""
    text = f"import sys; sys.stderr.write(' '.join(sys.argv[1:])); print(open({str(SAMPLE)!r}).read())"
    found = qualify("--profile", "quick", budget_s=45, program=("-S", "-c", text))

    assert found.report == report
    assert 0 < found.wall_s < 45
    with pytest.raises(PeerError, match=r"printed no report \(qualify --device cuda --json --no-keep --only k\)"):
        qualify("--only", "k", budget_s=1, program=("-S", "-c", "import sys; sys.stderr.write(' '.join(sys.argv[1:]))"))


def test_a_command_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """After twice its budget and the grace."""
    monkeypatch.setattr(command, "GRACE_S", 0.1)

    with pytest.raises(PeerError, match="did not end within 0 s"):
        qualify(budget_s=0.0, program=("-S", "-c", "import time; time.sleep(60)"))


def test_a_profile_has_two_limits(report: Report) -> None:
    """45 s from the shell's side, and 105 % of the budget by the run's own clock."""
    late = ran(replace(report, budget_s=45.0, lasted_s=47.5), wall_s=44.0)

    wanted, most = profiles.rows_of("quick", late)

    assert (wanted.theirs, wanted.reached) == (45.0, True)
    assert most.theirs == pytest.approx(47.25)
    assert most.reached is False


def test_a_profile_without_time_is_skipped(report: Report) -> None:
    """250 s gone by then: 315 do not fit into 520. What failed has its reason, and the report of the other is kept."""
    kept: list[Ran] = []
    clock = itertools.count(step=250)

    rows = profiles.profiles(
        ["quick", "standard"], now=lambda: float(next(clock)), run=lambda name: ran(report), keep=kept.append
    )

    assert [row.key for row in rows] == ["profile.quick", "profile.quick", "profile.standard"]
    assert rows[-1].reason == "no time left for its 300 s"
    assert len(kept) == 1
    (row,) = profiles.profiles(["quick"], now=lambda: 0.0, run=raising(PeerError("no report")), keep=kept.append)
    assert row.reason == "no report"


def raising(error: Exception) -> Callable[[str], Ran]:
    def run(name: str) -> Ran:
        raise error

    return run


def measurement(key: str, value: float | None, reason: str | None = None) -> Measurement:
    return Measurement(key=key, unit="B/s", status="skipped" if value is None else "ok", value=value, reason=reason)


def test_the_variation_is_that_of_the_figures(report: Report) -> None:
    """99, 100 and 101: a standard deviation of 1 in 100, beside 0.2 %."""
    values = iter([99.0, 100.0, 101.0])

    def run() -> Ran:
        return ran(replace(report, measurements=(measurement("memory.triad", next(values)),)))

    seen = repeat.repeated(["memory.triad", "hostlink.h2d"], runs=3, within_s=100.0, now=lambda: 0.0, run=run)
    row = repeat.variation("memory.triad", seen["memory.triad"])

    assert row.ours == pytest.approx(0.01)
    assert (row.against, row.theirs, row.reached) == ("CV of 3 runs", 0.002, False)
    assert repeat.variation("hostlink.h2d", seen["hostlink.h2d"]).reason == "not in the report"


def test_a_figure_that_is_skipped_has_no_variation(report: Report) -> None:
    """Its reason stands in the row; two figures say nothing of a spread."""
    part = ran(replace(report, measurements=(measurement("memory.triad", None, "no memory"),)))

    assert repeat.values(part, ["memory.triad"]) == {"memory.triad": "no memory"}
    assert repeat.variation("memory.triad", ["no memory"] * 9).reason == "no memory"
    assert repeat.variation("memory.triad", [1.0, 1.0]).reason == "2 runs say nothing of their spread"


def test_repeats_end_with_the_time_and_after_two_failures(report: Report) -> None:
    """Runs of a second: in 3.5 s three; a command that prints no report is not run twenty times."""
    clock = itertools.count(step=0.5)  # one look before a run, one after it
    seen = repeat.repeated(["k"], runs=20, within_s=3.0, now=lambda: float(next(clock)), run=lambda: ran(report))

    assert len(seen["k"]) == 3
    failed = repeat.repeated(["k"], runs=20, within_s=9e9, now=lambda: 0.0, run=lambda: raising(PeerError("x"))("k"))
    assert failed == {"k": ["x", "x"]}


@pytest.mark.parametrize(("capability", "product"), [((9, 0), "matmul.bf16"), ((7, 5), "matmul.fp16")])
def test_the_product_repeated_is_one_that_the_gpu_has(capability: tuple[int, int], product: str) -> None:
    """And every figure has its bound."""
    found = repeat.keys(replace(DEVICE, capability=capability))

    assert found[0] == product
    assert set(found) <= set(goals.VARIATION)
