"""apk's database of installed packages, held against what apk itself said of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envfreeze.resolve.apk import Apk, parse
from envfreeze.resolve.packages import Database, DatabaseError, inventory
from envfreeze.resolve.rootfs import Root
from tests.support.roots import ROOTS

INSTALLED = "lib/apk/db/installed"


def lines_of(database: Database) -> list[str]:
    return inventory(database.packages, database.manual())


def alpine() -> Apk:
    found = Apk.read(Root(ROOTS / "alpine"))
    assert found is not None
    return found


def test_the_packages_are_apks_own() -> None:
    said = (ROOTS / "alpine.query").read_text("utf-8").split()
    assert sorted(f"{p.name}-{p.version}" for p in alpine().packages.values()) == said


def test_the_facts_of_a_package() -> None:
    found = {p.name: p for p in alpine().packages.values()}["libcrypto3"]
    assert (found.version, found.arch, found.source) == ("3.1.4-r5", "x86_64", "openssl")
    assert (found.licence, found.identity) == ("Apache-2.0", "Q1WpNeyfHajr4b9I2/gqCe+3X9gHg=")
    assert (found.requires, found.provides) == (
        ("so:libc.musl-x86_64.so.1",),
        ("so:libcrypto.so.3",),
    )
    assert found.files == ("/lib/libcrypto.so.3",)


def test_owners_by_either_name() -> None:
    paths = ["/lib/libz.so.1.3.1", "/usr/lib/libz.so.1", "/etc/hostname", "/lib/libfoo.so"]
    found = {path: [p.name for p in own] for path, own in alpine().owners(paths).items()}
    assert found == {
        "/lib/libz.so.1.3.1": ["zlib"],
        "/usr/lib/libz.so.1": ["zlib"],
        "/etc/hostname": ["alpine-baselayout"],
    }


def test_the_closure_passes_over_conflicts() -> None:
    database = alpine()
    start = [p for p in database.packages.values() if p.name == "alpine-baselayout"]
    names = [p.name for p in database.closure(start)]
    assert names == ["alpine-baselayout", "busybox", "musl"]


def test_the_world_says_what_was_asked_for() -> None:
    assert lines_of(alpine()) == [
        "alpine-baselayout 3.4.3-r2 x86_64 manual",
        "busybox 1.36.1-r15 x86_64 auto",
        "libcrypto3 3.1.4-r5 x86_64 manual",
        "musl 1.2.4_git20230717-r4 x86_64 auto",
        "zlib 1.3.1-r0 x86_64 auto",
    ]


def test_the_newer_place(tmp_path: Path) -> None:
    (tmp_path / "usr/lib/apk/db").mkdir(parents=True)
    shutil.copyfile(ROOTS / "alpine" / INSTALLED, tmp_path / "usr" / INSTALLED)
    found = Apk.read(Root(tmp_path))
    assert found is not None
    assert found.packages == alpine().packages
    assert found.manual() == set()


def test_a_virtual_package_has_a_name_of_its_own() -> None:
    text = "C:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=\nP:.run-deps\nV:20240101.0\nA:noarch\nD:zlib>=1\n\n"
    [package] = parse(text)
    assert (package.name, package.arch, package.requires) == (".run-deps", "noarch", ("zlib",))


def test_none_and_unreadable(tmp_path: Path) -> None:
    assert Apk.read(Root(tmp_path)) is None
    (tmp_path / INSTALLED).mkdir(parents=True)
    with pytest.raises(DatabaseError):
        Apk.read(Root(tmp_path))


@given(st.text("CPVADFRp:\n/x "))
def test_any_text_is_a_database_of_sorts(text: str) -> None:
    for package in parse(text):
        assert package.name
        assert package.version
