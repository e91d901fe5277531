"""Comparing: empty for equals, inverted when turned round, and unknown never counts."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from envfreeze.diff import view
from envfreeze.diff.compare import LAYERS, Change, Layer, compare
from envfreeze.diff.view import Item, View
from envfreeze.model.lock import LooseEntry, LooseSite
from tests import strategies
from tests.support import locks

WORDS = st.sampled_from(["a", "b", "c", "1.0", "2.0"])
MAYBE = st.none() | WORDS


def of(**changes: Any) -> View:
    facts: dict[str, Any] = {
        "title": "x",
        "id": None,
        "interpreter": {},
        "packages": {},
        "files": {},
        "system": None,
        "system_whole": True,
    }
    return View(**(facts | changes))


def item(name: str, version: str = "1", tree: str | None = "t", **changes: Any) -> Item:
    return Item(name=name, version=version, tree=tree, **changes)


items = st.dictionaries(
    WORDS,
    st.builds(
        Item,
        name=WORDS,
        version=WORDS,
        tree=MAYBE,
        proof=MAYBE,
        changed=st.just(()),
        installer=st.sampled_from([None, "pip", "uv"]),
    ),
    max_size=4,
)
views = st.builds(
    View,
    title=WORDS,
    id=MAYBE,
    interpreter=st.dictionaries(WORDS, WORDS, max_size=3),
    packages=items.map(lambda d: {k: msgspec_replace(v, name=k) for k, v in d.items()}),
    files=st.dictionaries(WORDS, MAYBE, max_size=3),
    system=st.none() | st.dictionaries(WORDS, WORDS, max_size=3),
    system_whole=st.booleans(),
    shadowed=items.map(lambda d: {k: msgspec_replace(v, name=k) for k, v in d.items()}),
    conda=items.map(lambda d: {k: msgspec_replace(v, name=k) for k, v in d.items()}),
    reach=st.dictionaries(
        st.sampled_from([*LAYERS, "prefix"]), st.sampled_from(["all", "some", "none"]), max_size=5
    ),
    open=st.dictionaries(
        st.sampled_from(["packages", "conda"]), st.dictionaries(WORDS, WORDS, max_size=2)
    ),
    beside=st.frozensets(WORDS, max_size=1),
    trees=st.booleans(),
)


def msgspec_replace(found: Item, name: str) -> Item:
    import dataclasses

    return dataclasses.replace(found, name=name)


def turned(change: Change) -> Change:
    kind: Any = {"added": "removed", "removed": "added"}.get(change.kind, change.kind)
    return replace(change, kind=kind, before=change.after, after=change.before, note=None)


@given(views)
def test_nothing_differs_from_itself(one: View) -> None:
    difference = compare(one, one)
    assert difference.equal
    assert {change.kind for change in difference.changes} <= {"unknown"}


@given(views, views)
def test_turned_round_it_is_inverted(one: View, two: View) -> None:
    there, back = compare(one, two), compare(two, one)
    assert there.equal == back.equal
    assert [replace(c, note=None) for c in back.changes if c.kind != "unknown"] == [
        turned(c) for c in there.changes if c.kind != "unknown"
    ]
    assert [(c.layer, c.name) for c in back.changes] == [(c.layer, c.name) for c in there.changes]


@given(views, views)
def test_unknown_proof_and_installer_never_count(one: View, two: View) -> None:
    difference = compare(one, two)
    for change in difference.changes:
        assert change.counts == (change.kind not in {"unknown", "proof", "installer"})
    assert difference.equal == (not [c for c in difference.changes if c.counts])


@given(views, views)
def test_where_a_side_knows_nothing_no_difference_is_claimed(one: View, two: View) -> None:
    dark = {layer for side in (one, two) for layer, reach in side.reach.items() if reach == "none"}
    for change in compare(one, two).changes:
        if change.layer in dark:
            assert change.kind == "unknown"
            assert change.note is None


@given(views, views)
def test_what_is_not_known_to_lack_is_neither_added_nor_removed(one: View, two: View) -> None:
    for change in compare(one, two).changes:
        if change.layer not in {"packages", "conda", "shadowed"}:
            continue
        if change.kind == "added":
            assert one.lacks(change.layer, change.name)
        elif change.kind == "removed":
            assert two.lacks(change.layer, change.name)


@given(views, views)
def test_what_neither_side_knows_is_not_mentioned(one: View, two: View) -> None:
    said = {"other packages", "packages", "shadowed packages", "conda packages"}
    for change in compare(one, two).changes:
        if change.layer not in {"packages", "conda", "shadowed"} or change.name in said:
            continue
        if change.kind == "installer":
            continue  # Of several at once.
        known = [getattr(side, change.layer) for side in (one, two)]
        known += [side.open.get(change.layer, {}) for side in (one, two)]
        assert any(change.name in names for names in known)


@given(views, views, st.sets(st.sampled_from(LAYERS)))
def test_limited_layers(one: View, two: View, chosen: set[Layer]) -> None:
    layers = tuple(layer for layer in LAYERS if layer in chosen)
    every = compare(one, two).changes
    assert compare(one, two, layers).changes == [c for c in every if c.layer in chosen]


@given(strategies.snapshots())
def test_a_snapshot_and_itself(snapshot: Any) -> None:
    one = view.of_snapshot(snapshot, "one")
    assert compare(one, view.of_snapshot(snapshot, "two")).equal


@given(strategies.locks())
def test_a_lock_and_itself(lock: Any) -> None:
    assert compare(view.of_lock(lock, "one"), view.of_lock(lock, "two")).equal


def test_packages() -> None:
    one = of(
        packages={
            "changed": item("changed", "1"),
            "content": item("content", tree="a", changed=("site/a",)),
            "gone": item("gone"),
            "proof": item("proof", proof="proved"),
            "same": item("same"),
            "unknown": item("unknown"),
        }
    )
    two = of(
        packages={
            "changed": item("changed", "2"),
            "content": item("content", tree="b", changed=("site/b",)),
            "new": item("new"),
            "proof": item("proof", proof="packed"),
            "same": item("same"),
            "unknown": item("unknown", tree=None),
        }
    )
    found = {c.name: (c.kind, c.before, c.after, c.files) for c in compare(one, two).changes}
    assert found == {
        "changed": ("changed", "1", "2", []),
        "content": ("content", "1", "1", ["site/a", "site/b"]),
        "gone": ("removed", "1", None, []),
        "new": ("added", None, "1", []),
        "proof": ("proof", "proved", "packed", []),
        "unknown": ("unknown", "1", None, []),
    }


def test_another_installer_of_the_same_bytes_is_told_once_and_is_no_difference() -> None:
    names = [f"p{place}" for place in range(10)]
    one = of(packages={name: item(name, installer="pip") for name in names})
    two = of(packages={name: item(name, installer="uv") for name in names})
    difference = compare(one, two)
    [change] = difference.changes
    assert (change.kind, change.name) == ("installer", "installer of 10 packages")
    assert (change.before, change.after) == ("pip", "uv")
    assert change.note == "p0, p1, p2, p3, p4, p5, p6, p7, ..."
    assert difference.equal


def test_the_installer_of_one_package_and_of_another() -> None:
    def side(first: str, second: str) -> View:
        there = {"a": item("a", installer=first), "b": item("b", installer=second)}
        return of(packages=there)

    changes = compare(side("pip", "uv"), side("uv", "pip")).changes
    assert [(c.name, c.before, c.after, c.note) for c in changes] == [
        ("installer of a", "pip", "uv", None),
        ("installer of b", "uv", "pip", None),
    ]


def test_what_differs_anyway_tells_of_another_installer() -> None:
    one = of(packages={"a": item("a", "1", installer="pip")})
    two = of(packages={"a": item("a", "2", installer="uv")})
    [change] = compare(one, two).changes
    assert (change.kind, change.note) == ("changed", "installed by pip, then by uv")


def test_no_installer_is_told_where_one_is_not_known_or_the_bytes_are_not() -> None:
    pip, uv = item("a", installer="pip"), item("a", installer="uv")
    assert compare(of(packages={"a": pip}), of(packages={"a": item("a")})).changes == []
    dark = (item("a", tree=None, installer=installer) for installer in ("pip", "uv"))
    assert compare(*(of(packages={"a": one}) for one in dark)).changes == []
    assert compare(of(packages={"a": uv}), of(packages={"a": uv})).changes == []


def test_a_list_that_is_not_whole() -> None:
    some = of(packages={"a": item("a", tree=None)}, reach={"packages": "some"}, trees=False)
    every = of(packages={"b": item("b"), "c": item("c")})
    gone, rest = compare(some, every).changes
    assert (gone.kind, gone.name) == ("removed", "a")
    assert (rest.kind, rest.name, rest.counts) == ("unknown", "other packages", False)
    assert rest.note == "2 packages that a side does not list and may have: b, c"


def test_a_whole_list_leaves_installers_out() -> None:
    lock = of(beside=frozenset({"pip"}))
    there = of(packages={"pip": item("pip"), "x": item("x")})
    assert [(c.kind, c.name) for c in compare(lock, there).changes] == [
        ("added", "x"),
        ("unknown", "other packages"),
    ]


def test_conda_lists_its_installers() -> None:
    there = of(conda={"pip": item("pip")})
    assert [(c.kind, c.name) for c in compare(of(beside=frozenset({"pip"})), there).changes] == [
        ("added", "pip")
    ]


def test_what_is_open_is_unknown_unless_both_say_the_same() -> None:
    one = of(open={"packages": {"a": "only >=1", "b": "only >=1"}})
    two = of(open={"packages": {"a": "only >=1", "b": "only >=2"}})
    [change] = compare(one, two).changes
    assert (change.kind, change.name, change.note) == (
        "unknown",
        "b",
        "only >=1; on the other side only >=2",
    )


def test_a_layer_that_a_side_does_not_know_is_named_once() -> None:
    document = of(
        reach=dict.fromkeys(("interpreter", "files", "system", "conda", "prefix"), "none")
    )
    there = of(interpreter={"version": "3", "soabi": "x"}, files={"a": "x", "b": "y"})
    assert [(c.kind, c.name) for c in compare(document, there).changes] == [
        ("unknown", "interpreter"),
        ("unknown", "files that no package owns"),
    ]


def test_a_proved_wheel_is_held_against_a_list_of_files() -> None:
    there = of(packages={"a": item("a", artifact="x", proof="proved")})

    def against(*listed: str) -> list[str]:
        one = item("a", tree=None, listed=frozenset(listed))
        return [c.kind for c in compare(of(packages={"a": one}, trees=False), there).changes]

    assert against("x", "y") == []
    assert against("y") == ["content"]
    assert against() == []


def test_a_list_of_system_packages_that_is_not_whole() -> None:
    bom = of(system={"a:amd64": "1"}, system_whole=False, reach={"system": "some"})
    lock = of(system={"a:amd64": "2", "b:amd64": "1"}, system_whole=False)
    assert [(c.kind, c.name) for c in compare(bom, lock).changes] == [
        ("changed", "a:amd64"),
        ("unknown", "other system packages"),
    ]


def test_needed_system_packages_against_all() -> None:
    lock = of(system={"libc6:amd64": "1", "libx:amd64": "1"}, system_whole=False)
    machine = of(system={"libc6:amd64": "2", "vim:amd64": "9"})
    found = [(c.kind, c.name) for c in compare(lock, machine).changes]
    assert found == [("changed", "libc6:amd64"), ("removed", "libx:amd64")]
    unknown = compare(lock, of()).changes
    assert [(c.kind, c.counts) for c in unknown] == [("unknown", False)]
    assert compare(of(), machine).changes == []


def test_a_file_that_nobody_could_read_is_unknown() -> None:
    difference = compare(of(files={"a": "x"}), of(files={"a": None, "b": None}))
    assert [(c.kind, c.name) for c in difference.changes] == [("unknown", "a"), ("unknown", "b")]
    assert difference.equal


def test_only_the_mode_differs() -> None:
    digest = "a" * 64
    [change] = compare(of(files={"a": digest}), of(files={"a": f"{digest} executable"})).changes
    assert (change.before, change.after) == ("a" * 12, "a" * 12 + " executable")


# --- views ---------------------------------------------------------------------------------


def test_the_same_file_in_two_site_directories() -> None:
    """The lock names its sites by path, a snapshot has them in the order of sys.path; the one
    that lies apart comes second, wherever that is."""
    found = [("x", "a", True), ("y", "1", False), ("x", "b", False), ("x", "c", True)]
    assert view._files(found) == {"y": "1", "x": "b", "x (2)": "a", "x (3)": "c"}


def test_a_lock_has_its_files_in_the_order_of_the_path() -> None:
    sites = [
        LooseSite(site=site, files=[LooseEntry(path="x", sha256=letter * 64, apart=apart)])
        for site, letter, apart in (("/a", "a", True), ("/b", "b", False), ("/c", "c", True))
    ]
    lock = locks.lock(loose=sites, sites=["/b", "/c", "/a"])
    assert view.of_lock(lock, "x").files == {
        "x": "b" * 64,
        "x (2)": "c" * 64,
        "x (3)": "a" * 64,
    }


def test_what_words_a_lock_has() -> None:
    found = view.of_lock(locks.lock(system=[locks.deb("libx")]), "env.lock")
    assert found.system == {"libx:amd64": "1.0-1"}
    assert not found.system_whole
    assert found.interpreter["soabi"] == "none"
    assert found.title == "env.lock"


def test_the_same_source_built_twice_is_told() -> None:
    def change(one: str | None, two: str | None) -> str | None:
        before = of(packages={"a": item("a", tree="t", origin=one)})
        after = of(packages={"a": item("a", tree="u", origin=two)})
        [found] = compare(before, after).changes
        return found.note

    assert change("a-1.tar.gz (sha256 0)", "a-1.tar.gz (sha256 0)") == (
        "built from a-1.tar.gz (sha256 0) both times"
    )
    assert change("git commit 1", "git commit 2") == (
        "built from git commit 1, then from git commit 2"
    )
    assert change(None, "git commit 2") is None


whole = st.builds(
    View,
    title=WORDS,
    id=MAYBE,
    interpreter=st.dictionaries(WORDS, WORDS, max_size=3),
    packages=st.dictionaries(WORDS, WORDS, max_size=4).map(
        lambda d: {name: item(name, version) for name, version in d.items()}
    ),
    files=st.dictionaries(WORDS, WORDS, max_size=3),
    system=st.dictionaries(WORDS, WORDS, max_size=3),
    system_whole=st.just(True),
    below=st.dictionaries(
        st.sampled_from(["platform", "accelerator", "numerics"]),
        st.dictionaries(WORDS, WORDS, max_size=3),
        min_size=3,
    ),
)
"""Sides that know all they have, in words short enough to be told whole."""


def told(side: View) -> dict[tuple[str, str], str]:
    """What a side says, each fact by its layer and name."""
    layers: dict[str, dict[str, str]] = {
        "interpreter": side.interpreter,
        "packages": {name: found.version for name, found in side.packages.items()},
        "files": {name: word for name, word in side.files.items() if word is not None},
        "system": side.system or {},
        **(side.below or {}),
    }
    return {(layer, name): word for layer, facts in layers.items() for name, word in facts.items()}


def applied(changes: list[Change], facts: dict[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    """*facts* after *changes*; what was before must be what a change says."""
    after = dict(facts)
    for change in changes:
        key = (change.layer, change.name)
        assert after.pop(key, None) == change.before
        if change.after is not None:
            after[key] = change.after
    return after


@given(whole, whole)
def test_applied_to_one_side_it_gives_the_other(one: View, two: View) -> None:
    assert applied(compare(one, two).changes, told(one)) == told(two)


@given(views, views)
def test_nothing_is_said_that_neither_side_knows(one: View, two: View) -> None:
    known = {*told(one), *told(two)}
    known |= {("files", name) for side in (one, two) for name in side.files}
    for side in (one, two):
        named = {"conda": {*side.conda, *side.prefix}, "shadowed": {*side.shadowed}}
        named["sources"] = {*side.sources}
        known |= {(layer, name) for layer, names in named.items() for name in names}
    for change in compare(one, two).changes:
        if change.kind not in {"unknown", "installer"}:  # Which tell of several at once, too.
            assert (change.layer, change.name) in known
