"""The machine below: files of the operating system, on literal text."""

from __future__ import annotations

from pathlib import Path

import pytest

from envfreeze.probe import system
from envfreeze.probe.machine import Machine, is_utf8, utf8


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (
            'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nHOME_URL="x"\n# c\n',
            {"PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)", "ID": "debian"},
        ),
        ("ID='alpine'\nVERSION_ID=3.20\n", {"ID": "alpine", "VERSION_ID": "3.20"}),
        ("ID=\nnonsense\n", {"ID": ""}),
        ("", {}),
    ],
)
def test_os_release(text: str, read: dict[str, str]) -> None:
    assert system.os_release(text) == read


STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u10
Description: x
 Package: not a field
 .

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: held
Status: hold ok installed
Architecture: all
Version: 1:2-3
"""


def test_dpkg_status() -> None:
    assert system.dpkg_status(STATUS) == {"libc6:amd64": "2.36-9+deb12u10", "held:all": "1:2-3"}
    assert system.dpkg_status("") == {}
    assert system.dpkg_status("Status: install ok installed\n") == {}


def test_a_recorded_machine(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/os-release").write_text("ID=test\n")
    machine = Machine(root=str(tmp_path), environ={})
    facts = system.facts(machine)
    assert facts["os_release"] == {"ID": "test"}
    assert "dpkg" not in facts
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text(STATUS)
    assert len(system.facts(machine)["dpkg"]) == 2


def test_only_named_variables_that_print_are_kept() -> None:
    environ = {"LANG": "C.UTF-8", "TZ": "a\nb", "SECRET": "x", "LC_ALL": "\udcff"}
    assert Machine(environ=environ).allowed() == {"LANG": "C.UTF-8"}


def test_reading_has_a_limit_and_takes_regular_files_only(tmp_path: Path) -> None:
    import os

    machine = Machine(environ={})
    (tmp_path / "f").write_bytes(b"12\xff")
    os.mkfifo(tmp_path / "fifo")
    assert machine.read(str(tmp_path / "f"), 3) == b"12\xff"
    assert machine.read(str(tmp_path / "f"), 2) is None
    assert machine.text(str(tmp_path / "f")) == "12\ufffd"
    for name in ("fifo", "gone", ".", "a\0b"):
        assert machine.read(f"{tmp_path}/{name}") is None
    assert machine.read("/dev/zero") is None


def test_findings_are_utf8() -> None:
    machine = Machine(environ={})
    machine.find("kind", "a\udcff", "b\udcff", "do")
    assert machine.findings == [
        {"kind": "kind", "place": "a\\udcff", "detail": "b\\udcff", "advice": "do"}
    ]
    assert utf8("é") == "é"
    assert is_utf8("é") and not is_utf8("\udcff")
