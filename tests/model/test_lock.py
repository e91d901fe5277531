"""A lock reads back as it was written, and what is wrong with one is named by its place."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envfreeze.errors import LockError
from envfreeze.model import lock as locks
from envfreeze.model import toml
from envfreeze.model.lock import INLINE, Artifact, Lock, artifact_problem, dumps, is_inside, loads
from tests import strategies

slow = settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=60)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """A small whole lock as plain values."""
    facts = {
        "proof": "proved",
        "evidence": "RECORD",
        "tree": "0" * 64,
        "info": "a-1.dist-info",
        "site": "/s",
    }
    wheel = {
        "name": "a-1-py3-none-any.whl",
        "url": "https://example.invalid/a-1-py3-none-any.whl",
        "size": 1,
        "hashes": {"sha256": "1" * 64},
    }
    interpreter = {
        "implementation": "cpython",
        "version": "3.11.7",
        "bits": 64,
        **dict.fromkeys(("free-threaded", "debug", "venv", "system-site"), False),
    }
    for name in ("abiflags", "platform", "machine", "compiler", "build", "executable", "prefix"):
        interpreter[name] = ""
    for name in ("base-executable", "base-prefix", "stdlib", "purelib", "platlib", "scripts"):
        interpreter[name] = ""
    return {
        "lock-version": "1.0",
        "created-by": "envfreeze",
        "packages": [
            {"name": "a", "version": "1", "wheels": [wheel], "tool": {"envfreeze": facts}}
        ],
        "tool": {
            "envfreeze": {
                "schema": 1,
                "id": "2" * 64,
                "hermetic": True,
                "layers": {},
                "interpreter": {"facts": interpreter, "origin": "system"},
                "system": {"kernel": "Linux", "machine": "x86_64"},
            }
        },
    }


@slow
@given(strategies.locks())
def test_written_and_read_back(lock: Lock) -> None:
    text = dumps(lock)
    assert msgspec.convert(locks.parse(text), Lock) == lock
    assert dumps(msgspec.convert(locks.parse(text), Lock)) == text


@slow
@given(strategies.locks(), st.data())
def test_a_lock_cut_short_is_an_error(lock: Lock, data: st.DataObject) -> None:
    text = dumps(lock)
    cut = text[: data.draw(st.integers(0, len(text) - 2))]
    try:
        read = loads(cut)
    except LockError:
        return
    # Cut between two tables of what may be absent: then the rest reads as written.
    assert text.startswith(dumps(read)[:20])


@slow
@given(strategies.locks(), st.data())
def test_a_garbled_lock_is_an_error_or_a_lock(lock: Lock, data: st.DataObject) -> None:
    text = dumps(lock)
    at = data.draw(st.integers(0, len(text) - 1))
    garbled = text[:at] + data.draw(st.text(max_size=3)) + text[at + 1 :]
    with contextlib.suppress(LockError):
        loads(garbled)


@given(st.text(max_size=200))
def test_any_text_is_an_error(text: str) -> None:
    with pytest.raises(LockError):
        loads(text)


Change = Callable[[dict[str, Any]], object]


def _wheel(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["packages"][0]["wheels"][0]
    return found


def _ours(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["tool"]["envfreeze"]
    return found


def _unowned(d: dict[str, Any], *files: dict[str, Any], **more: Any) -> None:
    _ours(d)["system"].update(unowned={"files": list(files), **more})


def _source(document: dict[str, Any], **more: Any) -> None:
    _ours(document).update(sources=[{"key": "x", "root": "/home/me/x", **more}])


WRONG: dict[str, tuple[Change, str]] = {
    "future version": (lambda d: d.update({"lock-version": "2.0"}), "lock-version '2.0'"),
    "no version": (lambda d: d.pop("lock-version"), "lock-version None"),
    "version of a wrong type": (lambda d: d.update({"lock-version": 1}), "lock-version 1"),
    "future schema": (lambda d: _ours(d).update(schema=99), "schema 99"),
    "schema of a wrong type": (lambda d: _ours(d).update(schema="1"), "schema '1'"),
    "schema that is a boolean": (lambda d: _ours(d).update(schema=True), "schema|int"),
    "another tool's": (
        lambda d: (d.pop("tool"), d.update({"created-by": "pip"})),
        "another tool wrote it",
    ),
    "tool of a wrong type": (lambda d: d.update(tool=1, **{"created-by": "x"}), "another tool"),
    "no packages": (lambda d: d.pop("packages"), "packages"),
    "no proof": (
        lambda d: d["packages"][0]["tool"]["envfreeze"].pop("proof"),
        r"proof.*packages\[.*\]\.tool\.envfreeze",
    ),
    "an unknown proof": (
        lambda d: d["packages"][0]["tool"]["envfreeze"].update(proof="hearsay"),
        r"hearsay.*packages\[.*\]\.tool\.envfreeze\.proof",
    ),
    "a size that is text": (
        lambda d: _wheel(d).update(size="1"),
        r"packages\[.*\]\.wheels\[.*\]\.size",
    ),
    "hashes that are text": (lambda d: _wheel(d).update(hashes="x"), r"wheels\[.*\]\.hashes"),
    "no sha256": (lambda d: _wheel(d).update(hashes={"md5": "x"}), "not 64 hexadecimal"),
    "a short sha256": (lambda d: _wheel(d).update(hashes={"sha256": "12"}), "not 64 hexadecimal"),
    "upper case": (lambda d: _wheel(d).update(hashes={"sha256": "A" * 64}), "not 64 hexadecimal"),
    "a line's end": (
        lambda d: _wheel(d).update(hashes={"sha256": "1" * 64 + "\n"}),
        "not 64 hexadecimal",
    ),
    "a file url": (lambda d: _wheel(d).update(url="file:///etc/passwd"), "neither https nor http"),
    "neither url nor path": (lambda d: _wheel(d).pop("url"), "either a url or a path"),
    "url and path": (lambda d: _wheel(d).update(path="a.whl"), "either a url or a path"),
    "a path upwards": (
        lambda d: (_wheel(d).pop("url"), _wheel(d).update(path="x/../../a.whl")),
        "leads out",
    ),
    "an absolute path": (
        lambda d: (_wheel(d).pop("url"), _wheel(d).update(path="/etc/passwd")),
        "leads out",
    ),
    "a name upwards": (lambda d: _wheel(d).update(name="../a.whl"), "not a file name"),
    "a negative size": (lambda d: _wheel(d).update(size=-1), "negative"),
    "a second wheel": (
        lambda d: d["packages"][0]["wheels"].append({**_wheel(d), "url": "ftp://x"}),
        r"packages\[0\]\.wheels\[1\].*neither https",
    ),
    "a name that is none": (
        lambda d: d["packages"][0].update(name="a; rm"),
        r"packages\[0\]\.name: 'a; rm'",
    ),
    "an info that leads out": (
        lambda d: d["packages"][0]["tool"]["envfreeze"].update(info="../a"),
        r"packages\[0\]\.tool\.envfreeze\.info",
    ),
    "a copy that leads out": (
        lambda d: d["packages"][0]["tool"]["envfreeze"].update(
            {"wrapper-copies": {"pip": ["../pip3"]}}
        ),
        r"packages\[0\]\.tool\.envfreeze\.wrapper-copies",
    ),
    "a loose file that leads out": (
        lambda d: _ours(d).update(loose=[{"site": "/s", "files": [{"path": "a/../../b"}]}]),
        r"loose\[0\]\.files\[0\]\.path",
    ),
    "a system package that is a command": (
        lambda d: _ours(d)["system"].update(
            packages=[
                {
                    "name": "vim; curl",
                    "version": "1",
                    "arch": "amd64",
                    "proof": "proved",
                    "evidence": "",
                    "artifact": _wheel(d),
                }
            ]
        ),
        r"tool\.envfreeze\.system\.packages\[0\]: 'vim; curl'",
    ),
    "an installed package of two lines": (
        lambda d: _ours(d)["system"].update(installed=["a 1 all", "a 1 all\nevil 2 all"]),
        r"system\.installed\[1\]",
    ),
    "an installed package without architecture": (
        lambda d: _ours(d)["system"].update(installed=["a 1"]),
        r"system\.installed\[0\]",
    ),
    "a named package of two words": (
        lambda d: _ours(d)["system"].update(named=[{"name": "a b", "version": "1", "arch": "x"}]),
        r"system\.named\[0\]",
    ),
    "a program whose place is relative": (
        lambda d: _ours(d)["system"].update(needs=[{"name": "git", "path": "bin/git"}]),
        r"system\.needs\[0\]",
    ),
    "an unowned file that leads out": (
        lambda d: _unowned(d, {"path": "usr/../../x", "sha256": "1" * 64}),
        r"system\.unowned\.files\[0\]\.path",
    ),
    "an unowned file that is neither file nor link": (
        lambda d: _unowned(d, {"path": "usr/x"}),
        r"system\.unowned\.files\[0\]: it must be either",
    ),
    "an unowned file without a digest": (
        lambda d: _unowned(d, {"path": "usr/x", "sha256": "1"}),
        r"system\.unowned\.files\[0\]\.sha256",
    ),
    "an unowned archive that leads out": (
        lambda d: _unowned(d, archive={"path": "../x", "size": 1, "hashes": {"sha256": "1" * 64}}),
        r"system\.unowned\.archive.*leads out",
    ),
    "an entry of LD_LIBRARY_PATH that is two": (
        lambda d: _ours(d)["system"].update({"library-path": ["/a:/b"]}),
        r"system\.library-path\[0\]",
    ),
    "an entry of LD_LIBRARY_PATH that is relative": (
        lambda d: _ours(d)["system"].update({"library-path": ["a"]}),
        r"system\.library-path\[0\]",
    ),
    "no wheel": (
        lambda d: d["packages"][0].update(wheels=[]),
        r"packages\[0\]: it must have either",
    ),
    "wheel and archive": (
        lambda d: d["packages"][0].update(archive=_wheel(d)),
        r"packages\[0\]: it must have either",
    ),
    "a source key upwards": (lambda d: _source(d, key="../x"), r"sources\[0\]\.key"),
    "a source root that is relative": (lambda d: _source(d, root="x"), r"sources\[0\]\.root"),
    "a source root upwards": (lambda d: _source(d, root="/a/../../b"), r"sources\[0\]\.root"),
    "a spelling with a line's end": (
        lambda d: _source(d, spellings=["/a\nENV X=1"]),
        r"sources\[0\]\.spellings",
    ),
    "an import upwards": (lambda d: _source(d, imports=["../x"]), r"sources\[0\]\.imports"),
    "a source digest that is none": (lambda d: _source(d, digest="x"), r"sources\[0\]\.digest"),
    "a source archive that leads out": (
        lambda d: _source(d, archive={"path": "../x", "size": 1, "hashes": {"sha256": "1" * 64}}),
        r"sources\[0\]\.archive.*leads out",
    ),
    "a source archive without digest": (
        lambda d: _source(d, archive={"path": "x", "size": 1, "hashes": {"sha256": "1" * 64}}),
        r"sources\[0\]\.digest.*must be there",
    ),
    "two sources of one key": (
        lambda d: (_source(d), _ours(d)["sources"].append(_ours(d)["sources"][0])),
        "the same key",
    ),
    "an entry of PYTHONPATH that is two": (
        lambda d: _ours(d).update(pythonpath=["{envfreeze:source:x}:/evil"]),
        r"pythonpath\[0\]",
    ),
    "a shadowed package without wheel": (
        lambda d: _ours(d).update(shadowed=[{**d["packages"][0], "wheels": []}]),
        r"tool\.envfreeze\.shadowed\[0\]: it must have either",
    ),
    "a pointer that is none": (
        lambda d: d["packages"][0]["tool"]["envfreeze"].update(pointers=["site/a/b.py"]),
        r"packages\[0\]\.tool\.envfreeze\.pointers",
    ),
    "an origin unheard of": (
        lambda d: _ours(d)["interpreter"].update(origin="thin air"),
        r"tool\.envfreeze\.interpreter\.origin",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(case: str, document: dict[str, Any]) -> None:
    change, said = WRONG[case]
    broken = msgspec.json.decode(msgspec.json.encode(document))
    change(broken)
    text = toml.dump(broken, INLINE)
    with pytest.raises(LockError, match=said) as caught:
        loads(text, source="env.lock")
    assert "env.lock" in str(caught.value)
    assert caught.value.exit_code == 5


def test_a_sound_lock_with_odd_names_is_none_of_these(document: dict[str, Any]) -> None:
    assert loads(toml.dump(document, INLINE)).packages[0].name == "a"
    odd = msgspec.json.decode(msgspec.json.encode(document))
    files = [{"path": "back\\slash.py"}, {"path": "日本/ x.py"}, {"path": "..x/y..", "link": "/"}]
    _ours(odd).update(loose=[{"site": "/s", "files": files}])
    _source(odd, spellings=["/é/a b"], imports=["", "src"], digest="1" * 64)
    _ours(odd).update(pythonpath=["{envfreeze:source:x}/src", "/opt/y"])
    lock = loads(toml.dump(odd, INLINE))
    assert len(lock.machine.loose[0].files) == 3
    assert lock.python_path({"x": "/v/src/x"}) == "/v/src/x/src:/opt/y"


def test_truncated_text_is_named() -> None:
    with pytest.raises(LockError, match=r"env\.lock is not TOML") as caught:
        loads('lock-version = "1.', source="env.lock")
    assert "cut short" in caught.value.hint


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("a", True),
        ("a/b.whl", True),
        ("./a", True),
        ("a..b/c", True),
        ("", False),
        ("/a", False),
        ("..", False),
        ("a/../b", False),
        ("a\\b", False),
        ("a\0", False),
        ("//a", False),
    ],
)
def test_is_inside(path: str, inside: bool) -> None:
    assert is_inside(path) is inside


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"url": "https://x.invalid/d/a.whl?x=1#y"}, "a.whl"),
        ({"path": "d/b.whl"}, "b.whl"),
        ({"url": "https://x.invalid/d/a.whl", "name": "c.whl"}, "c.whl"),
        ({}, ""),
    ],
)
def test_the_file_name(more: dict[str, str], name: str) -> None:
    assert Artifact(size=1, hashes={"sha256": "0" * 64}, **more).filename == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\0b", "a\nb", "a\x1b[0mb"])
def test_a_name_that_is_none(name: str) -> None:
    artifact = Artifact(
        name=name or None, path="d/" if not name else "d/x", size=1, hashes={"sha256": "0" * 64}
    )
    assert artifact_problem(artifact) is not None


@given(strategies.artifacts())
def test_sound_artifacts_have_no_problem(artifact: Artifact) -> None:
    assert artifact_problem(artifact) is None


@given(st.builds(Artifact, hashes=st.dictionaries(strategies.words, strategies.words)))
def test_any_artifact_can_be_judged(artifact: Artifact) -> None:
    artifact_problem(artifact)


def test_a_lock_from_before_the_maker_was_told(document: dict[str, Any]) -> None:
    layer = loads(toml.dump(document, INLINE)).machine.interpreter
    assert (layer.kind, layer.evidence, layer.lead) == ("unknown", "", None)
    assert (layer.files, layer.compared, layer.edited) == (None, None, [])
    assert layer.facts.signs.schemes == []


@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("kind", "anaconda", "interpreter.kind"),
        ("files", "0" * 63, "interpreter.files"),
        ("edited", "os.py", "interpreter.edited"),
    ],
)
def test_a_wrong_word_on_the_interpreter(
    document: dict[str, Any], key: str, value: str, place: str
) -> None:
    changed = msgspec.json.decode(msgspec.json.encode(document))
    changed["tool"]["envfreeze"]["interpreter"][key] = value
    with pytest.raises(LockError, match=place):
        loads(toml.dump(changed, INLINE))
