"""Record the documents that tools at hand write: ``python -m tests.diff.foreign.record``.

uv, pip and conda-lock's own model write them of a small project on the in-process index; only the
index's address is replaced. ``poetry.lock``, ``pixi.lock``, ``environment.yml`` and ``bom.json``
are written by hand in the shape of their formats: their tools are not installed for the tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support.fakeindex import FakeIndex, make_wheel

HERE = Path(__file__).parent / "documents"
INDEX = "https://index.example/simple/"
WHEELS = (
    ("alpha", "1.2.0", "Requires-Dist: beta>=1\n"),
    ("beta", "1.5", "Requires-Dist: gamma; sys_platform == 'win32'\n"),
    ("gamma", "0.4.6", ""),
    ("delta", "3.0", ""),
    ("epsilon", "4.0", ""),
    ("zeta", "1.0", "Requires-Python: <3.11\n"),
    ("zeta", "2.0", "Requires-Python: >=3.11\n"),
)
PROJECT = """\
[project]
name = "app"
version = "0.3"
requires-python = ">=3.10"
dependencies = ["alpha", "zeta"]

[project.optional-dependencies]
plot = ["delta"]

[dependency-groups]
test = ["epsilon"]

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory)
        (top / "wheels").mkdir()
        (top / "app").mkdir()
        (top / "app/pyproject.toml").write_text(PROJECT)
        for name, version, metadata in WHEELS:
            make_wheel(top / "wheels", name, version, metadata=metadata)
        with FakeIndex(top / "wheels") as index:
            _lock(top, index)
    (HERE / "conda-lock.yml").write_text(_conda_lock())


def _lock(top: Path, index: FakeIndex) -> None:
    uv = [sys.executable, "-m", "uv"]
    project = ["--project", str(top / "app"), "--index-url", index.url]
    frozen = [*uv, "export", "--frozen", "--no-emit-project", "-q", *project]
    _run(top, [*uv, "lock", "-q", "--python", sys.executable, *project])
    _keep("uv.lock", (top / "app/uv.lock").read_text(), index)
    _keep("pylock.toml", _run(top, [*frozen, "--format", "pylock.toml"]), index)
    _keep("requirements.txt", _run(top, [*frozen, "--format", "requirements.txt"]), index)
    pip = [sys.executable, "-m", "pip", "lock", "-q", "--index-url", index.url, "-o", "-"]
    _keep("pylock.pip.toml", _run(top, [*pip, "alpha", "zeta"]), index)


def _run(top: Path, argv: list[str]) -> str:
    clean = {"UV_CACHE_DIR": str(top / "cache"), "PIP_NO_CACHE_DIR": "1", "UV_NO_CONFIG": "1"}
    environ = {**os.environ, **clean}
    done = subprocess.run(argv, env=environ, cwd=top, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _keep(name: str, text: str, index: FakeIndex) -> None:
    text = text.replace(index.url, INDEX).replace(index.base, "https://index.example")
    lines = [line for line in text.splitlines() if not line.startswith("#    uv export")]
    (HERE / name).write_text("\n".join(lines) + "\n")


def _conda_lock() -> str:
    import yaml
    from conda_lock.lockfile.v1.models import HashModel, LockedDependency, Lockfile, LockMeta

    def locked(name: str, version: str, platform: str, **more: Any) -> LockedDependency:
        url = f"https://channel.example/main/{platform}/{name}-{version}-h0_0.conda"
        known: dict[str, Any] = {
            "manager": "conda",
            "url": url,
            "hash": HashModel(md5="a" * 32, sha256="b" * 64),
            "optional": False,
        }
        return LockedDependency(name=name, version=version, platform=platform, **(known | more))

    packages = [
        locked("python", "3.11.7", "linux-64"),
        locked("numpy", "1.10", "linux-64"),
        locked("pytest", "8.0.0", "linux-64", category="dev", optional=True),
        locked(
            "alpha",
            "1.2.0",
            "linux-64",
            manager="pip",
            url="https://index.example/alpha-1.2.0-py3-none-any.whl",
            hash=HashModel(sha256="c" * 64),
        ),
        locked("python", "3.11.7", "osx-64"),
        locked("numpy", "1.11", "osx-64"),
    ]
    channels: Any = [{"url": "https://channel.example/main", "used_env_vars": []}]
    metadata = LockMeta(
        content_hash={"linux-64": "d" * 64, "osx-64": "e" * 64},
        channels=channels,
        platforms=["linux-64", "osx-64"],
        sources=["environment.yml"],
    )
    document = Lockfile(package=packages, metadata=metadata).dict_for_output()
    return str(yaml.safe_dump(document, sort_keys=False))


if __name__ == "__main__":
    main()
