"""What every run has: the table of environments at its end.

It stands here and not in e2e/: the process that prints does not collect the tests under xdist.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support import tally

# How busy the machine is must not decide what is right.
RULES = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("envfreeze", RULES, max_examples=50)
settings.register_profile("envfreeze-all", RULES, max_examples=200)
settings.load_profile("envfreeze")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="the tests marked long, too")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.all:
        settings.load_profile("envfreeze-all")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked long, unless it was asked for: by option, by mark or by its name."""
    apart = [
        item.nodeid
        for item in items
        if item.get_closest_marker("docker") and not needs_engine(item.nodeid)
    ]
    if apart:
        raise pytest.UsageError(f"an engine of their own for {apart}: see needs_engine")
    if config.option.all or config.option.markexpr or any("::" in arg for arg in config.args):
        return
    left_out = [item for item in items if item.get_closest_marker("long")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("long")]


ENGINE = frozenset({"test_docker", "test_docker_e2e", "test_oci", "test_podman", "test_push"})
"""Files whose tests need an engine, and an image that takes minutes to build."""
IMAGES = "test_an_image_has_"
"""How tests of other files begin that need an engine."""


def needs_engine(nodeid: str) -> bool:
    path, _, rest = nodeid.partition("::")
    return Path(path).stem in ENGINE or rest.startswith(IMAGES)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests that need an engine stay in one process, so that one engine is started and each image
    is built once; so do those of one file of e2e/, for what they share. They begin first, and the
    others go to whoever is free."""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if needs_engine(nodeid):
                return "engine"
            path = Path(nodeid.partition("::")[0])
            return str(path) if path.parent.name == "e2e" else nodeid

    return Together(config, log) if config.getvalue("dist") == "load" else None


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
