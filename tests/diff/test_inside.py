"""What was seen inside an image, against the lock: each layer can fail."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from envfreeze.diff import inside, verdict
from envfreeze.diff.compare import LAYERS, Change, Difference
from envfreeze.diff.inside import Inside
from envfreeze.model.identity import tree_digest
from envfreeze.model.lock import Edit, InterpreterLayer, Lock, LooseEntry, SystemLayer, UnownedFiles
from tests.doctor.test_gpu import package
from tests.support.locks import deb, interpreter, lock

OWN: list[tuple[str, str | None]] = [("bin/python3.11", "a" * 64), ("lib/os.py", "b" * 64)]
ETC: list[tuple[str, str | None]] = [("/etc/python3.11/sitecustomize.py", "c" * 64)]


def digest(rows: list[tuple[str, str | None]]) -> str:
    return tree_digest((path, word or "") for path, word in rows)


def a_lock(**changes: Any) -> Lock:
    facts = interpreter(**changes.pop("facts", {}))
    values = {"origin": "packed", "files": digest(OWN)} | changes
    unowned = UnownedFiles(
        files=[
            LooseEntry(path="usr/local/lib/libx.so.1", sha256="d" * 64),
            LooseEntry(path="usr/local/lib/libx.so", link="libx.so.1"),
        ]
    )
    layer = SystemLayer(kernel="Linux", machine="x86_64", unowned=unowned, packages=[deb("libz")])
    return lock(interpreter=InterpreterLayer(facts=facts, **values), layer=layer)


def seen(**changes: Any) -> Inside:
    values: dict[str, Any] = {
        "own": OWN,
        "configuration": ETC,
        "files": {"/usr/local/lib/libx.so.1": "d" * 64, "/usr/local/lib/libx.so": "-> libx.so.1"},
        "environment": {"LANG": "C"},
        "python": "/home/u/env/bin/python",
        "real": "/home/u/py/bin/python3.11",
        "wanted": "/home/u/py/bin/python3.11",
    }
    return Inside(**(values | changes))


def told(made: Lock, found: Inside) -> list[tuple[str, str, str]]:
    changes = [*inside.changes(made, found, {"LANG": "C"}), *inside.python(made, found)]
    return [(change.layer, change.kind, change.name) for change in changes]


def test_nothing_differs() -> None:
    assert told(a_lock(), seen()) == []


@pytest.mark.parametrize(
    ("found", "layer", "name"),
    [
        ({"own": [("bin/python3.11", "e" * 64), OWN[1]]}, "interpreter", "its own files"),
        ({"own": OWN[:1]}, "interpreter", "its own files"),
        ({"own": [OWN[0], ("lib/os.py", None)]}, "interpreter", "its own files"),
        ({"environment": {}}, "environment", "LANG"),
        ({"environment": {"LANG": "D"}}, "environment", "LANG"),
        ({"python": "/usr/local/bin/python", "real": "/x"}, "environment", "python on PATH"),
        ({"python": "/other/venv/bin/python"}, "environment", "python on PATH"),
        ({"python": None}, "environment", "python on PATH"),
    ],
)
def test_each_is_told(found: dict[str, Any], layer: str, name: str) -> None:
    assert told(a_lock(), seen(**found)) == [(layer, "changed", name)]


def test_a_library_that_no_package_owns() -> None:
    found = seen(files={"/usr/local/lib/libx.so": "-> libx.so.2"})
    assert told(a_lock(), found) == [
        ("system", "changed", "/usr/local/lib/libx.so.1"),
        ("system", "changed", "/usr/local/lib/libx.so"),
    ]


def test_an_interpreter_of_system_packages() -> None:
    """With its configuration, as a capture has it; another set of packages is not a difference."""
    made = a_lock(origin="system", files=digest([*OWN, *ETC]))
    assert told(made, seen()) == []
    made = a_lock(origin="system", files="f" * 64)
    assert told(made, seen()) == [("interpreter", "unknown", "its own files")]
    assert told(a_lock(files=None), seen(own=[])) == []


def test_a_link_is_as_good_where_it_is_no_venv() -> None:
    made = a_lock(facts={"venv": False})
    assert told(made, seen(python="/usr/lib/envfreeze/bin/python")) == []


def test_the_table() -> None:
    edited = package("demo", "1.0")
    tool = msgspec.structs.replace(
        edited.tool,
        envfreeze=msgspec.structs.replace(
            edited.facts, edits=[Edit(path="site/demo.py", kind="deleted")]
        ),
    )
    made = msgspec.structs.replace(
        a_lock(), packages=[msgspec.structs.replace(edited, tool=tool), package("other", "2.0")]
    )
    counts = verdict.Counts(files=40, own=1900, unowned=2, variables=3, started=True)
    same = Difference(before="a", after="b", changes=[])
    rows = verdict.as_table(verdict.verdicts(made, same, counts, LAYERS)).splitlines()
    assert [" ".join(row.split()) for row in rows] == [
        "interpreter implementation, version, ABI, platform, 1900 files equal",
        "packages 2 distributions, 40 files equal",
        "patches 1 edited file equal",
        "system versions of 1 system package, 2 files that none owns equal",
        "environment 3 variables, python on PATH, a start as its user equal",
    ]
    assert len({row.rindex("equal") for row in rows}) == 1
    words = {v.layer: v.verdict for v in verdict.verdicts(made, same, counts, LAYERS)}
    assert set(words.values()) == {"equal"}
    assert list(words) == ["interpreter", "packages", "patches", "system", "environment"]
    unknown = Change(layer="interpreter", kind="unknown", name="its own files")
    some = Difference(before="a", after="b", changes=[unknown])
    first = verdict.verdicts(made, some, counts, LAYERS)[0]
    assert first.compared == "implementation, version, ABI, platform"
    changes = [
        Change(layer="packages", kind="content", name="demo"),
        Change(layer="system", kind="unknown", name="system packages"),
        Change(layer="environment", kind="changed", name="LANG"),
    ]
    differs = Difference(before="a", after="b", changes=changes)
    found = verdict.verdicts(made, differs, counts, LAYERS)
    assert {v.layer: v.verdict for v in found} == {
        "interpreter": "equal",
        "packages": "differs",
        "patches": "differs",
        "system": "not compared",
        "environment": "differs",
    }
    report = msgspec.json.decode(
        verdict.as_report(made, "e" * 64, differs, found), type=verdict.Report
    )
    assert report.layers == found
    assert report.changes == changes
    assert (report.equal, report.lock, report.lock_sha256) == (False, "a" * 64, "e" * 64)
