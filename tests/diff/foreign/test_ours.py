"""What envfreeze itself exports, held against the lock that it comes from: nothing differs."""

from __future__ import annotations

import pytest

from envfreeze.diff import foreign, view
from envfreeze.diff.compare import compare
from envfreeze.diff.foreign.place import place_of
from envfreeze.diff.foreign.sides import view_of
from envfreeze.model.lock import Lock
from envfreeze.render import conda
from tests.support import condas, locks

BESIDE = conda.Beside(directory=".", md5={"d" * 64: "e" * 32})


def lock() -> Lock:
    packages = [condas.package("zlib"), condas.package("python")]
    return locks.lock(conda=condas.layer(*packages, condas.packed("libx")))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("@EXPLICIT list", conda.explicit(lock(), BESIDE)),
        ("conda-lock.yml", conda.conda_lock(lock(), "env.lock", BESIDE)),
        ("environment.yml", conda.environment(lock(), "lab")),
        ("pixi.lock", conda.pixi(lock(), BESIDE)),
    ],
)
def test_an_export_is_no_other_environment(kind: foreign.Kind, text: str) -> None:
    assert foreign.recognized(f"x{'.lock' if kind == 'pixi.lock' else '.yml'}", text) == kind
    one = view.of_lock(lock(), "env.lock")
    document = foreign.read(kind, text, "x", place_of(one))
    assert {entry.name for entry in document.entries} == {"zlib", "python", "libx"}
    changes = compare(view_of(document, "x", one), one).changes
    assert [(c.name, c.before, c.after) for c in changes if c.counts] == []
