"""The HTML report in a real browser: opened from a file, filtered, read with keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from envfreeze.diff.compare import Difference
from envfreeze.diff.html import as_html
from envfreeze.diff.summary import LayerSummary, Side, Summary
from tests.support.browser import chromium
from tests.support.judging import change, judged, many

__all__ = ["chromium"]

PICTURE = Summary(
    before="a.lock",
    after="b.lock",
    layers=[
        LayerSummary(
            layer="packages",
            before=Side(items=90, size=10**9, measured=90),
            after=Side(items=80),
            shared=60,
            differing=20,
            before_only=10,
        )
    ],
)
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "a report.html"
    named = [change(name="torch", note="built twice"), change(name=HOSTILE, after=HOSTILE)]
    difference = Difference(before="a.lock", after="b.lock", changes=[*named, *many(60).changes])
    path.write_text(as_html(judged(difference, "2 of 62 matter."), PICTURE), "utf-8")
    return path


@pytest.fixture
def opened(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens a file; at the end nothing was fetched, and nothing was complained of."""
    contexts, requests, said = [], [], []

    def go(path: Path, **options: Any) -> Any:
        contexts.append(chromium.new_context(**options))
        page = contexts[-1].new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.goto(path.as_uri())
        return page

    yield go
    for context in contexts:
        context.close()
    assert said == []
    assert len(requests) == len(contexts)
    assert all(url.startswith("file://") for url in requests)


ROWS = "table.list tbody tr"


def count(page: Any) -> int:
    """How many changes it says it shows, which is how many one sees."""
    said = re.fullmatch(r"(\d+) of 62 changes shown", page.get_by_role("status").inner_text())
    assert said is not None
    assert page.locator(f"{ROWS}:visible").count() == int(said[1])
    return int(said[1])


def test_it_is_filtered_by_level_layer_and_text(opened: Callable[..., Any], report: Path) -> None:
    page = opened(report)
    levels = page.get_by_role("group", name="What it does to results")
    layers = page.get_by_role("group", name="Layer")
    assert count(page) == 62
    levels.get_by_label("does not change results").uncheck()
    assert 0 < count(page) < 62
    assert not page.locator(f"{ROWS}[data-level=harmless]:visible").count()
    for layer in ("System", "Loose files", "Numerics", "Conda"):
        layers.get_by_label(layer).uncheck()
    assert count(page) == page.locator(f"{ROWS}[data-layer=packages]:visible").count() > 0
    page.get_by_label("Text").fill("TORCH  twice")
    page.get_by_text("1 of 62 changes shown").wait_for()
    assert count(page) == 1
    page.get_by_label("Text").fill("no such thing")
    page.get_by_text("No change fits these filters.").wait_for()
    assert count(page) == 0
    page.get_by_role("button", name="Show all").click()
    page.get_by_text("62 of 62 changes shown").wait_for()
    assert count(page) == 62


def test_keys_reach_all_of_it(opened: Callable[..., Any], report: Path) -> None:
    page = opened(report)

    def focused() -> str:
        return str(page.evaluate("(at => at.textContent || at.name)(document.activeElement)"))

    page.keyboard.press("Tab")
    assert focused() == "Skip to the changes"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert focused() == "level"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Space")
    assert count(page) < 62
    reached = []
    while "Details" not in (reached or [""])[-1]:
        page.keyboard.press("Tab")
        reached.append(focused())
        assert len(reached) < 20
    assert [name for name in ("layer", "text", "Show all") if name in reached] == [
        "layer", "text", "Show all",
    ]  # fmt: skip
    page.keyboard.press("Enter")
    assert page.locator("details[open]").count() == 1


def test_a_reader_of_screens_is_told(opened: Callable[..., Any], report: Path) -> None:
    page = opened(report)
    for role in ("banner", "main", "search"):
        assert page.get_by_role(role).count() == 1
    assert page.get_by_role("heading", level=1).inner_text() == "2 of 62 matter."
    assert page.get_by_role("table", name="What each has").get_by_role("row").count() == 2
    table = page.get_by_role("table", name="Changes")
    assert table.get_by_role("columnheader").count() == 6
    assert table.get_by_role("row").count() == 63
    assert page.get_by_role("row", name="torch").get_by_role("rowheader").inner_text() == "torch"


def test_names_of_a_lock_are_words(opened: Callable[..., Any], report: Path) -> None:
    page = opened(report)
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 1
    assert page.get_by_role("rowheader").filter(has_text="onerror").inner_text() == HOSTILE


CONTRAST = """
(() => {
  const light = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).map((v) => Number(v) / 255)
      .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const ground = (node) => {
    const color = getComputedStyle(node).backgroundColor;
    return color === "rgba(0, 0, 0, 0)" ? ground(node.parentElement) : color;
  };
  const said = (node) => [...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  const words = [...document.querySelectorAll("body :not(script)")].filter(said);
  return Math.min(...words.map((node) => {
    const [one, two] = [getComputedStyle(node).color, ground(node)].map(light);
    return Math.max(one, two) / Math.min(one, two);
  }));
})()
"""
"""The least contrast of any words with what is behind them, as WCAG counts it."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(
    opened: Callable[..., Any], report: Path, scheme: str
) -> None:
    page = opened(report, color_scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}[scheme]
    assert page.evaluate(CONTRAST) >= 4.5


def test_without_script_all_is_shown(opened: Callable[..., Any], report: Path) -> None:
    page = opened(report, java_script_enabled=False)
    assert page.locator(f"{ROWS}:visible").count() == 62
    assert not page.locator("form").is_visible()
    assert count(page) == 62


def test_it_fits_a_telephone_and_paper(opened: Callable[..., Any], report: Path) -> None:
    page = opened(report, viewport={"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    page.emulate_media(media="print")
    assert not page.locator("form").is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0


def test_thousands_of_changes_stay_usable(opened: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "big.html"
    path.write_text(as_html(judged(many(5000)), PICTURE), "utf-8")
    page = opened(path)
    page.get_by_label("Text").fill("name-4999")
    page.get_by_text("1 of 5000 changes shown").wait_for()
    assert page.locator(f"{ROWS}:visible").count() == 1
