"""Environments, wheels and locks that an enemy wrote, through the real commands.

Nothing of them runs, nothing is read or written where it does not belong, and memory stays where
it is for honest ones. No index is needed: the one here is our own, on the loopback.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.cli import envfreeze, ok
from tests.support.environments import Environment, install
from tests.support.fakeindex import FakeIndex
from tests.support.locks import BASE

MEMORY = 450 << 20
"""Bytes of address space in use that a command may have at its peak, beside the probe."""


@dataclass(frozen=True)
class World:
    """A venv, an index, and what a command is told of both."""

    env: Environment
    index: FakeIndex
    top: Path

    @property
    def settings(self) -> dict[str, str]:
        return {
            "PIP_INDEX_URL": self.index.url,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_FIND_LINKS": "",
            "ENVFREEZE_CACHE_DIR": str(self.top / "cache"),
        }

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return envfreeze(*arguments, env=self.settings, cwd=self.top)

    @property
    def lock(self) -> Path:
        return self.top / "out/env.lock"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "files").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "secret").write_text("nobody may keep this\n")
    with FakeIndex(tmp_path / "files") as index:
        env = Environment.make(Path(sys.executable), tmp_path / "env")
        yield World(env, index, tmp_path)


def everything(top: Path, *but: str) -> set[str]:
    """Every path below *top*, but what lies in the directories *but*."""
    found = set()
    for directory, names, files in os.walk(top):
        if Path(directory) == top:
            names[:] = [name for name in names if name not in but]
        found |= {f"{directory}/{name}" for name in (*names, *files)}
    return found


WORDS = (
    "$(touch CANARY)",
    "`touch CANARY`",
    "; touch CANARY #",
    "' ; touch CANARY ; '",
    '" ; touch CANARY ; "',
    "x\u2028RUN touch CANARY",
    "\u202etxt.exe",
    "%s%n{{7*7}}{% raw %}",
    "-rf",
    "..",
    "a b",
    "é日本",
)


def test_hostile_names_stay_names(world: World) -> None:
    """Directory names, metadata, scripts, .pth files: captured, rebuilt, verified, never run."""
    site = world.env.site
    for number, word in enumerate(WORDS):
        name = f"{word.replace('/', '')}{number}"
        info = site / f"{name}-1.0.dist-info"
        info.mkdir()
        (site / f"{name}.py").write_text("import os; os.system('touch CANARY')\n")
        (info / "METADATA").write_text(f"Name: {word}\nVersion: 1.0{word}\n")
        (info / "WHEEL").write_text(f"Wheel-Version: 1.0\nTag: {word}\nTag: py3-none-any\n")
        (info / "INSTALLER").write_text(f"{word}\n")
        (info / "entry_points.txt").write_text(
            f"[console_scripts]\n{word} = os:system\n../../evil{number} = os:system\n"
        )
        (info / "direct_url.json").write_text(json.dumps({"url": f"file:///{word}"}))
        rows = [f'"{name}.py",,', f'"{info.name}/METADATA",,', "../../../../secret,,"]
        (info / "RECORD").write_text("\n".join(rows).replace('""', '"') + "\n")
    canary = world.top / "CANARY"
    (site / "evil.pth").write_text(f"import os; os.system('touch {canary}')\n/\n../../../nowhere\n")
    (site / "sitecustomize.py").write_text(f"import os; os.system('touch {canary}')\n")
    long = install(site, "a" * 200, "1")
    (long / "METADATA").write_text(f"Name: {'b' * 3000}\nVersion: {'9' * 5000}\n")
    before = everything(world.top, "cache", "out")
    ok(world.run("capture", world.env.prefix, "-o", world.lock))
    done = world.run("build", world.lock, "--into", world.top / "out/v", "--python", sys.executable)
    assert "verified" in ok(done).stdout
    ok(world.run("diff", world.lock, world.top / "out/v"))
    arguments = ["--to", "docker", "--base", BASE, "--render-only", world.top / "out/context"]
    ok(world.run("build", world.lock, *arguments))
    assert everything(world.top, "cache", "out") == before
    assert not [path for path in everything(world.top) if path.endswith("CANARY")]
    assert not [path for path in everything(world.top / "out") if "evil" in Path(path).name][1:]
    for path in (world.top / "out").rglob("*"):
        if path.is_file():
            assert b"nobody may keep" not in path.read_bytes()
    assert "\nRUN touch" not in (world.top / "out/context/Dockerfile").read_text()


def test_links_out_of_the_tree_are_links(world: World) -> None:
    """RECORD owns a link to a file elsewhere: what lies there is not the distribution's. A link to
    a directory is a source tree, but never to one that holds the machine."""
    password = Path("/etc/passwd").read_bytes()
    site = world.env.site
    install(site, "demo", files={"demo/__init__.py": b"x = 1\n", "demo/mine.txt": b"mine"})
    (site / "demo/mine.txt").unlink()
    (site / "demo/mine.txt").symlink_to(world.top / "secret")
    (site / "demo/loose.txt").symlink_to(world.top / "secret")
    (site / "demo/whole").symlink_to("/etc")
    info = install(site, "other", rows=["other/key,,", "other/dir/passwd,,"])
    (site / "other").mkdir(exist_ok=True)
    (site / "other/key").symlink_to(world.top / "secret")
    (site / "other/dir").symlink_to("/etc")
    assert info.is_dir()
    ok(world.run("capture", world.env.prefix, "-o", world.lock))
    for path in [*world.lock.parent.rglob("*"), *(world.top / "cache").rglob("*")]:
        if path.is_file():
            assert b"nobody may keep" not in unpacked(path)
            assert password not in unpacked(path)
    done = world.run("build", world.lock, "--into", world.top / "v", "--python", sys.executable)
    assert "verified" in ok(done).stdout


def unpacked(path: Path) -> bytes:
    """A file and, where it is an archive, all that it holds."""
    import tarfile

    found = path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            found += b"".join(archive.read(name) for name in archive.namelist())
    elif tarfile.is_tarfile(path):
        with tarfile.open(path) as tar:
            found += b"".join(
                stream.read() for m in tar if m.isreg() and (stream := tar.extractfile(m))
            )
    return found
