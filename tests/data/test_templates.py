"""Templates are found in a checkout and in a wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

from envfreeze.data import templates
from envfreeze.data.templates import all_templates, template_text
from envfreeze.errors import UsageError


def test_found_in_this_installation() -> None:
    assert "FROM {{ base }}" in template_text("Dockerfile.j2")


def test_a_copy_holds_what_a_build_takes_and_not_the_page_of_a_report() -> None:
    names = set(all_templates())
    assert "Dockerfile.j2" in names
    assert not {"report.html.j2", "report.css", "report.js"} & names
    assert "<html" in template_text("report.html.j2")


def test_an_override_comes_first_and_need_not_have_all(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile.j2").write_text("mine")
    assert template_text("Dockerfile.j2", tmp_path) == "mine"
    assert "docker build" in template_text("docker-README.md.j2", tmp_path)


@pytest.mark.parametrize("place", ["envfreeze/templates", "templates"])
def test_found_inside_and_beside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "x.j2").write_text("x")
    monkeypatch.setattr(
        templates, "_PLACES", (tmp_path / "envfreeze/templates", tmp_path / "templates")
    )
    assert template_text("x.j2") == "x"


def test_missing_ones_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no-such\.j2"):
        template_text("no-such.j2")
    with pytest.raises(UsageError, match="not a directory"):
        template_text("Dockerfile.j2", tmp_path / "absent")
