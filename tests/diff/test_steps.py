"""How far a version moved."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envfreeze.diff.compare import Change
from envfreeze.diff.steps import debian_step, python_step, step_of, upstream, version_in


@pytest.mark.parametrize(
    ("before", "after", "step"),
    [
        ("1.26.4", "2.0.2", "major"),
        ("1.26.4", "1.27", "minor"),
        ("1.26", "1.26.0.1", "patch"),
        ("1.26", "1.26.0", "other"),
        ("2.13.0+cpu", "2.13.0+cu130", "local"),
        ("2.13.0", "2.13.0+cpu", "local"),
        ("2.0rc1", "2.0", "pre"),
        ("2.0.dev1", "2.0.dev2", "pre"),
        ("2.0", "2.0.post1", "post"),
        ("1!1.0", "2.0", "epoch"),
        ("2004d", "2.0", "other"),
        ("1" * 5000, "2.0", "other"),
    ],
)
def test_a_python_version_moves_by_its_first_part_that_differs(
    before: str, after: str, step: str
) -> None:
    assert python_step(before, after) == python_step(after, before) == step


@pytest.mark.parametrize(
    ("before", "after", "step"),
    [
        ("2.36-9+deb12u9", "2.36-9+deb12u10", "build"),
        ("2.36-9", "2.41-12", "minor"),
        ("0.3.21+ds-4", "0.3.29+ds-3", "patch"),
        ("1:2.30.2-1", "1:3.0-1", "major"),
        ("1:2.30.2-1", "2:2.30.2-1", "epoch"),
        ("2.30.2-1", "0:2.30.2-1", "build"),
        ("20250419", "20260101", "major"),
        ("2025b-0+deb12u1", "2025c-0", "other"),
        ("", "1", "major"),
    ],
)
def test_a_debian_version_moves_by_upstream_then_revision(
    before: str, after: str, step: str
) -> None:
    assert debian_step(before, after) == debian_step(after, before) == step


@pytest.mark.parametrize(
    ("layer", "before", "after", "step"),
    [
        ("conda", "1.26.4 py311_0", "1.26.4 py311_1", "build"),
        ("conda", "1.26.4 py311_0", "2.0.0 py311_0", "major"),
        ("accelerator", "550.54.14", "580.65.06", "major"),
        (
            "accelerator",
            "soname libcudart.so.13, version 13.0.96",
            "soname libcudart.so.12, version 12.9.79",
            "major",
        ),
        ("numerics", "scipy-openblas 0.3.29", "scipy-openblas 0.3.30", "patch"),
        ("numerics", "scipy-openblas 0.3.29", "mkl 2024.2", "other"),
        ("platform", "glibc 2.36", "glibc 2.41", "minor"),
        ("platform", "glibc 2.36", "musl 1.2.5", "other"),
        ("platform", "x86-64-v3", "x86-64-v4", "other"),
        ("files", "a", "b", "other"),
    ],
)
def test_each_layer_words_its_versions_in_its_own_way(
    layer: Any, before: str, after: str, step: str
) -> None:
    change = Change(layer=layer, kind="changed", name="x", before=before, after=after)
    assert step_of(change) == step


def test_what_has_one_version_has_no_step() -> None:
    assert step_of(Change(layer="packages", kind="added", name="x", after="1")) is None
    assert (
        step_of(Change(layer="packages", kind="content", name="x", before="1", after="1")) is None
    )


def test_the_version_in_a_fact() -> None:
    assert version_in("kind blas, threading pthreads, version 0.3.29") == "0.3.29"
    assert version_in("glibc 2.36") == "2.36"
    assert version_in("no GPU") is None
    assert str(upstream("2:2.36-9+deb12u9")) == "2.36"
    assert str(upstream("1.26.4 py311_0")) == "1.26.4"


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_raises_and_no_direction_matters(one: str, two: str) -> None:
    for layer in ("packages", "conda", "system", "numerics"):
        there = Change(layer=layer, kind="changed", name="x", before=one, after=two)  # type: ignore[arg-type]
        back = Change(layer=layer, kind="changed", name="x", before=two, after=one)  # type: ignore[arg-type]
        assert step_of(there) == step_of(back)
    upstream(one)
