"""The answer of a probe, read out of whatever else was printed, honest or not."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envfreeze.errors import TargetError
from envfreeze.model.snapshot import Snapshot
from envfreeze.targets import bundle
from envfreeze.targets.bundle import HELLO, Question
from tests import strategies
from tests.support.environments import plain_environ
from tests.support.pythons import newest, python2

SNAPSHOT: dict[str, Any] = {
    "schema": 1,
    "interpreter": {
        "implementation": "cpython",
        "version": "3.11.7",
        "abiflags": "",
        "free-threaded": False,
        "debug": False,
        "platform": "linux-x86_64",
        "machine": "x86_64",
        "bits": 64,
        "compiler": "GCC",
        "build": "main",
        "executable": "/v/bin/python",
        "base-executable": "/usr/bin/python3.11",
        "prefix": "/v",
        "base-prefix": "/usr",
        "stdlib": "/usr/lib/python3.11",
        "purelib": "/v/lib",
        "platlib": "/v/lib",
        "scripts": "/v/bin",
        "venv": True,
        "system-site": False,
    },
    "system": {"kernel": "Linux", "machine": "x86_64"},
    "sites": [],
    "dists": [],
    "findings": [],
}


def framed(question: Question, document: object) -> bytes:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    marker = question.marker.encode()
    return b"\n" + marker + data + marker + b"\n"


def hello(question: Question) -> bytes:
    return framed(question, HELLO.encode())


def test_an_answer_among_noise() -> None:
    question = Question()
    output = b"noise\n" + hello(question) + b"\xff\0 more" + framed(question, SNAPSHOT) + b"after"
    assert question.answer(output, "here").snapshot.interpreter.version == "3.11.7"
    assert question.answer(framed(question, SNAPSHOT), "here").remember == {}


def test_the_first_answer_counts() -> None:
    question = Question()
    forged = {
        **SNAPSHOT,
        "dists": [{"site": "s", "info": "i", "name": "n", "version": "v", "rows": None}],
    }
    output = hello(question) + framed(question, SNAPSHOT) + framed(question, forged)
    assert question.answer(output, "here").snapshot.dists == []


@pytest.mark.parametrize(
    "garble",
    [
        lambda q: b"",
        lambda q: b"no frame at all",
        lambda q: hello(q),
        lambda q: q.marker.encode(),
        lambda q: hello(q) + b"\n" + q.marker.encode() + json.dumps(SNAPSHOT).encode(),
        lambda q: framed(Question(), SNAPSHOT),
        lambda q: framed(q, SNAPSHOT)[: -len(q.marker) - 20],
    ],
)
def test_no_whole_answer_is_no_answer(garble: Any) -> None:
    question = Question()
    with pytest.raises(TargetError, match="here gave no answer"):
        question.answer(garble(question), "here")


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"garbage",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"schema": 1}',
        b'"here2"',
        b"null",
        b'{"schema":1,' + b"x" * 100_000,
        b"[" * 100_000,
        {**SNAPSHOT, "dists": 5},
        {**SNAPSHOT, "dists": [{}]},
        {**SNAPSHOT, "remember": {"a": {"b": 5}}},
        {**SNAPSHOT, "sites": [{"path": "/", "kind": "unheard-of"}]},
        {**SNAPSHOT, "schema": "1"},
        json.dumps(SNAPSHOT).encode().replace(b"/v/bin/python", b"\\ud800"),
    ],
)
def test_what_is_not_a_snapshot_is_refused(document: Any) -> None:
    question = Question()
    with pytest.raises(TargetError, match="here gave an answer that is not a snapshot"):
        question.answer(framed(question, document), "here")


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"too_old": "2.7.18"}, "here is Python 2.7.18"),
        ({"refused": "its path"}, "here cannot be captured: its path"),
        ({"error": "KeyError: 'x'", "traceback": "T"}, "the probe failed in here: KeyError: 'x'"),
        ({"error": "x", "traceback": "t" * 100_000}, "the probe failed in here: x"),
        ({**SNAPSHOT, "schema": 2}, "here answered in schema 2, not 1"),
    ],
)
def test_a_probe_that_says_no(document: object, said: str) -> None:
    question = Question()
    with pytest.raises(TargetError, match=re.escape(said)):
        question.answer(framed(question, document), "here")


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_any_bytes_in_the_frame_end_in_a_target_error(data: bytes) -> None:
    question = Question()
    with pytest.raises(TargetError):
        question.answer(framed(question, data), "here")
    with pytest.raises(TargetError):
        question.answer(data, "here")


@settings(max_examples=50, deadline=None)
@given(strategies.snapshots())
def test_a_snapshot_survives_the_wire(snapshot: Snapshot) -> None:
    question = Question()
    document = msgspec.to_builtins(snapshot)
    assert question.answer(framed(question, document), "here").snapshot == snapshot


def test_a_huge_answer() -> None:
    question = Question()
    row = ["site", "p" * 100, "0" * 64, 1, False, None]
    dist = {"site": "s", "info": "i", "name": "n", "version": "v", "rows": [row] * 200_000}
    answer = question.answer(framed(question, {**SNAPSHOT, "dists": [dist]}), "here")
    assert len(answer.snapshot.dists[0].rows or ()) == 200_000


def test_python_2_can_say_so() -> None:
    python = python2()
    question = Question()
    done = subprocess.run(
        question.argv(str(python)), env=plain_environ(), capture_output=True, check=True
    )
    with pytest.raises(TargetError, match=r"is Python 2\.7\.\d+; envfreeze looks at Python 3.6"):
        question.answer(done.stdout, str(python))


def test_questions_differ_and_fit_on_a_command_line() -> None:
    first, second = Question(), Question()
    assert first.marker != second.marker
    assert all(len(word) < 128 * 1024 for word in first.argv("python"))


def bundle_modules() -> list[str]:
    return [*bundle.MODULES, *bundle.LATER, *bundle.HOST]


def test_every_module_of_the_probe_travels() -> None:
    there = {path.stem for path in Path(bundle.__file__).parent.parent.glob("probe/*.py")}
    # That one is a program of its own (envfreeze/workflow/insiding.py sends it).
    assert {name.lstrip(".") or "__init__" for name in bundle_modules()} == there - {"inside"}


def test_what_the_probe_writes_is_what_a_snapshot_is() -> None:
    """Not one key more or less than the types say: msgspec would drop an unknown one silently."""
    question = Question()
    done = subprocess.run(
        question.argv(str(newest())), env=plain_environ(), capture_output=True, check=True
    )
    document = json.loads(done.stdout.split(question.marker.encode())[3])
    for memory in ("remember", "fingerprint", "outside", "trees"):
        document.pop(memory)
    snapshot = question.answer(done.stdout, "here").snapshot
    again = msgspec.to_builtins(snapshot)

    def without_defaults(written: Any, typed: Any) -> None:
        if isinstance(written, dict):
            assert set(written) <= set(typed)
            for key, value in written.items():
                without_defaults(value, typed[key])
        elif isinstance(written, list):
            assert len(written) == len(typed)
            for one, other in zip(written, typed, strict=True):
                without_defaults(one, other)
        else:
            assert written == typed

    without_defaults(document, again)
