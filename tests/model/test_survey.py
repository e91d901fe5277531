"""Every distribution is in exactly one place."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given

from envfreeze.model.snapshot import Dist, LooseFile, Row, Site, Snapshot, Source, System
from envfreeze.model.survey import as_loose, claimed_sha256, layers_of, survey
from tests import strategies
from tests.support.environments import claim

SITE, USER, PATH = strategies.SITES
GOOD, OTHER = "a" * 64, "b" * 64


def dist(name: str = "x", version: str = "1", site: str = SITE, **more: Any) -> Dist:
    info = more.pop("info", f"{name}-{version}.dist-info")
    rows = more.pop("rows", [row(f"{name}.py"), row(f"{info}/METADATA")])
    return Dist(site=site, info=info, name=name, version=version, rows=rows, **more)


def row(path: str, sha256: str | None = GOOD, claimed: str | None = None) -> Row:
    return Row("site", path, sha256, 1, False, claimed)


def snapshot(*dists: Dist, loose: list[LooseFile] | None = None) -> Snapshot:
    return Snapshot(
        schema=1,
        interpreter=_interpreter(),
        system=System(kernel="Linux", machine="x86_64"),
        sites=[
            Site(path=PATH, kind="pythonpath"),
            Site(path=SITE, kind="site", loose=loose or []),
            Site(path=USER, kind="user"),
        ],
        dists=list(dists),
        findings=[],
    )


def _interpreter() -> Any:
    fields: dict[str, Any] = {
        "implementation": "cpython",
        "version": "3.11.7",
        "bits": 64,
        **dict.fromkeys(("free-threaded", "debug", "venv", "system-site"), False),
    }
    for name in ("abiflags", "platform", "machine", "compiler", "build", "executable", "prefix"):
        fields[name] = ""
    for name in ("base-executable", "base-prefix", "stdlib", "purelib", "platlib", "scripts"):
        fields[name] = ""
    from envfreeze.model.snapshot import Interpreter

    return msgspec.convert(fields, Interpreter)


def test_a_live_one() -> None:
    seen = survey(snapshot(dist()))
    assert [item.name for item in seen.seen] == ["x"]
    assert seen.found == 1
    assert [site.path for site in seen.sites] == [SITE, USER]


def test_without_record_it_is_loose() -> None:
    seen = survey(snapshot(dist(rows=None)))
    assert (seen.seen, len(seen.loose_dists)) == ([], 1)


def test_a_name_that_no_package_can_have_is_loose() -> None:
    for name in ("", "-x", "x y", "x\n", "é"):
        seen = survey(snapshot(dist(name, info="i.dist-info")))
        assert (seen.seen, len(seen.loose_dists)) == ([], 1), name
    assert survey(snapshot(dist("x", "1\x1b"))).seen == []


def test_beyond_the_site_directories_it_is_stranded() -> None:
    seen = survey(snapshot(dist(site=PATH), dist("y", site="/elsewhere", rows=None)))
    assert [d.name for d in seen.stranded] == ["x", "y"]


def test_below_a_site_directory_it_is_loose() -> None:
    seen = survey(snapshot(dist(site=f"{SITE}/vendor"), dist("y", site=f"{SITE}-not")))
    assert [d.name for d in seen.loose_dists] == ["x"]
    assert [d.name for d in seen.stranded] == ["y"]


def test_the_first_on_the_path_shadows_the_others() -> None:
    seen = survey(snapshot(dist("A.b"), dist("a_B", site=USER)))
    assert [item.dist.site for item in seen.seen] == [SITE]
    assert [item.dist.site for item in seen.shadowed] == [USER]


def test_of_several_in_one_place_the_most_intact_is_live() -> None:
    old = dist(version="1", rows=[row("x.py", OTHER, claim(b"1")), row("x-1.dist-info/METADATA")])
    gone = dist(version="2", rows=[row("x.py", None, ""), row("x2.py", None, "")])
    good = dist(version="3")
    bare = dist(version="4", rows=None)
    for dists in ((old, gone, good, bare), (bare, good, gone, old)):
        seen = survey(snapshot(*dists))
        assert [item.dist.version for item in seen.seen] == ["3"]
        assert {d.version for d in seen.loose_dists} == {"1", "2", "4"}
        assert seen.found == 4
    extra = {entry.path for site in seen.sites for entry in site.loose}
    assert extra == {"x-1.dist-info/METADATA"}


def a_source(root: str = PATH, **more: Any) -> Source:
    facts: dict[str, Any] = {"key": "p", "root": root, "spellings": [root], "via": []}
    return Source(**(facts | {"imports": [""]} | more))


def test_what_lies_in_a_kept_tree_comes_back_with_it() -> None:
    shot = snapshot(dist(site=PATH), dist(), dist("y", site=f"{PATH}/src", rows=None))
    kept = msgspec.structs.replace(shot, sources=[a_source()])
    seen = survey(kept)
    assert [(d.name, d.site) for d in seen.in_sources] == [("x", PATH), ("y", f"{PATH}/src")]
    assert [item.dist.site for item in seen.seen] == [SITE], "the site's own is not lost by it"
    assert (seen.stranded, seen.shadowed, seen.found) == ([], [], 3)
    assert "sources" in layers_of(kept, seen)


def test_what_lies_in_a_tree_that_is_not_kept_is_stranded() -> None:
    shot = snapshot(dist("y", site=PATH, rows=None), dist("z", site=f"{PATH}-2", rows=None))
    lost = msgspec.structs.replace(shot, sources=[a_source(problem="it is too large")])
    assert [d.name for d in survey(lost).stranded] == ["y", "z"]
    assert "sources" not in layers_of(lost, survey(lost))


def test_a_shadowed_one_without_record_is_files() -> None:
    seen = survey(snapshot(dist(), dist(site=USER, rows=None)))
    assert ([d.site for d in seen.loose_dists], seen.shadowed) == ([USER], [])


def test_edited_missing_and_yielded() -> None:
    hexed = claim(b"shared")
    first = dist("first", rows=[row("shared.py", OTHER, hexed), row("e.py", OTHER, claim(b"e"))])
    second = dist("second", rows=[row("shared.py", OTHER), row("gone.py", None, claim(b"g"))])
    seen = {item.name: item for item in survey(snapshot(first, second)).seen}
    assert (seen["first"].edited, seen["first"].yields) == (("site/e.py",), ("site/shared.py",))
    assert (seen["second"].missing, seen["second"].edited) == (("site/gone.py",), ())
    alone = survey(snapshot(dist("first", rows=first.rows))).seen[0]
    assert alone.edited == ("site/e.py", "site/shared.py")
    assert alone.tree != seen["first"].tree


def test_no_claim_is_no_edit() -> None:
    (item,) = survey(snapshot(dist(rows=[row("x.py", GOOD, "")]))).seen
    assert item.edited == ()


def test_claimed_sha256() -> None:
    import hashlib

    assert claimed_sha256(row("x", GOOD, claim(b"1"))) == hashlib.sha256(b"1").hexdigest()
    for text in (None, "", "md5=x", "sha256=a", "sha256=\xe9", "sha256"):
        assert claimed_sha256(row("x", GOOD, text)) is None


def test_unreadable_loose_files_are_left_out() -> None:
    files = [
        LooseFile("b", GOOD, 1, True, None),
        LooseFile("a", None, 0, False, "to"),
        LooseFile("c", None, 1, False, None),
    ]
    loose = as_loose(Site(path="/s", kind="site", loose=files))
    assert [(e.path, e.sha256, e.link, e.executable) for e in loose.files] == [
        ("a", None, "to", False),
        ("b", GOOD, None, True),
    ]


@given(strategies.snapshots())
def test_found_is_the_sum_and_nobody_is_in_two_places(shot: Snapshot) -> None:
    seen = survey(shot)
    places = [item.dist for item in [*seen.seen, *seen.shadowed]]
    places += [*seen.loose_dists, *seen.in_sources, *seen.stranded]
    assert sorted(map(id, places)) == sorted(map(id, shot.dists))
    assert seen.found == len(shot.dists)
    names = [item.name for item in seen.seen]
    assert len(names) == len(set(names))
    rare = {"shadowed"} if seen.shadowed else set()
    assert set(layers_of(shot, seen)) == {"files", "interpreter", "packages"} | rare


@given(strategies.snapshots())
def test_the_same_snapshot_has_the_same_survey(shot: Snapshot) -> None:
    again = msgspec.json.decode(msgspec.json.encode(shot), type=Snapshot)
    assert again == shot
    assert layers_of(again, survey(again)) == layers_of(shot, survey(shot))


def test_the_mark_of_virtualenv_comes_back_as_an_unowned_file() -> None:
    mark = row("pip-26.3.virtualenv")
    seen = survey(snapshot(dist("pip", "26.3", rows=[row("pip/__init__.py"), mark])))
    assert [entry.path for entry in seen.sites[0].loose] == ["pip-26.3.virtualenv"]
    same = survey(snapshot(dist("pip", "26.3", rows=[row("pip/__init__.py")])))
    assert seen.seen[0].tree == same.seen[0].tree


def test_the_files_of_a_stale_one_are_not_lost() -> None:
    """An upgrade that was not clean, or a name that no package can have: they are imported."""
    info = "x-2.dist-info"
    rows = [row("x.py"), row(f"{info}/METADATA"), row("x_old.py"), row("x/__pycache__/a.pyc")]
    rows += [row("gone.py", None), Row("scripts", "x-tool", GOOD, 1, True, None)]
    stale = dist(version="2", info=info, rows=[*rows, Row("data", "share/x", GOOD, 1, False, None)])
    seen = survey(_venv(snapshot(dist(), stale, dist("not a name"))))
    loose = {f"{site.kind}/{entry.path}" for site in seen.sites for entry in site.loose}
    named = {"site/not a name.py", "site/not a name-1.dist-info/METADATA"}
    assert loose == {"site/x_old.py", f"site/{info}/METADATA", "scripts/x-tool"} | named
    assert seen.homeless == {(SITE, info): ["data/share/x"]}


def test_programs_of_a_stale_one_are_kept_in_a_venv_alone() -> None:
    stale = dist("x y", rows=[Row("scripts", "tool", GOOD, 1, True, None)])
    seen = survey(snapshot(stale))
    assert [site.kind for site in seen.sites] == ["site", "user"]
    assert seen.homeless == {(SITE, "x y-1.dist-info"): ["scripts/tool"]}


def _venv(shot: Snapshot) -> Snapshot:
    facts = msgspec.structs.replace(shot.interpreter, venv=True, scripts="/v/bin")
    sites = [msgspec.structs.replace(site, prefix="/v") for site in shot.sites]
    return msgspec.structs.replace(shot, interpreter=facts, sites=sites)
