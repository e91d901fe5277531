"""What every run has: the table of environments at its end.

It stands here and not in e2e/: the process that prints does not collect the tests under xdist.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support import tally

# How busy the machine is must not decide what is right.
settings.register_profile("envfreeze", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("envfreeze")


@pytest.hookimpl(tryfirst=True)  # Before xdist reads the groups.
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need an engine stay in one process, so that one engine is started and each image
    is built once; so do those of one file of e2e/, for what they share. They begin first."""
    for item in items:
        if item.get_closest_marker("docker") is not None:
            item.add_marker(pytest.mark.xdist_group("docker"))
        elif item.path.parent.name == "e2e":
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    rows = [
        value
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if name == tally.PROPERTY
    ]
    if rows:
        terminalreporter.section("environments rebuilt")
        for line in tally.table(sorted(rows)):
            terminalreporter.write_line(line)
