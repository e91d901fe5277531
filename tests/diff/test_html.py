"""The page: whole in one file, and nothing runs in it but its own script."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from envfreeze.diff.compare import LAYERS, Difference, compare
from envfreeze.diff.html import FILES, as_html
from envfreeze.diff.summary import LayerSummary, Side, Summary, summarize
from tests.diff.test_markdown import HOSTILE, with_words
from tests.diff.test_summary import view
from tests.support.judging import change, judged, many

VOID = {"meta", "input", "rect"}


class Page(HTMLParser):
    """Elements and attributes, and whether each that was opened was closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def summary(**counts: int) -> Summary:
    sides = {"before": Side(items=3, size=2_000_000, measured=3), "after": Side(items=1)}
    layer = LayerSummary(layer="packages", **sides, **counts)  # type: ignore[arg-type]
    return Summary(before="a", after="b", layers=[layer])


def test_the_policy_lets_its_own_style_and_script_run_and_nothing_else() -> None:
    text = as_html(judged(many(30)), summary(shared=1))
    page = Page(text)
    policy = page.all("meta")[1]["content"]
    for tag in ("style", "script"):
        (own,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.S)
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in str(policy)
    assert str(policy).startswith("default-src 'none';")


def test_nothing_is_fetched_and_nothing_is_inline() -> None:
    for tag, attributes in Page(as_html(judged(many(30)), summary(shared=1))).elements:
        assert tag not in {"link", "img", "iframe", "object", "base", "image", "use", "font"}
        assert not {name for name in attributes if name.startswith("on") or name == "style"}
        assert not {"src", "srcset", "data", "action"} & set(attributes)
        assert re.match("#|https://docs.example/", str(attributes.get("href", "#")))


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_becomes_markup(text: str) -> None:
    plain, found = Page(as_html(with_words("x"))), Page(as_html(with_words(text)))
    assert [tag for tag, _ in found.elements] == [tag for tag, _ in plain.elements]


@given(st.text(st.sampled_from("ab\"'<>&;/=`{}%#\n\t\u202e\u2028") | st.characters(), max_size=30))
def test_no_text_at_all_becomes_markup(text: str) -> None:
    found = Page(as_html(with_words(f"x{text}x")))
    assert [t for t, _ in found.elements] == [t for t, _ in Page(as_html(with_words("x"))).elements]
    assert not re.search("[\u2028\u202a-\u202e]", "".join(found.words))


def test_every_change_is_a_row_worst_first_with_all_that_is_known() -> None:
    one = change(name="torch", before="2.0", after="2.1", note="built twice\nby hand", files=["x"])
    text = as_html(judged(Difference(before="a", after="b", changes=[one, *many(20).changes])))
    rows = [a for a in Page(text).all("tr") if "data-level" in a]
    levels = [row["data-level"] for row in rows]
    assert len(rows) == 21
    assert list(dict.fromkeys(levels)) == ["changes", "may-change", "unknown", "harmless"]
    first = text[text.index("<tbody role") :]
    for known in ("torch", "2.0", "2.1", "packages-changed", "https://docs.example/packages"):
        assert known in first
    assert "<pre>built twice\nby hand</pre>" in first
    assert "<li><bdi>x</bdi></li>" in first


@pytest.mark.parametrize("source", ["javascript:alert(1)", "https://x.example/\u202e", "measured"])
def test_a_source_that_is_no_page_is_no_link(source: str) -> None:
    plain = judged(many(1))
    told = replace(plain, judged=[replace(one, source=source) for one in plain.judged])
    assert len(Page(as_html(plain)).all("a")) == 2
    assert len(Page(as_html(told)).all("a")) == 1


def test_the_same_version_twice_is_explained() -> None:
    one = change(kind="content", before="1", after="1")
    assert "<small>other content</small>" in as_html(
        judged(Difference(before="a", after="b", changes=[one]))
    )


def test_files_past_a_number_are_counted() -> None:
    one = change(kind="content", files=[f"f{n}" for n in range(FILES + 7)])
    text = as_html(judged(Difference(before="a", after="b", changes=[one])))
    assert text.count("<li><bdi>f") == FILES
    assert "… and 7 more" in text


def test_every_level_and_layer_that_is_there_can_be_filtered() -> None:
    boxes = [a for a in Page(as_html(judged(many(30)))).all("input") if a["type"] == "checkbox"]
    assert {a["value"] for a in boxes if a["name"] == "level"} == {
        "changes", "may-change", "unknown", "harmless",
    }  # fmt: skip
    assert {a["value"] for a in boxes if a["name"] == "layer"} == {
        "packages", "system", "files", "numerics", "conda",
    }  # fmt: skip


def test_equal_environments_need_no_table() -> None:
    nothing = Difference(before="a", after="b", changes=[])
    text = as_html(judged(nothing, "They are equal."), None)
    assert "<h1>They are equal.</h1>" in text
    assert "Nothing differs." in text
    assert "<form" not in text and "<table" not in text


# --- the picture -------------------------------------------------------------------------------


def bar(found: Summary) -> tuple[list[dict[str, str | None]], str]:
    text = as_html(judged(many(1)), found)
    (drawn,) = re.findall(r'<svg class="bar".*?</svg>', text)
    (words,) = re.findall(r"</svg><span>(.*?)</span></td>", text)
    return Page(drawn).all("rect"), words


def test_the_bar_is_all_of_a_layer_in_its_parts() -> None:
    parts, words = bar(summary(shared=50, differing=25, before_only=25))
    assert [p["class"] for p in parts] == ["before", "shared", "differs"]
    widths = [int(str(p["width"])) for p in parts]
    assert sum(widths) == 1000
    assert abs(widths[1] - 500) < 15 and abs(widths[0] - widths[2]) < 3
    assert words == "25 only before, 50 shared, 25 differ"


def test_one_of_thousands_is_seen() -> None:
    parts, _ = bar(summary(shared=100_000, after_only=1))
    assert [p["class"] for p in parts] == ["shared", "after"]
    assert int(str(parts[1]["width"])) >= 12
    assert int(str(parts[0]["width"])) + int(str(parts[1]["width"])) == 1000


def test_sides_are_said_in_words() -> None:
    text = as_html(judged(many(1)), summary(shared=1))
    assert "3 packages<span>2 MB</span>" in text
    assert "1 package<span></span>" in text


def test_what_was_not_looked_at_is_not_known() -> None:
    one, two = view(below={"platform": {"cpu": "x"}}), view()
    difference = compare(one, two)
    text = as_html(judged(difference), summarize(one, two, difference))
    assert "1 fact<" in text and "not known<" in text and "nothing to compare" in text


def test_each_layer_has_its_words() -> None:
    layers = [LayerSummary(layer=k, before=Side(items=1), after=None) for k in LAYERS]
    text = as_html(judged(many(1)), Summary(before="a", after="b", layers=layers))
    assert text.count('<th scope="row" role="rowheader">') == len(LAYERS) + 1
