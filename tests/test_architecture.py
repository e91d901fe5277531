"""The house holds: imports go one way, the probe stands alone, the command line starts fast."""

from __future__ import annotations

import ast
import functools
import graphlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import envfreeze
from envfreeze import workflow

HOME = Path(envfreeze.__file__).parent
FLOORS = (
    ("errors", "probe", "program", "progress"),
    ("model",),
    ("store", "data"),
    ("targets",),
    ("resolve", "render", "diff", "doctor"),
    ("build",),
    ("workflow",),
    ("cli",),
    ("__init__", "__main__"),
)
"""From the ground up. A module imports from lower floors and from its own room, nothing else."""
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

ONLY = {
    "urllib3": {"build/engine.py", "resolve/http.py"},
    "urllib.request": {"resolve/http.py"},
    "http.client": set(),
    "requests": {"build/engine.py"},
    "docker": {"build/engine.py"},
    "typer": {
        *(f"cli/{name}.py" for name in ("basing", "guard", "main", "options", "terminal")),
        *(f"cli/commands/{path.name}" for path in (HOME / "cli" / "commands").glob("*.py")),
    },
    "rich": {"cli/coloured.py", "cli/progress.py"},
    "jinja2": {"render/dockerfile.py", "diff/html.py"},
    "rattler": {"build/conda.py", "diff/foreign/condaspec.py"},
    "yaml": {"diff/foreign/yamls.py"},
    "zstandard": {"resolve/condapack.py"},
}
"""What touches the world outside, or loads slowly, has one place."""

HEAVY = {"docker", "elftools", "installer", "jinja2", "msgspec", "packaging", "requests", "rich"}
HEAVY |= {"rattler", "ssl", "urllib3", "yaml", "zstandard"}

SOURCES = {path.relative_to(HOME).as_posix(): path for path in sorted(HOME.rglob("*.py"))}
PROBES = {name: path for name, path in SOURCES.items() if name.startswith("probe/")}


@functools.cache
def imported(path: Path) -> tuple[str, ...]:
    """As :func:`_imported`: each module is parsed once."""
    return tuple(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    """Every module that *path* imports, wherever it stands in the file, relative ones resolved."""
    package = ["envfreeze", *path.relative_to(HOME).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield f"{base}.{alias.name}" if is_module(f"{base}.{alias.name}") else base
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (a.value for a in node.args[:1] if isinstance(a, ast.Constant))


def is_module(name: str) -> bool:
    path = HOME.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def room(name: str) -> str:
    """``resolve/http.py`` and ``envfreeze.resolve.http`` are both in ``resolve``."""
    return name.removeprefix("envfreeze.").replace("/", ".").removesuffix(".py").split(".")[0]


def own(path: Path) -> Iterator[str]:
    """Our modules that *path* imports; what ``envfreeze`` itself holds is for everybody."""
    return (name for name in imported(path) if name.startswith("envfreeze."))


def test_every_room_has_its_floor() -> None:
    assert {room(name) for name in SOURCES} == set(FLOOR)


@pytest.mark.parametrize("name", SOURCES)
def test_imports_go_down(name: str) -> None:
    mine = room(name)
    up = {n for n in own(SOURCES[name]) if room(n) != mine and FLOOR[room(n)] >= FLOOR[mine]}
    assert not up


def test_no_cycles() -> None:
    graph = {
        ".".join(["envfreeze", *Path(name).with_suffix("").parts]): set(own(path))
        for name, path in SOURCES.items()
        if path.name != "__init__.py"
    }
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_no_module_stands_before_what_workflow_exports() -> None:
    """An imported module becomes a name of its package, in the place of the function."""
    modules = {Path(name).stem for name in SOURCES if name.startswith("workflow/")}
    assert not modules & set(workflow.__all__)


@pytest.mark.parametrize("module", ONLY)
def test_the_edge_has_one_place(module: str) -> None:
    users = {
        name
        for name, path in SOURCES.items()
        if any(found == module or found.startswith(f"{module}.") for found in imported(path))
    }
    assert users <= ONLY[module]


def test_the_command_line_starts_light() -> None:
    program = (
        "import json, sys\nfrom envfreeze.cli.main import run\n"
        "try:\n    run(['--help'])\nexcept SystemExit:\n    pass\n"
        "print('\\n' + json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
    assert not loaded & HEAVY


# --- the probe -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROBES)
def test_the_probe_needs_nothing_but_the_standard_library(name: str) -> None:
    names = set(imported(PROBES[name]))
    assert not {n for n in names if n.startswith("envfreeze.") and room(n) != "probe"}
    others = {n.partition(".")[0] for n in names} - {"envfreeze"}
    assert others <= sys.stdlib_module_names


@pytest.mark.parametrize("name", PROBES)
def test_the_probe_is_python_3_6(name: str) -> None:
    ast.parse(PROBES[name].read_text("utf-8"), name, feature_version=(3, 6))


def old_pythons() -> list[str]:
    """Real interpreters of 3.6 to 3.9 here: on PATH, or where pyenv keeps them."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = []
    for minor in range(6, 10):
        kept = [str(path) for path in root.glob(f"versions/3.{minor}.*/bin/python3.{minor}")]
        on_path = shutil.which(f"python3.{minor}")
        found += kept or ([on_path] if on_path else [])
    return found


def test_old_interpreters_compile_the_probe() -> None:
    program = "import sys\nfor p in sys.argv[1:]: compile(open(p, 'rb').read(), p, 'exec')"
    ran = []
    for python in old_pythons():
        done = subprocess.run(
            [python, "-S", "-B", "-c", program, *map(str, PROBES.values())],
            capture_output=True,
            text=True,
            check=False,
        )
        if "pyenv:" in done.stderr:  # a shim for a version that is not chosen
            continue
        assert done.returncode == 0, f"{python}: {done.stderr}"
        ran.append(python)
    if not ran:
        pytest.skip("no Python 3.6 to 3.9 on this machine")
