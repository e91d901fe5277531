"""Locks in a real git repository: revisions, the driver, its set-up, the hooks and the action."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ruamel.yaml import YAML
from typer.main import get_command

from envfreeze.cli import main
from envfreeze.errors import Exit
from envfreeze.model.lock import Lock, dumps
from envfreeze.workflow import gitdriver
from tests.support import envs
from tests.support.fakeindex import make_wheel
from tests.support.locks import lock
from tests.support.machines import sealed

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


class Repository:
    """A repository with two commits of one lock: numpy 1.0, then 2.0."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.git("init", "-q", "-b", "main")
        (place / "sub").mkdir()
        for version in ("1.0", "2.0"):
            self.write("env.lock", self.locked(version))
            self.commit(f"numpy {version}")

    def git(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.place, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
        return done.stdout

    def commit(self, message: str) -> None:
        self.git("add", "-A", ".")
        self.git("commit", "-q", "-m", message)

    def write(self, name: str, made: Lock) -> None:
        (self.place / name).write_text(dumps(made))

    def locked(self, version: str, **machine: Any) -> Lock:
        wheel = make_wheel(self.place.parent / "wheels", "numpy", version, {"numpy.py": version})
        made = msgspec.structs.replace(lock(**machine), packages=[envs.package_of(wheel)])
        return sealed(made)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    for name in [n for n in os.environ if n.startswith(("GIT_", "ENVFREEZE_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home/config"))
    monkeypatch.setenv("ENVFREEZE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    # Above it there may be a repository: the one that these tests lie in.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "T")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "t@index.example")
    (tmp_path / "wheels").mkdir()
    (tmp_path / "repo").mkdir()
    monkeypatch.chdir(tmp_path / "repo")
    return Repository(tmp_path / "repo")


def call(*arguments: object) -> int:
    """Run the command line in this process; its exit code."""
    with pytest.raises(SystemExit) as caught:
        main.run([str(a) for a in arguments])
    return int(caught.value.code or 0)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must end so, and what it printed, on stdout or, failing, on stderr."""

    def run(*arguments: object, code: int = 0) -> str:
        capsys.readouterr()
        assert call(*arguments) == code, capsys.readouterr().err
        out, err = capsys.readouterr()
        return out if code < Exit.USAGE else err

    return run


# --- revisions -------------------------------------------------------------------------------


def test_a_revision_against_the_lock_that_lies_here(
    repository: Repository, said: Callable[..., str]
) -> None:
    assert said("diff", "--git", "HEAD").startswith("equal: HEAD:env.lock and env.lock")
    out = said("diff", "--git", "HEAD~1", code=1)
    assert "\n1 difference: HEAD~1:env.lock -> env.lock\n" in out
    assert "numpy  1.0 -> 2.0" in out
    repository.write("env.lock", repository.locked("3.0"))
    assert "numpy  2.0 -> 3.0" in said("diff", "--git", "HEAD", code=1)


@pytest.mark.parametrize("revisions", ["HEAD~1..HEAD", "HEAD~1..", "HEAD~1...HEAD"])
def test_two_revisions(repository: Repository, said: Callable[..., str], revisions: str) -> None:
    repository.write("env.lock", repository.locked("3.0"))  # Which is not asked for.
    assert "numpy  1.0 -> 2.0" in said("diff", "--git", revisions, code=1)


def test_three_dots_begin_where_the_two_parted(
    repository: Repository, said: Callable[..., str]
) -> None:
    repository.git("branch", "other", "HEAD~1")
    repository.git("checkout", "-q", "other")
    (repository.place / "more.txt").write_text("x")
    repository.commit("another file")
    # The lock that main changed meanwhile is no difference of this branch.
    assert said("diff", "--git", "main...other").startswith("equal: ")
    assert said("diff", "--git", "main..other", code=1)


def test_a_lock_elsewhere_and_as_json(repository: Repository, said: Callable[..., str]) -> None:
    out = said("diff", "--git", "HEAD~1", "env.lock", "--json", code=1)
    assert [change["name"] for change in json.loads(out)["changes"]] == ["numpy"]
    os.chdir(repository.place / "sub")
    assert "1.0 -> 2.0" in said("diff", "--git", "HEAD~1..HEAD", "../env.lock", code=1)


def test_files_of_a_revision_come_from_the_cache(
    repository: Repository, said: Callable[..., str]
) -> None:
    from envfreeze.store import Cache

    out = said("diff", "--git", "HEAD~1", "--files", code=1)
    assert "numpy-1.0-py3-none-any.whl is not in the cache" in out
    for wheel in (repository.place.parent / "wheels").iterdir():
        Cache().add(wheel)
    out = said("diff", "--git", "HEAD~1", "--files", "--json", code=1)
    found = {file["path"]: file for file in json.loads(out)["files"]}
    assert "-1.0\n" in found["site/numpy.py"]["diff"]
    assert "+2.0\n" in found["site/numpy.py"]["diff"]


def test_a_document_has_no_files(repository: Repository, said: Callable[..., str]) -> None:
    Path("requirements.txt").write_text("numpy==1.0\n")
    assert "requirements.txt, another tool's document, has none" in said(
        "diff", "--files", "env.lock", "requirements.txt", code=Exit.USAGE
    )


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--git", "nope"], Exit.USAGE, "no revision nope"),
        (["--git", "--output=x"], Exit.USAGE, "not the name of a revision"),
        (["--git", "HEAD:env.lock"], Exit.USAGE, "not the name of a revision"),
        (["--git", "-x..HEAD"], Exit.USAGE, "not the name of a revision"),
        (["--git", "HEAD", "absent.lock"], Exit.BAD_LOCK, "is not in the revision HEAD"),
        (["--git", "HEAD", "a.lock", "b.lock"], Exit.USAGE, "two are named"),
        (["--git", "HEAD", "absent/env.lock"], Exit.USAGE, "no such directory"),
        (["--git", "HEAD", "."], Exit.USAGE, "names no lock"),
        (["env.lock"], Exit.USAGE, "two sides"),
    ],
)
def test_what_cannot_be_compared_is_named(
    repository: Repository,
    said: Callable[..., str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    assert words in said("diff", *arguments, code=code)
    assert not (repository.place / "x").exists()


def test_outside_a_repository(
    repository: Repository, said: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chdir(repository.place.parent)
    assert "in no git repository" in said("diff", "--git", "HEAD", code=Exit.USAGE)
    monkeypatch.setenv("PATH", str(repository.place / "sub"))
    assert "git is not installed" in said("diff", "--git", "HEAD", code=Exit.USAGE)


def test_a_commit_that_has_no_lock_of_ours(
    repository: Repository, said: Callable[..., str]
) -> None:
    (repository.place / "env.lock").write_text("no = 'lock'\n")
    repository.commit("broken")
    assert "HEAD:env.lock" in said("diff", "--git", "HEAD", code=Exit.BAD_LOCK)


def test_no_program_of_the_repository_runs(
    repository: Repository, said: Callable[..., str]
) -> None:
    (repository.place / ".gitattributes").write_text("*.lock diff=evil filter=evil\n")
    for key in ("diff.evil.textconv", "filter.evil.smudge", "core.fsmonitor", "core.pager"):
        repository.git("config", key, "touch was-run;")
    assert said("diff", "--git", "HEAD~1", code=1)
    assert not (repository.place / "was-run").exists()


# --- the driver ------------------------------------------------------------------------------


@pytest.fixture
def driven(
    repository: Repository, said: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> Repository:
    """A repository where the driver is set up, and called as this interpreter's envfreeze."""
    program = f"{shlex.quote(sys.executable)} -m envfreeze"
    monkeypatch.setattr(gitdriver, "_program", lambda: program)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    out = said("git", "setup")
    assert ".gitattributes: /env.lock diff=envfreeze" in out
    assert "diff.envfreeze.textconv" in out
    repository.commit("set up")
    return repository


def test_git_diff_and_git_log_show_what_differs(driven: Repository) -> None:
    driven.write("env.lock", driven.locked("3.0"))
    out = driven.git("diff")
    assert out.startswith("diff --envfreeze a/env.lock b/env.lock\n")
    assert "\n1 difference: a/env.lock -> b/env.lock\n" in out
    assert "numpy  2.0 -> 3.0" in out
    out = driven.git("log", "-p", "-1", "HEAD~1", "--", "env.lock")
    assert re.search(r"^-package numpy 1\.0 proved \w+\n\+package numpy 2\.0 proved", out, re.M)
    assert "sha256" not in out


def test_git_does_not_fail_on_what_is_no_lock(driven: Repository) -> None:
    (driven.place / "env.lock").write_text("<<<<<<< ours\n")
    out = driven.git("diff")
    assert out.startswith("diff --envfreeze a/env.lock b/env.lock\n")
    assert "+<<<<<<< ours" in out
    driven.commit("broken")
    assert "+<<<<<<< ours" in driven.git("log", "-p", "-1")


def test_git_does_not_fail_on_rules_that_cannot_be_read(
    repository: Repository, said: Callable[..., str]
) -> None:
    rules = repository.place / "pyproject.toml"
    rules.write_text("[[tool.envfreeze.rules]]\nid = 1\n")
    said("diff", "--git", "HEAD~1", code=Exit.USAGE)
    repository.write("b.lock", repository.locked("3.0"))
    rest = ("a" * 40, "100644")
    assert "2.0 -> 3.0" in said("git", "diff", "--", "x", "env.lock", *rest, "b.lock", *rest)


def test_a_new_and_a_deleted_lock_are_shown_whole(
    repository: Repository, said: Callable[..., str]
) -> None:
    rest = ("a" * 40, "100644")
    out = said("git", "diff", "--", "env.lock", "/dev/null", ".", ".", "env.lock", *rest)
    assert "+package numpy 2.0 proved" in out
    out = said("git", "diff", "--", "env.lock", "env.lock", *rest, "/dev/null", ".", ".")
    assert "-package numpy 2.0 proved" in out


def test_a_renamed_and_an_unmerged_lock(repository: Repository, said: Callable[..., str]) -> None:
    rest = ("a" * 40, "100644")
    repository.write("b.lock", repository.locked("3.0"))
    more = ("b.lock", "similarity index 90%\n")
    out = said("git", "diff", "--", "a.lock", "env.lock", *rest, "b.lock", *rest, *more)
    assert out.startswith("diff --envfreeze a/a.lock b/b.lock\n")
    assert "\n1 difference: a/a.lock -> b/b.lock\n" in out
    assert said("git", "diff", "--", "env.lock") == "* Unmerged path env.lock\n"


def test_text_of_another_file_is_the_file(repository: Repository, said: Callable[..., str]) -> None:
    (repository.place / "other.lock").write_text("any = 'thing'\n")
    assert said("git", "text", "--", "other.lock") == "any = 'thing'\n"
    assert said("git", "text", "--", "absent.lock") == ""


# --- its set-up ------------------------------------------------------------------------------


def test_setup_twice_changes_nothing(repository: Repository, said: Callable[..., str]) -> None:
    (repository.place / ".gitattributes").write_text("*.png binary")
    assert len(said("git", "setup", "sub/train.lock").splitlines()) == 3
    files = [repository.place / name for name in (".gitattributes", ".git/config")]
    before = [path.read_bytes() for path in files]
    assert before[0] == b"*.png binary\n/sub/train.lock diff=envfreeze\n"
    assert said("git", "setup", "sub/train.lock") == "it is set up already\n"
    assert [path.read_bytes() for path in files] == before


def test_setup_for_all_repositories(repository: Repository, said: Callable[..., str]) -> None:
    os.chdir(repository.place.parent)
    said("git", "setup", "--global")
    home = repository.place.parent / "home"
    assert (home / "config/git/attributes").read_text() == "env.lock diff=envfreeze\n"
    assert "git diff --" in repository.git("config", "--global", "diff.envfreeze.command")
    assert "diff: envfreeze" in repository.git("check-attr", "diff", "sub/env.lock")


@pytest.mark.parametrize(
    "line", ["/env.lock diff=other", "env.lock -diff", "env.lock text diff=json", "env.lock binary"]
)
def test_setup_overwrites_no_attribute(
    repository: Repository, said: Callable[..., str], line: str
) -> None:
    attributes = repository.place / ".gitattributes"
    attributes.write_text(line + "\n")
    assert "says already how" in said("git", "setup", code=Exit.USAGE)
    assert attributes.read_text() == line + "\n"
    assert "envfreeze" not in (repository.place / ".git/config").read_text()


def test_setup_overwrites_no_setting(repository: Repository, said: Callable[..., str]) -> None:
    repository.git("config", "diff.envfreeze.textconv", "mine")
    assert "is something else already: mine" in said("git", "setup", code=Exit.USAGE)
    assert not (repository.place / ".gitattributes").exists()
    assert "git config --local --unset-all" in said("git", "setup", code=Exit.USAGE)


def test_setup_writes_through_no_link(repository: Repository, said: Callable[..., str]) -> None:
    other = repository.place.parent / "elsewhere"
    (repository.place / ".gitattributes").symlink_to(other)
    assert "is a link" in said("git", "setup", code=Exit.USAGE)
    assert not other.exists()


def test_setup_replaces_what_an_envfreeze_of_another_place_has_set(
    repository: Repository, said: Callable[..., str]
) -> None:
    for old in (
        "'/old place/bin/envfreeze' git diff --",
        "/old/python -I -m envfreeze git diff --",
    ):
        repository.git("config", "diff.envfreeze.command", old)
        assert "diff.envfreeze.command" in said("git", "setup")
        assert "old" not in repository.git("config", "diff.envfreeze.command")
    repository.git("config", "diff.envfreeze.command", "not-envfreeze git diff --")
    assert "something else already" in said("git", "setup", code=Exit.USAGE)


def test_a_lock_in_a_place_with_a_space(repository: Repository, said: Callable[..., str]) -> None:
    (repository.place / "a b").mkdir()
    assert ".gitattributes: env.lock diff=envfreeze" in said("git", "setup", "a b/env.lock")
    assert "diff: envfreeze" in repository.git("check-attr", "diff", "a b/env.lock")
    assert "cannot hold plainly" in said("git", "setup", "a b.lock", code=Exit.USAGE)


# --- hooks and the action --------------------------------------------------------------------


def test_check_tells_what_a_hook_must_know(
    repository: Repository, said: Callable[..., str]
) -> None:
    assert said("git", "check", "env.lock") == ""
    repository.write("no.lock", repository.locked("1.0", hermetic=False))
    code = Exit.NOT_HERMETIC
    assert "no.lock is not hermetic" in said("git", "check", "env.lock", "no.lock", code=code)
    (repository.place / "bad.lock").write_text("<<<<<<<\n")
    assert "bad.lock" in said("git", "check", "bad.lock", code=Exit.BAD_LOCK)


def loaded(name: str) -> Any:
    return YAML(typ="safe").load((ROOT / name).read_text())


def words_of_command(words: list[str]) -> Any:
    """The command of ours that *words* call."""
    assert words[0] == "envfreeze"
    found: Any = get_command(main.app)
    for word in words[1:]:
        if word not in getattr(found, "commands", {}):
            break
        found = found.get_command(None, word)
    assert not hasattr(found, "commands"), words
    return found


def test_the_hooks_call_what_there_is() -> None:
    hooks = loaded(".pre-commit-hooks.yaml")
    assert [hook["id"] for hook in hooks] == ["envfreeze-check", "envfreeze-verify"]
    for hook in hooks:
        words_of_command(shlex.split(hook["entry"]))
        assert hook["language"] in {"python", "system"}
        assert hook["description"]
    assert re.search(hooks[0]["files"], "sub/env.lock")
    assert not re.search(hooks[0]["files"], "poetry.lock")


def test_the_action_calls_what_there_is_and_trusts_nothing() -> None:
    action = loaded("action.yml")
    assert action["runs"]["using"] == "composite"
    steps = [step for step in action["runs"]["steps"] if "run" in step]
    assert len(steps) >= 3
    for step in steps:
        assert "${{" not in step["run"], step["name"]
        assert step["shell"] == "bash"
        used = set(re.findall(r"\$\{?([A-Z_]+)", step["run"]))
        assert used <= {*step["env"], "PATH", "RUNNER_TEMP", "GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"}
        done = subprocess.run(["bash", "-n"], input=step["run"], text=True, check=False)
        assert done.returncode == 0
    calls = re.findall(r"^\s*(envfreeze [^|>]*)", "\n".join(s["run"] for s in steps), re.M)
    assert calls
    for text in calls:
        words = shlex.split(text)
        command = words_of_command(words)
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} - {"--"} <= known


class Runner:
    """A runner that carries out the steps of the action, with stand-ins for what it calls.

    ``envfreeze`` says what it was asked and exits as told; ``gh`` keeps what it was asked.
    """

    def __init__(self, repository: Repository, place: Path) -> None:
        self.repository = repository
        self.place = place
        steps = loaded("action.yml")["runs"]["steps"]
        self._scripts = {step["name"]: step["run"] for step in steps}
        self.tool("temp/envfreeze/bin/envfreeze", 'printf "%s\\n" "$@"; exit "$STATUS"')
        self.tool("bin/gh", 'echo "$*" >> "$RUNNER_TEMP/asked"; echo "$COMMENTS"')

    def tool(self, name: str, script: str) -> None:
        path = self.place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def step(self, name: str, **environ: str) -> int:
        here = {
            "PATH": f"{self.place / 'bin'}:{os.environ['PATH']}",
            "RUNNER_TEMP": str(self.place / "temp"),
            "GITHUB_OUTPUT": str(self.place / "output"),
            "GITHUB_STEP_SUMMARY": str(self.place / "summary"),
        }
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-c", self._scripts[name]],
            cwd=self.repository.place,
            env={**os.environ, **here, **environ},
            check=False,
        ).returncode

    def text(self, name: str) -> str:
        path = self.place / name
        return path.read_text() if path.exists() else ""


@pytest.fixture
def runner(repository: Repository, tmp_path: Path) -> Runner:
    return Runner(repository, tmp_path / "runner")


@pytest.mark.parametrize(("status", "said"), [("0", "differs=false\n"), ("1", "differs=true\n")])
def test_the_action_compares_with_the_base(runner: Runner, status: str, said: str) -> None:
    assert runner.step("Compare", BASE="HEAD~1", LOCK="env.lock", STATUS=status) == 0
    assert runner.text("output") == said
    asked = ["diff", "--git", "HEAD~1", "--format", "markdown", "--", "env.lock"]
    assert runner.text("summary").splitlines() == ["<!-- envfreeze diff -->", *asked]


def test_the_action_fails_where_the_lock_cannot_be_read(runner: Runner) -> None:
    assert runner.step("Compare", BASE="HEAD~1", LOCK="env.lock", STATUS="5") == 5
    assert runner.step("Compare", BASE="", LOCK="env.lock", STATUS="0") == 2


def test_the_action_takes_a_name_for_a_name(runner: Runner) -> None:
    name = "$(touch was-run)`touch was-run`;touch was-run"
    assert runner.step("Compare", BASE="HEAD~1", LOCK=name, STATUS="0") == 0
    assert "is new" in runner.text("summary")
    assert not (runner.repository.place / "was-run").exists()


def test_the_action_keeps_to_one_comment(runner: Runner) -> None:
    runner.step("Compare", BASE="HEAD~1", LOCK="env.lock", STATUS="1")
    where = {"REPOSITORY": "o/r", "NUMBER": "7", "GH_TOKEN": "x"}
    assert runner.step("Comment", COMMENTS="", **where) == 0
    assert "--method POST repos/o/r/issues/7/comments -F body=@" in runner.text("temp/asked")
    assert "PATCH" not in runner.text("temp/asked")
    assert runner.step("Comment", COMMENTS="41\n42", **where) == 0
    assert "--method PATCH repos/o/r/issues/comments/41 -F" in runner.text("temp/asked")
    assert runner.text("temp/asked").count("POST") == 1


def test_the_action_does_without_a_comment_that_it_may_not_write(runner: Runner) -> None:
    runner.step("Compare", BASE="HEAD~1", LOCK="env.lock", STATUS="1")
    gh = '[ "$2" = --paginate ] || { echo forbidden >&2; exit 1; }'
    runner.tool("bin/gh", gh)
    assert runner.step("Comment", REPOSITORY="o/r", NUMBER="7", GH_TOKEN="x") == 0


def test_the_action_cuts_a_long_comment(runner: Runner) -> None:
    (runner.place / "temp/envfreeze-diff.md").write_text("<!-- envfreeze diff -->\n" + "é" * 50_000)
    where = {"REPOSITORY": "o/r", "NUMBER": "7", "GH_TOKEN": "x", "COMMENTS": ""}
    assert runner.step("Comment", **where) == 0
    short = runner.text("temp/envfreeze-diff.md.short")
    assert len(short) < 65_536
    assert short.endswith("(cut here; the summary of the job has all of it)\n")
