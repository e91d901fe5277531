"""Environments made by hand: a venv, and distributions as an installer would leave them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from envfreeze.model.snapshot import Dist, Snapshot
from envfreeze.store import Cache
from envfreeze.targets import local
from envfreeze.targets.bundle import Observation


def claim(content: bytes) -> str:
    """The hash field of RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
    return "sha256=" + digest.rstrip(b"=").decode()


def plain_environ(**extra: str) -> dict[str, str]:
    """The environment without what steers an interpreter or names an active one."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "VIRTUAL_ENV", "CONDA", "COV_", "PYENV_"))
    }
    return {**kept, **extra}


@dataclass(kw_only=True)
class Environment:
    """A venv under a temporary directory, or another interpreter with what it sees."""

    prefix: Path
    environ: dict[str, str] = field(default_factory=plain_environ)
    interpreter: Path | None = None
    """Where it is no venv's; then *prefix* is a directory to work in."""

    @classmethod
    def make(cls, base: Path, prefix: Path, *options: str) -> Environment:
        subprocess.run(
            [base, "-m", "venv", "--without-pip", *options, prefix],
            check=True,
            env=plain_environ(),
            capture_output=True,
        )
        return cls(prefix=prefix)

    @property
    def python(self) -> Path:
        if self.interpreter is not None:
            return self.interpreter
        python = self.prefix / "bin" / "python"
        return python if python.exists() else python.with_name("python3")

    @property
    def site(self) -> Path:
        (found,) = (self.prefix / "lib").glob("python3.*/site-packages")
        return found

    def install(self, name: str, version: str = "1.0", **more: object) -> Path:
        return install(self.site, name, version, **more)  # type: ignore[arg-type]

    def pip(self, *arguments: str | Path, wheel: Path | None = None) -> None:
        """``pip install`` into it: by the tests' own pip, or by an old one out of its *wheel*."""
        if wheel is None:
            argv = [sys.executable, "-m", "pip", "--python", self.python]
        else:
            argv = [self.python, wheel / "pip"]
        quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
        self.call(*argv, "install", "--quiet", *arguments, **quiet)

    def call(self, *argv: str | Path, cwd: Path | None = None, **environ: str) -> str:
        """The output of a program that must succeed, run with the variables of this one."""
        done = subprocess.run(
            list(map(str, argv)),
            env={**self.environ, **environ},
            cwd=cwd or self.prefix,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def run(self, code: str, *flags: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            [self.python, *flags, "-c", code],
            env=self.environ,
            cwd=cwd or self.prefix,
            capture_output=True,
            check=True,
        )
        return done.stdout.decode()

    def sys_path(self) -> list[str]:
        """sys.path as a normal start has it, without the program's own directory."""
        code = "import sys, json; print('@' + json.dumps(sys.path[1:]))"
        return list(json.loads(self.run(code).rpartition("@")[2]))

    def stdlib(self) -> list[str]:
        code = "import sys, json; print(json.dumps([p for p in sys.path if p]))"
        return list(json.loads(self.run(code, "-S", "-I")))

    def observe(self, cache: Cache | None = None, *, rehash: bool = False) -> Observation:
        target = local.LocalTarget(python=str(self.python), described="test", own=False)
        return local.observe(target, environ=self.environ, cache=cache, rehash=rehash)

    def snapshot(self) -> Snapshot:
        return self.observe().snapshot

    def dist(self, name: str) -> Dist:
        (found,) = (dist for dist in self.snapshot().dists if dist.name == name)
        return found

    def kinds(self) -> set[str]:
        """The kinds of the findings."""
        return {finding.kind for finding in self.snapshot().findings}


def install(
    site: Path,
    name: str,
    version: str = "1.0",
    *,
    files: Mapping[str, bytes] | None = None,
    rows: Sequence[str] = (),
    metadata: str | None = None,
    record: str | None = None,
    extra: Mapping[str, str] | None = None,
) -> Path:
    """Place a distribution with a correct RECORD; returns its dist-info directory.

    :param files: by path relative to *site*, as RECORD names them.
    :param rows: further lines of RECORD.
    :param metadata: instead of a correct METADATA.
    :param record: instead of a correct RECORD.
    :param extra: further files of the dist-info directory.
    """
    stem = re.sub(r"[-.]+", "_", name)
    info = f"{stem}-{version}.dist-info"
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    contents = dict(files if files is not None else {f"{stem}/__init__.py": b"X = 1\n"})
    contents[f"{info}/METADATA"] = (text if metadata is None else metadata).encode()
    contents[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    contents[f"{info}/INSTALLER"] = b"pip\n"
    for path, content in (extra or {}).items():
        contents[f"{info}/{path}"] = content.encode()
    for path, data in contents.items():
        place = site / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    lines = [f"{path},{claim(data)},{len(data)}" for path, data in sorted(contents.items())]
    lines += [*rows, f"{info}/RECORD,,"]
    usual = "".join(f"{line}\n" for line in lines)
    (site / info / "RECORD").write_text(usual if record is None else record)
    return site / info


def tree(top: Path) -> dict[str, object]:
    """Everything about *top* that a reader could have changed: names, content, times, modes."""
    found: dict[str, object] = {}
    for directory, names, files in os.walk(top):
        for name in [*names, *files]:
            path = Path(directory) / name
            st = path.lstat()
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            found[str(path)] = (
                st.st_mode,
                st.st_ino,
                st.st_size,
                st.st_mtime_ns,
                st.st_ctime_ns,
                hashlib.sha256(content).hexdigest(),
            )
    return found
