"""``envfreeze cache``: where it is, whether it is whole, and making it smaller."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from envfreeze.cli import main
from envfreeze.store import Cache

DAY = 86400.0
KEY = "ab" * 32


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main.run(["cache", *map(str, arguments)])
    return int(caught.value.code or 0)


def aged(path: Path, days: float) -> Path:
    then = time.time() - days * DAY
    os.utime(path, (then, then))
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("ENVFREEZE_CACHE_DIR", str(tmp_path / "cache"))
    return Cache(tmp_path / "cache")


def put(cache: Cache, content: bytes) -> Path:
    with cache.writing() as blob:
        blob.write(content)
    found = cache.find(blob.sha256)
    assert found is not None
    return found


def test_dir(cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("dir") == 0
    assert capsys.readouterr().out == f"{cache.root}\n"
    assert call("dir", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "directory": str(cache.root)}


def test_verify_removes_the_damaged(cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = put(cache, b"good"), put(cache, b"bad")
    assert call("verify") == 0
    assert "2 files, 7 B, all whole" in capsys.readouterr().out
    bad.write_bytes(b"dab")
    assert call("verify", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["checked"], report["damaged"], report["stuck"]) == (2, [bad.name], [])
    assert good.exists()
    assert not bad.exists()
    assert call("verify") == 0


def test_verify_without_a_cache(cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("verify") == 0
    assert call("prune") == 0
    assert "0 entries removed, 0 B freed, 0 kept" in capsys.readouterr().out


def test_prune_removes_what_was_not_used(cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    old, new, used = put(cache, b"old"), put(cache, b"newer"), put(cache, b"used")
    cache.write_note("proofs", KEY, b"{}")
    note = cache.root / "proofs" / KEY[:2] / f"{KEY}.json"
    for path in (old, used, note):
        aged(path, 40)
    assert cache.find(used.name) is not None
    leftover = aged_new(cache.root / "blobs/.new.x", 2)
    at_work = aged_new(cache.root / "blobs/.new.y", 0.5)
    context = cache.root / "scratch/envfreeze-1"
    context.mkdir(parents=True)
    (context / "f").write_bytes(b"12345")
    aged(context, 2)
    foreign = aged_new(cache.root / "blobs/notes.txt", 99)
    assert call("prune") == 2
    said = capsys.readouterr().err
    assert "1 file and 2 leftovers and 1 note, 11 B" in said
    assert "--yes" in said
    assert old.exists()
    assert call("prune", "--yes", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "schema": 1, "directory": str(cache.root), "removed": 4, "freed": 11, "kept": 2,
    }  # fmt: skip
    assert new.exists()
    assert used.exists()
    assert at_work.exists()
    assert foreign.exists()
    assert not any(path.exists() for path in (old, note, leftover, context))


def aged_new(path: Path, days: float) -> Path:
    path.write_bytes(b"x")
    return aged(path, days)


def test_prune_takes_days_and_all(cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    two, ten = aged(put(cache, b"2"), 2), aged(put(cache, b"10"), 10)
    assert call("prune", "--older-than", 5, "-y", "-q") == 0
    assert (two.exists(), ten.exists()) == (True, False)
    assert call("prune", "--all", "-y") == 0
    assert "1 entry removed, 1 B freed, 0 kept" in capsys.readouterr().out
    assert not two.exists()


def test_what_is_used_meanwhile_stays(cache: Cache) -> None:
    aged(put(cache, b"x"), 90)
    (entry,) = cache.entries()
    assert cache.find(entry.sha256) is not None
    assert not cache.remove(entry)
    assert entry.path.exists()


def test_a_directory_chosen_badly_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVFREEZE_CACHE_DIR", str(tmp_path))
    (tmp_path / "work/ab").mkdir(parents=True)
    mine = aged_new(tmp_path / "work/ab/thesis.json", 900)
    (tmp_path / "real/ab").mkdir(parents=True)
    behind = aged_new(tmp_path / f"real/ab/{KEY}", 900)
    (tmp_path / "blobs").symlink_to("real")
    assert call("prune", "--all", "--yes") == 0
    assert mine.exists()
    assert behind.exists()
