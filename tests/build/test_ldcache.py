"""The loader's cache: what ldconfig wrote is read, and what we write ldconfig reads."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from envfreeze.build import ldcache
from envfreeze.build.ldcache import CacheError, Entry

REAL = Path("/etc/ld.so.cache")
LDCONFIG = shutil.which("ldconfig", path="/usr/sbin:/sbin:/usr/bin:/bin")
ROW = re.compile(r"\t(\S+) \(.*\) => (\S+)")


def listed(cache: Path) -> list[tuple[str, str]]:
    """What ``ldconfig -p`` says of a cache, in its order."""
    done = subprocess.run(
        [str(LDCONFIG), "-p", "-C", str(cache)], capture_output=True, text=True, check=True
    )
    return [(row[1], row[2]) for row in map(ROW.fullmatch, done.stdout.splitlines()) if row]


@pytest.mark.skipif(LDCONFIG is None or not REAL.exists(), reason="no ldconfig, or no cache")
def test_it_is_as_ldconfig_has_it(tmp_path: Path) -> None:
    try:
        entries = ldcache.parse(REAL.read_bytes())
    except CacheError as error:
        pytest.skip(f"the cache of this machine: {error}")
    assert [(entry.name, entry.path) for entry in entries] == listed(REAL)
    ours = tmp_path / "cache"
    ours.write_bytes(ldcache.render(reversed(entries)))
    assert sorted(listed(ours)) == sorted(listed(REAL))
    assert [name for name, _ in listed(ours)] == [name for name, _ in listed(REAL)]
    assert ldcache.parse(ours.read_bytes()) == ldcache.parse(ldcache.render(entries))


@pytest.mark.parametrize(
    ("one", "other"),
    [("libb.so.1", "liba.so.9"), ("liba.so.10", "liba.so.9"), ("liba1.so", "liba.so"),
     ("liba.so.1", "liba.so"), ("libc-2.so", "libc-1.so")],
)  # fmt: skip
def test_names_are_ordered_by_their_numbers(one: str, other: str) -> None:
    assert ldcache.compare_names(one, other) > 0
    assert ldcache.compare_names(other, one) < 0
    assert ldcache.compare_names(one, one) == 0


def test_the_order_of_what_comes_in_does_not_count() -> None:
    entries = [Entry(f"lib{n}.so", f"/lib/lib{n}.so", 0x303) for n in range(20)]
    assert ldcache.render(entries) == ldcache.render([*reversed(entries), entries[3]])
    assert {e.name for e in ldcache.parse(ldcache.render(entries))} == {e.name for e in entries}


@pytest.mark.parametrize(
    "data",
    [b"", b"ld.so-1.7.0", ldcache.MAGIC, ldcache.MAGIC + b"\xff" * 28,
     ldcache.render([Entry("a", "/a", 1)])[:60]],
    ids=["empty", "old", "short", "count", "cut"],
)  # fmt: skip
def test_another_format(data: bytes) -> None:
    with pytest.raises(CacheError):
        ldcache.parse(data)


def test_entries_for_some_processors() -> None:
    data = ldcache.render([Entry("a", "/a", 1, 1 << 62)])
    with pytest.raises(CacheError, match="some processors"):
        ldcache.parse(data)
