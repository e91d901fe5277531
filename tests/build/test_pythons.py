"""Finding the interpreter that a lock names."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from envfreeze.build import pythons
from envfreeze.errors import TargetError
from envfreeze.model.snapshot import Interpreter
from tests.support import envs, locks


def here(**changes: Any) -> Interpreter:
    """The facts of the interpreter that runs the tests."""
    facts = {
        "implementation": sys.implementation.name,
        "version": envs.VERSION,
        "soabi": sysconfig.get_config_var("SOABI"),
        "platform": sysconfig.get_platform(),
        "base_executable": "/nowhere/bin/python3",
        "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "debug": bool(sysconfig.get_config_var("Py_DEBUG")),
    }
    return locks.interpreter(**(facts | changes))


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A machine whose usual places hold no interpreter."""
    monkeypatch.setattr(pythons, "USUAL", ())
    return {"PATH": "", "HOME": str(tmp_path), "PYENV_ROOT": str(tmp_path / "pyenv")}


def real(path: str) -> str:
    return os.path.realpath(path)


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_the_one_that_was_captured(nothing: dict[str, str]) -> None:
    assert real(pythons.matching(here(base_executable=envs.BASE), nothing)) == envs.BASE


def test_a_captured_path_that_is_no_python_is_not_run(
    nothing: dict[str, str], tmp_path: Path
) -> None:
    evil = script(tmp_path / "evil", f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    with pytest.raises(TargetError):
        pythons.matching(here(base_executable=str(evil)), nothing)
    assert not (tmp_path / "ran").exists()


def test_on_path(nothing: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").symlink_to(envs.BASE)
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    odd = [tmp_path / "file", tmp_path / "absent", tmp_path / "loop", "", tmp_path / "bin"]
    nothing["PATH"] = os.pathsep.join(map(str, odd))
    assert real(pythons.matching(here(), nothing)) == envs.BASE


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every directory")
def test_a_directory_that_may_not_be_entered(nothing: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    nothing["PATH"] = f"{tmp_path / 'closed'}{os.pathsep}{os.path.dirname(envs.BASE)}"  # noqa: PTH120
    assert real(pythons.matching(here(), nothing)) == envs.BASE


@pytest.mark.parametrize("place", ["pyenv/versions/x/bin", ".local/share/uv/python/x/bin"])
def test_version_managers(nothing: dict[str, str], tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "python3").symlink_to(envs.BASE)
    assert real(pythons.matching(here(), nothing)) == envs.BASE


def test_a_venv_gives_its_base(nothing: dict[str, str], tmp_path: Path) -> None:
    env = envs.make_venv(tmp_path / "env")
    for wanted in ({"named": str(env / "bin/python")}, {}):
        nothing["PATH"] = str(env / "bin")
        assert real(pythons.matching(here(), nothing, **wanted)) == envs.BASE


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "3.99.1"},
        {"implementation": "pypy"},
        {"soabi": "cpython-399-other"},
        {"soabi": None},
        {"platform": "linux-riscv64"},
        {"free_threaded": not here().free_threaded},
        {"debug": not here().debug},
    ],
)
def test_another_is_not_taken(nothing: dict[str, str], changes: dict[str, Any]) -> None:
    wanted = here(**changes)
    with pytest.raises(TargetError) as caught:
        pythons.matching(wanted, nothing, envs.BASE)
    text = str(caught.value)
    assert f"no {wanted.implementation} {wanted.version}" in text
    assert f"cpython {envs.VERSION}" in text
    assert envs.BASE in text
    assert "None" not in text
    assert "--python" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    ["#!/bin/sh\nexit 3\n", "#!/bin/sh\necho '{}'\n", "#!/bin/sh\necho '[1]'\n", "#!/absent\n", ""],
)
def test_what_is_no_python(nothing: dict[str, str], tmp_path: Path, text: str) -> None:
    named = str(script(tmp_path / "python3", text))
    with pytest.raises(TargetError, match="does not run, or is no Python"):
        pythons.matching(here(), nothing, named)
    nothing["PATH"] = str(tmp_path)
    with pytest.raises(TargetError, match="none that runs"):
        pythons.matching(here(), nothing)


def test_one_that_is_named_and_absent(nothing: dict[str, str]) -> None:
    with pytest.raises(TargetError, match="/absent/python does not run"):
        pythons.matching(here(), nothing, "/absent/python")


def test_every_one_seen_is_listed_once(nothing: dict[str, str], tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "python3").symlink_to(envs.BASE)
    nothing["PATH"] = f"{tmp_path / 'one'}{os.pathsep}{tmp_path / 'two'}"
    with pytest.raises(TargetError) as caught:
        pythons.matching(here(version="3.99.0"), nothing)
    assert str(caught.value).count(f"cpython {envs.VERSION}") == 1


def test_those_that_are_seen_end_with_the_one_that_fits(
    nothing: dict[str, str], tmp_path: Path
) -> None:
    broken = script(tmp_path / "bin/python3", "#!/bin/sh\nexit 3\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/python3").symlink_to(envs.BASE)
    nothing["PATH"] = f"{broken.parent}{os.pathsep}{tmp_path}/other"
    (found,) = pythons.seen(here(), nothing)
    assert (found.version, found.implementation) == (envs.VERSION, sys.implementation.name)
    assert real(found.path) == envs.BASE
    assert pythons.seen(here(version="3.0.1"), nothing) == [found]
