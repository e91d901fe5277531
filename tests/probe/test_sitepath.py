"""The simulated sys.path against the real one, by every interpreter at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from envfreeze.probe import sitepath
from envfreeze.probe.machine import Machine
from tests import strategies
from tests.support.environments import Environment, install, plain_environ
from tests.support.pythons import newest, parameters


def expected(environment: Environment) -> list[str]:
    """The real sys.path, as far as it can hold distributions."""
    stdlib = {os.path.realpath(path) for path in environment.stdlib()}
    return [
        path
        for path in environment.sys_path()
        if Path(path).is_dir() and os.path.realpath(path) not in stdlib
    ]


def observed(environment: Environment) -> list[str]:
    return [site.path for site in environment.snapshot().sites]


@pytest.mark.parametrize("python", parameters())
def test_a_venv_sees_its_own_site_packages(python: Path, tmp_path: Path) -> None:
    environment = Environment.make(python, tmp_path / "env")
    assert observed(environment) == expected(environment) == [str(environment.site)]
    assert [site.kind for site in environment.snapshot().sites] == ["site"]


@pytest.mark.parametrize("python", parameters())
def test_system_site_packages_follow_the_venvs(python: Path, tmp_path: Path) -> None:
    user = tmp_path / "user"
    environment = Environment.make(python, tmp_path / "env", "--system-site-packages")
    environment.environ["PYTHONUSERBASE"] = str(user)
    version = environment.site.parent.name
    (user / "lib" / version / "site-packages").mkdir(parents=True)
    assert observed(environment) == expected(environment)
    kinds = [site.kind for site in environment.snapshot().sites]
    assert kinds[:2] == ["site", "user"]
    assert set(kinds[2:]) <= {"system", "pth"}
    assert kinds[2] == "system"


@pytest.mark.parametrize("python", parameters())
def test_pth_files_are_read_as_site_reads_them(python: Path, tmp_path: Path) -> None:
    environment = Environment.make(python, tmp_path / "env")
    site = environment.site
    for name in ("one", "two", "hidden", "later", "spaced out", "café"):
        (tmp_path / name).mkdir()
    (site / "inside").mkdir()
    (site / "a.pth").write_text(
        f"# a comment\n\n{tmp_path}/one\n{tmp_path}/missing\ninside\n"
        f"import sys; sys.marker = 1\nimport\tos\n{tmp_path}/one\n{tmp_path}/spaced out   \n"
        f"../../../../two\n"
    )
    (site / "b.pth").write_bytes(f"{tmp_path}/café\n".encode())
    (site / ".hidden.pth").write_text(f"{tmp_path}/hidden\n")
    (site / "z.pth").write_bytes(f"{tmp_path}/later\r\n".encode())
    (site / "not-a-pth.txt").write_text(f"{tmp_path}/two\n")
    environment.environ["LC_ALL"] = "C.UTF-8"
    assert observed(environment) == expected(environment)
    assert str(tmp_path / "later") in observed(environment)


@pytest.mark.parametrize("python", parameters())
def test_pythonpath_comes_first(python: Path, tmp_path: Path) -> None:
    environment = Environment.make(python, tmp_path / "env")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    install(tmp_path / "a", "extra")
    environment.environ["PYTHONPATH"] = os.pathsep.join(
        [f"{tmp_path}/a/", f"{tmp_path}/b/../b", str(tmp_path / "gone")]
    )
    assert observed(environment) == [
        os.path.abspath(path)  # noqa: PTH100 - links stay
        for path in expected(environment)
    ]
    assert [site.kind for site in environment.snapshot().sites] == [
        "pythonpath",
        "pythonpath",
        "site",
    ]
    assert environment.dist("extra").site == str(tmp_path / "a")


def test_a_relative_pythonpath_is_meant_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = Environment.make(newest(), tmp_path / "env")
    (tmp_path / "lib").mkdir()
    monkeypatch.chdir(tmp_path)
    environment.environ["PYTHONPATH"] = "lib"
    assert observed(environment)[0] == str(tmp_path / "lib")


def test_pythonpath_naming_site_packages_does_not_strand_it(tmp_path: Path) -> None:
    environment = Environment.make(newest(), tmp_path / "env")
    environment.install("mine")
    environment.environ["PYTHONPATH"] = str(environment.site)
    snapshot = environment.snapshot()
    assert [(site.path, site.kind) for site in snapshot.sites] == [(str(environment.site), "site")]
    assert [dist.name for dist in snapshot.dists] == ["mine"]


def test_the_user_site_can_be_switched_off(tmp_path: Path) -> None:
    environment = Environment.make(newest(), tmp_path / "env", "--system-site-packages")
    user = tmp_path / "user" / "lib" / environment.site.parent.name / "site-packages"
    user.mkdir(parents=True)
    environment.environ["PYTHONUSERBASE"] = str(tmp_path / "user")
    assert str(user) in observed(environment)
    environment.environ["PYTHONNOUSERSITE"] = "1"
    assert str(user) not in observed(environment)
    assert observed(environment) == expected(environment)


def test_a_linked_lib64_is_one_place(tmp_path: Path) -> None:
    environment = Environment.make(newest(), tmp_path / "env")
    alias = tmp_path / "alias"
    alias.symlink_to(environment.site)
    (environment.site / "alias.pth").write_text(f"{alias}\n")
    environment.install("once")
    snapshot = environment.snapshot()
    assert [site.path for site in snapshot.sites] == [str(environment.site)]
    assert [dist.name for dist in snapshot.dists] == ["once"]


def test_debians_python_has_debians_directories(tmp_path: Path) -> None:
    if not Path("/usr/bin/python3").exists():
        pytest.skip("no /usr/bin/python3")
    environment = Environment(prefix=Path("/usr"), environ=plain_environ(HOME=str(tmp_path)))
    real = [path for path in environment.sys_path() if Path(path).is_dir()]
    stdlib = set(environment.stdlib())
    assert observed(environment) == [path for path in real if path not in stdlib]


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        ("/v/lib/python3.11/site-packages", "/v"),
        ("/v/lib64/python3.11/site-packages", "/v"),
        ("/usr/lib/python3/dist-packages", "/usr"),
        ("/usr/local/lib/python3.11/dist-packages", "/usr/local"),
        ("/lib/python3/dist-packages", "/"),
        ("/v/lib/pypy3.10/site-packages", "/v"),
        ("/somewhere/src", None),
    ],
)
def test_the_prefix_of_a_site_directory(path: str, prefix: str | None) -> None:
    assert sitepath.prefix_of(path, None) == prefix


@pytest.mark.parametrize(
    ("text", "system"),
    [
        ("", True),
        ("include-system-site-packages = false\n", False),
        ("Include-System-Site-Packages=TRUE\n", True),
        ("home = /x\nnonsense\n", True),
    ],
)
def test_pyvenv_cfg(text: str, system: bool, tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").write_text(text)
    (tmp_path / "bin").mkdir()
    venv = sitepath.find_venv(str(tmp_path / "bin" / "python"))
    assert venv is not None
    assert (venv.prefix, venv.system_site) == (str(tmp_path), system)


def test_no_pyvenv_cfg_is_no_venv(tmp_path: Path) -> None:
    assert sitepath.find_venv(str(tmp_path / "bin" / "python")) is None


def test_a_pth_line_that_no_path_can_be_ends_the_file_or_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "x.pth").write_bytes(b"a\0b\nthere\n")
    builder = sitepath.PathBuilder(Machine(environ={}))
    builder.add_site(str(tmp_path), "site")
    assert builder.entries[0] == (str(tmp_path), "site")


def test_a_latin1_pth_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "a.pth").write_bytes(b"# caf\xe9\nthere\n")
    builder = sitepath.PathBuilder(Machine(environ={}))
    builder.add_site(str(tmp_path), "site")
    assert builder.entries == [(str(tmp_path), "site"), (str(tmp_path / "there"), "pth")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(strategies.pth_text())
def test_any_pth_is_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "any.pth").write_text(text, encoding="utf-8", newline="")
    builder = sitepath.PathBuilder(Machine(environ={}))
    builder.add_site(str(tmp_path), "site")
    paths = [path for path, _ in builder.entries]
    assert paths[0] == str(tmp_path)
    assert len(paths) == len(set(paths))
    assert all(Path(path).exists() for path in paths)
