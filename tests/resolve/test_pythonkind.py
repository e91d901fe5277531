"""Which kind of interpreter, by the signs of each; and the real ones of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envfreeze.model.snapshot import Interpreter, Signs
from envfreeze.resolve.pythonkind import Owner, Seen, Verdict, arguments_of, judge
from tests import strategies
from tests.support.locks import interpreter
from tests.support.prefixes import like_uv
from tests.support.probing import interpreter_of
from tests.support.pythons import available

BOOKWORM = {
    "ID": "debian",
    "VERSION_CODENAME": "bookworm",
    "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)",
}
JAMMY = {"ID": "ubuntu", "ID_LIKE": "debian", "VERSION_CODENAME": "jammy"}
MINT = {"ID": "linuxmint", "ID_LIKE": "ubuntu debian", "PRETTY_NAME": "Linux Mint 21"}
ROCKY = {"ID": "rocky", "ID_LIKE": "rhel", "PRETTY_NAME": "Rocky Linux 9.3 (Blue Onyx)"}

IMAGE = (
    "'--build=x86_64-linux-gnu' '--enable-loadable-sqlite-extensions' '--enable-optimizations' "
    "'--enable-option-checking=fatal' '--enable-shared' '--with-lto' '--with-ensurepip' "
    "'build_alias=x86_64-linux-gnu'"
)
PYENV = (
    "'--prefix={0}' '--enable-shared' '--libdir={0}/lib' "
    "'LDFLAGS=-L{0}/lib -Wl,-rpath,{0}/lib' 'LIBS=-L{0}/lib -Wl,-rpath,{0}/lib' "
    "'CPPFLAGS=-I{0}/include'"
)
PBS = "https://github.com/astral-sh/python-build-standalone/releases/download"


def at(prefix: str, signs: Signs | None = None, **changes: Any) -> Interpreter:
    known: dict[str, Any] = {
        "base_prefix": prefix,
        "base_executable": f"{prefix}/bin/python3.11",
        "stdlib": f"{prefix}/lib/python3.11",
        "signs": signs or Signs(),
    }
    return interpreter(**(known | changes))


def ask(facts: Interpreter, os_release: dict[str, str] | None = None, **seen: Any) -> Verdict:
    return judge(Seen(facts=facts, os_release=os_release or {}, **seen))


# --- one by one ------------------------------------------------------------------------------


def test_debian() -> None:
    owner = Owner(name="python3.11-minimal", version="3.11.2-6+deb12u6")
    assert ask(at("/usr"), BOOKWORM, owner=owner) == Verdict(
        kind="debian",
        evidence="dpkg has python3.11-minimal 3.11.2-6+deb12u6 on Debian GNU/Linux 12 (bookworm)",
    )


@pytest.mark.parametrize("release", [JAMMY, MINT])
def test_ubuntu(release: dict[str, str]) -> None:
    owner = Owner(name="python3.10-minimal", version="3.10.12-1~22.04.3")
    assert ask(at("/usr"), release, owner=owner).kind == "ubuntu"


def test_deadsnakes() -> None:
    said = "apt's lists offer this version from the archive of deadsnakes"
    owner = Owner(name="python3.12-minimal", version="3.12.4-1+jammy1", deadsnakes=said)
    found = ask(at("/usr"), JAMMY, owner=owner)
    assert found.kind == "deadsnakes"
    assert found.evidence == f"dpkg has python3.12-minimal 3.12.4-1+jammy1 on ubuntu; {said}"


def test_the_systems_own_where_dpkg_could_not_be_asked() -> None:
    schemes = Signs(schemes=["deb_system", "posix_local"])
    assert ask(at("/usr", schemes), BOOKWORM).kind == "debian"
    assert ask(at("/usr", schemes), JAMMY).kind == "ubuntu"
    found = ask(at("/usr", Signs(schemes=["rpm_prefix"])), ROCKY)
    assert found == Verdict(
        kind="system",
        evidence=(
            "its prefix is /usr on Rocky Linux 9.3 (Blue Onyx), sysconfig has the scheme "
            "rpm_prefix; what owns it was not looked up"
        ),
    )
    assert ask(at("/usr")).kind == "system"


def test_conda() -> None:
    signs = Signs(conda_record="python-3.11.7-hab00c5b_1_cpython", packaged_by="conda-forge")
    url = "https://mirror.example/conda-forge/linux-64/python-3.11.7-hab00c5b_1_cpython.conda"
    assert ask(at("/opt/conda", signs), conda_url=url) == Verdict(
        kind="conda",
        evidence=(
            "conda-meta has python-3.11.7-hab00c5b_1_cpython, sys.version says packaged by "
            "conda-forge"
        ),
        lead=url,
    )


def test_standalone() -> None:
    signs = Signs(built_prefix="/install", standalone_build="20240107")
    assert ask(at("/opt/python", signs)) == Verdict(
        kind="python-build-standalone",
        evidence="sysconfig prefix is /install and BUILD says 20240107",
        lead=(
            f"{PBS}/20240107/cpython-3.11.7%2B20240107-x86_64-unknown-linux-gnu-install_only.tar.gz"
        ),
    )


def test_standalone_that_uv_manages() -> None:
    signs = Signs(
        built_prefix="/home/u/.local/share/uv/python/cpython-3.11.7-linux-x86_64-gnu",
        standalone=True,
        standalone_build="20240107",
        externally_managed="This Python installation is managed by uv and should not be modified.",
    )
    found = ask(at("/home/u/.local/share/uv/python/cpython-3.11.7-linux-x86_64-gnu", signs))
    assert found.kind == "python-build-standalone"
    assert found.evidence == (
        "sysconfig has PYTHON_BUILD_STANDALONE, BUILD says 20240107 and EXTERNALLY-MANAGED says "
        "managed by uv"
    )
    assert found.lead is not None
    assert found.lead.endswith("-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz")


@pytest.mark.parametrize(
    ("changes", "ending"),
    [
        ({"platform": "macosx-11.0-arm64", "machine": "arm64"}, "aarch64-apple-darwin"),
        ({"machine": "aarch64"}, "aarch64-unknown-linux-gnu"),
        ({"libc": "musl"}, "x86_64-unknown-linux-musl"),
        ({"config_args": "'CFLAGS=-O3 -march=x86-64-v3'"}, "x86_64_v3-unknown-linux-gnu"),
        ({"free_threaded": True}, "x86_64-unknown-linux-gnu-freethreaded"),
    ],
)
def test_the_name_of_a_standalone_build(changes: dict[str, Any], ending: str) -> None:
    signs = Signs(built_prefix="/install", standalone_build="20240107")
    lead = ask(at("/p", signs, **changes)).lead
    assert lead == f"{PBS}/20240107/cpython-3.11.7%2B20240107-{ending}-install_only.tar.gz"


@pytest.mark.parametrize(
    ("build", "changes"),
    [
        (None, {}),
        ("../../x", {}),
        ("20240107", {"machine": "mips"}),
        ("20240107", {"version": "3.11.7; rm"}),
    ],
)
def test_a_name_is_not_made_up(build: str | None, changes: dict[str, Any]) -> None:
    signs = Signs(built_prefix="/install", standalone_build=build)
    found = ask(at("/p", signs, **changes))
    assert (found.kind, found.lead) == ("python-build-standalone", None)


@pytest.mark.parametrize(
    ("signs", "said"),
    [
        (
            Signs(image_version="3.11.7", image_sha256="a" * 64),
            "PYTHON_VERSION and PYTHON_SHA256 of the environment name it, and its configure "
            "arguments are the official image's",
        ),
        (Signs(), "its configure arguments are the official image's"),
    ],
)
def test_the_official_image(signs: Signs, said: str) -> None:
    found = ask(at("/usr/local", signs, config_args=IMAGE), BOOKWORM)
    assert found == Verdict(
        kind="docker-image",
        evidence=said,
        lead="image python:3.11.7-bookworm or python:3.11.7-slim-bookworm",
    )
    alpine = at("/usr/local", signs, config_args=IMAGE, libc="musl 1.2.4")
    assert ask(alpine).lead == "image python:3.11.7-alpine"


def test_an_older_official_image_is_told_by_its_variable() -> None:
    older = IMAGE.replace("'--enable-option-checking=fatal' ", "")
    assert ask(at("/usr/local", Signs(image_version="3.11.7"), config_args=older)).kind == (
        "docker-image"
    )
    assert ask(at("/usr/local", Signs(image_version="3.9.0"), config_args=older)).kind == (
        "self-built"
    )


def test_a_variable_alone_makes_no_official_image() -> None:
    signs = Signs(image_version="3.11.7", image_sha256="a" * 64, built_prefix="/usr/local")
    assert ask(at("/usr/local", signs, config_args="'--enable-optimizations'")).kind == (
        "self-built"
    )
    assert ask(at("/opt/x", signs, config_args=IMAGE)).kind == "self-built"


def test_homebrew() -> None:
    prefix = "/opt/homebrew/Cellar/python@3.11/3.11.7_1/Frameworks/Python.framework/Versions/3.11"
    found = ask(at(prefix, Signs(framework="Python")))
    assert found == Verdict(
        kind="homebrew",
        evidence="it lies in Homebrew's Cellar/python@3.11/3.11.7_1",
        lead="formula python@3.11 3.11.7_1",
    )


def test_frameworks() -> None:
    prefix = "/Library/Frameworks/Python.framework/Versions/3.11"
    found = ask(at(prefix, Signs(framework="Python")))
    assert (found.kind, found.lead) == ("framework", None)
    assert "Apple" not in found.evidence
    signs = Signs(framework="Python3", schemes=["osx_framework_library"])
    assert "Apple" in ask(at("/Library/Developer/X", signs)).evidence


def test_pypy() -> None:
    signs = Signs(implementation_version="7.3.15", schemes=["pypy"])
    prefix = "/home/u/.pyenv/versions/pypy3.10-7.3.15"
    found = ask(at(prefix, signs, implementation="pypy", version="3.10.13"))
    assert found == Verdict(
        kind="pypy",
        evidence="sys.implementation is pypy 7.3.15, in pyenv's directory of pypy3.10-7.3.15",
        lead="https://downloads.python.org/pypy/pypy3.10-v7.3.15-linux64.tar.gz",
    )
    assert ask(at("/p", Signs(), implementation="pypy")).lead is None


def test_pyenv_by_its_directory_or_by_its_flags() -> None:
    assert ask(at("/home/u/.pyenv/versions/3.11.7")).kind == "pyenv"
    prefix = "/srv/tools/versions/3.11.7"
    assert ask(at(prefix, config_args=PYENV.format(prefix))).kind == "pyenv"
    assert ask(at(prefix, Signs(built_prefix=prefix))).kind == "self-built"


def test_self_built() -> None:
    found = ask(at("/opt/py", Signs(built_prefix="/opt/py"), config_args="'--prefix=/opt/py'"))
    assert found == Verdict(
        kind="self-built", evidence="configured for /opt/py; no sign of a distributor"
    )
    moved = ask(at("/home/u/py", Signs(built_prefix="/opt/py")))
    assert "configured for /opt/py and moved to /home/u/py" in moved.evidence
    asdf = "/home/u/.asdf/installs/python/3.11.7"
    assert "python-build" in ask(at(asdf, config_args=PYENV.format(asdf))).evidence


def test_unknown() -> None:
    assert ask(at("/p")).kind == "unknown"
    assert ask(at("/p", Signs(built_prefix="/p"), implementation="graalpy")) == Verdict(
        kind="unknown", evidence="no sign of who made this graalpy"
    )


# --- in their order --------------------------------------------------------------------------


def test_the_surer_sign_decides() -> None:
    record = Signs(conda_record="python-3.11.7-0", built_prefix="/install")
    owner = Owner(name="python3.11-minimal", version="1")
    assert ask(at("/home/u/.pyenv/versions/miniconda3", record)).kind == "conda"
    assert ask(at("/p", Signs(conda_record="python-3.9-0_pypy"), implementation="pypy")).kind == (
        "conda"
    )
    assert ask(at("/usr", implementation="pypy"), BOOKWORM, owner=owner).kind == "debian"


def test_evidence_is_one_short_printable_line() -> None:
    signs = Signs(conda_record="python-3.11.7-\n\x1b[31m" + "x" * 999)
    evidence = ask(at("/p", signs)).evidence
    assert evidence.isprintable()
    assert len(evidence) <= 300


def test_configure_arguments() -> None:
    text = "'--prefix=/p' 'CFLAGS=-g -O2' 'A=it'\\''s' ''"
    assert arguments_of(text) == ["--prefix=/p", "CFLAGS=-g -O2", "A=it's", ""]
    assert arguments_of("'" * 1001 + "--x") is not None
    assert arguments_of("") == []


@given(strategies.interpreters, st.dictionaries(strategies.words, strategies.words, max_size=2))
def test_any_interpreter_gets_a_verdict(facts: Interpreter, release: dict[str, str]) -> None:
    found = ask(facts, release)
    assert found.evidence
    assert "\n" not in found.evidence


# --- real ones -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", available())
def test_the_interpreters_of_this_machine(version: str) -> None:
    facts = interpreter_of(available()[version])
    if "/.pyenv/versions/" not in facts.base_prefix:
        pytest.skip("it is not pyenv's")
    found = ask(facts, BOOKWORM)
    assert found.kind == "pyenv"
    assert found.evidence == (
        f"it is pyenv's version {facts.version}; configured as its python-build does"
    )


def test_the_systems_interpreter_of_this_machine() -> None:
    python = Path("/usr/bin/python3")
    if not python.exists() or not Path("/var/lib/dpkg/status").exists():
        pytest.skip("no Debian's Python here")
    facts = interpreter_of(python)
    if "deb_system" not in facts.signs.schemes:
        pytest.skip("a Debian whose sysconfig has no scheme of its own")
    assert ask(facts, BOOKWORM).kind == "debian"


@pytest.mark.parametrize("version", available())
def test_one_as_uv_leaves_it(version: str, tmp_path: Path) -> None:
    facts = interpreter_of(like_uv(available()[version], tmp_path / "py"))
    found = ask(facts, BOOKWORM)
    assert found.kind == "python-build-standalone"
    assert "PYTHON_BUILD_STANDALONE, BUILD says 20240107 and EXTERNALLY-MANAGED" in found.evidence
    if facts.machine == "x86_64" and "glibc" in (facts.libc or ""):
        assert found.lead == (
            f"{PBS}/20240107/cpython-{facts.version}%2B20240107-x86_64-unknown-linux-gnu-"
            "install_only_stripped.tar.gz"
        )
