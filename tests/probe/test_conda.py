"""Records of every age, and prefixes in which somebody has been at work."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from envfreeze.model.snapshot import CondaPrefix, CondaRecord
from envfreeze.probe import conda
from envfreeze.probe.files import Hasher
from envfreeze.probe.machine import Machine

LONG = "/build/" + "_placehold" * 24


class Prefix:
    """A made-up prefix, and what the probe says of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.machine = Machine(environ={"HOME": str(path / "home")})
        (path / "conda-meta").mkdir(parents=True)
        (path / "conda-meta/history").touch()

    def file(self, name: str, data: bytes = b"x") -> str:
        """Write a file; its digest."""
        place = self.path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    def record(self, name: str, paths: list[dict[str, Any]] | None = None, **more: Any) -> None:
        document: dict[str, Any] = {"name": name, "version": "1.0", "build": "0"} | more
        if paths is not None:
            document["paths_data"] = {"paths": paths, "paths_version": 1}
        text = json.dumps(document)
        (self.path / f"conda-meta/{name}-1.0-0.json").write_text(text, "utf-8")

    def look(
        self, dists: list[dict[str, Any]] | None = None, known: dict[str, Any] | None = None
    ) -> CondaPrefix:
        self.machine = Machine(environ=self.machine.environ, known=known)
        hasher = Hasher(frozenset())
        found = conda.Prefix(self.machine, str(self.path), hasher)
        found.start()
        hasher.run()
        sites = [str(self.path / "lib/python3.11/site-packages")]
        facts, self.remember = found.finish(dists or [], [], sites)
        return msgspec.convert(facts, CondaPrefix)

    def one(self, dists: list[dict[str, Any]] | None = None) -> CondaRecord:
        (record,) = self.look(dists).records
        return record

    @property
    def kinds(self) -> list[str]:
        return [finding["kind"] for finding in self.machine.findings]


@pytest.fixture
def prefix(tmp_path: Path) -> Prefix:
    return Prefix(tmp_path / "prefix")


def test_an_old_record_knows_nothing_but_names(prefix: Prefix) -> None:
    prefix.file("lib/a")
    prefix.record("old", files=["lib/a"], md5=None, url=None, sha256=None)
    record = prefix.one()
    assert record.odd == [("lib/a", "unchecked")]
    assert (record.url, record.md5, record.sha256, record.subdir) == (None, None, None, None)
    assert record.count == 1


def test_a_file_is_held_against_its_form_in_the_prefix(prefix: Prefix) -> None:
    data = f"here = {prefix.path}\n".encode()
    whole = f"here = {LONG}\n".encode()
    entry = {
        "_path": "etc/a",
        "path_type": "hardlink",
        "sha256": hashlib.sha256(whole).hexdigest(),
        "prefix_placeholder": LONG,
        "file_mode": "text",
    }
    installed = {"sha256_in_prefix": prefix.file("etc/a", data)}
    prefix.record("p", [entry | installed])
    known = prefix.one()
    prefix.record("p", [entry])  # An older one: the prefix is taken out to tell.
    told = prefix.one()
    assert known.odd == told.odd == []
    assert known.tree == told.tree
    prefix.file("etc/a", data + b"edited")
    assert prefix.one().odd == [("etc/a", "changed")]


def test_conda_itself_names_files_of_noarch_packages_as_the_package_has_them(
    prefix: Prefix,
) -> None:
    # As conda 26.7 wrote it; mamba and rattler write where the files lie.
    site = "lib/python3.11/site-packages"
    rows = {
        "site-packages/greet/cli.py": f"{site}/greet/cli.py",
        "python-scripts/greet-tool": "bin/greet-tool",
    }
    paths = [
        {"_path": path, "path_type": "hardlink", "sha256": prefix.file(place, path.encode())}
        for path, place in rows.items()
    ]
    prefix.record("greet", paths, files=list(rows.values()), noarch="python")
    record = prefix.one()
    assert record.odd == []
    assert record.count == 2
    prefix.file(f"{site}/greet/cli.py", b"edited")
    assert prefix.one().odd == [(f"{site}/greet/cli.py", "changed")]
    assert not prefix.look().loose


@pytest.mark.parametrize("winner", ["a", "b"])
def test_of_two_packages_with_one_path_the_content_tells(prefix: Prefix, winner: str) -> None:
    for name in ("a", "b"):
        digest = hashlib.sha256(name.encode()).hexdigest()
        prefix.record(name, [{"_path": "share/both", "path_type": "hardlink", "sha256": digest}])
    prefix.file("share/both", winner.encode())
    found = {record.name: (record.count, record.odd) for record in prefix.look().records}
    lost = (0, [("share/both", "another")])
    assert found == {name: (1, []) if name == winner else lost for name in ("a", "b")}


def test_the_same_bytes_are_of_both_packages(prefix: Prefix) -> None:
    digest = prefix.file("share/same", b"same")
    aside = "__clobbers__/b/share/same"
    prefix.file(aside, b"same")
    prefix.record("a", [{"_path": "share/same", "path_type": "hardlink", "sha256": digest}])
    prefix.record("b", [{"_path": "share/same", "path_type": "hardlink", "sha256": digest}])
    by_conda = prefix.look()
    moved = {"_path": aside, "original_path": "share/same", "sha256": digest}
    prefix.record("b", [moved], files=[aside])
    by_rattler = prefix.look()
    assert [record.tree for record in by_conda.records] == [r.tree for r in by_rattler.records]
    assert [record.odd for record in by_rattler.records] == [[], []]
    assert not by_rattler.loose


def test_a_record_cannot_hide_a_file(prefix: Prefix) -> None:
    prefix.file("etc/stray", b"x")
    prefix.record("a", [{"_path": "etc/stray", "original_path": "share/a", "sha256": "0" * 64}])
    assert prefix.one().odd == [("etc/stray", "changed")]


def test_two_prefixes_with_the_same_edit_are_equal(tmp_path: Path) -> None:
    trees = set()
    for name in ("one", "another-one"):
        prefix = Prefix(tmp_path / name)
        sha256 = prefix.file("bin/x", b"edited \0 " + os.fsencode(prefix.path) + b" \0")
        prefix.record("p", [{"_path": "bin/x", "sha256": sha256[::-1]}])
        text = prefix.file("share/t", b"edited " + os.fsencode(prefix.path))
        prefix.record("q", [{"_path": "share/t", "sha256": text[::-1]}])
        trees.add(next(r.tree for r in prefix.look().records if r.name == "q"))
    assert len(trees) == 1


def test_missing_files_links_and_bytecode(prefix: Prefix) -> None:
    sha256 = prefix.file("lib/libx.so.1")
    (prefix.path / "lib/libx.so").symlink_to("libx.so.1")
    (prefix.path / "lib/abs").symlink_to(prefix.path / "lib/libx.so.1")
    paths = [
        {"_path": "lib/libx.so.1", "path_type": "hardlink", "sha256": sha256, "no_link": True},
        {"_path": "lib/libx.so", "path_type": "softlink", "sha256": "0" * 64},
        {"_path": "lib/abs", "path_type": "softlink"},
        {"_path": "lib/__pycache__/a.cpython-311.pyc", "path_type": "pyc_file"},
        {"_path": "lib/gone", "path_type": "hardlink", "sha256": sha256},
    ]
    prefix.record("p", paths)
    record = prefix.one()
    assert record.odd == [("lib/gone", "missing")]
    assert record.count == 3


SCRIPT = """\
#!%s/bin/python3.11
# -*- coding: utf-8 -*-
import re
import sys

from greet.cli import main

if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\\.pyw?|\\.exe)?$', '', sys.argv[0])
    sys.exit(main())
"""


def test_a_script_without_a_digest_is_known_by_its_form(prefix: Prefix) -> None:
    entry = {"_path": "bin/greet", "path_type": "unix_python_entry_point"}
    prefix.record("p", [entry])
    prefix.file("bin/greet", (SCRIPT % prefix.path).encode())
    plain = prefix.one()
    assert plain.odd == []
    prefix.file("bin/greet", (SCRIPT % "/elsewhere").replace("    ", "\t").encode())
    assert prefix.one().tree == plain.tree
    prefix.file("bin/greet", (SCRIPT % prefix.path + "evil()\n").encode())
    assert prefix.one().odd == [("bin/greet", "unchecked")]


def test_a_link_in_place_of_a_file_is_a_change(prefix: Prefix) -> None:
    sha256 = prefix.file("real")
    (prefix.path / "lib").mkdir()
    (prefix.path / "lib/a").symlink_to("../real")
    prefix.record("p", [{"_path": "lib/a", "path_type": "hardlink", "sha256": sha256}])
    assert prefix.one().odd == [("lib/a", "changed")]


def test_paths_that_lead_out_are_none(prefix: Prefix, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    paths: list[Any] = [{"_path": "../secret"}, {"_path": "/etc/passwd"}, {"_path": 3}, "x"]
    prefix.record("p", paths, files=["a/../../secret"])
    assert prefix.one().count == 0
    assert prefix.kinds == ["damaged-record"]


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "x"}', "[" * 100_000, '{"name": 1}'])
def test_damaged_records_are_findings(prefix: Prefix, text: str) -> None:
    (prefix.path / "conda-meta/x-1-0.json").write_text(text)
    assert prefix.look().records == []
    assert prefix.kinds == ["damaged-record"]


def test_what_pip_installed_is_no_conda_package(prefix: Prefix) -> None:
    prefix.record("p", [], channel="pypi", build="pypi_0")
    assert prefix.look().records == []
    assert prefix.kinds == []


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        ("https://u:p@c.example/t/tk-123/ch/a.conda", "https://c.example/ch/a.conda"),
        ("https://c.example/t/short/ch", "https://c.example/ch"),
        ("https://c.example/ch/a.conda?sig=1#frag", "https://c.example/ch/a.conda"),
        ("file:///home/t/x/a.conda", "file:///home/t/x/a.conda"),
        ("conda-forge", "conda-forge"),
        ("https://c.example", "https://c.example"),
        ("//u:p@c.example/x", "//c.example/x"),
    ],
)
def test_no_secret_of_a_url_is_kept(url: str, bare: str) -> None:
    assert conda.bare_url(url) == bare


def test_credentials_are_a_finding(prefix: Prefix) -> None:
    prefix.record("p", [], url="https://u:p@c.example/x.conda", channel="https://u:p@c.example")
    record = prefix.one()
    assert (record.url, record.channel) == ("https://c.example/x.conda", "https://c.example")
    assert prefix.kinds == ["credentials"]
    assert "u:p" not in json.dumps(prefix.machine.findings)


def test_what_pip_put_over_conda_and_conda_over_pip(prefix: Prefix) -> None:
    site = "lib/python3.11/site-packages"
    pips = prefix.file(f"{site}/m.py", b"pip")
    condas = prefix.file(f"{site}/n.py", b"conda")
    paths = [
        {"_path": f"{site}/m.py", "sha256": "1" * 64},
        {"_path": f"{site}/n.py", "sha256": condas},
    ]
    prefix.record("p", paths)
    rows = [
        ["site", "m.py", pips, 3, False, None],
        ["site", "n.py", condas, 5, False, "sha256=other"],
    ]
    dist = {"site": f"{prefix.path}/{site}", "rows": rows}
    record = prefix.one([dist])
    assert record.odd == [(f"{site}/m.py", "pip")]
    assert dist["overlaid"] == ["site/n.py"]


def test_files_that_nobody_owns(prefix: Prefix) -> None:
    prefix.file("share/dätä.txt", os.fsencode(prefix.path))
    prefix.file("share/__pycache__/x.pyc")
    prefix.file("lib/python3.11/site-packages/loose.py")
    prefix.file("lib/python3.9/site-packages/left_over.py")
    prefix.file("pkgs/cache.json")
    prefix.file("envs/other/bin/x")
    prefix.file(".condarc", b"channels:\n  - https://u:p@c.example/x # mine\n  - 'd'\nssl: x\n")
    (prefix.path / "share/link").symlink_to(prefix.path / "share/dätä.txt")
    found = prefix.look()
    assert [(f.path, f.link) for f in found.loose] == [
        ("lib/python3.9/site-packages/left_over.py", None),
        ("share/dätä.txt", None),
        ("share/link", "dätä.txt"),
    ]
    assert found.channels == ["https://c.example/x", "d"]


def test_conda_itself_names_the_platform_with_the_channel(prefix: Prefix) -> None:
    channel = "https://c.example/forge"
    for name, said in {"a": "/linux-64", "b": "/noarch", "c": ""}.items():
        subdir = said[1:] or "linux-64"
        prefix.record(name, [], channel=f"{channel}{said}", subdir=subdir)
    assert {record.channel for record in prefix.look().records} == {channel}


def test_what_conda_meta_has_beside_the_records(prefix: Prefix) -> None:
    meta = prefix.path / "conda-meta"
    state = {"env_vars": {"FOO": "1", "MY_TOKEN": "x", "URL": "https://u:p@h/", "bad name": "x"}}
    (meta / "state").write_text(json.dumps(state))
    (meta / "pinned").write_text("numpy 1.*\n\n")
    (meta / "frozen").write_text("{}")
    found = prefix.look()
    assert found.variables == {"FOO": "1"}
    assert found.pinned == ["numpy 1.*"]
    assert found.frozen
    assert "credentials" in prefix.kinds


def test_who_asked_for_a_package(prefix: Prefix) -> None:
    history = """==> 2023-01-01 00:00:00 <==
# cmd: conda create -n x a b
# update specs: ['conda-forge::a[version=1]', "b >=2"]
# remove specs: ['b']
"""
    assert conda.requested(history) == {"a": ["conda-forge::a[version=1]"]}
    (prefix.path / "conda-meta/history").write_text(history)
    prefix.record("a", [])
    assert prefix.one().requested == ["conda-forge::a[version=1]"]
    prefix.record("a", [], requested_spec="a 1.*")
    assert prefix.one().requested == ["a 1.*"]
    prefix.record("a", [], requested_specs=["a"], requested_spec="None")
    assert prefix.one().requested == ["a"]


def test_digests_are_remembered_while_the_files_stay(prefix: Prefix) -> None:
    sha256 = prefix.file("lib/a")
    os.utime(prefix.path / "lib/a", (1, 1))
    prefix.record("p", [{"_path": "lib/a", "sha256": sha256}])
    first = prefix.look()
    assert prefix.remember == {}, "a file that has just changed is not remembered"
    st = os.lstat(prefix.path / "lib/a")
    place = conda.Prefix(prefix.machine, str(prefix.path), Hasher(frozenset()))
    key = place._fingerprint(place.records[0], {"lib/a": st})
    assert prefix.look(known={key: {"lib/a": "f" * 64}}).records[0].odd == [("lib/a", "changed")]
    assert prefix.look(known={key: {"lib/a": sha256}}) == first


def test_what_an_unchanged_prefix_rests_on(prefix: Prefix, tmp_path: Path) -> None:
    """Its files, its records, and the settings that hold in it."""

    def fed(environ: dict[str, str]) -> str:
        digest = hashlib.sha256()
        conda.feed(str(prefix.path), digest, environ)
        return digest.hexdigest()

    home = tmp_path / "home"
    home.mkdir()
    environ = {"HOME": str(home)}
    before = fed(environ)
    assert fed(environ) == before
    (home / ".condarc").write_text("channels: [one]\n")
    mine = fed(environ)
    assert mine != before
    assert fed({}) == before, "another user's settings are not ours"
    prefix.record("a", [])
    assert fed(environ) not in {before, mine}
