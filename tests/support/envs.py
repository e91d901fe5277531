"""Real virtual environments, made and looked at by the code under test."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from envfreeze.build import place, sinks, venv
from envfreeze.build.layout import Schemes
from envfreeze.model.lock import Artifact, Package, PackageFacts, PackageTool
from envfreeze.model.snapshot import Dist, Snapshot
from envfreeze.model.survey import Seen, survey
from envfreeze.resolve.pack import layout, pack_wheel
from envfreeze.store import Cache
from envfreeze.targets import local

BASE = os.path.realpath(sys._base_executable)  # type: ignore[attr-defined]
VERSION = "{}.{}.{}".format(*sys.version_info)
SITE = "lib/python{}.{}/site-packages".format(*sys.version_info)


@functools.cache
def _template() -> Path:
    """One venv, kept until the tests end: copying it is quicker than making another."""
    place = Path(tempfile.mkdtemp(prefix="envfreeze-tests-"))
    import atexit

    atexit.register(shutil.rmtree, place, ignore_errors=True)
    argv = [BASE, "-I", "-m", "venv", "--without-pip", str(place / "venv")]
    subprocess.run(argv, check=True, capture_output=True)
    return place / "venv"


def make_venv(path: Path) -> Path:
    """A venv without packages."""
    return Path(shutil.copytree(_template(), path, symlinks=True))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def package_of(wheel: Path, **facts: Any) -> Package:
    """The package of a lock that is placed from *wheel*."""
    with zipfile.ZipFile(wheel) as archive:
        infos = {n.partition("/")[0] for n in archive.namelist() if ".dist-info/" in n}
    name, version = wheel.name.split("-")[:2]
    known: dict[str, Any] = {
        "proof": "proved",
        "evidence": "",
        "tree": "0" * 64,
        "info": next(iter(sorted(infos)), f"{name}-{version}.dist-info"),
    }
    content = wheel.read_bytes()
    return Package(
        name=name.lower().replace("_", "-"),
        version=version,
        wheels=[
            Artifact(
                name=wheel.name,
                url=f"https://index.example/{wheel.name}",
                size=len(content),
                hashes={"sha256": sha256(content)},
            )
        ],
        tool=PackageTool(envfreeze=PackageFacts(**(known | facts))),
    )


def schemes(into: Path) -> Schemes:
    return venv.schemes(into, str(into / "bin/python"), VERSION)


def install(wheel: Path, into: Path, **facts: Any) -> None:
    """Place *wheel* into a venv."""
    sink = sinks.DirectorySink(into)
    place.place_package(package_of(wheel, **facts), wheel, sink, schemes(into))


def look(into: Path) -> Snapshot:
    target = local.LocalTarget(python=str(into / "bin/python"), described="", own=False)
    return local.observe(target, environ={"PATH": "/usr/bin:/bin"}, cache=None).snapshot


def seen(snapshot: Snapshot, name: str) -> Seen:
    return next(item for item in survey(snapshot).seen if item.name == name)


def dist(snapshot: Snapshot, name: str) -> Dist:
    return seen(snapshot, name).dist


def packed(snapshot: Snapshot, name: str, cache: Cache) -> Path:
    """The wheel that packing makes of an installed distribution, under a file name."""
    from envfreeze.resolve.pack import wheel_name

    item = seen(snapshot, name)
    place_of = {site.path: layout(site, snapshot.interpreter) for site in snapshot.sites}
    found = pack_wheel(item.dist, place_of[item.dist.site], cache, item.yields)[0]
    blob = cache.find(found)
    assert blob is not None
    wheel = cache.root.parent / "wheels" / wheel_name(item.dist, snapshot.interpreter)
    wheel.parent.mkdir(exist_ok=True)
    shutil.copyfile(blob, wheel)
    return wheel
