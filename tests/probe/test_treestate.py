"""Whatever the answer about a source tree rests on moves its state; what it does not, need not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from envfreeze.probe import files, git, treestate
from tests.support.projects import commit, push
from tests.support.projects import git as run


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh stamps count, too."""
    monkeypatch.setattr(files, "SETTLED", -(10**12))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return home


@pytest.fixture
def tree(home: Path, tmp_path: Path) -> Path:
    """A subdirectory of a repository, with a file of each sort."""
    top = tmp_path / "repository"
    tree = top / "tree"
    (tree / "pkg").mkdir(parents=True)
    for name in ("pyproject.toml", "pkg/__init__.py", "pkg/data.bin"):
        (tree / name).write_text(name)
    (top / ".gitignore").write_text("*.bin\n")
    run(top, "init", "-q")
    commit(top)
    (tree / "untracked.py").write_text("1")
    return tree


def state(*roots: Path) -> treestate.State | None:
    program = git.program(os.environ)
    return treestate.of([os.path.realpath(root) for root in roots], program, os.environ)


def digest(*roots: Path) -> str:
    found = state(*roots)
    assert found is not None
    return str(found.digest.hexdigest())


def same_stamp(path: Path, text: str) -> None:
    """As an editor does that hides its traces: the size and the time of modification stay."""
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def excludes(tree: Path) -> None:
    run(tree, "config", "core.excludesFile", "~/mine")


CHANGES: dict[str, Callable[[Path], object]] = {
    "a tracked file": lambda tree: same_stamp(tree / "pkg/__init__.py", "pkg/__init__.PY"),
    "an ignored file": lambda tree: (tree / "pkg/data.bin").write_text("x"),
    "an untracked file": lambda tree: (tree / "untracked.py").unlink(),
    "a new file": lambda tree: (tree / "pkg/new.py").touch(),
    "a new directory with a file": lambda tree: commit_nothing(tree / "other"),
    "an executable bit": lambda tree: (tree / "untracked.py").chmod(0o755),
    "a file of another kind": lambda tree: relinked(tree / "untracked.py"),
    "the index": lambda tree: run(tree, "add", "."),
    "a commit": lambda tree: run(tree, "commit", "-q", "--allow-empty", "-m", "x"),
    "a branch": lambda tree: run(tree, "checkout", "-q", "-b", "other"),
    "a remote": lambda tree: run(tree, "remote", "add", "o", "https://git.example/x"),
    "what is pushed": lambda tree: push(tree.parent, tree.parent.parent / "bare"),
    "rules above": lambda tree: (tree.parent / ".gitignore").write_text("*.so\n"),
    "rules of the repository": lambda tree: (
        (tree.parent / ".git/info").mkdir(exist_ok=True),
        (tree.parent / ".git/info/exclude").write_text("*.py\n"),
    ),
    "a person's rules": lambda tree: written(Path.home() / ".config/git/ignore"),
    "a person's settings": lambda _: (Path.home() / ".gitconfig").write_text("[user]\nname=x\n"),
    "which rules are a person's": excludes,
    "a tree that is gone": lambda tree: tree.rename(tree.parent / "moved"),
    "a repository inside": lambda tree: run(tree / "pkg", "init", "-q"),
    "no repository": lambda tree: (tree.parent / ".git").rename(tree.parent / "git"),
}


def written(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("*.py\n")


def commit_nothing(directory: Path) -> None:
    directory.mkdir()
    (directory / "x.py").touch()


def relinked(path: Path) -> None:
    path.unlink()
    path.symlink_to("pkg/__init__.py")


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_a_change_moves_it(tree: Path, change: Callable[[Path], object]) -> None:
    before = digest(tree)
    assert digest(tree) == before
    change(tree)
    assert digest(tree) != before


def test_rules_in_a_file_that_settings_name(tree: Path, home: Path) -> None:
    excludes(tree)
    before = digest(tree)
    (home / "mine").write_text("*.py\n")
    assert digest(tree) != before


def test_what_a_link_leads_to(tree: Path, tmp_path: Path) -> None:
    (tree / "link").symlink_to(tmp_path / "elsewhere")
    before = digest(tree)
    (tmp_path / "elsewhere").touch()
    assert digest(tree) != before


def test_what_is_never_kept_does_not_count(tree: Path) -> None:
    (tree / ".venv" / "lib").mkdir(parents=True)
    (tree / ".venv" / "pyvenv.cfg").touch()
    before = digest(tree)
    (tree / ".venv" / "lib" / "x.py").touch()
    (tree / "pkg" / "__pycache__").mkdir()
    (tree / "pkg" / "__pycache__" / "x.pyc").touch()
    (tree / ".tox").mkdir()
    (tree / ".tox" / "x").touch()
    assert digest(tree) == before
    found = state(tree)
    assert found is not None
    assert found.covers(str(tree / "pkg"))
    assert not found.covers(str(tree / ".venv")) and not found.covers(str(tree / ".tox"))


def test_a_worktree_has_its_own_index_and_shared_references(tree: Path, tmp_path: Path) -> None:
    run(tree, "worktree", "add", "-q", str(tmp_path / "other"))
    other = tmp_path / "other" / "tree"
    before = digest(other)
    run(tree, "tag", "v1")
    assert digest(other) != before
    before = digest(other)
    run(other, "rm", "-q", "--cached", "pyproject.toml")
    assert digest(other) != before


def test_a_git_directory_that_comes_later(tree: Path, tmp_path: Path) -> None:
    (tree / "pkg" / ".git").write_text(f"gitdir: {tmp_path}/later\n")
    before = digest(tree)
    run(tmp_path, "init", "-q", "later")
    assert digest(tree) != before


def test_another_git_or_none(tree: Path, tmp_path: Path) -> None:
    without = treestate.of([str(tree)], None, os.environ)
    assert without is not None
    assert without.digest.hexdigest() != digest(tree)


def test_what_cannot_be_told(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "conda-meta").mkdir()
    assert state(tree) is None, "an environment in the tree's own directory"
    (tree / "conda-meta").rmdir()
    assert state(tree) is not None
    monkeypatch.setattr(treestate, "MOST", 3)
    assert state(tree) is None, "too many files"
    monkeypatch.setattr(treestate, "MOST", 1000)
    monkeypatch.setattr(files, "SETTLED", 10**12)
    assert state(tree) is None, "files that could change again with the same stamps"


def test_git_has_little_time_for_all_of_them(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(treestate, "SECONDS", 0)
    assert state(tree) is None


def test_a_git_file_of_an_enemy_may_lead_anywhere(tree: Path) -> None:
    (tree / "pkg" / ".git").write_text("gitdir: /\n")
    assert state(tree) is None, "more files than are looked at"
