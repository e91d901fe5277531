"""What a command says: facts on one screen, and nothing that a hostile name could forge."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from envfreeze.cli import summary
from envfreeze.diff.compare import Change, Difference
from envfreeze.diff.judge import judge, parse
from envfreeze.model.conda import CondaFiles
from envfreeze.model.lock import (
    Artifact,
    Lock,
    LooseEntry,
    LooseSite,
    Package,
    PackageFacts,
    PackageTool,
    SystemLayer,
    Unproved,
)
from envfreeze.model.origin import Origin
from envfreeze.model.snapshot import Finding
from envfreeze.targets.local import LocalTarget
from envfreeze.workflow import Built, Captured
from tests.support import condas, locks

GOLDEN = Path(__file__).parents[1] / "golden" / "summary"


def package(name: str, proof: Any, evidence: str) -> Package:
    facts = PackageFacts(proof=proof, evidence=evidence, tree="0" * 64, info=f"{name}-1.dist-info")
    wheel = Artifact(path=f"x/{name}.whl", size=1, hashes={"sha256": "0" * 64})
    return Package(name=name, wheels=[wheel], tool=PackageTool(envfreeze=facts))


def captured(lock: Lock, *, own: bool = False, **changes: Any) -> Captured:
    known: dict[str, Any] = {
        "target": LocalTarget(python="/p/bin/python", described="/p", own=own),
        "found": 3,
        "counts": {"proved": 2, "packed": 1},
        "problems": [],
        "packed_bytes": 0,
    }
    return Captured(lock=lock, **(known | changes))


def lost(name: str) -> Unproved:
    return Unproved(name=name, version="1", site="/s", info="x", reason="it is on PYTHONPATH")


def a_lock(**machine: Any) -> Lock:
    layer = SystemLayer(
        kernel="Linux",
        machine="x86_64",
        os_release={"PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)"},
        packages=[locks.deb("libc6", proof="proved"), locks.deb("libx")],
        unproved=machine.pop("system_unproved", []),
    )
    return locks.lock(layer=layer, id="7f3a91c2" + "0" * 56, **machine)


def small() -> Captured:
    packages = [
        package("demo", "proved", "4 files equal the RECORD of demo.whl"),
        package("private", "packed", "rebuilt from the installed files: no index offers it"),
    ]
    loose = LooseSite(
        site="/s",
        archive=Artifact(path="x", size=1, hashes={}),
        files=[LooseEntry(path="a", sha256="0" * 64), LooseEntry(path="b", link="a")],
    )
    finding = Finding(
        kind="edited-files",
        place="/s/requests-2.dist-info",
        detail="1 file not as its RECORD says: site/requests/api.py",
    )
    lock = a_lock(loose=[loose], findings=[finding, Finding(kind="bare", place="/x")])
    return captured(msgspec.structs.replace(lock, packages=packages), packed_bytes=1_234_567)


def open_lock() -> Captured:
    files = [LooseEntry(path="a", sha256="0" * 64)]
    lock = a_lock(
        hermetic=False,
        unproved=[lost(f"lost{n:02}") for n in range(20)],
        loose=[LooseSite(site="/s", files=files)],
        system_unproved=[lost("libz")],
    )
    return captured(lock, found=1, counts={"unproved": 20, "shadowed": 1})


def hostile() -> Captured:
    name = "evil\n  env.lock  00000000  hermetic\x1b[2J\u202e"
    lock = a_lock(
        hermetic=False, unproved=[lost(name)], findings=[Finding(kind="k", place="p\tq\rr")]
    )
    facts = locks.interpreter(version="3.11.7\nforged", free_threaded=True, venv=False)
    layer = msgspec.structs.replace(lock.machine.interpreter, facts=facts)
    machine = msgspec.structs.replace(lock.machine, interpreter=layer)
    tool = msgspec.structs.replace(lock.tool, envfreeze=machine)
    return captured(msgspec.structs.replace(lock, tool=tool))


def bare() -> Captured:
    lock = locks.lock(id="1" * 64)
    return captured(lock, found=0, counts={})


CASES = {"small": small, "open": open_lock, "hostile": hostile, "bare": bare}


@pytest.mark.parametrize("name", CASES)
def test_as_a_person_reads_it(name: str) -> None:
    text = summary.capture_text(CASES[name](), Path("my env.lock"), 1.94)
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("ENVFREEZE_TESTS_WRITE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")
    assert not set(text) & set("\x1b\r\t\u202e")


def test_a_file_name_that_is_not_utf8() -> None:
    text = summary.capture_text(bare(), Path(os.fsdecode(b"env-\xff.lock")), 0)
    assert "env-\\udcff.lock" in text
    text.encode("utf-8")


def test_warnings() -> None:
    found = summary.warnings(captured(a_lock(), own=True, problems=["an index\n\x1b[1m"]))
    assert found[0] == "warning: an index\\n\\x1b[1m"
    assert found[1].startswith("note: this is the environment that envfreeze itself runs from")
    assert summary.warnings(captured(a_lock())) == []


def test_json_of_a_capture() -> None:
    report = msgspec.json.decode(summary.capture_json(small(), Path("env.lock")))
    assert report == {
        "schema": 1,
        "lock": "env.lock",
        "id": "7f3a91c2" + "0" * 56,
        "hermetic": True,
        "target": "/p/bin/python",
        "found": 3,
        "counts": {
            "proved": 2,
            "patched": 0,
            "packed": 1,
            "in the base image": 0,
            "editable": 0,
            "kept as files": 0,
            "in source trees": 0,
            "unproved": 0,
            "shadowed": 0,
        },
        "built_here": 0,
        "packed_bytes": 1_234_567,
        "problems": [],
    }


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        (["sdist", "sdist"], "2 packed (built here from sdists)"),
        (["sdist", "git"], "2 packed (built here from source)"),
        (["sdist", None], "2 packed (1 built here from sdists)"),
        (["wheel", None], "2 packed\n"),
    ],
)
def test_what_of_the_packed_was_built_here(kinds: list[Any], said: str) -> None:
    packages = []
    for number, kind in enumerate(kinds):
        made = package(f"p{number}", "packed", "rebuilt")
        origins = [Origin(kind=kind, evidence="told")] if kind else []
        facts = msgspec.structs.replace(made.facts, built_from=origins)
        packages.append(msgspec.structs.replace(made, tool=PackageTool(envfreeze=facts)))
    found = captured(
        msgspec.structs.replace(a_lock(), packages=packages), counts={"packed": 2}, found=2
    )
    assert said in summary.capture_text(found, Path("env.lock"), 1.0)
    report = msgspec.json.decode(summary.capture_json(found, Path("env.lock")))
    assert report["built_here"] == len([kind for kind in kinds if kind not in {None, "wheel"}])


def test_what_was_built() -> None:
    equal = Difference(before="env.lock", after="/v", changes=[])
    text = summary.built_text(
        Built(place="re\nbuilt", packages=1, files=0, difference=equal),
        "x/python",
        judge(equal),
    )
    assert text == "  re\\nbuilt  verified: 1 package equal to the lock\n  next: x/python\n"
    change = Change(layer="packages", kind="removed", name="demo", before="1.0")
    differs = Difference(before="env.lock", after="/v", changes=[change])
    built = Built(place="v", packages=2, files=0, difference=differs)
    own = {"id": "mine", "names": ["demo"], "level": "changes", "reason": "r", "source": "s"}
    text = summary.built_text(built, "", judge(differs, parse([own])))
    assert "\nChanges results: demo 1.0 only on the left (r).\n" in text
    assert text.splitlines()[::2][:2] == ["  v  NOT verified", "1 difference: env.lock -> /v"]


def test_names_of_interpreters() -> None:
    facts = SimpleNamespace(implementation="pypy", version="3.10", free_threaded=False, venv=False)
    assert summary._python(facts) == "PyPy 3.10"  # type: ignore[arg-type]


def test_conda_packages_are_counted_and_the_others_named() -> None:
    layer = condas.layer(
        condas.package("python"),
        condas.packed("foo", evidence="packed from the installed files: its URL is gone"),
        loose=CondaFiles(
            archive=condas.packed("loose").artifact,
            files=[LooseEntry(path="share/x", sha256="0" * 64)],
        ),
    )
    finding = Finding(
        kind="edited-files", place="/opt/env/conda-meta/foo-1.0-h0_0.json", detail="1 file"
    )
    found = captured(a_lock(conda=layer, findings=[finding]))
    text = summary.capture_text(found, Path("env.lock"), 1.0)
    assert "  2 conda packages   1 proved · 1 packed\n" in text
    assert "  1 file that no package owns, packed\n" in text
    assert "    packed    conda foo: packed from the installed files: its URL is gone\n" in text
    assert "edited-files" not in text, "it has been told"
    assert text.endswith("next: envfreeze build env.lock --to conda --into rebuilt\n")
    report = msgspec.json.decode(summary.capture_json(found, Path("env.lock")))
    assert report["conda"] == {"proved": 1, "packed": 1, "unproved": 0}


def test_a_conda_lock_that_lacks_something_is_not_to_be_built() -> None:
    lost_one = condas.package("a", proof="unproved", artifact=None, evidence="its URL is gone")
    text = summary.capture_text(
        captured(a_lock(conda=condas.layer(lost_one))), Path("env.lock"), 1.0
    )
    assert "    unproved  conda a: its URL is gone\n" in text
    assert "it cannot be rebuilt" in text
