"""rpm's database, in its three formats, held against what rpm itself said of it."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envfreeze.resolve import rpmdb
from envfreeze.resolve.packages import Database, DatabaseError, inventory
from envfreeze.resolve.rootfs import Root
from envfreeze.resolve.rpm import Rpm, package_of
from envfreeze.resolve.rpmheader import FILESTATES, SHA256HEADER, BadHeaderError, Header
from tests.support.roots import ROOTS

ROCKY = ROOTS / "rocky"
SQLITE = "var/lib/rpm/rpmdb.sqlite"


def lines_of(database: Database) -> list[str]:
    return inventory(database.packages, database.manual())


def rocky() -> Rpm:
    found = Rpm.read(Root(ROCKY))
    assert found is not None
    return found


def query() -> dict[str, list[str]]:
    """What ``rpm --query`` printed (tests/roots/make_rocky.sh)."""
    rows = [line.split("|") for line in (ROOTS / "rocky.query").read_text("utf-8").splitlines()]
    return {row[0]: row for row in rows}


def test_every_fact_is_rpms_own() -> None:
    packages = {package.name: package for package in rocky().packages.values()}
    assert packages.keys() == query().keys()
    for name, row in query().items():
        _, epoch, version, release, arch, source, vendor, licence, sha256, _ = row
        found = packages[name]
        prefix = "" if epoch == "(none)" else f"{epoch}:"
        assert found.version == f"{prefix}{version}-{release}"
        assert (found.arch, found.source, found.origin) == (arch, source, vendor)
        assert (found.licence, found.identity) == (licence, f"sha256:{sha256}")


def test_the_files_are_rpms_own() -> None:
    database = rocky()
    for package in database.packages.values():
        wanted = [path for path in query()[package.name][-1].split(",") if path]
        owners = database.owners(wanted)
        assert {path: owners[path] for path in wanted} == {path: [package] for path in wanted}
        assert sorted(database._headers[package.key].files()) == sorted(wanted)


def test_merged_usr_and_what_nobody_owns() -> None:
    found = rocky().owners(["/lib64/libc.so.6", "/usr/lib64/libfoo.so", "/usr/bin/libc.so.6"])
    assert [(path, [p.name for p in o]) for path, o in found.items()] == [
        ("/lib64/libc.so.6", ["glibc"])
    ]


def test_the_closure_goes_by_capability_and_by_path() -> None:
    database = rocky()
    start = [p for p in database.packages.values() if p.name == "openssl-libs"]
    assert [p.name for p in database.closure(start)] == [
        "bash",
        "glibc",
        "openssl-libs",
        "tzdata",
        "zlib",
    ]


def test_the_inventory_marks_nothing_that_rpm_does_not_know() -> None:
    lines = lines_of(rocky())
    assert len(lines) == len(query())
    assert lines[:2] == ["bash 5.1.8-6.el9_1 x86_64", "bind-license 32:9.16.23-14.el9_3 noarch"]


@pytest.mark.parametrize(("kept", "name"), [("ndb", "Packages.db"), ("bdb", "Packages")])
def test_the_other_formats_hold_the_same(tmp_path: Path, kept: str, name: str) -> None:
    (tmp_path / "usr/lib/sysimage/rpm").mkdir(parents=True)
    shutil.copyfile(ROOTS / kept / name, tmp_path / "usr/lib/sysimage/rpm" / name)
    found = Rpm.read(Root(tmp_path))
    assert found is not None
    assert found.packages == rocky().packages


def test_a_file_that_was_left_out_has_no_owner() -> None:
    database = rocky()
    header = database._headers["glibc 2.34-83.el9.7 x86_64"]
    whole = list(header.files())
    _, offset, many = header._index[FILESTATES]
    assert many == len(whole) == 3
    store = bytearray(header._store)
    store[offset] = 2  # "not installed" (rpm, include/rpm/rpmfiles.h)
    header._store = bytes(store)
    assert list(header.files()) == whole[1:]


# --- what lies on the disk -----------------------------------------------------------------


def copied(tmp_path: Path) -> Path:
    place = tmp_path / SQLITE
    place.parent.mkdir(parents=True)
    shutil.copyfile(ROCKY / SQLITE, place)
    return place


def test_reading_leaves_no_trace(tmp_path: Path) -> None:
    place = copied(tmp_path)
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in place.parent.iterdir()}
    assert Rpm.read(Root(tmp_path)) is not None
    assert {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in place.parent.iterdir()} == (
        before
    )


def test_what_is_in_the_log_alone_counts(tmp_path: Path) -> None:
    place = copied(tmp_path)
    live = sqlite3.connect(place)
    live.execute("PRAGMA journal_mode = WAL")
    live.execute("PRAGMA wal_autocheckpoint = 0")
    live.execute("DELETE FROM Packages WHERE hnum > 3")
    live.commit()
    try:
        files = sorted(p.name for p in place.parent.iterdir())
        assert (place.parent / "rpmdb.sqlite-wal").stat().st_size > 0
        found = Rpm.read(Root(tmp_path))
        assert found is not None
        assert len(found.packages) == 3
        assert sorted(p.name for p in place.parent.iterdir()) == files
    finally:
        live.close()


def test_no_database(tmp_path: Path) -> None:
    assert Rpm.read(Root(tmp_path)) is None


@pytest.mark.parametrize("name", ["rpmdb.sqlite", "Packages.db", "Packages"])
@pytest.mark.parametrize("junk", [b"", b"SQLite format 3\0", b"RpmP" + bytes(40), bytes(4096)])
def test_junk_is_named(tmp_path: Path, name: str, junk: bytes) -> None:
    (tmp_path / "var/lib/rpm").mkdir(parents=True)
    (tmp_path / "var/lib/rpm" / name).write_bytes(junk)
    try:
        found = Rpm.read(Root(tmp_path))
    except DatabaseError as error:
        assert "\n" not in str(error)
    else:
        assert name == "Packages.db"  # A head and no slots is an empty database.
        assert found is not None
        assert found.packages == {}


def test_a_schema_that_computes_for_ever_is_refused(tmp_path: Path) -> None:
    (tmp_path / "var/lib/rpm").mkdir(parents=True)
    with sqlite3.connect(tmp_path / SQLITE) as hostile:
        hostile.execute(
            "CREATE VIEW Packages AS WITH RECURSIVE n(blob) AS"
            " (SELECT x'00' UNION ALL SELECT blob FROM n) SELECT blob, 1 AS hnum FROM n"
        )
    hostile.close()
    with pytest.raises(DatabaseError, match="no table"):
        Rpm.read(Root(tmp_path))


@pytest.mark.parametrize(
    ("kept", "parse"), [("ndb/Packages.db", rpmdb.ndb), ("bdb/Packages", rpmdb.bdb)]
)
@given(data=st.data())
def test_damage_is_named_or_harmless(kept: str, parse, data: st.DataObject) -> None:  # type: ignore[no-untyped-def]
    whole = bytearray((ROOTS / kept).read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    del whole[data.draw(st.integers(0, len(whole))) :]
    with contextlib.suppress(DatabaseError, struct.error):
        assert sum(map(len, parse(bytes(whole)))) <= 2 * len(whole)


@given(st.data())
def test_a_damaged_header_is_none_or_bounded(data: st.DataObject) -> None:
    whole = bytearray(next(rpmdb.blobs(Root(ROCKY), f"/{SQLITE}")))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    del whole[data.draw(st.integers(0, len(whole))) :]
    try:
        header = Header(bytes(whole))
    except BadHeaderError:
        return
    package_of(header)
    assert sum(map(len, header.files())) < 1 << 20


def test_a_key_of_rpm_is_no_package() -> None:
    entry = b"".join(
        struct.pack(">iiii", tag, 6, offset, 1)
        for tag, offset in ((1000, 0), (1001, 11), (1002, 13))
    )
    store = b"gpg-pubkey\0001\0001\0"
    header = Header(struct.pack(">II", 3, len(store)) + entry + store)
    assert header.text(1000) == "gpg-pubkey"
    assert header.text(SHA256HEADER) is None
    assert package_of(header) is None
