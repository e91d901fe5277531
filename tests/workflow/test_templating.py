"""A copy of the templates, changed, and what comes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from envfreeze import workflow
from envfreeze.data.templates import all_templates
from envfreeze.errors import UsageError
from envfreeze.render.dockerfile import DockerOptions, render
from tests.support.dockerfiles import parse
from tests.support.locks import BASE, lock


def test_a_copy_renders_the_same_and_a_changed_one_what_was_changed(tmp_path: Path) -> None:
    copy = tmp_path / "mine"
    assert workflow.templates(copy) == sorted(all_templates())
    options = DockerOptions(base=BASE, lock_sha256="e" * 64, templates=copy)
    plain = DockerOptions(base=BASE, lock_sha256="e" * 64)
    assert render(lock(), options) == render(lock(), plain)
    template = copy / "Dockerfile.j2"
    text = template.read_text().replace("USER {{ user }}", "COPY extra /srv\nUSER {{ user }}")
    template.write_text(text)
    before, after = (parse(render(lock(), one)["Dockerfile"]) for one in (plain, options))
    assert [one for one in after if one not in before] == [("COPY", ["extra /srv"])]
    assert len(after) == len(before) + 1


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile.j2").write_text("mine")
    with pytest.raises(UsageError, match=r"has Dockerfile\.j2 already"):
        workflow.templates(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["Dockerfile.j2"]
    with pytest.raises(UsageError, match="not a directory"):
        workflow.templates(tmp_path / "Dockerfile.j2")
