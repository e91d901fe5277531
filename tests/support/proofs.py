"""Small wheels, what the probe would see of them, and verdicts taken apart."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from envfreeze.model.snapshot import Dist, Row, Scheme
from envfreeze.resolve.http import Http
from envfreeze.resolve.index import Index
from envfreeze.resolve.pipconf import IndexSettings
from envfreeze.resolve.wheels import NotProved, WheelProof
from tests.support.fakeindex import make_wheel, record_hash

FILES = {
    "demo/__init__.py": "x = 1\n",
    "demo/data.bin": "d" * 5000,
    "demo-1.0.data/purelib/demo/more.py": "y = 2\n",
    "demo-1.0.data/platlib/demo/fast.so": "elf",
}
SCRIPTS = {"run": "#!python\nprint(1)\n", "sh": "#!/bin/sh\ntrue\n", "demo": "#!python\nold\n"}
DATA = {"share/demo.txt": "text", "bin/tool": "binary", "include/demo/api.h": "int a;"}
HEADERS = {"demo.h": "int b;"}
ENTRY_POINTS = "[console_scripts]\ndemo = demo:main\n"


def index_at(url: str | None, **settings: object) -> Index:
    made = IndexSettings(index_url=url, retries=0, timeout=5, **settings)  # type: ignore[arg-type]
    return Index(made, Http(made))


def full(directory: Path, **changes: object) -> Path:
    given: dict[str, object] = {
        "scripts": SCRIPTS,
        "data": DATA,
        "headers": HEADERS,
        "entry_points": ENTRY_POINTS,
    }
    return make_wheel(directory, "demo", "1.0", FILES, **(given | changes))  # type: ignore[arg-type]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def install(wheel: Path, **changes: object) -> Dist:
    """What the probe would see after pip installed *wheel* (fact sheet, 1.3)."""
    with zipfile.ZipFile(wheel) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    info = next(name.split("/")[0] for name in members if name.endswith(".dist-info/RECORD"))
    rows = [
        Row(*place(name, info), sha256(content), len(content), False, None)
        for name, content in members.items()
        if not name.endswith((".data/scripts/demo", ".dist-info/RECORD"))
    ]
    rows += [
        Row("site", f"{info}/RECORD", "00", 1, False, ""),
        Row("site", f"{info}/INSTALLER", "00", 4, False, None),
        Row("site", f"{info}/REQUESTED", "00", 0, False, None),
        Row("site", "demo/__pycache__/__init__.cpython-311.pyc", "00", 9, False, ""),
    ]
    if "demo-1.0.data/scripts/demo" in members:
        rows.append(Row("scripts", "demo", "ff" * 32, 200, True, None))
        gone = record_hash(members["demo-1.0.data/scripts/demo"])
        rows.append(Row("site", "demo-1.0.data/scripts/demo", None, None, False, gone))
    meta = members[f"{info}/METADATA"].decode().splitlines()
    fields = dict(line.split(": ", 1) for line in meta if ": " in line)
    lines = members[f"{info}/WHEEL"].decode().splitlines()
    base: dict[str, object] = {
        "site": "/venv/lib/python3.11/site-packages",
        "info": info,
        "name": fields["Name"],
        "version": fields["Version"],
        "rows": rows,
        "tags": [line[5:] for line in lines if line.startswith("Tag: ")],
        "build": next((line[7:] for line in lines if line.startswith("Build: ")), None),
        "wrappers": ["demo"] if f"{info}/entry_points.txt" in members else [],
    }
    return Dist(**(base | changes))  # type: ignore[arg-type]


def place(name: str, info: str) -> tuple[Scheme, str]:
    head, _, rest = name.partition("/")
    if not head.endswith(".data"):
        return "site", name
    scheme, _, path = rest.partition("/")
    if scheme == "data" and path.startswith("bin/"):
        return "scripts", path[4:]
    if scheme == "data" and path.startswith("include/"):
        return "headers", path[8:]
    known: dict[str, Scheme] = {"scripts": "scripts", "headers": "headers", "data": "data"}
    return known.get(scheme, "site"), path


def edit(dist: Dist, path: str, change: Callable[[Row], Row | None]) -> Dist:
    """*dist* with one row changed, or dropped."""
    rows = []
    for row in dist.rows or ():
        changed = change(row) if row.path == path else row
        if changed is not None:
            rows.append(changed)
    assert rows != dist.rows
    return msgspec.structs.replace(dist, rows=rows)


def edited(row: Row) -> Row:
    """Somebody changed the file: RECORD says what it was."""
    return msgspec.structs.replace(row, sha256="ee" * 32, claim="sha256=" + b64(row.sha256))


def b64(digest: str | None) -> str:
    raw = bytes.fromhex(digest or "")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def proved(verdict: object) -> WheelProof:
    assert isinstance(verdict, WheelProof), verdict
    return verdict


def refused(verdict: object) -> NotProved:
    assert isinstance(verdict, NotProved), verdict
    return verdict
