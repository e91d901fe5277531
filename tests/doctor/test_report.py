"""What doctor prints: one line each, worst first, and nothing that leaves its line."""

from __future__ import annotations

import json

from envfreeze.doctor.facts import Check
from envfreeze.doctor.report import as_json, as_text, runs

PROBLEM = Check(
    name="driver",
    verdict="problem",
    said="torch 2.11.0 needs CUDA 13.0: driver 580 or newer; here 570.26",
    reason="An older one serves only earlier major versions.",
    fix="Update the driver.",
    source="CUDA Compatibility",
)
WARNING = Check(name="cpu", verdict="warning", said="captured on v4, this is v3", fix="Compare.")
UNKNOWN = Check(name="gpu", verdict="unknown", said="not looked at")
OK = Check(name="libc", verdict="ok", said="glibc 2.36; the wheels need 2.28")


def test_the_page() -> None:
    assert as_text([PROBLEM, WARNING, UNKNOWN, OK], "env.lock") == (
        "  problem  driver  torch 2.11.0 needs CUDA 13.0: driver 580 or newer; here 570.26\n"
        "  warning  cpu     captured on v4, this is v3\n"
        "  unknown  gpu     not looked at\n"
        "  ok       libc    glibc 2.36; the wheels need 2.28\n"
        "\n"
        "driver\n"
        "  fix     Update the driver.\n"
        "  why     An older one serves only earlier major versions.\n"
        "  source  CUDA Compatibility\n"
        "\n"
        "cpu\n"
        "  fix     Compare.\n"
        "\n"
        "env.lock: will not run here as it is (1 problem, 1 warning, 1 unknown)\n"
    )


def test_two_of_one_name_are_told_apart() -> None:
    text = as_text([PROBLEM, PROBLEM], "x")
    assert text.count("driver: torch 2.11.0 needs CUDA 13.0") == 2
    assert "2 problems" in text


def test_good_news_is_short() -> None:
    assert as_text([OK], "x") == (
        "  ok       libc  glibc 2.36; the wheels need 2.28\nx: will run here\n"
    )
    assert "nothing speaks against" in as_text([UNKNOWN, OK], "x")


def test_only_a_problem_says_no() -> None:
    assert runs([WARNING, UNKNOWN, OK])
    assert not runs([OK, PROBLEM])


def test_hostile_text_stays_on_its_line() -> None:
    nasty = Check(
        name="gpu", verdict="problem", said="a\n  ok  x\x1b[2J\u202e\udcff", fix="b\nc", reason="\t"
    )
    text = as_text([nasty], "lo\nck")
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert not [line for line in text.splitlines() if line.startswith("  ok")]
    text.encode("utf-8")
    assert json.loads(as_json([nasty], "lo\nck"))["checks"][0]["verdict"] == "problem"


def test_json() -> None:
    document = json.loads(as_json([PROBLEM, OK], "env.lock"))
    assert document["schema"] == 1
    assert document["runs"] is False
    assert [check["name"] for check in document["checks"]] == ["driver", "libc"]
    assert set(document["checks"][0]) == {"name", "verdict", "said", "reason", "fix", "source"}
