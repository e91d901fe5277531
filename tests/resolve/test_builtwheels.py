"""The caches of pip and uv, as they lie: found by project, bounded, and never more than a lead."""

from __future__ import annotations

from pathlib import Path

import pytest

from envfreeze.resolve import builtwheels
from envfreeze.resolve.builtwheels import BuiltWheels, uv_revision

SHA256 = "49b3a825280bd66b3aa83585ef59c4a8c82f2c8a522dbe754a8bc8d08c85c491"
REVISION = (
    b"\x93\xb0a8iRi7uwGB39CZKV\x91\x81\xa6Sha256\xd9@" + SHA256.encode() + b"\xcde-xlyg4cIk9MYQja1B"
)
"""The head of ``revision.http`` as uv 0.13.9 wrote it: ``uv pip install docopt`` into an empty
cache, then ``sdists-v11/pypi/docopt/0.6.2/revision.http``."""


def pip_wheel(cache: Path, key: str, name: str, origin: str | None = "{}") -> Path:
    place = cache / "wheels" / key
    place.mkdir(parents=True)
    (place / name).write_bytes(b"wheel")
    if origin is not None:
        (place / "origin.json").write_text(origin)
    return place / name


def test_wheels_of_pip_are_found_by_project(tmp_path: Path) -> None:
    old = pip_wheel(tmp_path, "aa/bb/cc/1", "my_demo-1.0-py3-none-any.whl", None)
    new = pip_wheel(tmp_path, "ff/bb/cc/1", "my_demo-1.0-py3-none-any.whl", '{"url": "x"}')
    pip_wheel(tmp_path, "bb/bb/cc/1", "other-1.0-py3-none-any.whl")
    (tmp_path / "wheels/aa/my_demo-1.0-py3-none-any.whl").write_bytes(b"not where pip puts them")
    found = BuiltWheels(str(tmp_path), None).of("My.Demo")
    assert [(each.path, each.origin) for each in found] == [(old, None), (new, '{"url": "x"}')]


def test_links_in_the_cache_are_not_followed(tmp_path: Path) -> None:
    elsewhere = pip_wheel(tmp_path / "else", "aa/bb/cc/1", "demo-1.0-py3-none-any.whl")
    (tmp_path / "cache/wheels").mkdir(parents=True)
    (tmp_path / "cache/wheels/aa").symlink_to(elsewhere.parents[2])
    link = pip_wheel(tmp_path / "cache", "bb/bb/cc/1", "x-1.0-py3-none-any.whl").parent
    (link / "demo-1.0-py3-none-any.whl").symlink_to(elsewhere)
    assert BuiltWheels(str(tmp_path / "cache"), None).of("demo") == []


def test_an_origin_of_any_size_is_not_read(tmp_path: Path) -> None:
    pip_wheel(tmp_path, "aa/bb/cc/1", "demo-1.0-py3-none-any.whl", " " * (1 << 17))
    assert [each.origin for each in BuiltWheels(str(tmp_path), None).of("demo")] == [None]


def test_a_huge_cache_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtwheels, "MAX_ENTRIES", 20)
    for number in range(10):
        pip_wheel(tmp_path, f"{number:02}/bb/cc/1", "demo-1.0-py3-none-any.whl")
    built = BuiltWheels(str(tmp_path), None)
    assert not built.cut
    assert 0 < len(built.of("demo")) < 10
    assert built.cut


@pytest.mark.parametrize("place", [None, "/nowhere", "/dev/null"])
def test_no_cache(place: str | None) -> None:
    assert BuiltWheels(place, place).of("demo") == []


def uv_wheel(cache: Path, below: str, revision: bytes = REVISION) -> Path:
    release = cache / below / "demo-x" / "1.0"
    wheel = release / "a8iRi7uwGB39CZKV" / "demo_x-1.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    wheel.write_bytes(b"wheel")
    (release / "revision.http").write_bytes(revision)
    return wheel


@pytest.mark.parametrize("below", ["sdists-v11/pypi", "sdists-v12/index/0123456789abcdef"])
def test_wheels_of_uv(tmp_path: Path, below: str) -> None:
    wheel = uv_wheel(tmp_path, below)
    [found] = BuiltWheels(None, str(tmp_path)).of("demo_x")
    assert (found.path, found.tool, found.sha256) == (wheel, "uv", SHA256)


def test_another_format_of_uv_says_nothing(tmp_path: Path) -> None:
    uv_wheel(tmp_path, "sdists-v99/pypi", b"\x94" + REVISION[1:])
    assert BuiltWheels(None, str(tmp_path)).of("demo-x") == []


@pytest.mark.parametrize("name", ["..", "demo/../..", "*", ""])
def test_a_name_leads_nowhere(tmp_path: Path, name: str) -> None:
    uv_wheel(tmp_path, "sdists-v11/pypi")
    assert BuiltWheels(None, str(tmp_path)).of(name) == []


def test_the_revision_of_uv() -> None:
    assert uv_revision(REVISION) == ("a8iRi7uwGB39CZKV", SHA256)
    assert uv_revision(b"") is None
    assert uv_revision(REVISION[:40]) is None
    # A revision of a path has no hash: revision.rev of the same uv.
    assert uv_revision(b"\x92\x95\x92\xcek\x04\xf7\xe1\xce\x09\x14\xb0b\xc0\xc0\x80") is None
