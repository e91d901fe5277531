"""Files of a site directory that name a directory elsewhere: an editable install's tree.

``.pth`` lines, ``.egg-link``, the finders of PEP 660 back ends and ``direct_url.json`` (PEP 610)
spell the absolute path of a source tree. In the *neutral* form a placeholder stands for it, so
that the same install of the same tree is the same wherever the tree lies.
"""

import os
import re

if False:  # For type checkers; the probe has no time to import it.
    from typing import Iterable, List, Mapping, Tuple  # noqa: F401

LIMIT = 1 << 20  # Bytes; a larger file is no pointer.

_TOP_LEVEL = re.compile(r"[^/]+\.(?:pth|egg-link)|_[^/]*\.py")
_DIRECT_URL = re.compile(r"[^/]+\.dist-info/direct_url\.json")
_MARK = re.compile(rb"\{envfreeze:source:([A-Za-z0-9][A-Za-z0-9._-]*)\}")


def is_pointer(path):
    # type: (str) -> bool
    """Whether the file at *path*, relative to its site directory, may name a source tree."""
    return bool(_TOP_LEVEL.fullmatch(path) or _DIRECT_URL.fullmatch(path))


def placeholder(key):
    # type: (str) -> str
    return "{envfreeze:source:%s}" % key


def keys(data):
    # type: (bytes) -> List[str]
    """The keys of the placeholders in *data* (bytes), sorted."""
    return sorted({match.group(1).decode("ascii") for match in _MARK.finditer(data)})


def neutral(path, data, roots):
    # type: (str, bytes, Iterable[Tuple[str, str]]) -> bytes
    """*data* (bytes) of the file at *path* with placeholders for the *roots*.

    *roots*: ``[(absolute directory as somebody spells it, key)]``.
    """
    for root, key in sorted(roots, key=lambda item: -len(item[0])):
        mark = placeholder(key).encode("ascii")
        data = _pattern(path, root).sub(mark, data)
    return data


def neutral_link(target, roots):
    # type: (str, Iterable[Tuple[str, str]]) -> str
    """The text of a symbolic link with a placeholder for the root that it leads into."""
    for root, key in sorted(roots, key=lambda item: -len(item[0])):
        if target == root or target.startswith(root.rstrip("/") + "/"):
            return placeholder(key) + target[len(root.rstrip("/")) :]
    return target


def placed(path, data, places):
    # type: (str, bytes, Mapping[str, str]) -> bytes
    """*data* (bytes) with each placeholder replaced by the directory that *places* has for it.

    *places*: ``{key: absolute directory}``. A key that is not in there stays as it is.
    """

    def spelt(match):
        # type: (re.Match[bytes]) -> bytes
        root = places.get(match.group(1).decode("ascii"))
        return match.group(0) if root is None else _spelt(path, root)

    return _MARK.sub(spelt, data)


def placed_link(target, places):
    # type: (str, Mapping[str, str]) -> str
    """The text of a symbolic link, its placeholder replaced."""
    return os.fsdecode(placed("", os.fsencode(target), places))


def _spelt(path, root):
    # type: (str, str) -> bytes
    """*root* (str) as the kind of file at *path* writes a directory; bytes."""
    if path.endswith(".json"):
        from urllib.parse import quote  # Few environments need it, and it is slow to import.

        return quote(os.fsencode(root)).encode("ascii")
    raw = os.fsencode(root)
    if path.endswith(".py"):
        raw = raw.replace(b"\\", b"\\\\").replace(b"'", b"\\'")
    return raw


def _pattern(path, root):
    # type: (str, str) -> re.Pattern[bytes]
    """Where the file at *path* names *root* or what lies below it."""
    spelt = re.escape(_spelt(path, root.rstrip("/") or "/"))
    if path.endswith(".json"):
        return re.compile(rb"(?<=file://)" + spelt + rb"(?=[/\"#?&]|$)")
    # No other directory: neither /data/ROOT nor ROOT-2.
    return re.compile(rb"(?<![\w.~+@/-])" + spelt + rb"(?=[/'\"\r\n]|$)")
