"""dpkg's database: versions, owners, closures."""

from __future__ import annotations

import functools
import itertools
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envfreeze.resolve.dpkg import Dpkg, Installed, compare
from envfreeze.resolve.rootfs import Root
from tests.support.dpkgroot import DpkgRoot, Pkg


@pytest.fixture
def root(tmp_path: Path) -> DpkgRoot:
    return DpkgRoot(tmp_path)


def read(root: DpkgRoot) -> Dpkg:
    found = Dpkg.read(Root(root.path))
    assert found is not None
    return found


def names(packages: list[Installed]) -> list[str]:
    return [package.name for package in packages]


# In dpkg's order, smallest first: deb-version(7) and the examples of Policy 5.6.12.
ASCENDING = [
    "~~", "~~a", "~", "0", "1.0~beta1~svn1245", "1.0~beta1", "1.0", "1.0-0.1", "1.0-1",
    "1.0-1+b1", "1.0-1+deb12u1", "1.0-1.1", "1.0-2", "1.0-10", "1.0a", "1.0+x", "1.0.1",
    "1.10", "2:0.1", "10:0.1",
]  # fmt: skip


def test_versions_sort_as_dpkg_sorts_them() -> None:
    descending = ASCENDING[::-1]
    assert sorted(descending, key=functools.cmp_to_key(compare)) == ASCENDING


_versions = st.from_regex(r"([0-9]:)?[0-9][0-9a-z.+~]{0,6}(-[0-9a-z.+~]{1,4})?", fullmatch=True)


@given(_versions, _versions)
def test_comparison_is_antisymmetric(one: str, other: str) -> None:
    assert compare(one, other) == -compare(other, one)
    assert compare(one, one) == 0


@pytest.mark.parametrize(("left", "right"), list(itertools.pairwise(ASCENDING[3:])))
def test_dpkg_agrees(left: str, right: str) -> None:
    if shutil.which("dpkg") is None:
        pytest.skip("no dpkg")
    done = subprocess.run(["dpkg", "--compare-versions", left, "lt", right], check=False)
    assert (done.returncode == 0) is (compare(left, right) < 0)


def test_no_database_is_none(tmp_path: Path) -> None:
    assert Dpkg.read(Root(tmp_path)) is None


def test_only_installed_packages_count(root: DpkgRoot) -> None:
    root.install(Pkg(name="here"))
    gone = "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: amd64\n"
    status = root.path / "var/lib/dpkg/status"
    status.write_text(status.read_text() + "\n" + gone)
    assert list(read(root).packages) == ["here:amd64"]


def test_owner_through_merged_usr(root: DpkgRoot) -> None:
    root.install(Pkg(name="libc6", files={"/lib/x86_64-linux-gnu/libc.so.6": b"c"}))
    root.install(Pkg(name="libz", files={"/usr/lib/x86_64-linux-gnu/libz.so": b"z"}))
    found = read(root).owners(
        ["/usr/lib/x86_64-linux-gnu/libc.so.6", "/lib/x86_64-linux-gnu/libz.so", "/opt/x"]
    )
    assert {path: names(owners) for path, owners in found.items()} == {
        "/usr/lib/x86_64-linux-gnu/libc.so.6": ["libc6"],
        "/lib/x86_64-linux-gnu/libz.so": ["libz"],
    }


def test_owner_through_a_diversion(root: DpkgRoot) -> None:
    root.install(Pkg(name="libgl", files={"/usr/lib/libGL.so": b"mesa"}))
    root.install(Pkg(name="nvidia", files={"/usr/lib/libGL.so": b"nvidia"}))
    root.write(
        "/var/lib/dpkg/diversions", "/usr/lib/libGL.so\n/usr/lib/diverted/libGL.so\nnvidia\n"
    )
    found = read(root).owners(["/usr/lib/libGL.so", "/usr/lib/diverted/libGL.so"])
    assert {path: names(owners) for path, owners in found.items()} == {
        "/usr/lib/libGL.so": ["nvidia"],
        "/usr/lib/diverted/libGL.so": ["libgl"],
    }


def closure(root: DpkgRoot, *start: str) -> list[str]:
    dpkg = read(root)
    found = [dpkg.get(name) for name in start]
    return names(dpkg.closure([package for package in found if package is not None]))


def test_closure_takes_what_is_installed(root: DpkgRoot) -> None:
    fields = {"Depends": "absent | b (>= 1), virtual, c:any, old (>= 9)", "Pre-Depends": "d"}
    root.install(Pkg(name="a", fields=fields))
    root.install(Pkg(name="b"))
    root.install(Pkg(name="c", fields={"Depends": "a"}))
    root.install(Pkg(name="d", arch="all"))
    root.install(Pkg(name="e", fields={"Provides": "virtual (= 1), other"}))
    root.install(Pkg(name="old", version="1"))
    root.install(Pkg(name="unrelated"))
    assert closure(root, "a") == ["a", "b", "c", "d", "e"]


def test_a_versioned_dependency_wants_a_versioned_provides(root: DpkgRoot) -> None:
    root.install(Pkg(name="a", fields={"Depends": "v (>= 2)"}))
    root.install(Pkg(name="no", fields={"Provides": "v"}))
    root.install(Pkg(name="low", fields={"Provides": "v (= 1)"}))
    root.install(Pkg(name="yes", fields={"Provides": "v (= 2)"}))
    assert closure(root, "a") == ["a", "yes"]


def test_dependencies_stay_in_their_architecture(root: DpkgRoot) -> None:
    root.install(Pkg(name="dpkg"))
    same = {"Multi-Arch": "same"}
    root.install(Pkg(name="libz", arch="i386", fields=same))
    root.install(Pkg(name="libz", arch="amd64", fields=same))
    root.install(Pkg(name="a", fields={"Depends": "libz"}))
    root.install(Pkg(name="b", arch="i386", fields={"Depends": "libz"}))
    dpkg = read(root)
    for key in ("a:amd64", "b:i386"):
        arch = key.partition(":")[2]
        assert [p.key for p in dpkg.depends(dpkg.packages[key])] == [f"libz:{arch}"]


def test_essential_packages_are_left_to_the_base(root: DpkgRoot) -> None:
    root.install(Pkg(name="tar", fields={"Essential": "yes", "Pre-Depends": "libacl1"}))
    root.install(Pkg(name="libacl1"))
    root.install(Pkg(name="a", fields={"Depends": "tar"}))
    assert closure(root, "a") == ["a"]
    assert closure(root, "tar") == ["libacl1", "tar"]


def test_who_was_asked_for(root: DpkgRoot) -> None:
    root.install(Pkg(name="dpkg"))
    for name, arch in (("asked", "amd64"), ("pulled", "amd64"), ("data", "all"), ("more", "all")):
        root.install(Pkg(name=name, arch=arch))
    assert read(root).manual() is None
    root.write("/var/lib/apt/lists/lock", "")
    assert read(root).manual() == set(read(root).packages)
    root.write(
        "/var/lib/apt/extended_states",
        "Package: pulled\nArchitecture: amd64\nAuto-Installed: 1\n\n"
        "Package: data\nArchitecture: amd64\nAuto-Installed: 1\n\n"
        "Package: more\nArchitecture: amd64\nAuto-Installed: 0\n",
    )
    assert read(root).manual() == {"dpkg:amd64", "asked:amd64", "more:all"}


def test_apt_agrees_on_who_was_asked_for() -> None:
    database = Dpkg.read(Root())
    if database is None or shutil.which("apt-mark") is None:
        pytest.skip("no apt")
    done = subprocess.run(["apt-mark", "showmanual"], check=True, capture_output=True, text=True)
    manual = database.manual()
    assert manual is not None
    assert {database.packages[key].name for key in manual} == {
        name.partition(":")[0] for name in done.stdout.split()
    }
