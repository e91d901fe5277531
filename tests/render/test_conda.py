"""Conda's own formats, each read by a reader that is not ours."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import msgspec
import pytest

from envfreeze.errors import LockError, UsageError
from envfreeze.model.lock import Lock
from envfreeze.render import conda
from tests.support import condas, envs
from tests.support.fakeindex import make_wheel
from tests.support.locks import lock

BESIDE = conda.Beside(directory=".", md5={"d" * 64: "f" * 32})


@pytest.fixture
def made(tmp_path: Path) -> Lock:
    found = lock(
        conda=condas.layer(
            condas.package("python", depends=["libfoo >=1,<2", "tzdata"]),
            condas.packed("libfoo", depends=["__glibc >=2.17"]),
            variables={"no": "1"},
        )
    )
    wheel = make_wheel(tmp_path, "tiny", "1.0", {"tiny.py": ""})
    local = envs.package_of(make_wheel(tmp_path, "own", "1.0", {"own.py": ""}))
    kept = msgspec.structs.replace(local.wheels[0], url=None, path="env.lock.d/x/own.whl")
    own = msgspec.structs.replace(local, wheels=[kept])
    return msgspec.structs.replace(found, packages=[own, envs.package_of(wheel)])


def test_an_explicit_file(made: Lock) -> None:
    assert conda.explicit(made, BESIDE).splitlines() == [
        "# platform: linux-64",
        "@EXPLICIT",
        f"{condas.CHANNEL}/linux-64/python-1.0-h0_0.conda#sha256:{'c' * 64}",
        f"./env.lock.d/ll/libfoo-1.0-h0_0.conda#sha256:{'d' * 64}",
    ]


def test_conda_lock_reads_its_file(made: Lock, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of the conda that it brings along.
        from conda_lock.lockfile import parse_conda_lock_file

    path = tmp_path / "conda-lock.yml"
    path.write_text(conda.conda_lock(made, "env.lock", BESIDE))
    found = parse_conda_lock_file(path)
    rows = {(p.name, p.version, p.manager): p for p in found.package}
    assert set(rows) == {
        ("libfoo", "1.0", "conda"),
        ("python", "1.0", "conda"),
        ("tiny", "1.0", "pip"),
    }
    python = rows["python", "1.0", "conda"]
    assert (python.hash.md5, python.hash.sha256) == ("a" * 32, "c" * 64)
    assert python.dependencies == {"libfoo": ">=1,<2", "tzdata": ""}
    assert rows["libfoo", "1.0", "conda"].hash.md5 == "f" * 32


def test_rattler_reads_the_pixi_lock(made: Lock, tmp_path: Path) -> None:
    import rattler

    path = tmp_path / "pixi.lock"
    path.write_text(conda.pixi(made, BESIDE))
    found = rattler.LockFile.from_path(path)
    environment = found.default_environment()
    assert environment is not None
    (platform,) = found.platforms()
    packages = environment.packages(platform)
    assert packages is not None
    assert {package.name for package in packages} == {"python", "libfoo", "tiny"}
    assert path.read_text().startswith("version: 6\n")


def _yaml(text: str) -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="safe").load(text)


def test_an_environment_file(made: Lock) -> None:
    assert _yaml(conda.environment(made, "env")) == {
        "name": "env",
        "channels": [condas.CHANNEL, "nodefaults"],
        "dependencies": ["python=1.0=h0_0", "libfoo=1.0=h0_0", {"pip": ["tiny==1.0"]}],
        "variables": {"no": "1"},
    }


def test_what_is_left_out_is_named(made: Lock) -> None:
    assert conda.left_out(made, "conda-lock") == {
        "conda libfoo": "it has no public URL: packed beside the lock, named by its path",
        "pip own": "no index has it as it is: left out",
    }
    assert set(conda.left_out(made, "conda-explicit")) == {"conda libfoo", "pip own", "pip tiny"}
    assert set(conda.left_out(made, "environment")) == {"conda libfoo", "pip own"}
    without = lock(conda=condas.layer(condas.package("a", md5=None)))
    assert "md5" in conda.left_out(without, "conda-lock")["conda a"]
    assert 'name: "a"' not in conda.conda_lock(without, "x", BESIDE)


@pytest.mark.parametrize("text", ["a: b # c", "- x", '"\\', "{{x}}", "!!python/object", "é\u2028x"])
def test_no_text_of_a_lock_is_more_than_a_text(text: str) -> None:
    made = lock(conda=condas.layer(condas.package("a", depends=[f"b {text}"], license=text)))
    found = _yaml(conda.conda_lock(made, text, BESIDE))
    assert found["package"][0]["dependencies"] == {"b": text}
    assert _yaml(conda.pixi(made, BESIDE))["packages"][0]["license"] == text
    assert json.dumps(text)


def test_a_path_or_url_that_would_be_more_than_one_is_refused() -> None:
    made = lock(conda=condas.layer(condas.packed("foo")))
    with pytest.raises(LockError, match="cannot stand"):
        conda.explicit(made, conda.Beside(directory="a b"))
    artifact = condas.package("a").artifact
    assert artifact is not None
    artifact = msgspec.structs.replace(artifact, url="https://c.example/a b\n@EXPLICIT")
    with pytest.raises(LockError, match="cannot stand"):
        conda.explicit(lock(conda=condas.layer(condas.package("a", artifact=artifact))), BESIDE)


def test_a_lock_without_conda_has_no_such_form() -> None:
    with pytest.raises(UsageError, match="no conda packages"):
        conda.explicit(lock(), BESIDE)


def test_each_channel_that_packages_are_from_is_named() -> None:
    other = "https://other.example/forge"
    made = lock(
        conda=condas.layer(
            condas.package("a"), condas.package("b", channel=other), channels=[condas.CHANNEL]
        )
    )
    found = _yaml(conda.environment(made, "x"))
    assert found["channels"] == [condas.CHANNEL, other, "nodefaults"]
