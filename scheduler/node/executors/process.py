"""Runs a command of the node itself, shut in by bubblewrap where it works; for nodes whose owner says so."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from scheduler.node import jobprocess, sandbox, supervisor
from scheduler.node.execution import Machine, Order, PrepareError, environment
from scheduler.node.supervised import ENVIRONMENT, Launch

OPEN_FILES_MAX = 65536
PROCESSES_MAX = 8192  #: of the attempt's own user; without one it would count the owner's too, and is not set


class ProcessExecutor:
    """A session of its own, a clean environment, a private folder, limits; see sandbox.py for the walls."""

    name = "process"

    def available(self, machine: Machine) -> str | None:
        """Everywhere; whether it is offered is its owner's word."""
        del machine
        return None

    def check(self, machine: Machine, order: Order) -> None:
        """See Executor."""
        if not order.spec.network and machine.bubblewrap is None:
            raise PrepareError("the job wants no network, which takes bubblewrap to cut, and this node has none")
        self._environment(machine, order)

    def preparation(self, machine: Machine, order: Order) -> Launch | None:
        """Nothing to fetch."""
        del machine, order
        return None

    def launch(self, machine: Machine, order: Order) -> Launch:
        """See Executor."""
        given = self._environment(machine, order)
        try:
            group = machine.groups.make(_name(machine, order.token), order.spec.resources)
        except OSError as error:
            raise PrepareError(f"its control group cannot be made: {error.strerror} ({error.filename})") from error
        walled = machine.bubblewrap is not None
        own_user = walled and machine.root and machine.setpriv is not None
        if own_user:
            _hand_over(order, sandbox.user_of(order.token))
        limits = {"RLIMIT_CORE": 0, "RLIMIT_NOFILE": OPEN_FILES_MAX, "RLIMIT_FSIZE": order.spec.resources.disk_bytes}
        if own_user:
            limits["RLIMIT_NPROC"] = PROCESSES_MAX
        if not group.limits_memory and not order.gpus:  # a GPU's driver reserves far more than it uses
            limits["RLIMIT_DATA"] = order.spec.resources.memory_bytes
        body = {
            "argv": sandbox.arguments(machine, order) if walled else list(order.spec.command),
            "env": ENVIRONMENT if walled else given,
            "stdin": sandbox.script(given) if walled else "",
            "cwd": str(order.work),
            "groups": group.join,
            "freezer": group.freezer,
            "limits": {name: value for name, value in limits.items() if hasattr(resource, name)},
            "wrapped": walled,
        }
        return Launch(program=Path(supervisor.__file__), interpreter=("-I", "-S", "-E"), body=body, environment={})

    def clean(self, machine: Machine, token: int) -> None:
        """See Executor; a job outside of any control group is found by the token in its environment."""
        machine.groups.remove(_name(machine, token))
        jobprocess.kill_marked(f"GRIDMARK_FENCING_TOKEN={token}", f"GRIDMARK_NODE={machine.tag}")

    def tokens(self, machine: Machine) -> frozenset[int]:
        """See Executor."""
        prefix = f"{machine.tag}-"
        found = (name.removeprefix(prefix) for name in machine.groups.names() if name.startswith(prefix))
        return frozenset(int(token) for token in found if token.isdecimal())

    def _environment(self, machine: Machine, order: Order) -> dict[str, str]:
        if machine.bubblewrap is None:
            return environment(machine, order, home=str(order.work), temporary=str(order.temporary))
        return environment(machine, order, home=sandbox.WORK, temporary="/tmp")  # noqa: S108 - inside, it is its own


def _name(machine: Machine, token: int) -> str:
    return f"{machine.tag}-{token}"


def _hand_over(order: Order, user: int) -> None:
    """Make the job's folders its user's own; nothing in them was put there by anybody but us."""
    for top in (order.work, order.temporary):
        os.chown(top, user, user)
        for folder, folders, files in os.walk(top):
            for name in (*folders, *files):
                os.chown(Path(folder) / name, user, user, follow_symlinks=False)


EXECUTOR = ProcessExecutor()
