"""What a conda, mamba or micromamba is asked to do; the real one is asked in tests/e2e."""

from __future__ import annotations

from pathlib import Path

import pytest

from envfreeze.build import conda, condaprogram
from envfreeze.errors import ArtifactError, UsageError
from envfreeze.progress import Progress
from tests.build.test_conda import plan
from tests.support.channel import Recipe, post_link_recipe

OPTIONS = "--prefix --file --offline --no-deps --yes --quiet"
LINKS = """\
while [ $# -gt 0 ]; do case $1 in --prefix) prefix=$2;; --file) file=$2;; esac; shift; done
[ ! -e "$prefix" ] || { echo "Non-conda folder exists at prefix"; exit 1; }
mkdir -p "$prefix/conda-meta" "$prefix/share"
cp "$file" "$prefix/share/explicit"
echo '{"paths_data": {"paths": []}, "requested_spec": "x", "extracted_package_dir": "y"}' \
> "$prefix/conda-meta/%s-1.0-h0_0.json"
"""


def program(place: Path, body: str, options: str = OPTIONS) -> condaprogram.Program:
    """A made-up program whose ``create`` does *body*, and what is found of it."""
    path = place / "program"
    path.write_text(
        f'#!/bin/sh\nif [ "$2" = --help ]; then echo "{options}"; exit; fi\n'
        f'echo "$@" > {place}/asked\necho "$CONDA_PKGS_DIRS" >> {place}/asked\n{body}'
    )
    path.chmod(0o755)
    return condaprogram.find(str(path), {"PATH": "/usr/bin:/bin"})


def build(place: Path, recipe: Recipe, found: condaprogram.Program, scripts: bool = False) -> None:
    from dataclasses import replace

    conda.build(replace(plan(place, recipe), program=found, scripts=scripts), Progress())


def test_it_gets_files_that_lie_here(tmp_path: Path) -> None:
    found = program(tmp_path, LINKS % "good")
    build(tmp_path, Recipe(name="good", files={"share/x": b"x"}), found)
    head, line = (tmp_path / "prefix/share/explicit").read_text().splitlines()
    assert head == "@EXPLICIT"
    url, _, md5 = line.partition("#")
    assert url.startswith("file:///") and url.endswith("/good-1.0-h0_0.conda")
    assert len(md5) == 32
    asked, packages = (tmp_path / "asked").read_text().splitlines()
    assert asked.startswith(f"create --prefix {tmp_path}/prefix --file ")
    assert asked.endswith("/explicit.txt --offline --no-deps --yes --quiet")
    assert packages.startswith(f"{tmp_path}/.envfreeze-")  # Not the person's own cache.
    record = (tmp_path / "prefix/conda-meta/good-1.0-h0_0.json").read_text()
    assert 'requested_spec"' not in record and "extracted_package_dir" not in record
    assert "channel.example" in record


def test_what_a_condarc_adds_stays_out_where_that_can_be_said(tmp_path: Path) -> None:
    found = program(tmp_path, "", f"{OPTIONS} --no-default-packages --no-shortcuts --other")
    assert found.flags(scripts=False)[-2:] == ["--no-default-packages", "--no-shortcuts"]


def test_a_script_runs_only_where_it_is_allowed(tmp_path: Path) -> None:
    recipe = post_link_recipe()
    found = program(tmp_path, LINKS % "poster")
    with pytest.raises(UsageError, match="post-link scripts of poster") as caught:
        build(tmp_path, recipe, found)
    assert "--allow-post-link" in caught.value.hint
    assert not (tmp_path / "prefix").exists()
    assert not (tmp_path / "asked").exists()


def test_a_program_that_can_leave_them_is_told_to(tmp_path: Path) -> None:
    found = program(tmp_path, "", f"{OPTIONS} --skip-run-link-scripts,!--run-link-scripts")
    assert "--skip-run-link-scripts" in found.flags(scripts=False)
    assert "--skip-run-link-scripts" not in found.flags(scripts=True)


def test_what_it_said_is_told_when_it_fails(tmp_path: Path) -> None:
    found = program(tmp_path, "echo 'ParseError: \033[31mno'; exit 3")
    with pytest.raises(ArtifactError, match="exit code 3") as caught:
        build(tmp_path, Recipe(name="good", files={"share/x": b"x"}), found)
    assert "ParseError: \\x1b[31mno" in str(caught.value)
    assert not (tmp_path / "prefix").exists()


def test_one_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="MAMBA_EXE names none"):
        condaprogram.find("micromamba", {"PATH": str(tmp_path)})
    with pytest.raises(UsageError, match="no such program"):
        condaprogram.find(str(tmp_path / "conda"), {"PATH": str(tmp_path)})


def test_a_shell_function_is_found_by_what_it_calls(tmp_path: Path) -> None:
    path = program(tmp_path, "").path
    environ = {"PATH": str(tmp_path / "none"), "CONDA_EXE": path}
    assert condaprogram.find("conda", environ).path == path


def test_another_program_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="its create has no --prefix, --file"):
        program(tmp_path, "", "--verbose")
