"""Debian's Chromium, driven by Playwright; nothing is downloaded for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser; skips where there is none, or fails where CI promised one.

    Of a module and no longer: a loop of asyncio runs as long as it does.
    """
    program = shutil.which("chromium")
    if program is None:
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail("no chromium in CI")
        pytest.skip("no browser: chromium is not on PATH")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        # Its sandbox is for pages of strangers, and does not start under root.
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
