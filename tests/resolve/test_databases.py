"""Which of dpkg, rpm and apk a root was installed with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from envfreeze.resolve import databases
from envfreeze.resolve.packages import Database, inventory, merged_spellings
from envfreeze.resolve.rootfs import Root
from tests.support.roots import ROOTS


def lines_of(database: Database) -> list[str]:
    return inventory(database.packages, database.manual())


@pytest.mark.parametrize(
    ("name", "kind", "path", "owner"),
    [
        ("debian", "dpkg", "/lib/x86_64-linux-gnu/libcom_err.so.2.1", "libcom-err2"),
        ("ubuntu", "dpkg", "/usr/lib/x86_64-linux-gnu/libcom_err.so.2.1", "libcom-err2"),
        ("rocky", "rpm", "/lib64/libz.so.1.2.11", "zlib"),
        ("alpine", "apk", "/lib/libz.so.1.3.1", "zlib"),
    ],
)
def test_the_recorded_machines(name: str, kind: str, path: str, owner: str) -> None:
    database, problems = databases.find(Root(ROOTS / name))
    assert database is not None
    assert (database.kind, problems) == (kind, [])
    assert [package.name for package in database.owners([path])[path]] == [owner]
    assert all(len(line.split()) in {3, 4} for line in lines_of(database))
    assert len(lines_of(database)) == len(database.packages)


def test_an_empty_database_of_another_kind_is_passed_over(tmp_path: Path) -> None:
    shutil.copytree(ROOTS / "rocky/var", tmp_path / "var")
    (tmp_path / "var/lib/dpkg").mkdir()
    (tmp_path / "var/lib/dpkg/status").write_text("")
    database, problems = databases.find(Root(tmp_path))
    assert database is not None
    assert (database.kind, problems) == ("rpm", [])


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "var/lib/rpm").mkdir(parents=True)
    (tmp_path / "var/lib/rpm/Packages").write_bytes(b"junk" * 200)
    assert databases.find(Root(tmp_path)) == (None, ["rpm: not a hash of Berkeley DB"])


def test_what_is_watched(tmp_path: Path) -> None:
    assert databases.watched(Root(tmp_path)) == []
    assert databases.watched(Root(ROOTS / "rocky")) == ["/var/lib/rpm/rpmdb.sqlite"]
    assert databases.watched(Root(ROOTS / "alpine")) == ["/lib/apk/db/installed", "/etc/apk/world"]


def test_the_two_names_of_a_merged_path() -> None:
    assert merged_spellings("/lib/x") == ["/lib/x", "/usr/lib/x"]
    assert merged_spellings("/usr/lib64/x") == ["/usr/lib64/x", "/lib64/x"]
    assert merged_spellings("/usr/share/x") == ["/usr/share/x"]
