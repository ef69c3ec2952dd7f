"""Virtual machines and containers, told by the marks they leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from qualify import virtual
from qualify.files import Files
from tests.machines import EPYC, MOUNTS, NEOVERSE, lay, link

GUEST = EPYC.format(number=0, extra=" hypervisor")
METAL = EPYC.format(number=0, extra="")
ARM = NEOVERSE.format(number=0)
CLOCKS = "sys/devices/system/clocksource/clocksource0/available_clocksource"
DMI = "sys/class/dmi/id"
FIRST, OTHER = "pid:[4026531836]", "pid:[4026532291]"
OVERLAY = "27 1 0:50 / / rw - overlay overlay rw\n"
DISK = "27 1 259:1 / / rw - ext4 /dev/vda rw\n"


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"proc/cpuinfo": METAL, f"{DMI}/sys_vendor": "Supermicro"}, "none"),
        ({"proc/cpuinfo": METAL, f"{DMI}/sys_vendor": "Oracle Corporation"}, "none"),
        ({"proc/cpuinfo": METAL}, "none"),
        ({"proc/cpuinfo": GUEST, f"{DMI}/sys_vendor": "QEMU", f"{DMI}/product_name": "Standard PC"}, "qemu"),
        ({"proc/cpuinfo": GUEST, f"{DMI}/sys_vendor": "QEMU", f"{DMI}/product_name": "KVM"}, "kvm"),
        ({"proc/cpuinfo": GUEST, f"{DMI}/sys_vendor": "Amazon EC2", f"{DMI}/product_name": "m7i.large"}, "amazon"),
        ({"proc/cpuinfo": ARM, f"{DMI}/sys_vendor": "Amazon EC2", f"{DMI}/product_name": "m7g.metal"}, "none"),
        ({"proc/cpuinfo": GUEST, f"{DMI}/product_name": "Google Compute Engine"}, "google"),
        ({"proc/cpuinfo": GUEST, f"{DMI}/sys_vendor": "VMware, Inc."}, "vmware"),
        ({"proc/cpuinfo": GUEST, f"{DMI}/product_name": "VirtualBox"}, "oracle"),
        ({"proc/cpuinfo": GUEST, f"{DMI}/sys_vendor": "Microsoft Corporation",
          f"{DMI}/product_name": "Virtual Machine"}, "microsoft"),
        ({"proc/cpuinfo": GUEST, CLOCKS: "tsc kvm-clock"}, "kvm"),
        ({"proc/cpuinfo": GUEST, CLOCKS: "hyperv_clocksource_tsc_page acpi_pm"}, "microsoft"),
        ({"proc/cpuinfo": GUEST, f"{DMI}/sys_vendor": "Nobody Ltd", CLOCKS: "tsc"}, "other"),
        ({"proc/cpuinfo": METAL, "sys/hypervisor/type": "xen", "proc/xen/capabilities": "control_d"}, "none"),
        ({"proc/cpuinfo": METAL, "sys/hypervisor/type": "xen", "proc/xen/capabilities": ""}, "xen"),
        ({"proc/cpuinfo": "vendor_id : User Mode Linux"}, "uml"),
        ({"proc/cpuinfo": ARM, "proc/device-tree/hypervisor/compatible": "linux,kvm\0"}, "kvm"),
        ({"proc/cpuinfo": ARM, "proc/device-tree/hypervisor/compatible": "xen,xen-4.17\0xen,xen\0"}, "xen"),
        ({"proc/cpuinfo": ARM, f"{DMI}/sys_vendor": "GIGABYTE"}, "none"),
        ({"proc/cpuinfo": ARM}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_the_hypervisor_is_told_by_flag_firmware_and_clock(
    tmp_path: Path, files: dict[str, str], name: str | None
) -> None:
    """The CPU's flag decides whether; firmware, device tree and paravirtual clocks say which. No sign is no answer."""
    assert virtual.hypervisor(Files(lay(tmp_path, files))) == name


@pytest.mark.parametrize(
    ("files", "pid_namespace", "name"),
    [
        ({"proc/self/mountinfo": MOUNTS}, FIRST, "none"),
        ({"proc/self/mountinfo": OVERLAY, ".dockerenv": ""}, OTHER, "docker"),
        ({"proc/self/mountinfo": OVERLAY, ".dockerenv": ""}, FIRST, "docker"),
        ({"proc/self/mountinfo": DISK, ".dockerenv": ""}, FIRST, "none"),
        ({"proc/self/mountinfo": DISK, ".dockerenv": ""}, OTHER, "docker"),
        ({"proc/self/mountinfo": OVERLAY, "run/.containerenv": ""}, OTHER, "podman"),
        ({"proc/1/environ": "PATH=/bin\0container=lxc\0TERM=linux"}, OTHER, "lxc"),
        ({"proc/1/environ": "container=oci"}, OTHER, "other"),
        ({"run/systemd/container": "systemd-nspawn"}, OTHER, "systemd-nspawn"),
        ({"proc/self/cgroup": "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-ab.scope"}, OTHER, "kubernetes"),
        ({"proc/self/cgroup": "4:memory:/docker/0123abcd"}, OTHER, "docker"),
        ({"proc/self/cgroup": "0::/system.slice/docker-0123abcd.scope"}, OTHER, "docker"),
        ({"proc/self/cgroup": "0::/lxc.payload.web/init.scope"}, OTHER, "lxc"),
        ({"proc/self/cgroup": "0::/machine.slice/libpod-ab.scope/container"}, OTHER, "podman"),
        ({"proc/self/mountinfo": OVERLAY + "40 27 8:1 /var/lib/docker/containers/ab/hostname /etc/hostname rw - ext4 "
          "/dev/sda1 rw\n"}, OTHER, "docker"),
        ({"proc/self/mountinfo": OVERLAY + "40 27 0:9 / /proc/meminfo rw - fuse.lxcfs lxcfs rw\n"}, OTHER, "lxc"),
        ({"proc/sys/kernel/osrelease": "5.15.167.4-microsoft-standard-WSL2"}, FIRST, "wsl"),
        ({"proc/vz/version": ""}, OTHER, "openvz"),
        ({"proc/self/mountinfo": OVERLAY}, OTHER, "other"),
        ({}, None, None),
        ({"run/.containerenv": ""}, None, "podman"),
    ],
)  # fmt: skip
def test_the_container_is_told_by_what_its_engine_left(
    tmp_path: Path, files: dict[str, str], pid_namespace: str | None, name: str | None
) -> None:
    """A mark left in the image of a virtual machine is no container; a PID namespace of one's own is."""
    lay(tmp_path, files)
    if pid_namespace is not None:
        link(tmp_path, "proc/self/ns/pid", pid_namespace)

    assert virtual.container(Files(tmp_path)) == name
