"""What was asked of ``diff`` and ``verify``, and when the answer is a no."""

from __future__ import annotations

from pathlib import Path

import pytest

from envfreeze.cli.judged import Asked, format_of
from envfreeze.diff.compare import LAYERS, Change, Difference
from envfreeze.diff.judge import Judgement, judge
from envfreeze.errors import UsageError
from envfreeze.workflow import judged, write_text
from envfreeze.workflow.judging import read

HARMLESS = Change(layer="packages", kind="changed", name="pip", before="24.0", after="25.0")
MAY = Change(layer="packages", kind="changed", name="scipy", before="1.13.1", after="1.14.0")
BELOW = Change(layer="numerics", kind="added", name="variables.OMP_NUM_THREADS", after="1")
UNKNOWN = Change(layer="system", kind="unknown", name="system packages")


def of(*changes: Change) -> Judgement:
    return judge(Difference(before="a", after="b", changes=list(changes)))


@pytest.mark.parametrize(
    ("asked", "changes", "passes"),
    [
        ({}, [], True),
        ({}, [HARMLESS], False),
        ({}, [BELOW], True),
        ({"satisfies": True}, [HARMLESS], True),
        ({"satisfies": True}, [HARMLESS, BELOW], True),
        ({"satisfies": True}, [HARMLESS, MAY], False),
        ({"fail_on": "changes"}, [MAY], True),
        ({"fail_on": "may-change"}, [MAY], False),
        ({"fail_on": "changes"}, [BELOW], False),
        ({"fail_on": "harmless"}, [HARMLESS], False),
        ({"fail_on": "harmless"}, [UNKNOWN], True),
        ({"fail_on": "unknown"}, [HARMLESS], True),
    ],
)
def test_what_makes_it_a_no(asked: dict[str, str], changes: list[Change], passes: bool) -> None:
    satisfies = bool(asked.pop("satisfies", False))
    found = Asked.of(None, asked.get("fail_on"), satisfies=satisfies)
    assert found.passes(of(*changes)) is passes


def test_layers_come_in_their_own_order() -> None:
    assert Asked.of(["system", "packages"], None).layers == ("packages", "system")
    assert Asked.of([], None).layers == LAYERS


@pytest.mark.parametrize(
    ("only", "level", "satisfies"),
    [(["kitchen"], None, False), (None, "dreadful", False), (None, "changes", True)],
)
def test_what_cannot_be_asked(only: list[str] | None, level: str | None, satisfies: bool) -> None:
    with pytest.raises(UsageError) as raised:
        Asked.of(only, level, satisfies=satisfies)
    assert raised.value.hint


def test_a_format_that_is_none() -> None:
    assert format_of("html") == "html"
    with pytest.raises(UsageError, match="no format is called 'pdf'"):
        format_of("pdf")


RULES = """
[[tool.envfreeze.rules]]
id = "mine"
names = ["scipy"]
level = "{level}"
reason = "we looked"
source = "our suite"
"""


def test_the_rules_of_the_project_around_are_used(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(RULES.format(level="harmless"))
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    difference = Difference(before="a", after="b", changes=[MAY])
    (one,) = judged(difference, below).judged
    assert (one.level, one.rule, one.source) == ("harmless", "mine", "our suite")


def test_a_rule_of_the_project_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(RULES.format(level="dreadful"))
    with pytest.raises(UsageError, match="dreadful") as raised:
        read(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("text", ["", "[", "tool = 3", "[tool]\nenvfreeze = 1", "\x00", "[tool.x]"])
def test_a_project_without_rules_has_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(text)
    assert read(path) == []


def test_a_report_is_written_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "report.md", "é\n")
    assert (tmp_path / "report.md").read_bytes() == "é\n".encode()
