"""A changed executable bit on a file of a proved wheel comes back, and verify names it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from envfreeze import workflow
from tests.support import envs
from tests.support.cli import envfreeze, ok
from tests.support.environments import Environment
from tests.support.fakeindex import make_wheel
from tests.support.installers import UV

MODES = {
    "demo/tool.py": 0o100755,
    "demo/few.dat": 0o100654,
    "demo/untyped.dat": 0o755,
    "demo-1.0.data/scripts/plain": 0o100644,
    "demo-1.0.data/data/bin/share": 0o100644,
}
"""On ``untyped.dat`` and ``plain`` installers disagree."""


@pytest.fixture
def env(tmp_path: Path) -> Environment:
    return Environment(prefix=envs.make_venv(tmp_path / "env"))


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return make_wheel(
        tmp_path / "wheels",
        "demo",
        "1.0",
        {
            "demo/__init__.py": "def main():\n    print('hello')\n",
            "demo/tool.py": "x = 1\n",
            "demo/few.dat": "few\n",
            "demo/data.txt": "data\n",
            "demo/untyped.dat": "untyped\n",
        },
        scripts={"plain": "#!python\nprint(1)\n", "shell": "#!/bin/sh\necho 1\n"},
        data={"bin/share": "#!/bin/sh\n"},
        entry_points="[console_scripts]\nhello = demo:main\n",
        modes=MODES,
    )


def install(env: Environment, installer: str, wheel: Path) -> None:
    if installer == "pip":
        env.pip("--no-index", wheel)
    else:
        argv = [UV, "pip", "install", "-q", "--no-index", "--python", env.python, wheel]
        subprocess.run(argv, check=True, env=env.environ)


def bits(prefix: Path) -> dict[str, bool]:
    """Which files of demo are executable."""
    found = [*(prefix / envs.SITE / "demo").glob("*.*")]
    found += [prefix / "bin" / name for name in ("hello", "plain", "shell", "share")]
    return {str(path.relative_to(prefix)): os.access(path, os.X_OK) for path in found}


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_the_bits_come_back_and_are_named(
    env: Environment, wheel: Path, tmp_path: Path, installer: str
) -> None:
    more = {"ENVFREEZE_CACHE_DIR": str(tmp_path / "cache"), "PIP_NO_INDEX": "1"}
    lock, edited = tmp_path / "env.lock", tmp_path / "edited.lock"
    install(env, installer, wheel)
    untouched = bits(env.prefix)
    ok(envfreeze("capture", env.prefix, "-o", lock, env=more))
    (demo,) = workflow.load(lock).packages
    assert demo.facts.edits == [], "what its installer left is no edit"
    ok(envfreeze("build", lock, "--into", tmp_path / "first", env=more))
    assert bits(tmp_path / "first") == untouched

    (env.site / "demo/data.txt").chmod(0o755)
    (env.site / "demo/tool.py").chmod(0o644)
    (env.prefix / "bin/hello").chmod(0o644)
    (env.prefix / "bin/shell").chmod(0o644)
    said = ok(envfreeze("verify", lock, env.prefix, env=more), code=1).stdout
    assert "mode changed: scripts/hello is no longer executable; scripts/shell is no longer" in said
    for path in ("site/demo/data.txt", "site/demo/tool.py", "scripts/hello", "scripts/shell"):
        assert path in said

    ok(envfreeze("capture", env.prefix, "-o", edited, env=more))
    (demo,) = workflow.load(edited).packages
    assert [(edit.path, edit.kind, edit.executable) for edit in demo.facts.edits] == [
        ("scripts/hello", "mode", False),
        ("scripts/shell", "mode", False),
        ("site/demo/data.txt", "mode", True),
        ("site/demo/tool.py", "mode", False),
    ]
    assert demo.facts.patch is None
    built = ok(envfreeze("build", edited, "--into", tmp_path / "second", env=more))
    assert "verified" in built.stdout
    assert bits(tmp_path / "second") == bits(env.prefix) != untouched
    assert workflow.load(lock).machine.id != workflow.load(edited).machine.id


def test_a_packed_distribution_keeps_its_bits(
    env: Environment, wheel: Path, tmp_path: Path
) -> None:
    """Its wheel is gone, so that it is packed from the files; uv makes all scripts executable."""
    more = {"ENVFREEZE_CACHE_DIR": str(tmp_path / "cache"), "PIP_NO_INDEX": "1"}
    install(env, "uv", wheel)
    wheel.unlink()
    for path in (env.site / "demo/data.txt", env.prefix / "bin/share"):
        path.chmod(0o755)
    for path in (env.prefix / "bin/hello", env.prefix / "bin/shell"):
        path.chmod(0o644)
    ok(envfreeze("capture", env.prefix, "-o", tmp_path / "env.lock", env=more))
    ok(envfreeze("build", tmp_path / "env.lock", "--into", tmp_path / "out", env=more))
    assert bits(tmp_path / "out") == bits(env.prefix)
