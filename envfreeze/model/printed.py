"""How a document is printed for programs that read it."""

from __future__ import annotations

import msgspec


def as_json(document: object) -> bytes:
    """*document* as indented JSON that ends with a newline."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
