"""The metadata files of an installed distribution, parsed leniently: text in, facts out.

Sources: packaging.python.org "recording-installed-packages", "core-metadata",
"binary-distribution-format", "entry-points".
"""

import csv
import io
import re

MAX_ROWS = 1_000_000
# Characters of a file that are looked at: headers come first, and nobody writes so many.
MAX_HEADERS = 1 << 22
MAX_REQUIRES = 1 << 20
# Of what names a licence; more is its text.
MAX_LICENCE = 200


def _lines(text):
    """``text.splitlines()``, one at a time: millions of empty lines are a lot of memory."""
    for piece in io.StringIO(text, newline="\n"):
        for line in piece.splitlines():
            yield line


def headers(text, wanted):
    """``{lower-case name: [values]}`` of the *wanted* headers before the first empty line.

    A line of spaces is none: it goes on with the header before it (RFC 5322, 2.2.3), as in the
    licence texts that older tools folded into METADATA.
    """
    found = {}  # type: dict
    for line in _lines(text[:MAX_HEADERS]):
        if not line:
            break
        if line[0] in " \t":
            continue
        key, mark, value = line.partition(":")
        key = key.strip().lower()
        if mark and key in wanted:
            found.setdefault(key, []).append(value.strip())
    return found


def name_and_version(text):
    """``(Name, Version)`` of METADATA or PKG-INFO, each empty where it is missing."""
    found = headers(text or "", ("name", "version"))
    return (found.get("name", [""])[0], found.get("version", [""])[0])


_LICENCE = ("license-expression", "license", "classifier")
_LONG_LICENCE = re.compile(r"^License:[^\n]*\n[ \t]", re.I | re.M)


def core(text):
    """``(Name, Version, [Requires-Dist], licence)`` of METADATA or PKG-INFO, empty where missing;
    a licence is ``{"expression": ...}`` or ``{"text": ...}``."""
    text = text or ""
    found = headers(text, ("name", "version", "requires-dist", *_LICENCE))
    name, version = found.get("name", [""])[0], found.get("version", [""])[0]
    return name, version, found.get("requires-dist", []), _licence(found, text)


def _licence(found, text):
    """An expression of SPDX where there is one (PEP 639), else what one line says, else the
    classifiers. A License of several lines is the text itself: its first line names none."""
    expression = found.get("license-expression", [""])[0]
    if 0 < len(expression) <= MAX_LICENCE:
        return {"expression": expression}
    said = found.get("license", [""])[0]
    if 0 < len(said) <= MAX_LICENCE and said != "UNKNOWN" and not _is_long(text):
        return {"text": said}
    lines = [line for line in found.get("classifier", []) if line.startswith("License ::")]
    names = [line.split("::")[-1].strip() for line in lines]
    joined = ", ".join(name for name in names if name and name != "OSI Approved")
    return {"text": joined} if 0 < len(joined) <= MAX_LICENCE else {}


def _is_long(text):
    """Whether the License in the headers goes on in further lines."""
    return _LONG_LICENCE.search(text.replace("\r\n", "\n").partition("\n\n")[0]) is not None


def egg_requires(text):
    """requires.txt of an egg-info as lines of Requires-Dist (setuptools: a section is
    ``[extra:marker]``, either part may be missing)."""
    found, condition, left = [], "", MAX_REQUIRES
    for line in _lines(text[:MAX_REQUIRES]):
        line = line.strip()
        if not line or line[0] == "#":
            continue
        if line[0] == "[" and line[-1] == "]":
            extra, _, marker = line[1:-1].partition(":")
            parts = ["(%s)" % marker.strip()] if marker.strip() else []
            if extra.strip():
                parts.append('extra == "%s"' % extra.strip().replace('"', ""))
            condition = "; " + " and ".join(parts) if parts else ""
        else:
            # A long condition for each of many short lines would make gigabytes.
            left -= len(line) + len(condition)
            if left < 0:
                break
            found.append(line + condition)
    return found


def wheel(text):
    """Tags, ``Root-Is-Purelib`` and build of a WHEEL file."""
    found = headers(text, ("tag", "root-is-purelib", "build"))
    return {
        "tags": found.get("tag", []),
        "purelib": found.get("root-is-purelib", ["true"])[0].lower() == "true",
        "build": found.get("build", [None])[0],
    }


def wrappers(text):
    """Names of the console and gui scripts in entry_points.txt."""
    names = []
    section = None
    for line in _lines(text[:MAX_HEADERS]):
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[" and line[-1] == "]":
            section = line[1:-1].strip()
        elif section in ("console_scripts", "gui_scripts") and "=" in line:
            names.append(line.partition("=")[0].strip())
    return names


def record(text):
    """``(paths, claims)`` of RECORD's rows, two columns; None where it is not a table.

    A claim is ``algorithm=digest``, or empty. Duplicate rows are kept once, the one with
    a claim first.
    """
    if text.count("\n") > MAX_ROWS or text.count(",") > 4 * MAX_ROWS:
        return None
    columns = _plain_columns(text) or _csv_columns(text)
    if columns is None or len(columns[0]) > MAX_ROWS:
        return None
    paths, claims = columns
    if len(set(paths)) == len(paths):
        return columns
    rows = {}  # type: dict
    for path, claim in zip(paths, claims):  # noqa: B905
        if claim or path not in rows:
            rows[path] = claim
    return list(rows), list(rows.values())


def _plain_columns(text):
    """The columns of the usual table: three fields a row, no quotes. None: it is not usual.

    Split at every comma, with one put after each line's end. Then a field that holds a line's
    end is the last of its row, and as many of the third fields as there are rows must.
    """
    text = text.replace("\r\n", "\n")
    if '"' in text or "\\" in text or "\r" in text or not text.endswith("\n"):
        return None
    fields = text.replace("\n", "\n,").split(",")
    fields.pop()
    paths, claims, sizes = fields[0::3], fields[1::3], fields[2::3]
    if len(fields) != 3 * len(sizes) or "".join(sizes).count("\n") != text.count("\n"):
        return None
    if len(sizes) != text.count("\n") or "" in paths:
        return None
    return paths, claims


def _csv_columns(text):
    paths, claims = [], []
    try:
        for row in csv.reader(io.StringIO(text, newline="")):
            if not row or not row[0]:
                continue
            paths.append(row[0].replace("\\", "/") if "/" not in row[0] else row[0])
            claims.append(row[1] if len(row) > 1 else "")
            if len(paths) > MAX_ROWS:
                return None
    except csv.Error:
        return None
    return paths, claims


_INFO = re.compile(r"^(?P<name>.+?)-(?P<version>[^-]+)(?:-py[0-9.]+)?\.(?:dist|egg)-info$", re.I)


def from_directory_name(name):
    """``(name, version)`` as a metadata directory is called, for want of anything better."""
    match = _INFO.match(name)
    if match:
        return match.group("name"), match.group("version")
    return re.sub(r"\.(dist|egg)-info$", "", name, flags=re.I), ""
