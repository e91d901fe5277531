"""Counts and sizes as a person reads them."""

from __future__ import annotations


def plural(count: int, word: str, words: str = "") -> str:
    """``1 file``, ``2 files``; *words*: the plural, where it is not the word and an ``s``."""
    return f"1 {word}" if count == 1 else f"{count} {words or word + 's'}"


def size(count: int) -> str:
    """A number of bytes, in powers of 1000."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
