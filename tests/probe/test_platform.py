"""The platform: libc out of real bytes, locale, time zone, and all of it on small roots."""

from __future__ import annotations

import json
import os
import platform as standard
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from envfreeze.model.host import Cpu, Limits, Platform
from envfreeze.probe import platform
from envfreeze.probe.machine import Machine
from tests.probe.test_processor import AMD
from tests.support.pythons import available
from tests.support.smallroot import write

# Around the version in Debian 12's musl 1.2.3-1 (lib/x86_64-linux-musl/libc.so).
MUSL = (
    b"\x7fELF\0\0tmp == sp->fts_cur\0infinity\0nan\0\0\x01\x02\x04\x07\x03\x06\x05\0"
    b"/proc/self/fd/\x001.2.3\0Unsupported request %d\0/dev/tty\0r"
    b"\0musl libc (x86_64)\nVersion %s\nDynamic Program Loader\nUsage: %s [options]\0"
)
# In Debian 12's libc6 2.36-9+deb12u14.
GLIBC = (
    b"\x7fELF\0GNU C Library (Debian GLIBC 2.36-9+deb12u14) stable release version 2.36.\n"
    b"Copyright (C) 2022 Free Software Foundation, Inc.\n\0"
)


def read(machine: Machine) -> Platform:
    return msgspec.convert(platform.facts(machine), type=Platform)


# --- libc ------------------------------------------------------------------------------------


def test_the_version_in_musl() -> None:
    assert platform.musl_version(MUSL) == "1.2.3"
    assert platform.musl_version(MUSL.replace(b"1.2.3", b"1.2.5-git-12-gabc")) == "1.2.5"
    assert platform.musl_version(MUSL.replace(b"musl libc", b"other one")) is None
    assert platform.musl_version(MUSL.replace(b"\x001.2.3\0", b"\0")) is None
    assert platform.musl_version(b"") is None


def test_the_version_in_glibc() -> None:
    assert platform.glibc_version(GLIBC) == "2.36"
    assert platform.glibc_version(
        b"GNU C Library (GNU libc) development release version 2.39.9000."
    )
    assert platform.glibc_version(b"") is None


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"usr/lib/x86_64-linux-gnu/libc.so.6": GLIBC}, "glibc 2.36"),
        ({"lib/aarch64-linux-gnu/libc.so.6": GLIBC}, "glibc 2.36"),
        ({"usr/lib64/libc.so.6": GLIBC}, "glibc 2.36"),
        ({"lib/ld-musl-x86_64.so.1": MUSL}, "musl 1.2.3"),
        ({"lib/ld-musl-aarch64.so.1": b"\x7fELF of another make"}, "musl"),
        ({"lib/ld-musl-x86_64.so.1": MUSL, "lib64/libc.so.6": GLIBC}, "glibc 2.36"),
        ({"usr/lib64/libc.so.6": b"garbage"}, None),
        ({}, None),
    ],
)
def test_libc_of_a_recorded_machine(
    tmp_path: Path, files: dict[str, bytes], name: str | None
) -> None:
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    assert platform.libc(Machine(root=str(tmp_path), environ={})) == name


def test_libc_of_this_machine() -> None:
    name, version = standard.libc_ver()
    if name != "glibc":
        pytest.skip("this machine has no glibc")
    assert platform.libc(Machine()) == f"glibc {version}"
    # Read out of the file, as for a recorded machine, it is the same.
    assert platform._glibc(Machine()) == f"glibc {version}"


# --- locale ----------------------------------------------------------------------------------


def test_locale_variables() -> None:
    environ = {
        "LANG": "pt_PT.UTF-8",
        "LC_ALL": "",
        "LC_NUMERIC": "C",
        "LC_TIME": "a\nb",
        "LC_PAPER": "x" * 999,
        "LCX": "no",
        "LC_x": "no",
        "SECRET": "no",
    }
    assert platform.locale_variables(environ) == {"LANG": "pt_PT.UTF-8", "LC_NUMERIC": "C"}


PROGRAM = (
    "import json, sys; sys.path.insert(0, sys.argv[1])\n"
    "from envfreeze.probe import platform\nfrom envfreeze.probe.machine import Machine\n"
    "print(json.dumps(platform.facts(Machine())))"
)


def asked(python: str, environ: dict[str, str]) -> Platform:
    root = str(Path(platform.__file__).parents[2])
    done = subprocess.run(
        [python, "-S", "-B", "-c", PROGRAM, root],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return msgspec.convert(json.loads(done.stdout), type=Platform)


def test_what_the_interpreter_set_itself_is_not_what_was_set() -> None:
    """PEP 538: under the C locale Python sets LC_CTYPE in its own environment."""
    found = asked(sys.executable, {"LANG": "C"})
    assert found.locale["LANG"] == "C"
    assert "LC_CTYPE" not in found.locale
    if Path("/proc/self/environ").exists():
        given = asked(sys.executable, {"LANG": "C", "LC_CTYPE": "C.UTF-8"})
        assert given.locale["LC_CTYPE"] == "C.UTF-8"


def test_utf8_mode(tmp_path: Path) -> None:
    assert asked(sys.executable, {"PYTHONUTF8": "1"}).utf8_mode is True
    assert asked(sys.executable, {"PYTHONUTF8": "0", "LANG": "C"}).utf8_mode is False
    assert Platform(cpu=Cpu(), limits=Limits()).utf8_mode is False
    assert read(Machine(root=str(tmp_path), environ={"PYTHONUTF8": "1"})).utf8_mode is True


# --- time zone -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Europe/Lisbon", "Europe/Lisbon"),
        (":Europe/Lisbon\n", "Europe/Lisbon"),
        ("EST5EDT,M3.2.0,M11.1.0", "EST5EDT,M3.2.0,M11.1.0"),
        (":/usr/share/zoneinfo/Asia/Tokyo", "Asia/Tokyo"),
        ("/usr/share/zoneinfo/posix/Etc/UTC", "Etc/UTC"),
        ("/var/db/timezone/zoneinfo/Europe/Paris", "Europe/Paris"),
        ("/home/u/my-zone", None),
        ("a\nb", None),
        ("x" * 99, None),
    ],
)
def test_names_of_zones(text: str, name: str | None) -> None:
    assert platform.zone_name(text) == name


def test_the_time_zone_in_its_order(tmp_path: Path) -> None:
    def ask(**environ: str) -> str | None:
        return platform.timezone(Machine(root=str(tmp_path), environ=environ))

    assert ask() is None
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/localtime").symlink_to("../usr/share/zoneinfo/Europe/Vienna")
    assert ask() == "Europe/Vienna"
    (tmp_path / "etc/timezone").write_text("# a comment\nEurope/Lisbon\n")
    assert ask() == "Europe/Lisbon"
    assert ask(TZ="Asia/Tokyo") == "Asia/Tokyo"
    assert ask(TZ="") == "UTC"


def test_a_localtime_that_is_a_copy_has_no_name(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/localtime").write_bytes(b"TZif2")
    assert platform.timezone(Machine(root=str(tmp_path), environ={})) is None
    (tmp_path / "etc/localtime").unlink()
    (tmp_path / "etc/localtime").symlink_to("/opt/zone")
    assert platform.timezone(Machine(root=str(tmp_path), environ={})) is None


# --- all of it -------------------------------------------------------------------------------


def test_a_recorded_machine(tmp_path: Path) -> None:
    machine = write(
        tmp_path,
        {
            "/proc/sys/kernel/osrelease": "6.1.0-18-amd64\n",
            "/proc/cpuinfo": AMD,
            "/proc/meminfo": "MemTotal: 1000 kB\n",
            "/sys/devices/system/cpu/online": "0-1\n",
            "/etc/timezone": "Etc/UTC\n",
            "/.dockerenv": "",
        },
    )
    machine.environ["LANG"] = "C.UTF-8"
    found = read(machine)
    assert found.kernel_release == "6.1.0-18-amd64"
    assert found.cpu.level == "x86-64-v3"
    assert found.limits == Limits(online=2, memory=1024000)
    assert (found.container, found.virtualization) == ("docker", "other")
    assert found.locale == {"LANG": "C.UTF-8"}
    assert found.timezone == "Etc/UTC"


def test_an_empty_machine_tells_nothing(tmp_path: Path) -> None:
    found = platform.facts(Machine(root=str(tmp_path), environ={}))
    assert found == {"cpu": {}, "limits": {}, "locale": {}, "utf8-mode": False}


def test_files_that_are_no_files(tmp_path: Path) -> None:
    for name in ("proc/sys/kernel/osrelease", "proc/version", "etc/timezone", "proc/1/environ"):
        (tmp_path / name).mkdir(parents=True)
    os.mkfifo(tmp_path / "proc/cpuinfo")
    os.mkfifo(tmp_path / "proc/meminfo")
    (tmp_path / "usr/lib").mkdir(parents=True)
    os.mkfifo(tmp_path / "usr/lib/ld-musl-x.so.1")
    (tmp_path / "proc/self").symlink_to("self")
    found = read(Machine(root=str(tmp_path), environ={}))
    assert found == Platform(libc="musl", cpu=Cpu(), limits=Limits())


@pytest.mark.parametrize("version", available())
def test_every_interpreter_tells_the_same_of_this_machine(version: str) -> None:
    environ = {"LANG": "C.UTF-8", "TZ": "Europe/Lisbon"}
    expected = asked(sys.executable, environ)
    found = asked(str(available()[version]), environ)
    assert found == expected
    assert found.timezone == "Europe/Lisbon"
    assert found.kernel_release == os.uname().release
    assert found.locale == {"LANG": "C.UTF-8", "encoding": "UTF-8"}
