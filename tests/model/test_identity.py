"""What counts as the same environment, and what does not."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envfreeze.model import identity
from envfreeze.model.lock import Artifact, LooseEntry, LooseSite, SystemLayer, SystemPackage
from envfreeze.model.snapshot import Dist, Interpreter, Row, SourceFile
from tests import strategies


def row(path: str, scheme: Any = "site", sha256: str | None = "0" * 64) -> Row:
    return Row(scheme, path, sha256, 1, False, None)


def dist(*rows: Row, wrappers: tuple[str, ...] = ()) -> Dist:
    return Dist(
        site="/s",
        info="x-1.dist-info",
        name="x",
        version="1",
        rows=list(rows),
        wrappers=list(wrappers),
    )


@pytest.mark.parametrize(
    ("raw", "normal"),
    [("A.B_c--D", "a-b-c-d"), ("x", "x"), ("zope.interface", "zope-interface"), ("", "")],
)
def test_normalize(raw: str, normal: str) -> None:
    assert identity.normalize(raw) == normal


@given(st.lists(st.tuples(strategies.words, strategies.sha256s)), st.randoms())
def test_a_tree_has_no_order(files: list[tuple[str, str]], chance: random.Random) -> None:
    shuffled = files[:]
    chance.shuffle(shuffled)
    assert identity.tree_digest(shuffled) == identity.tree_digest(files)


def test_a_tree_is_its_paths_and_its_content() -> None:
    digests = {
        identity.tree_digest(files)
        for files in (
            [],
            [("site/a", "1")],
            [("site/b", "1")],
            [("site/a", "2")],
            [("site/a", "1"), ("site/b", "1")],
            [("scripts/a", "1")],
        )
    }
    assert len(digests) == 6


def test_what_the_installer_writes_is_outside() -> None:
    wheels = [row("x/a.py"), row("x-1.dist-info/METADATA"), row("x-1.dist-info/licenses/RECORD")]
    wheels += [row("tool", "scripts"), row("x.h", "headers"), row("share/x", "data")]
    installers = [row(f"x-1.dist-info/{name}") for name in identity.INSTALLER_FILES]
    installers += [row("x/__pycache__/a.cpython-311.pyc"), row("../x", "outside")]
    installers += [row("run", "scripts"), row("pip3.11", "scripts")]
    whole = dist(*wheels, *installers, wrappers=("run", "pip"))
    assert identity.owned_rows(whole) == wheels
    assert identity.owned_rows(dist()) == []
    assert identity.dist_files(dist(row("a"), row("b", sha256=None))) == [("site/a", "0" * 64)]


def test_bytecode_that_virtualenv_names_and_that_is_not_there() -> None:
    named = Row("site", "x/a.cpython-311.pyc", None, None, False, "")
    claimed = Row("site", "x/b.cpython-311.pyc", None, None, False, "sha256=x")
    there = Row("site", "x/c.cpython-311.pyc", "0" * 64, 1, False, "")
    directory = Row("site", "x/y/__pycache__", None, None, False, "")
    assert identity.owned_rows(dist(named, claimed, there, directory)) == [claimed, there]


def test_the_mark_of_virtualenv_is_not_the_wheels() -> None:
    mark = Row("site", "x-1.virtualenv", "0" * 64, 0, False, "")
    other = Row("site", "y-1.virtualenv", "0" * 64, 0, False, "")
    assert identity.owned_rows(dist(mark, other)) == [other]


def test_another_distributions_record_is_content() -> None:
    assert identity.owned_rows(dist(row("y-1.dist-info/RECORD"))) != []


@pytest.mark.parametrize(
    ("script", "wrappers", "original"),
    [
        ("pip3.11", {"pip"}, "pip"),
        ("pip3", {"pip"}, "pip"),
        ("pip3.11", {"pip3"}, None),
        ("easy_install-3.6", {"easy_install"}, "easy_install"),
        ("pip3.11", set(), None),
        ("pipx", {"pip"}, None),
        ("tool3.11", {"tool"}, None),
    ],
)
def test_versioned_wrapper(script: str, wrappers: set[str], original: str | None) -> None:
    assert identity.versioned_wrapper(script, wrappers) == original


@given(strategies.interpreters)
def test_an_interpreter_is_not_where_it_lies(facts: Interpreter) -> None:
    moved = msgspec.structs.replace(
        facts, prefix="/x", executable="/x/y", compiler="c", venv=not facts.venv, libc="l"
    )
    assert identity.interpreter_digest(moved) == identity.interpreter_digest(facts)
    other = msgspec.structs.replace(facts, version="2.0")
    assert identity.interpreter_digest(other) != identity.interpreter_digest(facts)


@given(st.lists(strategies.loose_sites, max_size=3), st.randoms())
def test_loose_files_have_no_order_and_no_place(
    sites: list[LooseSite], chance: random.Random
) -> None:
    shuffled = [
        LooseSite(site="/elsewhere", files=chance.sample(site.files, len(site.files)))
        for site in chance.sample(sites, len(sites))
    ]
    assert identity.files_digest(shuffled) == identity.files_digest(sites)


def test_a_source_tree_is_its_paths_contents_modes_and_links() -> None:
    def digest(*more: Any) -> str:
        return identity.source_digest(identity.source_files([SourceFile("a", *more)]))

    found = [("0" * 64, 1, False, None), ("0" * 64, 1, True, None), ("1" * 64, 1, False, None)]
    digests = {digest(*one) for one in [*found, (None, 0, False, "b"), (None, 0, False, "c")]}
    assert len(digests) == 5
    assert digest("0" * 64, 2, False, None) == digest(*found[0]), "its size follows from it"


def test_rare_layers_are_there_where_something_is_in_them() -> None:
    assert identity.rare_layers(shadowed=[], sources=[]) == {}
    assert identity.rare_layers(shadowed=[], sources=[("lost", None)]) == {}
    one = identity.rare_layers(shadowed=[("a", "1", "t")], sources=[("x", "1"), ("lost", None)])
    assert set(one) == {"shadowed", "sources"}
    two = identity.rare_layers(shadowed=[("a", "1", "t")], sources=[("x", "1")])
    assert one == two


def test_whether_a_loose_file_can_be_run_counts() -> None:
    def digest(**more: Any) -> str:
        return identity.files_digest([LooseSite(site="/", files=[LooseEntry(path="a", **more)])])

    assert len({digest(), digest(executable=True), digest(link="x"), digest(sha256="x")}) == 4


def test_packages_and_system_have_no_order() -> None:
    packages = [("a", "1", "t"), ("b", "2", None), ("a", "1", None)]
    assert identity.packages_digest(packages) == identity.packages_digest(packages[::-1])
    artifact = Artifact(url="https://x", size=1, hashes={"sha256": "0" * 64})
    system = [
        SystemPackage(
            name=name, version="1", arch="amd64", proof="proved", evidence="", artifact=artifact
        )
        for name in "ab"
    ]
    layers = [
        SystemLayer(kernel="Linux", machine="x86_64", packages=order)
        for order in (system, system[::-1])
    ]
    assert identity.system_digest(layers[0]) == identity.system_digest(layers[1])
    # As it was before a layer could hold more than packages: no old lock gets another id.
    text = '[["a","amd64","1"],["b","amd64","1"]]'
    assert identity.system_digest(layers[0]) == hashlib.sha256(text.encode()).hexdigest()
    assert identity.environment_id({"a": "1", "b": "2"}) == identity.environment_id(
        {"b": "2", "a": "1"}
    )


def test_no_field_can_pass_for_two() -> None:
    assert identity.packages_digest([("a", "1", "")]) != identity.packages_digest([("a", "", "1")])
    assert identity.tree_digest([("a\n0", "1")]) != identity.tree_digest([("a", "0"), ("", "1")])


def test_a_mode_is_part_of_the_word_where_it_is_not_the_usual() -> None:
    def word(scheme: str, executable: bool, sha256: str | None = "0" * 64) -> str | None:
        return identity.file_word(Row(scheme, "x", sha256, 1, executable, None))  # type: ignore[arg-type]

    assert word("site", False) == word("scripts", True) == "0" * 64
    assert word("site", True) == "0" * 64 + " executable"
    assert word("scripts", False) == "0" * 64 + " not executable"
    assert word("site", True, None) is None


def test_the_scripts_of_entry_points() -> None:
    run, copy, own = (row(name, "scripts") for name in ("run", "pip3.11", "own"))
    gone = row("pip", "scripts", sha256=None)
    assert identity.wrappers(dist(run, copy, own, gone, wrappers=("run", "pip"))) == [run, copy]
