"""Which files of conda packages are looked into; what is found is in test_system.py."""

from __future__ import annotations

import pytest

from envfreeze.resolve import condaobjects


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("lib/libfoo.so.1.2", True),
        ("lib/python3.11/site-packages/x/y.cpython-311-x86_64-linux-gnu.so", True),
        ("bin/tool", True),
        ("lib/R/bin/exec/R", True),
        ("libexec/git-core/git", True),
        ("bin/tool.sh", False),
        ("share/man/man1/tool.1", False),
        ("lib/libfoo.a", False),
        ("share/x.so.txt", False),
    ],
)
def test_by_name_and_place(path: str, expected: bool) -> None:
    assert condaobjects.is_object(path) is expected
