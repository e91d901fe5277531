"""The layer that an engine's dpkg makes: without its accidents, and the same each time."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envfreeze.build import stage, tree
from envfreeze.build.engine import Step, Writable
from envfreeze.build.ocibase import look
from envfreeze.build.said import OnLine
from envfreeze.errors import ArtifactError, EngineError
from envfreeze.model.lock import Lock
from envfreeze.resolve import ociimage
from envfreeze.store import Cache
from tests.support import locks, ocis

PLATFORM = ("amd64", "")
BEGAN = 1_700_000_000
BASE = ocis.layer(
    {
        "etc": None,
        "etc/old": b"old",
        "lib": "usr/lib",
        "usr": None,
        "usr/lib": None,
        "usr/lib/emptied": None,
        "usr/lib/emptied/a": b"a",
        "usr/lib/emptied/b": b"b",
        "tmp": 0o1777,
        "var": None,
        "run": None,
    }
)


def member(name: str, **values: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.mtime = 1_000_000_000
    for key, value in values.items():
        setattr(made, key, value)
    return made


def changes(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in entries:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


class StandIn:
    """An engine that hands out a layer, and remembers what it was asked."""

    def __init__(self, layer: bytes, *, gzipped: bool = False) -> None:
        self.layer = gzip.compress(layer) if gzipped else layer
        self.diff_id = ocis.digest(layer)
        self.steps: list[Step] = []
        self.given = b""
        self.loaded: list[str] = []
        self.removed: list[str] = []

    def base_by_digest(self, reference: str) -> str:
        return reference

    def load(self, archive: Path) -> None:
        with tarfile.open(archive) as tar:
            manifest = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
        self.loaded += manifest[0]["RepoTags"]

    def remove(self, image: str) -> None:
        self.removed.append(image)

    def changed(self, step: Step, files: Iterator[bytes], out: Writable, on_line: OnLine) -> int:
        self.steps.append(step)
        self.given = b"".join(files)
        on_line("Setting up")
        config = {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [ocis.digest(BASE), self.diff_id]},
        }
        entry = {"Config": "c.json", "Layers": ["1/layer.tar", "2/layer.tar"]}
        with tarfile.open(fileobj=out, mode="w|") as tar:  # type: ignore[call-overload]
            for name, data in {
                "c.json": json.dumps(config).encode(),
                "1/layer.tar": BASE,
                "2/layer.tar": self.layer,
                "manifest.json": json.dumps([entry]).encode(),
            }.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return BEGAN


def wanted(place: Path, cache: str = "cache", **more: Any) -> stage.Wanted:
    base = ociimage.at(f"oci:{ocis.layout(place / 'base', [BASE])}", PLATFORM)
    assert base is not None
    (place / "scratch").mkdir(exist_ok=True)
    values: dict[str, Any] = {
        "lock": lock(place),
        "artifacts": {"c" * 64: place / "a.deb"},
        "base": base,
        "reference": "x@sha256:" + "0" * 64,
        "cache": Cache(place / cache),
        "scratch": place / "scratch",
    }
    return stage.Wanted(**(values | more))


def lock(place: Path) -> Lock:
    (place / "a.deb").write_bytes(b"deb")
    return locks.lock(system=[locks.deb("a")], os_release={"ID": "debian"})


def laid(image: ociimage.Image) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    with image.layers[-1].open() as file:
        data = file.read()
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for each in tar:
            content = tar.extractfile(each) if each.isreg() else None
            found[each.name] = (each, content.read() if content else b"")
    return found


NOISY = changes(
    (member("etc", type=tarfile.DIRTYPE, mode=0o755, mtime=BEGAN + 5), b""),
    (member("etc/machine-id", mode=0o444, mtime=BEGAN + 5), b"0123\n"),
    (member("etc/hosts"), b""),
    (member("etc/.wh.old"), b""),
    (member(".dockerenv"), b""),
    (member("run/lock/x"), b""),
    (member("tmp/left"), b""),
    (member("var", type=tarfile.DIRTYPE, mode=0o755, mtime=BEGAN + 5), b""),
    (member("run", type=tarfile.DIRTYPE, mode=0o40755, mtime=BEGAN + 5), b""),
    (member("usr/bin", type=tarfile.DIRTYPE, mode=0o2755, gid=7), b""),
    (
        member(
            "usr/bin/ping",
            mode=0o755,
            uname="root",
            pax_headers={"SCHILY.xattr.security.capability": "cap", "comment": "x"},
        ),
        b"ELF",
    ),
    (member("usr/bin/pong", type=tarfile.LNKTYPE, linkname="usr/bin/ping"), b""),
    (member("usr/bin/new", mtime=BEGAN), b"written by a script"),
    (member("usr/lib/p/__pycache__/m.cpython-311.pyc"), b"pyc"),
    (member("usr/lib/emptied", type=tarfile.DIRTYPE), b""),
    (member("usr/lib/emptied/.wh..wh..opq"), b""),
    (member("usr/lib/emptied/b"), b"new b"),
    (member("usr/lib/liba.so", type=tarfile.SYMTYPE, linkname="liba.so.1"), b""),
    (member("var/cache/debconf/config.dat"), b"answers"),
    (member("var/cache/debconf/config.dat-old"), b"answers"),
    (member("var/cache/ldconfig/aux-cache"), b""),
    (member("var/lib/dpkg/status"), b"Package: a"),
    (member("var/lib/dpkg/status-old"), b""),
    (member("var/lib/dpkg/lock"), b""),
    (member("var/log/dpkg.log"), b"today"),
)


def test_what_an_engine_did_without_its_accidents(tmp_path: Path) -> None:
    found = laid(stage.staged(wanted(tmp_path), StandIn(NOISY)))  # type: ignore[arg-type]
    files = {name: content for name, (info, content) in found.items() if not info.isdir()}
    assert files == {
        "etc/.wh.old": b"",
        "etc/machine-id": b"",
        "usr/bin/new": b"written by a script",
        "usr/bin/ping": b"ELF",
        "usr/bin/pong": b"",
        "usr/lib/emptied/.wh.a": b"",
        "usr/lib/emptied/b": b"new b",
        "usr/lib/liba.so": b"",
        "var/cache/debconf/config.dat": b"answers",
        "var/lib/dpkg/status": b"Package: a",
    }
    assert "run" not in found  # Nothing of it changed but its time.
    ping = found["usr/bin/ping"][0]
    assert ping.pax_headers == {"SCHILY.xattr.security.capability": "cap"}
    assert (ping.mode, ping.mtime, ping.uname) == (0o755, 1_000_000_000, "")
    pong = found["usr/bin/pong"][0]
    assert (pong.islnk(), pong.linkname) == (True, "usr/bin/ping")
    assert found["usr/bin/new"][0].mtime == tree.EPOCH
    assert (found["usr/bin"][0].mode, found["usr/bin"][0].gid) == (0o2755, 7)
    assert found["usr/lib/liba.so"][0].linkname == "liba.so.1"


def test_the_image_is_the_base_and_that_layer(tmp_path: Path) -> None:
    asked = wanted(tmp_path)
    engine = StandIn(NOISY)
    image = stage.staged(asked, engine)  # type: ignore[arg-type]
    assert image.diff_ids[:1] == asked.base.diff_ids
    assert image.layers[-1].descriptor.digest == image.diff_ids[-1]
    told = [row["created_by"] for row in image.config["history"]]
    assert told == ["by hand", "envfreeze: system packages"]
    assert (image.name, image.digest) == (asked.base.name, asked.base.digest)
    tree_of = look(image, asked.cache)
    assert tree_of.links["/usr/lib/liba.so"] == "liba.so.1"
    assert "/usr/lib/emptied/a" not in tree_of.files


def test_the_same_layer_on_another_day_and_from_another_engine(tmp_path: Path) -> None:
    """Other times, another order, packed: nothing of it shows."""
    first = stage.staged(wanted(tmp_path), StandIn(NOISY))  # type: ignore[arg-type]
    entries = []
    with tarfile.open(fileobj=io.BytesIO(NOISY)) as tar:
        for each in tar:
            content = tar.extractfile(each) if each.isreg() else None
            if each.mtime >= BEGAN:
                each.mtime += 86_400
            entries.append((each, content.read() if content else b""))
    other = StandIn(changes(*reversed(entries)), gzipped=True)
    (tmp_path / "base").rename(tmp_path / "before")
    again = stage.staged(wanted(tmp_path, "other"), other)  # type: ignore[arg-type]
    assert again.diff_ids == first.diff_ids


def test_it_is_made_once(tmp_path: Path) -> None:
    asked, engine = wanted(tmp_path), StandIn(NOISY)
    first = stage.staged(asked, engine)  # type: ignore[arg-type]
    assert stage.staged(asked, engine).diff_ids == first.diff_ids  # type: ignore[arg-type]
    assert len(engine.steps) == 1


def test_what_was_made_is_known_without_a_deb(tmp_path: Path) -> None:
    mine = wanted(tmp_path)
    assert stage.known(mine) is None
    image = stage.staged(mine, StandIn(NOISY))  # type: ignore[arg-type]
    (tmp_path / "a.deb").unlink()
    found = stage.known(mine)
    assert found is not None
    assert found.diff_ids == image.diff_ids
    another = locks.lock(system=[locks.deb("b")], os_release={"ID": "debian"})
    assert stage.known(replace(mine, lock=another)) is None


def test_what_the_engine_is_given(tmp_path: Path) -> None:
    engine = StandIn(NOISY)
    said: list[str] = []
    stage.staged(wanted(tmp_path), engine, said.append)  # type: ignore[arg-type]
    (step,) = engine.steps
    assert step.command == "sh /tmp/envfreeze-system/install.sh && rm -rf /tmp/envfreeze-system"
    assert step.environment == {"SOURCE_DATE_EPOCH": str(tree.EPOCH)}
    assert said == ["Setting up"]
    assert len(engine.given) % tarfile.RECORDSIZE
    with tarfile.open(fileobj=io.BytesIO(engine.given)) as tar:
        names = {each.name for each in tar if not each.isdir()}
        assert tar.getmember("tmp").mode == 0o1777
    head = "tmp/envfreeze-system/"
    wanted_names = {"SHA256SUMS", "a_1.0-1_amd64.deb", "install.sh", "os-release", "packages.tsv"}
    assert names == {head + name for name in wanted_names}


def test_a_base_that_the_engine_does_not_know_is_loaded_for_a_while(tmp_path: Path) -> None:
    engine = StandIn(NOISY)
    stage.staged(wanted(tmp_path, reference=None), engine)  # type: ignore[arg-type]
    assert engine.loaded == engine.removed == [engine.steps[0].image]
    assert not list((tmp_path / "scratch").iterdir())


def test_a_failed_step_leaves_nothing(tmp_path: Path) -> None:
    class Failing(StandIn):
        def changed(self, *_: object) -> int:
            raise EngineError("it ended with status 1")

    asked, engine = wanted(tmp_path, reference=None), Failing(NOISY)
    with pytest.raises(EngineError, match="status 1"):
        stage.staged(asked, engine)  # type: ignore[arg-type]
    assert engine.removed == engine.loaded
    assert not list((tmp_path / "scratch").iterdir())
    assert not list(asked.cache.root.rglob(".new.*"))


def test_a_layer_that_is_no_tar(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot be read"):
        stage.staged(wanted(tmp_path), StandIn(b"no tar at all" * 99))  # type: ignore[arg-type]


def test_a_layer_that_was_cut_off(tmp_path: Path) -> None:
    engine = StandIn(NOISY[:1024])
    engine.diff_id = ocis.digest(NOISY)
    with pytest.raises(ArtifactError, match="not the one it names"):
        stage.staged(wanted(tmp_path), engine)  # type: ignore[arg-type]
