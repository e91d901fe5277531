"""An earlier result is used only while all that it was made from is as it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from envfreeze.model.lock import Artifact, Lock, Package, PackageFacts, PackageTool, dumps
from envfreeze.resolve.frozen import Frozen, stamp, still
from envfreeze.resolve.memory import Terms, recall, remember
from envfreeze.store import Cache, Sidecar
from tests.support import locks

FINGERPRINT = "f" * 64


def _lock(cache: Cache, evidence: str = "2 files equal the RECORD of x.whl") -> Lock:
    """A lock whose interpreter really lies in the cache."""
    with cache.writing() as blob:
        blob.write(b"an interpreter")
    lock = locks.lock()
    artifact = Artifact(
        path=f"env.lock.d/{blob.sha256}/python.tar.gz",
        size=blob.size,
        hashes={"sha256": blob.sha256},
    )
    layer = msgspec.structs.replace(lock.machine.interpreter, archive=artifact)
    machine = msgspec.structs.replace(lock.machine, interpreter=layer)
    facts = PackageFacts(proof="proved", evidence=evidence, tree="a" * 64, info="x-1.dist-info")
    wheel = Artifact(url="https://index.example/x.whl", size=1, hashes={"sha256": "b" * 64})
    package = Package(name="x", version="1", wheels=[wheel], tool=PackageTool(envfreeze=facts))
    tool = msgspec.structs.replace(lock.tool, envfreeze=machine)
    return msgspec.structs.replace(lock, packages=[package], tool=tool)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def terms(cache: Cache, tmp_path: Path) -> Terms:
    return Terms(
        cache=cache,
        sidecar=Sidecar(tmp_path / "env.lock"),
        offline=False,
        pack=True,
        settings=lambda _facts: "settings",
    )


@pytest.fixture
def library(tmp_path: Path) -> Path:
    path = tmp_path / "libx.so"
    path.write_bytes(b"1")
    return path


@pytest.fixture
def frozen(cache: Cache, library: Path) -> Frozen:
    lock = _lock(cache)
    return Frozen(
        lock=lock,
        text=dumps(lock),
        found=1,
        counts=Counter(proved=1),
        problems=[],
        watched={str(library): stamp(str(library))},
    )


def test_the_same_question_gets_the_same_answer(frozen: Frozen, terms: Terms) -> None:
    assert recall(FINGERPRINT, terms) is None
    remember(FINGERPRINT, frozen, terms)
    assert recall(FINGERPRINT, terms) == frozen


CHANGES: dict[str, Callable[[Terms], Terms]] = {
    "offline": lambda terms: replace(terms, offline=True),
    "no-pack": lambda terms: replace(terms, pack=False),
    "more packages": lambda terms: replace(terms, scope="all"),
    "another lock": lambda terms: replace(terms, sidecar=Sidecar(Path("other.lock"))),
    "other indexes": lambda terms: replace(terms, settings=lambda _facts: "others"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_another_question_is_asked_anew(
    frozen: Frozen, terms: Terms, change: Callable[[Terms], Terms]
) -> None:
    remember(FINGERPRINT, frozen, terms)
    assert recall(FINGERPRINT, change(terms)) is None
    assert recall("e" * 64, terms) is None


def test_a_changed_library_is_seen(frozen: Frozen, terms: Terms, library: Path) -> None:
    remember(FINGERPRINT, frozen, terms)
    library.write_bytes(b"22")
    assert recall(FINGERPRINT, terms) is None
    library.unlink()
    assert not still(frozen.watched)
    assert recall(FINGERPRINT, terms) is None


def test_packed_bytes_that_are_gone_are_packed_again(frozen: Frozen, terms: Terms) -> None:
    remember(FINGERPRINT, frozen, terms)
    archive = frozen.lock.machine.interpreter.archive
    assert archive is not None
    terms.cache.discard(archive.sha256)
    assert recall(FINGERPRINT, terms) is None


def test_what_may_come_out_better_is_tried_again(
    frozen: Frozen, terms: Terms, cache: Cache
) -> None:
    remember(None, frozen, terms)
    remember(FINGERPRINT, replace(frozen, problems=["an index did not answer"]), terms)
    assert recall(FINGERPRINT, terms) is None


@pytest.mark.parametrize("later", [600, -1])
def test_that_no_index_has_a_wheel_is_believed_for_ten_minutes(
    frozen: Frozen, terms: Terms, cache: Cache, monkeypatch: pytest.MonkeyPatch, later: int
) -> None:
    lock = _lock(cache, "rebuilt from the installed files: no index")
    packed = replace(frozen, lock=lock, text=dumps(lock))
    now = [1_800_000_000.0]
    monkeypatch.setattr("envfreeze.resolve.memory.time.time", lambda: now[0])
    remember(FINGERPRINT, packed, terms)
    now[0] += 599
    assert recall(FINGERPRINT, terms) == packed
    now[0] += later - 599  # Or somebody set the clock back.
    assert recall(FINGERPRINT, terms) is None
    offline = replace(terms, offline=True)
    remember(FINGERPRINT, packed, offline)
    assert recall(FINGERPRINT, offline) == packed


def test_a_damaged_note_is_no_memory(frozen: Frozen, terms: Terms) -> None:
    remember(FINGERPRINT, frozen, terms)
    for note in (terms.cache.root / "frozen").rglob("*.json"):
        note.write_bytes(b'{"lock": 5}')
    assert recall(FINGERPRINT, terms) is None
