"""The walk over a site directory: by one process or several, packed and looked at."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from envfreeze.probe import files, walk
from tests.support.pythons import parameters


def digest(found: walk.Walk) -> str:
    made = hashlib.sha256()
    found.feed(made)
    return made.hexdigest()


def test_walk(tmp_path: Path) -> None:
    (tmp_path / "a" / "__pycache__").mkdir(parents=True)
    (tmp_path / "a" / "__pycache__" / "x.pyc").write_text("")
    (tmp_path / "a" / "b.py").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    found = walk.walk(str(tmp_path))
    assert list(found.names) == list(found.regular) == ["a/b.py"]
    assert sorted(found.other) == ["fifo", "link"]
    there = (tmp_path / "a/b.py").stat()
    assert found.regular["a/b.py"] == files.STAMP(there)
    assert found.newest() == max(st.st_ctime_ns for st in (there, *found.other.values()))
    (tmp_path / "top").symlink_to(tmp_path)
    assert list(walk.walk(str(tmp_path / "top")).names) == ["a/b.py"]
    for nothing in ("gone", "a/b.py", "fifo", "a\0b"):
        found = walk.walk(str(tmp_path / nothing))
        assert (found.names, found.regular, found.other, found.newest()) == ({}, {}, {}, 0)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough files for several rounds."""
    top = tmp_path_factory.mktemp("large")
    for number in range(100):
        below = top / f"d{number}" / "below"
        below.mkdir(parents=True)
        for name in range(walk.ROUND // 50):
            (below / f"f{name}.py").write_bytes(b"x" * number)
        (below.parent / "link").symlink_to("nowhere")
    os.mkfifo(top / "d7" / "fifo")
    (top / "alone.py").write_text("")
    return top


@pytest.mark.parametrize("python", parameters())
def test_a_walk_that_copies_help_with_is_the_same(python: Path, large: Path) -> None:
    """As a program with one thread: the walk of a process with more is its own."""
    program = """
import os, sys
from probe import walk, workers
asked = []
workers.processors = lambda: 3
share = workers.share
workers.share = lambda *given: asked.append(share(*given)) or asked[-1]
together = walk.walk(sys.argv[1])
assert any(asked)
asked.clear()
workers.processors = lambda: 1
alone = walk.walk(sys.argv[1])
assert not any(asked)
assert list(together.regular.items()) == list(alone.regular.items())
assert list(together.other.items()) == list(alone.other.items())
for path, st in list(alone.regular.items()) + list(alone.other.items()):
    there = os.lstat(sys.argv[1] + "/" + path)
    assert all(getattr(st, name) == getattr(there, name) for name in st._fields)
print(len(alone.names), len(alone.other))
"""
    done = subprocess.run(
        [python, "-B", "-W", "error", "-c", program, large],
        cwd=Path(walk.__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout == f"{100 * (walk.ROUND // 50) + 1} 101\n"


@pytest.mark.parametrize("change", ["content", "mode", "mtime", "name", "new", "gone", "link"])
def test_its_digest_changes_with_what_lies_there(change: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("x")
    (tmp_path / "l").symlink_to("a")
    before = digest(walk.walk(str(tmp_path)))
    assert digest(walk.walk(str(tmp_path))) == before
    if change == "content":
        (tmp_path / "a").write_text("longer")
    elif change == "mode":
        (tmp_path / "a").chmod(0o700)
    elif change == "mtime":
        os.utime(tmp_path / "a", (1, 1))
    elif change == "name":
        (tmp_path / "a").rename(tmp_path / "c")
    elif change == "new":
        (tmp_path / "c").write_text("")
    elif change == "gone":
        (tmp_path / "b").unlink()
    else:
        (tmp_path / "l").unlink()
        (tmp_path / "l").symlink_to("b")
    assert digest(walk.walk(str(tmp_path))) != before


def test_a_number_of_more_than_63_bits_is_kept() -> None:
    """Some file systems hand out such inodes."""
    row = (1, 2**64 - 1, 3, -4, 5, 6)
    found = walk.Walk([("a\0b", walk._packed([*row, *range(6)]), {})])
    assert found.regular == {"a": row, "b": (0, 1, 2, 3, 4, 5)}
    assert found.newest() == 5
