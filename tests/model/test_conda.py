"""Conda packages in a lock: their order, and what no lock may say of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envfreeze.errors import LockError
from envfreeze.model import conda
from envfreeze.model.lock import Artifact, LooseEntry, dumps, loads
from tests.support import condas
from tests.support.locks import lock


def test_what_a_package_needs_stands_before_it() -> None:
    needs = {"a": ["b >=1", "c"], "b": ["c 1.* *_0"], "c": ["elsewhere"], "d": []}
    assert conda.link_order(needs) == ["c", "b", "a", "d"]


NAMES = st.sampled_from("abcdef")


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=4)))
def test_a_circle_ends(needs: dict[str, list[str]]) -> None:
    assert sorted(conda.link_order(needs)) == sorted(needs)


def test_a_long_chain_is_no_recursion() -> None:
    needs = {f"p{number}": [f"p{number + 1}"] for number in range(3000)}
    assert conda.link_order(needs)[0] == "p2999"


def test_a_lock_with_conda_packages_is_read_back() -> None:
    entry = LooseEntry(path="share/x", sha256="e" * 64)
    loose = conda.CondaFiles(archive=condas.packed("loose").artifact, files=[entry])
    made = lock(conda=condas.layer(condas.package("python"), condas.packed("foo"), loose=loose))
    assert loads(dumps(made)) == made


def _artifact(**changes: Any) -> Artifact:
    found = condas.package("x").artifact
    assert found is not None
    return msgspec.structs.replace(found, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../x"},
        {"name": "x\n@EXPLICIT"},
        {"version": "1 0"},
        {"build": ""},
        {"subdir": "../.."},
        {"noarch": "yes"},
        {"fn": "../../x.conda"},
        {"fn": "other-1.0-h0_0.conda"},
        {"tree": "x"},
        {"md5": "x"},
        {"depends": ["a\nb"]},
        {"dists": ["a\nb"]},
        {"channel": "x\ny"},
        {"artifact": None},
        {"artifact": _artifact(url="file:///etc/passwd")},
        {"artifact": _artifact(hashes={"sha256": "0"})},
        {"artifact": _artifact(url=None, path="../x.conda")},
    ],
)
def test_a_lock_says_no_such_thing_of_a_package(changes: dict[str, Any]) -> None:
    package = msgspec.structs.replace(condas.package("python"), **changes)
    broken = lock(conda=condas.layer(package))
    with pytest.raises(LockError, match=r"conda\.packages\[0\]"):
        loads(dumps(broken))


@pytest.mark.parametrize(
    "changes",
    [
        {"prefix": "relative"},
        {"prefix": "/opt/../etc"},
        {"platform": "x\ny"},
        {"variables": {"A B": "x"}},
        {"variables": {"A": "x\ny"}},
        {"loose": conda.CondaFiles(files=[LooseEntry(path="../x", sha256="e" * 64)])},
        {"loose": conda.CondaFiles(files=[LooseEntry(path="conda-meta/x", sha256="e" * 64)])},
        {"packages": [condas.package("a"), condas.package("a")]},
    ],
)
def test_a_lock_says_no_such_thing_of_a_prefix(changes: dict[str, Any]) -> None:
    layer = msgspec.structs.replace(condas.layer(condas.package("a")), **changes)
    with pytest.raises(LockError, match="conda"):
        loads(dumps(lock(conda=layer)))
