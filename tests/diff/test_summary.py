"""How much two environments share, in numbers."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from envfreeze.diff.compare import compare
from envfreeze.diff.summary import LayerSummary, Side, Summary, summarize
from envfreeze.diff.view import Item, View, of_lock
from tests.support.locks import deb, lock


def view(**given: Any) -> View:
    facts: dict[str, Any] = {"title": "x", "id": None, "interpreter": {}, "packages": {}}
    facts |= {"files": {}, "system": {}, "system_whole": False}
    return View(**{**facts, **given})


def items(**trees: str | None) -> dict[str, Item]:
    return {name: Item(name=name, version="1", tree=tree) for name, tree in trees.items()}


def summary(before: View, after: View) -> Summary:
    return summarize(before, after, compare(before, after))


def test_each_name_is_counted_once() -> None:
    before = view(packages=items(same="a", other="a", gone="a", dim="a"))
    after = view(packages=items(same="a", other="b", new="a", fresh="a", dim=None))
    (found,) = summary(before, after).layers
    assert found == LayerSummary(
        layer="packages",
        before=Side(items=4),
        after=Side(items=5),
        shared=1,
        differing=1,
        before_only=1,
        after_only=2,
        unknown=1,
    )


def test_another_proof_of_the_same_bytes_is_shared() -> None:
    one = Item(name="a", version="1", tree="t", proof="proved")
    two = Item(name="a", version="1", tree="t", proof="packed")
    (found,) = summary(view(packages={"a": one}), view(packages={"a": two})).layers
    assert (found.shared, found.differing) == (1, 0)


def test_who_did_not_look_is_not_said_to_have_nothing() -> None:
    (found,) = summary(view(below={"platform": {"cpu": "x"}}), view()).layers
    assert (found.layer, found.before, found.after) == ("platform", Side(items=1), None)
    assert found.compared == 0


def test_of_a_whole_system_only_what_is_needed_is_compared() -> None:
    whole = view(system={"a:x": "1", "b:x": "1", "c:x": "1"}, system_whole=True)
    (found,) = summary(view(system={"a:x": "1", "b:x": "2"}), whole).layers
    assert (found.shared, found.differing, found.after_only) == (1, 1, 0)
    assert found.after == Side(items=3)


def test_a_lock_knows_the_sizes_of_its_files() -> None:
    one = of_lock(lock(system=[deb("a"), deb("b")]), "a.lock")
    found = {layer.layer: layer for layer in summary(one, one).layers}
    system = found["system"].before
    assert system == Side(items=2, size=sum(one.sizes["system"].values()), measured=2)
    assert found["system"].shared == 2


words = st.sampled_from("abcdef")
views = st.builds(
    lambda packages, files: view(packages=items(**packages), files=files),
    st.dictionaries(words, st.sampled_from(["t", "u", None])),
    st.dictionaries(words, st.sampled_from(["t", "u", None])),
)


@given(views, views)
def test_nothing_is_lost_and_swapping_swaps(before: View, after: View) -> None:
    there, back = summary(before, after), summary(after, before)
    for one, two in zip(there.layers, back.layers, strict=True):
        assert (one.before_only, one.after_only) == (two.after_only, two.before_only)
        assert (one.shared, one.differing, one.unknown) == (two.shared, two.differing, two.unknown)
        both = getattr(before, one.layer).keys() | getattr(after, one.layer).keys()
        assert one.compared == len(both)
