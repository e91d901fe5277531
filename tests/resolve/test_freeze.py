"""Snapshot to lock: everything that was found is somewhere, and no secret is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from packaging.pylock import Pylock

from envfreeze.build.venv import VenvPlan
from envfreeze.build.venv import build as build_venv
from envfreeze.diff import view
from envfreeze.diff.compare import compare
from envfreeze.errors import ArtifactError
from envfreeze.model import lock as model
from envfreeze.model.identity import check_identity
from envfreeze.model.lock import InterpreterLayer, Lock, Package, SystemLayer
from envfreeze.model.snapshot import Dist, Finding, Row, Site, Snapshot
from envfreeze.progress import Progress
from envfreeze.resolve import freeze
from envfreeze.resolve.freeze import Frozen, Means
from envfreeze.resolve.http import Http
from envfreeze.resolve.index import Index
from envfreeze.resolve.machine import MachineLayers
from envfreeze.resolve.pipconf import IndexSettings
from envfreeze.store import Cache, Sidecar
from tests.support import envs
from tests.support.fakeindex import FakeIndex, make_wheel
from tests.support.sdists import make_sdist

TOKEN = "hunter2-of-no-directory"
SETTINGS = {"index_url", "find_links", "cache_dir"}
LAYERS = ("interpreter", "packages", "files")


@pytest.fixture(autouse=True)
def no_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The layers below have tests of their own, and take their time."""

    def lock_machine(snapshot: Snapshot, *_: object) -> MachineLayers:
        return MachineLayers(
            interpreter=InterpreterLayer(facts=snapshot.interpreter, origin="system"),
            system=SystemLayer(kernel="Linux", machine="x86_64"),
        )

    monkeypatch.setattr(freeze, "lock_machine", lock_machine)


@dataclass
class Setting:
    """An index, an environment, and a cache between them."""

    tmp: Path
    server: FakeIndex
    env: Path
    cache: Cache

    def wheel(self, name: str, *rest: Any, **more: Any) -> Path:
        """A wheel that the index offers."""
        return make_wheel(self.server.directory, name, "1.0", *rest, **more)

    def private(self, name: str, *rest: Any, **more: Any) -> Path:
        """A wheel that nobody offers."""
        return make_wheel(self.tmp / "private", name, "1.0", *rest, **more)

    def freeze(
        self, *, lock: str = "env.lock", snapshot: Snapshot | None = None, **options: Any
    ) -> Frozen:
        settings: dict[str, Any] = {"index_url": self.server.url, "retries": 0, "timeout": 5}
        settings |= {k: options.pop(k) for k in list(options) if k in SETTINGS}
        made = IndexSettings(**settings)
        http = Http(made)
        means = Means(
            index=Index(made, http),
            cache=options.pop("cache", self.cache),
            sidecar=Sidecar(self.tmp / lock),
            progress=Progress(),
            **options,
        )
        try:
            return freeze.freeze(snapshot or envs.look(self.env), means)
        finally:
            http.close()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Setting]:
    (tmp_path / "files").mkdir()
    with FakeIndex(tmp_path / "files") as server:
        env = envs.make_venv(tmp_path / "env")
        yield Setting(tmp_path, server, env, Cache(tmp_path / "cache"))


def package(frozen: Frozen, name: str) -> Package:
    return next(p for p in frozen.lock.packages if p.name == name)


def kinds(frozen: Frozen) -> list[str]:
    return [finding.kind for finding in frozen.lock.machine.findings]


def add_up(frozen: Frozen) -> None:
    """What was found is what was locked, and the lock is whole and valid."""
    lock = frozen.lock
    counts = frozen.counts
    assert frozen.found == sum(counts.values())
    assert counts["proved"] + counts["packed"] + counts["patched"] == len(lock.packages)
    assert counts["unproved"] == len(lock.machine.unproved)
    text = model.dumps(lock)
    Pylock.from_dict(model.parse(text)).validate()
    check_identity(model.loads(text), "lock")


def full(setting: Setting) -> None:
    """One of every kind of distribution."""
    site = setting.env / envs.SITE
    envs.install(setting.wheel("proved", {"proved.py": "1"}), setting.env, installer="pip\n")
    envs.install(setting.private("private", {"private.py": "1"}), setting.env)
    (site / "legacy.egg-info").write_text("Name: legacy\nVersion: 2004d\n")
    old = site / "proved-0.9.dist-info"
    old.mkdir()
    (old / "METADATA").write_text("Name: proved\nVersion: 0.9\n")
    (old / "RECORD").write_text("proved-0.9.dist-info/METADATA,,\ngone.py,sha256=x,1\n")
    odd = site / "odd-dist.dist-info"
    odd.mkdir()
    (odd / "METADATA").write_text("Name: odd\nVersion: 1.0-weird+1\n")
    (odd / "RECORD").write_text("odd-dist.dist-info/METADATA,,\nodd-dist.dist-info/RECORD,,\n")
    outside = setting.tmp / "outside"
    (outside / "stranded-1.dist-info").mkdir(parents=True)
    (outside / "stranded-1.dist-info/METADATA").write_text("Name: stranded\nVersion: 1\n")
    (outside / "proved-0.1.dist-info").mkdir(parents=True)
    (outside / "proved-0.1.dist-info/METADATA").write_text("Name: proved\nVersion: 0.1\n")
    (site / "z.pth").write_text(f"{outside}\n")
    (site / "link.py").symlink_to("proved.py")


def test_everything_is_somewhere(here: Setting) -> None:
    full(here)
    frozen = here.freeze()
    add_up(frozen)
    assert dict(frozen.counts) == {
        "proved": 1,
        "packed": 2,
        "kept as files": 2,
        "in source trees": 2,
        "unproved": 0,
        "shadowed": 0,
    }
    odd = package(frozen, "odd")
    assert (odd.version, odd.facts.version) == (None, "1.0-weird+1")
    found = [d.name for d in frozen.lock.machine.loose_dists]
    assert found == ["legacy", "proved", "proved", "stranded"]
    assert not frozen.lock.machine.unproved
    assert [tree.key for tree in frozen.lock.machine.sources] == ["outside"]
    assert frozen.lock.machine.hermetic


def test_programs_beside_a_source_tree_are_named(here: Setting) -> None:
    """``pip install --prefix``, and PYTHONPATH or a .pth names the site directory in it."""
    outside = here.tmp / "prefix/lib/python3.11/site-packages"
    info = outside / "tool-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: tool\nVersion: 1\n")
    (info / "RECORD").write_text("tool-1.dist-info/METADATA,,\n../../../bin/tool,,\n")
    (here.tmp / "prefix/bin").mkdir()
    (here.tmp / "prefix/bin/tool").write_text("#!/bin/sh\n")
    (here.env / envs.SITE / "z.pth").write_text(f"{outside}\n")
    (finding,) = here.freeze().lock.machine.findings
    assert (finding.kind, finding.place) == ("outside-row", str(info))
    assert "1 file outside the source tree, not kept: scripts/tool" in finding.detail
    (here.env / envs.SITE / "z.pth").write_text(f"{outside}\n{here.tmp / 'prefix'}\n")
    assert not here.freeze().lock.machine.findings, "there it lies in a tree that is kept"


def test_without_packing(here: Setting) -> None:
    full(here)
    frozen = here.freeze(pack=False)
    add_up(frozen)
    assert frozen.counts["packed"] == 0
    assert [u.name for u in frozen.lock.machine.unproved] == ["odd", "private"]
    assert all(site.archive is None for site in frozen.lock.machine.loose)
    assert [tree.archive for tree in frozen.lock.machine.sources] == [None]
    assert not frozen.lock.machine.hermetic


def test_offline(here: Setting) -> None:
    full(here)
    frozen = here.freeze(offline=True)
    add_up(frozen)
    assert frozen.counts["proved"] == 0
    assert frozen.counts["packed"] == 3
    assert here.server.requests == []
    assert "offline" in package(frozen, "proved").facts.evidence
    here.freeze()
    assert here.freeze(offline=True).counts["proved"] == 1


def test_layers_do_not_know_how_it_was_proved_or_where(here: Setting) -> None:
    envs.install(here.wheel("demo", {"demo.py": "1"}), here.env)
    (here.env / envs.SITE / "x.pth").write_text("# nothing\n")
    proved, packed = here.freeze(), here.freeze(offline=True, cache=Cache(here.tmp / "other"))
    assert (proved.counts["proved"], packed.counts["packed"]) == (1, 1)
    moved = here.tmp / "some where else"
    shutil.copytree(here.env, moved, symlinks=True)
    elsewhere = here.freeze(snapshot=envs.look(moved))
    layers = [frozen.lock.machine.layers for frozen in (proved, packed, elsewhere)]
    assert layers[0] == layers[1] == layers[2]
    ids = {frozen.lock.machine.id for frozen in (proved, packed, elsewhere)}
    assert len(ids) == 1
    assert proved.lock.machine.hermetic


def test_the_same_lock_twice(here: Setting) -> None:
    full(here)
    first = model.dumps(here.freeze().lock)
    assert model.dumps(here.freeze().lock) == first
    assert model.dumps(here.freeze(cache=Cache(here.tmp / "other")).lock) == first


def test_another_lock_beside_it(here: Setting) -> None:
    """What is remembered of a packing is not the name of the lock that it was made for."""
    full(here)
    here.freeze(lock="one.lock")
    two = here.freeze(lock="two.lock").lock
    paths = [a.path for a in model.artifacts(two) if a.path]
    assert len(paths) == 4
    assert all(path.startswith("two.lock.d/") for path in paths)


def rebuilt(here: Setting, frozen: Frozen, name: str = "rebuilt") -> Path:
    artifacts = {}
    for artifact in model.artifacts(frozen.lock):
        found = here.cache.find(artifact.sha256)
        artifacts[artifact.sha256] = found or here.server.directory / artifact.filename
    into = here.tmp / name
    build_venv(
        VenvPlan(lock=frozen.lock, artifacts=artifacts, python=envs.BASE, into=into), Progress()
    )
    return into


def test_what_is_frozen_can_be_rebuilt(here: Setting) -> None:
    full(here)
    site = here.env / envs.SITE
    for name in ("z.pth", "odd-dist.dist-info/RECORD"):
        (site / name).unlink()
    envs.install(here.wheel("winner", {"shared.py": "2"}), here.env)
    loser = here.private("loser", {"shared.py": "1", "own.py": ""}, scripts={"go": "#!python\n"})
    envs.install(loser, here.env)
    envs.install(here.wheel("winner", {"shared.py": "2"}), here.env)
    frozen = here.freeze()
    add_up(frozen)
    assert package(frozen, "loser").facts.yields == ["site/shared.py"]
    assert frozen.lock.machine.hermetic
    snapshot = envs.look(rebuilt(here, frozen))
    difference = compare(view.of_lock(frozen.lock, "l"), view.of_snapshot(snapshot, "s"), LAYERS)
    assert difference.equal, difference.changes


def test_after_reinstalling_the_loser_is_packed_anew(here: Setting) -> None:
    """The tree says what the loser's own files were, so it does not change with the winner."""
    loser = here.private("loser", {"shared.py": "1"})
    winner = here.private("winner", {"shared.py": "2"})
    for wheel in (loser, winner):
        envs.install(wheel, here.env)
    overwritten = package(here.freeze(), "loser")
    envs.install(loser, here.env)
    whole = package(here.freeze(), "loser")
    assert whole.facts.tree == overwritten.facts.tree
    assert whole.artifact.sha256 != overwritten.artifact.sha256
    assert whole.facts.yields == []


# --- indexes -------------------------------------------------------------------------------


def test_an_index_that_is_down(here: Setting) -> None:
    envs.install(here.wheel("demo", {"demo.py": "1"}), here.env)
    here.server.faults.drop = True
    frozen = here.freeze()
    add_up(frozen)
    assert frozen.counts["packed"] == 1
    assert frozen.problems
    assert "did not answer" in package(frozen, "demo").facts.evidence
    assert frozen.lock.machine.hermetic
    here.server.faults.drop = False
    assert here.freeze().counts["proved"] == 1


def test_no_secret_and_no_local_path_in_a_lock(here: Setting) -> None:
    envs.install(here.wheel("demo", {"demo.py": "1"}), here.env)
    envs.install(here.private("private", {"private.py": "1"}), here.env)
    secret = here.server.url.replace("http://", f"http://user:{TOKEN}@")
    for drop in (False, True):
        here.server.faults.drop = drop
        links = (f"file://{here.tmp}/private", f"file://{here.tmp}/absent")
        frozen = here.freeze(index_url=secret, find_links=links, cache=Cache(here.tmp / f"c{drop}"))
        text = model.dumps(frozen.lock)
        assert TOKEN not in text
        assert TOKEN not in "".join(frozen.problems)
        for found in frozen.lock.packages:
            assert str(here.tmp) not in found.facts.evidence
            assert str(here.tmp) not in str(found.index)


def test_a_wheel_that_lies_here_is_kept_with_its_own_bytes(here: Setting) -> None:
    wheel = here.private("private", {"private.py": "1"})
    envs.install(wheel, here.env)
    links = (f"file://{wheel.parent}",)
    frozen = here.freeze(find_links=links)
    add_up(frozen)
    found = package(frozen, "private")
    assert found.facts.proof == "packed"
    assert found.facts.evidence.startswith("kept: ")
    assert found.artifact.sha256 == envs.sha256(wheel.read_bytes())
    assert found.artifact.filename == wheel.name
    assert found.artifact.url is None
    unpacked = here.freeze(find_links=links, pack=False)
    assert [u.reason for u in unpacked.lock.machine.unproved] == [
        "its wheel is a file of this machine"
    ]


def test_a_local_wheel_that_is_gone_meanwhile(here: Setting) -> None:
    wheel = here.private("private", {"private.py": "1"})
    envs.install(wheel, here.env)
    links = (f"file://{wheel.parent}",)
    first = here.freeze(find_links=links)
    here.cache.discard(package(first, "private").artifact.sha256)
    wheel.unlink()
    again = here.freeze(find_links=links)
    add_up(again)
    assert package(again, "private").facts.evidence.startswith("rebuilt")


def test_a_local_wheel_that_changes_meanwhile(here: Setting) -> None:
    wheel = here.private("private", {"private.py": "1"})
    envs.install(wheel, here.env)
    links = (f"file://{wheel.parent}",)
    real = freeze.prove_all

    def then_change(*args: Any, **kwargs: Any) -> Any:
        verdicts = real(*args, **kwargs)
        wheel.write_bytes(b"other")
        return verdicts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(freeze, "prove_all", then_change)
        with pytest.raises(ArtifactError, match="changed while it was being captured"):
            here.freeze(find_links=links)


# --- built here ---------------------------------------------------------------------------


def in_pips_cache(here: Setting, name: str) -> Path:
    """A wheel that pip built from a sdist and keeps in its cache."""
    wheel = make_wheel(here.tmp / "pip/wheels/aa/bb/cc/dd", name, "1.0", {f"{name}.py": "1"})
    origin = {"url": f"https://u:{TOKEN}@index.example/{name}-1.0.tar.gz", "archive_info": {}}
    (wheel.parent / "origin.json").write_text(json.dumps(origin))
    return wheel


def test_what_pip_built_is_kept_as_pip_keeps_it(here: Setting) -> None:
    wheel = in_pips_cache(here, "demo")
    envs.install(wheel, here.env)
    pip = str(here.tmp / "pip")
    frozen = here.freeze(cache_dir=pip)
    add_up(frozen)
    found = package(frozen, "demo")
    assert found.facts.proof == "packed"
    assert found.artifact.sha256 == envs.sha256(wheel.read_bytes())
    assert found.facts.evidence.startswith("kept: 3 files equal the RECORD of demo-1.0-")
    assert [o.url for o in found.facts.built_from] == ["https://index.example/demo-1.0.tar.gz"]
    assert TOKEN not in model.dumps(frozen.lock)
    again = envs.look(rebuilt(here, frozen))
    same = compare(view.of_lock(frozen.lock, "l"), view.of_snapshot(again, "s"), LAYERS)
    assert same.equal, same.changes
    assert here.freeze(cache_dir=pip, offline=True).lock == frozen.lock
    unpacked = here.freeze(cache_dir=pip, pack=False).lock
    assert [u.name for u in unpacked.machine.unproved] == ["demo"]
    # Where it lies does not make it another environment.
    assert unpacked.machine.id == frozen.lock.machine.id


def test_a_cache_that_is_emptied_meanwhile(here: Setting) -> None:
    wheel = in_pips_cache(here, "demo")
    envs.install(wheel, here.env)
    pip = str(here.tmp / "pip")
    first = here.freeze(cache_dir=pip)
    here.cache.discard(package(first, "demo").artifact.sha256)
    wheel.unlink()
    again = package(here.freeze(cache_dir=pip), "demo")
    assert again.facts.evidence.startswith("rebuilt from the installed files")
    assert again.facts.built_from == []


def test_a_release_that_is_offered_as_source_only(here: Setting) -> None:
    envs.install(here.private("demo", {"demo.py": "1"}), here.env)
    sdist = make_sdist(here.server.directory, "demo", "1.0", {"demo.py": "1"})
    frozen = here.freeze()
    add_up(frozen)
    [lead] = package(frozen, "demo").facts.built_from
    assert (lead.kind, lead.lead) == ("sdist", True)
    assert lead.url == f"{here.server.base}/files/{sdist.name}"
    assert lead.hashes == {"sha256": envs.sha256(sdist.read_bytes())}


def test_an_installed_sdist_tells_its_hash(here: Setting) -> None:
    digest = "ab" * 32
    url = {"url": f"https://u:{TOKEN}@x.example/demo-1.0.zip", "archive_info": {}}
    url["archive_info"] = {"hashes": {"sha256": digest}}
    envs.install(here.private("demo", {"demo.py": "1"}), here.env, direct_url=json.dumps(url))
    found = package(here.freeze(), "demo").facts
    assert [(o.url, o.hashes) for o in found.built_from] == [
        ("https://x.example/demo-1.0.zip", {"sha256": digest})
    ]
    assert found.evidence == (
        "rebuilt from the installed files: it was built here from demo-1.0.zip (direct_url.json)"
    )


# --- direct_url.json -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        (f"https://u:{TOKEN}@index.example/x.whl", "https://index.example/x.whl"),
        (f"https://{TOKEN}@index.example/x.whl", "https://index.example/x.whl"),
        (f"https://index.example/x.whl?token={TOKEN}", "https://index.example/x.whl"),
        ("https://index.example/x.whl", None),
        ("ssh://git@git.example/x", None),
        ("https://${USER}:${PASSWORD}@git.example/x", None),
        ("file:///home/u/src", None),
    ],
)
def test_tokens_in_direct_url(here: Setting, url: str, kept: str | None) -> None:
    text = json.dumps({"url": url, "archive_info": {"hash": "x"}})
    envs.install(here.private("demo", {"demo.py": ""}), here.env, direct_url=text)
    frozen = here.freeze(offline=True)
    stored = package(frozen, "demo").facts.direct_url
    assert stored is not None
    assert TOKEN not in model.dumps(frozen.lock)
    if kept is None:
        assert stored == text
        assert "credentials" not in kinds(frozen)
    else:
        assert json.loads(stored) == {"url": kept, "archive_info": {"hash": "x"}}
        [finding] = [f for f in frozen.lock.machine.findings if f.kind == "credentials"]
        assert finding.place.endswith("demo-1.0.dist-info/direct_url.json")
        assert finding.advice
        assert frozen.lock.machine.hermetic


def test_tokens_elsewhere_in_direct_url(here: Setting) -> None:
    """Not only its URL: what else has one, and what is called a password."""
    vcs = {"vcs": "git", "commit_id": "a" * 40, "requested_revision": f"https://u:{TOKEN}@x"}
    archive = {"hash": "x", "Password": TOKEN, "more": [f"ssh://{TOKEN}:{TOKEN}@x/y", 1, None]}
    text = json.dumps({"url": "https://x/y", "vcs_info": vcs, "archive_info": archive})
    envs.install(here.private("demo", {"demo.py": ""}), here.env, direct_url=text)
    frozen = here.freeze(offline=True)
    assert TOKEN not in model.dumps(frozen.lock)
    stored = json.loads(package(frozen, "demo").facts.direct_url or "")
    assert stored["archive_info"] == {"hash": "x", "more": ["ssh://x/y", 1, None]}
    assert stored["vcs_info"] == {**vcs, "requested_revision": "https://x"}
    assert "credentials" in kinds(frozen)


@pytest.mark.parametrize("text", ["no json https://u:hunter2@x/y", "[1]", "{}", '{"url": 5}', ""])
def test_direct_url_that_is_none(here: Setting, text: str) -> None:
    envs.install(here.private("demo", {"demo.py": ""}), here.env, direct_url=text)
    frozen = here.freeze(offline=True)
    add_up(frozen)
    assert package(frozen, "demo").facts.direct_url == text.replace("u:hunter2@", "")


@pytest.mark.parametrize(
    ("about", "editable"),
    [
        ({"dir_info": {"editable": True}}, True),
        ({"dir_info": {"editable": False}}, False),
        ({"dir_info": {}, "subdirectory": '"editable" true'}, False),
        ({"dir_info": "editable true"}, False),
    ],
)
def test_editable_installs(here: Setting, about: dict[str, Any], editable: bool) -> None:
    text = json.dumps({"url": "file:///home/true/src", **about})
    envs.install(here.private("demo", {"demo.pth": "x\n"}), here.env, direct_url=text)
    frozen = here.freeze(offline=True)
    assert ("editable" in kinds(frozen)) == editable
    assert frozen.lock.machine.hermetic == (not editable)


# --- what leaves a lock open ---------------------------------------------------------------


def changed(snapshot: Snapshot, name: str, change: Callable[[Row], Row]) -> Snapshot:
    dists = [
        msgspec.structs.replace(dist, rows=[change(row) for row in dist.rows or ()])
        if dist.name == name
        else dist
        for dist in snapshot.dists
    ]
    return msgspec.structs.replace(snapshot, dists=dists)


def test_files_that_nobody_could_read(here: Setting) -> None:
    envs.install(here.private("demo", {"demo.py": "1", "secret.py": "2"}), here.env)
    (here.env / envs.SITE / "loose.txt").write_text("x")

    def hide(row: Row) -> Row:
        hidden = row.path == "secret.py"
        return msgspec.structs.replace(row, sha256=None, claim="sha256=x") if hidden else row

    snapshot = changed(envs.look(here.env), "demo", hide)
    sites = [
        msgspec.structs.replace(
            site, loose=[msgspec.structs.replace(entry, sha256=None) for entry in site.loose]
        )
        for site in snapshot.sites
    ]
    snapshot = msgspec.structs.replace(snapshot, sites=sites)
    frozen = here.freeze(snapshot=snapshot, offline=True)
    add_up(frozen)
    unreadable = [f for f in frozen.lock.machine.findings if f.kind == "unreadable"]
    assert [f.place.rpartition("/")[2] for f in unreadable] == ["demo-1.0.dist-info", "loose.txt"]
    assert "site/secret.py" in unreadable[0].detail
    assert "missing-files" not in kinds(frozen), "it is there, and only unread"
    assert not frozen.lock.machine.hermetic


def test_what_cannot_be_packed_is_named(here: Setting) -> None:
    envs.install(here.private("demo", {"demo.py": "1"}), here.env)
    snapshot = envs.look(here.env)
    (here.env / envs.SITE / "demo.py").write_text("2")
    frozen = here.freeze(snapshot=snapshot, offline=True)
    add_up(frozen)
    assert [u.name for u in frozen.lock.machine.unproved] == ["demo"]
    [finding] = [f for f in frozen.lock.machine.findings if f.kind == "not-packed"]
    assert "changed while" in finding.detail


def test_edited_and_missing_files_are_named(here: Setting) -> None:
    many = {f"m/{n}.py": f"{n}" for n in range(8)}
    envs.install(here.wheel("demo", {"demo.py": "1", **many}), here.env)
    (here.env / envs.SITE / "demo.py").write_text("2")
    for name in many:
        (here.env / envs.SITE / name).unlink()
    frozen = here.freeze()
    add_up(frozen)
    details = {f.kind: f.detail for f in frozen.lock.machine.findings}
    assert details["edited-files"] == "1 file not as its RECORD says: site/demo.py"
    assert details["missing-files"].startswith("8 files in its RECORD but not on the disk: ")
    assert details["missing-files"].endswith(", ...")
    assert frozen.counts["patched"] == 1
    kinds_of = {edit.kind for edit in package(frozen, "demo").facts.edits}
    assert kinds_of == {"deleted", "text"}


def test_copies_of_wrappers(here: Setting) -> None:
    wheel = here.private("pip", {"pip.py": ""}, entry_points="[console_scripts]\npip = pip:m\n")
    copies = {"pip": ["pip3", "pip3.11"]}
    envs.install(wheel, here.env, wrapper_copies=copies)
    assert package(here.freeze(offline=True), "pip").facts.wrapper_copies == copies
    (here.env / "bin/pip3").unlink()
    left = package(here.freeze(offline=True), "pip").facts.wrapper_copies
    assert left == {"pip": ["pip3.11"]}


def test_a_wheel_whose_name_pep_751_would_not_take(here: Setting) -> None:
    """Old pips installed such wheels, by name and from a directory."""
    envs.install(make_wheel(here.server.directory, "dated", "2004d", {"d.py": "1"}), here.env)
    frozen = here.freeze()
    add_up(frozen)
    dated = package(frozen, "dated")
    assert dated.facts.proof == "proved"
    assert dated.archive is not None
    assert dated.archive.url == f"{here.server.base}/files/dated-2004d-py3-none-any.whl"
    frozen = here.freeze(index_url=None, find_links=(str(here.server.directory),))
    add_up(frozen)
    assert package(frozen, "dated").artifact.path is not None


def test_an_entry_point_without_a_script(here: Setting) -> None:
    points = "[console_scripts]\none = demo:m\ntwo = demo:m\n"
    envs.install(here.private("demo", {"demo.py": ""}, entry_points=points), here.env)
    assert package(here.freeze(offline=True), "demo").facts.no_wrappers == []
    (here.env / "bin/two").unlink()
    assert package(here.freeze(offline=True), "demo").facts.no_wrappers == ["two"]


def test_a_directory_on_the_path_from_elsewhere(here: Setting) -> None:
    snapshot = envs.look(here.env)
    inside = snapshot.sites[0].path
    more = [
        Site(path="/elsewhere", kind="pth"),
        Site(path="/mine", kind="pythonpath"),
        Site(path=f"{inside}/sub", kind="pth"),
    ]
    snapshot = msgspec.structs.replace(snapshot, sites=[*snapshot.sites, *more])
    frozen = here.freeze(snapshot=snapshot)
    found = [(f.kind, f.place) for f in frozen.lock.machine.findings]
    assert found == [("outside-path", "/elsewhere"), ("outside-path", "/mine")]
    assert not frozen.lock.machine.hermetic


def test_hostile_metadata_stays_data(here: Setting) -> None:
    snapshot = envs.look(here.env)
    site = snapshot.sites[0].path
    row = Row("site", "../../../../etc/hostname", "0" * 64, 1, False, None)
    hostile = Dist(
        site=site, info="evil-1.dist-info", name="evil", version="1\u202e\u2028", rows=[row]
    )
    snapshot = msgspec.structs.replace(
        snapshot,
        dists=[hostile],
        findings=[Finding(kind="x", place="a\nb", detail='"]\n[tool]')],
    )
    frozen = here.freeze(snapshot=snapshot, offline=True)
    add_up(frozen)
    assert [u.name for u in frozen.lock.machine.unproved] == ["evil"]
    text = model.dumps(frozen.lock)
    assert "\u202e" not in text
    assert model.loads(text).machine.findings == frozen.lock.machine.findings


# --- which wheels an interpreter takes -----------------------------------------------------


@pytest.mark.parametrize(
    ("filename", "taken"),
    [
        ("d-1-py3-none-any.whl", True),
        ("d-1-py2.py3-none-any.whl", True),
        ("d-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", True),
        ("d-1-cp38-abi3-linux_x86_64.whl", True),
        ("d-1-cp312-abi3-linux_x86_64.whl", False),
        ("d-1-cp310-cp310-linux_x86_64.whl", False),
        ("d-1-cp311-cp311-linux_aarch64.whl", False),
        ("d-1-cp311-cp311-win_amd64.whl", False),
        ("d-1-cp311-cp311-macosx_11_0_universal2.whl", True),
        ("nonsense.whl", False),
    ],
)
def test_what_the_interpreter_accepts(here: Setting, filename: str, taken: bool) -> None:
    snapshot = envs.look(here.env)
    facts = msgspec.structs.replace(snapshot.interpreter, version="3.11.7", machine="x86_64")
    snapshot = msgspec.structs.replace(snapshot, interpreter=facts)
    assert freeze.Accepts(snapshot)(filename) == taken


def test_what_is_open_is_a_lock_of_its_own(here: Setting) -> None:
    lock: Lock = here.freeze().lock
    assert lock.packages == []
    assert lock.machine.hermetic
    assert lock.requires_python == "=={}.{}.*".format(*map(int, envs.VERSION.split(".")[:2]))


# --- files that somebody changed -----------------------------------------------------------

BODY = "".join(f"x{n} = {n}\n" for n in range(80))


def _edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def _replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content.replace(old, new, 1)


def _appended(more: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content + more


def _install(how: str, here: Setting, *wheels: Path) -> None:
    """Install by the tool *how*, one after the other."""
    python = here.env / "bin/python"
    for wheel in wheels:
        name = wheel.name.partition("-")[0]
        if how == "ours":
            envs.install(wheel, here.env)
            continue
        pip = ["-m", "pip", "--python", python, "install", "--no-compile"]
        uv = ["-m", "uv", "pip", "install", "--python", python, "--no-cache", "--link-mode", "copy"]
        command = [sys.executable, *(pip if how == "pip" else uv), "--quiet"]
        subprocess.run([*command, "--index-url", here.server.url, name], check=True)


def _edit_everything(env: Path) -> None:
    seven = _replaced(b"x7 = 7\n", b"x7 = 'seven'\n")
    demo = env / envs.SITE / "demo"
    _edit(demo / "__init__.py", seven)
    _edit(demo / "na\u00efve.py", seven)
    _edit(demo / "crlf.py", lambda content: content.replace(b"x7 = 7\r\n", b"x7 = 7\n")[:-2])
    _edit(demo / "fast.so", _appended(b"\1"))
    _edit(demo / "empty.py", _appended(b"now = 1\n"))
    shutil.rmtree(demo / "tests")
    _edit(env / "bin/run", seven)
    _edit(env / "bin/run2", _replaced(b"\n", b" -s\n"))
    _edit(env / "bin/sh", _replaced(b"true\n", b"false\n"))
    _edit(env / "bin/bin", _appended(b"\1"))
    for name in ("bin/tool", "share/demo.txt"):
        _edit(env / name, _appended(b"more\n"))
    info = env / envs.SITE / "demo-1.0.dist-info"
    _edit(info / "METADATA", _appended(b"Summary: edited\n"))
    _edit(info / "entry_points.txt", _appended(b"more = demo:main\n"))
    for header in env.rglob("demo.h"):
        _edit(header, _appended(b"more\n"))


def _files(env: Path, ours: bool) -> dict[str, bytes]:
    """What must come back byte for byte, but for the installer's own files and wrappers."""
    left_out = ("activate", "Activate", ".lock", *(() if ours else ("demo",)))
    own = {"RECORD", "pyvenv.cfg", "REQUESTED", "direct_url.json"}
    return {
        path.relative_to(env).as_posix(): path.read_bytes().replace(str(env).encode(), b"ENV")
        for path in env.rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and not path.name.startswith(left_out)
        and path.name not in own
    }


@pytest.mark.parametrize("how", ["pip", "ours", "uv"])
def test_changed_files_are_a_patch_over_the_proved_wheel(here: Setting, how: str) -> None:
    files = {
        "demo/__init__.py": BODY + "def main(): print('hi')\n",
        "demo/crlf.py": BODY.replace("\n", "\r\n"),
        "demo/fast.so": b"\0" * 5000,
        "demo/tests/a.py": "1",
        "demo/tests/b.py": "2",
        "demo-1.0.data/platlib/demo/plat.py": BODY,
        "demo/empty.py": "",
        "demo/na\u00efve.py": BODY,
    }
    scripts = {
        "run": "#!python -E\n" + BODY,
        "run2": "#!python\n" + BODY,
        "sh": "#!/bin/sh\n" + "true\n" * 60,
        "bin": b"\x7fELF" + b"\0" * 900,
    }
    demo = here.wheel(
        "demo",
        files,
        scripts=scripts,
        data={"share/demo.txt": BODY, "bin/tool": BODY, "include/demo/api.h": BODY},
        headers={"demo.h": BODY},
        entry_points="[console_scripts]\ndemo = demo:main\n",
    )
    other = here.wheel("other", {"demo/plat.py": "other's", "other.py": ""})
    _install(how, here, demo, other)
    _edit_everything(here.env)
    frozen = here.freeze()
    add_up(frozen)
    first = package(frozen, "demo").facts
    assert first.proof == "proved"
    assert {edit.kind for edit in first.edits} == {"text", "file", "deleted"}
    assert model.loads(model.dumps(frozen.lock)) == frozen.lock
    assert first.patch is not None
    archive = here.cache.find(first.patch.sha256)
    assert archive is not None
    assert str(here.env).encode() not in archive.read_bytes()
    into = rebuilt(here, frozen)
    again = envs.look(into)
    difference = compare(view.of_lock(frozen.lock, "l"), view.of_snapshot(again, "s"), LAYERS)
    assert difference.equal, difference.changes
    before, after = _files(here.env, how == "ours"), _files(into, how == "ours")
    assert {name for name in before if after.get(name) != before[name]} == set()
    second = package(here.freeze(snapshot=again), "demo").facts
    assert second.edits == first.edits
    assert second.patch == first.patch


@pytest.mark.parametrize(
    ("root", "url", "kept"),
    [
        ("/", "file:///srv/x-1-py3-none-any.whl", True),
        ("/srv/root", "file:///srv/x-1-py3-none-any.whl", False),
        ("/srv/root", "https://index.example/x-1-py3-none-any.whl", True),
    ],
)
def test_a_file_that_a_container_names_is_none_of_this_machine(
    root: str, url: str, kept: bool
) -> None:
    from types import SimpleNamespace
    from typing import cast

    from envfreeze.resolve.rootfs import Root

    text = json.dumps({"url": url, "archive_info": {}})
    dist = Dist(site="/s", info="x-1.dist-info", name="x", version="1", rows=[], direct_url=text)
    means = cast("Means", SimpleNamespace(root=Root(root)))
    assert (freeze._elsewhere(dist, means).direct_url == text) is kept
