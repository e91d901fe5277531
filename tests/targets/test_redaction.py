"""Command lines without secrets."""

from __future__ import annotations

import pytest

from envfreeze.targets.redaction import LONGEST, MOST_ARGUMENTS, redacted


@pytest.mark.parametrize(
    ("argv", "kept"),
    [
        ("train.py --lr 0.1 --seed=1", "train.py --lr 0.1 --seed=1"),
        ("x --token abc", "x --token ***"),
        ("x --token=abc", "x --token=***"),
        ("x --api-key abc -v", "x --api-key *** -v"),
        ("x --hf_token --verbose", "x --hf_token --verbose"),
        ("x DB_PASSWORD=abc", "x DB_PASSWORD=***"),
        ("x password:abc,y", "x password:***,y"),
        ("x trainer.wandb.api_key='a' --b", "x trainer.wandb.api_key=*** --b"),
        ("x https://u:p@index.example/a", "x https://***@index.example/a"),
        ("x ghp_0123456789abcdef", "x ***"),
        ("x --header=hf_AbCdEfGhIjKlMnOp", "x --header=***"),
        ("x -p 8080 --port 80", "x -p 8080 --port 80"),
        ("x ssh-key.pem user@host", "x ssh-key.pem user@host"),
    ],
)
def test_words(argv: str, kept: str) -> None:
    assert redacted(argv.split()) == kept.split()


def test_whole_sentences() -> None:
    code = 'import os; password = "a b"; client(token=\'x\', user="me"); 1'
    assert redacted(["python", "-c", code])[2] == (
        'import os; password = ***; client(token=***, user="me"); 1'
    )
    assert redacted(["curl", "-H", "Authorization: Bearer abc.def"])[2].endswith("***")
    assert "abc" not in redacted(["curl", "-H", "Authorization: Bearer abc.def"])[2]


def test_it_is_bounded_and_can_be_written() -> None:
    assert redacted(["x" * 10_000]) == ["x" * LONGEST]
    assert len(redacted(["x"] * 10_000)) == MOST_ARGUMENTS
    assert redacted(["\udcff", ""]) == ["\\xff", ""]
    assert redacted([]) == []
