"""What the probe reports of an interpreter's maker."""

from __future__ import annotations

from pathlib import Path

import pytest

from envfreeze.probe import interpreter
from envfreeze.targets.bundle import Question
from tests.support.prefixes import like_uv
from tests.support.probing import interpreter_of
from tests.support.pythons import available


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[externally-managed]\nError=To install, try apt\n more\n", "To install, try apt"),
        ("[externally-managed]\nError = spaced \nError-pt = outra\n", "spaced"),
        ("[externally-managed]\n", None),
        ("Error=\x1b[31m\n", None),
        ("Error=" + "x" * 999, None),
        ("", None),
    ],
)
def test_refusals(text: str, line: str | None) -> None:
    assert interpreter.refusal(text) == line


@pytest.mark.parametrize(
    ("names", "record"),
    [
        (
            ["history", "python-dateutil-2.9.0-pyhd.json", "python-3.11.7-hab00c5b_1_cpython.json"],
            "python-3.11.7-hab00c5b_1_cpython",
        ),
        (
            ["python-3.9.1-a.json", "python-3.11.7-b.json", "python-3.12.0-c.json"],
            "python-3.11.7-b",
        ),
        (["python-3.9.1-a.json"], "python-3.9.1-a"),
        (["python.json", "python-3.json", ".json"], None),
        ([], None),
    ],
)
def test_conda_records(names: list[str], record: str | None) -> None:
    assert interpreter.conda_record(names, "3.11.7") == record


def test_packaged_by() -> None:
    text = "3.11.7 | packaged by conda-forge | (main, Dec 23 2023, 14:43:09) [GCC 12.3.0]"
    assert interpreter.packaged_by(text) == "conda-forge"
    text = "3.11.5 (main, Sep 11 2023, 13:54:46) [GCC 11.2.0]"
    assert interpreter.packaged_by(text) is None


@pytest.mark.parametrize("version", available())
def test_an_interpreter_as_uv_leaves_it(version: str, tmp_path: Path) -> None:
    python = like_uv(available()[version], tmp_path / "cpython")
    facts = interpreter_of(python)
    assert facts.base_prefix == str(tmp_path / "cpython")
    assert facts.signs.standalone
    assert facts.signs.standalone_build == "20240107"
    assert facts.signs.externally_managed
    assert "managed by uv" in facts.signs.externally_managed


def test_variables_of_an_image_are_taken_where_they_are_such() -> None:
    python = next(iter(available().values()), None)
    if python is None:
        pytest.skip("no interpreter under PYENV_ROOT, pyenv or PATH")
    facts = interpreter_of(python, PYTHON_VERSION="3.12.1", PYTHON_SHA256="a" * 64)
    assert (facts.signs.image_version, facts.signs.image_sha256) == ("3.12.1", "a" * 64)
    facts = interpreter_of(python, PYTHON_VERSION="my secret", PYTHON_SHA256="A" * 64)
    assert (facts.signs.image_version, facts.signs.image_sha256) == (None, None)


def test_the_question_is_one_argument_of_a_command_line() -> None:
    """Linux takes 128 KiB for one (MAX_ARG_STRLEN)."""
    assert len(Question({}).program) < 100_000
