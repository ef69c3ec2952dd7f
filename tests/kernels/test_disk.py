"""The disk benchmark on a real folder: figures, context, space and what it leaves behind."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from kernels.benches import disk
from kernels.device import Device
from kernels.spec import Observation, Observed, Setting, UnsupportedError

pytestmark = pytest.mark.alone

MIB = 1 << 20
DEVICE = Device(kind="cpu", index=0, name="test", cpus=(0,), threads=1)


def setting(folder: Path, *only: str) -> Setting:
    return Setting(device=DEVICE, profile="quick", budget_s=1.0, seed=2, only=frozenset(only), workdir=folder)


def observe(wanted: Setting, seconds: float) -> dict[str, Observation]:
    """Run every step for so many seconds."""
    found: dict[str, Observation] = {}
    for step in disk.on_cpu(wanted):
        assert isinstance(step, Observed)
        found |= {each.key: each for each in step.observe(seconds)}
    return found


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """32 MiB are enough to see that it works."""
    monkeypatch.setitem(disk.SIZE_BYTES, "quick", 32 * MIB)


def test_every_figure_comes_out_with_its_unit_and_context(tmp_path: Path) -> None:
    """All five keys, at least ten samples each, within the time given."""
    start = time.perf_counter()
    found = observe(setting(tmp_path), 0.4)
    lasted_s = time.perf_counter() - start

    assert set(found) == set(disk.KEYS)
    assert {key: each.unit for key, each in found.items()} == {
        "disk.read": "B/s",
        "disk.write": "B/s",
        "disk.rand_read": "IO/s",
        "disk.rand_write": "IO/s",
        "disk.sync_p99": "s",
    }
    assert all(len(each.samples) >= 10 and min(each.samples) > 0 for each in found.values())
    assert found["disk.sync_p99"].statistic == "p99"
    assert all(each.context["cached"] is not each.context["direct"] for each in found.values())
    assert all(found[key].context["pages_verified"] for key in ("disk.write", "disk.rand_write", "disk.sync_p99"))
    assert lasted_s < 5 * 0.4 + 1.0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["disk.rand_read", "disk.sync_p99"])
def test_one_key_alone_lays_the_file_out_itself(tmp_path: Path, key: str) -> None:
    """A step that reads needs something to read, wanted or not, and reports nothing else."""
    assert set(observe(setting(tmp_path, key), 0.3)) == {key}


def test_memory_is_said_to_be_memory() -> None:
    """/dev/shm gives splendid figures; they are marked so that nobody takes them for a disk's."""
    if not os.path.ismount("/dev/shm"):
        pytest.skip("no tmpfs at /dev/shm")
    found = observe(setting(Path("/dev/shm"), "disk.rand_read"), 0.3)["disk.rand_read"]

    assert found.context["filesystem"] == "tmpfs"
    assert (found.context["direct"], found.context["cached"]) == (False, True)
    assert "memory was measured" in str(found.context["note"])


def test_a_tenth_of_the_free_space_is_the_most() -> None:
    """400 MiB free: 40 at most, whatever the profile asks for; in whole MiB."""
    assert disk.size_bytes("deep", 400 * MIB + 5) == 40 * MIB
    assert disk.size_bytes("standard", 1 << 50) == 4096 * MIB


def test_too_little_space_is_unsupported() -> None:
    """A sixteenth of a disk's cache says nothing of the disk."""
    with pytest.raises(UnsupportedError, match="wanted 160 MiB free in the work folder, found 100 MiB"):
        disk.size_bytes("quick", 100 * MIB)


def test_a_missing_folder_is_unsupported(tmp_path: Path) -> None:
    """The reason names the folder."""
    with pytest.raises(UnsupportedError, match="nowhere"):
        next(disk.on_cpu(setting(tmp_path / "nowhere")))


def test_leaving_early_gives_the_space_back(tmp_path: Path) -> None:
    """Ctrl-C between two steps closes the generator, and with it the nameless file."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    steps = disk.on_cpu(setting(tmp_path))
    next(steps)
    steps.close()  # type: ignore[attr-defined]

    assert len(list(Path("/proc/self/fd").iterdir())) == before
