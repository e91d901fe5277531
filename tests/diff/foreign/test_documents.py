"""Documents of other tools: what each says, at a place and without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from envfreeze.diff import foreign
from envfreeze.diff.compare import compare
from envfreeze.diff.foreign import condaspec
from envfreeze.diff.foreign.document import Document
from envfreeze.diff.foreign.place import Place, place_of
from envfreeze.diff.foreign.sides import view_of
from envfreeze.diff.view import Item, View
from envfreeze.errors import LockError
from tests.diff.test_compare import item, of

DOCUMENTS = Path(__file__).parent / "documents"
ALPHA = "2610d309b133868729e4fb52a32191c40cfd7f276dcfa5412ca496da33d9a15e"
KINDS: dict[str, foreign.Kind] = {
    "bom.json": "CycloneDX bill of materials",
    "conda-lock.yml": "conda-lock.yml",
    "environment.yml": "environment.yml",
    "explicit.txt": "@EXPLICIT list",
    "pixi.lock": "pixi.lock",
    "poetry.lock": "poetry.lock",
    "pylock.pip.toml": "pylock.toml",
    "pylock.toml": "pylock.toml",
    "requirements.txt": "requirements.txt",
    "uv.lock": "uv.lock",
}
INTERPRETER = {
    "implementation": "cpython",
    "version": "3.11.7",
    "platform": "linux-x86_64",
    "soabi": "none",
}


def there(**changes: object) -> View:
    """An environment of Python 3.11 on x86-64."""
    return of(interpreter=INTERPRETER, **changes)


def having(*items: Item, **changes: object) -> View:
    return there(packages={one.name: one for one in items}, **changes)


HERE = place_of(there())


def document(name: str, place: Place | None = HERE) -> Document:
    text = (DOCUMENTS / name).read_text()
    kind = foreign.recognized(name, text)
    assert kind is not None
    return foreign.read(kind, text, name, place)


def said(name: str, place: Place | None = HERE) -> dict[str, str]:
    """Name to version, or to what it may be; what is in doubt has that in brackets."""
    return {
        entry.name: (entry.version or entry.wanted or "?")
        + (f" ({entry.doubt})" if entry.doubt else "")
        for entry in document(name, place).entries
    }


def told(name: str, other: View) -> list[tuple[str, str, str]]:
    view = view_of(document(name, place_of(other)), name, other)
    return [(c.layer, c.kind, c.name) for c in compare(view, other).changes]


@pytest.mark.parametrize("name", sorted(path.name for path in DOCUMENTS.iterdir()))
def test_each_is_recognized(name: str) -> None:
    text = (DOCUMENTS / name).read_text()
    assert foreign.recognized(name, text) == KINDS[name]
    if not name.endswith((".txt", ".yml")):  # By what it holds, under another name too.
        other = "renamed" + Path(name).suffix
        assert foreign.recognized(other, text) == KINDS[name]


@pytest.mark.parametrize(
    "text",
    [
        'lock-version = "1.0"\ncreated-by = "envfreeze"\n[[packages]]\nname = "x"\n',
        'lock-version = "1.0"\n[[packages]]\nname = "x"\n[tool.envfreeze]\nschema = 1\n',
        "[project]\nname = 'x'\n",
        "",
    ],
)
def test_what_is_none_of_them_is_not_taken_for_one(text: str) -> None:
    assert foreign.recognized("env.lock", text) is None


def test_a_project_of_uv_at_a_place() -> None:
    assert said("uv.lock") == {
        "alpha": "1.2.0",
        "app": "0.3",
        "beta": "1.5",
        "delta": "3.0 (in some group, extra or place)",
        "epsilon": "4.0 (in some group, extra or place)",
        "zeta": "2.0",
    }


def test_a_project_of_uv_without_a_place() -> None:
    found = [(e.name, e.version, bool(e.doubt)) for e in document("uv.lock", None).entries]
    assert ("zeta", "1.0", True) in found
    assert ("zeta", "2.0", True) in found
    assert ("gamma", "0.4.6", True) in found
    assert ("beta", "1.5", False) in found


def test_a_pylock_of_uv_and_one_of_pip() -> None:
    every = {"alpha": "1.2.0", "beta": "1.5", "zeta": "2.0"}
    assert said("pylock.toml") == said("pylock.pip.toml") == every
    assert said("pylock.toml", None)["gamma"] == "0.4.6 (where sys_platform == 'win32')"
    assert document("pylock.toml").entries[0].listed == {ALPHA}


def test_a_pylock_for_other_environments_is_refused() -> None:
    text = 'lock-version = "1.0"\nenvironments = ["sys_platform == \'win32\'"]\npackages = []\n'
    with pytest.raises(LockError, match="not for where the other side runs, but where sys_plat"):
        foreign.read("pylock.toml", text, "x", HERE)
    assert foreign.read("pylock.toml", text, "x", None).entries == []


def test_requirements_of_uv() -> None:
    assert said("requirements.txt") == {"alpha": "1.2.0", "beta": "1.5", "zeta": "2.0"}
    assert document("requirements.txt").entries[0].listed == {ALPHA}


def test_a_project_of_poetry() -> None:
    assert said("poetry.lock") == {
        "alpha": "1.2.0",
        "delta": "3.0 (in some extra)",
        "epsilon": "4.0 (in group test)",
    }
    assert said("poetry.lock", None)["gamma"] == "0.4.6 (in some place)"


def test_poetry_1_does_not_say_what_is_there() -> None:
    text = '[[package]]\nname = "A.b"\nversion = "1"\n[metadata]\nlock-version = "2.0"\n'
    text += 'content-hash = "x"\n'
    [entry] = foreign.read("poetry.lock", text, "x", HERE).entries
    assert (entry.name, entry.version, entry.doubt) == ("a-b", "1", "in some group, extra or place")


def test_a_conda_lock() -> None:
    assert said("conda-lock.yml") == {
        "alpha": "1.2.0",
        "numpy": "1.10 h0_0",
        "pytest": "8.0.0 h0_0 (in category dev)",
        "python": "3.11.7 h0_0",
    }


def test_a_document_for_other_platforms_is_refused() -> None:
    elsewhere = Place(environment={}, subdir="linux-aarch64")
    with pytest.raises(LockError, match=r"nothing for linux-aarch64.* linux-64, osx-64"):
        document("conda-lock.yml", elsewhere)


def test_without_a_place_each_platform_may_be_meant() -> None:
    other = there(conda={"numpy": item("numpy", "1.11 h0_0"), "python": item("python", "3 x")})
    view = view_of(document("conda-lock.yml", None), "x", other)
    found = {c.name: (c.kind, c.before) for c in compare(view, other).changes if c.layer == "conda"}
    assert found["python"] == ("changed", "3.11.7 h0_0")
    assert "numpy" not in found


def test_a_lock_of_pixi() -> None:
    assert said("pixi.lock") == {
        "alpha": "1.2.0",
        "pytest": "8.0.0 pyhd8ed1ab_0 (in test)",
        "python": "3.11.7 hab00c5b_1_cpython (in test)",
        "tzdata": "2024a h0c530f3_0",
    }
    found = {(e.name, e.origin) for e in document("pixi.lock").entries if e.layer == "conda"}
    assert ("tzdata", "https://channel.example/main") in found


def test_an_explicit_list() -> None:
    assert said("explicit.txt") == {
        "python": "3.11.7 hab00c5b_1_cpython",
        "tzdata": "2024a h0c530f3_0",
    }


def test_an_environment_file() -> None:
    found = document("environment.yml")
    assert {(e.layer, e.name, e.version, e.wanted) for e in found.entries} == {
        ("conda", "python", "3.11.7 hab00c5b_1_cpython", None),
        ("conda", "numpy", "1.26", "=1.26"),
        ("conda", "scipy", "1.11.4", None),
        ("conda", "pandas", "", ">=2"),
        ("conda", "pip", "", "any version"),
        ("packages", "alpha", "1.2.0", "==1.2.0"),
    }
    assert dict(found.unread) == {"-r more.txt": "another file, which is not read"}


def test_a_bill_of_materials() -> None:
    assert said("bom.json") == {
        "alpha": "1.2.0",
        "libx:amd64": "1:2.0-1",
        "liby:": "3",
        "bash:x86_64": "2:5.2-1.fc40",
        "zlib": "1.3 h0_0",
    }


# --- held against another side -------------------------------------------------------------


def test_what_a_document_does_not_know_is_unknown() -> None:
    other = having(
        item("alpha", "1.2.0"),
        item("beta", "1.4"),
        item("pip", "26"),
        item("more", "1"),
        item("app", "0.3", project=True),
        files={"x": "y"},
    )
    assert told("pylock.toml", other) == [
        ("interpreter", "unknown", "interpreter"),
        ("packages", "changed", "beta"),
        ("packages", "added", "more"),
        ("packages", "removed", "zeta"),
        ("packages", "unknown", "other packages"),
        ("files", "unknown", "files that no package owns"),
    ]


def test_requirements_do_not_say_what_else_is_there() -> None:
    other = having(item("alpha", "1.2.0"), item("beta", "1.5"), item("zeta", "2"), item("more"))
    assert told("requirements.txt", other)[1:] == [("packages", "unknown", "other packages")]


@pytest.mark.parametrize(
    ("line", "version", "kind"),
    [
        ("a==1.0", "1.0.0", None),
        ("a==1.0", "1.1", "changed"),
        ("a==2.1.0", "2.1.0+cu121", "unknown"),
        ("a===2.1.0", "2.1.0+cu121", "changed"),
        ("a>=1.20,<2", "1.26", None),
        ("a>=1.20,<2", "2.1", "changed"),
        ("a==1.2.*", "1.2.3", None),
        ("a==1.2.*", "1.3", "changed"),
        ("a", "7", None),
        ("a>=1", None, "removed"),
        ("a==1 ; extra == 'x'", None, "unknown"),
        ("a==1 ; platform_release > '5'", None, "unknown"),
        ("a==1 ; python_version < '3'", None, None),
        ("a==1 ; python_version < '3'", "1", "unknown"),
        ("A_b @ https://u:p@index.example/a_b-1.0-py3-none-any.whl", None, "removed"),
        ("a @ https://u:p@index.example/a-1.0-py3-none-any.whl#sha256=0", "1.0", None),
        ("a @ https://index.example/a-1.0.tar.gz", "2.0", "changed"),
        ("a @ git+https://index.example/a.git@abc", "2.0", "unknown"),
        ("https://index.example/a-1.0-py3-none-any.whl", "2.0", "changed"),
        ("-e git+https://index.example/a.git#egg=a", "2.0", "unknown"),
        ("a==1 --hash=sha256:00 --no-binary x # why", "1", None),
        ("--index-url https://index.example/simple", None, None),
        ("-i https://index.example/simple", None, None),
    ],
)
def test_a_requirement_against_what_is_there(
    line: str, version: str | None, kind: str | None
) -> None:
    found = foreign.read("requirements.txt", line, "x", HERE)
    other = there() if version is None else having(item("a", version))
    changes = [
        c for c in compare(view_of(found, "x", other), other).changes if c.layer == "packages"
    ]
    assert [c.kind for c in changes] == ([kind] if kind else [])
    assert not any("u:p" in str(change) for change in changes)


@pytest.mark.parametrize(
    "line",
    [
        "-r base.txt",
        "-cbase.txt",
        "--requirement base.txt",
        "-e .",
        "./x",
        "--strange",
        "a b c",
        "=1",
    ],
)
def test_a_line_that_names_no_package_is_told(line: str) -> None:
    found = foreign.read("requirements.txt", line, "x", HERE)
    assert not found.entries
    [change] = compare(view_of(found, "x", None), of(reach={"packages": "some"})).changes
    assert (change.kind, change.name) == ("unknown", line)
    assert change.note


def test_a_login_is_not_shown() -> None:
    found = foreign.read("requirements.txt", "-r https://user:word@index.example/r", "x", HERE)
    assert list(found.unread) == ["-r https://index.example/r"]


def test_a_range_of_conda_against_what_is_there() -> None:
    def conda(**versions: str) -> View:
        return there(conda={name: item(name, version) for name, version in versions.items()})

    assert told("environment.yml", conda(python="3.11.7 other_0", numpy="1.26.4 b", pip="1 b"))[
        1:-1
    ] == [
        ("packages", "unknown", "-r more.txt"),
        ("packages", "removed", "alpha"),
        ("conda", "removed", "pandas"),
        ("conda", "changed", "python"),
    ]
    assert ("conda", "changed", "numpy") in told("environment.yml", conda(numpy="1.27 b"))
    assert "numpy" not in [n for _, _, n in told("environment.yml", conda(numpy="1.26 b"))]
    assert "scipy" not in [n for _, _, n in told("environment.yml", conda(scipy="1.11.4 b"))]


@pytest.mark.parametrize(
    ("spec", "version", "met"),
    [
        ("pandas>=2", "2.1.0 h_0", True),
        ("pandas>=2", "1.5.3 h_0", False),
        ("pandas >=1,<2|>3", "3.1 h_0", True),
        ("pandas >=1,<2|>3", "2.5 h_0", False),
        ("pandas=1.26", "1.26.4 h_0", True),
        ("pandas=1.26", "1.260 h_0", False),
        ("pandas 1.26", "1.26.4 h_0", False),
        ("pandas==1.26", "1.26.0 h_0", True),
        ("pandas 3.11.*", "3.11.4 h_0", True),
        ("pandas 3.11.*", "3.12.0 h_0", False),
        ("pandas !=1.2", "1.2 h_0", False),
        ("pandas ~=1.2", "1.9 h_0", True),
        ("pandas=1.2=py311_0", "1.2 py311_0", True),
        ("pandas=1.2=py311_0", "1.2 py312_0", False),
        ("pandas 1.2 py311*", "1.2 py311_0", True),
        ("pandas 1.2 py311*", "1.2 py312_0", False),
        ("pandas * *_mkl", "1.2 h_openblas", False),
        ("pandas[version='>=2',build='*_mkl']", "2.0 h_mkl", True),
        ("conda-forge::pandas>=2", "2.1 h_0", True),
        ("pandas", "7 h_0", True),
        ("pandas >=2", "1!1.0 h_0", True),
        ("pandas <1.0", "1.0rc1 h_0", True),
    ],
)
def test_a_match_spec_against_what_is_there(spec: str, version: str, met: bool) -> None:
    pytest.importorskip("rattler")
    asked = foreign.read("environment.yml", f'dependencies: ["{spec}"]', "x", None)
    other = there(conda={"pandas": item("pandas", version)})
    changes = compare(view_of(asked, "x", other), other).changes
    assert [(c.kind, c.after) for c in changes if c.layer == "conda" and c.name == "pandas"] == (
        [] if met else [("changed", version)]
    )


def test_what_does_not_meet_a_range_says_so() -> None:
    for name, text, layer in (
        ("environment.yml", 'dependencies: ["a>=2"]', "conda"),
        ("requirements.txt", "a>=2", "packages"),
    ):
        other = there(**{layer: {"a": item("a", "1.5")}})
        asked = view_of(foreign.read(name, text, "x", None), "x", other)
        [change] = [c for c in compare(asked, other).changes if c.name == "a"]
        assert (change.before, change.after) == (">=2", "1.5")
        assert change.note == "not a version that is asked for"


def test_what_is_not_the_pinned_version_needs_no_more_words() -> None:
    other = having(item("a", "1.5"))
    asked = view_of(foreign.read("requirements.txt", "a==2.0", "x", None), "x", other)
    [change] = [c for c in compare(asked, other).changes if c.name == "a"]
    assert (change.before, change.after, change.note) == ("2.0", "1.5", None)


def test_a_fuzzy_version_is_told_as_it_is_written() -> None:
    pytest.importorskip("rattler")
    other = there(conda={"a": item("a", "1.27 h_0")})
    asked = foreign.read("environment.yml", "dependencies: [a=1.26]", "x", None)
    [change] = [c for c in compare(view_of(asked, "x", other), other).changes if c.name == "a"]
    assert (change.before, change.note) == ("=1.26", "not a version that is asked for")


@pytest.mark.parametrize(
    ("spec", "version"),
    [
        ("a[build_number='>3']", "1 h_0"),
        ("a[md5='0']", "1 h_0"),
        ("a 1.2 py3*", "1.2"),
        ("a ^1.*$", "1.2 h_0"),
        ("a " + ">1," * 100 + ">2", "3 h_0"),
        ("a >1", "?? h_0"),
    ],
)
def test_a_match_spec_that_nobody_can_hold_against_it(spec: str, version: str) -> None:
    other = there(conda={"a": item("a", version)})
    asked = foreign.read("environment.yml", f'dependencies: ["{spec}"]', "x", None)
    [change] = [c for c in compare(view_of(asked, "x", other), other).changes if c.name == "a"]
    assert change.kind == "unknown"
    assert change.note and ", and " in change.note


def test_a_match_spec_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condaspec, "_rattler", lambda: None)
    other = there(conda={"a": item("a", "3 h_0"), "b": item("b", "1.2.3 h_0")})
    asked = foreign.read("environment.yml", 'dependencies: ["a>=2", "b=1.2"]', "x", None)
    changes = compare(view_of(asked, "x", other), other).changes
    found = [change for change in changes if change.name in {"a", "b"}]
    assert [(change.kind, change.name) for change in found] == [("unknown", "a")]
    assert found[0].note == f"listed as >=2, and {condaspec.MISSING}"


def test_packages_of_the_system_against_a_bill_of_materials() -> None:
    system = {"libx:amd64": "1:2.0-1", "liby:arm64": "4", "bash:x86_64": "2:5.2-1.fc40", "z:a": "1"}
    other = having(item("alpha", "1.2.0"), system=system)
    found = [row for row in told("bom.json", other) if row[0] == "system"]
    assert found == [("system", "changed", "liby:arm64")]


def test_a_wheel_that_a_lock_does_not_list() -> None:
    def kinds(sha256: str) -> list[str]:
        alpha = item("alpha", "1.2.0", artifact=sha256, proof="proved")
        other = having(alpha, item("beta", "1.5"), item("zeta", "2.0"))
        return [kind for _, kind, name in told("pylock.toml", other) if name == "alpha"]

    assert kinds(ALPHA) == []
    assert kinds("f" * 64) == ["content"]


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_document_and_itself(name: str) -> None:
    plain = view_of(document(name, None), name, None)
    again = view_of(document(name, None), name, plain)
    assert compare(again, view_of(document(name, None), name, plain)).equal
    assert compare(plain, again).equal


def test_two_documents_say_the_same_of_what_is_open() -> None:
    old = foreign.read("requirements.txt", "a>=1\nb>=1\nc==1\n", "x", None)
    new = foreign.read("requirements.txt", "a>=1\nb>=2\nc==2\n", "y", None)
    one, two = view_of(old, "x", None), view_of(new, "y", None)
    changes = compare(view_of(old, "x", two), view_of(new, "y", one)).changes
    assert [(c.kind, c.name) for c in changes] == [("unknown", "b"), ("changed", "c")]
