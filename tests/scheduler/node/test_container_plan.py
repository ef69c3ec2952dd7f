"""What an engine is asked for, without an engine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scheduler.node.engine import LABEL_AGENT, LABEL_TOKEN, Engine, EngineError
from scheduler.node.execution import Machine, Order, PrepareError, executors
from scheduler.node.gpus import Gpu
from scheduler.node.machine import engine_socket
from scheduler.records import JobSpec, Resources
from tests.scheduler.node.fake_engine import IMAGE, PODMAN, FakeEngine, fake_engine

CONTAINER = executors()["container"]
NAME = "registry.example/team/image:1"


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    """Docker, with one image."""
    with tempfile.TemporaryDirectory(prefix="gm") as short, fake_engine(Path(short), images={NAME: IMAGE}) as made:
        yield made


def machine(engine: FakeEngine, folder: Path, *, root: bool = True) -> Machine:
    """A node of two GPUs."""
    gpus = tuple(Gpu(uuid=f"GPU-{letter}", device=f"/dev/nvidia{n}") for n, letter in enumerate("ab"))
    return Machine(tag="n", data=folder, root=root, engine=engine.address, gpus=gpus)


def create(
    engine: FakeEngine, folder: Path, *, gpus: tuple[int, ...] = (), root: bool = True, **spec: Any
) -> dict[str, Any]:
    """The arguments for one container."""
    launch = CONTAINER.launch(machine(engine, folder, root=root), order(folder, gpus=gpus, **spec))
    made: dict[str, Any] = launch.body["create"]
    return made


def order(folder: Path, *, gpus: tuple[int, ...] = (), secrets: dict[str, str] | None = None, **spec: Any) -> Order:
    """One attempt of 1.5 CPUs and 1 GiB."""
    resources = Resources(cpu_milli=1500, memory_bytes=1 << 30)
    made = replace(JobSpec(name="j", command=("cmd", "-x"), image=NAME, resources=resources), **spec)
    for name in ("work", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    return Order(token=7, job=1, n=1, spec=made, gpus=gpus, folder=folder, secrets=secrets or {})


def test_a_container_is_shut_in_and_bounded(tmp_path: Path, engine: FakeEngine) -> None:
    """Rights, memory, CPUs, processes; its name carries the token."""
    made = create(engine, tmp_path)

    assert made["name"] == "gridmark-n-7"
    assert made["labels"] == {LABEL_AGENT: "n", LABEL_TOKEN: "7"}
    assert (made["cap_drop"], made["security_opt"]) == (["ALL"], ["no-new-privileges"])
    assert (made["mem_limit"], made["memswap_limit"]) == (1 << 30, 1 << 30)
    assert (made["nano_cpus"], made["pids_limit"]) == (1_500_000_000, 8192)
    assert {one["name"] for one in made["ulimits"]} == {"nofile", "nproc", "core"}
    assert [(one["source"], one["target"]) for one in made["mounts"]] == [
        (f"{tmp_path}/work", "/work"),
        (f"{tmp_path}/tmp", "/tmp"),
    ]
    assert (made["working_dir"], made["command"]) == ("/work", ["cmd", "-x"])
    assert (made["read_only"], "network_mode" in made, "entrypoint" in made) == (False, False, False)
    assert made["user"] == "1879048199:1879048199"  # 0x70000000 + 7


def test_a_job_may_want_less(tmp_path: Path, engine: FakeEngine) -> None:
    """No network, and a root file system that nobody can change."""
    made = create(engine, tmp_path, network=False, read_only=True, command=())

    assert (made["network_mode"], made["read_only"], made["command"]) == ("none", True, ["default"])


def test_path_and_language_are_the_image_s(tmp_path: Path, engine: FakeEngine) -> None:
    """Unless the job says otherwise."""
    assert {"PATH", "LANG", "CUDA_VISIBLE_DEVICES"} & create(engine, tmp_path)["environment"].keys() == set()
    assert create(engine, tmp_path, env={"PATH": "/x"})["environment"]["PATH"] == "/x"


def test_secrets_are_no_part_of_a_container_s_configuration(tmp_path: Path, engine: FakeEngine) -> None:
    """An engine keeps that in files; a shell inside reads them from its stdin, then becomes the program."""
    secret = order(tmp_path, secrets={"KEY": "hush"}, env={"OWN": "1"})
    body = CONTAINER.launch(machine(engine, tmp_path), secret).body

    assert "hush" not in str(body["create"])
    assert body["create"]["environment"]["OWN"] == "1"
    assert (body["create"]["entrypoint"], body["create"]["stdin_open"]) == (["/bin/sh"], True)
    assert body["create"]["command"] == ["-s", "--", "/entry", "cmd", "-x"]
    assert body["stdin"] == 'export KEY=hush\nexec "$@" </dev/null\n'


@pytest.mark.parametrize(
    ("own", "options", "root", "user"),
    [
        ("app", [], True, "app"),
        ("1000:1000", [], True, "1000:1000"),
        ("root", [], True, "1879048199:1879048199"),
        ("0:0", [], True, "1879048199:1879048199"),
        ("", ["name=rootless"], True, "0:0"),
    ],
)
def test_nobody_is_root(
    tmp_path: Path, engine: FakeEngine, own: str, options: list[str], root: bool, user: str
) -> None:
    """The image's own user, or one that is nobody else; root where that is only the engine's user."""
    engine.images[NAME] = {"Config": {"User": own}}
    engine.options = options

    assert create(engine, tmp_path, root=root)["user"] == user


def test_gpus_are_asked_for_as_each_engine_wants(tmp_path: Path, engine: FakeEngine) -> None:
    """Docker by their names, Podman by those of the Container Device Interface."""
    assert create(engine, tmp_path)["device_requests"] == []
    assert create(engine, tmp_path, gpus=(1,))["device_requests"] == [
        {"device_ids": ["GPU-b"], "capabilities": [["gpu"]]}
    ]
    engine.version = PODMAN
    assert create(engine, tmp_path, gpus=(0, 1))["device_requests"] == [
        {"driver": "cdi", "device_ids": ["nvidia.com/gpu=GPU-a", "nvidia.com/gpu=GPU-b"]}
    ]
    with pytest.raises(PrepareError, match="this node has 2"):
        create(engine, tmp_path, gpus=(2,))


def test_an_image_that_is_here_is_not_pulled(tmp_path: Path, engine: FakeEngine) -> None:
    """One that is not is, in a process of its own."""
    assert CONTAINER.preparation(machine(engine, tmp_path), order(tmp_path)) is None

    engine.images.clear()
    pull = CONTAINER.preparation(machine(engine, tmp_path), order(tmp_path))

    assert pull is not None
    assert pull.body == {"socket": engine.address, "image": NAME}


def test_its_own_containers_are_found_and_removed(tmp_path: Path, engine: FakeEngine) -> None:
    """By label and by name."""
    engine.containers = [{"Labels": {LABEL_TOKEN: "7"}}, {"Labels": {LABEL_TOKEN: "x"}}, {"Labels": None}]

    assert CONTAINER.tokens(machine(engine, tmp_path)) == {7}
    CONTAINER.clean(machine(engine, tmp_path), 7)

    assert "gridmark.agent%3Dn" in engine.asked[0]
    assert engine.asked[-1] == "DELETE /containers/gridmark-n-7?force=true&v=true"


@pytest.mark.parametrize("address", ["tcp://10.0.0.1:2375", "ssh://host", "unix://relative", ""])
def test_an_engine_elsewhere_is_refused(address: str) -> None:
    """It could not mount the job's folder."""
    with pytest.raises(EngineError, match="expected an engine on this machine"):
        Engine(address)


def test_the_engine_is_where_the_environment_says(tmp_path: Path, engine: FakeEngine) -> None:
    """Or in the user's own place."""
    assert engine_socket({"DOCKER_HOST": "unix:///x"}) == "unix:///x"
    (tmp_path / "podman").mkdir()
    folder = Path(engine.address.removeprefix("unix://")).parent
    (folder / "docker.sock").symlink_to(folder / "e.sock")
    assert engine_socket({"XDG_RUNTIME_DIR": str(folder)}) == f"unix://{folder}/docker.sock"
    assert engine_socket({"XDG_RUNTIME_DIR": str(tmp_path)}) is None
