"""Whether the machine is virtual and whether we sit in a container, from what the kernel shows without privileges."""

from __future__ import annotations

from qualify import mounts
from qualify.files import Files, pairs

DMI = "/sys/class/dmi/id"
DMI_FIELDS = ("sys_vendor", "product_name", "board_vendor", "bios_vendor", "product_version")

# what firmware calls itself (dmidecode, "System Information"), most specific first; names as in systemd-detect-virt(1)
FIRMWARE = (
    ("KubeVirt", "kvm"),
    ("OpenStack", "kvm"),
    ("KVM", "kvm"),
    ("QEMU", "qemu"),
    ("Amazon EC2", "amazon"),
    ("Google Compute Engine", "google"),
    ("VMware", "vmware"),
    ("VMW", "vmware"),
    ("VirtualBox", "oracle"),
    ("innotek GmbH", "oracle"),
    ("Oracle Corporation", "oracle"),
    ("Xen", "xen"),
    ("Bochs", "bochs"),
    ("Parallels", "parallels"),
    ("BHYVE", "bhyve"),
    ("Hyper-V", "microsoft"),
    ("Virtual Machine", "microsoft"),
    ("Apple Virtualization", "apple"),
    ("DigitalOcean", "kvm"),
    ("Hetzner vServer", "kvm"),
    ("Alibaba Cloud ECS", "kvm"),
)

# paravirtual clocks exist only under their own hypervisor (Linux, arch/x86/kernel/kvmclock.c and its peers)
CLOCKSOURCES = (("kvm-clock", "kvm"), ("hyperv", "microsoft"), ("xen", "xen"))

#: "compatible" of the device tree's node for the hypervisor, on arm64
DEVICE_TREE = (("linux,kvm", "kvm"), ("xen,", "xen"), ("vmware", "vmware"))

# a process in the first PID namespace sees this inode (Linux, include/linux/proc_ns.h, PROC_PID_INIT_INO)
FIRST_PID_NAMESPACE = f"pid:[{0xEFFFFFFC}]"

# path elements that engines give their control groups and bind mounts
CGROUP_SIGNS = (
    ("kubepods", "kubernetes"),
    ("libpod", "podman"),
    ("/docker/", "docker"),
    ("/docker-", "docker"),
    ("/lxc/", "lxc"),
    ("/lxc.payload", "lxc"),
    ("containerd", "containerd"),
    ("machine.slice/machine-", "systemd-nspawn"),
)
MOUNT_SIGNS = (
    ("/kubelet/pods/", "kubernetes"),
    ("/docker/containers/", "docker"),
    ("/overlay-containers/", "podman"),
    ("/containerd/", "containerd"),
)


def hypervisor(files: Files) -> str | None:
    """The hypervisor by name, "other" for one that gives no name, "none" on bare metal, None when nothing tells."""
    if files.text("/sys/hypervisor/type") == "xen":
        # the privileged domain runs on the metal's own clocks and devices
        return "none" if "control_d" in (files.text("/proc/xen/capabilities") or "") else "xen"
    if "User Mode Linux" in (files.text("/proc/cpuinfo") or ""):
        return "uml"
    flagged = _is_flagged(files)
    if flagged is False:  # x86 guests have the flag, except on hypervisors that hide themselves
        return "none"
    return _from_firmware(files, certain=flagged is True) or _from_kernel(files, certain=flagged is True)


def container(files: Files) -> str | None:
    """The engine by name, "other" for an unknown one, "none" outside of any, None when nothing tells."""
    first = files.link("/proc/self/ns/pid")
    outside = first == FIRST_PID_NAMESPACE and _has_disk_as_root(files)
    named = None if outside else _marked(files) or _named_by_groups(files) or _named_by_mounts(files)
    if named is not None:
        return named
    if first is None:
        return None
    return "none" if first == FIRST_PID_NAMESPACE else "other"


def _is_flagged(files: Files) -> bool | None:
    """Whether the CPU says that a hypervisor runs beneath; None where CPUs have no such flag (arm64)."""
    flags = pairs(files.lines("/proc/cpuinfo"), ":").get("flags")
    return None if flags is None else "hypervisor" in flags.split()


def _from_firmware(files: Files, *, certain: bool) -> str | None:
    words = [text for name in DMI_FIELDS if (text := files.text(f"{DMI}/{name}"))]
    if any(".metal" in text for text in words):
        return "none"
    for sign, name in FIRMWARE:
        if any(text.startswith(sign) for text in words):
            return name
    return "none" if words and not certain else None


def _from_kernel(files: Files, *, certain: bool) -> str | None:
    compatible = (files.text("/proc/device-tree/hypervisor/compatible") or "").split("\0")[0]
    if compatible:
        return next((name for sign, name in DEVICE_TREE if compatible.startswith(sign)), "other")
    clocks = files.text("/sys/devices/system/clocksource/clocksource0/available_clocksource") or ""
    for sign, name in CLOCKSOURCES:
        if sign in clocks:
            return name
    return "other" if certain else None


def _has_disk_as_root(files: Files) -> bool:
    """Whether "/" is a whole file system of its own on a block device.

    A virtual machine made from a container's image keeps the engine's marks (/.dockerenv) without being in a
    container; a container that shares the host's PID namespace has an overlay or a subvolume as its root.
    """
    root = [mount for mount in mounts.read(files) if mount.folder == "/"]
    return bool(root) and root[-1].source.startswith("/dev/") and root[-1].subtree == "/"


def _marked(files: Files) -> str | None:
    """What the engine left for us to find."""
    # systemd's interface for containers: $container of the first process, or the manager's own note of it
    for line in (files.text("/proc/1/environ") or "").split("\0"):
        if line.startswith("container="):
            return {"oci": "other", "": "other"}.get(line[10:], line[10:])
    noted = files.text("/run/systemd/container") or files.text("/run/host/container-manager")
    if noted:
        return noted
    if files.exists("/run/.containerenv"):
        return "podman"
    if files.exists("/.dockerenv"):
        return "docker"
    if files.exists("/proc/vz") and not files.exists("/proc/bc"):
        return "openvz"
    if "microsoft" in (files.text("/proc/sys/kernel/osrelease") or "").lower():
        return "wsl"
    return None


def _named_by_groups(files: Files) -> str | None:
    text = files.text("/proc/self/cgroup") or ""
    return next((name for sign, name in CGROUP_SIGNS if sign in text), None)


def _named_by_mounts(files: Files) -> str | None:
    for mount in mounts.read(files):
        if mount.filesystem == "fuse.lxcfs" and mount.folder.startswith("/proc"):
            return "lxc"
        if mount.folder in ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf"):
            name = next((name for sign, name in MOUNT_SIGNS if sign in mount.subtree), None)
            if name:
                return name
    return None
