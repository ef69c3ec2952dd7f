"""What this node offers to executors: bubblewrap, control groups, an engine's socket, GPUs; looked for, and tried."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from qualify.files import Files
from scheduler.node import cgroups, gpus
from scheduler.node.execution import Machine

TRIAL_S = 10.0
SOCKETS = ("/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock")


def probe(environment: Mapping[str, str], *, tag: str, data: Path, root: Path = Path("/")) -> Machine:
    """Look, and try what only a trial can tell. Makes the folder in which control groups of attempts go."""
    home = environment.get("HOME")
    path = environment.get("PATH", os.defpath)
    return Machine(
        tag=tag,
        data=data.resolve(),
        home=Path(home) if home else None,
        root=os.geteuid() == 0,
        groups=cgroups.find(root),
        bubblewrap=_working_bubblewrap(shutil.which("bwrap", path=path)),
        setpriv=shutil.which("setpriv", path=path),
        engine=engine_socket(environment),
        engine_runtime=environment.get("GRIDMARK_CONTAINER_RUNTIME"),
        gpus=gpus.find(Files(root)),
    )


def engine_socket(environment: Mapping[str, str]) -> str | None:
    """Where Docker or Podman listens: DOCKER_HOST, or the usual places; not whether it answers."""
    if chosen := environment.get("DOCKER_HOST"):
        return chosen
    places = [*SOCKETS]
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        places += [f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock"]
    found = next((place for place in places if Path(place).is_socket()), None)
    return None if found is None else f"unix://{found}"


def _working_bubblewrap(path: str | None) -> str | None:
    """Many kernels refuse user namespaces to some users: only a trial tells."""
    if path is None:
        return None
    trial = [path, "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    trial += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "/bin/sh", "-c", "exit 7"]
    try:
        done = subprocess.run(trial, capture_output=True, timeout=TRIAL_S, env={"PATH": "/usr/bin:/bin"})
    except (OSError, subprocess.TimeoutExpired):
        return None
    return path if done.returncode == 7 else None
