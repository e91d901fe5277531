"""The whole way (capture, build, verify, capture again), and an account of both ends of it.

The account is taken without envfreeze: sys.path as the interpreter itself has it, the files by
walking, distributions by importlib.metadata, modules by importing them. So what envfreeze says
of a rebuild is held against what somebody else sees.
"""

from __future__ import annotations

import csv
import email
import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envfreeze import workflow
from envfreeze.model.lock import Lock
from envfreeze.model.snapshot import Finding
from tests.support.cli import ok
from tests.support.environments import Environment
from tests.support.tally import Row

ROOT = Path(__file__).resolve().parents[2]

_INSTALLERS_OWN = {"RECORD", "uv_cache.json", "uv_build.json"}
_UNEVEN = {*_INSTALLERS_OWN, "INSTALLER", "REQUESTED", "direct_url.json"}
"""Not every installer gives a hash of these in RECORD."""
_PIPS_COPIES = re.compile(r"(pip|easy_install)-?3?(\.\d+)?")
_LEFT_OUT = frozenset({"leftover", "dangling-link", "damaged-metadata", "unreadable"})
"""Findings that may stand for a metadata directory which is not counted as a distribution."""

_LOOK = """
import json, sys
print("@" + json.dumps({
    "path": [p for p in sys.path[1:] if p],
    "prefix": sys.prefix,
    "version": "%d.%d" % sys.version_info[:2],
}))
"""

_IMPORT = """
import hashlib, importlib, json, os, pkgutil, sys
entries = json.loads(sys.argv[1])
found = {}
real, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
os.dup2(null, 1)
for name in sorted({m.name for m in pkgutil.iter_modules(entries)} - {"__main__"}):
    try:
        module = importlib.import_module(name)
        with open(module.__file__, "rb") as file:
            found[name] = hashlib.sha256(file.read()).hexdigest()
    except BaseException as error:
        found[name] = type(error).__name__
sys.stdout.flush()
os.dup2(real, 1)
print("@" + json.dumps(found))
"""


@dataclass(frozen=True, kw_only=True)
class Account:
    """What is in an environment, as others see it."""

    files: dict[str, str]
    """``site/PATH``, ``bin/NAME``, ``include/...`` to a word for the content. Of two files that
    lie at the same path in two site directories, the one that sys.path meets first."""
    metadata: list[tuple[str, str, str]]
    """Full path, name and version of each metadata directory (or file, or egg) that
    importlib.metadata finds; a name or version that it cannot read is empty."""
    imports: dict[str, str]
    """Top-level module to the digest of the file it was imported from, or why it was not."""
    freeze: set[str] | None
    """What ``pip freeze --all`` prints; None: there is no pip."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One environment after the whole way."""

    lock: Lock
    report: dict[str, Any]
    """``capture --json``."""
    rebuilt: Environment
    before: Account
    after: Account
    said: str
    """What the capture told on stderr."""

    def __getitem__(self, name: str) -> Any:
        """The locked package of that name."""
        return {package.name: package for package in self.lock.packages}[name]

    @property
    def findings(self) -> dict[str, list[Finding]]:
        found: dict[str, list[Finding]] = defaultdict(list)
        for finding in self.lock.machine.findings:
            found[finding.kind].append(finding)
        return dict(found)


# --- the account ---------------------------------------------------------------------------


def account(env: Environment) -> Account:
    """Look at *env* from outside."""
    about = _ask(env, _LOOK)
    sites = _site_entries(env, about["path"])
    dists = list(_distributions(about["path"], env.stdlib()))
    return Account(
        files={**_elsewhere(dists, sites), **_in_sites(sites)},
        metadata=sorted((str(_place(dist)), *_name_and_version(dist)) for dist in dists),
        imports=_ask(env, _IMPORT, json.dumps(sites)),
        freeze=_freeze(env),
    )


def _ask(env: Environment, code: str, *arguments: str) -> Any:
    done = subprocess.run(
        [env.python, "-B", "-c", code, *arguments],
        env=env.environ,
        cwd=env.prefix,
        capture_output=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout.decode().rpartition("@")[2])


def _site_entries(env: Environment, path: list[str]) -> list[str]:
    """The entries of sys.path beyond the standard library, each place once, in their order."""
    standard = {os.path.realpath(entry) for entry in env.stdlib()}
    found: dict[str, str] = {}
    for entry in path:
        real = os.path.realpath(entry)
        if real not in standard and Path(real).exists():
            found.setdefault(real, entry)
    return list(found.values())


def _distributions(
    path: list[str], standard: list[str]
) -> Iterator[importlib.metadata.PathDistribution]:
    known = {os.path.realpath(entry) for entry in standard}
    for entry in dict.fromkeys(map(os.path.realpath, path)):
        if entry not in known:
            yield from importlib.metadata.distributions(path=[entry])  # type: ignore[misc]


def _place(dist: importlib.metadata.PathDistribution) -> Any:
    return dist._path


def _name_and_version(dist: importlib.metadata.PathDistribution) -> tuple[str, str]:
    # Not dist.metadata: what it gives for a metadata directory without METADATA has changed.
    text = dist.read_text("METADATA") or dist.read_text("PKG-INFO") or dist.read_text("") or ""
    head = email.message_from_string(text)
    return str(head["Name"] or ""), str(head["Version"] or "")


def _in_sites(sites: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    # An egg on sys.path lies inside of the site directory that names it.
    tops = [s for s in sites if not any(s.startswith(other + "/") for other in sites)]
    for top in filter(os.path.isdir, tops):
        earlier = set(found)
        for path in _files(Path(top)):
            relative = path.relative_to(top)
            if (
                relative.name == "_envfreeze_sites.pth"
            ):  # Of the rebuilt venv, as its pyvenv.cfg is.
                continue
            if not _is_bytecode(relative) and not _is_hidden(relative, earlier):
                found.setdefault(f"site/{relative}", _word(path))
    return found


def _files(top: Path) -> Iterator[Path]:
    for directory, names, files in os.walk(top):
        links = [name for name in names if Path(directory, name).is_symlink()]
        yield from (Path(directory, name) for name in [*files, *links])


def _is_hidden(path: Path, earlier: set[str]) -> bool:
    """Whether an earlier site directory has the package that *path* lies in: nobody meets it."""
    return f"site/{path.parts[0]}/__init__.py" in earlier


def _is_bytecode(path: Path) -> bool:
    return "__pycache__" in path.parts and path.suffix in {".pyc", ".pyo"}


def _word(path: Path) -> str:
    if path.is_symlink() and not path.is_file():
        return f"link {path.readlink()}"
    if path.name in _INSTALLERS_OWN and path.parent.name.endswith(".dist-info"):
        return _claims(path) if path.name == "RECORD" else "the installer's own"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _claims(record: Path) -> str:
    """What RECORD says of the files below its directory, whatever the order and the quoting."""
    rows = set()
    for row in csv.reader(record.read_text(encoding="utf-8", errors="replace").splitlines()):
        if len(row) < 2 or not row[0] or row[0].startswith(("..", "/")):
            continue
        name = Path(row[0])
        own = name.name in _UNEVEN and name.parent.name.endswith(".dist-info")
        # A row without a hash claims nothing: installers name so what they made here themselves.
        if row[1] and not own and not _is_bytecode(name):
            rows.add(f"{row[0]} {row[1]}")
    return "RECORD " + hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()


def _elsewhere(
    dists: list[importlib.metadata.PathDistribution], sites: list[str]
) -> dict[str, str]:
    """What RECORDs name outside of the site directories: scripts, headers, data."""
    found: dict[str, str] = {}
    inside = tuple(os.path.realpath(site) + "/" for site in sites)
    for dist in dists:
        site = Path(_place(dist)).parent
        prefix = next((p.parent for p in site.parents if p.name in {"lib", "lib64"}), None)
        wrappers = {
            point.name
            for point in dist.entry_points
            if point.group in {"console_scripts", "gui_scripts"}
        }
        for file in _recorded(dist):
            path = Path(os.path.normpath(site / file))
            if prefix is None or str(path).startswith(inside) or not path.is_relative_to(prefix):
                continue
            if not path.is_file() or _is_bytecode(path):
                continue
            key = re.sub(
                r"^include/(site/)?python[^/]+/", "include/", str(path.relative_to(prefix))
            )
            found.setdefault(
                key, _script(path, wrappers) if key.startswith("bin/") else _word(path)
            )
    return found


def _recorded(dist: importlib.metadata.PathDistribution) -> list[str]:
    text = dist.read_text("RECORD") or ""
    return [
        row[0] for row in csv.reader(text.splitlines()) if row and row[0].startswith(("..", "/"))
    ]


def _script(path: Path, wrappers: set[str]) -> str:
    executable = "executable" if os.access(path, os.X_OK) else "not executable"
    copied = _PIPS_COPIES.fullmatch(path.name)
    if path.name in wrappers or (copied and copied[1] in wrappers):
        # Each installer words these otherwise.
        return f"wrapper, {executable}"
    content = path.read_bytes()
    content = re.sub(rb"\A#!/bin/sh\n'''exec' .*\n' '''\n", b"#!python\n", content)
    content = re.sub(rb"\A#!\S*python[0-9.]*", b"#!python", content)
    return f"{hashlib.sha256(content).hexdigest()} {executable}"


def _freeze(env: Environment) -> set[str] | None:
    """By the environment's own pip, else by the tests' pip where it can."""
    done = _run_pip(env, [env.python, "-B", "-m", "pip", "freeze", "--all"])
    if "no such option: --all" in done.stderr:
        done = _run_pip(env, [env.python, "-B", "-m", "pip", "freeze"])
    if done.returncode and "No module named pip" in done.stderr:
        done = _run_pip(
            env, [sys.executable, "-m", "pip", "--python", env.python, "freeze", "--all"]
        )
        if done.returncode:  # Too old for it.
            return None
    assert done.returncode == 0, done.stderr
    return {line for line in done.stdout.splitlines() if line and not line.startswith("#")}


def _run_pip(env: Environment, argv: list[str | Path]) -> subprocess.CompletedProcess[str]:
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        argv,
        env={**env.environ, **quiet},
        cwd=env.prefix,
        capture_output=True,
        text=True,
        check=False,
    )


# --- the way -------------------------------------------------------------------------------


def command(env: Environment, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run envfreeze with the variables of *env*."""
    kept = {key: value for key, value in os.environ.items() if key.startswith("ENVFREEZE_")}
    return subprocess.run(
        [sys.executable, "-m", "envfreeze", *map(str, arguments)],
        env={**env.environ, **kept},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass(kw_only=True)
class Expected:
    """Where a rebuild is known to differ, each with its reason in the test."""

    without: frozenset[str] = frozenset()
    """Keys of :attr:`Account.files` that do not come back: pip's leftovers, dangling links."""
    metadata: frozenset[str] = frozenset()
    """Names of metadata directories that do not come back, with all that is in them."""
    imports: frozenset[str] = frozenset()
    """Modules that do not come back."""
    moved: frozenset[str] = frozenset()
    """Keys of :attr:`Account.files` that differ, since what they name lies elsewhere now."""
    options: tuple[str, ...] = ()
    """For the capture."""

    @property
    def heads(self) -> tuple[str, ...]:
        return tuple(f"site/{info}/" for info in self.metadata)


def whole_way(env: Environment, into: Path, expected: Expected) -> tuple[Outcome, Row]:
    """Capture *env*, rebuild it below *into*, and hold each against the other."""
    into.mkdir(parents=True, exist_ok=True)
    path = into / "env.lock"
    done = ok(command(env, "capture", env.python, "-o", path, "--json", *expected.options))
    report = json.loads(done.stdout)
    lock = workflow.load(path)
    before = account(env)
    check_counts(lock, report, before)
    built = ok(command(env, "build", path, "--to", "venv", "--into", into / "rebuilt"))
    assert "verified" in built.stdout
    rebuilt = Environment(prefix=into / "rebuilt", environ=_without_path(env.environ, built.stdout))
    ok(command(rebuilt, "verify", path, rebuilt.prefix))
    after = account(rebuilt)
    same = compare(before, after, expected)
    ok(command(rebuilt, "capture", rebuilt.python, "-o", into / "again.lock", "--quiet"))
    again = workflow.load(into / "again.lock").machine
    assert again.layers == lock.machine.layers
    assert again.id == lock.machine.id
    outcome = Outcome(
        lock=lock, report=report, rebuilt=rebuilt, before=before, after=after, said=done.stderr
    )
    return outcome, Row.of(lock, report, same, len(before.files))


def _without_path(environ: Mapping[str, str], said: str) -> dict[str, str]:
    """The rebuilt one stands alone, but for the PYTHONPATH that the build told of."""
    kept = {key: value for key, value in environ.items() if not key.startswith("PYTHON")}
    needed = re.search(r"it needs: export PYTHONPATH=(\S+)", said)
    return {**kept, "PYTHONPATH": needed[1]} if needed else kept


def compare(before: Account, after: Account, expected: Expected) -> int:
    """Assert that the rebuild is the original; the number of identical files."""
    lost = {k for k in before.files if k.startswith(expected.heads)} if expected.heads else set()
    wanted = {k: v for k, v in before.files.items() if k not in expected.without | lost}
    assert expected.without | expected.moved <= before.files.keys()
    wanted = {k: v for k, v in wanted.items() if k not in expected.moved}
    there = {k: v for k, v in after.files.items() if k not in expected.moved}
    differing = sorted(k for k in wanted.keys() | there.keys() if wanted.get(k) != there.get(k))
    assert not differing, {k: (wanted.get(k), after.files.get(k)) for k in differing}
    infos = {(Path(place).name, name, version) for place, name, version in before.metadata}
    known = sorted((i, n, v) for i, n, v in infos if i not in expected.metadata)
    assert sorted((Path(place).name, n, v) for place, n, v in after.metadata) == known
    imports = {k: v for k, v in before.imports.items() if k not in expected.imports}
    assert after.imports == imports
    if before.freeze is not None:
        assert after.freeze == before.freeze
    return len(wanted)


def check_counts(lock: Lock, report: Mapping[str, Any], seen: Account | None) -> None:
    """Nothing is lost in silence: what was found is locked or named, and so is what
    importlib.metadata sees; each finding says what, where and what to do."""
    machine = lock.machine
    counts = Counter(report["counts"])
    shadowed = [f for f in machine.findings if f.kind == "shadowed"]
    named = len(machine.unproved) + len(shadowed)
    assert report["found"] == len(lock.packages) + len(machine.loose_dists) + named
    assert report["found"] == counts.total()
    for finding in machine.findings:
        assert finding.kind and finding.place and finding.detail and finding.advice, finding
    if seen is None:
        return
    places = {finding.place for finding in machine.findings if finding.kind in _LEFT_OUT}
    counted = [place for place, _, _ in seen.metadata if place not in places]
    assert len(counted) == report["found"], (counted, report)
