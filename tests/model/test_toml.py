"""TOML as we write it is the TOML that everybody reads."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envfreeze.model import toml
from tests.strategies import words

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

INLINE = frozenset({"inline"})

scalars = st.one_of(words, st.booleans(), st.integers(-(1 << 63), (1 << 63) - 1))
keys = st.one_of(words, st.sampled_from(["inline", "a", "b-c"]))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=12,
)
documents = st.dictionaries(keys, values, max_size=4)


@given(documents)
def test_what_is_written_reads_back(document: dict[str, Any]) -> None:
    assert tomllib.loads(toml.dump(document, INLINE)) == document


@given(documents)
def test_nothing_in_it_can_move_a_terminal(document: dict[str, Any]) -> None:
    text = toml.dump(document, INLINE)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]", text)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a", '"a"'),
        ('"\\', r'"\"\\"'),
        ("\t\n\r\b\f", r'"\t\n\r\b\f"'),
        ("\x00\x7f\x85", r'"\u0000\u007f\u0085"'),
        ("\u202e\u2066\ufeff\u200e\u061c", r'"\u202e\u2066\ufeff\u200e\u061c"'),
        ("é日\U0001f600", '"é日\U0001f600"'),
    ],
)
def test_quote(value: str, written: str) -> None:
    assert toml.quote(value) == written


def test_the_layout() -> None:
    document = {
        "first": 1,
        "packages": [
            {"name": "a", "wheels": [{"name": "w", "size": 1}], "tool": {"x": {"y": True}}},
            {"name": "b", "empty": []},
        ],
        "tool": {"x": {"list": ["p", "q"], "a b": {"z": 1}}},
        "nothing": {},
        "last": "plain",
    }
    assert toml.dump(document, frozenset({"wheels"})) == (
        "first = 1\n"
        'last = "plain"\n'
        "\n[[packages]]\n"
        'name = "a"\n'
        'wheels = [\n  { name = "w", size = 1 },\n]\n'
        "\n[packages.tool.x]\n"
        "y = true\n"
        "\n[[packages]]\n"
        'name = "b"\n'
        "empty = []\n"
        "\n[tool.x]\n"
        'list = ["p", "q"]\n'
        '\n[tool.x."a b"]\n'
        "z = 1\n"
        "\n[nothing]\n"
    )


def test_an_array_with_a_line_for_each_text() -> None:
    document = {"installed": ["a 1 all", 'b "2" all'], "none": [], "other": ["c"]}
    text = toml.dump(document, frozenset(), frozenset({"installed", "none"}))
    assert text == (
        'installed = [\n  "a 1 all",\n  "b \\"2\\" all",\n]\nnone = []\nother = ["c"]\n'
    )
    assert tomllib.loads(text) == document


@pytest.mark.parametrize("value", [None, 1.5, b"x", object()])
def test_what_has_no_place_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="has no place in a lock"):
        toml.dump({"a": value}, INLINE)
