"""Documents that mean harm, or nothing at all: a word about them, never a traceback."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envfreeze.diff import foreign
from envfreeze.diff.compare import compare
from envfreeze.diff.foreign.place import Place
from envfreeze.diff.foreign.sides import view_of
from envfreeze.errors import EnvfreezeError, LockError, MissingExtraError
from tests.diff.foreign.test_documents import DOCUMENTS, HERE, KINDS, having
from tests.diff.test_compare import item

DEEP = 5000
BOMB = "a: &a [x, x]\nb: &b [*a, *a]\ndependencies: [*b, *b]\n"


@pytest.mark.parametrize(
    ("kind", "text", "cause"),
    [
        ("uv.lock", "version = ", "it is not TOML"),
        ("uv.lock", "version = 2", "version 2; this envfreeze reads 1"),
        ("uv.lock", "version = 1\n[[package]]\nname = 3\n", r"\$.package\[0\].name"),
        ("poetry.lock", "[metadata]\nlock-version = '9'", "lock-version '9'"),
        ("poetry.lock", "package = [{name = 'x'}]\n[metadata]\n", "missing required field"),
        ("pylock.toml", "lock-version = '2.0'\npackages = []", "lock-version '2.0'"),
        ("pylock.toml", "x = " + "[" * DEEP, "it is not TOML"),
        ("conda-lock.yml", "version: 1", "missing required field `package`"),
        ("conda-lock.yml", "version: 2\npackage: []", "version '2'"),
        ("conda-lock.yml", "- a\n", "Expected `object`"),
        ("environment.yml", BOMB, "refers back to a part of itself"),
        ("environment.yml", f"dependencies: {'[' * 50}{']' * 50}", "nested more than"),
        ("environment.yml", "dependencies: " + "[" * DEEP, "it is not YAML|nested more than"),
        ("environment.yml", "dependencies: [\x00]", "it is not YAML"),
        ("environment.yml", "dependencies: {a", "it is not YAML"),
        ("environment.yml", "dependencies: [{conda: {a: b}}]", "Expected `array`"),
        ("pixi.lock", "version: 99\nenvironments: {}\npackages: []", "version '99'"),
        (
            "pixi.lock",
            "version: 6\nenvironments: {a: {packages: {linux-64: [{conda: x}]}}}\npackages: []",
            "names a package that it does not have",
        ),
        ("@EXPLICIT list", "@EXPLICIT\nhttps://channel.example/x.zip", "line 2 is not a package"),
        ("CycloneDX bill of materials", "{", "it is not JSON"),
        ("CycloneDX bill of materials", '{"bomFormat": "SPDX"}', "bomFormat 'SPDX'"),
        ("CycloneDX bill of materials", '{"bomFormat": 1}', "bomFormat"),
        (
            "CycloneDX bill of materials",
            '{"bomFormat": "CycloneDX", "components": ' + '[{"components": ' * DEEP,
            "it is not JSON",
        ),
    ],
)
def test_what_is_wrong_is_named(kind: foreign.Kind, text: str, cause: str) -> None:
    with pytest.raises(LockError, match=cause) as caught:
        foreign.read(kind, text, "there/file", HERE)
    assert str(caught.value).startswith("there/file cannot be read as a")
    assert caught.value.hint


def test_a_tag_makes_nothing() -> None:
    text = "dependencies:\n- !!python/object/apply:os.system [exit 1]\n- !!int a\n"
    with pytest.raises(LockError):
        foreign.read("environment.yml", text, "x", HERE)
    one = foreign.read(
        "environment.yml", "dependencies:\n- !!python/name:os.system a=1\n", "x", HERE
    )
    assert [entry.name for entry in one.entries] == ["a"]


def test_without_pyyaml_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtraError) as caught:
        foreign.read("environment.yml", "dependencies: []", "env.yml", HERE)
    assert "env.yml is YAML" in str(caught.value)
    assert caught.value.hint == "pip install 'envfreeze[conda]'"


@pytest.mark.parametrize(
    "marker",
    ["(" * DEEP, "python_version", "'a' == 'b' and " * 9000, "x == 'y'", "python_version ~= 'a'"],
)
def test_a_marker_that_nobody_understands_is_open(marker: str) -> None:
    text = f'lock-version = "1.0"\n[[packages]]\nname = "a"\nversion = "1"\nmarker = "{marker}"\n'
    [entry] = foreign.read("pylock.toml", text, "x", HERE).entries
    assert entry.doubt


def test_a_cycle_of_dependencies_ends() -> None:
    text = 'version = 1\nrequires-python = "*"\n'
    for name, needs in (("a", "b"), ("b", "a")):
        text += f'[[package]]\nname = "{name}"\nversion = "1"\nsource = {{ editable = "." }}\n'
        text += f'dependencies = [{{ name = "{needs}", extra = ["x", "y"] }}]\n'
    found = foreign.read("uv.lock", text, "x", HERE)
    assert [entry.name for entry in found.entries] == ["a", "b"]


plain = st.text(max_size=200)
junk = st.text(alphabet="[]{}\"'=:#-@!&*,\n \\x01a\u202e\udcff", max_size=6)


@st.composite
def broken(draw: st.DrawFn) -> tuple[foreign.Kind, str]:
    """A document of which a few pieces are something else, or gone."""
    name = draw(st.sampled_from(sorted(KINDS)))
    text = (DOCUMENTS / name).read_text()
    for _ in range(draw(st.integers(min_value=0, max_value=3))):
        start = draw(st.integers(min_value=0, max_value=len(text)))
        length = draw(st.sampled_from([0, 0, 1, 1, 2, 9, 500]))
        text = text[:start] + draw(junk) + text[start + length :]
    return KINDS[name], text


OTHER = having(item("alpha", "1.2.0"), item("zeta", "not a version"), system={"liby:a": "1"})


@settings(max_examples=200)
@given(broken() | st.tuples(st.sampled_from(foreign.KINDS), plain), st.sampled_from([HERE, None]))
def test_any_text_is_read_or_refused(found: tuple[foreign.Kind, str], place: Place | None) -> None:
    kind, text = found
    foreign.recognized("x.lock", text)
    try:
        document = foreign.read(kind, text, "x", place)
    except EnvfreezeError:
        return
    difference = compare(view_of(document, "x", OTHER), OTHER)
    for change in difference.changes:
        assert change.layer in {"interpreter", "packages", "conda", "system"}


@given(
    st.recursive(
        st.none() | st.integers() | plain,
        lambda kids: (
            st.lists(kids, max_size=3)
            | st.dictionaries(
                st.sampled_from(["purl", "components", "bomFormat", "name"]), kids, max_size=3
            )
        ),
        max_leaves=8,
    )
)
def test_any_json_is_read_or_refused(value: Any) -> None:
    text = json.dumps({"bomFormat": "CycloneDX", "components": [value]})
    try:
        foreign.read("CycloneDX bill of materials", text, "x", HERE)
    except EnvfreezeError:
        return
