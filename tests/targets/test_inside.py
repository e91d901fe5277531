"""Targets inside containers, images and roots: which Python, what it is given."""

from __future__ import annotations

import pytest

from envfreeze.errors import TargetError
from envfreeze.targets import inside
from envfreeze.targets.inside import Look
from envfreeze.targets.naming import Named


def having(*programs: str, directories: tuple[str, ...] = (), files: tuple[str, ...] = ()) -> Look:
    """A target in which these things lie."""

    def look(path: str) -> inside.What | None:
        if path in programs:
            return "program"
        if path in files:
            return "file"
        return "directory" if path in directories else None

    return look


WEB = Named(kind="docker:", name="web")


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({"VIRTUAL_ENV": "/v", "PATH": "/usr/bin"}, "/v/bin/python"),
        ({"VIRTUAL_ENV": "/gone", "PATH": "/usr/bin"}, "/usr/bin/python3"),
        ({"CONDA_PREFIX": "/c", "PATH": "/usr/bin"}, "/c/bin/python"),
        ({"PATH": "bin:/empty:/usr/bin"}, "/usr/bin/python3"),
        ({"VIRTUAL_ENV": "", "PATH": "/usr/bin"}, "/usr/bin/python3"),
    ],
)
def test_the_python_of_its_variables(environ: dict[str, str], found: str) -> None:
    look = having(
        "/v/bin/python", "/c/bin/python", "/usr/bin/python3", "bin/python3", "/bin/python3"
    )
    assert inside.find_python(WEB, look, environ) == found


def test_the_only_python_in_the_usual_places() -> None:
    assert inside.find_python(WEB, having("/opt/venv/bin/python"), {}) == "/opt/venv/bin/python"


def test_several_pythons_are_listed_and_none_is_guessed() -> None:
    look = having("/opt/venv/bin/python", "/opt/conda/bin/python")
    with pytest.raises(TargetError, match=r"more than one.*/opt/venv/bin/python, /opt/conda") as e:
        inside.find_python(WEB, look, {"PATH": "/bin"})
    assert "docker:web:/opt/venv/bin/python" in e.value.hint


def test_no_python() -> None:
    with pytest.raises(TargetError, match=r"docker:web has no Python.*/usr/local/bin"):
        inside.find_python(WEB, having(), {"PATH": "/bin"})


def test_a_python_that_is_named() -> None:
    look = having("/v/bin/python3", directories=("/v", "/empty"), files=("/v/cfg",))

    def find(path: str) -> str:
        named = Named(kind="docker:", name="web", python=path)
        return inside.find_python(named, look, {"VIRTUAL_ENV": "/other"})

    assert find("/v") == find("/v/bin/python3") == "/v/bin/python3"
    for path, said in (("/gone", "no such"), ("/v/cfg", "executed"), ("/empty", "no bin/python")):
        with pytest.raises(TargetError, match=said):
            find(path)


def test_variables_of_a_configuration() -> None:
    assert inside.variables(["A=1=2", "odd"]) == {"PATH": inside.PATH, "A": "1=2"}
    assert inside.variables(["PATH=/x"])["PATH"] == "/x"


def test_what_would_make_an_interpreter_talk_is_silenced() -> None:
    told = inside.quiet({"PYTHONINSPECT": "1", "PYTHONPATH": "/x", "HOME": "/h"})
    assert (told["PYTHONINSPECT"], told["PYTHONPATH"]) == ("", "")
    assert "HOME" not in told


def test_a_hint_names_what_is_called_alike() -> None:
    known = ["web-1", "db", "vweb"]
    assert inside.similar("web", known) == "There is vweb, web-1."
    assert inside.similar("wbe-1", known) == "There is web-1."
    assert inside.similar("zzz", known) == "There is db, vweb, web-1."
    assert inside.similar("zzz", []) == ""


def test_the_question_fits_into_words_of_a_command_line() -> None:
    asked = inside.question({"A": "1"}, first_process=True)
    assert max(map(len, asked.argv("python"))) < 128 << 10
