"""The comment on a pull request: the worst first, and nothing in it that a name could have put."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from msgspec.structs import replace

from envfreeze.diff.compare import Difference
from envfreeze.diff.judge import Judgement
from envfreeze.diff.markdown import as_markdown, code, prose
from tests.support.judging import change, judged, many

GITHUB = MarkdownIt("commonmark").enable(["table", "strikethrough"])
OURS = {"h3", "h4", "p", "code", "table", "thead", "tbody", "tr", "th", "td", "details", "summary"}
OURS |= {"span"}
HOSTILE = [
    "a|b", "a\\|b", "`", "``` x", "\\`x`", "<img src=https://evil.example/x>",
    "<script>x</script>", "![x](https://evil.example/x.png)", "[x](https://evil.example)",
    "@everybody", "someone@evil.example", "#1", "GH-1", "owner/name#1", ":tada:",
    "https://evil.example/", "www.evil.example", "a\n\n# b", "</details>", "&lt;b&gt;",
    "**b** _i_ ~~s~~", "$x$ $$y$$", "\u202ex", "0123456789abcdef", "-->",
]  # fmt: skip
ALIGNED = ("style", "text-align:right")
"""Of a column of numbers: the one attribute that is ours."""


class Seen(HTMLParser):
    """What came of it: elements, their attributes, and the text that is in no code."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str | None]] = set()
        self.text = ""
        self.code: list[str] = []
        self.rows: list[int] = []
        self.inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= set(attrs) - {ALIGNED}
        self.inside = tag == "code"
        if tag == "tr":
            self.rows.append(0)
        if tag in {"td", "th"}:
            self.rows[-1] += 1
        if tag == "code":
            self.code.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.code[-1] += data
        else:
            self.text += data


def seen(judgement: Judgement) -> Seen:
    return Seen(GITHUB.render(as_markdown(judgement)))


def with_words(text: str) -> Judgement:
    """A judgement in which each text is *text*."""
    found = change(name=text, before=text, after=text, note=text)
    judgement = judged(Difference(before=text, after=text, changes=[found, found]), verdict=text)
    return replace(judgement, judged=[replace(one, reason=text) for one in judgement.judged])


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_becomes_markup(text: str) -> None:
    found = seen(with_words(text))
    assert found.tags <= OURS
    assert not found.attributes
    assert found.rows == [2, 2, 5, 5, 5]
    assert len(found.code) == 2 + 2 * 3


nasty = st.text(st.sampled_from("ab1|`\\<>&@#:/.![](){}*_~$-+='\" \n\t\u202e"), max_size=30)


@given(nasty | st.sampled_from(HOSTILE) | st.text(max_size=20))
def test_no_text_at_all_becomes_markup(text: str) -> None:
    found = seen(with_words(text))
    assert found.tags <= OURS
    assert found.rows == [2, 2, 5, 5, 5]


def test_what_a_forge_would_link_outside_of_code_is_broken_up() -> None:
    text = seen(with_words("@a owner/name#1 GH-12 :tada: 0123456789abcdef")).text
    for linked in (r"@\w", r"#\d", r"GH-\d", r":\w+:", r"\b[0-9a-f]{7,40}\b"):
        assert not re.search(linked, text), linked
    for source in ("http\\:\\/\\/", "www\\."):
        assert source in prose("http://www.x")


def test_words_stay_readable() -> None:
    html = Seen(GITHUB.render(f"{code('torch 2.1.0+cu118')} {prose('It is 2.0, not (1.9).')}"))
    assert html.code == ["torch 2.1.0+cu118"]
    assert html.text.strip() == "It is 2.0, not (1.9)."


def test_the_verdict_then_what_is_worst_and_the_harmless_folded() -> None:
    text = as_markdown(judged(many(30)))
    first, *rest = text.splitlines()
    assert first.startswith("### ")
    order = [line for line in rest if line.startswith(("####", "<details>"))]
    assert order == [
        "#### Changes results",
        "#### May change results",
        "#### Of unknown effect",
        "<details>",
    ]
    assert text.index("</summary>") < text.index("`name-2`") < text.index("</details>")


def test_the_same_version_twice_is_explained() -> None:
    one = change(kind="content", before="1", after="1")
    text = as_markdown(judged(Difference(before="a", after="b", changes=[one])))
    assert "| `numpy` | `1` | `1` other content |" in text


def test_equal_environments_are_one_sentence() -> None:
    nothing = judged(Difference(before="a", after="b", changes=[]), verdict="They are equal.")
    assert as_markdown(nothing) == "### They are equal\\.\n\n`a` → `b`\n"


def test_what_is_left_out_is_counted() -> None:
    text = as_markdown(judged(many(300)), shown=3)
    counts = [int(n) for n in re.findall(r"^\| [a-z ]+ \| (\d+) \|$", text, re.M)]
    assert sum(counts) == 300
    left = [int(n) for n in re.findall(r"^… and (\d+) more", text, re.M)]
    assert left == [count - 3 for count in counts]


@pytest.mark.parametrize("limit", [60_000, 3_000, 1_000])
def test_it_fits_and_is_whole_where_it_ends(limit: int) -> None:
    long = [change(name="\U0001f600" * 999, note="$@" * 999, kind=k) for k in ("changed", "proof")]
    difference = Difference(before="a", after="b", changes=long * 500)
    text = as_markdown(judged(difference), shown=500, limit=limit)
    assert len(text.encode("utf-16-le")) // 2 <= limit
    assert text.count("<details>") == text.count("</details>")
    assert all(row.endswith("|") for row in text.splitlines() if row.startswith("|"))
    assert "| changes results | 500 |" in text
