"""The report: readable, and safe to print whatever the names are."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envfreeze.diff.compare import BELOW, LAYERS, Change, Difference
from envfreeze.diff.jsonreport import JudgedReport, as_json
from envfreeze.diff.judge import judge
from envfreeze.diff.report import as_text
from tests import strategies

GOLDEN = Path(__file__).parents[1] / "golden" / "diff"

changes = st.builds(
    Change,
    layer=st.sampled_from(LAYERS),
    kind=st.sampled_from(
        ["added", "removed", "changed", "content", "proof", "installer", "unknown"]
    ),
    name=strategies.words,
    before=st.none() | strategies.words,
    after=st.none() | strategies.words,
    files=st.lists(strategies.words, max_size=3),
    note=st.none() | strategies.words,
)
differences = st.builds(
    Difference,
    before=strategies.words,
    after=strategies.words,
    changes=st.lists(changes, max_size=5),
)
_BAD = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@given(differences)
def test_no_name_can_break_a_line_or_move_the_cursor(difference: Difference) -> None:
    judgement = judge(difference)
    text = as_text(judgement)
    assert not _BAD.search(text)
    layers = {change.layer for change in difference.changes}
    files = sum(
        len(c.files)
        for c in difference.changes
        if c.layer in {"packages", "shadowed", "sources", "conda"}
    )
    notes = sum(1 for c in difference.changes if c.note)
    levels = len({(one.change.layer, one.level) for one in judgement.judged})
    told = any(c.counts or c.layer in BELOW for c in difference.changes)
    expected = 1 + told + 2 * len(layers) + levels + len(difference.changes) + files + notes
    assert text.count("\n") == expected
    assert as_text(judgement, explain=True).count("\n") == expected + len(difference.changes)
    text.encode("utf-8")


@given(differences)
def test_json_says_the_same(difference: Difference) -> None:
    report = msgspec.json.decode(as_json(judge(difference)), type=JudgedReport)
    assert [c.name for c in report.changes] == [one.change.name for one in judge(difference).judged]
    assert report.equal == difference.equal
    assert report.schema == 1


def test_a_path_that_is_not_utf8() -> None:
    title = os.fsdecode(b"/env-\xff")
    difference = Difference(before=title, after="b", changes=[])
    assert as_text(judge(difference)) == "equal: /env-\\udcff and b\n"
    assert msgspec.json.decode(as_json(judge(difference)))["before"] == "/env-\\udcff"


def many(layer: str, count: int) -> list[Change]:
    return [
        Change(layer=layer, kind="added", name=f"p{n:02}", after="1")  # type: ignore[arg-type]
        for n in range(count)
    ]


SMALL = {
    "equal": [],
    "only-unknown": [Change(layer="system", kind="unknown", name="system packages")],
    "one": [Change(layer="packages", kind="changed", name="demo", before="1.0", after="2.0")],
    "every-layer": [
        Change(
            layer="interpreter", kind="changed", name="version", before="3.11.7", after="3.12.1"
        ),
        Change(layer="packages", kind="added", name="added", after="1.0"),
        Change(layer="packages", kind="removed", name="a-rather-long-name", before="2.0"),
        Change(
            layer="packages",
            kind="content",
            name="edited",
            before="1.0",
            after="1.0",
            files=["site/edited/__init__.py", "scripts/edited"],
        ),
        Change(layer="packages", kind="content", name="opaque", before="1.0", after="1.0"),
        Change(layer="packages", kind="proof", name="moved", before="proved", after="packed"),
        Change(
            layer="packages",
            kind="installer",
            name="installer of 2 packages",
            before="pip",
            after="uv",
            note="a, b",
        ),
        Change(layer="packages", kind="unknown", name="unread", before="1.0"),
        Change(layer="files", kind="added", name="x.pth", after="0123456789ab", files=["x.pth"]),
        Change(
            layer="files",
            kind="content",
            name="tool",
            before="0123456789ab",
            after="0123456789ab executable",
            files=["tool"],
        ),
        Change(
            layer="system", kind="changed", name="libc6:amd64", before="2.36-9", after="2.36-10"
        ),
    ],
    "many": many("packages", 25),
    "hostile": [
        Change(
            layer="packages",
            kind="changed",
            name="a\nequal: A and B\n",
            before="\x1b[2J1",
            after="\u202e2\t3",
        )
    ],
}


@pytest.mark.parametrize("name", SMALL)
def test_as_a_person_reads_it(name: str) -> None:
    text = as_text(judge(Difference(before="before.lock", after="after.lock", changes=SMALL[name])))
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("ENVFREEZE_TESTS_WRITE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")
