"""What surrounds the process: a container, a virtual machine.

Each is told by a sign that a runtime or hypervisor is known to leave; none is a promise.
Sources: systemd ``src/basic/virt.c`` for the DMI table, the device tree and the word
``container``; podman-run(1) for /run/.containerenv; the apptainer user guide for its variables;
the kernel's ``arch/x86/kernel/kvmclock.c`` and ``drivers/clocksource/hyperv_timer.c`` for the
names of the clocks.
"""

import os
import re

# Of /sys/class/dmi/id, in this order: the product tells KVM that QEMU's vendor would hide.
_DMI_FILES = ("product_name", "sys_vendor", "board_vendor", "bios_vendor", "product_version")
_DMI = (
    ("KVM", "kvm"),
    ("OpenStack", "kvm"),
    ("KubeVirt", "kvm"),
    ("Amazon EC2", "amazon"),
    ("QEMU", "qemu"),
    ("VMware", "vmware"),
    ("VMW", "vmware"),
    ("innotek GmbH", "virtualbox"),
    ("VirtualBox", "virtualbox"),
    ("Xen", "xen"),
    ("Bochs", "bochs"),
    ("Parallels", "parallels"),
    ("BHYVE", "bhyve"),
    ("Hyper-V", "microsoft"),
    ("Apple Virtualization", "apple"),
    ("Google Compute Engine", "google"),
)
_CLOCKS = (("kvm-clock", "kvm"), ("hyperv_clocksource", "microsoft"), ("xen", "xen"))
_CLOCKSOURCE = "/sys/devices/system/clocksource/clocksource0/available_clocksource"
# Parts of a path in /proc/PID/cgroup; only older hosts show them to the inside.
_GROUPS = (
    ("kubepods", "kubernetes"),
    ("/libpod", "podman"),
    ("/docker", "docker"),
    ("/lxc", "lxc"),
    ("machine-nspawn", "systemd-nspawn"),
    ("cri-containerd", "containerd"),
)
_MOUNTS = (("/containers/storage/overlay", "podman"), ("containerd.snapshotter", "containerd"))


# --- containers ----------------------------------------------------------------------------


def container_word(environ):
    """The value of ``container`` among NUL-separated variables, or None."""
    for row in environ.split("\0"):
        name, _, value = row.partition("=")
        if name == "container" and re.match(r"[a-z][a-z0-9-]{0,31}\Z", value):
            return value
    return None


def by_cgroup(text):
    """The runtime that the paths of /proc/PID/cgroup name, or None."""
    paths = [line.split(":", 2)[2] for line in text.splitlines() if line.count(":") >= 2]
    return next((name for part, name in _GROUPS if any(part in path for path in paths)), None)


def by_root_mount(text):
    """The runtime whose layers the root of mountinfo is an overlay of, or None."""
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        if before.split(" ")[4:5] == ["/"] and after.startswith("overlay "):
            return next((name for part, name in _MOUNTS if part in after), None)
    return None


def by_environment(environ):
    """The runtimes that tell the processes in them; the innermost comes first."""
    for prefix, name in (("APPTAINER", "apptainer"), ("SINGULARITY", "singularity")):
        if environ.get(prefix + "_CONTAINER") or environ.get(prefix + "_NAME"):
            return name
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    return container_word("container=" + environ.get("container", ""))


def by_files(machine):
    """The files that runtimes put into their containers."""
    if os.path.isdir(machine.path("/.singularity.d")):
        return "apptainer"
    if os.path.isdir(machine.path("/run/secrets/kubernetes.io")):
        return "kubernetes"
    word = container_word("container=" + (machine.text("/run/systemd/container", 64) or "").strip())
    if word:
        return word
    if os.path.exists(machine.path("/run/.containerenv")):
        return "podman"
    return "docker" if os.path.exists(machine.path("/.dockerenv")) else None


def container(machine, process="self"):
    found = (
        by_environment(machine.environ)
        or container_word(machine.text("/proc/1/environ", 1 << 20) or "")
        or by_files(machine)
        or by_cgroup(machine.text("/proc/%s/cgroup" % process, 1 << 20) or "")
        or by_cgroup(machine.text("/proc/1/cgroup", 1 << 20) or "")
        or by_root_mount(machine.text("/proc/%s/mountinfo" % process, 1 << 24) or "")
    )
    # WSL sets the word for its distributions; it is no container (see virtualization).
    return None if found == "wsl" else found


# --- virtual machines ----------------------------------------------------------------------


def is_wsl(release, version):
    """Whether a kernel is that of the Windows Subsystem for Linux, by osrelease or version."""
    text = release or version
    return "microsoft" in text.lower() or "-wsl" in text.lower()


def by_dmi(values):
    """*values*: those of ``_DMI_FILES``, ``""`` for what is not there."""
    if re.search(r"\.metal(-|\Z)", values[0]):
        return None  # Amazon's own machines, which are let as they are.
    for value in values:
        for start, name in _DMI:
            if value.startswith(start):
                return name
    is_microsoft = values[1] == "Microsoft Corporation" and values[0] == "Virtual Machine"
    return "microsoft" if is_microsoft else None


def by_device_tree(machine):
    """Arm, POWER and RISC-V have no DMI, or hide it."""
    text = machine.text("/proc/device-tree/hypervisor/compatible", 256)
    if text is not None:
        for part, name in (("linux,kvm", "kvm"), ("xen", "xen"), ("vmware", "vmware")):
            if part in text:
                return name
        return "other"
    if (machine.text("/proc/device-tree/compatible", 256) or "").startswith("qemu,pseries"):
        return "qemu"
    tree = machine.path("/proc/device-tree/ibm,partition-name")
    return "powervm" if os.path.exists(tree) else None


def by_sysinfo(text):
    """IBM Z: ``VM00 Control Program: KVM/Linux``."""
    match = re.search(r"^VM00 Control Program:\s*(\S+)", text, re.M)
    if match is None:
        return None
    return {"KVM/Linux": "kvm", "z/VM": "zvm"}.get(match.group(1), "other")


def by_cpuinfo(text, clocks):
    """A hypervisor that the processor admits; which one, the kernel's clocks may tell."""
    if re.search(r"^vendor_id\s*:\s*User Mode Linux", text, re.M):
        return "uml"
    if not re.search(r"^flags\s*:.*\bhypervisor\b", text, re.M):
        return None
    return next((name for part, name in _CLOCKS if part in clocks), "other")


def virtualization(machine, cpuinfo):
    """*cpuinfo*: the text of /proc/cpuinfo. ``other``: a hypervisor that is not known here."""
    release = machine.text("/proc/sys/kernel/osrelease", 4096) or ""
    if is_wsl(release, machine.text("/proc/version", 4096) or ""):
        return "wsl"
    if "control_d" in (machine.text("/proc/xen/capabilities", 256) or ""):
        return None  # Xen's first domain: it has the machine to itself.
    dmi = [(machine.text("/sys/class/dmi/id/" + name, 256) or "").strip() for name in _DMI_FILES]
    clocks = machine.text(_CLOCKSOURCE, 4096) or ""
    found = (
        by_dmi(dmi)
        or by_hypervisor_type(machine.text("/sys/hypervisor/type", 64) or "")
        or by_device_tree(machine)
        or by_sysinfo(machine.text("/proc/sysinfo", 1 << 16) or "")
        or by_cpuinfo(cpuinfo, clocks)
    )
    # QEMU says so whether it emulates the processor or KVM runs it.
    return "kvm" if found == "qemu" and "kvm-clock" in clocks else found


def by_hypervisor_type(text):
    return "xen" if text.strip() == "xen" else None
