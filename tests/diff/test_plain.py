"""A lock as lines for a line-by-line diff."""

from __future__ import annotations

import msgspec

from envfreeze.diff.plain import as_plain
from envfreeze.model.lock import Edit, Package
from tests.support.locks import deb, lock


def package(name: str, version: str, **facts: object) -> Package:
    known = {"proof": "proved", "evidence": "", "tree": "1" * 64, "info": f"{name}.dist-info"}
    return msgspec.convert(
        {
            "name": name,
            "version": version,
            "wheels": [
                {
                    "url": f"https://index.example/{name}.whl",
                    "size": 1,
                    "hashes": {"sha256": "2" * 64},
                }
            ],
            "tool": {"envfreeze": {**known, **facts}},
        },
        Package,
    )


def test_each_fact_has_a_line_that_says_what_it_is_about() -> None:
    edit = Edit(path="site/a.py", kind="deleted")
    made = lock(system=[deb("libz", "1.2")], environment={"OMP_NUM_THREADS": "4"})
    edited = msgspec.structs.replace(package("b", "2.0").facts, edits=[edit])
    two = package("b", "2.0")
    two = msgspec.structs.replace(two, tool=msgspec.structs.replace(two.tool, envfreeze=edited))
    made = msgspec.structs.replace(made, packages=[two, package("a", "1.0")])
    lines = as_plain(made).splitlines()
    assert lines[:2] == ["envfreeze lock aaaaaaaaaaaa", "hermetic yes"]
    assert "interpreter version 3.11.7" in lines
    assert "system libz:amd64 1.2" in lines
    assert "variable OMP_NUM_THREADS 4" in lines
    assert "edited b deleted site/a.py" in lines
    packages = [line for line in lines if line.startswith("package ")]
    assert packages == ["package a 1.0 proved 111111111111", "package b 2.0 proved 111111111111"]


def test_a_hostile_version_stays_on_its_line() -> None:
    made = msgspec.structs.replace(lock(), packages=[package("a", "1.0\n\x1b[2Jpackage evil 1")])
    text = as_plain(made)
    assert "\x1b" not in text
    assert not [line for line in text.splitlines() if line.startswith("package evil")]
