"""The base of the documents' types."""

from __future__ import annotations

import msgspec


class Kebab(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", omit_defaults=True):
    """Base of every table: TOML's kebab-case keys, defaults left out."""
