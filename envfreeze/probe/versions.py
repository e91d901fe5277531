"""Versions as files of accelerators' vendors tell them: macros, file names, metadata's names."""

import json
import re

LIMIT = 1 << 22  # Bytes of a header; cuda.h has 1.1 MB.
JSON = 1 << 20

PLAIN = re.compile(r"\d{1,6}(?:\.\d{1,9}){1,4}$")
_DIST = re.compile(r"([A-Za-z0-9][A-Za-z0-9._]*)-([A-Za-z0-9][A-Za-z0-9._+!]*)(?:-py[0-9.]+)?\.")
_CONDA = re.compile(r"(.+)-([^-]+)-([^-]+)\.json$")


def plain(text):
    """*text* if it is numbers with dots between, else None."""
    return text if isinstance(text, str) and PLAIN.match(text) else None


def macros(text, *names):
    """The numbers of a header's ``#define NAME 9``, followed once to another name; or None."""
    found = []
    for name in names:
        value = _define(text, name)
        if value is not None and not value.isdigit():
            value = _define(text, value)
        if value is None or not value.isdigit():
            return None
        found.append(value)
    return found


def _define(text, name):
    match = re.search(r"^[ \t]*#[ \t]*define[ \t]+%s[ \t]+(\w{1,64})" % re.escape(name), text, re.M)
    return match.group(1) if match else None


def cuda(number):
    """``13.0`` of ``13000``: CUDA_VERSION, CUDART_VERSION."""
    return "%d.%d" % (number // 1000, number % 1000 // 10)


def distributions(names):
    """``{normalised name: version}`` by the names of metadata directories; None: several."""
    found = {}  # type: dict
    for name in names:
        if name.endswith((".dist-info", ".egg-info")):
            match = _DIST.match(name)
            if match:
                key = re.sub(r"[-_.]+", "-", match.group(1)).lower()
                found[key] = None if key in found else match.group(2)
    return found


def records(names):
    """``{conda package: (version, file name)}`` by the names in ``conda-meta``."""
    found = {}
    for name in names:
        match = _CONDA.match(name)
        if match:
            found[match.group(1)] = (match.group(2), name)
    return found


def document(text):
    """The JSON object in *text*, or an empty one."""
    try:
        value = json.loads(text or "")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
