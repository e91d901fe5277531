"""The stamp of this program moves when its code or its data do."""

from __future__ import annotations

from pathlib import Path

import pytest

from envfreeze import program


def test_the_stamp_is_of_this_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stamp() -> str:
        program.program_stamp.cache_clear()
        return program.program_stamp()

    monkeypatch.setattr(program.envfreeze, "__file__", str(tmp_path / "__init__.py"))
    (tmp_path / "a.py").write_text("1")
    before = stamp()
    assert stamp() == before
    (tmp_path / "notes.txt").write_text("no code")
    assert stamp() == before
    (tmp_path / "a.py").write_text("22")
    assert stamp() != before
    monkeypatch.undo()
    program.program_stamp.cache_clear()
