"""Which system packages a build installs, and what it says of those that the lock lacks."""

from __future__ import annotations

from typing import Any

import pytest

from envfreeze.errors import UsageError
from envfreeze.model.lock import (
    BaseImage,
    Lock,
    LockError,
    NamedPackage,
    SystemLayer,
    Unproved,
    artifacts,
    dumps,
    loads,
)
from envfreeze.model.scope import chosen, not_kept, parse
from tests.support import locks

INSTALLED = [
    "base-files 12 amd64 manual",
    "git 2.0 amd64 manual",
    "libc6 2.36 amd64 auto",
    "libcurl 7 amd64 auto",
    "libssl3 3.0 amd64 auto",
    "tree 1.0 amd64 auto",
]
ESSENTIAL = ["base-files:amd64", "libc6:amd64"]


def a_lock(*others: str, scope: str = "needed", **changes: Any) -> Lock:
    depends = {"git": ["libcurl"], "libcurl": ["libssl3"]}
    versions = {line.split()[0]: line.split()[1] for line in INSTALLED}

    def made(name: str) -> Any:
        return locks.deb(name, versions[name], depends=depends.get(name, []))

    machine = {key: changes.pop(key) for key in ("base", "findings") if key in changes}
    layer = {
        "kernel": "Linux",
        "machine": "x86_64",
        "manager": "dpkg",
        "installed": INSTALLED,
        "packages": [made("libc6"), made("libssl3")],
        "essential": ESSENTIAL,
        "scope": scope,
        "others": [made(name) for name in others],
    }
    return locks.lock(layer=SystemLayer(**(layer | changes)), **machine)


def names(lock: Lock) -> list[str]:
    return [package.name for package in lock.machine.system.packages]


def test_what_is_needed_is_the_default_and_brings_no_other_file() -> None:
    lock = a_lock("base-files", "git", "libcurl", scope="manual")
    found = chosen(lock, "needed")
    assert names(found) == ["libc6", "libssl3"]
    assert len(artifacts(found)) == len(artifacts(lock)) - 3


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("essential", ["base-files", "libc6", "libssl3"]),
        ("manual", ["base-files", "git", "libc6", "libcurl", "libssl3"]),
        ("all", ["base-files", "git", "libc6", "libcurl", "libssl3", "tree"]),
    ],
)
def test_each_holds_those_before_it(scope: Any, expected: list[str]) -> None:
    lock = a_lock("base-files", "git", "libcurl", "tree", scope="all")
    found = chosen(lock, scope)
    assert names(found) == expected
    assert found.machine.id == lock.machine.id
    assert found.machine.system.others == []


@pytest.mark.parametrize(
    ("scope", "missing"),
    [
        ("essential", r"1 package: base-files 12$"),
        ("manual", r"2 packages: base-files 12, git 2\.0$"),
        ("all", r"4 packages: base-files 12, git 2\.0, libcurl 7, tree 1\.0$"),
    ],
)
def test_what_the_lock_lacks_is_named_with_the_next_step(scope: Any, missing: str) -> None:
    with pytest.raises(UsageError, match=missing) as caught:
        chosen(a_lock(), scope)
    assert f"Capture again with --system {scope}" in caught.value.hint


def test_a_wider_capture_may_have_failed_for_one_of_them() -> None:
    with pytest.raises(UsageError, match=r"1 package: git 2\.0"):
        chosen(a_lock("base-files", scope="manual"), "manual")


def test_many_names_are_counted() -> None:
    lock = a_lock(installed=[f"p{n} 1 amd64 manual" for n in range(30)])
    with pytest.raises(UsageError, match=r"31 packages: base-files, .* and 19 more"):
        chosen(lock, "manual")


def on_an_image(scope: str, *lost: str) -> Lock:
    findings = [
        not_kept(Unproved(name=name, version="1", site="/", info=f"{name}:amd64", reason="x"))
        for name in lost
    ]
    return a_lock(
        "git",
        "libcurl",
        scope=scope,
        base=BaseImage(image_id="sha256:" + "a" * 64),
        packages=[locks.deb("libssl3", "3.0")],
        held=[NamedPackage(name="libc6", version="2.36", arch="amd64")],
        findings=findings,
    )


def test_what_the_image_below_has_is_not_missing() -> None:
    assert names(chosen(on_an_image("manual"), "manual")) == ["git", "libcurl", "libssl3"]
    with pytest.raises(UsageError, match=r"2 packages: base-files 12, tree 1\.0"):
        chosen(on_an_image("manual"), "all")
    with pytest.raises(UsageError, match="1 package: tree"):
        chosen(on_an_image("all", "tree"), "all")


def test_nobody_knows_what_was_asked_for() -> None:
    lock = a_lock(installed=["git 2.0 amd64"])
    with pytest.raises(UsageError, match="does not say which system packages were asked for"):
        chosen(lock, "manual")


def test_a_root_directory_begins_with_what_is_essential() -> None:
    lock = a_lock("base-files", scope="essential")
    assert names(chosen(lock, "needed", bootstrap=True)) == ["base-files", "libc6", "libssl3"]


def test_without_the_essential_packages_there_is_no_root() -> None:
    with pytest.raises(UsageError, match=r"no \.deb of 1 package: base-files 12") as caught:
        chosen(a_lock(), "needed", bootstrap=True)
    assert "--system essential" in caught.value.hint
    for changes in ({"essential": []}, {"manager": "rpm"}):
        with pytest.raises(UsageError, match="does not say which ones"):
            chosen(a_lock(**changes), "needed", bootstrap=True)


def test_a_word_that_is_no_choice() -> None:
    assert parse("manual") == "manual"
    with pytest.raises(UsageError, match="'some'") as caught:
        parse("some")
    assert caught.value.hint == "needed, essential, manual, all"


def test_the_lock_keeps_it() -> None:
    lock = a_lock("git", scope="manual")
    text = dumps(lock)
    assert loads(text) == lock
    assert '\nscope = "manual"\n' in text
    assert "scope" not in dumps(a_lock())


@pytest.mark.parametrize(
    "changes",
    [
        {"essential": ["a\nb"]},
        {"essential": ["../x"]},
        {"others": [locks.deb("$(x)")]},
        {"others": [locks.deb("x", depends=["a b"])]},
    ],
)
def test_hostile_words(changes: Any) -> None:
    with pytest.raises(LockError):
        loads(dumps(a_lock(**changes)))
