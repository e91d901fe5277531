"""The documents tell the truth: what they name exists, and what exists is explained."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from envfreeze.cli.main import app
from envfreeze.errors import Exit

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")
GROUP: Any = get_command(app)
COMMANDS: dict[str, Any] = {}
for _name in GROUP.list_commands(None):
    _found = GROUP.get_command(None, _name)
    for _below, _leaf in getattr(_found, "commands", {"": _found}).items():
        COMMANDS[f"{_name} {_below}".strip()] = _leaf


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def options(command: Any) -> set[str]:
    found = {"-h", "--help"}
    for parameter in command.params:
        if parameter.param_type_name == "option":
            found |= {*parameter.opts, *parameter.secondary_opts}
    return found


EVERY_OPTION = set().union(options(GROUP), *map(options, COMMANDS.values()))


def calls(document: str) -> Iterator[list[str]]:
    """Each call of envfreeze in code: spans, and the lines of fenced blocks."""
    code = re.sub(r"\\\n\s*", " ", document)
    fenced = re.findall(r"^```\w*\n(.*?)^```", code, re.S | re.M)
    lines = [line for block in fenced for line in block.splitlines()]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", code, flags=re.S | re.M))
    for line in [line.removeprefix("$ ") for line in lines] + spans:
        for part in re.split(r"\s*(?:&&|\|\||[|;])\s*", line):
            words = part.split("#")[0]
            if re.match(r"(\S*/)?envfreeze [a-z-]", words):
                yield shlex.split(words)[1:]


def named(words: list[str]) -> str:
    """The command that *words* call: two words where it belongs to a group."""
    two = " ".join(words[:2])
    return two if two in COMMANDS else words[0]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_call_in_a_document_exists(name: str) -> None:
    for words in calls(text(name)):
        known = options(GROUP)
        if not words[0].startswith("-"):
            assert named(words) in COMMANDS, words
            known = options(COMMANDS[named(words)])
        given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert given <= known, words


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md"])
def test_every_option_in_a_document_exists(name: str) -> None:
    spans = re.findall(r"`(--?[a-z][a-z-]*)[^`\n]*`", text(name))
    assert set(spans) <= EVERY_OPTION


def test_every_command_is_in_the_readme() -> None:
    assert {named(words) for words in calls(text("README.md"))} >= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_has_help(command: str) -> None:
    found = COMMANDS[command]
    assert found.help
    silent = [p.name for p in found.params if p.param_type_name == "option" and not p.help]
    assert not silent


def test_readme_opens_with_the_two_commands() -> None:
    first = re.search(r"^```\w*\n(.*?)^```", text("README.md"), re.S | re.M)
    assert first is not None
    commands = [line.split("#")[0].strip() for line in first[1].splitlines()]
    assert commands == ["make demo", "make test"]
    assert first.start() < 400


def test_make_has_what_the_documents_name() -> None:
    targets = set(re.findall(r"^([a-z]+):", text("Makefile"), re.M))
    for name in DOCUMENTS:
        assert set(re.findall(r"\bmake ([a-z]+)`", text(name))) <= targets


def test_the_exit_codes_are_all_in_the_readme() -> None:
    rows = re.findall(r"^\| (\d+) \|", text("README.md"), re.M)
    assert [int(row) for row in rows] == sorted(Exit)


def test_the_house_is_drawn_as_it_stands() -> None:
    rooms = {
        path.name
        for path in (ROOT / "envfreeze").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    drawn = set(re.findall(r"^\| `envfreeze/([\w.]+)/?` \|", text("CONTRIBUTING.md"), re.M))
    assert drawn == {room for room in rooms if not room.startswith("__")}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", text(name)):
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_the_changelog_knows_this_version() -> None:
    from envfreeze import __version__

    assert re.search(rf"^## (\[Unreleased\]|{re.escape(__version__)})", text("CHANGELOG.md"), re.M)


# --- every tracked file ----------------------------------------------------------------------

HOSTS = (
    "pypi@org",
    "pythonhosted@org",
    "debian@org/debian",
    "deb@debian@org",
    "snapshot@debian@org",
    "security@debian@org",
    "archive@ubuntu@com",
    "npmjs@org",
    "anaconda@org",
    "anaconda@com",
    "registry-1@docker@io",
    "index@docker@io",
    "ghcr@io",
)
"""Examples name no public registry: they use index.example, mirror.example or the loopback."""

PLACES = ("work", "root", "tmp/w", "home/[a-z]+/work")
"""No file names a place on the machine where it was written."""

FORBIDDEN = re.compile(
    "|".join(
        [rf"\b{re.escape(host.replace('@', '.'))}\b" for host in HOSTS]
        + [rf"(?<![\w.$)}}*-])/{place}/[\w.]" for place in PLACES]
    )
)


def tracked() -> list[Path]:
    """The files of the checkout; of an unpacked sdist, all files."""
    argv = ["git", "-c", "safe.directory=*", "ls-files", "-coz", "--exclude-standard"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in ROOT.rglob("*") if ".venv" not in path.parts]


def test_no_registry_and_no_place_of_a_machine_is_named() -> None:
    found = []
    for path in tracked():
        if path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        if b"\0" in content[:8192]:
            continue
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            match = FORBIDDEN.search(line)
            if match:
                found.append(f"{path.relative_to(ROOT)}:{number}: {match[0]}")
    assert not found, "\n".join(found)
