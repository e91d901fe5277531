"""Commands that an installer left in ``bin`` and named nowhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envfreeze.store import Cache
from tests.support.environments import Environment
from tests.support.pythons import parameters


def scripts(env: Environment) -> dict[str, tuple[str | None, bool, str | None]]:
    found = [site for site in env.snapshot().sites if site.kind == "scripts"]
    return {e.path: (e.sha256, e.executable, e.link) for site in found for e in site.loose}


@pytest.mark.parametrize("python", parameters())
def test_a_bare_venv_has_none(python: Path, tmp_path: Path) -> None:
    env = Environment.make(python, tmp_path / "env")
    env.install(
        "tool",
        extra={"entry_points.txt": "[console_scripts]\ntool = tool:main\n"},
        rows=["../../../bin/tool,,"],
    )
    (env.prefix / "bin/tool").write_text("#!/usr/bin/env python\n")
    assert scripts(env) == {}


@pytest.mark.parametrize("python", parameters())
def test_those_that_nobody_owns(python: Path, tmp_path: Path) -> None:
    env = Environment.make(python, tmp_path / "env")
    bin_ = env.prefix / "bin"
    (bin_ / "mine").write_text(f"#!{env.python}\nprint(1)\n")
    (bin_ / "mine").chmod(0o755)
    (bin_ / "notes").write_text("text\n")
    (bin_ / "alias").symlink_to("mine")
    (bin_ / "lost").symlink_to("nowhere")
    (bin_ / "python3.99").symlink_to("python")
    (bin_ / "directory").mkdir()
    os.mkfifo(bin_ / "pipe")
    found = scripts(env)
    assert set(found) == {"mine", "notes", "alias"}
    assert found["mine"][1] is True
    assert found["alias"] == (None, False, "mine")
    assert {"dangling-link", "unreadable"} <= env.kinds()


def test_the_interpreter_in_its_first_line_does_not_count(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two with a space"):
        env = Environment.make(Path(os.path.realpath("/proc/self/exe")), tmp_path / name)
        (env.prefix / "bin/mine").write_text(f"#!{env.python}\nprint(1)\n")
        digests.append(scripts(env)["mine"][0])
    assert digests[0] == digests[1] is not None


def test_an_earlier_answer_does_not_hold_after_a_change(tmp_path: Path) -> None:
    env = Environment.make(Path(os.path.realpath("/proc/self/exe")), tmp_path / "env")
    cache = Cache(tmp_path / "cache")
    assert not [s for s in env.observe(cache).snapshot.sites if s.kind == "scripts"]
    (env.prefix / "bin/mine").write_text("#!/bin/sh\n")
    (site,) = [s for s in env.observe(cache).snapshot.sites if s.kind == "scripts"]
    first = site.loose[0].sha256
    (env.prefix / "bin/mine").write_text("#!/bin/sh\necho\n")
    (site,) = [s for s in env.observe(cache).snapshot.sites if s.kind == "scripts"]
    assert site.loose[0].sha256 not in {None, first}
