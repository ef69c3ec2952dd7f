"""The argument list that shuts a job into bubblewrap: the host read-only, its owner's files out of sight."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from scheduler.node.execution import Machine, Order
from scheduler.node.gpus import SHARED

#: the users that attempts run as when the agent is root: one each, of a range that systemd's list of user numbers
#: leaves to nobody (systemd.io/UIDS-GIDS)
FIRST_USER = 0x7000_0000
USERS = 1 << 20
#: the job's folder inside, as in containers
WORK = "/work"
#: top-level folders of the host that a job sees nothing of, or gets of its own
OWN = frozenset({"proc", "dev", "tmp", "run", "home", "root", "mnt", "media", "lost+found", "work"})
#: parts of /run that a job cannot do without: name service and the GPU driver's daemon
KEPT_OF_RUN = ("/run/systemd/resolve", "/run/resolvconf", "/run/nscd", "/run/nvidia-persistenced")


def user_of(token: int) -> int:
    """The user (and group) number of an attempt."""
    return FIRST_USER + token % USERS


def arguments(machine: Machine, order: Order) -> list[str]:
    """The job's whole command line.

    The environment is no part of it. It comes through stdin, as `script`, to a shell that has no rights left: set for
    bubblewrap itself it would let the job choose what the loader loads into a program that still has them.
    """
    assert machine.bubblewrap is not None  # noqa: S101 - the executor asked
    words = [machine.bubblewrap, "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    words += ["--unshare-cgroup-try", "--hostname", f"job-{order.job}", "--cap-drop", "ALL"]
    if _becomes_user(machine):
        words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]  # given up by setpriv, further in
    if not order.spec.network:
        words.append("--unshare-net")
    words += [*_host(Path("/")), "--dev", "/dev", "--proc", "/proc", *_devices(machine, order)]
    words += ["--tmpfs", "/run"]
    for folder in KEPT_OF_RUN:
        words += ["--ro-bind-try", folder, folder]
    words += ["--bind", str(order.temporary), "/tmp", "--tmpfs", "/var/tmp"]  # noqa: S108 - inside, they are its own
    for hidden in (machine.home, machine.data):
        if hidden is not None and _is_shown(hidden.resolve()):
            words += ["--tmpfs", str(hidden.resolve())]
    words += ["--bind", str(order.work), WORK, "--chdir", WORK, "--remount-ro", "/"]
    return [*words, *_without_rights(machine, order), "/bin/sh", "-s", "--", *order.spec.command]


def script(environment: Mapping[str, str]) -> str:
    """What the shell inside reads from its stdin: set the environment, then become the job."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()]
    return "".join(lines) + 'exec "$@" </dev/null\n'


def _devices(machine: Machine, order: Order) -> list[str]:
    if not order.gpus:
        return []
    devices = [machine.gpus[index].device for index in order.gpus if index < len(machine.gpus)]
    return [word for name in (*devices, *(f"/dev/{one}" for one in SHARED)) for word in ("--dev-bind-try", name, name)]


def _host(root: Path) -> list[str]:
    """The host's folders, read-only, on a root of the job's own: what is not named here is not there."""
    words: list[str] = []
    for entry in sorted(root.iterdir()):
        if entry.name in OWN:
            continue
        if entry.is_symlink():
            words += ["--symlink", str(entry.readlink()), f"/{entry.name}"]
        elif entry.is_dir():
            words += ["--ro-bind-try", str(entry), f"/{entry.name}"]
    return words


def _is_shown(folder: Path) -> bool:
    """Whether a job would see it, as a folder of the host."""
    return len(folder.parts) > 1 and folder.parts[1] not in OWN and folder.is_dir()


def _becomes_user(machine: Machine) -> bool:
    return machine.root and machine.setpriv is not None


def _without_rights(machine: Machine, order: Order) -> list[str]:
    """A root agent's job becomes a user of its own; that of any other agent has no more than its user's rights."""
    if machine.setpriv is None or not machine.root:
        return []
    user = str(user_of(order.token))
    return [machine.setpriv, "--reuid", user, "--regid", user, "--clear-groups", "--inh-caps=-all", "--"]
