"""Layers and kinds of changes in a word or two, for a column and a filter."""

from __future__ import annotations

from envfreeze.diff.compare import Kind, Layer

LAYER_WORDS: dict[Layer, str] = {
    "interpreter": "Interpreter",
    "packages": "Packages",
    "shadowed": "Shadowed packages",
    "files": "Loose files",
    "sources": "Source trees",
    "conda": "Conda",
    "system": "System",
    "environment": "Variables",
    "platform": "Platform",
    "accelerator": "Accelerators",
    "numerics": "Numerics",
}

KIND_WORDS: dict[Kind, str] = {
    "added": "only after",
    "removed": "only before",
    "changed": "changed",
    "content": "other content",
    "proof": "same bytes, proved another way",
    "installer": "same bytes, installed by another program",
    "unknown": "known on one side only",
}
