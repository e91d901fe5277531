"""Where an interpreter comes from when somebody chooses: what is taken, and what is refused."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from envfreeze.build import interpreters
from envfreeze.build.interpreters import Chosen
from envfreeze.build.ocibase import BaseTree
from envfreeze.errors import EngineError, UsageError
from envfreeze.model.lock import InterpreterLayer, Lock
from envfreeze.store import Cache
from tests.support import locks, ocis

PATCHLEVEL = b'#define PY_MAJOR_VERSION 3\n#define PY_VERSION              "3.11.7"\n'
STANDALONE: Mapping[str, bytes | str | int | None] = {
    "python": None,
    "python/bin/python3.11": b"\x7fELF",
    "python/bin/python3": "python3.11",
    "python/include/python3.11/patchlevel.h": PATCHLEVEL,
    "python/lib/python3.11/os.py": b"import sys\n",
    "python/lib/python3.11/__pycache__/os.cpython-311.pyc": b"x",
    "python/lib/python3.11/site-packages/pip/__init__.py": b"",
}


def of(origin: Any = "packed", **more: Any) -> Lock:
    layer = {"facts": locks.interpreter(), "origin": origin} | more
    return locks.lock(interpreter=InterpreterLayer(**layer))


def archive(place: Path, entries: Mapping[str, Any] = STANDALONE) -> Path:
    path = place / "python.tar.gz"
    path.write_bytes(gzip.compress(ocis.layer(entries)))
    return path


def chosen(place: Path, lock: Lock, wanted: str | None, url: Path | None = None) -> Chosen:
    def download(asked: str) -> Path:
        assert url is not None
        assert asked.startswith("https://")
        return url

    return interpreters.chosen(lock, wanted, Cache(place / "cache"), download)


def test_by_itself_the_lock_says_it(tmp_path: Path) -> None:
    lock = of()
    for wanted in (None, "packed"):
        found = chosen(tmp_path, lock, wanted)
        assert (found.lock, found.files) == (lock, {})


def test_one_of_the_base_is_not_placed(tmp_path: Path) -> None:
    layer = chosen(tmp_path, of(), "base").lock.machine.interpreter
    assert (layer.origin, layer.archive) == ("base", None)


def test_in_place_of_debs_that_are_left_out_then(tmp_path: Path) -> None:
    facts = locks.interpreter(base_executable="/usr/bin/python3.11", base_prefix="/usr")
    names = ["libpython3.11-minimal", "python3.11", "python3.11-minimal", "python3.12", "zlib1g"]
    lock = locks.lock(
        interpreter=InterpreterLayer(facts=facts, origin="system"),
        system=[locks.deb(name) for name in names],
    )
    left = chosen(tmp_path, lock, "base").lock.machine.system.packages
    assert [one.name for one in left] == ["python3.12", "zlib1g"]
    with pytest.raises(UsageError, match="which is the system's"):
        chosen(tmp_path, lock, str(archive(tmp_path)))


@pytest.mark.parametrize(
    ("origin", "wanted", "said"),
    [
        ("packed", "system", "none of the lock's system packages brings"),
        ("system", "packed", "does not pack its interpreter; system packages bring it"),
        ("base", "packed", "the base image has it"),
        ("unpacked", "packed", "captured with --no-pack"),
        ("packed", "standalone", "names no archive of a standalone build"),
        ("packed", "nowhere.tar.gz", "no such file"),
    ],
)
def test_what_cannot_be_had(tmp_path: Path, origin: str, wanted: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        chosen(tmp_path, of(origin), wanted)
    assert caught.value.hint


def test_an_archive_takes_the_place_of_the_locks(tmp_path: Path) -> None:
    """As a packed one is: no bytecode, no site-packages, and the same bytes each time."""
    found = chosen(tmp_path, of("unpacked"), str(archive(tmp_path)))
    layer = found.lock.machine.interpreter
    assert layer.origin == "packed"
    assert layer.archive is not None
    data = found.files[layer.archive.sha256].read_bytes()
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as tar:
        names = {member.name: member for member in tar}
    assert set(names) == {
        "home/u/py/bin/python3",
        "home/u/py/bin/python3.11",
        "home/u/py/include/python3.11/patchlevel.h",
        "home/u/py/lib/python3.11/os.py",
    }
    assert names["home/u/py/bin/python3"].linkname == "python3.11"
    again = chosen(tmp_path, of(), str(archive(tmp_path)))
    assert again.files.keys() == found.files.keys()


def test_the_archive_that_the_lock_names(tmp_path: Path) -> None:
    lead = "https://mirror.example/cpython-3.11.7-install_only.tar.gz"
    lock = of(kind="python-build-standalone", lead=lead)
    assert chosen(tmp_path, lock, "standalone", archive(tmp_path)).files


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"python/include/python3.11/patchlevel.h": b'#define PY_VERSION "3.11.9"'},
            "is Python 3.11.9",
        ),
        ({"python/include/python3.11/patchlevel.h": b""}, "tells no version"),
        ({"python/bin/python3": "/bin/sh"}, "leads out of it"),
        ({"python/bin/python3": "../../../bin/sh"}, "leads out of it"),
    ],
)
def test_an_archive_that_does_not_fit(
    tmp_path: Path, changes: dict[str, bytes | str], said: str
) -> None:
    path = archive(tmp_path, {**STANDALONE, **changes})
    with pytest.raises(UsageError, match=said):
        chosen(tmp_path, of(), str(path))


def test_what_lies_beside_it_is_not_taken(tmp_path: Path) -> None:
    path = archive(tmp_path, {**STANDALONE, "python/../../x": b"x", "pythonx/y": b"y"})
    (data,) = chosen(tmp_path, of(), str(path)).files.values()
    with tarfile.open(data) as tar:
        assert {name.partition("/py/")[0] for name in tar.getnames()} == {"home/u"}


@pytest.mark.parametrize("data", [b"", b"no archive", gzip.compress(b"x" * 600)])
def test_what_is_no_archive(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.tar.gz").write_bytes(data)
    with pytest.raises(UsageError, match=r"cannot be read|holds no bin/python3\.11"):
        chosen(tmp_path, of(), str(tmp_path / "x.tar.gz"))


# --- one that the base has ----------------------------------------------------------------


class Engine:
    """An engine with one image."""

    def __init__(self, answer: Sequence[object] | None) -> None:
        self.answer = answer

    def run_probe(self, image: str, argv: Sequence[str], *, user: str) -> bytes:
        assert argv[0] == "/home/u/py/bin/python3.11"
        if self.answer is None:
            raise EngineError(f"cannot run it in {image}: no such file or directory")
        return json.dumps(self.answer).encode()


SAME = ["cpython", "3.11.7", None, "linux-x86_64", False, False, "/home/u/py/bin/python3.11"]


def test_the_one_of_the_base_is_asked(tmp_path: Path) -> None:
    engine: Any = Engine(SAME)
    interpreters.check_same(of(), engine, locks.BASE)
    engine.answer = ["cpython", "3.11.9", *SAME[2:]]
    with pytest.raises(UsageError, match=r"is cpython 3\.11\.9 .*the lock wants cpython 3\.11\.7"):
        interpreters.check_same(of(), engine, locks.BASE)
    for nothing in (None, []):
        engine.answer = nothing
        with pytest.raises(UsageError, match="no interpreter at /home/u/py"):
            interpreters.check_same(of(), engine, locks.BASE)


def test_without_an_engine_it_has_to_be_there() -> None:
    there = BaseTree(links={"/home": "/srv"}, files={"/srv/u/py/bin/python3.11"})
    interpreters.check_there(of(), there, locks.BASE)
    with pytest.raises(UsageError, match="has no interpreter at"):
        interpreters.check_there(of(), BaseTree(), locks.BASE)
