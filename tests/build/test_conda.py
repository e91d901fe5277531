"""Linking what a lock names: what cannot be linked is refused, and nothing is left behind."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from envfreeze.build import conda
from envfreeze.errors import ArtifactError, LockError, UsageError
from envfreeze.model.lock import Artifact, InterpreterLayer
from envfreeze.model.snapshot import CondaRecord, Snapshot
from envfreeze.progress import Progress
from envfreeze.resolve.conda import Means, lock_conda
from envfreeze.resolve.rootfs import Root
from envfreeze.store import Cache, Sidecar
from tests.support import condas
from tests.support.channel import Channel, Recipe, link, look
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


BOTH = "share/both"
ONES = tuple(Recipe(name=n, files={BOTH: n.encode(), "share/same": b"s"}) for n in ("one", "two"))


@pytest.mark.parametrize("winner", ["one", "two", None])
def test_of_two_packages_with_one_path_the_same_one_wins(
    tmp_path: Path, winner: str | None
) -> None:
    home = Channel(tmp_path / "channel")
    for recipe in ONES:
        home.add(recipe)
    home.write()
    prefix = link(tmp_path / "captured", home.root.as_uri(), ("one", "two"))
    if winner is not None:
        _as_conda_has_it(prefix, winner)
    captured = look(prefix)
    means = Means(
        cache=Cache(tmp_path / "cache"),
        sidecar=Sidecar(tmp_path / "env.lock"),
        progress=Progress(),
        http=None,
        pack=True,
        root=Root(),
    )
    locked = lock_conda(captured, means)
    assert locked is not None
    assert [(f.kind, f.detail) for f in locked.findings] == [
        ("overwritten", f"1 file overwritten by another conda package: {BOTH}")
    ]
    found = (means.cache.find(artifact.sha256) for artifact in locked.layer.artifacts)
    plan = conda.CondaPlan(
        lock=lock(conda=locked.layer),
        artifacts={path.name: path for path in found if path is not None},
        into=tmp_path / "rebuilt0",
    )
    conda.build(plan, Progress())
    assert (plan.into / BOTH).read_bytes() == (prefix / BOTH).read_bytes()
    assert not (plan.into / "__clobbers__").exists()
    assert [r.tree for r in records(look(plan.into))] == [r.tree for r in records(captured)]


def records(snapshot: Snapshot) -> list[CondaRecord]:
    assert snapshot.conda is not None
    return snapshot.conda.records


def _as_conda_has_it(prefix: Path, winner: str) -> None:
    """conda overwrites, the last package wins, and each record names what it brought."""
    shutil.rmtree(prefix / "__clobbers__")
    (prefix / BOTH).write_text(winner)
    for path in (prefix / "conda-meta").glob("*.json"):
        record = json.loads(path.read_text())
        for entry in record["paths_data"]["paths"]:
            entry["_path"] = entry.pop("original_path", entry["_path"])
        record["files"] = [entry["_path"] for entry in record["paths_data"]["paths"]]
        path.write_text(json.dumps(record))
