"""Where control groups of attempts are made, and with which limits."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from scheduler.node import cgroups
from scheduler.records import Resources

WANTED = Resources(cpu_milli=1500, memory_bytes=1 << 30)


def machine(root: Path, *mounts: str, groups: str) -> Path:
    """A root with mounts of control groups in it."""
    (root / "proc/self").mkdir(parents=True)
    lines = [f"{n} 1 0:{n} / {mount}" for n, mount in enumerate(mounts, 30)]
    (root / "proc/self/mountinfo").write_text("\n".join(lines) + "\n")
    (root / "proc/self/cgroup").write_text(groups)
    return root


def unified(folder: Path, *, handed_on: str) -> None:
    """A group of v2."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cgroup.controllers").write_text("cpu memory pids\n")
    (folder / "cgroup.subtree_control").write_text(handed_on)


def test_a_service_s_groups_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own hands no controllers on while it is in it; its parent does."""
    monkeypatch.setattr(cgroups, "_enable", lambda folder: None)  # a plain file keeps what is written, the kernel adds
    top = tmp_path / "sys/fs/cgroup"
    machine(tmp_path, "/sys/fs/cgroup rw - cgroup2 cgroup2 rw", groups="0::/system.slice/gridmark.service\n")
    unified(top, handed_on="")
    unified(top / "system.slice", handed_on="cpu memory pids\n")
    unified(top / "system.slice/gridmark.service", handed_on="")

    assert cgroups.find(tmp_path).bases == (top / "system.slice/gridmark",)


def test_where_no_controller_is_handed_on_groups_still_freeze(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below our own."""
    monkeypatch.setattr(cgroups, "_enable", lambda folder: None)
    top = tmp_path / "sys/fs/cgroup"
    machine(tmp_path, "/sys/fs/cgroup rw - cgroup2 cgroup2 rw", groups="0::/own\n")
    unified(top, handed_on="")
    unified(top / "own", handed_on="")

    assert cgroups.find(tmp_path).bases == (top / "own/gridmark",)


def test_hybrid_hierarchies_each_give_what_they_have(tmp_path: Path) -> None:
    """v2 freezes, v1 limits."""
    machine(
        tmp_path,
        "/sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
        "/sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
        "/sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu",
        groups="3:memory:/own\n2:cpu:/\n0::/\n",
    )
    top = tmp_path / "sys/fs/cgroup"
    for folder in ("unified", "memory/own", "cpu"):
        (top / folder).mkdir(parents=True)
    (top / "unified/cgroup.controllers").write_text("")

    found = cgroups.find(tmp_path)

    assert found.bases == (top / "unified/gridmark", top / "memory/own/gridmark", top / "cpu/gridmark")


def test_a_machine_without_groups_has_none(tmp_path: Path) -> None:
    """And making one is nothing, not an error."""
    found = cgroups.find(machine(tmp_path, groups=""))
    group = found.make("n-7", WANTED)

    assert (found.bases, group.join, group.freezer, group.limits_memory) == ((), (), "", False)
    found.remove("n-7")


def test_limits_are_written_where_the_kernel_has_them(tmp_path: Path) -> None:
    """One and a half CPUs, 1 GiB, in the words of either version."""
    base = tmp_path / "gridmark"
    for file in ("memory.max", "cpu.max", "pids.max", "cgroup.freeze", "memory.limit_in_bytes", "cpu.cfs_quota_us"):
        (base / "n-7").mkdir(parents=True, exist_ok=True)
        (base / "n-7" / file).touch()

    group = cgroups.Groups(bases=(base,)).make("n-7", WANTED)
    texts = {path.name: path.read_text() for path in (base / "n-7").iterdir()}

    assert (group.join, group.freezer, group.limits_memory) == ((f"{base}/n-7",), f"{base}/n-7", True)
    assert texts == {
        "memory.max": "1073741824",
        "memory.limit_in_bytes": "1073741824",
        "cpu.max": "150000 100000",
        "cpu.cfs_quota_us": "150000",
        "pids.max": "8192",
        "cgroup.freeze": "",
    }


@pytest.mark.real
def test_a_real_group_takes_its_processes_along() -> None:
    """Removed whole, whatever is in it."""
    found = cgroups.find()
    group = found.make("test-7", WANTED)
    if not group.join:
        pytest.skip("the kernel lets nobody make control groups here")
    process = subprocess.Popen(["sleep", "60"])
    try:
        for folder in group.join:
            (Path(folder) / "cgroup.procs").write_text(str(process.pid))
        assert "test-7" in found.names()

        found.remove("test-7")

        assert process.wait(5) == -signal.SIGKILL
        assert "test-7" not in found.names()
        assert not any(Path(folder).exists() for folder in group.join)
    finally:
        process.kill()
        process.wait()
