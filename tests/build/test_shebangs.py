"""The first line of a script."""

from __future__ import annotations

from envfreeze.build import shebangs


def test_a_short_shebang_and_a_long_one() -> None:
    assert shebangs.shebang("/p/python") == b"#!/p/python"
    assert shebangs.shebang("/p/python", b"-E") == b"#!/p/python -E"
    assert shebangs.shebang("/a b/python", b"-E") == (
        b"#!/bin/sh\n'''exec' '/a b/python' -E \"$0\" \"$@\"\n' '''"
    )
