"""What is looked at inside an image, run as the program that it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import msgspec

from envfreeze.diff.inside import Inside
from envfreeze.model.identity import tree_digest
from envfreeze.probe import inside
from envfreeze.resolve import stdlib
from envfreeze.resolve.rootfs import Root
from envfreeze.store import Cache
from tests.support.locks import interpreter

EXECUTABLE = os.path.realpath(sys.executable)
FACTS = {
    "stdlib": sysconfig.get_paths(vars={"installed_base": sys.base_prefix})["stdlib"],
    "executable": sys.executable,
    "base_executable": EXECUTABLE,
    "base_prefix": sys.base_prefix,
}


def ask(tmp_path: Path, *, files: list[str], environ: dict[str, str]) -> Inside:
    request: dict[str, Any] = {
        "interpreter": {**FACTS, "libpython": None},
        "files": files,
        "environment": ["A", "B"],
        "marker": "mark",
    }
    place = tmp_path / "request.json"
    place.write_text(json.dumps(request))
    done = subprocess.run(
        [sys.executable, "-S", "-B", str(inside.__file__), str(place)],
        env=environ,
        capture_output=True,
        check=True,
    )
    return msgspec.json.decode(done.stdout.partition(b"mark")[2], type=Inside)


def test_the_interpreters_files_are_those_of_a_capture(tmp_path: Path) -> None:
    found = ask(tmp_path, files=[], environ={})
    wanted = stdlib.examine(interpreter(**FACTS), None, Root(), Cache(tmp_path / "cache"))
    assert wanted.digest is not None
    assert tree_digest((path, word) for path, word in found.own if word) == wanted.digest


def test_files_links_and_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    (tmp_path / "link").symlink_to("x")
    names = [str(tmp_path / name) for name in ("x", "link", "none")]
    found = ask(tmp_path, files=names, environ={"A": 'a "b" $c'})
    sha256 = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    assert found.files == {names[0]: sha256, names[1]: "-> x", names[2]: None}
    assert found.environment == {"A": 'a "b" $c', "B": None}


def test_where_path_leads(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(EXECUTABLE)
    found = ask(tmp_path, files=[], environ={"PATH": str(tmp_path / "bin")})
    assert found.python == str(tmp_path / "bin/python")
    assert found.real == found.wanted == EXECUTABLE
    assert ask(tmp_path, files=[], environ={"PATH": str(tmp_path)}).python is None
