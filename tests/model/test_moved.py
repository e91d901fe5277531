"""An environment at another path: what follows, what stays, and where it may not go."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envfreeze.errors import UsageError
from envfreeze.model.lock import (
    BaseImage,
    Lock,
    LooseEntry,
    LooseSite,
    SourceTree,
    SystemLayer,
    UnownedFiles,
)
from envfreeze.model.moved import check_prefix, moved
from tests.support import locks, machines

OLD, SITE = "/home/u/env", "/home/u/env/lib/python3.11/site-packages"
BASE = BaseImage(image_id="sha256:" + "1" * 64, venv=True)


def of(**machine: Any) -> Lock:
    return locks.lock(**machine)


def with_packages(lock: Lock, **facts: Any) -> Lock:
    return msgspec.structs.replace(lock, packages=[machines.package("demo", "1.0", **facts)])


def test_what_lies_in_it_follows_and_the_rest_stays() -> None:
    layer = SystemLayer(kernel="Linux", machine="x86_64", library_path=[f"{OLD}/lib", "/opt/lib"])
    inside = SourceTree(key="a", root=f"{OLD}/src/a", spellings=["/home/u/link"])
    outside = SourceTree(key="b", root="/home/u/env-b")
    loose = LooseSite(
        site=SITE, files=[LooseEntry(path="x", link=f"{OLD}/y"), LooseEntry(path="y", link="../z")]
    )
    lock = of(
        layer=layer,
        sources=[inside, outside],
        loose=[loose],
        sites=[SITE, "/srv/site"],
        environment={"A": f"/x:{OLD}/a:{OLD}", "B": f"{OLD}er"},
        pythonpath=[f"{OLD}/p", "{envfreeze:source:a}/src"],
        base=BASE,
    )
    found = moved(with_packages(lock, site=SITE, in_base=True), "/opt/e")
    machine, facts = found.machine, found.machine.interpreter.facts
    assert (facts.prefix, facts.executable) == ("/opt/e", "/opt/e/bin/python")
    assert facts.purelib == facts.platlib == "/opt/e/lib/python3.11/site-packages"
    assert facts.scripts == "/opt/e/bin"
    assert (facts.base_prefix, facts.base_executable) == ("/home/u/py", "/home/u/py/bin/python3.11")
    assert machine.system.library_path == ["/opt/e/lib", "/opt/lib"]
    assert [s.root for s in machine.sources] == ["/opt/e/src/a", "/home/u/env-b"]
    assert machine.sources[0].spellings == ["/home/u/link"]
    assert machine.sites == ["/opt/e/lib/python3.11/site-packages", "/srv/site"]
    assert [e.link for e in machine.loose[0].files] == ["/opt/e/y", "../z"]
    assert machine.environment == {"A": "/x:/opt/e/a:/opt/e", "B": f"{OLD}er"}
    assert machine.pythonpath == ["/opt/e/p", "{envfreeze:source:a}/src"]
    assert machine.base is not None
    assert not machine.base.venv
    assert found.packages[0].facts.site == "/opt/e/lib/python3.11/site-packages"
    assert not found.packages[0].facts.in_base  # it has to be placed at the new path
    assert machine.id == lock.machine.id


def test_a_package_elsewhere_stays_in_the_base() -> None:
    lock = with_packages(of(base=BASE), site="/srv/site", in_base=True)
    assert moved(lock, "/opt/e").packages[0].facts.in_base


def test_there_and_back() -> None:
    lock = with_packages(of(environment={"A": f"{OLD}/a"}))
    assert moved(moved(lock, "/opt/e"), OLD) == lock
    assert moved(lock, OLD) is lock


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "relative/x",
        "/",
        "//x",
        "/opt",
        "/home",
        "/root",
        "/opt/x/",
        "/opt/../etc/x",
        "/opt/./x",
        "/opt//x",
        "/proc/x",
        "/sys/x",
        "/dev/shm/x",
        "/run/x",
        "/tmp/x",
        "/etc/x",
        "/usr",
        "/usr/x",
        "/usr/lib/x",
        "/usr/local",
        "/usr/local/bin/x",
        "/usr/local/lib",
        "/usr/local/lib64/x",
        "/var/lib/dpkg/x",
        "/bin/x",
        "/lib64/x",
        "/opt/a\nb",
        "/opt/a\x00b",
        "/opt/a\x9bb",
        "/opt/a\u2028b",
        "/opt/\ud800",
        "/opt/a:b",
        "/opt/$HOME",
        "/opt/a\\b",
        '/opt/a"b',
        "/opt/.wh.a",
        "/opt/" + "x" * 600,
    ],
)
def test_where_it_may_not_go(prefix: str) -> None:
    with pytest.raises(UsageError, match="--prefix"):
        moved(of(), prefix)


@pytest.mark.parametrize(
    "prefix", ["/opt/venv", "/app", "/srv/a b", "/home/u/x", "/usr/local/venv", "/root/é", "/lib-x"]
)
def test_where_it_may_go(prefix: str) -> None:
    check_prefix(prefix)


@given(st.text(max_size=40))
def test_nothing_odd_passes(text: str) -> None:
    try:
        check_prefix(text)
    except UsageError:
        return
    assert text.startswith("/")
    assert text.isprintable()
    assert not set(text) & set(":$\\\"'")
    assert not {"", ".", ".."} & set(text.split("/")[1:])


@pytest.mark.parametrize(
    ("machine", "prefix", "said"),
    [
        ({}, "/home/u/py", "where the interpreter is"),
        ({}, "/home/u", "where the interpreter is"),
        ({"sources": [SourceTree(key="b", root="/srv/b")]}, "/srv/b/x", "where a source tree is"),
        ({"sites": ["/srv/site"]}, "/srv/site", "where more packages are"),
        (
            {
                "layer": SystemLayer(
                    kernel="Linux",
                    machine="x86_64",
                    unowned=UnownedFiles(files=[LooseEntry(path="opt/x/lib.so", link="y")]),
                )
            },
            "/opt/x",
            "no package owns",
        ),
    ],
)
def test_not_over_what_stays(machine: dict[str, Any], prefix: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        moved(of(**machine), prefix)


def test_only_a_virtual_environment_is_moved() -> None:
    facts = locks.interpreter(venv=False, prefix="/home/u/py")
    with pytest.raises(UsageError, match="only a virtual one"):
        moved(of(facts=facts), "/opt/e")


def test_what_the_base_alone_has_cannot_be_moved() -> None:
    held = machines.package("vendor", "1.0")
    with pytest.raises(UsageError, match=r"the base image alone has .*vendor") as caught:
        moved(of(base=BASE, held=[held]), "/opt/e")
    assert "--pack-base" in caught.value.hint
