"""A real Podman with an image of its own, for the tests of the container executor."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

IMAGE = "localhost/gridmark-test:1"
APPLETS = ("sh", "sleep", "cat", "echo", "env", "id", "ls", "touch", "true", "mkdir", "kill", "grep", "stat")
PATIENCE_S = 30.0


@contextmanager
def podman(folder: Path) -> Iterator[str]:
    """Its socket's address. Skips where a part is missing; nothing of it is left afterwards."""
    tool, busybox = shutil.which("podman"), shutil.which("busybox")
    if tool is None or busybox is None or os.geteuid() != 0:
        pytest.skip("needs podman, a static busybox and root")
    command = [tool, "--root", str(folder / "root"), "--runroot", str(folder / "run"), "--storage-driver", "vfs"]
    command += ["--runtime", "runc", "--cgroup-manager", "cgroupfs"]
    _pack_image(Path(busybox), folder / "image.tar")
    changes = ["--change", "ENV FROM_IMAGE=yes"]
    done = subprocess.run(
        [*command, "import", *changes, str(folder / "image.tar"), IMAGE], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"podman cannot import an image here: {done.stderr[-200:]}")
    socket = folder / "podman.sock"
    service = subprocess.Popen(
        [*command, "system", "service", "--time=0", f"unix://{socket}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + PATIENCE_S
        while not socket.is_socket() and time.monotonic() < end and service.poll() is None:
            time.sleep(0.02)
        yield f"unix://{socket}"
    finally:
        subprocess.run([*command, "rm", "--all", "--force", "--time", "0"], capture_output=True)
        service.terminate()
        service.wait()


def _pack_image(busybox: Path, target: Path) -> None:
    """A root file system of one program under many names."""
    with tarfile.open(target, "w") as archive:
        for name in ("bin", "etc", "tmp", "proc", "sys", "dev"):
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member)
        archive.add(busybox, "bin/busybox")
        for name in APPLETS:
            member = tarfile.TarInfo(f"bin/{name}")
            member.type, member.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(member)
