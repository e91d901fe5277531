"""Linking what a lock names: what cannot be linked is refused, and nothing is left behind."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from envfreeze.build import conda
from envfreeze.errors import ArtifactError, LockError, UsageError
from envfreeze.model.lock import Artifact, InterpreterLayer
from envfreeze.progress import Progress
from tests.support import condas
from tests.support.channel import Channel, Recipe
from tests.support.locks import interpreter, lock


def plan(place: Path, recipe: Recipe) -> conda.CondaPlan:
    path = Channel(place / "channel").add(recipe)
    content = path.read_bytes()
    artifact = Artifact(
        name=path.name,
        url=f"{condas.CHANNEL}/linux-64/{path.name}",
        size=len(content),
        hashes={"sha256": hashlib.sha256(content).hexdigest()},
    )
    package = condas.package(recipe.name, fn=path.name, artifact=artifact)
    facts = interpreter(prefix="/opt/env", purelib="/opt/env/lib/python3.11/site-packages")
    made = lock(
        conda=condas.layer(package),
        interpreter=InterpreterLayer(facts=facts, origin="conda"),
    )
    return conda.CondaPlan(lock=made, artifacts={artifact.sha256: path}, into=place / "prefix")


@pytest.mark.parametrize("kind", ["conda", "tar.bz2"])
@pytest.mark.parametrize("path", ["../escape", "/abs/escape", "a/../../escape"])
def test_no_package_leads_out_of_the_prefix(tmp_path: Path, path: str, kind: str) -> None:
    made = plan(tmp_path, Recipe(name="bad", files={path: b"x"}, kind=kind))
    with pytest.raises(LockError, match="outside the prefix"):
        conda.build(made, Progress())
    assert sorted(one.name for one in tmp_path.iterdir()) == ["channel"]


@pytest.mark.parametrize("kind", ["conda", "tar.bz2"])
def test_a_package_is_linked(tmp_path: Path, kind: str) -> None:
    made = plan(tmp_path, Recipe(name="good", files={"share/x": b"x"}, kind=kind))
    conda.build(made, Progress())
    assert (tmp_path / "prefix/share/x").read_bytes() == b"x"
    names = sorted(one.name for one in (tmp_path / "prefix/conda-meta").iterdir())
    assert names == ["good-1.0-h0_0.json", "history"]
    with pytest.raises(UsageError, match="not empty"):
        conda.build(made, Progress())


def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    made = plan(tmp_path, Recipe(name="bad", files={"share/x": b"x"}))
    (path,) = made.artifacts.values()
    path.write_bytes(b"no package")
    with pytest.raises(ArtifactError):
        conda.build(made, Progress())
    assert not (tmp_path / "prefix").exists()
