"""The table of what changes numbers, and what it says of a machine."""

from __future__ import annotations

import pytest

from envfreeze.model.host import Numerics
from envfreeze.probe.machine import ALLOWED, RECORDED
from envfreeze.resolve.numerics import explain


@pytest.mark.parametrize("name", sorted(ALLOWED | RECORDED))
def test_each_variable_is_explained(name: str) -> None:
    (said,) = explain(Numerics(variables={name: "x"}))
    assert (said.name, said.value) == (name, "x")
    assert said.meaning and said.source and said.effect != "unknown"


def test_what_changes_results_comes_first() -> None:
    seen = Numerics(
        variables={"OMP_NUM_THREADS": "4", "KMP_BLOCKTIME": "0", "TZ": "UTC", "NEW": "1"},
        switches={"torch.parallel": "openmp", "keras.floatx": "float16"},
        hash_randomization=True,
    )
    said = explain(seen)
    assert [(item.name, item.effect) for item in said] == [
        ("OMP_NUM_THREADS", "changes"),
        ("keras.floatx", "changes"),
        ("TZ", "may-change"),
        ("hash-randomization", "may-change"),
        ("torch.parallel", "may-change"),
        ("NEW", "unknown"),
        ("KMP_BLOCKTIME", "none"),
    ]
    advice = {item.name: item.advice for item in said}
    assert advice["OMP_NUM_THREADS"].startswith("for results that repeat: OMP_NUM_THREADS=1; ")
    assert advice["TZ"] == "" and advice["NEW"] == ""
    assert advice["hash-randomization"] == "set PYTHONHASHSEED=0 before Python starts"
    assert "keras.floatx=" not in advice["keras.floatx"]


def test_nothing_seen_is_nothing_said() -> None:
    assert explain(Numerics()) == []
    assert explain(Numerics(hash_randomization=False))[0].advice == ""
