"""Leaving a distribution out, with what only it needed."""

from __future__ import annotations

import msgspec
import pytest

from envfreeze.errors import UsageError
from envfreeze.model.requirement import marker_terms, parse
from envfreeze.model.snapshot import Dist, LooseFile, Site, Snapshot, System
from envfreeze.model.survey import survey
from envfreeze.model.without import without
from tests.support import locks

SITE = "/e/lib/python3.11/site-packages"


def dist(name: str, *requires: str, requested: bool = False, installer: str = "pip\n") -> Dist:
    return Dist(
        site=SITE, info=f"{name}-1.dist-info", name=name, version="1", rows=[],
        requires=list(requires), requested=requested, installer=installer,
    )  # fmt: skip


def snapshot(*dists: Dist, loose: tuple[str, ...] = ()) -> Snapshot:
    files = [LooseFile(path, "0" * 64, 1, False, None) for path in loose]
    return Snapshot(
        schema=1,
        interpreter=locks.interpreter(),
        system=System(kernel="Linux", machine="x86_64"),
        sites=[Site(path=SITE, kind="site", prefix="/e", loose=files)],
        dists=list(dists),
        findings=[],
    )


def dropped(names: list[str], *dists: Dist) -> list[str]:
    reduced, gone = without(snapshot(*dists), names)
    assert sorted([*gone, *(d.name for d in reduced.dists)]) == sorted(d.name for d in dists)
    return gone


def test_what_only_it_needed_goes_too() -> None:
    others = dist("c"), dist("d"), dist("e", "c")
    assert dropped(["a"], dist("a", "b", "c"), dist("b", "d"), *others) == ["a", "b", "d"]


def test_what_was_asked_for_stays_and_what_it_needs() -> None:
    assert dropped(["a"], dist("a", "b", "c"), dist("b", "c", requested=True), dist("c")) == ["a"]


def test_what_nobody_needs_has_nothing_to_do_with_it() -> None:
    assert dropped(["a"], dist("a"), dist("orphan")) == ["a"]


def test_a_circle_goes_as_a_whole() -> None:
    assert dropped(["a"], dist("a", "b"), dist("b", "c"), dist("c", "b")) == ["a", "b", "c"]


def test_the_named_goes_even_if_it_is_needed() -> None:
    assert dropped(["b"], dist("a", "b"), dist("b", "c"), dist("c")) == ["b", "c"]


def test_some_installers_mark_everything_as_requested() -> None:
    marked = dist("b", requested=True, installer="uv")
    assert dropped(["a"], dist("a", "b"), marked) == ["a", "b"]


def test_markers_are_those_of_the_target() -> None:
    other = dist("keeps", 'b; sys_platform == "linux"', 'c; python_version < "3"', requested=True)
    assert dropped(["a"], dist("a", "b", "c"), dist("b"), dist("c"), other) == ["a", "c"]


def test_an_extra_counts_where_somebody_asks_for_it() -> None:
    lib = dist("lib", 'b; extra == "more"', requested=True)
    a = dist("a", "b")
    assert dropped(["a"], a, dist("b"), lib) == ["a", "b"]
    assert dropped(["a"], a, dist("b"), lib, dist("user", "lib[More]", requested=True)) == ["a"]
    assert dropped(["a"], dist("a", "lib2[x]"), dist("lib2", "b; extra == 'x'"), dist("b")) == [
        "a", "b", "lib2",
    ]  # fmt: skip


def test_names_are_normalised_and_old_requirements_read() -> None:
    _, gone = without(snapshot(dist("my.pkg", "Old_Thing (>=1.x)"), dist("old.thing")), ["My_Pkg"])
    assert gone == ["my-pkg", "old-thing"]
    assert parse("x (>=2.0.*) ; nonsense here")[0] == "x"
    assert parse("y (weird!) ; extra == 'z'")[2] is not None
    assert parse("!!")[0] is None


def test_an_unknown_name_names_its_neighbours() -> None:
    with pytest.raises(UsageError, match="--without nunpy") as caught:
        without(snapshot(dist("numpy")), ["nunpy"])
    assert "numpy" in caught.value.hint


def test_its_files_do_not_come_back_as_unowned_ones() -> None:
    seen = snapshot(dist("a"), dist("b"), loose=("a-1.dist-info/extra", "free.txt"))
    reduced, _ = without(seen, ["a"])
    assert [entry.path for site in survey(reduced).sites for entry in site.loose] == ["free.txt"]


def test_one_without_a_record_is_told() -> None:
    egg = Dist(site=SITE, info="a.egg-info", name="a", version="1", rows=None)
    reduced, _ = without(snapshot(egg, loose=("a.egg-info/PKG-INFO", "a.py")), ["a"])
    assert [finding.kind for finding in reduced.findings] == ["without"]
    assert [entry.path for entry in reduced.sites[0].loose] == ["a.py"]


def test_the_terms_are_all_there() -> None:
    from packaging.markers import default_environment

    assert marker_terms(locks.interpreter(), "Linux").keys() == default_environment().keys()


def test_what_conda_brings_stays_and_cannot_be_named() -> None:
    numpy = msgspec.structs.replace(dist("numpy", "lib"), conda="numpy-1-0.json")
    assert dropped(["a"], dist("a", "numpy"), numpy, dist("lib")) == ["a"]
    with pytest.raises(UsageError, match="conda"):
        without(snapshot(numpy), ["numpy"])
