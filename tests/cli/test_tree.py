"""``show --tree`` and ``--why``: nothing forges a line, and narrow terminals do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envfreeze.cli import main, tree
from envfreeze.cli.page import page
from envfreeze.model.graph import graph
from envfreeze.model.lock import Lock, Package, dumps
from envfreeze.model.snapshot import Licence
from envfreeze.model.why import why
from tests.support import condas
from tests.support.machines import sealed
from tests.support.needs import lock, package

PLAIN = (
    package("app", "Lib[fast] (>=1)", "gone>2"),
    package("lib", "speed<3; extra == 'fast'", "odd; extra == 'more'", version="2.5"),
    package("odd"),
    package("speed", "lib"),
)


def drawn(*packages: Package, width: int | None = None) -> list[str]:
    return tree.tree_text(graph(lock(*packages)), width).splitlines()


def test_a_tree_has_its_roots_first_and_each_package_once() -> None:
    assert drawn(*PLAIN) == [
        "app 1.0",
        "!── gone>2: MISSING",
        "└── lib 2.5 (>=1)",
        "    └── speed 1.0 (<3; extra fast)",
        "        └── lib 2.5 (see above)",
        "odd 1.0 (maybe for lib, extra more)",
    ]


def test_conda_packages_are_told_apart() -> None:
    layer = condas.layer(condas.package("python", depends=["zlib >=1"]), condas.package("zlib"))
    text = tree.tree_text(graph(lock(package("a", "zlib"), conda=layer)))
    assert text.splitlines() == [
        "python 1.0 (conda)",
        "└── zlib 1.0 (conda) (>=1)",
        "a 1.0",
        "└── zlib 1.0 (conda)",
    ]


def test_a_lock_that_does_not_say_is_told() -> None:
    assert drawn(package("a"))[-1] == tree.NOTHING


@pytest.mark.parametrize("width", [20, 40, 80])
def test_no_line_is_wider_than_the_terminal_however_deep_it_is(width: int) -> None:
    chain = [package(f"p{n}", f"p{n + 1}>=0.0.0.0.0.0.0.0.0.1") for n in range(300)]
    lines = drawn(*chain, package("p300"), width=width)
    assert max(map(len, lines)) <= width
    assert len(lines) == 301
    assert "[300]" in lines[-1]
    known = graph(lock(*chain, package("p300")))
    found = why(lock(*chain), known, "p300")
    assert max(map(len, tree.why_text(known, found, width).splitlines())) <= width


def test_hostile_text_stays_on_its_line() -> None:
    evil = "1\n\x1b[31m└── forged 9\u202e\ud800"
    packages = [package("a", "b>=1\nforged", f"gone>{evil}"), package("b", version="2")]
    packages[1] = package("b", version=evil)
    for text in (
        tree.tree_text(graph(lock(*packages))),
        tree.why_text(graph(lock(*packages)), why(lock(*packages), graph(lock(*packages)), "b")),
        tree.absent(graph(lock()), evil),
    ):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert not any(line.startswith(("└── forged", "forged")) for line in text.splitlines())
        text.encode("utf-8")
    tree.tree_json(graph(lock(*packages))).decode("utf-8")


def test_the_ways_to_a_package() -> None:
    known = graph(lock(*PLAIN))
    assert tree.why_text(known, why(lock(*PLAIN), known, "speed")).splitlines() == [
        "speed 1.0",
        "  app 1.0 → lib 2.5 → speed 1.0",
    ]


# --- the commands --------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "env.lock"
    made: Lock = sealed(lock(*PLAIN))
    path.write_text(dumps(made), "utf-8")
    return path


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main.run([*map(str, arguments)])
    code = ended.value.code
    assert isinstance(code, int)
    return code


def test_show_draws_the_tree(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", written, "--tree") == 0
    assert capsys.readouterr().out.splitlines() == drawn(*PLAIN)
    assert run("show", written, "--tree", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1
    assert [root["name"] for root in found["roots"]] == ["app", "odd"]
    assert found["packages"][0]["missing"] == ["gone>2"]
    assert found["packages"][1]["needs"] == [
        {"kind": "python", "name": "speed", "condition": "<3; extra fast"}
    ]


def test_show_says_why(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", written, "--why", "Speed") == 0
    assert "app 1.0 → lib 2.5 → speed 1.0" in capsys.readouterr().out
    assert run("show", written, "--why", "speed", "--json") == 0
    found = json.loads(capsys.readouterr().out)["found"]
    assert [[step["name"] for step in way] for way in found[0]["ways"]] == [["app", "lib", "speed"]]


def test_what_is_not_in_it_is_exit_1(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", written, "--why", "spede") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "envfreeze: the lock has no package spede; it has speed\n"
    assert run("show", written, "--why", "spede", "--json") == 1
    assert json.loads(capsys.readouterr().out)["found"] == []


def test_two_questions_at_once_are_refused(written: Path) -> None:
    assert run("show", written, "--why", "a", "--tree") == 2


def test_the_page_counts_licences() -> None:
    def licensed(name: str, expression: str | None, text: str | None = None) -> Package:
        return package(name, licence=Licence(expression=expression, text=text))

    made = lock(
        licensed("a", "MIT"),
        licensed("b", None, "MIT"),
        licensed("c", None, "BSD\n\x1b[31mforged"),
        package("d"),
        conda=condas.layer(condas.package("zlib", license="Zlib"), condas.package("x")),
    )
    text = " ".join(page(made, "env.lock", width=200).split())
    assert "licences 2 MIT · 1 BSD \\x1b[31mforged · 1 name none" in text
    assert "of conda packages: 1 Zlib · 1 name none" in text
    assert "licences" not in page(lock(package("d")), "env.lock")
