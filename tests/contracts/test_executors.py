"""What every executor must keep, found by the scan that the agent uses: a new file is tested without editing a test."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from qualify.registry import load
from scheduler.node import executors as package
from scheduler.node.execution import Executor, Machine, Order, PrepareError, executor_of, executors
from scheduler.node.machine import probe
from scheduler.records import JobSpec
from tests.scheduler.node.fake_engine import IMAGE, fake_engine

EXECUTORS: dict[str, Executor] = load(package, "EXECUTOR")
VALUE = "hush-4711"  #: of a secret
#: packages that an agent is not to load before a job needs them
HEAVY = ("docker", "ray", "torch", "numpy", "psutil", "requests")

every = pytest.mark.parametrize("executor", EXECUTORS.values(), ids=EXECUTORS)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """This one, with an agent's folder of its own and an engine that answers."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(tmp_path)}
    with (
        tempfile.TemporaryDirectory(prefix="gm") as short,
        fake_engine(Path(short), images={"localhost/any:1": IMAGE}) as engine,
    ):
        found = probe({**environment, "DOCKER_HOST": engine.address}, tag="contract", data=tmp_path)
        yield found
        for name in found.groups.names():
            if name.startswith("contract-"):
                found.groups.remove(name)


def order(folder: Path, executor: Executor, **spec: object) -> Order:
    """One attempt that the executor is for."""
    image = None if executor.name == "process" else "localhost/any:1"
    made = JobSpec(name="j", command=("true",), image=image, secrets=("SECRET",), env={"OWN": "own"})
    for name in ("work", "tmp"):
        (folder / "attempts" / "7" / name).mkdir(parents=True)
    return Order(
        token=7,
        job=1,
        n=1,
        spec=replace(made, **spec),  # type: ignore[arg-type]
        gpus=(),
        folder=folder / "attempts" / "7",
        secrets={"SECRET": VALUE},
    )


def test_every_file_in_the_folder_is_an_executor() -> None:
    """And the agent knows the same ones."""
    files = {module.name for module in pkgutil.iter_modules(package.__path__)}

    assert files == set(EXECUTORS) == set(executors())
    assert {"process", "container"} <= files


def test_a_job_s_executor_is_found_by_its_image() -> None:
    """A command of the node, or an image's."""
    assert executor_of(JobSpec(name="j", command=("true",))) == "process"
    assert executor_of(JobSpec(name="j", command=("true",), image="i")) == "container"


@every
def test_it_says_whether_it_can_be_used_in_one_sentence(executor: Executor, machine: Machine) -> None:
    """None, or a reason with no line break in it."""
    reason = executor.available(machine)

    assert reason is None or (reason and "\n" not in reason)


@every
def test_a_bare_machine_never_makes_it_raise(executor: Executor, tmp_path: Path) -> None:
    """No engine, no bubblewrap, no control groups: it says so, and finds nothing of its own."""
    bare = Machine(tag="contract", data=tmp_path)

    reason = executor.available(bare)

    assert reason is None or "\n" not in reason
    executor.clean(bare, 7)


@every
@pytest.mark.parametrize("name", ["A-B", "1A", "", "A=B", "UID"])
def test_an_environment_that_no_job_can_have_is_refused(
    executor: Executor, machine: Machine, tmp_path: Path, name: str
) -> None:
    """Before anything is fetched."""
    with pytest.raises(PrepareError, match="cannot be set"):
        executor.check(machine, order(tmp_path, executor, env={name: "x"}))


@every
def test_a_secret_is_in_nothing_that_is_printed(executor: Executor, machine: Machine, tmp_path: Path) -> None:
    """Neither the order nor the launch shows it; the launch may hold it, for it goes through a pipe."""
    made = order(tmp_path, executor)
    launch = executor.launch(machine, made)

    assert VALUE not in repr(made)
    assert VALUE not in repr(launch)
    assert VALUE in json.dumps(launch.body)
    assert VALUE not in json.dumps([*launch.interpreter, str(launch.program), dict(launch.environment)])


@every
def test_a_launch_names_a_program_of_ours_and_plain_data(executor: Executor, machine: Machine, tmp_path: Path) -> None:
    """What goes through the pipe is JSON."""
    launch = executor.launch(machine, order(tmp_path, executor))

    assert launch.program.is_file()
    assert json.loads(json.dumps(launch.body)).keys() == launch.body.keys()


@every
def test_cleaning_what_is_not_there_is_no_error(executor: Executor, machine: Machine) -> None:
    """An agent cleans up after agents that were killed."""
    executor.clean(machine, 7)
    executor.clean(machine, 7)

    if executor.available(machine) is None:
        assert 7 not in executor.tokens(machine)


def test_loading_them_all_is_light() -> None:
    """An agent holds at most 60 MiB; what an executor needs besides is loaded when a job does."""
    script = (
        "import sys\nfrom scheduler.node.execution import executors\nexecutors()\n"
        f"print(sorted({set(HEAVY)!r} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[2])

    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
