"""The table of what changes numbers, and what it says of a machine."""

from __future__ import annotations

import re

import pytest

from envfreeze.model.host import Blas, Host, Mapped, Numerics, Process
from envfreeze.model.snapshot import Dist, Row, Site, Snapshot
from envfreeze.probe.machine import ALLOWED, RECORDED
from envfreeze.resolve import numerics
from envfreeze.resolve.numerics import explain
from tests.support.environments import Environment
from tests.support.pythons import newest

ROWS = [*numerics.table().variable, *numerics.table().switch]


def test_each_recorded_variable_has_one_row() -> None:
    names = [name for row in numerics.table().variable for name in row.names]
    assert sorted(names) == sorted(ALLOWED | RECORDED)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.names[0])
def test_each_row_says_what_and_by_whom(row: numerics.Row) -> None:
    assert row.about and row.names
    assert len(row.source) > 10
    assert not re.search(r"://|(?:^|\s)/", row.source), "a title, no address and no place"
    assert row.effect != "none" or not row.reproducible


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


# --- whose libraries -----------------------------------------------------------------------


def rows(*paths: tuple[str, str]) -> list[Row]:
    return [
        Row(scheme=scheme, path=path, sha256=None, size=1, executable=False, claim=None)  # type: ignore[arg-type]
        for scheme, path in paths
    ]


@pytest.fixture
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """A real one, with distributions of numpy and mkl put in."""
    import msgspec

    env = Environment.make(newest(), tmp_path_factory.mktemp("env") / "v")
    seen = env.snapshot()
    numpy = rows(("site", "numpy.libs/libopenblas.so"), ("site", "numpy/x.so"), ("data", "x.so"))
    mkl = rows(("data", "lib/libmkl_rt.so.3"), ("outside", "../x.so"))
    return msgspec.structs.replace(
        seen,
        sites=[Site(path="/v/site", kind="site", prefix="/v"), Site(path="/w", kind="pythonpath")],
        dists=[
            Dist(site="/v/site", info="a", name="NumPy", version="2.4", rows=numpy),
            Dist(site="/v/site", info="b", name="mkl", version="2026.2", rows=mkl),
            Dist(site="/w", info="c", name="other", version="1", rows=numpy),
            Dist(site="/w", info="d", name="none", version="1", rows=None),
        ],
    )


def test_owners(snapshot: Snapshot) -> None:
    host = Host(
        numerics=Numerics(
            libraries=[
                Blas(
                    kind="blas",
                    name="openblas",
                    path="/v/site/numpy.libs/libopenblas.so",
                    version="0.3.31",
                ),
                Blas(kind="blas", name="mkl", path="/v/lib/libmkl_rt.so.3"),
                Blas(kind="openmp", name="libgomp", path="/usr/lib/libgomp.so.1"),
                Blas(kind="openmp", name="libomp", path="/opt/libomp.so"),
            ]
        ),
        process=Process(
            pid=1,
            libraries=[
                Mapped(path="/v/site/numpy/x.so"),
                Mapped(path="/usr/lib/libgomp.so.1"),
                Mapped(path="/nobody.so"),
            ],
        ),
    )
    system = {"/usr/lib/libgomp.so.1": "dpkg libgomp1"}
    found = numerics.owned(host, snapshot, system.get)
    assert found.numerics is not None and found.process is not None
    assert [(item.owner, item.version) for item in found.numerics.libraries] == [
        ("wheel numpy", "0.3.31"),
        ("wheel mkl", "2026.2"),
        ("dpkg libgomp1", None),
        (None, None),
    ]
    owners = [item.owner for item in found.process.libraries]
    assert owners == ["wheel numpy", "dpkg libgomp1", None]
    assert numerics.owned(Host(), snapshot) == Host()
