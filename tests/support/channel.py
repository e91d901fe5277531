"""A conda channel made by hand, in both package formats, and prefixes linked from it by py-rattler.

What lies in ``conda-meta`` of such a prefix was written by a tool that is not ours. The packages
follow CEP 35 (``.conda``), CEP 36 (repodata) and conda-build's ``info/paths.json``.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from envfreeze.model.snapshot import CondaPrefix, Snapshot, System
from envfreeze.probe import conda as probe
from envfreeze.probe.files import Hasher
from envfreeze.probe.machine import Machine
from tests.support.locks import interpreter

PLACEHOLDER = ("/tmp/build/_h_env" + "_placehold" * 30)[:255]
SUBDIR = "linux-64"
TAG = "python{}.{}".format(*sys.version_info)
PYTHON = "{}.{}.{}".format(*sys.version_info)
_LEFT_OUT = {
    "__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3",
    "turtledemo", "tkinter", "ensurepip", "pydoc_data", "distutils", "unittest", "curses",
    "sqlite3", "dbm", "wsgiref", "msilib", "asyncio",
}  # fmt: skip
_KEPT = {"asyncio"}
_NEEDING = ("_ssl", "_tkinter", "_sqlite3", "readline", "_curses", "_gdbm", "_dbm", "_lzma", "_bz2")
_NEEDING += ("_ctypes", "_uuid", "nis", "_crypt", "_hashlib", "ossaudiodev", "_test", "xx")
"""Modules that need libraries of the system: each of those costs a capture time."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a package holds. A content that names :data:`PLACEHOLDER` is to be replaced."""

    name: str
    version: str = "1.0"
    build: str = "h0_0"
    number: int = 0
    noarch: str | None = None
    depends: tuple[str, ...] = ()
    constrains: tuple[str, ...] = ()
    files: Mapping[str, bytes | Path] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    executable: tuple[str, ...] = ()
    no_link: tuple[str, ...] = ()
    entry_points: tuple[str, ...] = ()
    kind: str = "conda"
    """``conda`` or ``tar.bz2``."""

    @property
    def subdir(self) -> str:
        return "noarch" if self.noarch else SUBDIR

    @property
    def filename(self) -> str:
        return f"{self.name}-{self.version}-{self.build}.{self.kind}"


@dataclass
class Channel:
    """A directory with packages and their repodata."""

    root: Path
    records: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, recipe: Recipe) -> Path:
        """Write the package of *recipe*; its place."""
        path = self.root / recipe.subdir / recipe.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        members = _members(recipe)
        (_conda if recipe.kind == "conda" else _tar_bz2)(path, recipe, members)
        content = path.read_bytes()
        self.records[recipe.filename] = _index(recipe) | {
            "md5": hashlib.md5(content).hexdigest(),
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
        }
        return path

    def write(self) -> None:
        """Write repodata.json of each subdir."""
        for subdir in ("noarch", SUBDIR):
            here = {k: v for k, v in self.records.items() if v["subdir"] == subdir}
            document = {
                "info": {"subdir": subdir},
                "packages": {k: v for k, v in here.items() if k.endswith(".tar.bz2")},
                "packages.conda": {k: v for k, v in here.items() if k.endswith(".conda")},
                "repodata_version": 1,
            }
            (self.root / subdir).mkdir(parents=True, exist_ok=True)
            (self.root / subdir / "repodata.json").write_text(json.dumps(document))


def _index(recipe: Recipe) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": recipe.name,
        "version": recipe.version,
        "build": recipe.build,
        "build_number": recipe.number,
        "depends": list(recipe.depends),
        "constrains": list(recipe.constrains),
        "license": "MIT",
        "subdir": recipe.subdir,
        "timestamp": 1700000000000,
    }
    if recipe.noarch:
        found["noarch"] = recipe.noarch
    return found


def _members(recipe: Recipe) -> dict[str, bytes]:
    """The files below ``info``."""
    paths = []
    for path, content in recipe.files.items():
        data = content.read_bytes() if isinstance(content, Path) else content
        entry: dict[str, Any] = {
            "_path": path,
            "path_type": "hardlink",
            "sha256": hashlib.sha256(data).hexdigest(),
            "size_in_bytes": len(data),
        }
        if PLACEHOLDER.encode() in data:
            entry["prefix_placeholder"] = PLACEHOLDER
            entry["file_mode"] = "binary" if b"\0" in data else "text"
        if path in recipe.no_link:
            entry["no_link"] = True
        paths.append(entry)
    for path, target in recipe.links.items():
        data = recipe.files.get(str(Path(path).parent / target), b"")
        data = data.read_bytes() if isinstance(data, Path) else data
        paths.append(
            {
                "_path": path,
                "path_type": "softlink",
                "sha256": hashlib.sha256(data).hexdigest(),
                "size_in_bytes": len(data),
            }
        )
    found = {
        "info/index.json": json.dumps(_index(recipe)).encode(),
        "info/paths.json": json.dumps({"paths": paths, "paths_version": 1}).encode(),
        "info/files": "".join(f"{one['_path']}\n" for one in paths).encode(),
    }
    if recipe.noarch == "python":
        link = {"noarch": {"type": "python", "entry_points": list(recipe.entry_points)}}
        found["info/link.json"] = json.dumps(link | {"package_metadata_version": 1}).encode()
    return found


def _conda(path: Path, recipe: Recipe, members: Mapping[str, bytes]) -> None:
    stem = path.name.removesuffix(".conda")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("metadata.json"), '{"conda_pkg_format_version": 2}')
        for part, content in (("pkg", _tar(recipe, {})), ("info", _tar(None, members))):
            archive.writestr(zipfile.ZipInfo(f"{part}-{stem}.tar.zst"), _zstd(content))


def _zstd(data: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(level=1).compress(data)


def _tar_bz2(path: Path, recipe: Recipe, members: Mapping[str, bytes]) -> None:
    import bz2

    path.write_bytes(bz2.compress(_tar(recipe, members), 1))


def _tar(recipe: Recipe | None, members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            _add(archive, name, data, 0o644)
        for name, content in (recipe.files if recipe else {}).items():
            data = content.read_bytes() if isinstance(content, Path) else content
            mode = 0o755 if recipe and name in recipe.executable else 0o644
            _add(archive, name, data, mode)
        for name, target in (recipe.links if recipe else {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return out.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), mode, 1700000000
    archive.addfile(info, io.BytesIO(data))


# --- the packages --------------------------------------------------------------------------


def python_recipe() -> Recipe:
    """This Python's standard library and executable, without what no test needs."""
    base = Path(os.path.realpath(sys._base_executable))  # type: ignore[attr-defined]
    stdlib = Path(sysconfig.get_path("stdlib"))
    prefix = sys.base_prefix.encode()
    files: dict[str, bytes | Path] = {}
    libpython = sysconfig.get_config_var("INSTSONAME") or ""
    shared = Path(sysconfig.get_config_var("LIBDIR") or "/") / libpython
    if libpython.endswith(".so.1.0") and shared.is_file():
        files[f"lib/{libpython}"] = shared
    content = base.read_bytes()
    rpath = str(shared.parent).encode()
    relative = b"$ORIGIN/../lib"
    if rpath + b"\0" in content and len(rpath) >= len(relative):
        content = content.replace(rpath + b"\0", relative.ljust(len(rpath), b"\0") + b"\0")
    files[f"bin/{TAG}"] = content
    for path in _stdlib(stdlib):
        name = f"lib/{TAG}/{path.relative_to(stdlib)}"
        files[name] = path
        if path.name.startswith("_sysconfigdata"):
            files[name] = path.read_bytes().replace(prefix, PLACEHOLDER.encode())
    return Recipe(
        name="python",
        version=PYTHON,
        build="h1234_0_cpython",
        files=files,
        links={"bin/python": TAG, "bin/python3": TAG},
        executable=(f"bin/{TAG}",),
        constrains=("python_abi 3.*",),
    )


def _stdlib(stdlib: Path) -> Iterator[Path]:
    for here, directories, files in os.walk(stdlib):
        left_out = _LEFT_OUT - _KEPT
        directories[:] = sorted(d for d in directories if d not in left_out and "config-" not in d)
        for name in sorted(files):
            if name.endswith((".py", ".so", ".txt")) and not (
                name.endswith(".so") and name.startswith(_NEEDING)
            ):
                yield Path(here, name)


WHEEL = b"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def dist_info(
    name: str, version: str, files: Mapping[str, bytes], extra: str = ""
) -> dict[str, bytes]:
    """The metadata directory as conda-build leaves it: a RECORD of pip's, and INSTALLER changed."""
    from tests.support.fakeindex import record_hash

    info = f"{name}-{version}.dist-info"
    found = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": WHEEL,
        f"{info}/direct_url.json": b'{"dir_info": {}, "url": "file:///croot/'
        + name.encode()
        + b'"}',
        f"{info}/REQUESTED": b"",
    }
    if extra:
        found[f"{info}/entry_points.txt"] = extra.encode()
    rows = [f"{path},{record_hash(data)},{len(data)}" for path, data in {**files, **found}.items()]
    rows += [f"{info}/INSTALLER,{record_hash(b'pip')},4", f"{info}/RECORD,,"]
    found[f"{info}/INSTALLER"] = b"conda"
    found[f"{info}/RECORD"] = ("\n".join(rows) + "\n").encode()
    return found


def noarch_recipe(name: str = "greet", version: str = "3.2.1", kind: str = "conda") -> Recipe:
    """A noarch Python package with an entry point and a script."""
    files = {
        f"{name}/__init__.py": f"VERSION = {version!r}\n".encode(),
        f"{name}/cli.py": b"def main():\n    print('hello from conda')\n",
        f"{name}/d\u00e4ta.txt": b"x\n",
    }
    metadata = dist_info(name, version, files, f"[console_scripts]\n{name} = {name}.cli:main\n")
    placed = {f"site-packages/{path}": data for path, data in {**files, **metadata}.items()}
    return Recipe(
        name=name,
        version=version,
        build="pyhd8ed1ab_0",
        noarch="python",
        depends=("python >=3.6",),
        files=placed,
        entry_points=(f"{name} = {name}.cli:main",),
        kind=kind,
    )


def library_recipe(build: str = "h1_1", number: int = 1, kind: str = "tar.bz2") -> Recipe:
    """A C library that names its prefix: once in text, twice in its bytes."""
    from tests.support.elfmaker import Elf, elf_bytes

    head = PLACEHOLDER.encode()
    body = elf_bytes(Elf(soname="libfoo.so.1")) + build.encode() + b"\0"
    body += head + b"/share/foo\0after\0" + head + b"/a:" + head + b"/b\0end\0"
    return Recipe(
        name="libfoo",
        version="1.2",
        build=build,
        number=number,
        files={
            "lib/libfoo.so.1": body,
            "lib/pkgconfig/foo.pc": b"prefix=" + head + b"\nlibdir=${prefix}/lib\n",
            "share/foo/empty": b"",
            "etc/conda/activate.d/foo.sh": b"export FOO=" + head + b"/share/foo\n",
        },
        links={"lib/libfoo.so": "libfoo.so.1"},
        kind=kind,
    )


def post_link_recipe() -> Recipe:
    """A package whose script makes a file when it is linked."""
    script = (
        b'#!/bin/sh\nmkdir -p "$PREFIX/share/post"\necho "$PREFIX" > "$PREFIX/share/post/made"\n'
    )
    return Recipe(
        name="poster",
        files={"bin/.poster-post-link.sh": script, "share/poster.txt": b"poster\n"},
        executable=("bin/.poster-post-link.sh",),
    )


@functools.cache
def template() -> Path:
    """The channel that most tests use, made once; not to be changed."""
    place = Path(tempfile.mkdtemp(prefix="envfreeze-channel-"))
    import atexit

    atexit.register(shutil.rmtree, place, ignore_errors=True)
    channel = Channel(place / "main")
    recipes = [
        python_recipe(),
        noarch_recipe(),
        library_recipe(),
        library_recipe("h1_0", 0, "conda"),
        post_link_recipe(),
        Recipe(name="wrongsum", files={"share/wrongsum": b"x\n"}),
    ]
    for recipe in recipes:
        channel.add(recipe)
    channel.records["wrongsum-1.0-h0_0.conda"]["sha256"] = "0" * 64
    channel.write()
    return channel.root


# --- prefixes ------------------------------------------------------------------------------

USUAL = (f"python =={PYTHON}", "greet", "libfoo", "poster")


def link(
    prefix: Path, channel: str, specs: Iterable[str] = USUAL, *, scripts: bool = False
) -> Path:
    """Solve and link *specs* from *channel* by py-rattler."""
    import rattler

    async def work() -> None:
        records = await rattler.solve(
            sources=[rattler.Channel(channel)],
            specs=list(specs),
            platforms=[SUBDIR, "noarch"],
        )
        cache = prefix.parent / f".{prefix.name}-pkgs"
        await rattler.install(
            records,
            target_prefix=prefix,
            cache_dir=cache,
            show_progress=False,
            execute_link_scripts=scripts,
            # 0.28 hands them on as they are.
            requested_specs=[rattler.MatchSpec(spec)._match_spec for spec in specs],
        )
        shutil.rmtree(cache)

    asyncio.run(work())
    (prefix / "conda-meta/history").touch()
    return prefix


def look(prefix: Path) -> Snapshot:
    """What the probe says of the conda part of *prefix*."""
    hasher = Hasher(frozenset())
    found = probe.Prefix(Machine(environ={}), str(prefix), hasher)
    found.start()
    hasher.run()
    facts, _ = found.finish([], [])
    return Snapshot(
        schema=1,
        interpreter=interpreter(),
        system=System(kernel="Linux", machine="x86_64"),
        sites=[],
        dists=[],
        findings=[],
        conda=msgspec.convert(facts, CondaPrefix),
    )


@functools.cache
def linked() -> Path:
    """A prefix with the usual packages; not to be changed. Its path is in its files."""
    place = template().parent / "linked"
    return link(place, template().as_uri())


@contextmanager
def served(root: Path) -> Iterator[str]:
    """*root* over HTTP on the loopback interface."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(root))

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def pip_install(prefix: Path, *wheels: Path | str) -> None:
    """Real pip, into that prefix."""
    argv = [sys.executable, "-m", "pip", "--python", str(prefix / "bin/python"), "install"]
    argv += [
        "--no-index",
        "--no-deps",
        "--no-compile",
        "--force-reinstall",
        "--root-user-action=ignore",
    ]
    subprocess.run([*argv, *map(str, wheels)], check=True, capture_output=True)
