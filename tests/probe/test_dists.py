"""The probe on real environments whose distributions are damaged in every known way."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import socket
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from envfreeze.model.snapshot import Dist, Row, Snapshot
from envfreeze.model.survey import survey
from envfreeze.probe.dists import Roots, SiteProbe
from envfreeze.probe.files import Hasher
from envfreeze.probe.machine import Machine
from envfreeze.probe.walk import walk
from tests.support.environments import Environment, claim, install
from tests.support.pythons import newest, parameters


@pytest.fixture
def env(tmp_path: Path) -> Environment:
    return Environment.make(newest(), tmp_path / "env")


def rows(dist: Dist) -> dict[str, Row]:
    return {f"{row.scheme}/{row.path}": row for row in dist.rows or ()}


def loose(snapshot: Snapshot) -> dict[str, str | None]:
    return {entry.path: entry.sha256 for site in snapshot.sites for entry in site.loose}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("python", parameters())
def test_a_whole_distribution(python: Path, tmp_path: Path) -> None:
    env = Environment.make(python, tmp_path / "env")
    (env.prefix / "bin" / "tool").write_bytes(b"#!%s\nprint(1)\n" % os.fsencode(env.python))
    env.install(
        "Some.Thing",
        "1.0",
        files={"thing.py": b"X\n", "../../../share/thing.txt": b"T\n"},
        rows=["../../../bin/tool,sha256=unknown,3", "__pycache__/thing.cpython.pyc,,"],
        extra={
            "REQUESTED": "",
            "direct_url.json": '{"url": "https://example.invalid/x.whl", "archive_info": {}}',
            "entry_points.txt": "[console_scripts]\nthing = thing:main\n",
        },
    )
    dist = env.dist("Some.Thing")
    found = rows(dist)
    assert found["site/thing.py"] == Row("site", "thing.py", sha256(b"X\n"), 2, False, None)
    assert found["data/share/thing.txt"].sha256 == sha256(b"T\n")
    script = found["scripts/tool"]
    assert (script.sha256, script.claim) == (sha256(b"#!python\nprint(1)\n"), "sha256=unknown")
    assert not any(path.endswith(".pyc") for path in found)
    assert (dist.installer, dist.requested, dist.wrappers) == ("pip\n", True, ["thing"])
    assert dist.direct_url is not None and "example.invalid" in dist.direct_url
    assert (dist.tags, dist.purelib, dist.build) == (["py3-none-any"], True, None)
    assert loose(env.snapshot()) == {}


def test_an_edited_and_a_missing_file(env: Environment) -> None:
    env.install("edited", files={"edited/a.py": b"1", "edited/b.py": b"2"})
    (env.site / "edited" / "a.py").write_bytes(b"9")
    (env.site / "edited" / "b.py").unlink()
    found = rows(env.dist("edited"))
    assert found["site/edited/a.py"] == Row(
        "site", "edited/a.py", sha256(b"9"), 1, False, claim(b"1")
    )
    assert found["site/edited/b.py"] == Row("site", "edited/b.py", None, None, False, claim(b"2"))


def test_what_flit_installs_by_itself_is_whole(env: Environment, tmp_path: Path) -> None:
    """Digests in hex, and the link to the package named in RECORD (flit: ``install --symlink``)."""
    (tmp_path / "tree/linked").mkdir(parents=True)
    digest = sha256(b"1")
    env.install(
        "linked",
        files={},
        rows=["linked,,", f"linked-1.0.dist-info/entry_points.txt,sha256={digest},1"],
        extra={"entry_points.txt": "1"},
    )
    (env.site / "linked").symlink_to(tmp_path / "tree/linked")
    snapshot = env.snapshot()
    (item,) = survey(snapshot).seen
    assert (item.edited, item.missing) == ((), ())
    assert "site/linked-1.0.dist-info/entry_points.txt" in rows(item.dist)
    assert "linked" in loose(snapshot)
    (env.site / "linked").unlink()
    assert survey(env.snapshot()).seen[0].missing == ("site/linked",)


def test_of_two_metadata_directories_the_intact_one_is_live(env: Environment) -> None:
    env.install("twice", "1.0", files={"twice.py": b"old"})
    env.install("twice", "2.0", files={"twice.py": b"new"})
    seen = survey(env.snapshot())
    assert [item.dist.version for item in seen.seen] == ["2.0"]
    assert [dist.version for dist in seen.loose_dists] == ["1.0"]
    assert "twice-1.0.dist-info/METADATA" in {e.path for site in seen.sites for e in site.loose}


@pytest.mark.parametrize("prefix", ["~", "-"])
def test_leftovers_are_named_and_skipped(env: Environment, prefix: str) -> None:
    (env.site / f"{prefix}umpy").mkdir()
    (env.site / f"{prefix}umpy" / "x.py").write_text("")
    info = env.site / f"{prefix}umpy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: numpy\nVersion: 1.0\n")
    snapshot = env.snapshot()
    assert snapshot.dists == []
    assert loose(snapshot) == {}
    assert sorted(Path(f.place).name for f in snapshot.findings) == sorted(
        [f"{prefix}umpy", f"{prefix}umpy-1.0.dist-info"]
    )
    assert {finding.kind for finding in snapshot.findings} == {"leftover"}


def test_damaged_metadata(env: Environment) -> None:
    (env.install("nometa") / "METADATA").unlink()
    env.install("empty", metadata="")
    env.install("noname", metadata="Metadata-Version: 2.1\nVersion: 3\n")
    (env.install("norecord") / "RECORD").unlink()
    env.install("odd", "1.0-weird..x")
    snapshot = env.snapshot()
    damaged = {Path(f.place).name for f in snapshot.findings if f.kind == "damaged-metadata"}
    assert damaged == {f"{name}-1.0.dist-info" for name in ("nometa", "empty", "noname")}
    by_name = {dist.name: dist for dist in snapshot.dists}
    assert (by_name["noname"].version, by_name["empty"].version) == ("3", "1.0")
    assert by_name["norecord"].rows is None
    assert by_name["odd"].version == "1.0-weird..x"
    assert "norecord/__init__.py" in loose(snapshot)
    assert survey(snapshot).found == len(snapshot.dists) == 5


def test_what_lies_behind_a_link_to_a_directory_is_not_the_distributions(
    env: Environment, tmp_path: Path
) -> None:
    """The link comes back; files at the same place as well would be a lock that nobody builds."""
    env.install("swapped", files={"swapped/__init__.py": b"1", "swapped/a/b.py": b"2"})
    (env.site / "swapped").rename(tmp_path / "checkout")
    (env.site / "swapped").symlink_to(tmp_path / "checkout")
    env.install("inner", files={"inner/__init__.py": b"1"})
    (env.site / "inner").rename(env.site / "inner_1")
    (env.site / "inner").symlink_to("inner_1")
    info = env.install("whole", files={"whole.py": b"1"})
    info.rename(tmp_path / info.name)
    info.symlink_to(tmp_path / info.name)
    snapshot = env.snapshot()
    places = ["swapped/__init__.py", "swapped/a/b.py", "inner/__init__.py"]
    for path in places:
        row = rows(next(d for d in snapshot.dists if path.startswith(d.name)))[f"site/{path}"]
        assert (row.sha256, row.size) == (None, None), path
    assert next(d for d in snapshot.dists if d.name == "whole").rows is None
    assert {"swapped", "inner", info.name, "inner_1/__init__.py", "whole.py"} <= set(
        loose(snapshot)
    )
    found = sorted(Path(f.place).name for f in snapshot.findings if f.kind == "linked-directory")
    assert found == ["inner-1.0.dist-info", "swapped-1.0.dist-info", "whole-1.0.dist-info"]


def test_links(env: Environment, tmp_path: Path) -> None:
    outside = tmp_path / "outside.py"
    outside.write_bytes(b"linked")
    (env.site / "nowhere.py").symlink_to("gone")
    (env.site / "dangling-1.0.egg-info").symlink_to("gone")
    (env.site / "there.py").symlink_to(outside)
    (tmp_path / "it").mkdir()
    (env.site / "folder").symlink_to(tmp_path / "it")
    env.install("linked", files={}, rows=[f"real.py,{claim(b'linked')},6", "folder,,"])
    (env.site / "real.py").symlink_to(outside)
    snapshot = env.snapshot()
    kinds = {(f.kind, Path(f.place).name) for f in snapshot.findings}
    assert ("dangling-link", "nowhere.py") in kinds
    assert ("damaged-metadata", "dangling-1.0.egg-info") in kinds
    links = {e.path: e.link for site in snapshot.sites for e in site.loose}
    assert links == {"there.py": str(outside), "folder": "{envfreeze:source:linked}"}
    assert ("source-outside", "there.py") in kinds
    row = rows(env.dist("linked"))["site/real.py"]
    assert (row.sha256, row.size, row.executable, row.claim) == (sha256(b"linked"), 6, False, None)


def test_eggs(env: Environment, tmp_path: Path) -> None:
    site = env.site
    (site / "flat-1.0.egg-info").write_text("Name: flat\nVersion: 1.0\n")
    (site / "deep-2.0-py3.11.egg-info").mkdir()
    (site / "deep-2.0-py3.11.egg-info" / "PKG-INFO").write_text("Name: deep\nVersion: 2.0\n")
    egg = site / "wide-3.0-py3.11.egg"
    (egg / "EGG-INFO").mkdir(parents=True)
    (egg / "EGG-INFO" / "PKG-INFO").write_text("Name: wide\nVersion: 3.0\n")
    with zipfile.ZipFile(site / "zipped-4.0-py3.11.egg", "w") as archive:
        archive.writestr("EGG-INFO/PKG-INFO", "Name: zipped\nVersion: 4.0\n")
    (site / "broken-5.0-py3.11.egg").write_bytes(b"not a zip")
    project = tmp_path / "project"
    (project / "dev.egg-info").mkdir(parents=True)
    (project / "dev.egg-info" / "PKG-INFO").write_text("Name: dev\nVersion: 6.0\n")
    (site / "dev.egg-link").write_text(f"{project}\n.\n")
    (site / "easy-install.pth").write_text(
        f"./{egg.name}\n./zipped-4.0-py3.11.egg\n./broken-5.0-py3.11.egg\n{project}\n"
    )
    snapshot = env.snapshot()
    assert {dist.name: dist.version for dist in snapshot.dists} == {
        "flat": "1.0",
        "deep": "2.0",
        "wide": "3.0",
        "zipped": "4.0",
        "broken": "5.0",
        "dev": "6.0",
    }
    seen = survey(snapshot)
    assert [dist.name for dist in seen.in_sources] == ["dev"]
    assert [tree.key for tree in snapshot.sources] == ["dev"]
    assert len(seen.loose_dists) == 5
    assert {"dev.egg-link", "easy-install.pth", "zipped-4.0-py3.11.egg"} <= set(loose(snapshot))
    assert "damaged-metadata" in {finding.kind for finding in snapshot.findings}


def test_record_rows_never_lead_outside(env: Environment, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    hostile = [
        "../../../../../../../../../../etc/passwd,,",
        "/etc/passwd,,",
        f"{tmp_path}/secret,,",
        "../../../../secret,,",
        '"new\nline.py",,',
        f'"{env.prefix}/../secret",,',
    ]
    env.install("hostile", rows=hostile)
    snapshot = env.snapshot()
    (finding,) = (f for f in snapshot.findings if f.kind == "outside-row")
    assert "and 5 more" in finding.detail and "passwd" in finding.detail
    outside = [row for row in snapshot.dists[0].rows or () if row.scheme == "outside"]
    assert len(outside) == 6
    assert all(row.sha256 is None and row.size is None for row in outside)


def test_odd_spellings_in_record(env: Environment) -> None:
    files = {"odd/a.py": b"a", "odd/b c,d.py": b"b", "odd/é.py": b"e"}
    absolute = f"{env.site}/odd/abs.py"
    env.install("odd", files=files, record="")
    (env.site / "odd" / "abs.py").write_bytes(b"x")
    record = (
        f"odd\\a.py,{claim(b'a')},1\r\n"
        f'"odd/b c,d.py",{claim(b"b")},1\n'
        f"odd//é.py,{claim(b'e')},1\n"
        f"./odd/é.py,{claim(b'e')},1\n"
        f"{absolute},{claim(b'x')},1\n"
        f"odd/a.py,,\nodd-1.0.dist-info/METADATA\n\n"
    )
    (env.site / "odd-1.0.dist-info" / "RECORD").write_text(record)
    snapshot = env.snapshot()
    found = [(row.path, row.claim) for row in snapshot.dists[0].rows or ()]
    assert sorted(found) == [
        ("odd-1.0.dist-info/METADATA", ""),
        ("odd/a.py", None),
        ("odd/abs.py", None),
        ("odd/b c,d.py", None),
        ("odd/é.py", None),
    ]
    assert not any(path.startswith("odd/") for path in loose(snapshot))


def test_other_algorithms_in_record_are_checked_too(env: Environment) -> None:
    def other(name: str, data: bytes) -> str:
        digest = base64.urlsafe_b64encode(hashlib.new(name, data).digest()).decode()
        return f"{name}={digest.rstrip('=')}"

    env.install("strong", files={}, record="")
    for name in ("good", "bad", "unknown"):
        (env.site / f"{name}.py").write_bytes(b"x")
    (env.site / "strong-1.0.dist-info" / "RECORD").write_text(
        f"good.py,{other('sha512', b'x')},1\nbad.py,{other('sha384', b'y')},1\n"
        f"unknown.py,rot13=abcd,1\n"
    )
    found = rows(env.dist("strong"))
    assert found["site/good.py"].claim is None
    assert found["site/bad.py"].claim is not None
    assert found["site/unknown.py"].claim == "rot13=abcd"
    assert {row.sha256 for row in found.values()} == {sha256(b"x")}


def test_a_record_with_too_many_rows_is_reported_in_bounded_time(env: Environment) -> None:
    info = env.install("huge", record="")
    with (info / "RECORD").open("w") as file:
        file.writelines(f"h/{n},,\n" for n in range(1_200_000))
    start = time.monotonic()
    snapshot = env.snapshot()
    assert time.monotonic() - start < 30
    assert {finding.kind for finding in snapshot.findings} == {"damaged-record"}
    assert snapshot.dists[0].rows is None
    with (info / "RECORD").open("ab") as file:
        file.truncate(65 << 20)
    (finding,) = env.snapshot().findings
    assert "64 MiB" in finding.detail


def test_special_files_are_named_and_never_opened(env: Environment) -> None:
    os.mkfifo(env.site / "fifo.pth")
    os.mkfifo(env.site / "fifo-1.0.egg-info")
    info = env.install("piped", rows=["pipe,,", "device,,", "zero.bin,,"])
    (info / "METADATA").unlink()
    os.mkfifo(info / "METADATA")
    os.mkfifo(env.site / "pipe")
    (env.site / "zero.bin").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(env.site)
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
        snapshot = env.snapshot()
    named = {Path(f.place).name for f in snapshot.findings if f.kind == "unreadable"}
    assert {"fifo.pth", "fifo-1.0.egg-info", "socket", "pipe"} <= named
    assert rows(snapshot.dists[0])["site/zero.bin"].sha256 is None


def test_names_that_are_not_utf8(env: Environment) -> None:
    site = os.fsencode(env.site)
    os.mkdir(site + b"/bad\xff-1.0.dist-info")  # noqa: PTH102
    for name in (
        b"/bad\xff.py",
        b"/bad\xff-1.0.dist-info/METADATA",
        b"/esc\x1b[0m.py",
        b"/line\n.py",
    ):
        Path(os.fsdecode(site + name)).write_bytes(b"")
    os.symlink(b"to\xff", site + b"/link")  # noqa: PTH211
    Path(os.fsdecode(site + b"/to\xff")).write_bytes(b"")
    snapshot = env.snapshot()
    assert snapshot.dists == []
    assert loose(snapshot) == {}
    assert [finding.kind for finding in snapshot.findings] == ["not-utf8"] * 6


def test_long_paths_and_odd_prefixes(tmp_path: Path) -> None:
    prefix = tmp_path / "a 'quoted' \"folder\" é 日本" / ("x" * 200) / "env"
    env = Environment.make(newest(), prefix)
    env.install("long", files={"/".join(["d" * 100] * 20) + "/f.py": b"x"})
    (env.prefix / "bin" / "s").write_bytes(b"#!" + os.fsencode(env.python) + b"\nx\n")
    env.install("script", files={}, rows=["../../../bin/s,,"])
    snapshot = env.snapshot()
    assert snapshot.interpreter.prefix == str(prefix)
    assert {row.claim for d in snapshot.dists if d.name == "long" for row in d.rows or ()} == {
        None,
        "",
    }
    assert rows(env.dist("script"))["scripts/s"].sha256 == sha256(b"#!python\nx\n")


def test_a_linked_site_packages(env: Environment, tmp_path: Path) -> None:
    env.site.rename(tmp_path / "elsewhere")
    (env.prefix / "lib").glob("python3.*").__next__().joinpath("site-packages").symlink_to(
        tmp_path / "elsewhere"
    )
    env.install("moved", rows=["../../../bin/tool,,"])
    (env.prefix / "bin" / "tool").write_bytes(b"")
    dist = env.dist("moved")
    assert dist.site == str(env.site)
    assert all(row.sha256 for row in dist.rows or ())


def test_two_distributions_with_one_file(env: Environment) -> None:
    env.install("first", files={"shared.py": b"first"})
    env.install("second", files={"shared.py": b"second"})
    seen = {item.name: item for item in survey(env.snapshot()).seen}
    assert seen["first"].yields == ("site/shared.py",)
    assert seen["first"].edited == seen["second"].edited == seen["second"].yields == ()


def test_a_nested_directory_named_by_a_pth_is_kept_as_files(env: Environment) -> None:
    (env.site / "vendor").mkdir()
    (env.site / "vendor.pth").write_text("vendor\n")
    install(env.site / "vendor", "inner")
    snapshot = env.snapshot()
    seen = survey(snapshot)
    assert seen.seen == []
    assert [dist.name for dist in seen.loose_dists] == ["inner"]
    assert "vendor/inner/__init__.py" in loose(snapshot)


@pytest.mark.parametrize(
    ("path", "placed"),
    [
        ("a/b.py", ("site", "a/b.py")),
        ("a/../b.py", ("site", "b.py")),
        ("../../../bin/x", ("scripts", "x")),
        ("../../../include/site/python3.11/name/x.h", ("headers", "x.h")),
        ("../../../share/x", ("data", "share/x")),
        ("../../../../x", ("outside", "../../../../x")),
        ("/etc/passwd", ("outside", "/etc/passwd")),
        ("../site-packages-evil/x", ("data", "lib/python3.11/site-packages-evil/x")),
        ("..", ("data", "lib/python3.11")),
        ("a\nb", ("outside", "a\nb")),
        ("a\0b", ("outside", "a\0b")),
    ],
)
def test_where_a_row_lies(path: str, placed: tuple[str, str]) -> None:
    roots = Roots("/v/lib/python3.11/site-packages", "/v", "/v/include/site/python3.11")
    assert roots.place(path)[:2] == placed


def test_the_whole_file_system_is_nobodys_data() -> None:
    roots = Roots("/lib/python3/dist-packages", "/", None)
    assert roots.place("/etc/shadow")[0] == "outside"
    assert roots.place("../../../bin/x")[:2] == ("scripts", "x")


def test_a_link_within_the_environment_leads_there_after_a_rebuild(env: Environment) -> None:
    env.install("real", files={"real/__init__.py": b"1", "deep/er/a.py": b"1"})
    (env.site / "alias").symlink_to(env.site / "real")
    (env.site / "deep/er/up").symlink_to(env.site / "real/__init__.py")
    (env.site / "out").symlink_to("/etc/hostname")
    (env.prefix / "bin/tool").write_text("")
    (env.prefix / "bin/also").symlink_to(env.prefix / "bin/tool")
    snapshot = env.snapshot()
    links = {e.path: e.link for site in snapshot.sites for e in site.loose if e.link}
    up = "../../real/__init__.py"
    assert links == {"alias": "real", "deep/er/up": up, "out": "/etc/hostname", "also": "tool"}
    assert snapshot.sources == []


@contextlib.contextmanager
def by_nobody(top: Path) -> Iterator[None]:
    """Root reads everything: the rest happens as a user who does not."""
    above = [place for place in (*top.parents, top) if not place.stat().st_mode & 0o001]
    modes = [(place, place.stat().st_mode) for place in above if os.geteuid() == 0]
    for place, mode in modes:
        place.chmod(mode | 0o055)
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(os.getuid())
        for place, mode in modes:
            place.chmod(mode)


@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_directories_that_cannot_be_read_are_named(tmp_path: Path, mode: int) -> None:
    """What lies in them is not known: it is not missing."""
    if mode == 0o444 and os.geteuid() != 0:
        pytest.skip("its owner may enter it")
    install(tmp_path, "closed", files={"closed/a.py": b"1"})
    (tmp_path / "private").mkdir()
    (tmp_path / "private/mine.py").write_text("1")
    for name in ("closed", "private"):
        (tmp_path / name).chmod(mode)
    machine = Machine()
    try:
        with by_nobody(tmp_path):
            probe = SiteProbe(machine, Hasher(frozenset()), Roots(str(tmp_path), None, None))
            (dist,) = probe.dists(walk(str(tmp_path)))
            probe.loose()
    finally:
        for name in ("closed", "private"):
            (tmp_path / name).chmod(0o755)
    named = {finding["place"] for finding in machine.findings if finding["kind"] == "unreadable"}
    assert named == {f"{tmp_path}/closed", f"{tmp_path}/private"}
    row = next(row for row in dist["rows"] if row[1] == "closed/a.py")
    assert (row[2], row[3]) == (None, 0)
