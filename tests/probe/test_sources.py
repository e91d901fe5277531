"""Source trees in a snapshot, from pointers as the build back ends write them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from envfreeze.model.snapshot import Finding, Snapshot, Source
from envfreeze.probe import pointers
from envfreeze.store import Cache
from tests.support.environments import Environment
from tests.support.projects import commit, push
from tests.support.projects import git as run
from tests.support.pythons import newest, parameters


@pytest.fixture
def env(tmp_path: Path) -> Environment:
    return Environment.make(newest(), tmp_path / "env")


def make_tree(root: Path, name: str = "proj") -> Path:
    (root / "src" / name).mkdir(parents=True)
    (root / "src" / name / "__init__.py").write_text("X = 1\n")
    (root / "pyproject.toml").write_text("[project]\n")
    return root


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "proj")


def direct_url(root: Path | str) -> dict[str, str]:
    url = "file://" + quote(str(root))
    return {"direct_url.json": json.dumps({"url": url, "dir_info": {"editable": True}})}


def editable(
    env: Environment, root: Path, files: dict[str, str], name: str = "proj", url: bool = True
) -> None:
    """An editable install: *files* lie in the site directory, ``ROOT`` in them is the tree."""
    contents = {path: text.replace("ROOT", str(root)).encode() for path, text in files.items()}
    env.install(name, files=contents, extra=direct_url(root) if url else {})


def only(env: Environment) -> Source:
    (source,) = env.snapshot().sources
    return source


def paths(source: Source) -> list[str]:
    return [file.path for file in source.files]


def findings(snapshot: Snapshot, kind: str) -> list[Finding]:
    return [finding for finding in snapshot.findings if finding.kind == kind]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- the styles ----------------------------------------------------------------------------

FINDER = """\
from __future__ import annotations
import sys
MAPPING: dict[str, str] = {'proj': 'ROOT/src/proj', 'single': 'ROOT/src/single'}
NAMESPACES: dict[str, list[str]] = {}
"""
MESON = "def init():\n    finder = F(\n        'p', {'proj'}, 'ROOT/build/cp311', ['/bin/sh'])\n"
SKBC = (
    "install({'proj': 'ROOT/src/proj/__init__.py'}, {'proj._e': 'proj/_e.so'}, "
    "{'proj': ['ROOT/src/proj', 'proj']}, ['proj'], None, False, True, [], [], '')\n"
)

STYLES: dict[str, tuple[dict[str, str], list[str]]] = {
    "setuptools-line": ({"__editable__.proj-1.0.pth": "ROOT/src\n"}, ["src"]),
    "setuptools-finder": (
        {
            "__editable__.proj-1.0.pth": "import __editable___proj_1_0_finder; "
            "__editable___proj_1_0_finder.install()",
            "__editable___proj_1_0_finder.py": FINDER,
        },
        ["src"],
    ),
    "hatchling": ({"_editable_impl_proj.pth": "ROOT/src"}, ["src"]),
    "editables": (
        {
            "_editable_impl_proj.pth": "import _editable_impl_proj",
            "_editable_impl_proj.py": "from editables.redirector import RedirectingFinder as F\n"
            "F.install()\nF.map_module('proj', 'ROOT/src/proj/__init__.py')",
        },
        ["src"],
    ),
    "editables-old": (
        {
            "_proj.pth": "import _proj",
            "_proj.py": "F.map_module('proj', 'ROOT/src/proj/__init__.py')",
        },
        ["src"],
    ),
    "flit": ({"proj.pth": "ROOT/src"}, ["src"]),
    "poetry": ({"proj.pth": "ROOT/src\n"}, ["src"]),
    "scikit-build-core": (
        {"_editable_skbc_proj.pth": "import _editable_skbc_proj\nROOT/src\n",
         "_editable_skbc_proj.py": SKBC},
        ["src"],
    ),
    "meson-python": (
        {"proj-editable.pth": "import _proj_editable_loader; _proj_editable_loader.init()",
         "_proj_editable_loader.py": MESON},
        ["build/cp311"],
    ),
    "namespace": (
        {"proj-nspkg.pth": "import sys, types, os;p = os.path.join('ROOT/src', *('proj',));\n"},
        ["src"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("url", [True, False], ids=["direct-url", "no-direct-url"])
@pytest.mark.parametrize("style", STYLES)
def test_every_style(env: Environment, project: Path, style: str, url: bool) -> None:
    files, imports = STYLES[style]
    (project / "src/single.py").write_text("")
    (project / "build/cp311").mkdir(parents=True)
    (project / "build/cp311/e.so").write_text("")
    editable(env, project, files, url=url)
    snapshot = env.snapshot()
    (source,) = snapshot.sources
    assert (source.key, source.root, source.spellings) == ("proj", str(project), [str(project)])
    assert (source.imports, source.dists, source.problem) == (imports, ["proj"], None)
    naming = {n for n, text in files.items() if "ROOT" in text}
    naming |= {"proj-1.0.dist-info/direct_url.json"} if url else set()
    assert source.via == sorted(f"{env.site}/{name}" for name in naming)
    assert paths(source) == [
        "build/cp311/e.so", "pyproject.toml", "src/proj/__init__.py", "src/single.py",
    ]  # fmt: skip
    assert source.files[2].sha256 == sha256(b"X = 1\n")
    (dist,) = snapshot.dists
    rows = {row.path: row for row in dist.rows or ()}
    for name, text in files.items():
        assert rows[name].sha256 == sha256(text.replace("ROOT", "{envfreeze:source:proj}").encode())
        assert rows[name].claim is None
    if url:
        text = direct_url("{envfreeze:source:proj}")["direct_url.json"]
        assert dist.direct_url == text.replace("%7B", "{").replace("%3A", ":").replace("%7D", "}")
        assert rows["proj-1.0.dist-info/direct_url.json"].sha256 == sha256(dist.direct_url.encode())
    assert {finding.kind for finding in snapshot.findings} <= {"source-build"}


@pytest.mark.parametrize("python", parameters())
def test_an_egg_link(python: Path, tmp_path: Path, project: Path) -> None:
    env = Environment.make(python, tmp_path / "env")
    info = project / "src/proj.egg-info"
    info.mkdir()
    (info / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: Proj\nVersion: 1.0\n")
    (env.site / "Proj.egg-link").write_text(f"{project}/src\n../")
    (env.site / "easy-install.pth").write_text(f"{project}/src\n")
    snapshot = env.snapshot()
    (source,) = snapshot.sources
    assert (source.key, source.root, source.imports) == ("proj", str(project), ["src"])
    assert source.dists == ["proj"]
    assert "src/proj.egg-info/PKG-INFO" in paths(source)
    loose = {entry.path: entry.sha256 for site in snapshot.sites for entry in site.loose}
    assert loose["Proj.egg-link"] == sha256(b"{envfreeze:source:proj}/src\n../")
    assert loose["easy-install.pth"] == sha256(b"{envfreeze:source:proj}/src\n")
    assert snapshot.findings == []


def test_links(env: Environment, project: Path) -> None:
    """As flit makes them: of a package, and of a module, which is a file like any other."""
    (project / "single.py").write_text("1\n")
    (env.site / "proj").symlink_to(project / "src/proj")
    (env.site / "single.py").symlink_to(project / "single.py")
    (env.site / "ns").mkdir()
    (env.site / "ns/relative").symlink_to(os.path.relpath(project / "src", env.site / "ns"))
    env.install(
        "proj", files={}, rows=["proj,,", "single.py,,", "ns/relative,,"], extra=direct_url(project)
    )
    snapshot = env.snapshot()
    assert only(env).imports == ["", "src"]
    links = {entry.path: entry.link for site in snapshot.sites for entry in site.loose}
    mark = "{envfreeze:source:proj}"
    assert links == {
        "proj": f"{mark}/src/proj",
        "single.py": f"{mark}/single.py",
        "ns/relative": f"{mark}/src",
    }


def test_a_link_to_a_checkout_in_the_venv(env: Environment) -> None:
    """As a rebuild has it: pip, too, checks out into ``src`` there."""
    for place in ("src/one", "other/two"):
        write(env.prefix, f"{place}/__init__.py")
        (env.site / Path(place).name).symlink_to(env.prefix / place)
    snapshot = env.snapshot()
    assert [source.key for source in snapshot.sources] == ["one"]
    links = {entry.path: entry.link for site in snapshot.sites for entry in site.loose}
    assert links["one"] == "{envfreeze:source:one}"


def test_a_directory_of_links(env: Environment, project: Path) -> None:
    farm = project / "build/__editable__.proj-1.0-py3-none-any"
    (farm / "proj").mkdir(parents=True)
    (farm / "proj/__init__.py").symlink_to(project / "src/proj/__init__.py")
    (farm / "proj/there.py").symlink_to("../../../pyproject.toml")
    (project / ".gitignore").write_text("build/\n")
    commit(project)
    editable(env, project, {"__editable__.proj-1.0.pth": f"{farm}\n"})
    links = {file.path: file.link for file in only(env).files if file.link}
    below = "build/__editable__.proj-1.0-py3-none-any/proj"
    assert links == {
        f"{below}/__init__.py": "{envfreeze:source:proj}/src/proj/__init__.py",
        f"{below}/there.py": "../../../pyproject.toml",
    }


def test_pythonpath_and_a_plain_pth_file(env: Environment, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "lib").mkdir(parents=True)
        (tmp_path / name / "lib" / f"{name}.py").write_text("")
    (env.site / "mine.pth").write_text(f"# mine\n\n{tmp_path}/one/lib\n/nowhere/at/all\n")
    env.environ["PYTHONPATH"] = f"{tmp_path}/two/lib:/nowhere"
    snapshot = env.snapshot()
    first, second = snapshot.sources
    assert snapshot.findings == []
    assert [source.key for source in (first, second)] == ["lib", "lib-2"]
    assert (first.root, first.via) == (f"{tmp_path}/one/lib", [f"{env.site}/mine.pth"])
    assert (second.root, second.via) == (f"{tmp_path}/two/lib", ["PYTHONPATH"])
    assert (first.imports, paths(first)) == ([""], ["one.py"])


@pytest.mark.parametrize(
    ("marker", "deep", "found"),
    [
        ("pyproject.toml", "a/b/c", True),
        ("setup.py", "", True),
        ("setup.cfg", "src", True),
        ("pyproject.toml", "a/b/c/d", False),
        ("requirements.txt", "src", False),
    ],
)
def test_the_project_around_an_entry(
    env: Environment, tmp_path: Path, marker: str, deep: str, found: bool
) -> None:
    entry = tmp_path / "work" / deep
    entry.mkdir(parents=True)
    (tmp_path / "work" / marker).write_text("")
    env.environ["PYTHONPATH"] = str(entry)
    source = only(env)
    assert source.root == str(tmp_path / "work" if found else entry)
    assert source.imports == [deep if found else ""]


def test_the_search_for_a_project_ends_at_home_and_at_environments(
    env: Environment, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    (home / "code").mkdir(parents=True)
    (home / "setup.py").write_text("")
    env.environ["HOME"] = str(home)
    env.environ["PYTHONPATH"] = str(home / "code")
    assert only(env).root == str(home / "code")
    (tmp_path / "pyproject.toml").write_text("")  # The environment lies in a project.
    (env.prefix / "src/code").mkdir(parents=True)
    env.environ["PYTHONPATH"] = str(env.prefix / "src/code")
    assert only(env).root == str(env.prefix / "src/code")


@pytest.mark.parametrize("wide", ["/", "/tmp", "/usr", "HOME", "/proc"])
def test_a_directory_that_is_everybodys(env: Environment, tmp_path: Path, wide: str) -> None:
    env.environ["HOME"] = str(tmp_path)
    env.environ["PYTHONPATH"] = str(tmp_path) if wide == "HOME" else wide
    snapshot = env.snapshot()
    (source,) = snapshot.sources
    assert source.files == [] and source.problem
    assert [f.place for f in findings(snapshot, "source-large")] == [source.root]


def test_what_is_no_source(env: Environment, tmp_path: Path) -> None:
    """The environment's own directories and the interpreter's are kept as what they are."""
    (env.site / "inner").mkdir()
    (env.site / "own.pth").write_text("inner\n")
    facts = env.snapshot().interpreter
    env.environ["PYTHONPATH"] = os.pathsep.join([str(env.site), facts.stdlib, f"{env.site}/inner"])
    env.install("plain", extra={"direct_url.json": '{"url": "file:///x", "dir_info": {}}'})
    snapshot = env.snapshot()
    assert (snapshot.sources, snapshot.findings) == ([], [])


def test_code_that_only_speaks_of_directories(env: Environment, tmp_path: Path) -> None:
    (env.site / "_tool.pth").write_text("import _tool")
    (env.site / "_tool.py").write_text(f"A = '/tmp'\nB = '/'\nC = '{tmp_path}'\nD = '/etc'\n")
    assert env.snapshot().sources == []


def test_a_file_on_the_path(env: Environment, tmp_path: Path) -> None:
    (tmp_path / "more.zip").write_bytes(b"PK")
    env.environ["PYTHONPATH"] = str(tmp_path / "more.zip")
    snapshot = env.snapshot()
    assert snapshot.sources == []
    assert [f.place for f in findings(snapshot, "source-file")] == [str(tmp_path / "more.zip")]


# --- roots and their names -----------------------------------------------------------------


def test_two_spellings_are_one_tree(env: Environment, project: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(project)
    editable(env, tmp_path / "alias", {"a.pth": f"{project}/src\n", "b.pth": "ROOT/src\n"})
    snapshot = env.snapshot()
    (source,) = snapshot.sources
    assert source.root == str(project)
    assert source.spellings == [str(tmp_path / "alias"), str(project)]
    rows = {row.path: row.sha256 for row in snapshot.dists[0].rows or ()}
    assert rows["a.pth"] == rows["b.pth"] == sha256(b"{envfreeze:source:proj}/src\n")


def test_of_nested_trees_the_outer_one_wins(env: Environment, project: Path) -> None:
    inner = make_tree(project / "libs/inner", "inner")
    editable(env, project, {"p.pth": "ROOT/src\n"})
    editable(env, inner, {"i.pth": "ROOT/src\n"}, name="inner")
    source = only(env)
    assert (source.root, source.dists) == (str(project), ["inner", "proj"])
    assert source.imports == ["libs/inner/src", "src"]


def test_an_inner_tree_with_its_own_repository(env: Environment, project: Path) -> None:
    inner = make_tree(project / "libs/inner", "inner")
    commit(inner)
    editable(env, project, {"p.pth": "ROOT/src\n"})
    editable(env, inner, {"i.pth": "ROOT/src\n"}, name="inner")
    outer, second = sorted(env.snapshot().sources, key=lambda source: source.root)
    assert (outer.key, second.key) == ("proj", "inner")
    assert not any(path.startswith("libs/") for path in paths(outer))
    assert "src/inner/__init__.py" in paths(second)


def test_two_projects_of_one_repository(env: Environment, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    for name in ("one", "two"):
        make_tree(repo / name, name)
    commit(repo)
    for name in ("one", "two"):
        editable(env, repo / name, {f"{name}.pth": "ROOT/src\n"}, name=name)
    for source in env.snapshot().sources:
        assert source.repository is not None
        assert source.repository.subdirectory == source.key
        assert source.repository.modified == source.repository.untracked == []
        assert paths(source) == ["pyproject.toml", f"src/{source.key}/__init__.py"]


@pytest.mark.parametrize("name", ["a b", ".hidden", "-x", "é", "..", "x'y", "a%20b", "{k}"])
def test_any_directory_has_a_safe_name(env: Environment, tmp_path: Path, name: str) -> None:
    root = tmp_path / "d" / (name if name != ".." else "...") / "project"
    make_tree(root)
    root = root.rename(root.with_name(name if name != ".." else "..."))
    editable(env, root, {"p.pth": "ROOT/src\n"}, url=True)
    env.environ["PYTHONPATH"] = str(root / "src")
    snapshot = env.snapshot()
    (source,) = snapshot.sources
    assert pointers.keys(pointers.placeholder(source.key).encode()) == [source.key]
    assert snapshot.findings == []


def place(env: Environment, into: Path) -> None:
    """What a rebuild does: the trees at ``into/KEY``, the pointers spelling that."""
    snapshot = env.snapshot()
    where = {source.key: str(into / source.key) for source in snapshot.sources}
    spelt = [(text, source.key) for source in snapshot.sources for text in source.spellings]
    for source in snapshot.sources:
        for file in source.files:
            target = into / source.key / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.link is not None:
                target.symlink_to(pointers.placed_link(file.link, where))
            else:
                shutil.copy(Path(source.root) / file.path, target)
    for path in sorted(env.site.rglob("*")):
        relative = path.relative_to(env.site).as_posix()
        if path.is_symlink():
            link = pointers.placed_link(pointers.neutral_link(str(path.readlink()), spelt), where)
            path.unlink()
            path.symlink_to(link)
        elif path.is_file() and pointers.is_pointer(relative):
            data = pointers.neutral(relative, path.read_bytes(), spelt)
            path.write_bytes(pointers.placed(relative, data, where))
    for variable, text in list(env.environ.items()):
        if variable == "PYTHONPATH":
            parts = [
                pointers.placed_link(pointers.neutral_link(part, spelt), where)
                for part in text.split(os.pathsep)
            ]
            env.environ[variable] = os.pathsep.join(parts)


def without_places(snapshot: Snapshot) -> object:
    return (
        {s.key: (s.imports, s.dists, s.files, s.problem) for s in snapshot.sources},
        {
            (d.name, d.direct_url, *(row[:4] for row in map(tuple_of, d.rows or ())))
            for d in snapshot.dists
        },
        {
            (e.path, e.sha256, e.link)
            for site in snapshot.sites
            if site.kind == "site"
            for e in site.loose
        },
    )


def tuple_of(row: object) -> tuple[object, ...]:
    return (row.scheme, row.path, row.sha256)  # type: ignore[attr-defined]


Maker = Callable[[Environment, Path], None]


def _two_of_a_name(env: Environment, tmp: Path) -> None:
    for name in ("x", "y", "z"):
        (tmp / name / "lib").mkdir(parents=True)
        (tmp / name / "lib/m.py").write_text(name)
    (tmp / "w/lib-2").mkdir(parents=True)
    (tmp / "w/lib-2/m.py").write_text("w")
    env.environ["PYTHONPATH"] = os.pathsep.join(
        str(tmp / part) for part in ("x/lib", "y/lib", "z/lib", "w/lib-2")
    )
    editable(env, make_tree(tmp / "q", "lib"), {"lib.pth": "ROOT/src\n"}, name="lib")


def _a_repository(env: Environment, tmp: Path) -> None:
    root = make_tree(tmp / "proj")
    (root / ".gitignore").write_text(
        "*.so\nbuild/\n_version.py\n*.egg-info\n/big\n.venv\nsecret*\n"
    )
    commit(root)
    for path in ("src/proj/_c.so", "src/proj/_version.py", "src/proj.egg-info/PKG-INFO",
                 "build/lib/proj/__init__.py", "big/data", ".venv/pyvenv.cfg", "new.txt",
                 "fixture/pyvenv.cfg", "fixture/lib/x.py", "src/proj/__pycache__/x.pyc",
                 "src/secret_settings.py", "src/proj/node_modules/x.py"):  # fmt: skip
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    editable(env, root, {"p.pth": "ROOT/src\n"})


def _links_everywhere(env: Environment, tmp: Path) -> None:
    root = make_tree(tmp / "proj")
    (root / "abs").symlink_to(root / "src")
    (root / "rel").symlink_to("src/proj")
    (root / "out").symlink_to("/etc")
    (root / "gone").symlink_to("nothing")
    (env.site / "proj").symlink_to(root / "src/proj")
    env.install("proj", files={}, rows=["proj,,"], extra=direct_url(root))


def _styles(env: Environment, tmp: Path) -> None:
    for style in STYLES:
        root = make_tree(tmp / style / "a b", "proj")
        if style in ("setuptools-finder", "editables", "scikit-build-core"):
            editable(env, root, STYLES[style][0], name=style)


@pytest.mark.parametrize("make", [_two_of_a_name, _a_repository, _links_everywhere, _styles])
def test_the_same_at_another_place(env: Environment, tmp_path: Path, make: Maker) -> None:
    make(env, tmp_path)
    before = env.snapshot()
    assert before.sources
    place(env, env.prefix / "src")
    after = env.snapshot()
    assert {source.root for source in after.sources} == {
        str(env.prefix / "src" / source.key) for source in before.sources
    }
    assert without_places(after) == without_places(before)


# --- which files ---------------------------------------------------------------------------


def kept(env: Environment, root: Path) -> list[str]:
    if not list(env.site.glob("p.pth")):
        editable(env, root, {"p.pth": "ROOT/src\n"})
    return paths(only(env))


def write(root: Path, *names: str, text: str = "") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text or name)


def test_what_tools_leave_is_never_kept(env: Environment, project: Path) -> None:
    usual = ["pyproject.toml", "src/proj/__init__.py"]
    write(
        project, ".git/x", ".hg/x", "a/.svn/x", "__pycache__/x", "x.pyc", ".tox/x", ".nox/x",
        ".mypy_cache/x", ".pytest_cache/x", ".ruff_cache/x", ".hypothesis/x", "node_modules/x",
        ".ipynb_checkpoints/x", "venv/pyvenv.cfg", "venv/x", "conda/conda-meta/history", "conda/x",
    )  # fmt: skip
    assert kept(env, project) == usual
    shutil.rmtree(project / ".git")
    run(project, "init", "-q")
    run(project, "add", "-f", "-A")
    assert kept(env, project) == usual
    shutil.rmtree(project / ".git")
    (project / ".git").write_text("gitdir: /nowhere\n")
    assert kept(env, project) == usual


def test_with_git(env: Environment, project: Path) -> None:
    write(project, "staged", "tracked", "deleted", "cached")
    (project / ".gitignore").write_text("ignored\n*.log\n")
    commit(project)
    write(project, "new", "ignored", "a.log", "tracked", text="changed")
    write(project, "added")
    (project / "deleted").unlink()
    run(project, "add", "added")
    run(project, "rm", "-q", "--cached", "cached")
    source_paths = kept(env, project)
    assert source_paths == [
        ".gitignore", "added", "cached", "new", "pyproject.toml", "src/proj/__init__.py",
        "staged", "tracked",
    ]  # fmt: skip
    repository = only(env).repository
    assert repository is not None
    assert repository.modified == ["deleted", "tracked"]
    assert repository.untracked == ["added", "new"]


def test_ignored_files_that_an_import_needs(env: Environment, project: Path) -> None:
    write(project, "docs/conf.py", "src/proj/data/kept.txt", "src/ns/sub/__init__.py")
    (project / ".gitignore").write_text("*\n")
    run(project, "init", "-q")
    run(project, "add", "-f", ".gitignore", "pyproject.toml", "docs", "src")
    run(project, "commit", "-q", "-m", "x")
    needed = [
        "src/local.py", "src/proj/_ext.cpython-311.so", "src/proj/table.bin",
        "src/proj/data/more.txt", "src/proj/gen/__init__.py", "src/proj/gen/x.json",
        "src/ns/plain.py", "src/whole.egg-info/PKG-INFO", "proj.egg-info/PKG-INFO",
    ]  # fmt: skip
    left = [
        "notes.py", "src/notes.txt", "src/ns/notes.txt", "build/lib/proj/__init__.py",
        "dist/proj.whl", "docs/_build/x.py", "src/other/x.py", "src/proj/.env", "src/proj/x.o",
        "src/proj/build/x", "src/proj/old/__pycache__/x.pyc", "x.log",
    ]  # fmt: skip
    for name in needed:
        write(project, name, text="Name: x\nVersion: 1\n")
    write(project, *left, "src/proj/models/a.npy", "src/proj/models/b.npy")
    tracked = run(project, "ls-files").splitlines()
    assert kept(env, project) == sorted(tracked + needed)
    (finding,) = findings(env.snapshot(), "source-ignored")
    assert "src/proj/models/" in finding.detail
    assert len(env.snapshot().findings) == 1


def test_a_flat_layout_keeps_no_build_directory(env: Environment, tmp_path: Path) -> None:
    root = tmp_path / "flat"
    write(root, "proj/__init__.py", "setup.py")
    (root / ".gitignore").write_text("build/\n*.so\n")
    commit(root)
    write(root, "build/lib/proj/__init__.py", "proj/_c.so", "top.so")
    editable(env, root, {"p.pth": "ROOT\n"})
    assert kept(env, root) == [".gitignore", "proj/__init__.py", "proj/_c.so", "setup.py", "top.so"]


def test_a_tree_in_somebody_elses_repository(env: Environment, project: Path) -> None:
    """An environment in a project that ignores it: its own rules are not those of the tree."""
    write(project.parent, "README")
    (project.parent / ".gitignore").write_text("*.so\nproj\n")
    run(project.parent, "init", "-q")
    run(project.parent, "add", "README", ".gitignore")
    run(project.parent, "commit", "-q", "-m", "x")
    write(project, "src/x.so")
    assert kept(env, project) == ["pyproject.toml", "src/proj/__init__.py", "src/x.so"]
    assert only(env).repository is None


def test_submodules_belong_to_the_tree(env: Environment, project: Path, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    write(inner, "i.py")
    push_commit = commit(inner)
    run(project, "init", "-q")
    run(project, "submodule", "--quiet", "add", str(inner), "libs/inner")
    commit(project)
    write(project, "libs/inner/i.py", text="changed")
    write(project, "libs/inner/new.py")
    assert {"libs/inner/i.py", "libs/inner/new.py"} <= set(kept(env, project))
    repository = only(env).repository
    assert repository is not None
    assert [(s.path, s.commit, s.url) for s in repository.submodules] == [
        ("libs/inner", push_commit, str(inner))
    ]
    assert repository.modified == ["libs/inner/i.py"]
    assert repository.untracked == ["libs/inner/new.py"]


def test_an_environment_in_the_projects_own_directory(tmp_path: Path) -> None:
    env = Environment.make(newest(), make_tree(tmp_path / "proj"))
    (env.prefix / ".gitignore").unlink(missing_ok=True)  # New Pythons ignore all of it.
    editable(env, env.prefix, {"p.pth": "ROOT/src\n"})
    assert paths(only(env)) == ["pyproject.toml", "src/proj/__init__.py"]
    run(env.prefix, "init", "-q")
    run(env.prefix, "add", "pyproject.toml", "src")
    run(env.prefix, "commit", "-q", "-m", "x")
    assert paths(only(env)) == ["pyproject.toml", "src/proj/__init__.py"]


def test_modes_links_and_line_endings(env: Environment, project: Path) -> None:
    write(project, "run", "plain", "unix", "mixed", text="a\nb\n")
    (project / "run").chmod(0o755)
    (project / "link").symlink_to("plain")
    (project / "other").symlink_to("plain")
    commit(project)
    (project / "plain").chmod(0o755)
    (project / "unix").write_bytes(b"a\r\nb\r\n")
    (project / "mixed").write_bytes(b"a\r\nc\r\n")
    (project / "other").unlink()
    (project / "other").symlink_to("run")
    kept(env, project)
    source = only(env)
    assert source.repository is not None
    assert source.repository.modified == ["mixed", "other", "plain"]
    assert {f.path: (f.link, f.executable) for f in source.files if f.link or f.executable} == {
        "link": ("plain", False), "other": ("run", False),
        "plain": (None, True), "run": (None, True),
    }  # fmt: skip


def test_git_lfs(env: Environment, project: Path) -> None:
    def pointer(data: bytes) -> bytes:
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(data)}\n"
        return f"{text}size {len(data)}\n".encode()

    (project / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    (project / "here.bin").write_bytes(pointer(b"content"))
    (project / "absent.bin").write_bytes(pointer(b"other"))
    commit(project)
    (project / "here.bin").write_bytes(b"content")
    kept(env, project)
    snapshot = env.snapshot()
    (finding,) = findings(snapshot, "source-lfs")
    assert "1 (absent.bin)" in finding.detail and "git lfs pull" in finding.advice
    repository = snapshot.sources[0].repository
    assert repository is not None and repository.modified == []


def test_facts_of_the_repository(env: Environment, project: Path, tmp_path: Path) -> None:
    commit(project)
    push(project, tmp_path / "remote")
    run(project, "remote", "set-url", "origin", "https://me:token@mirror.example/p.git")
    kept(env, project)
    snapshot = env.snapshot()
    repository = snapshot.sources[0].repository
    assert repository is not None
    assert (repository.url, repository.branch) == ("https://mirror.example/p.git", "main")
    assert repository.pushed and repository.commit == run(project, "rev-parse", "HEAD")
    (finding,) = findings(snapshot, "credentials")
    assert "token" not in finding.place + finding.detail.replace("password or token", "")


def test_without_a_git_program(env: Environment, project: Path, tmp_path: Path) -> None:
    (project / ".gitignore").write_text("ignored\n")
    commit(project)
    write(project, "ignored")
    env.environ["PATH"] = str(tmp_path)
    assert "ignored" in kept(env, project)
    snapshot = env.snapshot()
    assert snapshot.sources[0].repository is None
    assert len(findings(snapshot, "source-git")) == 1


def test_a_damaged_repository(env: Environment, project: Path) -> None:
    commit(project)
    (project / ".git/HEAD").write_text("nonsense\n")
    assert kept(env, project) == ["pyproject.toml", "src/proj/__init__.py"]
    (finding,) = findings(env.snapshot(), "source-git")
    assert "git rev-parse fails" in finding.detail


# --- trouble -------------------------------------------------------------------------------


def test_a_tree_that_is_gone(env: Environment, project: Path, tmp_path: Path) -> None:
    editable(env, project, {"p.pth": "ROOT/src\n"})
    (env.site / "old.egg-link").write_text(f"{tmp_path}/gone/src\n../\n")
    project.rename(tmp_path / "elsewhere")
    snapshot = env.snapshot()
    assert {(source.key, source.problem) for source in snapshot.sources} == {
        ("proj", "it is not there"),
        ("old", "it is not there"),
    }
    assert len(findings(snapshot, "source-missing")) == 2
    rows = {row.path: row.sha256 for row in snapshot.dists[0].rows or ()}
    assert rows["p.pth"] == sha256(f"{project}/src\n".encode()), "nothing stands for it"


def test_names_that_cannot_be_written_down(env: Environment, project: Path) -> None:
    for name in (b"od\xffd", b"new\nline", b"back\\slash"):
        Path(os.fsdecode(os.fsencode(project) + b"/" + name)).write_text("")
    (project / "to").symlink_to(os.fsdecode(b"od\xffd"))
    os.mkfifo(project / "fifo")
    (project / "hostile").symlink_to("{envfreeze:source:proj}")
    assert kept(env, project) == ["pyproject.toml", "src/proj/__init__.py"]
    snapshot = env.snapshot()
    assert [f.detail[:2] for f in findings(snapshot, "not-utf8")] == ["3 ", "1 "]
    assert len(findings(snapshot, "unreadable")) == 1
    assert len(findings(snapshot, "source-placeholder")) == 1


def test_a_root_that_cannot_be_written_down(env: Environment, tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/od\xffd"))
    make_tree(root)
    (env.site / "p.pth").write_bytes(os.fsencode(root) + b"/src\n")
    env.install("p", files={}, extra=direct_url(str(tmp_path) + "/new\nline"))
    snapshot = env.snapshot()
    assert snapshot.sources == []
    assert len(findings(snapshot, "not-utf8")) == 1


def test_unreadable_files_are_named(env: Environment, project: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    write(project, "closed")
    (project / "closed").chmod(0)
    kept(env, project)
    assert "closed" in findings(env.snapshot(), "unreadable")[0].detail


def test_links_that_lead_outside(env: Environment, project: Path) -> None:
    (project / "out").symlink_to("/etc")
    (project / "in").symlink_to(env.prefix)
    kept(env, project)
    (finding,) = findings(env.snapshot(), "source-outside")
    assert "1 (out)" in finding.detail
    assert {"in", "out"} <= set(paths(only(env)))


def test_a_directory_that_became_a_link(env: Environment, project: Path, tmp_path: Path) -> None:
    """Git tracks what was in it: nothing is read through the link."""
    write(project, "lib/secret.py")
    commit(project)
    (project / "lib").rename(tmp_path / "moved")
    (project / "lib").symlink_to(tmp_path / "moved")
    assert kept(env, project) == ["lib", "pyproject.toml", "src/proj/__init__.py"]
    repository = only(env).repository
    assert repository is not None and repository.modified == ["lib/secret.py"]


def test_large_files(env: Environment, project: Path) -> None:
    def sparse(name: str, size: int) -> None:
        with (project / name).open("wb") as file:
            file.truncate(size)

    sparse("data.bin", (64 << 20) + 1)
    assert "data.bin" in kept(env, project)
    assert "kept" in findings(env.snapshot(), "source-size")[0].detail
    commit(project)
    assert env.snapshot().findings == []
    sparse("new.bin", (64 << 20) + 1)
    assert "new.bin" not in kept(env, project)
    assert "new.bin (64 MiB)" in findings(env.snapshot(), "source-large")[0].detail
    shutil.rmtree(project / ".git")
    sparse("huge.bin", 1 << 30)
    snapshot = env.snapshot()
    (source,) = snapshot.sources
    assert source.files == [] and source.problem == "its files have 1152 MiB, more than 1024 MiB"
    assert "huge.bin (1024 MiB)" in findings(snapshot, "source-large")[0].detail


def test_a_literal_placeholder(env: Environment, project: Path) -> None:
    editable(env, project, {"p.pth": "ROOT/src\n", "q.pth": "# {envfreeze:source:proj}\n"})
    (env.site / "loose.pth").write_text("# {envfreeze:source:proj}\n")
    (env.site / "link").symlink_to("{envfreeze:source:proj}")
    (env.site / "{envfreeze:source:proj}").write_text("")
    snapshot = env.snapshot()
    rows = {row.path: row.sha256 for row in snapshot.dists[0].rows or ()}
    assert rows["q.pth"] == sha256(b"# {envfreeze:source:proj}\n")
    assert len(findings(snapshot, "source-placeholder")) == 3


def test_hostile_pointers(env: Environment, project: Path) -> None:
    quotes = "'\\" * 400_000
    (env.site / "_x.pth").write_text("import _x, _y\n")
    (env.site / "_x.py").write_text(f"X = {quotes}\nY = '/a\0b'\nZ = '/\\N{{no}}'\n")
    (env.site / "_y.py").write_text("(" * 100_000 + "'/etc'")
    (env.site / "many.pth").write_text("".join(f"/proc/./{i}\n" for i in range(50_000)))
    (env.site / "x.egg-link").write_text("/etc\n../../../../../..\n")
    (env.site / "y.egg-link").write_bytes(b"\xff\n\n")
    env.install("z", files={}, extra={"direct_url.json": '{"dir_info": {"editable": true}}'})
    env.install("w", files={}, extra={"direct_url.json": '{"editable": ' + "[" * 90_000})
    start = time.monotonic()
    snapshot = env.snapshot()
    assert time.monotonic() - start < 20
    assert all(source.problem and not source.files for source in snapshot.sources)


# --- memory --------------------------------------------------------------------------------


def test_digests_are_remembered(env: Environment, project: Path, tmp_path: Path) -> None:
    write(project, "a", "b")
    commit(project)
    (project / "b").write_text("edited")
    editable(env, project, {"p.pth": "ROOT/src\n"})
    time.sleep(2.2)
    cache = Cache(tmp_path / "cache")
    first = env.observe(cache)
    assert first.fingerprint is not None and first.remember
    second = env.observe(cache)
    assert second.remember == {}, "nothing was hashed again"
    assert second.snapshot == first.snapshot
    (project / "new").write_text("")
    assert env.observe(cache).remember == {}, "nor where the rest is looked at anew"
    (project / "new").unlink()
    (project / "a").write_text("c")
    third = env.observe(cache).snapshot
    assert third.sources[0].repository is not None
    assert third.sources[0].repository.modified == ["a", "b"]
    assert {f.path: f.sha256 for f in third.sources[0].files}["a"] == sha256(b"c")


@pytest.mark.parametrize("style", ["setuptools-finder", "link"])
def test_a_changed_tree_is_seen(
    env: Environment, project: Path, tmp_path: Path, style: str
) -> None:
    """Where sys.path has no entry that would tell, too."""
    if style == "link":
        (env.site / "proj").symlink_to(project / "src/proj")
        env.install("proj", files={}, rows=["proj,,"], extra=direct_url(project))
    else:
        editable(env, project, STYLES[style][0])
    commit(project)
    time.sleep(2.2)
    cache = Cache(tmp_path / "cache")
    before = env.observe(cache).snapshot.sources[0]
    (project / "src/proj/__init__.py").write_text("X = 2\n")
    assert env.observe(cache).snapshot.sources[0].files != before.files
    commit(project)
    after = env.observe(cache).snapshot.sources[0]
    assert before.repository and after.repository
    assert after.repository.commit != before.repository.commit
