"""The search and its memory: which wheels of an index are looked into, and what is kept."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import msgspec
import pytest

from envfreeze.model.snapshot import Dist
from envfreeze.resolve import compare, wheels
from envfreeze.resolve.index import Candidate
from envfreeze.resolve.wheels import prove, prove_all, rank
from envfreeze.store import Cache
from tests.support.fakeindex import FakeIndex, make_wheel
from tests.support.proofs import edit, edited, full, index_at, install, proved, refused, sha256

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
    assert len(blobs) == compare.MAX_DOWNLOADS


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


def test_a_server_that_tells_no_size_is_downloaded_from_once(directory, server, index, cache):
    server.faults.no_size = server.faults.no_head = server.faults.no_ranges = True
    wheel = full(directory)
    one, two = install(wheel), install(wheel)
    two = msgspec.structs.replace(two, direct_url="{}")  # Not the proof that is remembered.
    for dist in (one, two):
        assert proved(prove(dist, index, cache)).size == wheel.stat().st_size
    # The first request asks for a byte, and learns that there are no ranges.
    asked = [path for method, path in server.requests if method == "GET" and "/files/" in path]
    assert len(asked) == 2


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


def test_a_wheel_installed_from_a_file_of_this_machine(directory, cache):
    wheel = full(directory)
    direct = json.dumps({"url": wheel.as_uri(), "archive_info": {}})
    proof = proved(prove(install(wheel, direct_url=direct), index_at(None), cache))
    assert proof.evidence.endswith(f"{wheel.name} installed from a local file")
    assert str(directory) not in proof.evidence


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

    monkeypatch.setattr(wheels, "installed", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        prove_all(many(directory, 3), index, cache)


def test_a_remembered_proof_and_record_know_the_modes(directory, server, index, cache):
    """Neither memory reads the directory of the wheel again."""
    wheel = make_wheel(
        directory, "demo", "1.0", {"demo/a.py": "a\n"}, modes={"demo/a.py": 0o100755}
    )
    first = proved(prove(install(wheel), index, cache))
    assert first.executable == {"site/demo/a.py"}
    asked = len(server.requests)
    assert proved(prove(install(wheel), index, cache)).executable == first.executable
    assert len(server.requests) == asked
    by_uv = proved(prove(install(wheel, installer="uv"), index, cache))
    assert by_uv.executable == first.executable
    assert not [path for path in server.requests[asked:] if str(path).endswith(".whl")]
