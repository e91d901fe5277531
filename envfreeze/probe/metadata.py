"""The metadata files of an installed distribution, parsed leniently: text in, facts out.

Sources: packaging.python.org "recording-installed-packages", "core-metadata",
"binary-distribution-format", "entry-points".
"""

import csv
import re

MAX_ROWS = 1_000_000


def headers(text, wanted):
    """``{lower-case name: [values]}`` of the *wanted* headers before the first blank line."""
    found = {}  # type: dict
    for line in text.splitlines():
        if not line.strip():
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
    for line in text.splitlines():
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[" and line[-1] == "]":
            section = line[1:-1].strip()
        elif section in ("console_scripts", "gui_scripts") and "=" in line:
            names.append(line.partition("=")[0].strip())
    return names


def record(text):
    """``[(path, claim)]`` of RECORD's rows; None where it is not one.

    The claim is ``algorithm=digest``, or empty. Duplicate rows are kept once, the one with
    a claim first.
    """
    rows = {}
    try:
        for row in csv.reader(text.splitlines()):
            if not row or not row[0]:
                continue
            path = row[0].replace("\\", "/") if "/" not in row[0] else row[0]
            claim = row[1] if len(row) > 1 else ""
            if claim or path not in rows:
                rows[path] = claim
            if len(rows) > MAX_ROWS:
                return None
    except csv.Error:
        return None
    return list(rows.items())


_INFO = re.compile(r"^(?P<name>.+?)-(?P<version>[^-]+)(?:-py[0-9.]+)?\.(?:dist|egg)-info$", re.I)


def from_directory_name(name):
    """``(name, version)`` as a metadata directory is called, for want of anything better."""
    match = _INFO.match(name)
    if match:
        return match.group("name"), match.group("version")
    return re.sub(r"\.(dist|egg)-info$", "", name, flags=re.I), ""
