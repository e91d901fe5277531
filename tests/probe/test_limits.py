"""How much of the machine the process may use, on trees of /proc and /sys."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envfreeze.model.host import Limits
from envfreeze.probe import limits
from envfreeze.probe.machine import Machine
from tests.support.smallroot import write


def read(machine: Machine, process: str = "self") -> Limits:
    return msgspec.convert(limits.facts(machine, process), type=Limits)


V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNTS = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:10 - cgroup cgroup rw,memory
"""


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0-1\n", 2),
        ("0\n", 1),
        ("0-3,8,10-11", 7),
        ("", None),
        ("x", None),
        ("0-", None),
        ("3-1", None),
        ("0-9999999", None),
    ],
)
def test_lists_of_processors(text: str, count: int | None) -> None:
    assert limits.cpu_list(text) == count


def test_meminfo() -> None:
    text = "MemTotal:       24683656 kB\nMemFree:        1 kB\n"
    assert limits.memory_total(text) == 24683656 * 1024
    assert limits.memory_total("MemFree: 1 kB\n") is None


@pytest.mark.parametrize(
    ("text", "quota"),
    [
        ("max 100000\n", None),
        ("150000 100000\n", 1.5),
        ("20000 100000", 0.2),
        ("200000", 2.0),
        ("0 0", None),
        ("x y", None),
        ("", None),
    ],
)
def test_quota_of_version_2(text: str, quota: float | None) -> None:
    assert limits.quota_v2(text) == quota


def test_quota_of_version_1() -> None:
    assert limits.quota_v1("-1\n", "100000\n") is None
    assert limits.quota_v1("50000\n", "100000\n") == 0.5
    assert limits.quota_v1("50000", "") is None


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("max\n", None),
        ("536870912\n", 536870912),
        ("9223372036854771712\n", None),
        ("9223372036854710272", None),
        ("-1", None),
        ("", None),
    ],
)
def test_limits_of_memory(text: str, limit: int | None) -> None:
    assert limits.memory_limit(text) == limit


def test_a_nested_group_of_version_2_has_the_tightest_limit_above_it(tmp_path: Path) -> None:
    group = "/sys/fs/cgroup/user.slice/job.scope"
    machine = write(
        tmp_path,
        {
            "/proc/self/cgroup": "0::/user.slice/job.scope\n",
            "/proc/self/mountinfo": V2_MOUNT,
            "/sys/fs/cgroup/user.slice/cpu.max": "400000 100000\n",
            f"{group}/cpu.max": "max 100000\n",
            "/sys/fs/cgroup/user.slice/memory.max": "max\n",
            f"{group}/memory.max": "1073741824\n",
            "/proc/meminfo": "MemTotal: 1000 kB\n",
            "/proc/self/status": "Name:\tx\nCpus_allowed:\t5\nCpus_allowed_list:\t0,2\n",
            "/sys/devices/system/cpu/online": "0-7\n",
        },
    )
    assert read(machine) == Limits(
        online=8, allowed=2, quota=4.0, memory=1024000, memory_limit=1 << 30
    )


def test_version_1_as_a_host_shows_it(tmp_path: Path) -> None:
    machine = write(
        tmp_path,
        {
            "/proc/self/cgroup": "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/\n",
            "/proc/self/mountinfo": V1_MOUNTS,
            "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "2147483648\n",
            "/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "250000\n",
            "/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
        },
    )
    assert read(machine) == Limits(quota=2.5, memory_limit=2 << 30)


def test_version_1_as_its_container_shows_it(tmp_path: Path) -> None:
    """The path is the host's, and the group itself is mounted (no cgroup namespace)."""
    mounts = V1_MOUNTS.replace(" / /sys/fs/cgroup/", " /docker/abc /sys/fs/cgroup/")
    machine = write(
        tmp_path,
        {
            "/proc/self/cgroup": "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n",
            "/proc/self/mountinfo": mounts,
            "/sys/fs/cgroup/memory/memory.limit_in_bytes": "1000000\n",
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    assert read(machine) == Limits(memory_limit=1000000)


def test_a_path_of_another_namespace_leaves_the_mount_point(tmp_path: Path) -> None:
    machine = write(
        tmp_path,
        {
            "/proc/self/cgroup": "0::/../../elsewhere\n",
            "/proc/self/mountinfo": V2_MOUNT,
            "/sys/fs/cgroup/memory.max": "4096\n",
            "/elsewhere/memory.max": "1\n",
        },
    )
    assert read(machine) == Limits(memory_limit=4096)


def test_both_versions_at_once_and_a_mount_point_with_a_blank(tmp_path: Path) -> None:
    machine = write(
        tmp_path,
        {
            "/proc/self/cgroup": "3:memory:/a\n0::/b\n",
            "/proc/self/mountinfo": (
                "1 0 0:1 / /cg\\040one rw - cgroup cgroup rw,memory\n"
                "2 0 0:2 / /unified rw - cgroup2 cgroup2 rw\n"
            ),
            "/cg one/a/memory.limit_in_bytes": "9000\n",
            "/unified/b/memory.max": "8000\n",
        },
    )
    assert read(machine) == Limits(memory_limit=8000)


def test_another_process_has_its_own(tmp_path: Path) -> None:
    machine = write(
        tmp_path,
        {
            "/proc/77/cgroup": "0::/x\n",
            "/proc/77/mountinfo": V2_MOUNT,
            "/proc/77/status": "Cpus_allowed_list:\t3\n",
            "/sys/fs/cgroup/x/memory.max": "5\n",
        },
    )
    assert read(machine, "77") == Limits(allowed=1, memory_limit=5)
    assert read(machine) == Limits()


def test_a_machine_without_proc(tmp_path: Path) -> None:
    assert limits.facts(Machine(root=str(tmp_path), environ={})) == {}


def test_nonsense_is_survived(tmp_path: Path) -> None:
    machine = write(
        tmp_path,
        {
            "/proc/self/cgroup": "x\n:::\n0::relative\n0::/" + "a/" * 5000 + "\n5:memory:/m\n",
            "/proc/self/mountinfo": "- cgroup2\n1 2 3 / - cgroup2 x y\n\n" + V2_MOUNT + V1_MOUNTS,
            "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9" * 4000,
            "/proc/meminfo": "MemTotal: lots\n",
            "/proc/self/status": "Cpus_allowed_list:\tall\n",
            "/sys/devices/system/cpu/online": "\x00",
        },
    )
    os.mkfifo(tmp_path / "sys/fs/cgroup/memory.max")
    assert read(machine) == Limits()


PATHS = st.lists(st.sampled_from(["", "/", "..", "a", "docker", ".", "\0"])).map("/".join)


@given(PATHS, PATHS, PATHS)
def test_directories_stay_below_the_mount_point(path: str, root: str, mount: str) -> None:
    found = limits.directories("/" + path, "/" + root, "/" + mount)
    top = found[-1]
    assert all(one == top or one.startswith(f"{top}/") for one in found)
    assert all(".." not in one[len(top) :].split("/") for one in found)


@given(st.text(), st.text())
def test_any_text_gives_hierarchies(member: str, mounts: str) -> None:
    limits.memberships(member)
    limits.hierarchies(mounts)
    limits.quota_v2(member)
    limits.quota_v1(member, mounts)
    limits.memory_limit(member)
    limits.cpu_list(member)


def test_this_machine() -> None:
    found = read(Machine())
    assert found.online is None or 1 <= (found.allowed or 1) <= found.online
    if hasattr(os, "sched_getaffinity"):
        assert found.allowed == len(os.sched_getaffinity(0))
    if Path("/proc/meminfo").exists():
        assert found.memory
        assert found.memory == pytest.approx(
            os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), rel=0.01
        )
