"""The comparison: what is installed against one wheel, honest and not, through its proof."""

from __future__ import annotations

import zipfile
from pathlib import Path

import msgspec
import pytest

from envfreeze.model.identity import sha256_of_claim
from envfreeze.model.snapshot import Row
from envfreeze.resolve import compare
from envfreeze.resolve.wheels import prove
from tests.support.fakeindex import make_wheel, record_hash
from tests.support.proofs import FILES, b64, edit, edited, full, install, proved, refused, sha256

# --- what is a proof -----------------------------------------------------------------------


def test_a_wheel_with_everything_is_proved(directory, server, index, cache):
    wheel = full(directory)
    proof = proved(prove(install(wheel), index, cache))
    assert proof.sha256 == proof.candidate.sha256 == sha256(wheel.read_bytes())
    assert proof.size == wheel.stat().st_size
    assert proof.candidate.url == f"{server.base}/files/{wheel.name}"
    assert proof.candidate.index == server.url
    assert proof.evidence == f"13 files equal the RECORD of {wheel.name} at 127.0.0.1"
    assert not proof.direct
    # One page, one range, and none of the scripts read: their digests are as RECORD says.
    assert len(server.requests) == 2


@pytest.mark.parametrize("path", ["demo/__init__.py", "demo/fast.so", "share/demo.txt", "demo.h"])
def test_an_edited_file_is_no_proof_and_is_named(directory, index, cache, path):
    dist = edit(install(full(directory)), path, edited)
    verdict = refused(prove(dist, index, cache))
    assert [key.split("/", 1)[1] for key in verdict.differing] == [path]
    assert verdict.nearest is not None
    assert path in verdict.reason


@pytest.mark.parametrize("path", ["demo/__init__.py", "run", "demo.h"])
def test_a_missing_row_or_file_is_no_proof(directory, index, cache, path):
    dist = install(full(directory))
    assert refused(prove(edit(dist, path, lambda row: None), index, cache)).differing
    gone = edit(
        dist,
        path,
        lambda row: Row(row.scheme, row.path, None, None, False, "sha256=" + b64(row.sha256)),
    )
    assert refused(prove(gone, index, cache)).differing


def test_a_file_too_many_is_no_proof(directory, index, cache):
    dist = install(full(directory))
    extra = Row("site", "demo/extra.py", "aa" * 32, 1, False, None)
    dist = msgspec.structs.replace(dist, rows=[*(dist.rows or ()), extra])
    assert refused(prove(dist, index, cache)).differing == ("site/demo/extra.py",)


def test_a_script_whose_first_line_the_installer_replaced(directory, index, cache, server):
    scripts = {"run": "#!python3 -E\nprint(1)\n", "other": "#!python\n"}
    dist = install(full(directory, scripts=scripts))
    row = sha256(b"#!python\nprint(1)\n")
    dist = edit(
        dist, "run", lambda r: msgspec.structs.replace(r, sha256=row, claim="sha256=" + "A" * 43)
    )
    proved(prove(dist, index, cache))
    other = edit(dist, "run", lambda r: msgspec.structs.replace(r, sha256="ab" * 32))
    assert refused(prove(other, index, cache)).differing == ("scripts/run",)


@pytest.mark.parametrize("claim", ["", "md5=abc", "sha512=" + "A" * 86, "sha256=?"])
def test_a_row_without_a_usable_hash_is_read(directory, index, cache, claim):
    wheel = full(directory, claims={"demo/data.bin": claim})
    dist = edit(
        install(wheel), "demo/data.bin", lambda row: msgspec.structs.replace(row, claim=claim)
    )
    proved(prove(dist, index, cache))
    assert refused(prove(edit(dist, "demo/data.bin", edited), index, cache)).differing


def test_a_wheel_whose_record_is_wrong_about_a_file(directory, index, cache):
    """Installers do not check: the file lies here as the wheel holds it, RECORD is false."""
    false = record_hash(b"something else")
    wheel = full(directory, claims={"demo/__init__.py": false})
    dist = edit(
        install(wheel), "demo/__init__.py", lambda row: msgspec.structs.replace(row, claim=false)
    )
    proved(prove(dist, index, cache))


def test_members_that_the_record_forgets(directory, index, cache):
    wheel = full(directory, claims={"demo/data.bin": None})
    dist = install(wheel)
    proved(prove(dist, index, cache))
    assert refused(prove(edit(dist, "demo/data.bin", edited), index, cache)).differing


def test_rows_of_members_that_the_wheel_lacks(directory, index, cache):
    """pip keeps such a row, uv drops it."""
    wheel = make_wheel(directory, "demo", "1.0", FILES)
    with zipfile.ZipFile(wheel) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["demo-1.0.dist-info/RECORD"] += b"demo/ghost.py,sha256=" + b"A" * 43 + b",3\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    by_uv = install(wheel)
    proved(prove(by_uv, index, cache))
    ghost = Row("site", "demo/ghost.py", None, None, False, "sha256=" + "A" * 43)
    by_pip = msgspec.structs.replace(by_uv, rows=[*(by_uv.rows or ()), ghost])
    proved(prove(by_pip, index, cache))


def test_a_file_that_another_distribution_overwrote(directory, index, cache):
    dist = edit(install(full(directory)), "demo/__init__.py", edited)
    refused(prove(dist, index, cache))
    proved(prove(dist, index, cache, yields=frozenset({"site/demo/__init__.py"})))
    both = edit(
        dist, "demo/__init__.py", lambda r: msgspec.structs.replace(r, claim="sha256=" + "A" * 43)
    )
    refused(prove(both, index, cache, yields=frozenset({"site/demo/__init__.py"})))


def test_headers_and_data_may_lie_where_the_probe_calls_them_otherwise(directory, index, cache):
    dist = install(full(directory))

    def moved(row: Row) -> Row:
        return msgspec.structs.replace(row, scheme="data", path="include/demo/api.h")

    proved(prove(edit(dist, "demo/api.h", moved), index, cache))


def test_a_data_path_into_site_packages(directory, index, cache):
    wheel = full(directory, data={"lib/python3.11/site-packages/demo_x.pth": "import x\n"})
    dist = edit(
        install(wheel),
        "lib/python3.11/site-packages/demo_x.pth",
        lambda row: msgspec.structs.replace(row, scheme="site", path="demo_x.pth"),
    )
    proved(prove(dist, index, cache))


# --- hostile wheels --------------------------------------------------------------------------


def rewritten(wheel: Path, record: bytes) -> None:
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("demo-1.0.dist-info/RECORD", record)


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"\xff\xfe\n",
        b'"unclosed\n',
        b"x\0y,sha256=,\n",
        b"../../etc/passwd,sha256=" + b"A" * 43 + b",1\n",
        b"/etc/passwd,,\n",
        b"demo-1.0.data/,,\n",
        b"demo-1.0.data/unknown/x,,\n",
        b",,\n\n,\n",
        b"a" * 200_000 + b",,\n",
        b"\n".join(b"f%d,," % n for n in range(300_000)),
    ],
)
def test_hostile_records_are_no_proof(directory, index, cache, record):
    wheel = full(directory)
    dist = install(wheel)
    rewritten(wheel, record)
    assert refused(prove(dist, index, cache)).reason


def test_a_record_too_large_is_not_unpacked(directory, index, cache, monkeypatch):
    monkeypatch.setattr(compare, "RECORD_LIMIT", 100)
    assert "too large" in refused(prove(install(full(directory)), index, cache)).reason


def test_a_wheel_with_two_metadata_directories(directory, index, cache):
    wheel = full(directory)
    dist = msgspec.structs.replace(install(wheel), info="other-1.0.dist-info")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("second-1.0.dist-info/RECORD", b"")
    assert "2 RECORD files" in refused(prove(dist, index, cache)).reason


@pytest.mark.parametrize(
    ("claim", "digest"),
    [
        (record_hash(b"x"), sha256(b"x")),
        (record_hash(b"x") + "=", sha256(b"x")),
        ("sha256=" + "aB" * 32, "ab" * 32),
        ("sha256=" + "a" * 63, None),
        ("sha256=", None),
        ("sha256=AAAA", None),
        ("sha256=" + "!" * 43, None),
        ("sha256=" + "é" * 43, None),
        ("md5=" + "A" * 43, None),
        ("", None),
    ],
)
def test_claims(claim, digest):
    assert sha256_of_claim(claim) == digest


@pytest.mark.parametrize(
    ("mode", "script", "pip", "uv"),
    [
        (0o100644, False, False, False),
        (0o100755, False, True, True),
        (0o100654, False, True, True),
        (0o755, False, False, True),
        (0, False, False, False),
        (0o100644, True, False, True),
        (0o100755, True, True, True),
    ],
)
def test_what_installers_make_executable(mode: int, script: bool, pip: bool, uv: bool) -> None:
    """As pip 9.0.3 to 26.3, ``installer`` and uv left them on the disk."""
    assert compare.gives_bit(mode, script=script, installer="pip") is pip
    assert compare.gives_bit(mode, script=script, installer=None) is pip
    assert compare.gives_bit(mode, script=script, installer="uv") is uv
