"""What an executor is told and what it answers; one executor = one file in executors/."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol

from qualify.registry import load
from scheduler.node.cgroups import Groups
from scheduler.node.gpus import Gpu
from scheduler.node.supervised import Launch
from scheduler.records import JobSpec

#: a name that every shell exports; others could not be handed to a job through one
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
#: what shells forbid to set
_READ_ONLY = frozenset({"UID", "EUID", "PPID", "BASHOPTS", "SHELLOPTS", "BASH_VERSINFO"})


class PrepareError(Exception):
    """The node cannot run this attempt; the message is one sentence for the renter and the supplier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What this node offers to executors, found once when the agent starts."""

    tag: str  #: of this agent; part of the name of everything it makes outside of its folder
    data: Path  #: the agent's folder, with its key: no job may see it
    home: Path | None = None  #: of the owner: no job may see it
    root: bool = False  #: whether the agent is root
    groups: Groups = field(default_factory=Groups)
    bubblewrap: str | None = None  #: where it is, if it works here
    setpriv: str | None = None  #: where it is
    engine: str | None = None  #: socket of Docker or Podman, "unix:///run/docker.sock"
    engine_runtime: str | None = None  #: the engine's runtime to be used, if not its own choice
    gpus: tuple[Gpu, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One attempt to run; `secrets` never leaves memory."""

    token: int
    job: int
    n: int
    spec: JobSpec
    gpus: tuple[int, ...]
    folder: Path  #: the attempt's own: lease, status, logs
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def work(self) -> Path:
        """The job's folder."""
        return self.folder / "work"

    @property
    def temporary(self) -> Path:
        """What the job sees as its place for temporary files."""
        return self.folder / "tmp"


class Executor(Protocol):
    """Runs attempts in one way; stateless, and every call may come from a thread."""

    @property
    def name(self) -> str:
        """As nodes list it."""
        ...

    def available(self, machine: Machine) -> str | None:
        """Why it cannot be used on this machine, one sentence; None = it can."""
        ...

    def check(self, machine: Machine, order: Order) -> None:
        """Refuse an order that could never run here, before anything is fetched.

        Raises:
            PrepareError: why.
        """
        ...

    def preparation(self, machine: Machine, order: Order) -> Launch | None:
        """A program to be run to its end beforehand, such as one that pulls an image; it may be ended at any time.

        Its `body` is written to its stdin; when it fails, the last line it printed is the reason.
        """
        ...

    def launch(self, machine: Machine, order: Order) -> Launch:
        """How the attempt's supervisor is started; the inputs are in the work folder by now.

        Raises:
            PrepareError: it cannot.
        """
        ...

    def clean(self, machine: Machine, token: int) -> None:
        """End whatever of the attempt still runs and remove what it left outside of its folder; may block seconds."""
        ...

    def tokens(self, machine: Machine) -> frozenset[int]:
        """The attempts of this agent of which something is left outside of their folders."""
        ...


@cache
def executors() -> Mapping[str, Executor]:
    """Every executor by its name; a new file in the folder is found without a list."""
    from scheduler.node import executors as package

    found: Mapping[str, Executor] = load(package, "EXECUTOR")
    return found


def executor_of(spec: JobSpec) -> str:
    """The executor a job runs by."""
    return "process" if spec.image is None else "container"


def environment(machine: Machine, order: Order, *, home: str, temporary: str) -> dict[str, str]:
    """All of a job's environment: what every job gets, its own, its secrets; nothing of ours.

    Raises:
        PrepareError: a name or a value that no process can be given.
    """
    own = {**order.spec.env, **order.secrets}
    for name, value in own.items():
        if not _NAME.fullmatch(name) or name in _READ_ONLY:
            raise PrepareError(f"the environment variable {name!r} cannot be set; use letters, digits and _")
        if "\0" in value:
            raise PrepareError(f"the environment variable {name} contains a NUL, which no process can be given")
    visible = ",".join(machine.gpus[index].uuid for index in order.gpus if index < len(machine.gpus))
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": home,
        "USER": "job",
        "LOGNAME": "job",
        "TMPDIR": temporary,
        "CUDA_VISIBLE_DEVICES": visible,
        **own,
        "GRIDMARK_JOB": str(order.job),
        "GRIDMARK_ATTEMPT": str(order.n),
        "GRIDMARK_FENCING_TOKEN": str(order.token),
        "GRIDMARK_NODE": machine.tag,
    }
