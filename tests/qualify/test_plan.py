"""Plans: who gets how many seconds, and what cannot be planned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from kernels.device import Device
from kernels.spec import Bench, Setting, Step
from qualify import plan

DEVICE = Device(kind="cpu", index=0, name="a CPU", cpus=(0, 1), threads=2)


def nothing(setting: Setting) -> Iterator[Step]:
    return iter(())


def bench(name: str, *keys: str, quick_s: float = 6.0, startup_s: float = 1.0) -> Bench:
    return Bench(
        name=name,
        version=1,
        title=name,
        keys={"cpu": tuple(f"{name}.{key}" for key in keys)},
        open={"cpu": nothing},
        seconds={"quick": quick_s, "standard": 4 * quick_s},
        startup_s=startup_s,
    )


BENCHES = {b.name: b for b in (bench("matmul", "fp32", "fp64"), bench("memory", "triad", "copy", quick_s=11.0))}
WAIVED = Bench(
    name="hostlink",
    version=1,
    title="Host link",
    keys={"cuda": ("hostlink.h2d",)},
    open={},
    waived={"cpu": "a CPU is the host: there is no link to measure"},
)


def test_each_bench_gets_what_it_asks_for_in_proportion() -> None:
    """(40 - 1.5) x 0.9 s less 2 s of starts, over 5 + 10 s of measuring: a factor of 2.18."""
    made = plan.make(BENCHES, DEVICE, profile="quick", budget_s=40)

    factor = ((40 - 1.5) * 0.9 - 2) / 15
    assert [slot.seconds for slot in made.slots] == pytest.approx([1 + 5 * factor, 1 + 10 * factor])
    assert made.required == {"matmul.fp32", "matmul.fp64", "memory.triad", "memory.copy"}


def test_a_larger_budget_stretches_only_so_far() -> None:
    """An hour does not make a quick run an hour long."""
    made = plan.make(BENCHES, DEVICE, profile="quick", budget_s=3600)

    assert sum(slot.seconds for slot in made.slots) == 2 + 15 * plan.MAX_STRETCH


@pytest.mark.parametrize("budget_s", [0.0, 1.0, 4.4, -5.0, float("nan")])
def test_an_impossible_budget_is_refused_with_what_is_needed(budget_s: float) -> None:
    """Two benches need 1.5 + 2 x 1.5 s at least."""
    with pytest.raises(plan.PlanError, match=r"matmul, memory: they need 5 s; raise --budget or use --only"):
        plan.make(BENCHES, DEVICE, profile="quick", budget_s=budget_s)


def test_only_what_is_wanted_is_planned() -> None:
    """A key stands for itself, a bench's name for all of its keys."""
    one = plan.make(BENCHES, DEVICE, profile="quick", only=("memory.triad",))
    all_of_one = plan.make(BENCHES, DEVICE, profile="quick", only=("memory",))

    assert [slot.keys for slot in one.slots] == [("memory.triad",)]
    assert [slot.keys for slot in all_of_one.slots] == [("memory.triad", "memory.copy")]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("memory.traid", "did you mean memory.triad"), ("memroy", "did you mean memory"), ("zzz", "known are matmul, ")],
)
def test_an_unknown_key_is_refused_with_a_suggestion(name: str, hint: str) -> None:
    """A typing error costs a sentence, not a run that measures nothing."""
    with pytest.raises(plan.PlanError, match=hint):
        plan.make(BENCHES, DEVICE, profile="quick", only=(name,))


def test_what_a_cpu_does_not_have_is_waived_with_its_reason() -> None:
    """It is listed, and not required."""
    made = plan.make({**BENCHES, "hostlink": WAIVED}, DEVICE, profile="quick")

    assert made.waived == {"hostlink.h2d": "a CPU is the host: there is no link to measure"}
    assert "hostlink.h2d" not in made.required


def test_asking_for_what_is_waived_is_refused_with_the_reason() -> None:
    """The reason is the answer."""
    with pytest.raises(plan.PlanError, match="a CPU is the host"):
        plan.make({**BENCHES, "hostlink": WAIVED}, DEVICE, profile="quick", only=("hostlink.h2d",))


def test_a_bench_without_seconds_in_a_profile_is_not_run_in_it() -> None:
    """Unless it is asked for by name: then it takes the longest time it knows."""
    slow = replace(bench("stress", "sustained"), seconds={"deep": 31.0})
    benches = {**BENCHES, "stress": slow}

    assert [slot.bench.name for slot in plan.make(benches, DEVICE, profile="quick").slots] == ["matmul", "memory"]
    (slot,) = plan.make(benches, DEVICE, profile="quick", budget_s=100, only=("stress",)).slots
    assert slot.seconds == pytest.approx(min(1 + 30 * 4, 98.5 * 0.9))
