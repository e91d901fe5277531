"""System packages without an engine: what is placed, what dpkg knows then, what is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from envfreeze.build import ldcache, ocibase, ocidebs, sinks, tree
from envfreeze.build.ldcache import Entry
from envfreeze.build.ocibase import BaseTree
from envfreeze.build.ocidebs import Additions
from envfreeze.errors import LockError, UsageError
from envfreeze.model.lock import Artifact, Lock
from envfreeze.resolve import ociimage
from envfreeze.resolve.debfile import write_deb
from envfreeze.resolve.dpkg import installed
from envfreeze.store import Cache
from tests.support import locks, ocis
from tests.support.elfmaker import Elf, elf_bytes

RELEASE = {"ID": "debian", "VERSION_ID": "12"}
TRIGGERS = b"# a comment\nactivate-noawait ldconfig\n"
LIBC = Entry("libc.so.6", "/lib/x86_64-linux-gnu/libc.so.6", 0x303)
OLD = Entry("libold.so.1", "/lib/x86_64-linux-gnu/libold.so.1", 0x303)
LIBRARIES = "usr/lib/x86_64-linux-gnu"
STATUS = """\
Package: base-files
Status: install ok installed
Architecture: amd64
Version: 12
Description: with
 .
 two lines

Package: libold1
Status: install ok installed
Architecture: amd64
Version: 1.0-1+b1

Package: user
Status: install ok installed
Architecture: amd64
Version: 1
Depends: libold1 (>= 1.0)
"""


def base(**more: bytes | str) -> dict[str, bytes | str | int | None]:
    info = "var/lib/dpkg/info"
    return {
        "etc": None,
        "etc/os-release": "../usr/lib/os-release",
        "etc/ld.so.cache": ldcache.render([LIBC, OLD]),
        "lib": "usr/lib",
        "usr": None,
        "usr/lib": None,
        "usr/lib/os-release": b'ID=debian\nVERSION_ID="12"\n',
        LIBRARIES: None,
        f"{LIBRARIES}/libold.so.1": b"old",
        f"{LIBRARIES}/libold.so.0": b"older",
        f"{info}/libold1:amd64.list": (
            f"/.\n/lib\n/lib/x86_64-linux-gnu\n/{LIBRARIES}/libold.so.1\n"
            "/lib/x86_64-linux-gnu/libold.so.0\n"
        ).encode(),
        f"{info}/libold1:amd64.shlibs": b"x",
        "var/lib/dpkg/status": STATUS.encode(),
        **more,
    }


def a_deb(
    name: str,
    files: Mapping[str, bytes | str | int | None],
    version: str = "1.0-1",
    fields: str = "",
    **control: bytes,
) -> bytes:
    head = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\n{fields}"
    rows = [("control", head.encode(), 0o644)]
    rows += [(key, value, 0o755) for key, value in control.items()]
    out = io.BytesIO()
    write_deb(out, rows, gzip.compress(ocis.layer({f"./{k}": v for k, v in files.items()})))
    return out.getvalue()


class Scene:
    def __init__(self, path: Path, **more: bytes | str) -> None:
        self.path = path
        self.files: dict[str, Path] = {}
        image = ocis.layout(path / "base", [ocis.layer(base(**more))])
        found = ociimage.at(f"oci:{image}", ("amd64", ""))
        assert found is not None
        self.below: BaseTree = ocibase.look(found, Cache(path / "cache"))

    def lock(self, *debs: tuple[str, bytes], version: str = "1.0-1") -> Lock:
        packages = []
        for name, data in debs:
            sha256 = hashlib.sha256(data).hexdigest()
            self.files[sha256] = self.path / sha256
            self.files[sha256].write_bytes(data)
            artifact = Artifact(path=f"x/{name}.deb", size=len(data), hashes={"sha256": sha256})
            packages.append(locks.deb(name, version, artifact=artifact))
        return locks.lock(system=packages, os_release=dict(RELEASE))

    def plan(self, *debs: tuple[str, bytes], **more: Any) -> Additions | None:
        return ocidebs.plan(self.lock(*debs, **more), self.below, self.files)

    def layer(self, *debs: tuple[str, bytes]) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
        additions = self.plan(*debs)
        assert additions is not None
        buffer = io.BytesIO()
        with sinks.TarSink(buffer, "/", tree.EPOCH, self.below) as sink:
            additions.put(sink)
        found = {}
        with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as tar:
            for member in tar:
                content = tar.extractfile(member).read() if member.isreg() else b""  # type: ignore[union-attr]
                found[member.name] = (member, content)
        return found


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def library(soname: str) -> bytes:
    return elf_bytes(Elf(soname=soname))


def test_a_library_is_placed_as_dpkg_would(scene: Scene) -> None:
    data = library("libnew.so.2")
    files = {
        "lib": None,
        "lib/x86_64-linux-gnu": None,
        "lib/x86_64-linux-gnu/libnew.so.2.1": data,
        "lib/x86_64-linux-gnu/libnew.so.2": "libnew.so.2.1",
        "usr/share/new": 0o2750,
        "usr/share/new/x": b"x",
    }
    deb = a_deb("libnew2", files, fields="Multi-Arch: same\n", triggers=TRIGGERS, md5sums=b"sums")
    found = scene.layer(("libnew2", deb))
    assert found[f"{LIBRARIES}/libnew.so.2.1"][1] == data
    assert found[f"{LIBRARIES}/libnew.so.2"][0].linkname == "libnew.so.2.1"
    assert not [name for name in found if name == "lib" or name.startswith("lib/")]
    assert found["usr/share/new"][0].mode == 0o2750
    info = "var/lib/dpkg/info/libnew2:amd64"
    assert found[f"{info}.list"][1].decode().splitlines() == [f"/{name}" for name in files]
    assert found[f"{info}.md5sums"][1] == b"sums"
    assert found[f"{info}.triggers"][1] == TRIGGERS
    status = found["var/lib/dpkg/status"][1].decode()
    assert status.startswith(STATUS)
    package = {p.name: p for p in installed(status)}["libnew2"]
    assert package.version == "1.0-1"
    assert package.fields["Status"] == "install ok installed"
    cache = ldcache.parse(found["etc/ld.so.cache"][1])
    new = Entry("libnew.so.2", "/lib/x86_64-linux-gnu/libnew.so.2", 0x303)
    assert set(cache) == {LIBC, OLD, new}


def test_another_version_is_replaced_and_what_it_left_is_gone(scene: Scene) -> None:
    files: dict[str, bytes | str | int | None] = {
        f"{LIBRARIES}/libold.so.1": library("libold.so.1")
    }
    found = scene.layer(("libold1", a_deb("libold1", files, fields="Multi-Arch: same\n")))
    assert found[f"{LIBRARIES}/libold.so.1"][1] == files[f"{LIBRARIES}/libold.so.1"]
    deleted = {name for name in found if ".wh." in name}
    assert deleted == {
        f"{LIBRARIES}/.wh.libold.so.0",
        "var/lib/dpkg/info/.wh.libold1:amd64.shlibs",
    }
    packages = {p.name: p.version for p in installed(found["var/lib/dpkg/status"][1].decode())}
    assert packages == {"base-files": "12", "libold1": "1.0-1", "user": "1"}


def test_settings_are_in_the_status(scene: Scene) -> None:
    deb = a_deb("a", {"etc/a.conf": b"1"}, conffiles=b"/etc/a.conf\n")
    status = scene.layer(("a", deb))["var/lib/dpkg/status"][1].decode()
    package = {p.name: p for p in installed(status)}["a"]
    assert package.fields["Conffiles"].split() == ["/etc/a.conf", hashlib.md5(b"1").hexdigest()]


def test_nothing_is_missing(scene: Scene) -> None:
    deb = a_deb("libold1", {}, version="1.0-1+b1")
    assert scene.plan(("libold1", deb), version="1.0-1+b1") is None
    assert scene.plan() is None


REFUSED = {
    "its postinst would": {"postinst": b"#!/bin/sh\nset -e\nupdate-ca-certificates\n"},
    "its preinst would": {"preinst": b"#!/bin/sh\nrm -rf /x # exit 0\n"},
    "waits for the trigger": {"triggers": b"interest-noawait /usr/share/fonts\n"},
    "wake others": {"triggers": b"activate /some/path\n"},
    "settings that it does not bring": {"conffiles": b"/etc/none\n"},
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_would_have_to_be_run_is_refused(scene: Scene, why: str) -> None:
    good, bad = a_deb("good", {"usr/good": b""}), a_deb("bad", {"usr/bad": b""}, **REFUSED[why])
    with pytest.raises(UsageError, match=f"bad 1.0-1: .*{why}") as raised:
        scene.plan(("good", good), ("bad", bad))
    assert "good" not in str(raised.value)
    assert "--to docker" in raised.value.hint


@pytest.mark.parametrize(
    "script",
    [b"", b"#!/bin/sh\nset -e\n\nexit 0\n", b"#!/bin/sh -e\n# nothing\n",
     b'#!/bin/sh\nset -e\nif [ "$1" = "configure" ]; then\n\tldconfig\nfi\n'],
)  # fmt: skip
def test_a_script_that_does_nothing(scene: Scene, script: bytes) -> None:
    assert scene.plan(("a", a_deb("a", {"usr/a": b""}, postinst=script))) is not None


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({f"{LIBRARIES}/libold.so.1": b"mine"}, "already"),
        ({"lib/x86_64-linux-gnu/libold.so.1": b"mine"}, "already"),
        ({"etc/ld.so.conf.d/x.conf": b"/opt"}, "how libraries are found"),
    ],
)
def test_places_that_are_taken(scene: Scene, files: dict[str, bytes], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        scene.plan(("a", a_deb("a", files)))


@pytest.mark.parametrize(
    "more",
    [
        {"var/lib/dpkg/diversions": b"/usr/a\n/usr/a.real\nuser\n"},
        {"var/lib/dpkg/statoverride": b"root root 4755 /usr/a\n"},
        {"var/lib/dpkg/triggers/File": b"/usr man-db/noawait\n"},
    ],
    ids=lambda more: next(iter(more)),
)
def test_a_dpkg_that_has_something_to_do(tmp_path: Path, more: dict[str, bytes]) -> None:
    with pytest.raises(UsageError, match="something to do"):
        Scene(tmp_path, **more).plan(("a", a_deb("a", {"usr/a": b""})))


def test_what_a_slim_base_leaves_out(tmp_path: Path) -> None:
    rules = b"path-exclude /x\npath-exclude=/usr/share/doc/*\npath-include=/usr/share/doc/*/copy\n"
    scene = Scene(tmp_path, **{"etc/dpkg/dpkg.cfg.d/docker": rules})
    files = {"usr/share/doc/a/copy": b"c", "usr/share/doc/a/other": b"o"}
    found = scene.layer(("a", a_deb("a", files)))
    assert "usr/share/doc/a/copy" in found
    assert "usr/share/doc/a/other" not in found


def test_relations_hold_afterwards(scene: Scene) -> None:
    for fields in ("Depends: nobody\n", "Breaks: user (<< 2)\n", "Conflicts: base-files\n"):
        with pytest.raises(UsageError, match=fields.split(":")[0]):
            scene.plan(("a", a_deb("a", {}, fields=fields)))
    with pytest.raises(UsageError, match="user: Depends"):
        scene.plan(("libold1", a_deb("libold1", {}, version="0.9")), version="0.9")


def test_two_packages_with_one_file(scene: Scene) -> None:
    one, two = (a_deb(name, {"usr/same": b""}) for name in ("one", "two"))
    with pytest.raises(UsageError, match="two and one both bring /usr/same"):
        scene.plan(("one", one), ("two", two))


def test_a_library_without_the_link_to_it(scene: Scene) -> None:
    """ldconfig would make it."""
    files = {f"{LIBRARIES}/libnew.so.2.1": library("libnew.so.2")}
    with pytest.raises(UsageError, match="its own name"):
        scene.plan(("a", a_deb("a", files)))
    private = {"usr/lib/private": None, "usr/lib/private/libnew.so.2.1": library("libnew.so.2")}
    assert scene.plan(("a", a_deb("a", private))) is not None


def test_another_release(scene: Scene) -> None:
    lock = scene.lock(("a", a_deb("a", {})))
    lock.machine.system.os_release["VERSION_ID"] = "13"
    with pytest.raises(UsageError, match="captured on 13"):
        ocidebs.plan(lock, scene.below, scene.files)


def test_a_deb_of_another_name(scene: Scene) -> None:
    with pytest.raises(LockError, match=r"is not a 1\.0-1"):
        scene.plan(("a", a_deb("b", {})))


def test_a_deb_that_would_delete(scene: Scene) -> None:
    with pytest.raises(LockError, match="deleted"):
        scene.layer(("a", a_deb("a", {"etc/.wh.passwd": b""})))
