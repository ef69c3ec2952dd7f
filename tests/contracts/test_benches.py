"""What every benchmark must keep, found by the scan that the run uses: a new file is tested without editing a test."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

import kernels.benches
from kernels.spec import Bench, Case, DeviceKind, Observed, Profile, Setting, Skip, Step, Unit, passes
from qualify.registry import load
from tests.kernels.devices import small_device, small_setting

BENCHES: dict[str, Bench] = load(kernels.benches, "BENCH")
PROFILES: tuple[Profile, ...] = get_args(Profile)
KINDS: tuple[DeviceKind, ...] = get_args(DeviceKind)
UNITS: tuple[Unit, ...] = get_args(Unit)
#: loaded by a benchmark when it is opened, never before: every command scans the folder
HEAVY = ("torch", "numba", "numpy", "llvmlite", "cupy", "psutil", "iperf3", "pynvml")

#: figures that a device with a single thread has no case for
WITH_MORE_THREADS = {"allreduce.pair"}

every = pytest.mark.parametrize("bench", BENCHES.values(), ids=BENCHES)
opened_on_cpu = pytest.mark.parametrize(
    "bench", [bench for bench in BENCHES.values() if "cpu" in bench.open], ids=lambda bench: bench.name
)


def profile_of(bench: Bench) -> Profile:
    """The shortest profile the benchmark runs in."""
    return next(profile for profile in PROFILES if profile in bench.seconds)


def steps(bench: Bench, *only: str, folder: Path) -> Iterator[Step]:
    """The steps for these keys on a small device; each is valid until the next is asked for."""
    device = replace(small_device(), memory_bytes=2 << 30)
    setting = small_setting(*only, device=device, profile=profile_of(bench), workdir=folder)
    yield from bench.open["cpu"](setting)


def keys_of(step: Step) -> tuple[str, ...]:
    """All that a step will report."""
    if isinstance(step, Case):
        return (step.key, *(reading.key for reading in step.also))
    return step.keys if isinstance(step, Observed) else (step.key,)


@pytest.fixture(scope="module", autouse=True)
def small_memory() -> Iterator[None]:
    """A chase through 8 MiB instead of 256, so that opening costs nothing."""
    from kernels.benches import memlatency

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memlatency, "DRAM_LEAST_BYTES", 8 << 20)
        yield


@every
def test_its_name_is_its_files(bench: Bench) -> None:
    """A figure's key leads to the one file that measures it."""
    module = importlib.import_module(f"kernels.benches.{bench.name}")

    assert module.BENCH is bench


@every
def test_keys_begin_with_its_name_and_are_its_own(bench: Bench) -> None:
    """`<bench>.<case>`, in small letters, none twice."""
    for kind, keys in bench.keys.items():
        assert keys, f"no key on {kind}"
        assert len(set(keys)) == len(keys)
        for key in keys:
            head, dot, case = key.partition(".")
            assert (head, dot) == (bench.name, ".")
            assert case.replace("_", "a").replace("-", "a").isalnum()
            assert case == case.lower()


@every
@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_device_is_opened_or_waived_with_a_reason(bench: Bench, kind: DeviceKind) -> None:
    """Never both; on a CPU never neither; a kind that is not named at all has no such figure yet."""
    opened, waived = kind in bench.open, kind in bench.waived

    assert not (opened and waived)
    assert opened or waived or kind != "cpu"
    assert opened == (kind in bench.keys)
    if waived:
        assert len(bench.waived[kind]) > 5


@every
def test_version_title_and_times_make_sense(bench: Bench) -> None:
    """A version that can be raised, a title without a full stop, more time in longer profiles."""
    assert bench.version >= 1
    assert bench.title
    assert not bench.title.endswith(".")
    assert bench.startup_s >= 0
    if bench.open:
        assert bench.seconds, "it is never run"
    lengths = [bench.seconds[profile] for profile in PROFILES if profile in bench.seconds]
    assert all(length > 0 for length in lengths)
    assert lengths == sorted(lengths)


@every
def test_nothing_heavy_is_imported_by_its_file(bench: Bench) -> None:
    """Read from the source: what it needs is imported when it is opened."""
    tree = ast.parse(Path(str(importlib.import_module(f"kernels.benches.{bench.name}").__file__)).read_text())
    guarded = [node for block in tree.body if isinstance(block, ast.If) for node in ast.walk(block)]
    loaded = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            loaded |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            loaded.add(str(node.module).partition(".")[0])

    assert not loaded & set(HEAVY)
    assert not any(isinstance(node, ast.Call) for node in guarded)


def test_the_scan_loads_nothing_heavy() -> None:
    """Nor do the modules their files import: a fresh process scans the folder and looks at what was loaded."""
    code = (
        "import sys, kernels.benches\n"
        "from qualify.registry import load\n"
        "load(kernels.benches, 'BENCH')\n"
        f"print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == ""


@dataclass(frozen=True)
class Survey:
    """What a benchmark yielded when it was opened for all its keys, and what came of one call of each variant."""

    steps: tuple[Step, ...]
    unchecked: tuple[str, ...]  #: variants that have no check
    total_share: float  #: as the benchmark tells it


@pytest.fixture(scope="module")
def surveys(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Bench], Survey]:
    """Opens each benchmark once; a variant is called and checked while its step is valid."""

    @cache
    def survey(name: str) -> Survey:
        bench, folder = BENCHES[name], tmp_path_factory.mktemp(name)
        found: list[Step] = []
        unchecked = []
        for step in steps(bench, folder=folder):
            found.append(step)
            for variant in step.variants if isinstance(step, Case) else ():
                variant.call()
                variant.check()
                if variant.check is passes:
                    unchecked.append(variant.label)
        return Survey(tuple(found), tuple(unchecked), bench.total_share(setting_for(bench, folder)))

    return lambda bench: survey(bench.name)


@opened_on_cpu
def test_every_key_is_yielded_and_no_other(bench: Bench, surveys: Callable[[Bench], Survey]) -> None:
    """Opened for all keys: each is measured, or skipped with a reason; the headline always."""
    found = {key for step in surveys(bench).steps for key in keys_of(step)}

    assert found <= set(bench.keys["cpu"])
    assert set(bench.keys["cpu"]) - found <= WITH_MORE_THREADS
    assert bench.keys["cpu"][0] in found
    assert all(step.reason for step in surveys(bench).steps if isinstance(step, Skip))


@opened_on_cpu
def test_cases_are_well_formed(bench: Bench, surveys: Callable[[Bench], Survey]) -> None:
    """Known units, a value of the declared work in each, labels of their own, an axis only for a sweep."""
    for case in surveys(bench).steps:
        if not isinstance(case, Case):
            continue
        labels = [variant.label for variant in case.variants]
        assert {case.unit, *(reading.unit for reading in case.also)} <= set(UNITS)
        assert all(variant.work.value(case.unit, 1.0) > 0 for variant in case.variants)
        assert all(reading.work.value(reading.unit, 1.0) > 0 for reading in case.also)
        assert labels
        assert len(set(labels)) == len(labels)
        assert (case.at is None) == (case.axis == "")
        assert len(case.variants) == 1 or not case.also


@opened_on_cpu
def test_shares_add_up(bench: Bench, surveys: Callable[[Bench], Survey]) -> None:
    """The run divides a benchmark's time by the total it tells: what is yielded must not ask for more."""
    shares = [step.share for step in surveys(bench).steps if not isinstance(step, Skip)]

    assert all(share >= 0 for share in shares)
    assert sum(shares) <= surveys(bench).total_share + 1e-9


@opened_on_cpu
def test_results_are_checked(bench: Bench, surveys: Callable[[Bench], Survey]) -> None:
    """No case does without a check, and after a healthy call every check passes (else the survey has failed)."""
    assert surveys(bench).unchecked == ()


@opened_on_cpu
def test_only_what_is_wanted_is_yielded(bench: Bench, tmp_path: Path) -> None:
    """Opened for one key at a time: that key and nothing else, not even set up."""
    for key in bench.keys["cpu"]:
        found = {found for step in steps(bench, key, folder=tmp_path) for found in keys_of(step)}

        assert found <= {key}
        assert found == {key} or key in WITH_MORE_THREADS


@opened_on_cpu
def test_a_key_of_another_bench_opens_nothing(bench: Bench, tmp_path: Path) -> None:
    """No step."""
    assert list(steps(bench, "nothing.else", folder=tmp_path)) == []


@opened_on_cpu
def test_closing_early_leaves_nothing_behind(bench: Bench, tmp_path: Path) -> None:
    """After the first step: no file, no thread of ours, no child, the CPU mask as before."""
    import threading

    import psutil

    mask, threads = os.sched_getaffinity(0), set(threading.enumerate())
    children = set(psutil.Process().children(recursive=True))

    generator = bench.open["cpu"](setting_for(bench, tmp_path))
    next(generator)
    generator.close()  # type: ignore[attr-defined]

    assert os.sched_getaffinity(0) == mask
    assert {thread for thread in threading.enumerate() if thread.is_alive()} <= threads
    assert set(psutil.Process().children(recursive=True)) <= children
    assert list(tmp_path.iterdir()) == []


def setting_for(bench: Bench, folder: Path) -> Setting:
    """All keys on a small device."""
    return small_setting(
        device=replace(small_device(), memory_bytes=2 << 30), profile=profile_of(bench), workdir=folder
    )
