"""Containers and virtual machines, by the signs that they leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from envfreeze.probe import surroundings
from envfreeze.probe.machine import Machine
from tests.support.smallroot import write

HYPERVISOR = "flags\t\t: fpu sse hypervisor lahf_lm\n"
CLOCKS = "/sys/devices/system/clocksource/clocksource0/available_clocksource"


@pytest.mark.parametrize(
    ("environ", "files", "name"),
    [
        ({}, {}, None),
        ({}, {"/.dockerenv": ""}, "docker"),
        ({}, {"/run/.containerenv": 'engine="podman-4.3.1"\n'}, "podman"),
        ({}, {"/proc/1/environ": "PATH=/bin\0container=lxc\0TERM=x\0"}, "lxc"),
        ({}, {"/proc/1/environ": "container=systemd-nspawn\0"}, "systemd-nspawn"),
        ({}, {"/run/systemd/container": "systemd-nspawn\n"}, "systemd-nspawn"),
        ({"container": "podman"}, {"/.dockerenv": ""}, "podman"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, {"/.dockerenv": ""}, "kubernetes"),
        ({}, {"/run/secrets/kubernetes.io/serviceaccount/namespace": "x"}, "kubernetes"),
        (
            {"APPTAINER_CONTAINER": "/x.sif", "SINGULARITY_CONTAINER": "/x.sif"},
            {},
            "apptainer",
        ),
        ({"SINGULARITY_NAME": "x.sif"}, {}, "singularity"),
        ({}, {"/.singularity.d/runscript": ""}, "apptainer"),
        ({}, {"/proc/self/cgroup": "2:cpu:/docker/0123\n0::/\n"}, "docker"),
        ({}, {"/proc/1/cgroup": "0::/kubepods.slice/pod1/cri-containerd-9.scope\n"}, "kubernetes"),
        ({}, {"/proc/1/cgroup": "0::/machine.slice/libpod-1.scope\n"}, "podman"),
        ({}, {"/proc/1/cgroup": "11:memory:/lxc/web\n"}, "lxc"),
        ({}, {"/proc/1/cgroup": "0::/user.slice/user-0.slice/session-1.scope\n"}, None),
        (
            {},
            {
                "/proc/self/mountinfo": (
                    "700 600 0:55 / / rw - overlay overlay rw,lowerdir=/var/lib/containerd/"
                    "io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs\n"
                )
            },
            "containerd",
        ),
        ({}, {"/proc/self/mountinfo": "25 0 8:1 / / rw - ext4 /dev/sda1 rw\n"}, None),
        ({"container": "a\nb"}, {"/proc/1/environ": "container=" + "x" * 99}, None),
        ({"container": "wsl"}, {}, None),
    ],
)
def test_containers(
    tmp_path: Path, environ: dict[str, str], files: dict[str, str], name: str | None
) -> None:
    write(tmp_path, files)
    assert surroundings.container(Machine(root=str(tmp_path), environ=environ)) == name


@pytest.mark.parametrize(
    ("cpuinfo", "files", "name"),
    [
        ("flags\t: fpu sse\n", {}, None),
        (HYPERVISOR, {}, "other"),
        (HYPERVISOR, {CLOCKS: "tsc kvm-clock acpi_pm\n"}, "kvm"),
        (HYPERVISOR, {CLOCKS: "hyperv_clocksource_tsc_page acpi_pm\n"}, "microsoft"),
        ("flags\t: fpu\n", {CLOCKS: "tsc kvm-clock\n"}, None),
        ("vendor_id\t: User Mode Linux\n", {}, "uml"),
        (
            "",
            {"/proc/sys/kernel/osrelease": "5.15.90.1-microsoft-standard-WSL2\n"},
            "wsl",
        ),
        (
            "",
            {
                "/proc/version": (
                    "Linux version 4.4.0-19041-Microsoft (Microsoft@Microsoft.com) "
                    "(gcc version 5.4.0 (GCC) ) #1237-Microsoft\n"
                )
            },
            "wsl",
        ),
        (
            HYPERVISOR,
            {"/proc/sys/kernel/osrelease": "6.8.0-1014-azure\n"},
            "other",
        ),
    ],
)
def test_virtual_machines(
    tmp_path: Path, cpuinfo: str, files: dict[str, str], name: str | None
) -> None:
    assert surroundings.virtualization(write(tmp_path, files), cpuinfo) == name


@pytest.mark.parametrize(
    ("product", "vendor", "name"),
    [
        ("KVM", "Red Hat", "kvm"),
        ("Standard PC (Q35 + ICH9, 2009)", "QEMU", "qemu"),
        ("VMware Virtual Platform", "VMware, Inc.", "vmware"),
        ("VirtualBox", "innotek GmbH", "virtualbox"),
        ("Virtual Machine", "Microsoft Corporation", "microsoft"),
        ("Surface Laptop 4", "Microsoft Corporation", None),
        ("Google Compute Engine", "Google", "google"),
        ("m5.large", "Amazon EC2", "amazon"),
        ("i3.metal", "Amazon EC2", None),
        ("u-6tb1.metal-2", "Amazon EC2", None),
        ("HVM domU", "Xen", "xen"),
        ("PowerEdge R740", "Dell Inc.", None),
    ],
)
def test_the_names_that_firmware_gives(
    tmp_path: Path, product: str, vendor: str, name: str | None
) -> None:
    files = {"product_name": product, "sys_vendor": vendor, "bios_vendor": "SeaBIOS"}
    machine = write(tmp_path, {f"/sys/class/dmi/id/{key}": f"{v}\n" for key, v in files.items()})
    assert surroundings.virtualization(machine, "") == name


def test_qemu_is_kvm_where_the_clock_is(tmp_path: Path) -> None:
    machine = write(
        tmp_path, {"/sys/class/dmi/id/sys_vendor": "QEMU\n", CLOCKS: "kvm-clock tsc acpi_pm\n"}
    )
    assert surroundings.virtualization(machine, HYPERVISOR) == "kvm"


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"/sys/hypervisor/type": "xen\n"}, "xen"),
        ({"/sys/hypervisor/type": "xen\n", "/proc/xen/capabilities": "control_d\n"}, None),
        ({"/proc/device-tree/hypervisor/compatible": "linux,kvm\0"}, "kvm"),
        ({"/proc/device-tree/hypervisor/compatible": "acme,box\0"}, "other"),
        ({"/proc/device-tree/compatible": "qemu,pseries\0"}, "qemu"),
        ({"/proc/device-tree/ibm,partition-name": "lpar1\0"}, "powervm"),
        ({"/proc/sysinfo": "Manufacturer: IBM\nVM00 Control Program: KVM/Linux\n"}, "kvm"),
        ({"/proc/sysinfo": "VM00 Name: LINUX1\nVM00 Control Program: z/VM    7.1.0\n"}, "zvm"),
    ],
)
def test_other_architectures(tmp_path: Path, files: dict[str, str], name: str | None) -> None:
    assert surroundings.virtualization(write(tmp_path, files), "") == name
