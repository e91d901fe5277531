"""A prefix written into files, and taken out of them again.

conda replaces a long placeholder by the prefix when it links a file: in text simply so, in a
binary within a C string, which is then filled up with NULs to keep its length.
"""

import os

TEXT = "/envfreeze/" + "prefix_" * 34
"""The placeholder of files that came with none."""


LIMIT = 1 << 31
"""Bytes of a file that is looked into; a larger one counts as it is."""


def undo(data, prefix, placeholder, binary):
    """*data* with *placeholder* in place of *prefix*; None: it cannot have been linked so."""
    old, new = os.fsencode(prefix), os.fsencode(placeholder)
    if not binary:
        return data.replace(old, new)
    grow = len(new) - len(old)
    if grow < 0:
        return None
    parts = []
    position = 0
    while True:
        start = data.find(old, position)
        if start < 0:
            break
        end = data.find(b"\0", start)
        if end < 0:
            return None
        text = data[start:end]
        fill = grow * text.count(old)
        if data[end : end + fill] != b"\0" * fill or len(data) <= end + fill:
            return None
        parts += [data[position:start], text.replace(old, new)]
        position = end + fill
    return b"".join(parts) + data[position:]


def unbound(data, prefix, placeholder):
    """``(bytes, placeholder, whether binary)`` of a file as a package can hold it.

    The placeholder is None where the prefix is not in it. A binary whose strings have no room for
    *placeholder* gets one of the prefix's own length: it fits no longer prefix.
    """
    if os.fsencode(prefix) not in data:
        return data, None, False
    if b"\0" not in data:
        return undo(data, prefix, placeholder or TEXT, False), placeholder or TEXT, False
    if placeholder:
        bare = undo(data, prefix, placeholder, True)
        if bare is not None:
            return bare, placeholder, True
    short = same_length(prefix)
    return undo(data, prefix, short, True) or data, short, True


def same_length(prefix):
    """A placeholder as long as *prefix*."""
    length = len(os.fsencode(prefix))
    return ("/" + "envfreeze_" * (length // 10 + 1))[:length]
