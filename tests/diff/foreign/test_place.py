"""Markers, held against another side: true, false, or open."""

from __future__ import annotations

import pytest

from envfreeze.diff.foreign.place import holds, place_of
from tests.diff.foreign.test_documents import HERE, INTERPRETER
from tests.diff.test_compare import of


@pytest.mark.parametrize(
    ("marker", "there"),
    [
        ("", True),
        (None, True),
        ("sys_platform == 'linux'", True),
        ("sys_platform == 'win32'", False),
        ("python_version >= '3.11' and platform_machine == 'x86_64'", True),
        ("python_full_version < '3.11'", False),
        ("platform_python_implementation == 'CPython' and os_name == 'posix'", True),
        ("platform_release > '5'", None),
        ("implementation_version > '3'", None),
        ("sys.platform == 'linux'", None),
        ("extra == 'x'", None),
        ("extra == 'x' and sys_platform == 'win32'", False),
        ("extra == 'x' and extra == 'y'", None),
        ("'x' in extras", None),
        ("'x' in dependency_groups and os_name == 'nt'", False),
        ("'x' in dependency_groups or os_name == 'posix'", True),
        ("'x' not in extras", None),
        ("'x' not in extras or 'y' in extras", None),
        ("extra != 'x' or extra == 'y'", None),
        ("nonsense", None),
    ],
)
def test_a_marker(marker: str | None, there: bool | None) -> None:
    assert holds(marker, HERE) is there
    assert holds(marker, None) is (None if marker else True)


@pytest.mark.parametrize(
    ("fact", "value"),
    [("platform", "win-amd64"), ("platform", "linux"), ("version", "3"), ("implementation", "x")],
)
def test_a_place_that_is_not_known(fact: str, value: str) -> None:
    assert place_of(of(interpreter=INTERPRETER | {fact: value})) is None
    assert place_of(of()) is None


def test_the_platforms_of_conda() -> None:
    def subdir(platform: str) -> str | None:
        place = place_of(of(interpreter=INTERPRETER | {"platform": platform}))
        assert place is not None
        return place.subdir

    assert subdir("linux-x86_64") == "linux-64"
    assert subdir("linux-aarch64") == "linux-aarch64"
    assert subdir("linux-sparc") is None
