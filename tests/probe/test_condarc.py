"""The keys of .condarc that make addresses, in the forms that people write."""

from __future__ import annotations

from pathlib import Path

import pytest

from envfreeze.probe import condarc
from envfreeze.probe.machine import Machine

MINE = """\
# of this lab
channels:
  - conda-forge   # first
- acme
  - 'all'
  - https://c.example/x
ssl_verify: true
channel_alias: https://mirror.example/conda
custom_channels:
  acme: https://acme.example/get
  other: "https://other.example"
custom_multichannels:
  all:
    - acme
    - https://d.example/y
  none:
    - z
channel_priority: strict
"""


def test_names_become_addresses() -> None:
    assert condarc.parse(MINE).channels() == [
        "https://mirror.example/conda/conda-forge",
        "https://acme.example/get/acme",
        "https://acme.example/get/acme",
        "https://d.example/y",
        "https://c.example/x",
    ]


def test_a_name_without_an_address_stays_a_name() -> None:
    assert condarc.parse("channels: [conda-forge, 'defaults']\n").channels() == [
        "conda-forge",
        "defaults",
    ]


def test_what_defaults_means() -> None:
    text = "channels:\n  - defaults\ndefault_channels:\n  - https://m.example/main\n  - r\n"
    assert condarc.parse(text).channels() == ["https://m.example/main", "r"]


@pytest.mark.parametrize("text", ["", "{", "channels:", "a: b: c", "- x", "\x00", "channels: x"])
def test_what_is_not_understood_says_nothing(text: str) -> None:
    assert condarc.parse(text).channels() == []


def test_the_closest_file_comes_first(tmp_path: Path) -> None:
    base = tmp_path / "forge"
    prefix, home = base / "envs/lab", tmp_path / "home"
    (base / "conda-meta").mkdir(parents=True)
    prefix.mkdir(parents=True)
    (home / ".config/conda").mkdir(parents=True)
    named = tmp_path / "named"
    named.write_text("channels: [one]\n")
    (prefix / ".condarc").write_text("channels: [two]\nchannel_alias: https://near.example\n")
    (home / ".condarc").write_text("channels: [three]\nchannel_alias: https://far.example\n")
    (home / ".config/conda/.condarc").write_text("channels: [four]\n")
    (base / ".condarc").write_text("channels: [five]\n")
    machine = Machine(environ={"HOME": str(home), "CONDARC": str(named)})
    found = condarc.channels(machine, str(prefix))
    assert found == [f"https://near.example/{n}" for n in ("one", "two", "three", "four", "five")]
