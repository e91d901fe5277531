"""Digests, fingerprints and the neutral form of scripts, against what installers really write."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envfreeze.probe import files
from envfreeze.store import Cache
from tests.support.environments import Environment, claim, plain_environ
from tests.support.fakeindex import make_wheel
from tests.support.pythons import newest, parameters

HERE = frozenset({"/v/bin", "/a b/bin", '/it\'s "x"/bin'})


@pytest.mark.parametrize(
    ("script", "neutral"),
    [
        (b"#!/v/bin/python\nx", b"#!python\nx"),
        (b"#!/v/bin/python3.11\nx", b"#!python\nx"),
        (b"#! /v/bin/python3\nx", b"#!python\nx"),
        (b"#!/v/bin/python -E\nx", b"#!python -E\nx"),
        (b"#!/v/bin/python\r\nx", b"#!python\r\nx"),
        (b'#!"/a b/bin/python"\nx', b"#!python\nx"),
        (b"#!/a b/bin/python\nx", b"#!python\nx"),
        (b'#!/it\'s "x"/bin/python\nx', b"#!python\nx"),
        (b"#!/v/bin/pypy3\nx", b"#!python\nx"),
        (b"#!/bin/sh\n'''exec' /v/bin/python \"$0\" \"$@\"\n' '''\nx", b"#!python\nx"),
        (b"#!/bin/sh\n'''exec' '/a b/bin/python' \"$0\" \"$@\"\n' '''\nx", b"#!python\nx"),
        (b"#!/bin/sh\n'''exec' \"/a b/bin/python\" \"$0\" \"$@\"\n' '''\nx", b"#!python\nx"),
        (b"#!/bin/sh\n'''exec' /v/bin/python -E \"$0\" \"$@\"\n' '''\nx", b"#!python -E\nx"),
        (b"#!/bin/sh\n'''exec' /v/bin/python \"$0\" \"$@\"\n' ''' -E\nx", b"#!python -E\nx"),
    ],
)
def test_neutral(script: bytes, neutral: bytes) -> None:
    assert files.neutral(script, HERE) == neutral


@pytest.mark.parametrize(
    "script",
    [
        b"",
        b"#!python\nx",
        b"#!/usr/bin/env python\nx",
        b"#!/usr/bin/python\nx",
        b"#!/v/bin/pythonish!\nx",
        b"#!/v/bin/python",
        b"#!/v/bin/sub/python\nx",
        b"#!/v/binary/python\nx",
        b"x #!/v/bin/python\n",
        b'#!"/v/bin/python\nx',
        b"#!/bin/sh\n'''exec' /other/bin/python \"$0\" \"$@\"\n' '''\nx",
        b"#!/bin/sh\n'''exec' /v/bin/node \"$0\" \"$@\"\n' '''\nx",
        b"#!/bin/sh\n'''exec' '/v/bin/python \"$0\" \"$@\"\n' '''\nx",
        b"#!/bin/sh\n'''exec' /v/bin/python\necho\n' '''\nx",
        b"\x7fELF\0\0",
    ],
)
def test_what_is_not_such_a_script_stays(script: bytes) -> None:
    assert files.neutral(script, HERE) is script


@given(st.binary(max_size=300))
def test_neutral_takes_any_bytes(data: bytes) -> None:
    for head in (b"", b"#!", b"#!/v/bin/python", b"#!/bin/sh\n'''exec' "):
        files.neutral(head + data, HERE)


def _pip(env: Environment, wheel: Path) -> None:
    _ensurepip(env)
    flags = ["--no-index", "--no-deps", "--no-compile", "--disable-pip-version-check", "-q"]
    command = [env.python, "-m", "pip", "install", *flags, wheel]
    subprocess.run(command, check=True, env=plain_environ(), capture_output=True)


def _ensurepip(env: Environment) -> None:
    command = [env.python, "-m", "ensurepip", "--default-pip"]
    subprocess.run(command, check=True, env=plain_environ(), capture_output=True)


def _uv(env: Environment, wheel: Path) -> None:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        pytest.skip("no uv")
    command = [uv, "pip", "install", "--no-index", "--offline", "--no-cache", "--python"]
    subprocess.run([*command, env.python, wheel], check=True, capture_output=True)


@pytest.mark.parametrize("install", [_pip, _uv])
@pytest.mark.parametrize("folder", ["env", "a b", "it's", 'say "x"', "é日", "x" * 180])
def test_installed_scripts_equal_the_wheels(
    install: Callable[[Environment, Path], None], folder: str, tmp_path: Path
) -> None:
    text = b"#!python\nprint('hello')\n"
    plain = b"#!/bin/sh\necho\n"
    wheel = make_wheel(
        tmp_path, "scripted", "1.0", {"m.py": b""}, scripts={"hello": text, "shell": plain}
    )
    env = Environment.make(newest(), tmp_path / folder)
    install(env, wheel)
    written = (env.prefix / "bin" / "hello").read_bytes()
    assert written != text
    found = {row.path: row for row in env.dist("scripted").rows or () if row.scheme == "scripts"}
    assert found["hello"].sha256 == hashlib.sha256(text).hexdigest()
    assert found["shell"].sha256 == hashlib.sha256(plain).hexdigest()
    # RECORD has the hash of what was written, so it was neutral form that differed, not an edit.
    assert found["hello"].claim is None


def test_a_long_script_is_hashed_past_its_head(tmp_path: Path) -> None:
    body = b"\n" + os.urandom(3 * files.BUFFER + 17)
    path = tmp_path / "script"
    path.write_bytes(b"#!/v/bin/python" + body)
    plain, neutral = files.digests(str(path), bytearray(files.BUFFER), HERE)
    assert plain == hashlib.sha256(path.read_bytes()).hexdigest()
    assert neutral == hashlib.sha256(b"#!python" + body).hexdigest()
    assert files.digests(str(path), bytearray(files.BUFFER)) == (plain, None)


def test_what_cannot_be_read_has_no_digest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    buffer = bytearray(64)
    assert files.digests(str(tmp_path / "fifo"), buffer) == (None, None)
    assert files.digests(str(tmp_path / "gone"), buffer) == (None, None)
    assert files.digests(str(tmp_path), buffer) == (None, None)
    assert files.digests("a\0b", buffer) == (None, None)
    assert files.digests("/dev/zero", buffer) == (None, None)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 128])
def test_digests_at_the_edges_of_the_buffer(size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    digest = files.digests(str(tmp_path / "f"), bytearray(64))[0]
    assert digest == hashlib.sha256(data).hexdigest()


def test_every_file_gets_its_own_digest(tmp_path: Path) -> None:
    """In their order again, though the costliest are read first."""
    found: dict[int, str | None] = {}
    hasher = files.Hasher(frozenset())
    for number in range(500):
        data = str(number).encode() * (number % 7)
        (tmp_path / str(number)).write_bytes(data)
        hasher.add(
            str(tmp_path / str(number)),
            lambda digest, _, n=number: found.update({n: digest}),
            size=1 << (number % 24),
        )
    hasher.run()
    assert found == {n: hashlib.sha256(str(n).encode() * (n % 7)).hexdigest() for n in range(500)}


@given(st.lists(st.integers(min_value=0, max_value=1 << 32), max_size=200))
def test_batches_hold_every_task_once(sizes: list[int]) -> None:
    tasks = [(str(number), None, size) for number, size in enumerate(sizes)]
    batches = files._batches(tasks)
    assert sorted(task for batch in batches for task in batch) == sorted(tasks)
    assert len(batches) <= files.workers.MOST
    costs = [sum(task[2] + files.OPENING for task in batch) for batch in batches]
    assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize("python", parameters())
def test_copies_hash_what_one_process_would(python: Path, tmp_path: Path) -> None:
    """In the probe, which has one thread."""
    env = Environment.make(python, tmp_path / "env")
    members = {f"many/f{n}.bin": os.urandom(1 << 20) for n in range(24)}
    env.install("many", files=members)
    found = {row.path: row for row in env.dist("many").rows or ()}
    for name, data in members.items():
        assert found[name].sha256 == hashlib.sha256(data).hexdigest()
        assert found[name].claim is None


def test_a_failure_is_a_failure(tmp_path: Path) -> None:
    def explode(digest: str, _: object) -> None:
        raise ValueError(digest)

    hasher = files.Hasher(frozenset())
    hasher.add(str(tmp_path / "gone"), explode)
    with pytest.raises(ValueError, match="None"):
        hasher.run()


def test_a_file_that_grows_is_read_to_its_end(tmp_path: Path) -> None:
    """Some say that they are empty and are not, as those below /proc."""
    text = Path("/proc/self/limits").read_bytes()
    found = files.digests("/proc/self/limits", bytearray(64))[0]
    assert found == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize("change", ["content", "mode", "mtime", "replace"])
def test_a_stamp_changes_with_the_file(change: str, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"1")
    before = files.stamps([path.stat()])
    assert before == files.stamps([path.stat()])
    if change == "content":
        times = path.stat()
        time.sleep(0.02)
        path.write_bytes(b"2")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif change == "mode":
        path.chmod(0o700)
    elif change == "mtime":
        os.utime(path, ns=(1, 1))
    else:
        (tmp_path / "g").write_bytes(b"1")
        (tmp_path / "g").replace(path)
    assert files.stamps([path.stat()]) != before


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (claim(b"x"), ("sha256", hashlib.sha256(b"x").hexdigest())),
        (claim(b"x").upper()[:7] + claim(b"x")[7:], ("sha256", hashlib.sha256(b"x").hexdigest())),
        (claim(b"x") + "=", ("sha256", hashlib.sha256(b"x").hexdigest())),
        ("sha256=" + "aB" * 32, ("sha256", "ab" * 32)),
        ("", (None, None)),
        ("sha256", (None, None)),
        ("sha256=a", (None, None)),
        ("sha256=é", (None, None)),
    ],
)
def test_a_claim_of_record(text: str, read: tuple[str | None, str | None]) -> None:
    assert files.digest_of(text) == read


claims = st.one_of(
    st.binary(max_size=20).map(claim),
    st.binary(max_size=20).map(lambda data: claim(data) + "="),
    st.text(max_size=60),
    st.text(min_size=43, max_size=43).map("sha256=".__add__),
)


@given(st.lists(claims))
def test_claims_decoded_together_are_as_decoded_alone(texts: list[str]) -> None:
    together = files.digests_of(texts)
    assert len(together) == len(texts)
    for text, digest in zip(texts, together, strict=True):
        if text.startswith("sha256=") and text.isascii():
            alone = files.digest_of(text)[1]
            if alone is not None and len(alone) == 64:
                assert digest == alone


# --- what is remembered between runs ------------------------------------------------------


@pytest.fixture
def settled(tmp_path: Path) -> Environment:
    """An environment old enough to be remembered."""
    env = Environment.make(newest(), tmp_path / "env")
    (env.prefix / "bin" / "run").write_bytes(b"#!" + os.fsencode(env.python) + b"\n1\n")
    env.install("one", files={"one/a.py": b"a", "one/b.py": b"b"}, rows=["../../../bin/run,,"])
    env.install("two", files={"two.py": b"2"})
    (env.site / "two.py").write_bytes(b"edited")
    (env.site / "loose").mkdir()
    (env.site / "loose" / "l.py").write_bytes(b"l")
    (env.site / "top.py").write_bytes(b"t")
    time.sleep(2.1)
    return env


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_the_second_run_hashes_nothing_and_sees_the_same(
    settled: Environment, cache: Cache
) -> None:
    first = settled.observe(cache)
    assert len(first.remember) == 4
    second = settled.observe(cache)
    assert second.remember == {}
    assert second.snapshot == first.snapshot == settled.observe(None).snapshot
    assert settled.observe(cache, rehash=True).snapshot == first.snapshot


@pytest.mark.parametrize("name", ["one/a.py", "two.py", "loose/l.py", "top.py"])
def test_one_byte_of_the_same_size_and_time_is_noticed(
    name: str, settled: Environment, cache: Cache
) -> None:
    before = settled.observe(cache).snapshot
    path = settled.site / name
    times = path.stat()
    data = path.read_bytes()
    path.write_bytes(b"Z" + data[1:])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = settled.observe(cache).snapshot
    assert after != before
    assert after == settled.observe(None).snapshot
    assert settled.observe(cache).remember == {}  # too new to be remembered
    path.write_bytes(data)
    assert settled.observe(cache).snapshot == before


def test_what_a_link_leads_to_is_part_of_the_memory(
    settled: Environment, cache: Cache, tmp_path: Path
) -> None:
    (tmp_path / "real.py").write_bytes(b"1")
    (settled.site / "link.py").symlink_to(tmp_path / "real.py")
    settled.install("linked", files={}, rows=[f"link.py,{claim(b'1')},1"])
    time.sleep(2.1)
    before = settled.observe(cache).snapshot
    (tmp_path / "real.py").write_bytes(b"2")
    after = settled.observe(cache).snapshot
    assert after == settled.observe(None).snapshot != before


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"a": {"0": 5}}', b"\xff"])
def test_a_damaged_memory_is_none(note: bytes, settled: Environment, cache: Cache) -> None:
    expected = settled.observe(None).snapshot
    from envfreeze.targets import local

    cache.write_note("stats", local._memory_key(str(settled.python)), note)
    assert settled.observe(cache).snapshot == expected
    assert settled.observe(cache).remember == {}
