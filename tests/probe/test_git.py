"""What git says of a tree, and that asking it runs nothing of the repository's."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from envfreeze.probe import git
from tests.support.projects import commit, push
from tests.support.projects import git as run


def look(directory: Path) -> git.Facts:
    program = git.program(dict(os.environ))
    place = git.find(str(directory))
    assert program and place
    return git.look(program, str(directory), place)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    made = tmp_path / "repo"
    (made / "pkg").mkdir(parents=True)
    (made / "pkg/__init__.py").write_text("X = 1\n")
    (made / "README").write_text("read\n")
    commit(made)
    return made


def test_a_plain_repository(repo: Path) -> None:
    facts = look(repo)
    assert facts.commit == run(repo, "rev-parse", "HEAD")
    assert (facts.branch, facts.url, facts.pushed, facts.subdirectory) == ("main", None, False, "")
    assert facts.tracked == {"README", "pkg/__init__.py"}
    assert facts.untracked == []
    name = hashlib.sha1(b"blob 5\0read\n").hexdigest()
    assert facts.tree["README"] == ("100644", name)


def test_from_a_subdirectory(repo: Path) -> None:
    (repo / "pkg/new.py").write_text("")
    facts = look(repo / "pkg")
    assert facts.subdirectory == "pkg"
    assert facts.tracked == set(facts.tree) == {"__init__.py"}
    assert facts.untracked == ["new.py"]


def test_names_of_any_bytes(repo: Path) -> None:
    names = [b"a\nb", b"sp ace", b"q\"'", b"\xff", "é".encode(), b"tab\t", b":(top)x", b"-n"]
    for name in names:
        Path(os.fsdecode(os.fsencode(repo) + b"/" + name)).write_text("")
    assert {os.fsencode(path) for path in look(repo).untracked} == set(names)
    commit(repo)
    facts = look(repo)
    assert {os.fsencode(path) for path in facts.tracked} >= set(names)
    assert {os.fsencode(path) for path in facts.tree} >= set(names)


def test_no_commit_yet(tmp_path: Path) -> None:
    run(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("")
    (tmp_path / "b").write_text("")
    run(tmp_path, "add", "a")
    facts = look(tmp_path)
    assert (facts.commit, facts.branch, facts.tree) == (None, "main", {})
    assert (facts.tracked, facts.untracked) == ({"a"}, ["b"])


def test_a_detached_head(repo: Path) -> None:
    run(repo, "checkout", "-q", "--detach")
    facts = look(repo)
    assert (facts.branch, facts.commit) == (None, run(repo, "rev-parse", "HEAD"))


# --- where it came from --------------------------------------------------------------------


def test_pushed_or_not(repo: Path, tmp_path: Path) -> None:
    push(repo, tmp_path / "remote")
    facts = look(repo)
    assert (facts.pushed, facts.url) == (True, str(tmp_path / "remote"))
    (repo / "more").write_text("")
    commit(repo)
    assert look(repo).pushed is False


def test_a_tag_of_ones_own_is_not_pushed(repo: Path) -> None:
    run(repo, "remote", "add", "origin", "https://mirror.example/x.git")
    run(repo, "tag", "v1")
    assert look(repo).pushed is False


def test_the_remote_that_has_it_is_named(repo: Path, tmp_path: Path) -> None:
    push(repo, tmp_path / "remote")
    (repo / "more").write_text("")
    commit(repo)
    run(tmp_path, "init", "-q", "--bare", "fork")
    run(repo, "remote", "add", "fork", str(tmp_path / "fork"))
    run(repo, "push", "-q", "fork", "HEAD")
    facts = look(repo)
    assert (facts.pushed, facts.url) == (True, str(tmp_path / "fork"))


def test_a_shallow_clone_of_a_tag(repo: Path, tmp_path: Path) -> None:
    run(repo, "tag", "v1")
    run(tmp_path, "clone", "-q", "--depth=1", "--branch=v1", repo.as_uri(), "shallow")
    facts = look(tmp_path / "shallow")
    assert (facts.pushed, facts.branch, facts.url) == (True, None, repo.as_uri())
    (tmp_path / "shallow/own").write_text("")
    commit(tmp_path / "shallow")
    assert look(tmp_path / "shallow").pushed is False


def test_a_work_tree_of_its_own(repo: Path, tmp_path: Path) -> None:
    push(repo, tmp_path / "remote")
    run(repo, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    (tmp_path / "side/new").write_text("")
    facts = look(tmp_path / "side")
    assert (facts.branch, facts.pushed, facts.untracked) == ("side", True, ["new"])


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://mirror.example/x.git", None),
        ("https://user:pass@mirror.example/x.git", "https://mirror.example/x.git"),
        ("https://token@mirror.example/x.git", "https://mirror.example/x.git"),
        ("https://u:p@ss@mirror.example/x", "https://mirror.example/x"),
        ("https://mirror.example/x?private_token=t#f", "https://mirror.example/x"),
        ("HTTP://u@mirror.example", "HTTP://mirror.example"),
        ("ssh://git@mirror.example:22/x", None),
        ("ssh://git:pass@mirror.example/x", "ssh://git@mirror.example/x"),
        ("git@mirror.example:me/x.git", None),
        ("/srv/git/x@y", None),
        ("file:///srv/a?b", None),
        ("ext::sh -c 'x' https://u@h", None),
        ("user:pass@mirror.example:me/x.git", "user@mirror.example:me/x.git"),
        ("https:\\\\u:pass@mirror.example\\x.git", "https://mirror.example/x.git"),
        ("https://mirror.example/__token__/pass/x.git", "https://mirror.example/x.git"),
        ("https://mirror.example/x.git;token=pass", "https://mirror.example/x.git"),
    ],
)
def test_urls_lose_their_credentials(url: str, clean: str | None) -> None:
    assert git.without_credentials(url) == (clean or url)


def test_credentials_of_a_remote(repo: Path) -> None:
    run(repo, "remote", "add", "origin", "https://u:secret@mirror.example/x.git")
    facts = look(repo)
    assert (facts.url, facts.credentials) == ("https://mirror.example/x.git", True)


# --- repositories in repositories ----------------------------------------------------------


def test_submodules(repo: Path, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "i.py").write_text("")
    first = commit(inner)
    run(repo, "submodule", "--quiet", "add", str(inner), "libs/inner")
    commit(repo)
    facts = look(repo)
    assert "libs/inner/i.py" in facts.tracked
    assert facts.submodules == [{"path": "libs/inner", "commit": first, "url": str(inner)}]
    assert facts.moved == []
    (repo / "libs/inner/own.py").write_text("")
    second = commit(repo / "libs/inner")
    facts = look(repo / "libs")
    assert facts.submodules == [{"path": "inner", "commit": second, "url": str(inner)}]
    assert facts.moved == ["inner"]


def test_a_submodule_that_was_never_fetched(repo: Path, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "i.py").write_text("")
    first = commit(inner)
    run(repo, "submodule", "--quiet", "add", str(inner), "lib")
    commit(repo)
    run(repo, "config", "-f", ".gitmodules", "submodule.lib.url", "https://u:p@mirror.example/i")
    run(repo, "submodule", "--quiet", "deinit", "-f", "lib")
    assert look(repo).submodules == [
        {"path": "lib", "commit": first, "url": "https://mirror.example/i"}
    ]


def test_a_repository_that_is_no_submodule(repo: Path) -> None:
    (repo / "vendored").mkdir()
    (repo / "vendored/v.py").write_text("")
    inner = commit(repo / "vendored")
    facts = look(repo)
    assert "vendored/v.py" in facts.tracked and "vendored/v.py" not in facts.untracked
    assert facts.submodules == [{"path": "vendored", "commit": inner}]


# --- what does not work --------------------------------------------------------------------


def test_there_is_no_git(tmp_path: Path) -> None:
    assert git.program({"PATH": str(tmp_path)}) is None
    (tmp_path / "git").write_text("#!/bin/sh\n")
    (tmp_path / "git").chmod(0o755)
    assert git.program({"PATH": str(tmp_path)}) == str(tmp_path / "git")
    assert git.program({"PATH": f"{tmp_path.name}:.:"}) is None


def test_no_repository(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: nowhere\n")
    place = git.find(str(tmp_path))
    assert place == (str(tmp_path), str(tmp_path / "nowhere"))
    (tmp_path / ".git").write_bytes(b"gitdir: a\0b\n")
    assert git.find(str(tmp_path)) != (str(tmp_path), str(tmp_path / "a\0b"))


@pytest.mark.parametrize("damage", ["empty", "version", "index", "head"])
def test_a_broken_repository(repo: Path, damage: str) -> None:
    if damage == "empty":
        subprocess.run(["rm", "-rf", repo / ".git"], check=True)
        (repo / ".git").mkdir()
    elif damage == "version":
        run(repo, "config", "core.repositoryFormatVersion", "99")
    elif damage == "index":
        (repo / ".git/index").write_bytes(b"DIRC nonsense")
    else:
        (repo / ".git/HEAD").write_text("nonsense\n")
    with pytest.raises(git.GitError, match="fails with status 128"):
        look(repo)


def test_a_program_that_never_ends(repo: Path, tmp_path: Path) -> None:
    slow = tmp_path / "git"
    slow.write_text("#!/bin/sh\nsleep 60 & sleep 60\n")
    slow.chmod(0o755)
    repository = git.Repository(str(slow), str(repo), (str(repo), "x"), git.Clock(0.3))
    with pytest.raises(git.GitError, match="did not answer"):
        repository.run("rev-parse")


def test_a_program_that_never_stops_talking(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loud = tmp_path / "git"
    loud.write_text("#!/bin/sh\nexec yes\n")
    loud.chmod(0o755)
    monkeypatch.setattr(git, "OUTPUT", 1 << 20)
    repository = git.Repository(str(loud), str(repo), (str(repo), "x"), git.Clock())
    with pytest.raises(git.GitError, match="more than can be looked at"):
        repository.run("rev-parse")


# --- hostile repositories ------------------------------------------------------------------

TRAPS = {
    "fsmonitor": ["core.fsmonitor=TRAP"],
    "hooks": ["core.hooksPath=HOOKS"],
    "filter-clean": ["filter.f.clean=TRAP", "filter.f.required=true"],
    "filter-process": ["filter.f.process=TRAP"],
    "filter-smudge": ["filter.f.smudge=TRAP"],
    "external-diff": ["diff.external=TRAP"],
    "textconv": ["diff.f.textconv=TRAP", "diff.f.command=TRAP"],
    "credentials": ["credential.helper=!TRAP"],
    "ssh": ["core.sshCommand=TRAP", "remote.origin.url=ssh://host/x"],
    "pager": ["core.pager=TRAP", "pager.ls-files=TRAP", "pager.config=TRAP"],
    "alias": ["alias.ls-files=!TRAP", "alias.rev-parse=!TRAP", "alias.config=!TRAP"],
    "editor": ["core.editor=TRAP", "sequence.editor=TRAP"],
    "askpass": ["core.askPass=TRAP", "remote.origin.url=https://mirror.invalid/x"],
    "refs": ["core.alternateRefsCommand=TRAP"],
    "gpg": ["gpg.program=TRAP", "log.showSignature=true"],
    "git-proxy": ["core.gitProxy=TRAP", "remote.origin.url=git://mirror.invalid/x"],
    "remote-helper": ["remote.origin.url=ext::TRAP", "protocol.ext.allow=always"],
    "remote-vcs": ["remote.origin.vcs=ext", "remote.origin.url=TRAP"],
    "upload-pack": ["remote.origin.uploadpack=TRAP", "remote.origin.url=/nowhere"],
    "include": ["include.path=included"],
    "work-tree": ["core.worktree=/"],
}


def trapped(repo: Path, settings: list[str]) -> Path:
    """A repository whose configuration would run a script; returns what the script makes."""
    marker = repo.parent / "marker"
    trap = repo.parent / "trap"
    trap.write_text(f"#!/bin/sh\ntouch '{marker}'\n")
    trap.chmod(0o755)
    hooks = repo.parent / "hooks"
    hooks.mkdir()
    for name in ("post-index-change", "fsmonitor-watchman", "post-checkout", "pre-auto-gc"):
        (hooks / name).symlink_to(trap)
    (repo / ".git/included").write_text(f'[core]\nfsmonitor = {trap}\n[filter "f"]\nclean={trap}\n')
    (repo / ".gitattributes").write_text("* filter=f diff=f\n")
    commit(repo)
    for setting in settings:
        key, _, value = setting.partition("=")
        value = value.replace("TRAP", str(trap)).replace("HOOKS", str(hooks))
        run(repo, "config", key, value)
    for path in repo.glob("**/*"):
        if ".git" not in path.parts and path.is_file():
            os.utime(path, (1, 1))  # The index no longer knows the files: their content decides.
    return marker


@pytest.mark.parametrize("name", TRAPS)
def test_a_repository_cannot_run_anything(repo: Path, name: str) -> None:
    marker = trapped(repo, TRAPS[name])
    (repo / "README").write_text("read\n")
    facts = look(repo)
    assert facts.tracked == {".gitattributes", "README", "pkg/__init__.py"}
    assert not marker.exists()


def test_the_traps_work(repo: Path) -> None:
    """So that the test above can fail: an ordinary question does run them."""
    marker = trapped(repo, TRAPS["fsmonitor"] + TRAPS["filter-clean"])
    run(repo, "status")
    assert marker.exists()


@pytest.mark.parametrize("kind", ["ext", "ssh", "helper"])
def test_a_partial_clone_fetches_nothing(repo: Path, tmp_path: Path, kind: str) -> None:
    """What a promisor remote should have is asked of it, by any command that misses it."""
    marker = trapped(repo, [])
    trap = tmp_path / "trap"
    url = {"ext": f"ext::{trap}", "ssh": "ssh://host/x", "helper": "x"}[kind]
    tree = run(repo, "rev-parse", "HEAD:pkg")
    for key, value in {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.partialCloneFilter": "tree:0",
        "remote.origin.url": url,
        "protocol.ext.allow": "always",
        "protocol.allow": "always",
        "core.sshCommand": str(trap),
        **({"remote.origin.vcs": "ext"} if kind == "helper" else {}),
    }.items():
        run(repo, "config", key, value)
    (repo / ".git/objects" / tree[:2] / tree[2:]).unlink()
    with pytest.raises(git.GitError):
        look(repo)
    assert not marker.exists()
    if kind == "ssh":  # The trap is real.
        subprocess.run(["git", "ls-tree", "-r", "HEAD"], cwd=repo, check=False, capture_output=True)
        assert marker.exists()


def test_the_callers_variables_do_not_count(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "o").write_text("")
    commit(other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "nonsense")
    monkeypatch.setenv("GIT_EXEC_PATH", str(tmp_path))
    assert look(repo).tracked == {"README", "pkg/__init__.py"}


def test_another_users_repository(repo: Path) -> None:
    """Root captures what belongs to somebody else: git's own check is for the unwary."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give files away")
    for path in [repo, *repo.glob("**/*")]:
        os.chown(path, 12345, 12345, follow_symlinks=False)
    assert look(repo).tracked == {"README", "pkg/__init__.py"}


def test_an_index_that_leads_outside(repo: Path) -> None:
    blob = run(repo, "rev-parse", "HEAD:README")
    run(repo, "update-index", "--add", "--cacheinfo", f"100644,{blob},secret_/x")
    index = repo / ".git/index"
    data = index.read_bytes().replace(b"secret_/x", b"../../e/x")[:-20]
    index.write_bytes(data + hashlib.sha1(data).digest())
    try:
        tracked = look(repo).tracked
    except git.GitError:
        return  # This git looks itself.
    assert not any(path.startswith("..") for path in tracked)


def test_what_a_file_of_git_lfs_stands_for() -> None:
    oid = "a" * 64
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12\n".encode()
    assert git.absent_content(text) == oid
    assert git.absent_content(b"x" + text) is None
    assert git.absent_content(text.replace(b"v1\n", b"v1\next-0-a sha256:b\n")) == oid
    assert git.absent_content(text + b" " * 2000) is None
