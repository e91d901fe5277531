"""The parsers of metadata, on literal text."""

from __future__ import annotations

import email

import pytest
from hypothesis import given

from envfreeze.probe import metadata
from tests import strategies


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Metadata-Version: 2.1\nName: a\nVersion: 1\n\nName: body\n", ("a", "1")),
        ("name : a \nVERSION:1", ("a", "1")),
        ("Name: first\nName: second\nVersion: 1\n", ("first", "1")),
        ("Name: a\n Version: 2\nVersion: 1\n", ("a", "1")),
        ("Name: a\r\nVersion: 1\r\n\r\nbody", ("a", "1")),
        ("Name: a:b\nVersion: 1:2\n", ("a:b", "1:2")),
        ("Summary: Name: x\n", ("", "")),
        ("", ("", "")),
        ("no colon", ("", "")),
    ],
)
def test_name_and_version(text: str, read: tuple[str, str]) -> None:
    assert metadata.name_and_version(text) == read


def test_no_text_has_no_name() -> None:
    assert metadata.name_and_version(None) == ("", "")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (
            "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py2-none-any\nTag: py3-none-any\n",
            {"tags": ["py2-none-any", "py3-none-any"], "purelib": False, "build": None},
        ),
        ("Root-Is-Purelib: TRUE\nBuild: 1abc\n", {"tags": [], "purelib": True, "build": "1abc"}),
        ("", {"tags": [], "purelib": True, "build": None}),
    ],
)
def test_wheel(text: str, read: dict[str, object]) -> None:
    assert metadata.wheel(text) == read


def test_wrappers() -> None:
    text = (
        "[console_scripts]\n# no\na = m:f\n b=m:g\n\n[ gui_scripts ]\nc = m\n"
        "[other]\nd = m\n[console_scripts]\n;e = m\nno equals sign\n"
    )
    assert metadata.wrappers(text) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "paths", "claims"),
    [
        ("a.py,sha256=x,1\nb.py,,\n", ["a.py", "b.py"], ["sha256=x", ""]),
        ("a.py,sha256=x,1\r\nb.py,,\r\n", ["a.py", "b.py"], ["sha256=x", ""]),
        ("a.py,sha256=x,1", ["a.py"], ["sha256=x"]),
        ("a.py\nb.py,sha256=y\n", ["a.py", "b.py"], ["", "sha256=y"]),
        ('"a,b.py",sha256=x,1\n', ["a,b.py"], ["sha256=x"]),
        ('"a\nb.py",,\n', ["a\nb.py"], [""]),
        ('"say ""hi"".py",,\n', ['say "hi".py'], [""]),
        ("a\\b.py,,\n", ["a/b.py"], [""]),
        ("a/b\\c.py,,\n", ["a/b\\c.py"], [""]),
        ("a.py,,\na.py,sha256=x,1\na.py,,\n", ["a.py"], ["sha256=x"]),
        ("a.py,sha256=1,\na.py,sha256=2,\n", ["a.py"], ["sha256=2"]),
        ("\n\n,,\na.py,,\n", ["a.py"], [""]),
        ("a.py,,,extra,fields\nb.py\n", ["a.py", "b.py"], ["", ""]),
        ("a\u2028b.py,,\n", ["a\u2028b.py"], [""]),
        ("", [], []),
    ],
)
def test_record(text: str, paths: list[str], claims: list[str]) -> None:
    assert metadata.record(text) == (paths, claims)


def test_a_record_that_is_none() -> None:
    assert metadata.record("x" * 200_000) is None
    assert metadata.record("".join(f"{n},,\n" for n in range(metadata.MAX_ROWS + 1))) is None
    assert metadata.record(f'"{"x" * 200_000}",,\n') is None


@given(strategies.record_text())
def test_the_quick_reading_of_record_agrees_with_the_csv_module(text: str) -> None:
    quick = metadata._plain_columns(text)
    if quick is not None:
        assert tuple(map(list, quick)) == metadata._csv_columns(text)


@given(strategies.record_text())
def test_record_never_fails(text: str) -> None:
    columns = metadata.record(text)
    if columns is not None:
        paths, claims = columns
        assert len(paths) == len(claims) == len(set(paths))
        assert all(paths)


@given(strategies.metadata_text())
def test_metadata_never_fails(text: str) -> None:
    assert all(isinstance(value, str) for value in metadata.name_and_version(text))
    metadata.wheel(text)
    metadata.wrappers(text)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a-1.0.dist-info", ("a", "1.0")),
        ("a_b-1.0-py3.11.egg-info", ("a_b", "1.0")),
        ("a-b-1.0.dist-info", ("a-b", "1.0")),
        ("a.egg-info", ("a", "")),
        ("A-1.DIST-INFO", ("A", "1")),
        ("EGG-INFO", ("EGG-INFO", "")),
    ],
)
def test_what_a_directorys_name_says(name: str, read: tuple[str, str]) -> None:
    assert metadata.from_directory_name(name) == read


def test_core_has_the_requirements() -> None:
    text = "Name: a\nVersion: 1\nRequires-Dist: b>=1; extra == 'x'\nRequires-Dist: c\n\nbody: x\n"
    assert metadata.core(text) == ("a", "1", ["b>=1; extra == 'x'", "c"], {})
    assert metadata.core(None) == ("", "", [], {})


@pytest.mark.parametrize(
    ("lines", "read"),
    [
        (
            "License-Expression: MIT OR Apache-2.0\nLicense: other",
            {"expression": "MIT OR Apache-2.0"},
        ),
        ("License: BSD", {"text": "BSD"}),
        ("License: UNKNOWN", {}),
        ("License:", {}),
        ("License: " + "x" * 201, {}),
        ("Summary: s\n\nLicense: of the body", {}),
        (
            "License: Copyright (c) 2001\n        All rights reserved\n"
            "Classifier: License :: OSI Approved :: MIT License\n"
            "Classifier: License :: OSI Approved",
            {"text": "MIT License"},
        ),
        ("License: MIT\r\n\r\nLicense: a\r\n b", {"text": "MIT"}),
    ],
)
def test_the_licence_is_what_names_it_best(lines: str, read: dict[str, str]) -> None:
    assert metadata.core(f"Name: a\n{lines}\n")[3] == read


def test_requires_of_an_egg_info() -> None:
    text = "a>=1\n\n[more]\nb\n\n[:sys_platform == 'x']\nc\n\n[t:os_name == 'y']\nd\n# no\n"
    assert metadata.egg_requires(text) == [
        "a>=1",
        'b; extra == "more"',
        "c; (sys_platform == 'x')",
        "d; (os_name == 'y') and extra == \"t\"",
    ]


def test_a_licence_text_with_lines_of_spaces_does_not_end_the_headers() -> None:
    text = (
        "Name: demo\nVersion: 1\nLicense: BSD 3-Clause License\n        \n        Copyright\n"
        "Classifier: License :: OSI Approved :: BSD License\nRequires-Dist: more>=2\n\n"
        "Requires-Dist: no\n"
    )
    read = email.message_from_string(text)
    assert read.get_all("Requires-Dist") == ["more>=2"]  # As importlib.metadata reads it.
    assert metadata.core(text) == ("demo", "1", ["more>=2"], {"text": "BSD License"})
