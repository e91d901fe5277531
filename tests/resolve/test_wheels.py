"""The proof: installed files against the wheels of an index, honest and not."""

from __future__ import annotations

import hashlib
import json
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from envfreeze.model.identity import sha256_of_claim
from envfreeze.model.snapshot import Dist, Row, Scheme
from envfreeze.resolve import wheels
from envfreeze.resolve.http import Http
from envfreeze.resolve.index import Candidate, Index
from envfreeze.resolve.pipconf import IndexSettings
from envfreeze.resolve.wheels import NotProved, WheelProof, prove, prove_all, rank
from envfreeze.store import Cache
from tests.support.fakeindex import FakeIndex, make_wheel, record_hash

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


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


@pytest.fixture
def server(directory: Path):
    with FakeIndex(directory) as index:
        yield index


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def index(server: FakeIndex) -> Index:
    return index_at(server.url)


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
    import base64

    raw = bytes.fromhex(digest or "")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def proved(verdict: object) -> WheelProof:
    assert isinstance(verdict, WheelProof), verdict
    return verdict


def refused(verdict: object) -> NotProved:
    assert isinstance(verdict, NotProved), verdict
    return verdict


# --- what is a proof -----------------------------------------------------------------------


def test_a_wheel_with_everything_is_proved(directory, server, index, cache):
    wheel = full(directory)
    proof = proved(prove(install(wheel), index, cache))
    assert proof.sha256 == proof.candidate.sha256 == sha256(wheel.read_bytes())
    assert proof.size == wheel.stat().st_size
    assert proof.candidate.url == f"{server.base}/files/{wheel.name}"
    assert proof.candidate.index == server.url
    assert proof.evidence == f"13 files equal the RECORD of {wheel.name} at 127.0.0.1"
    assert not proof.direct
    # One page, one range, and none of the scripts read: their digests are as RECORD says.
    assert len(server.requests) == 2


@pytest.mark.parametrize("path", ["demo/__init__.py", "demo/fast.so", "share/demo.txt", "demo.h"])
def test_an_edited_file_is_no_proof_and_is_named(directory, index, cache, path):
    dist = edit(install(full(directory)), path, edited)
    verdict = refused(prove(dist, index, cache))
    assert [key.split("/", 1)[1] for key in verdict.differing] == [path]
    assert verdict.nearest is not None
    assert path in verdict.reason


@pytest.mark.parametrize("path", ["demo/__init__.py", "run", "demo.h"])
def test_a_missing_row_or_file_is_no_proof(directory, index, cache, path):
    dist = install(full(directory))
    assert refused(prove(edit(dist, path, lambda row: None), index, cache)).differing
    gone = edit(
        dist,
        path,
        lambda row: Row(row.scheme, row.path, None, None, False, "sha256=" + b64(row.sha256)),
    )
    assert refused(prove(gone, index, cache)).differing


def test_a_file_too_many_is_no_proof(directory, index, cache):
    dist = install(full(directory))
    extra = Row("site", "demo/extra.py", "aa" * 32, 1, False, None)
    dist = msgspec.structs.replace(dist, rows=[*(dist.rows or ()), extra])
    assert refused(prove(dist, index, cache)).differing == ("site/demo/extra.py",)


def test_a_script_whose_first_line_the_installer_replaced(directory, index, cache, server):
    scripts = {"run": "#!python3 -E\nprint(1)\n", "other": "#!python\n"}
    dist = install(full(directory, scripts=scripts))
    row = sha256(b"#!python\nprint(1)\n")
    dist = edit(
        dist, "run", lambda r: msgspec.structs.replace(r, sha256=row, claim="sha256=" + "A" * 43)
    )
    proved(prove(dist, index, cache))
    other = edit(dist, "run", lambda r: msgspec.structs.replace(r, sha256="ab" * 32))
    assert refused(prove(other, index, cache)).differing == ("scripts/run",)


@pytest.mark.parametrize("claim", ["", "md5=abc", "sha512=" + "A" * 86, "sha256=?"])
def test_a_row_without_a_usable_hash_is_read(directory, index, cache, claim):
    wheel = full(directory, claims={"demo/data.bin": claim})
    dist = edit(
        install(wheel), "demo/data.bin", lambda row: msgspec.structs.replace(row, claim=claim)
    )
    proved(prove(dist, index, cache))
    assert refused(prove(edit(dist, "demo/data.bin", edited), index, cache)).differing


def test_a_wheel_whose_record_is_wrong_about_a_file(directory, index, cache):
    """Installers do not check: the file lies here as the wheel holds it, RECORD is false."""
    false = record_hash(b"something else")
    wheel = full(directory, claims={"demo/__init__.py": false})
    dist = edit(
        install(wheel), "demo/__init__.py", lambda row: msgspec.structs.replace(row, claim=false)
    )
    proved(prove(dist, index, cache))


def test_members_that_the_record_forgets(directory, index, cache):
    wheel = full(directory, claims={"demo/data.bin": None})
    dist = install(wheel)
    proved(prove(dist, index, cache))
    assert refused(prove(edit(dist, "demo/data.bin", edited), index, cache)).differing


def test_rows_of_members_that_the_wheel_lacks(directory, index, cache):
    """pip keeps such a row, uv drops it."""
    wheel = make_wheel(directory, "demo", "1.0", FILES)
    with zipfile.ZipFile(wheel) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["demo-1.0.dist-info/RECORD"] += b"demo/ghost.py,sha256=" + b"A" * 43 + b",3\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    by_uv = install(wheel)
    proved(prove(by_uv, index, cache))
    ghost = Row("site", "demo/ghost.py", None, None, False, "sha256=" + "A" * 43)
    by_pip = msgspec.structs.replace(by_uv, rows=[*(by_uv.rows or ()), ghost])
    proved(prove(by_pip, index, cache))


def test_a_file_that_another_distribution_overwrote(directory, index, cache):
    dist = edit(install(full(directory)), "demo/__init__.py", edited)
    refused(prove(dist, index, cache))
    proved(prove(dist, index, cache, yields=frozenset({"site/demo/__init__.py"})))
    both = edit(
        dist, "demo/__init__.py", lambda r: msgspec.structs.replace(r, claim="sha256=" + "A" * 43)
    )
    refused(prove(both, index, cache, yields=frozenset({"site/demo/__init__.py"})))


def test_headers_and_data_may_lie_where_the_probe_calls_them_otherwise(directory, index, cache):
    dist = install(full(directory))

    def moved(row: Row) -> Row:
        return msgspec.structs.replace(row, scheme="data", path="include/demo/api.h")

    proved(prove(edit(dist, "demo/api.h", moved), index, cache))


def test_a_data_path_into_site_packages(directory, index, cache):
    wheel = full(directory, data={"lib/python3.11/site-packages/demo_x.pth": "import x\n"})
    dist = edit(
        install(wheel),
        "lib/python3.11/site-packages/demo_x.pth",
        lambda row: msgspec.structs.replace(row, scheme="site", path="demo_x.pth"),
    )
    proved(prove(dist, index, cache))


# --- which wheel ---------------------------------------------------------------------------

TAG = "cp311-cp311-manylinux_2_17_x86_64"


def test_the_wheel_with_the_same_tags_comes_first(directory, server, index, cache):
    for tag in ("cp310-cp310-linux_x86_64", TAG, "cp312-cp312-win_amd64"):
        wheel = make_wheel(directory, "demo", "1.0", {"demo.py": tag}, tags=[tag])
        chosen = wheel if tag == TAG else None
        if chosen:
            dist = install(chosen)
    assert proved(prove(dist, index, cache)).candidate.filename.endswith(f"{TAG}.whl")
    assert len(server.requests) == 2


def test_tags_that_match_no_file_name_leave_it_to_the_content(directory, index, cache):
    wheel = make_wheel(
        directory, "demo", "1.0", {"demo.py": "1"}, tags=["cp311-cp311-linux_x86_64"]
    )
    other = make_wheel(
        directory, "demo", "1.0", {"demo.py": "2"}, tags=["cp312-cp312-linux_x86_64"]
    )
    renamed = wheel.rename(directory / f"demo-1.0-{TAG}.whl")
    dist = install(renamed)
    asked: list[str] = []

    def accepts(filename: str) -> bool:
        asked.append(filename)
        return "cp311" in filename

    proof = proved(prove(dist, index, cache, accepts=accepts))
    assert proof.candidate.filename == renamed.name
    assert set(asked) == {renamed.name, other.name}
    none = refused(prove(dist, index, Cache(cache.root / "b"), accepts=lambda name: False))
    assert "for this interpreter" in none.reason


def test_builds_of_one_release(directory, index, cache):
    dists = [
        install(make_wheel(directory, "demo", "1.0", {"demo.py": str(build)}, build=build))
        for build in (None, "1", "2")
    ]
    names = [proved(prove(dist, index, cache)).candidate.filename for dist in dists]
    assert names == [
        "demo-1.0-py3-none-any.whl",
        "demo-1.0-1-py3-none-any.whl",
        "demo-1.0-2-py3-none-any.whl",
    ]


def test_an_index_with_endless_wheels_is_given_up(directory, server, index, cache):
    wheel = make_wheel(directory, "demo", "1.0", {"demo.py": "here"})
    dist = install(wheel)
    wheel.unlink()
    for number in range(wheels.MAX_TRIES + 20):
        make_wheel(directory, "demo", "1.0", {"demo.py": str(number)}, build=str(number))
    assert f"none of {wheels.MAX_TRIES} wheels" in refused(prove(dist, index, cache)).reason
    assert len(server.requests) <= 1 + wheels.MAX_TRIES


def test_ranking_is_stable_and_skips_what_is_no_wheel():
    def candidate(name: str) -> Candidate:
        return Candidate(filename=name, url="", sha256=None, size=None, index=None)

    dist = Dist(site="", info="", name="a", version="1", rows=[], tags=["py3-none-any"])
    files = ["a.whl", "a-1-cp311-abi3-any.whl", "a-1-py2.py3-none-any.whl", "a-1-py3-none-any.whl"]
    ranked = rank(dist, [candidate(name) for name in files], None)
    assert [c.filename for c in ranked] == [files[3], files[2], files[1]]


# --- reasons -------------------------------------------------------------------------------


def test_reasons_without_a_proof(directory, server, index, cache, tmp_path):
    dist = install(make_wheel(tmp_path, "demo", "1.0", {"demo.py": "x"}))
    replace = msgspec.structs.replace
    assert "no index offers demo 1.0" in refused(prove(dist, index, cache)).reason
    (directory / "demo-1.0.tar.gz").write_bytes(b"source")
    assert "source only" in refused(prove(dist, index, cache)).reason
    assert "no RECORD" in refused(prove(replace(dist, rows=None), index, cache)).reason
    assert "no files" in refused(prove(replace(dist, rows=[]), index, cache)).reason
    egg = replace(dist, info="demo-1.0.egg-info")
    assert "no RECORD" in refused(prove(egg, index, cache)).reason
    for kind, word in (("dir_info", "local directory"), ("vcs_info", "repository")):
        direct = json.dumps({"url": "file:///x", kind: {}})
        assert word in refused(prove(replace(dist, direct_url=direct), index, cache)).reason
    server.faults.drop = True
    assert "did not answer" in refused(prove(dist, index_at(server.url), cache)).reason


# --- servers that are no good --------------------------------------------------------------


def test_no_hash_downloads_and_hashes(directory, server, index, cache):
    server.faults.no_hash = server.faults.no_size = True
    wheel = full(directory)
    proof = proved(prove(install(wheel), index, cache))
    assert proof.sha256 == sha256(wheel.read_bytes())
    assert cache.find(proof.sha256) is not None


def test_no_ranges_downloads_once(directory, server, index, cache):
    server.faults.no_ranges = True
    wheel = full(directory)
    dist = install(wheel)
    proof = proved(prove(dist, index, cache))
    assert cache.find(proof.sha256) is not None
    asked = len(server.requests)
    refused(prove(edit(dist, "demo/__init__.py", edited), index, cache))
    assert len(server.requests) == asked + 1  # the page


def test_no_ranges_does_not_download_everything(directory, server, index, cache):
    server.faults.no_ranges = True
    wheel = make_wheel(directory, "demo", "1.0", {"demo.py": "here"})
    dist = install(wheel)
    wheel.unlink()
    for number in range(10):
        make_wheel(directory, "demo", "1.0", {"demo.py": str(number)}, build=str(number))
    assert "none of 10" in refused(prove(dist, index, cache)).reason
    blobs = [path for path in (cache.root / "blobs").rglob("*") if path.is_file()]
    assert len(blobs) == wheels.MAX_DOWNLOADS


def test_a_download_that_is_not_what_the_index_says(directory, server, index, cache):
    server.faults.no_ranges = server.faults.wrong_hash = True
    verdict = refused(prove(install(full(directory)), index, cache))
    assert "expected sha256" in verdict.reason


@pytest.mark.parametrize("html", [False, True])
@pytest.mark.parametrize("no_size", [False, True])
def test_a_size_that_is_not_given_is_asked_for(directory, server, index, cache, html, no_size):
    server.faults.html, server.faults.no_size = html, no_size
    wheel = full(directory)
    assert proved(prove(install(wheel), index, cache)).size == wheel.stat().st_size


@pytest.mark.parametrize(
    ("fault", "value"),
    [("wrong_size", 5), ("wrong_size", -5), ("wrong_range", True), ("truncate", 100)],
)
def test_faults_are_no_proof_and_no_crash(directory, server, index, cache, fault, value):
    wheel = full(directory)
    if fault == "truncate":
        server.faults.truncate_times = 50
    setattr(server.faults, fault, value)
    assert refused(prove(install(wheel), index, cache)).reason


def rewritten(wheel: Path, record: bytes) -> None:
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("demo-1.0.dist-info/RECORD", record)


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"\xff\xfe\n",
        b'"unclosed\n',
        b"x\0y,sha256=,\n",
        b"../../etc/passwd,sha256=" + b"A" * 43 + b",1\n",
        b"/etc/passwd,,\n",
        b"demo-1.0.data/,,\n",
        b"demo-1.0.data/unknown/x,,\n",
        b",,\n\n,\n",
        b"a" * 200_000 + b",,\n",
        b"\n".join(b"f%d,," % n for n in range(300_000)),
    ],
)
def test_hostile_records_are_no_proof(directory, index, cache, record):
    wheel = full(directory)
    dist = install(wheel)
    rewritten(wheel, record)
    assert refused(prove(dist, index, cache)).reason


def test_a_record_too_large_is_not_unpacked(directory, index, cache, monkeypatch):
    monkeypatch.setattr(wheels, "RECORD_LIMIT", 100)
    assert "too large" in refused(prove(install(full(directory)), index, cache)).reason


def test_a_wheel_with_two_metadata_directories(directory, index, cache):
    wheel = full(directory)
    dist = msgspec.structs.replace(install(wheel), info="other-1.0.dist-info")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("second-1.0.dist-info/RECORD", b"")
    assert "2 RECORD files" in refused(prove(dist, index, cache)).reason


# --- direct URLs and local files -----------------------------------------------------------


@pytest.mark.parametrize("known", [False, True])
def test_a_wheel_installed_from_a_url(directory, server, cache, tmp_path, known):
    wheel = full(directory)
    hashes = {"sha256": sha256(wheel.read_bytes())} if known else {}
    url = f"{server.base}/files/{wheel.name}".replace("//", "//me:geheim@")
    direct = json.dumps({"url": url, "archive_info": {"hashes": hashes}})
    proof = proved(prove(install(wheel, direct_url=direct), index_at(None), cache))
    assert proof.direct
    assert proof.candidate.url == f"{server.base}/files/{wheel.name}"
    assert proof.candidate.index is None
    assert "installed from 127.0.0.1" in proof.evidence
    assert "geheim" not in repr(proof)


def test_a_url_that_is_gone_leaves_the_index(directory, server, index, cache):
    wheel = full(directory)
    direct = json.dumps({"url": f"{server.base}/gone/{wheel.name}", "archive_info": {}})
    proof = proved(prove(install(wheel, direct_url=direct), index, cache))
    assert not proof.direct


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": 3}', '{"url": "x"}', "[" * 9999])
def test_a_direct_url_that_says_nothing(directory, index, cache, text):
    proved(prove(install(full(directory), direct_url=text), index, cache))


def test_a_local_wheel(tmp_path, cache):
    wheel = full(tmp_path / "links")
    dist = install(wheel)
    local = index_at(None, find_links=(str(wheel.parent),))
    proof = proved(prove(dist, local, cache))
    assert proof.candidate.local
    assert proof.sha256 == sha256(wheel.read_bytes())
    assert str(tmp_path) not in proof.evidence
    # Remembered, until the file changes.
    assert prove(dist, index_at(None, find_links=(str(wheel.parent),)), cache) == proof
    full(tmp_path / "links", claims={"demo/data.bin": None})
    assert proved(prove(dist, local, cache)).sha256 == sha256(wheel.read_bytes())
    wheel.unlink()
    refused(prove(dist, local, cache))


def test_a_local_file_that_is_not_what_its_page_says(tmp_path, cache):
    wheel = full(tmp_path / "links")
    page = tmp_path / "links/index.html"
    page.write_text(f'<a href="{wheel.name}#sha256={"0" * 64}">x</a>')
    (tmp_path / "simple").mkdir()
    local = index_at(None, find_links=(page.as_uri(),))
    assert "expected sha256 000" in refused(prove(install(wheel), local, cache)).reason


# --- memory --------------------------------------------------------------------------------


def test_a_proof_is_remembered(directory, server, index, cache):
    dist = install(full(directory))
    first = proved(prove(dist, index, cache))
    asked = len(server.requests)
    (again,) = prove_all([dist], index, cache, offline=True)
    assert again == first
    assert len(server.requests) == asked
    changed = edit(dist, "demo/__init__.py", edited)
    (other,) = prove_all([changed], index, cache, offline=True)
    assert "offline" in refused(other).reason
    (elsewhere,) = prove_all([dist], index_at("https://other.example"), cache, offline=True)
    refused(elsewhere)


def test_a_record_is_remembered_by_digest_and_place(directory, server, index, cache):
    dist = install(full(directory))
    proved(prove(dist, index, cache))
    asked = len(server.requests)
    refused(prove(edit(dist, "demo/__init__.py", lambda row: None), index, cache))
    assert len(server.requests) == asked + 2  # the page; and is the member there?
    with FakeIndex(directory) as other:
        proved(prove(dist, index_at(other.url), cache))
        assert len(other.requests) == 2


@pytest.mark.parametrize("kind", ["proofs", "records"])
def test_a_damaged_memory_is_no_memory(directory, index, cache, kind):
    dist = install(full(directory))
    first = proved(prove(dist, index, cache))
    for note in cache.root.rglob("*.json"):
        if kind in note.parts or kind == "records":
            note.write_bytes(b"demo-1.0.dist-info\nrubbish")
    assert prove(dist, index, cache) == first


# --- many at once --------------------------------------------------------------------------


def many(directory: Path, count: int) -> list[Dist]:
    return [
        install(make_wheel(directory, f"p{n}", "1.0", {f"p{n}.py": str(n)})) for n in range(count)
    ]


def test_all_are_proved_in_order(directory, index, cache, server):
    dists = many(directory, 30)
    done: list[str] = []
    main = threading.current_thread()

    def on_done(name: str) -> None:
        assert threading.current_thread() is main
        done.append(name)

    verdicts = prove_all(dists, index, cache, workers=8, on_done=on_done)
    names = [proved(v).candidate.filename for v in verdicts]
    assert names == [f"p{n}-1.0-py3-none-any.whl" for n in range(30)]
    assert sorted(done) == sorted(dist.name for dist in dists)
    assert len(server.requests) == 60
    assert prove_all([], index, cache) == []


def test_each_has_its_own_yields(directory, index, cache):
    dists = [
        edit(install(make_wheel(directory, name, "1.0", {"x.py": name})), "x.py", edited)
        for name in ("a", "b")
    ]
    given = [frozenset({"site/x.py"}), frozenset[str]()]
    one, other = prove_all(dists, index, cache, yields=given)
    proved(one)
    refused(other)


def test_an_interrupt_does_not_wait(directory, server, index, cache):
    dists = many(directory, 6)
    server.faults.slow = 0.3

    def on_done(name: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prove_all(dists, index, cache, workers=1, on_done=on_done)
    asked = len(server.requests)
    assert asked <= 4
    for thread in threading.enumerate():
        if thread.name == "envfreeze-prove":
            thread.join(5)
    assert len(server.requests) <= asked + 2


def test_a_defect_is_raised_and_not_hidden(directory, index, cache, monkeypatch):
    def broken(*args: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(wheels, "_installed", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        prove_all(many(directory, 3), index, cache)


@pytest.mark.parametrize(
    ("claim", "digest"),
    [
        (record_hash(b"x"), sha256(b"x")),
        (record_hash(b"x") + "=", sha256(b"x")),
        ("sha256=", None),
        ("sha256=AAAA", None),
        ("sha256=" + "!" * 43, None),
        ("sha256=" + "é" * 43, None),
        ("md5=" + "A" * 43, None),
        ("", None),
    ],
)
def test_claims(claim, digest):
    assert sha256_of_claim(claim) == digest
