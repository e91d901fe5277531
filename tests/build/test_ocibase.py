"""What a base image has: layers laid over each other, links followed as its programs would."""

from __future__ import annotations

from pathlib import Path

import pytest

from envfreeze.build import ocibase
from envfreeze.build.ocibase import BaseTree
from envfreeze.errors import LockError
from envfreeze.resolve import ociimage
from envfreeze.store import Cache
from tests.support import ocis


def look(path: Path, *layers: bytes) -> BaseTree:
    image = ociimage.at(f"oci:{ocis.layout(path / 'base', layers)}", ("amd64", ""))
    assert image is not None
    first = ocibase.look(image, Cache(path / "cache"))
    assert ocibase.look(image, Cache(path / "cache")) == first
    return first


def test_later_layers_count(tmp_path: Path) -> None:
    tree = look(
        tmp_path,
        ocis.layer({"a": None, "a/x": b"1", "b": None, "b/y": b"2", "l": "a", "d": None}),
        ocis.layer({"a/.wh.x": b"", "b/.wh..wh..opq": b"", "b/z": b"3", "l": None, "d": "a"}),
    )
    assert tree.files == {"/b/z"}
    assert tree.links == {"/d": "a"}
    assert set(tree.directories) == {"/a", "/b", "/l"}


def test_a_directory_that_is_gone_takes_all_of_it_along(tmp_path: Path) -> None:
    tree = look(
        tmp_path,
        ocis.layer({"a": None, "a/b": None, "a/b/x": b"", "ab": b""}),
        ocis.layer({".wh.a": b""}),
    )
    assert (tree.files, set(tree.directories)) == ({"/ab"}, set())


def test_what_tells_of_the_system_is_kept(tmp_path: Path) -> None:
    tree = look(
        tmp_path,
        ocis.layer(
            {
                "etc/os-release": "../usr/lib/os-release",
                "usr/lib/os-release": b"ID=x",
                "var": None,
                "var/lib/dpkg/status": b"Package: a",
                "etc/passwd": b"root",
            }
        ),
    )
    assert tree.text("/etc/os-release") == "ID=x"
    assert tree.text("/var/lib/dpkg/status") == "Package: a"
    assert tree.text("/etc/passwd") == ""
    assert "/etc/passwd" in tree.files


def test_links_are_followed_inside() -> None:
    tree = BaseTree(links={"/lib": "usr/lib", "/usr/lib/x": "../../var/./x", "/abs": "/lib/x"})
    assert tree.real("/lib/a") == "/usr/lib/a"
    assert tree.real("/abs/b") == "/var/x/b"
    assert tree.real("/lib/../../..") == "/"
    assert tree.real("/none/at/all") == "/none/at/all"


def test_links_in_a_circle() -> None:
    with pytest.raises(LockError, match="circle"):
        BaseTree(links={"/a": "b", "/b": "a"}).real("/a/x")


def test_a_layer_depends_on_what_is_on_its_way() -> None:
    tree = BaseTree(
        directories={"/opt": ocibase.Directory(0o755, 0, 0), "/srv": ocibase.Directory(0o755, 0, 0)}
    )
    before = tree.digest(["/opt/env"])
    tree.directories["/srv"] = ocibase.Directory(0o700, 0, 0)
    assert tree.digest(["/opt/env"]) == before
    tree.links["/opt/env/lib64"] = "lib"
    assert tree.digest(["/opt/env"]) != before
