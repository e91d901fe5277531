"""Untrusted text where one line of plain characters is wanted."""

from __future__ import annotations

from envfreeze.errors import printable


def line(text: str) -> str:
    """*text* so that it stays on its line, whatever a hostile name holds."""
    return printable(utf8(text)).replace("\n", "\\n").replace("\t", "\\t")


def is_text(data: bytes) -> bool:
    """Whether *data* can be compared line by line: UTF-8 without a NUL."""
    if b"\0" in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def utf8(text: str) -> str:
    """What a path that is not UTF-8 looks like where only UTF-8 may go."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
