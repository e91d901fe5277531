"""A strict reading of a Dockerfile, to hold against what was meant by it.

Written from BuildKit's ``frontend/dockerfile/docs/reference.md`` ("Format", "Environment
replacement") and the lexer behind it (``shell/lex.go``), not from what renders. Whatever the
engine's own parser could read in two ways is an error here.
"""

from __future__ import annotations

import json
import re

_BREAKS = re.compile(r"\r\n|[\n\r\u2028\u2029\x85\x0b\x0c]")
"""Any that a parser could take for the end of a line; the engine's takes only the line feed."""
_KNOWN = {"FROM", "COPY", "ADD", "RUN", "ENV", "LABEL", "USER", "CMD"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def instructions(text: str) -> list[str]:
    """The instructions as the engine splits them: comment lines and empty lines go, a line that
    ends in a backslash goes on."""
    found: list[str] = []
    open_line = ""
    for line in _BREAKS.split(text):
        if line.lstrip().startswith("#") or not line.strip():
            continue
        open_line += line
        if line.endswith("\\"):
            open_line = open_line[:-1]
            continue
        found.append(open_line)
        open_line = ""
    assert open_line == ""
    return found


def parse(text: str) -> list[tuple[str, list[str]]]:
    """``(instruction, its values)``: of ENV and LABEL ``NAME=VALUE`` without quotes, of CMD its
    words, of the rest what stands there."""
    first = text.split("\n", 1)[0]
    assert not re.match(r"#\s*(syntax|escape|check)\s*=", first, re.IGNORECASE), "a directive"
    return [_parsed(line) for line in instructions(text)]


def _parsed(line: str) -> tuple[str, list[str]]:
    word, _, rest = line.partition(" ")
    assert word in _KNOWN, line
    rest = rest.strip(" ")
    if word in {"ENV", "LABEL"}:
        return word, _pairs(rest)
    if word == "CMD":
        words = json.loads(rest)
        assert isinstance(words, list)
        assert all(isinstance(one, str) for one in words)
        return word, words
    assert "<<" not in rest, "a heredoc"
    return word, [rest]


def _pairs(text: str) -> list[str]:
    """``NAME="VALUE"`` words; ``$PATH`` at the end of PATH alone is replaced by the engine."""
    found = []
    while text:
        name, mark, text = text.partition('="')
        assert mark, text
        assert _NAME.fullmatch(name), name
        value, text = _quoted(text, name)
        assert not text or text.startswith(" "), text
        text = text.lstrip(" ")
        found.append(f"{name}={value}")
    return found


def _quoted(text: str, name: str) -> tuple[str, str]:
    """The value up to the closing quote, and what is left (``processDoubleQuote``)."""
    out, index = "", 0
    while text[index] != '"':
        if text[index] == "\\":
            index += 1
            assert text[index] in '"$\\', "a backslash that escapes nothing"
        elif text[index] == "$":
            assert name == "PATH", "a variable"
            assert text.startswith('$PATH"', index), "another variable"
        out += text[index]
        index += 1
    return out, text[index + 1 :]
