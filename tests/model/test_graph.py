"""What needs what, and why a package is there: circles and long chains end."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from envfreeze.model.graph import Graph, Key, graph
from envfreeze.model.host import Blas, Host, Numerics
from envfreeze.model.lock import Loose, NamedPackage, Need, SystemLayer
from envfreeze.model.why import why
from tests.support import condas
from tests.support.locks import deb
from tests.support.needs import lock, package


def python(*names: str) -> list[Key]:
    return [("python", name) for name in names]


def needs(known: Graph, name: str) -> list[str]:
    return [edge.to[1] for edge in known.nodes["python", name].needs]


def ways(known: Graph, name: str, most: int = 20) -> list[str]:
    return [" ".join(key[1] for key in way) for way in known.ways(("python", name), most).found]


def test_roots_are_what_nothing_needs() -> None:
    known = graph(lock(package("a", "b", "c"), package("b", "c"), package("c"), package("d")))
    assert known.roots == python("a", "d")
    assert ways(known, "c") == ["a c", "a b c"]
    assert ways(known, "a") == ["a"]


def test_of_a_circle_one_is_the_root_and_what_was_asked_for_comes_first() -> None:
    # "a" sorts first, and is no root: the circle leads to it.
    circle = [package("x", "y"), package("y", "x", "a"), package("a")]
    assert graph(lock(*circle)).roots == python("x")
    circle[1] = package("y", "x", "a", requested=True, installer="pip")
    assert graph(lock(*circle)).roots == python("y")
    assert ways(graph(lock(*circle)), "x") == ["y x"]


def test_one_that_needs_itself_is_a_root() -> None:
    known = graph(lock(package("a", "a[x]", "b; extra == 'x'"), package("b")))
    assert known.roots == python("a")
    assert ways(known, "b") == ["a b"]


def test_an_extra_counts_where_it_is_asked_for() -> None:
    offers = package("b", "c>=1; extra == 'X_y'", "d; extra == 'z'")
    known = graph(lock(package("a", "B[x.y]"), offers, package("c"), package("d")))
    assert needs(known, "b") == ["c"]
    assert known.nodes["python", "b"].needs[0].condition == ">=1; extra x-y"
    assert known.roots == python("a", "d")
    assert known.offered_by["python", "d"] == [(("python", "b"), "extra z")]


def test_markers_are_those_of_the_captured_interpreter() -> None:
    known = graph(
        lock(package("a", "b; python_version < '3.5'", "c; sys_platform == 'linux'", "gone>2"))
    )
    assert known.nodes["python", "a"].missing == ["c; sys_platform == 'linux'", "gone>2"]


def test_a_requirement_may_be_met_by_a_conda_package() -> None:
    layer = condas.layer(
        condas.package("pytorch", dists=["torch"], depends=["numpy >=1,<3", "__glibc", "gone"]),
        condas.package("numpy", requested=["numpy"]),
    )
    known = graph(lock(package("a", "Torch", "numpy"), conda=layer))
    assert [edge.to for edge in known.nodes["python", "a"].needs] == [
        ("conda", "pytorch"),
        ("conda", "numpy"),
    ]
    assert known.nodes["conda", "pytorch"].missing == ["gone"]
    assert known.roots == python("a")


def test_of_one_name_twice_in_the_lock_all_requirements_count() -> None:
    egg = Loose(name="A", version="2", site="/s", info="A.egg-info", requires=["b"])
    known = graph(lock(package("a", "c"), package("b"), package("c"), loose_dists=[egg]))
    assert needs(known, "a") == ["c", "b"]


def test_a_chain_of_thousands_is_no_recursion() -> None:
    chain = [package(f"p{n}", f"p{n + 1}") for n in range(3000)]
    known = graph(lock(*chain, package("p3000", "p0")))
    assert known.roots == python("p0")
    assert len(known.ways(("python", "p3000"), 5).found[0]) == 3001


def test_more_ways_than_anybody_reads_are_not_all_sought() -> None:
    wide = [
        package(f"p{layer}-{n}", *[f"p{layer + 1}-{m}" for m in range(9)])
        for layer in range(9)
        for n in range(9)
    ]
    found = graph(lock(*wide)).ways(("python", "p8-0"), 20)
    assert found.more
    assert [len(way) for way in found.found] == [9] * 20


NAMES = st.sampled_from("abcdefg")


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=4)), st.sets(NAMES))
def test_every_package_is_reached_from_a_root(
    given_needs: dict[str, list[str]], asked: set[str]
) -> None:
    packages = [
        package(name, *below, requested=name in asked) for name, below in given_needs.items()
    ]
    known = graph(lock(*packages))
    for key in known.nodes:
        found = known.ways(key, 50)
        assert found.found
        assert [len(way) for way in found.found] == sorted(len(way) for way in found.found)
        for way in found.found:
            assert way[-1] == key
            assert way[0] in known.roots or known.nodes[way[0]].asked
            assert len(set(way)) == len(way)


# --- why -----------------------------------------------------------------------------------


def told(name: str, *packages: Any, **machine: Any) -> list[str]:
    made = lock(*packages, **machine)
    return [reason for one in why(made, graph(made), name) for reason in one.reasons]


def test_why_a_distribution_is_there() -> None:
    packages = [package("a", "c; extra == 'x'"), package("b", requested=True, installer="pip")]
    packages += [package("c"), package("d", "a")]
    assert told("A", *packages) == []
    assert told("b", *packages) == ["it was asked for"]
    assert told("c", *packages) == [
        "a would need it (extra x); which extras were asked for is not known",
        "nothing else in the lock needs it",
    ]
    assert told("absent", *packages) == []


def test_why_a_system_package_is_there() -> None:
    layer = SystemLayer(
        kernel="Linux",
        machine="x86_64",
        manager="dpkg",
        packages=[deb("libblas3", depends=["libc6"]), deb("libc6"), deb("python3-yaml"), deb("g")],
        others=[deb("vim")],
        held=[NamedPackage(name="tar", version="1", arch="amd64")],
        needs=[Need(name="gcc", path="/usr/bin/gcc", package="g")],
        scope="all",
    )
    blas = Blas(
        name="openblas", kind="blas", path="/usr/lib/libblas.so.3", owner="dpkg libblas3 1.0-1"
    )
    facts: dict[str, Any] = {"layer": layer, "host": Host(numerics=Numerics(libraries=[blas]))}
    yaml = package("pyyaml", owner="dpkg python3-yaml 6.0-3+b2")
    unknown = "the interpreter, the environment's libraries or programs need it"
    assert "it brings distributions: pyyaml" in told("python3-yaml", yaml, **facts)
    assert "the program gcc is called: /usr/bin/gcc" in told("g", **facts)
    assert "openblas of it is used" in told("libblas3", **facts)
    assert told("libc6", **facts) == []
    assert told("vim", **facts) == ["it was kept besides (all): the environment does not need it"]
    assert told("tar", **facts)[0].startswith(unknown)
