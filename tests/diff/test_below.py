"""Two machines below environments: their facts in words, and what differs."""

from __future__ import annotations

from typing import Any

import msgspec

from envfreeze.diff import below, report
from envfreeze.diff.compare import compare
from envfreeze.diff.judge import judge
from envfreeze.model.host import (
    Accelerator,
    Blas,
    Cpu,
    Driver,
    Gpu,
    Host,
    Limits,
    Numerics,
    Platform,
)
from tests.diff.test_compare import of


def machine(**changes: Any) -> Host:
    """A machine with two GPUs of one kind."""
    gpus = [Gpu(name="H100", capability="9.0", uuid=f"GPU-{n}", bus=f"0:{n}") for n in range(2)]
    parts: dict[str, Any] = {
        "platform": Platform(
            libc="glibc 2.36",
            cpu=Cpu(name="EPYC", flags=["avx", "avx2"]),
            limits=Limits(online=4, allowed=2),
        ),
        "accelerator": Accelerator(driver=Driver(state="found", version="580.1"), gpus=gpus),
        "numerics": Numerics(
            libraries=[Blas(kind="blas", name="openblas", version="0.3.30", path="/a")],
            variables={"OMP_NUM_THREADS": "2"},
        ),
    }
    return Host(**(parts | changes))


def test_facts_in_words() -> None:
    found = below.words(machine())
    assert found is not None
    assert found["platform"] == {
        "libc": "glibc 2.36",
        "cpu.name": "EPYC",
        "cpu.flags": "avx avx2",
        "limits.online": "4",
        "limits.allowed": "2",
    }
    assert found["accelerator"] == {
        "driver.state": "found",
        "driver.version": "580.1",
        "gpus H100": "capability 9.0",
        "gpus H100 (2)": "capability 9.0",
    }
    assert found["numerics"] == {
        "libraries openblas": "kind blas, version 0.3.30",
        "variables.OMP_NUM_THREADS": "2",
    }


def test_volatile_facts_make_no_difference() -> None:
    other = [Gpu(name="H100", capability="9.0", uuid=f"x{n}", power_limit=n) for n in range(2)]
    driver = Driver(state="found", version="580.1")
    moved = machine(accelerator=Accelerator(driver=driver, gpus=other))
    assert below.words(moved) == below.words(machine())


def test_another_machine_is_told_and_does_not_count() -> None:
    slower = machine(numerics=Numerics(variables={"OMP_NUM_THREADS": "1"}))
    difference = compare(of(below=below.words(machine())), of(below=below.words(slower)))
    assert [(c.layer, c.name, c.before, c.after) for c in difference.changes] == [
        ("numerics", "libraries openblas", "kind blas, version 0.3.30", None),
        ("numerics", "variables.OMP_NUM_THREADS", "2", "1"),
    ]
    assert difference.equal
    text = report.as_text(judge(difference))
    first, second, *_ = text.splitlines()
    assert first.startswith("Changes results: OMP_NUM_THREADS 2 -> 1 (")
    assert second.startswith("equal environments on machines that differ:")
    assert "OMP_NUM_THREADS" in text


def test_no_gpu_and_not_looked_are_two_answers() -> None:
    none = machine(accelerator=Accelerator(driver=Driver(state="none")))
    blind = machine(accelerator=Accelerator(driver=Driver(state="not-looked")))
    difference = compare(of(below=below.words(none)), of(below=below.words(blind)))
    assert [(c.name, c.before, c.after) for c in difference.changes] == [
        ("driver.state", "none", "not-looked")
    ]


def test_what_one_side_did_not_look_at_is_not_compared() -> None:
    part = msgspec.structs.replace(machine(), accelerator=None)
    sides = (of(below=below.words(machine())), of(below=below.words(part)), of())
    for side in sides[1:]:
        assert not compare(sides[0], side).changes
        assert not compare(side, sides[0]).changes
