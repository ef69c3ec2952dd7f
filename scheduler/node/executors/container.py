"""Runs a job in a container of Docker or Podman: its image, nothing of the node but its folder and its GPUs."""

from __future__ import annotations

import importlib.util
import os
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scheduler.node import container, container_pull, sandbox
from scheduler.node.engine import LABEL_AGENT, LABEL_TOKEN, Engine, EngineError, is_podman
from scheduler.node.execution import Machine, Order, PrepareError, environment
from scheduler.node.supervised import Launch

WORK = "/work"
OPEN_FILES_MAX = 65536
PROCESSES_MAX = 8192
INTERPRETER = ("-E", "-P")  #: with the environment's packages, without the folder of the program


class ContainerExecutor:
    """No new privileges, no capabilities, an ordinary user, bounded memory, CPUs and processes."""

    name = "container"

    def available(self, machine: Machine) -> str | None:
        """See Executor."""
        if machine.engine is None:
            return "no socket of Docker or Podman was found; start one, or name it in DOCKER_HOST"
        if importlib.util.find_spec("docker") is None:
            return "needs the package docker; pip install 'gridmark[containers]'"
        try:
            Engine(machine.engine).version()
        except EngineError as error:
            return str(error)
        return None

    def check(self, machine: Machine, order: Order) -> None:
        """See Executor."""
        if order.spec.image is None:
            raise PrepareError("a container needs an image")
        _environment(machine, order)

    def preparation(self, machine: Machine, order: Order) -> Launch | None:
        """Pull the image, unless it is here."""
        if self._image(machine, order) is not None:
            return None
        body = {"socket": machine.engine, "image": order.spec.image}
        return _launch(container_pull.__file__, body)

    def launch(self, machine: Machine, order: Order) -> Launch:
        """See Executor."""
        image = self._image(machine, order)
        if image is None:
            raise PrepareError(f"the image {order.spec.image} is gone again")
        try:
            plan = _create(machine, order, image)
        except EngineError as error:
            raise PrepareError(str(error)) from error
        # secrets go through stdin to a shell: what is in a container's configuration is in the engine's files
        walled = bool(order.secrets)
        if walled:
            plan["command"] = ["-s", "--", *(image["Config"].get("Entrypoint") or ()), *plan["command"]]
            plan["entrypoint"] = ["/bin/sh"]
            plan["stdin_open"] = True
        given = _environment(machine, order)
        plan["environment"] = {name: value for name, value in given.items() if name not in order.secrets}
        body = {
            "socket": machine.engine,
            "create": plan,
            "stdin": sandbox.script(order.secrets) if walled else "",
            "stop_signal": image["Config"].get("StopSignal") or "SIGTERM",
        }
        return _launch(container.__file__, body)

    def clean(self, machine: Machine, token: int) -> None:
        """See Executor."""
        if machine.engine is not None:
            try:
                Engine(machine.engine).remove(_name(machine, token))
            except EngineError:
                return  # it is found by its label when the engine is back and an agent starts

    def tokens(self, machine: Machine) -> frozenset[int]:
        """See Executor."""
        assert machine.engine is not None  # noqa: S101 - only asked where it is available
        try:
            return Engine(machine.engine).tokens(machine.tag)
        except EngineError:
            return frozenset()

    def _image(self, machine: Machine, order: Order) -> Mapping[str, Any] | None:
        assert machine.engine is not None  # noqa: S101
        assert order.spec.image is not None  # noqa: S101
        try:
            return Engine(machine.engine).image(order.spec.image)
        except EngineError as error:
            raise PrepareError(str(error)) from error


def _create(machine: Machine, order: Order, image: Mapping[str, Any]) -> dict[str, Any]:
    """The SDK's arguments, as plain values."""
    assert machine.engine is not None  # noqa: S101
    engine = Engine(machine.engine)
    wanted = order.spec.resources
    open_files = min(OPEN_FILES_MAX, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    for folder in (order.work, order.temporary):
        _open_to_all(folder)
    plan: dict[str, Any] = {
        "image": order.spec.image,
        "command": list(order.spec.command) or list(image["Config"].get("Cmd") or ()),
        "name": _name(machine, order.token),
        "labels": {LABEL_AGENT: machine.tag, LABEL_TOKEN: str(order.token)},
        "mounts": [
            {"source": str(order.work), "target": WORK},
            {"source": str(order.temporary), "target": "/tmp"},  # noqa: S108 - the attempt's own
        ],
        "working_dir": WORK,
        "user": _user(machine, order, image, rootless=engine.is_rootless()),
        "mem_limit": wanted.memory_bytes,
        "memswap_limit": wanted.memory_bytes,
        "nano_cpus": wanted.cpu_milli * 1_000_000,
        "pids_limit": PROCESSES_MAX,
        "ulimits": [
            {"name": "nofile", "soft": open_files, "hard": open_files},
            {"name": "nproc", "soft": PROCESSES_MAX, "hard": PROCESSES_MAX},
            {"name": "core", "soft": 0, "hard": 0},
        ],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "read_only": order.spec.read_only,
        "device_requests": _gpus(machine, order, podman=is_podman(engine.version())),
        "oom_score_adj": 500,
    }
    if not order.spec.network:
        plan["network_mode"] = "none"
    if machine.engine_runtime is not None:
        plan["runtime"] = machine.engine_runtime
    return plan


def _environment(machine: Machine, order: Order) -> dict[str, str]:
    """PATH and language are the image's; which GPUs it sees is the engine's to say."""
    given = environment(machine, order, home=WORK, temporary="/tmp")  # noqa: S108
    ours = {"PATH", "LANG", "CUDA_VISIBLE_DEVICES"} - order.spec.env.keys() - order.secrets.keys()
    return {name: value for name, value in given.items() if name not in ours}


def _user(machine: Machine, order: Order, image: Mapping[str, Any], *, rootless: bool) -> str:
    """The image's own user, unless that is root: then one that is nobody else."""
    own = str(image["Config"].get("User") or "")
    if own.partition(":")[0] not in ("", "0", "root"):
        return own
    if rootless:
        return "0:0"  # outside it is the engine's user, who has no more rights than the agent
    user = sandbox.user_of(order.token) if machine.root else os.getuid()
    return f"{user}:{user}"


def _gpus(machine: Machine, order: Order, *, podman: bool) -> list[dict[str, Any]]:
    names = [machine.gpus[index].uuid for index in order.gpus if index < len(machine.gpus)]
    if len(names) < len(order.gpus):
        raise PrepareError(f"the job was given the GPUs {order.gpus}, and this node has {len(machine.gpus)}")
    if not names:
        return []
    if podman:
        return [{"driver": "cdi", "device_ids": [f"nvidia.com/gpu={name}" for name in names]}]
    return [{"device_ids": names, "capabilities": [["gpu"]]}]


def _open_to_all(folder: Path) -> None:
    """Whoever the image's user is may write there; outside, the folder around it keeps others away."""
    folder.chmod(0o777)
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root) / name
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o777 if name in folders else 0o666))


def _name(machine: Machine, token: int) -> str:
    return f"gridmark-{machine.tag}-{token}"


def _launch(program: str, body: Mapping[str, Any]) -> Launch:
    return Launch(program=Path(program), interpreter=INTERPRETER, body=body, environment={})


EXECUTOR = ContainerExecutor()
