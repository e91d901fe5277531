"""Each command in a module of its own, which no other command waits for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from envfreeze.cli import commands, main
from envfreeze.cli.main import COMMANDS
from envfreeze.model.lock import dumps
from tests.support import locks
from tests.support.machines import sealed

LIGHT = {"envfreeze", "envfreeze.errors", "envfreeze.cli"}
LIGHT |= {f"envfreeze.cli.{name}" for name in ("commands", "guard", "main", "options", "terminal")}
"""What a command may load before it is known what it has to do."""
ALSO = {"build": {"envfreeze.cli.basing"}, "export": {"envfreeze.cli.basing"}}


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main.run([*arguments])
    return int(caught.value.code or 0)


def loaded(*arguments: str) -> set[str]:
    """Our modules that a process has which was called with *arguments*."""
    program = (
        "import json, sys\nfrom envfreeze.cli.main import run\n"
        f"try:\n    run({[*arguments]!r})\nexcept SystemExit:\n    pass\n"
        "print('\\n' + json.dumps(sorted(sys.modules)))"
    )
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    names = json.loads(done.stdout.splitlines()[-1])
    return {name for name in names if name.partition(".")[0] == "envfreeze"}


def test_every_module_is_a_command_and_listed_once(capsys: pytest.CaptureFixture[str]) -> None:
    there = {path.stem for path in Path(commands.__file__).parent.glob("*.py")} - {"__init__"}
    assert sorted(COMMANDS) == sorted(there)
    assert call("--help") == 0
    listed = capsys.readouterr().out.partition("\nCommands:\n")[2].partition("\n\n")[0]
    assert re.findall(r"^  ([a-z]+) ", listed, re.M) == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_loads_no_other(name: str) -> None:
    own = {f"envfreeze.cli.commands.{name}"} | ALSO.get(name, set())
    assert loaded(name, "--help") - LIGHT == own


def test_the_version_loads_no_command() -> None:
    assert not [name for name in loaded("--version") if name.startswith("envfreeze.cli.commands")]


def test_two_locks_are_compared_without_what_looks_at_targets(tmp_path: Path) -> None:
    path = tmp_path / "env.lock"
    path.write_text(dumps(sealed(locks.lock())))
    found = loaded("diff", str(path), str(path), "--quiet")
    assert "envfreeze.resolve.trees" in found  # It was not refused.
    beyond = {"envfreeze.targets", "envfreeze.targets.naming"}
    assert {name for name in found if name.startswith("envfreeze.targets")} <= beyond
    assert "envfreeze.workflow.reaching" not in found


def test_a_near_miss_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("dif") == 2
    assert "No such command 'dif'. Did you mean 'diff'?" in capsys.readouterr().err
    assert call("cache", "prun") == 2
    assert "No such command 'prun'. Did you mean 'prune'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "arguments", "said"),
    [
        ("ENVFREEZE_DIFF_FORMAT", ["diff", "a", "b"], "no format is called 'moon'"),
        ("ENVFREEZE_DIFF_ONLY", ["diff", "a", "b"], "no layer is called 'moon'"),
        ("ENVFREEZE_VERIFY_FAIL_ON", ["verify", "a"], "no level is called 'moon'"),
        ("ENVFREEZE_BUILD_TO", ["build", "a"], "--to moon: not something that can be built"),
        ("ENVFREEZE_EXPORT_KIND", ["export", "a"], "--format moon: not a format"),
        ("ENVFREEZE_CAPTURE_STRICT", ["capture"], "Invalid value for '--strict'"),
        ("ENVFREEZE_CACHE_PRUNE_OLDER_THAN", ["cache", "prune"], "'--older-than': 'moon'"),
        ("ENVFREEZE_GIT_SETUP_EVERYWHERE", ["git", "setup"], "'--global': 'moon'"),
    ],
)
def test_each_option_has_its_variable(
    variable: str,
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, "moon")
    assert call(*arguments) == 2
    assert said in capsys.readouterr().err
