"""The node's id: stable, its own, and not to be worked back."""

from __future__ import annotations

from pathlib import Path

import pytest

from qualify import identity
from qualify.files import Files
from qualify.identity import Identity, identify
from qualify.nvml import Library, Nvml, NvmlError
from tests.fake_pynvml import H100, FakePynvml
from tests.machines import lay, server

MACHINE_ID = "etc/machine-id"
FIRMWARE_ID = "sys/class/dmi/id/product_uuid"


def of(root: Path, *, contained: bool = False, gpus: tuple[str, ...] = (), hostname: str = "node7") -> Identity:
    return identify(Files(root), hostname=hostname, contained=contained, gpu_uuids=gpus)


def test_the_id_is_stable_and_does_not_depend_on_the_host_name(tmp_path: Path) -> None:
    """The same after a reboot and a renaming; 32 hexadecimal digits without a doubt."""
    server(tmp_path)
    first = of(tmp_path)
    lay(tmp_path, {"proc/sys/kernel/random/boot_id": "another\n"})

    assert of(tmp_path, hostname="renamed") == first
    assert len(first.id) == 32
    assert set(first.id) <= set("0123456789abcdef")
    assert first.problem is None


def test_the_machine_id_is_not_shown(tmp_path: Path) -> None:
    """It is the key of the hash, not its text."""
    server(tmp_path)

    assert (tmp_path / MACHINE_ID).read_text().strip() not in of(tmp_path).id


def test_gpus_are_part_of_the_node_in_any_order(tmp_path: Path) -> None:
    """Another set of GPUs is another node; the order of enumeration is not."""
    server(tmp_path)

    assert of(tmp_path, gpus=("GPU-a", "GPU-b")) == of(tmp_path, gpus=("GPU-b", "GPU-a"))
    assert len({of(tmp_path, gpus=gpus).id for gpus in ((), ("GPU-a",), ("GPU-a", "GPU-b"), ("GPU-ab",))}) == 4


def test_another_machine_has_another_id(tmp_path: Path) -> None:
    """One digit differs."""
    one, other = server(tmp_path / "one"), server(tmp_path / "other")
    lay(other, {MACHINE_ID: "3d1219c7c4c5404aaa1f6d2a48adfda5\n"})

    assert of(one).id != of(other).id


def test_in_a_container_the_firmware_comes_before_the_image(tmp_path: Path) -> None:
    """Two containers of one image on one machine are one node; the image's machine id plays no part."""
    server(tmp_path)
    first = of(tmp_path, contained=True)
    lay(tmp_path, {MACHINE_ID: "0123456789abcdef0123456789abcdef\n"})

    assert of(tmp_path, contained=True) == first
    assert first.problem is None


def test_an_id_from_an_image_is_doubted(tmp_path: Path) -> None:
    """The firmware's id is for root alone."""
    (server(tmp_path) / FIRMWARE_ID).unlink()

    problem = of(tmp_path, contained=True).problem

    assert problem is not None
    assert "other nodes may share" in problem


@pytest.mark.parametrize("text", ["uninitialized\n", "", "0" * 32, "3d1219c7", "g" * 32])
def test_a_machine_id_that_is_none_is_not_used(tmp_path: Path, text: str) -> None:
    """The firmware's id stands in, as if the file were not there."""
    server(tmp_path)
    (tmp_path / MACHINE_ID).unlink()
    expected = of(tmp_path)
    lay(tmp_path, {MACHINE_ID: text})

    assert of(tmp_path) == expected


@pytest.mark.parametrize("uuid", ["03000200-0400-0500-0006-000700080009", "ffffffff-ffff-ffff-ffff-ffffffffffff"])
def test_a_board_without_a_serial_number_has_no_firmware_id(tmp_path: Path, uuid: str) -> None:
    """Thousands of boards share each of these."""
    server(tmp_path)
    (tmp_path / MACHINE_ID).unlink()
    lay(tmp_path, {FIRMWARE_ID: uuid})

    assert "network addresses" in (of(tmp_path).problem or "")


def test_the_makeshift_ids_say_what_they_stand_on(tmp_path: Path) -> None:
    """GPUs, then network addresses, then this boot alone."""
    lay(tmp_path, {"proc/sys/kernel/random/boot_id": "first\n"})
    boot = of(tmp_path)
    lay(tmp_path, {"proc/sys/kernel/random/boot_id": "second\n"})

    assert "its GPUs alone" in (of(tmp_path, gpus=("GPU-a",)).problem or "")
    assert "it will change" in (boot.problem or "")
    assert of(tmp_path).id != boot.id


def test_an_address_made_up_at_boot_identifies_nothing(tmp_path: Path) -> None:
    """addr_assign_type 1 is random."""
    lay(tmp_path, {"sys/class/net/eth0/address": "02:42:ac:11:00:02\n", "sys/class/net/eth0/addr_assign_type": 1})

    assert "it will change" in (of(tmp_path).problem or "")


def test_the_id_is_had_without_a_probe(tmp_path: Path) -> None:
    """What a probe of the same machine gives, GPUs included, and the library is closed again."""
    server(tmp_path)
    module = FakePynvml([H100])

    def none_there() -> Nvml:
        raise NvmlError("no driver")

    found = identity.node_id(root=tmp_path, open_nvml=lambda: Library(module))

    assert found == of(tmp_path, gpus=(H100["UUID"],)).id
    assert identity.node_id(root=tmp_path, open_nvml=none_there) == of(tmp_path).id
    assert not module.is_open
