"""The report for programs is what its published schema says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import pytest

from envfreeze.diff import jsonreport
from envfreeze.diff.compare import Change, Difference
from envfreeze.diff.judge import judge
from tests.support.judging import change, judged, many

PUBLISHED = Path(__file__).parents[2] / "docs" / "schema" / "diff-1.json"
EVERY_FIELD = change(files=["a.py"], note="built twice")


def test_the_published_schema_is_the_one_of_the_code() -> None:
    if os.environ.get("ENVFREEZE_TESTS_WRITE_GOLDEN"):
        PUBLISHED.write_bytes(jsonreport.schema())
    assert PUBLISHED.read_bytes() == jsonreport.schema()


def document(*changes: Change) -> dict[str, object]:
    difference = Difference(before="a.lock", after="b.lock", changes=list(changes))
    found: dict[str, object] = json.loads(jsonreport.as_json(judged(difference)))
    return found


@pytest.mark.parametrize("changes", [[], [EVERY_FIELD], many(60).changes])
def test_what_is_printed_is_what_the_schema_says(changes: list[Change]) -> None:
    schema = json.loads(PUBLISHED.read_bytes())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(document(*changes))
    assert not validator.is_valid({**document(*changes), "schema": 2})
    assert not validator.is_valid({**document(*changes), "worst": "bad"})


def test_what_our_rules_say_is_what_the_schema_says() -> None:
    numpy = change(before="1.26.4", after="2.0.0")
    difference = Difference(before="a", after="b", changes=[numpy, *many(30).changes])
    printed = json.loads(jsonreport.as_json(judge(difference)))
    jsonschema.Draft202012Validator(json.loads(PUBLISHED.read_bytes())).validate(printed)
    assert printed["changes"][0]["name"] == "numpy"
    assert printed["worst"] == printed["changes"][0]["level"] == "changes"


def test_all_is_there() -> None:
    found = document(EVERY_FIELD)
    assert found == {
        "schema": 1,
        "equal": False,
        "before": "a.lock",
        "after": "b.lock",
        "verdict": "1 of 1 changes change results.",
        "worst": "changes",
        "changes": [
            {
                "layer": "packages",
                "kind": "changed",
                "name": "numpy",
                "before": "1",
                "after": "2",
                "files": ["a.py"],
                "note": "built twice",
                "level": "changes",
                "reason": "A change of packages that is changed.",
                "source": "https://docs.example/packages",
                "rule": "packages-changed",
                "step": "minor",
            }
        ],
    }


def test_a_title_that_is_not_utf_8_is_printed_all_the_same() -> None:
    difference = Difference(before="\udcff.lock", after="b.lock", changes=[])
    assert json.loads(jsonreport.as_json(judged(difference)))["before"] == "\\udcff.lock"
