"""The interpreter's own files beside the list that they came with."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from envfreeze.model.snapshot import Interpreter
from envfreeze.resolve import stdlib
from envfreeze.resolve.dpkg import Dpkg
from envfreeze.resolve.interpreter import origin, own_files
from envfreeze.resolve.rootfs import Root
from envfreeze.store import Cache
from tests.support.dpkgroot import DpkgRoot, Pkg
from tests.support.locks import interpreter
from tests.support.prefixes import conda, debian_facts, own
from tests.support.probing import interpreter_of
from tests.support.pythons import available

SITECUSTOMIZE = "/etc/python3.11/sitecustomize.py"


@pytest.fixture
def debian(tmp_path: Path) -> DpkgRoot:
    machine = DpkgRoot(tmp_path / "root")
    machine.install(Pkg(name="python3.11-minimal", files={"/usr/bin/python3.11": b"exe"}))
    machine.install(
        Pkg(
            name="libpython3.11-minimal",
            files={"/usr/lib/python3.11/os.py": b"os", "/usr/lib/python3.11/re.py": b"re"},
            conffiles={SITECUSTOMIZE: b"custom"},
        )
    )
    machine.install(
        Pkg(
            name="libpython3.11-stdlib",
            files={
                "/usr/lib/python3.11/json/decoder.py": b"json",
                "/usr/lib/python3.11/README.md": b"read",
            },
        )
    )
    return machine


def look(machine: DpkgRoot, cache: Cache) -> stdlib.Files:
    root = Root(machine.path)
    dpkg = Dpkg.read(root)
    assert dpkg is not None
    facts = debian_facts()
    found = origin(facts, dpkg)
    assert found.kind == "system"
    manifest = stdlib.dpkg_manifest(dpkg, found.packages)
    return stdlib.examine(facts, manifest, Root(machine.path), cache)


# --- dpkg ------------------------------------------------------------------------------------


def test_all_is_as_it_came(debian: DpkgRoot, tmp_path: Path) -> None:
    found = look(debian, Cache(tmp_path / "cache"))
    assert found.edited == []
    assert found.compared == "dpkg's md5sums of 3 packages"
    assert found.digest is not None


def test_edited_missing_and_added_files(debian: DpkgRoot, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    before = look(debian, cache)
    library = debian.path / "usr/lib/python3.11"
    (library / "os.py").write_bytes(b"edited by hand")
    (library / "re.py").unlink()
    (library / "mine.py").write_bytes(b"mine")
    (library / "__pycache__").mkdir()
    (library / "__pycache__/os.cpython-311.pyc").write_bytes(b"bytecode")
    (library / "dist-packages").mkdir()
    (library / "dist-packages/x.py").write_bytes(b"a package")
    (debian.path / SITECUSTOMIZE.lstrip("/")).write_bytes(b"import spy")
    found = look(debian, cache)
    assert found.edited == [
        f"edited {SITECUSTOMIZE}",
        "edited /usr/lib/python3.11/os.py",
        "missing /usr/lib/python3.11/re.py",
        "added /usr/lib/python3.11/mine.py",
    ]
    assert found.digest != before.digest


def test_a_diverted_file_is_looked_for_where_it_went(debian: DpkgRoot, tmp_path: Path) -> None:
    debian.write(
        "/var/lib/dpkg/diversions",
        "/usr/lib/python3.11/os.py\n/usr/lib/python3.11/os.py.distrib\nlocal\n",
    )
    library = debian.path / "usr/lib/python3.11"
    (library / "os.py").rename(library / "os.py.distrib")
    (library / "os.py").write_bytes(b"the administrator's")
    found = look(debian, Cache(tmp_path / "cache"))
    assert "edited /usr/lib/python3.11/os.py.distrib" not in found.edited
    assert not any(line.startswith("missing") for line in found.edited)


def test_many_edits_are_counted(debian: DpkgRoot, tmp_path: Path) -> None:
    for index in range(203):
        (debian.path / f"usr/lib/python3.11/m{index:03}.py").write_bytes(b"")
    edited = look(debian, Cache(tmp_path / "cache")).edited
    assert len(edited) == 201
    assert edited[-1] == "and 3 more"


def test_names_are_shown_printable(debian: DpkgRoot, tmp_path: Path) -> None:
    (debian.path / "usr/lib/python3.11/a\nb\x1b.py").write_bytes(b"")
    assert look(debian, Cache(tmp_path / "cache")).edited == [
        "added /usr/lib/python3.11/a\\nb\\x1b.py"
    ]


# --- no list ---------------------------------------------------------------------------------


def test_without_a_list_there_is_a_digest_and_no_comparison(tmp_path: Path) -> None:
    facts = own(tmp_path)
    found = stdlib.examine(facts, None, Root(), Cache(tmp_path / "cache"))
    assert (found.compared, found.edited) == (None, [])
    assert found.digest is not None
    (tmp_path / "py/lib/libpython3.11.so.1.0").write_text("another build")
    again = stdlib.examine(facts, None, Root(), Cache(tmp_path / "cache"))
    assert again.digest not in {None, found.digest}


def test_the_digest_is_the_same_in_another_place(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    found = [
        stdlib.examine(own(tmp_path / name), None, Root(), cache).digest for name in ("a", "b")
    ]
    assert found[0] == found[1] is not None


def test_links_count_by_what_they_say(tmp_path: Path) -> None:
    facts = own(tmp_path)
    link = tmp_path / "py/lib/python3.11/link.py"
    seen = set()
    for target in ("os.py", "gone.py"):
        link.symlink_to(target)
        seen.add(stdlib.examine(facts, None, Root(), Cache(tmp_path / "cache")).digest)
        link.unlink()
    assert len(seen) == 2
    assert None not in seen


def test_an_interpreter_that_is_gone(tmp_path: Path) -> None:
    found = stdlib.examine(interpreter(), None, Root(tmp_path), Cache(tmp_path / "cache"))
    assert found.edited == []


def test_what_was_read_is_remembered_until_a_file_changes(tmp_path: Path) -> None:
    facts = own(tmp_path)
    cache = Cache(tmp_path / "cache")
    first = stdlib.examine(facts, None, Root(), cache)
    marked = stdlib.Files(digest="f" * 64)
    key = stdlib._key(Root(), own_files(facts), None)
    cache.write_note("interpreter-files", key, msgspec.json.encode(marked))
    assert stdlib.examine(facts, None, Root(), cache) == marked
    (tmp_path / "py/lib/python3.11/os.py").write_text("edited")
    assert stdlib.examine(facts, None, Root(), cache).digest not in {first.digest, "f" * 64}


def test_a_note_that_is_garbage_is_made_anew(tmp_path: Path) -> None:
    facts = own(tmp_path)
    cache = Cache(tmp_path / "cache")
    first = stdlib.examine(facts, None, Root(), cache)
    key = stdlib._key(Root(), own_files(facts), None)
    cache.write_note("interpreter-files", key, b"{garbage")
    assert stdlib.examine(facts, None, Root(), cache) == first


# --- conda -----------------------------------------------------------------------------------


def look_at_conda(facts: Interpreter, cache: Cache) -> stdlib.Files:
    record = stdlib.conda_record(facts, Root())
    assert record is not None
    return stdlib.examine(facts, stdlib.conda_manifest(facts, Root(), record), Root(), cache)


def test_conda_as_it_came(tmp_path: Path) -> None:
    found = look_at_conda(conda(tmp_path), Cache(tmp_path / "cache"))
    assert found.compared == "the digests in conda-meta's python-3.11.7-0"
    assert found.edited == []


def test_conda_edited(tmp_path: Path) -> None:
    facts = conda(tmp_path)
    library = Path(facts.stdlib)
    (library / "os.py").write_text("edited")
    (library / "_sysconfigdata.py").unlink()
    (library / "mine.py").write_text("mine")
    (library / "other.py").write_text("another package's")
    other = {"paths_data": {"paths": [{"_path": "lib/python3.11/other.py"}]}}
    meta = Path(facts.base_prefix) / "conda-meta"
    (meta / "other-1-0.json").write_text(json.dumps(other))
    (meta / "broken-1-0.json").write_text("{")
    assert look_at_conda(facts, Cache(tmp_path / "cache")).edited == [
        f"edited {library}/os.py",
        f"missing {library}/_sysconfigdata.py",
        f"added {library}/mine.py",
    ]


def test_a_placeholder_without_a_digest_in_the_prefix_is_not_compared(tmp_path: Path) -> None:
    facts = conda(tmp_path)
    path = Path(facts.base_prefix) / "conda-meta/python-3.11.7-0.json"
    record = json.loads(path.read_text())
    for entry in record["paths_data"]["paths"]:
        entry.pop("sha256_in_prefix", None)
    path.write_text(json.dumps(record))
    assert look_at_conda(facts, Cache(tmp_path / "cache")).edited == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"paths_data": 3}', '{"url": 1}', "[" * 100_000])
def test_a_broken_record_is_no_record(tmp_path: Path, text: str) -> None:
    facts = conda(tmp_path)
    (Path(facts.base_prefix) / "conda-meta/python-3.11.7-0.json").write_text(text)
    assert stdlib.conda_record(facts, Root()) is None


def test_a_record_without_paths_has_nothing_to_compare_with(tmp_path: Path) -> None:
    facts = conda(tmp_path)
    (Path(facts.base_prefix) / "conda-meta/python-3.11.7-0.json").write_text("{}")
    record = stdlib.conda_record(facts, Root())
    assert record is not None
    assert stdlib.conda_manifest(facts, Root(), record) is None


# --- real ones -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", list(available())[-1:])
def test_an_interpreter_of_this_machine(version: str, tmp_path: Path) -> None:
    facts = interpreter_of(available()[version])
    files = own_files(facts)
    assert facts.base_executable in files
    assert f"{facts.stdlib}/os.py" in files
    assert not [path for path in files if "site-packages" in path or path.endswith(".pyc")]
    cache = Cache(tmp_path / "cache")
    found = stdlib.examine(facts, None, Root(), cache)
    assert found.digest is not None
    assert stdlib.examine(facts, None, Root(), cache) == found


def test_the_systems_interpreter_is_as_its_debs_brought_it(tmp_path: Path) -> None:
    dpkg = Dpkg.read()
    if dpkg is None or not Path("/usr/bin/python3").exists():
        pytest.skip("no Debian's Python here")
    facts = interpreter_of(Path("/usr/bin/python3"))
    found = origin(facts, dpkg)
    if found.kind != "system":
        pytest.skip("dpkg does not own /usr/bin/python3")
    manifest = stdlib.dpkg_manifest(dpkg, found.packages)
    seen = stdlib.examine(facts, manifest, Root(), Cache(tmp_path / "cache"))
    assert len(own_files(facts)) > 100
    assert seen.edited == []
