"""Directories of a machine: links stay below its root, and nothing hostile gets through."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envfreeze.probe.machine import Machine
from envfreeze.probe.places import Places
from tests.support.trees import places


def test_links_stay_in_the_root(tmp_path: Path) -> None:
    found = places(
        tmp_path,
        {
            "/usr/local/cuda-13.0/version.txt": "x",
            "/usr/local/cuda": "-> /etc/alternatives/cuda",
            "/etc/alternatives/cuda": "-> ../../usr/local/cuda-13.0",
            "/etc/passwd": "the machine's",
            "/up": "-> ../../../../../../etc",
        },
    )
    assert found.real("/usr/local/cuda/version.txt") == "/usr/local/cuda-13.0/version.txt"
    assert found.text("/usr/local/cuda/version.txt", 10) == "x"
    assert found.text("/up/passwd", 20) == "the machine's"
    assert found.names("/usr/local/cuda") == {"version.txt"}


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    found = places(tmp_path, {"/a": "-> /b", "/b": "-> /a"})
    assert found.text("/a", 10) is None
    assert found.names("/a") == set()
    assert found.real("/a/x") == "/a/x"


def test_this_machine_resolves_as_the_system_does(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("")
    (tmp_path / "l").symlink_to("d")
    (tmp_path / "d/g").symlink_to("f")
    found = Places(Machine(environ={}))
    for path in ("l", "l/f", "l/g", "d/g", "gone/x", "l/../d/g"):
        full = f"{tmp_path}/{path}"
        assert found.real(full) == os.path.realpath(full)


def test_names_that_do_not_print_are_nobodys(tmp_path: Path) -> None:
    (tmp_path / "a\nb").write_text("")
    (tmp_path / "ok").write_text("")
    assert Places(Machine(environ={})).names(str(tmp_path)) == {"ok"}


@pytest.mark.parametrize("path", ["", "relative", "/a\nb", "bin:"])
def test_variables_name_absolute_directories_or_nothing(path: str) -> None:
    found = Places(Machine(environ={"CUDA_HOME": path, "PATH": path + ":/x"}))
    assert found.variable("CUDA_HOME") is None
    assert found.variables("PATH") == ["/x"]


def test_the_loaders_directories(tmp_path: Path) -> None:
    found = places(
        tmp_path,
        {
            "/own/x": "",
            "/conf/x": "",
            "/usr/lib/x86_64-linux-gnu/x": "",
            "/lib": "-> usr/lib",
            "/etc/ld.so.conf.d/a.conf": "# none\n/conf\nrelative\n",
            "/etc/ld.so.conf.d/b.txt": "/usr\n",
        },
        LD_LIBRARY_PATH="/own::/gone",
    )
    assert found.loaded_from() == ["/own", "/conf", "/usr/lib/x86_64-linux-gnu", "/usr/lib"]


def test_a_program_is_the_first_that_can_be_run(tmp_path: Path) -> None:
    files = {"/a/tool": "no program", "/b/tool": "#!/bin/sh\n", "/c/tool": "#!/bin/sh\n"}
    found = places(tmp_path, files, PATH="/gone:/a:/b:/c")
    if os.access(tmp_path / "a/tool", os.X_OK):  # pragma: no cover
        pytest.skip("here every file can be run")
    assert found.program("tool") == "/b/tool"
    assert found.program("other", ["/c"]) is None
