"""Counts and sizes as a person reads them."""

from __future__ import annotations

import pytest

from envfreeze.model import words


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1_234_567, "1 MB"), (5_600_000_000, "5.6 GB")],
)
def test_sizes(count: int, text: str) -> None:
    assert words.size(count) == text
