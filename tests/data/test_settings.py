"""The table of what changes numbers."""

from __future__ import annotations

import re

import pytest

from envfreeze.data import settings
from envfreeze.probe.machine import ALLOWED, RECORDED

ROWS = [*settings.table().variable, *settings.table().switch]


def test_each_recorded_variable_has_one_row() -> None:
    names = [name for row in settings.table().variable for name in row.names]
    assert sorted(names) == sorted(ALLOWED | RECORDED)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.names[0])
def test_each_row_says_what_and_by_whom(row: settings.Row) -> None:
    assert row.about and row.names
    assert len(row.source) > 10
    assert not re.search(r"://|(?:^|\s)/", row.source), "a title, no address and no place"
    assert row.effect != "none" or not row.reproducible
