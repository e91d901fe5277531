"""A document as a side of a comparison, seen from the other side. Pure.

Seen from it, because the documents leave things open: 1.0 is the 1.0.0 that is installed, 2.1.0 may
be 2.1.0+cu121, and >=1.20 is met by 1.26 and not by 1.19.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from envfreeze.diff.foreign import condaspec
from envfreeze.diff.foreign.document import ANY, SEEDS, Document, Entry
from envfreeze.diff.view import Item, Reach, View

_LAYERS = ("interpreter", "packages", "shadowed", "files", "sources", "conda", "prefix", "system")
_MOST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What is to be said of one name: an item, or words for what is open."""

    item: Item | None = None
    open: str | None = None


def view_of(document: Document, title: str, other: View | None) -> View:
    """*document* as a view.

    :param other: the side that it is compared with; None: it is not known yet.
    """
    reach: dict[str, Reach] = dict.fromkeys(_LAYERS, "none")
    reach |= document.reach
    packages, open_packages = _layer(document, "packages", other)
    conda, open_conda = _layer(document, "conda", other)
    beside = SEEDS
    if other is not None and not document.names_projects:
        beside |= {name for name, item in other.packages.items() if item.project}
    return View(
        title=title,
        id=None,
        interpreter={},
        packages=packages,
        files={},
        system=_system(document, other) if reach["system"] != "none" else None,
        system_whole=False,
        conda=conda,
        reach=reach,
        open={"packages": open_packages | dict(document.unread), "conda": open_conda},
        beside=beside,
        trees=False,
    )


def _layer(
    document: Document, layer: str, other: View | None
) -> tuple[dict[str, Item], dict[str, str]]:
    """The items of *layer*, and what of it is open."""
    named: dict[str, list[Entry]] = {}
    for entry in document.entries:
        if entry.layer == layer:
            named.setdefault(entry.name, []).append(entry)
    there: Mapping[str, Item] = getattr(other, layer) if other is not None else {}
    unsure = other.open.get(layer, {}) if other is not None else {}
    items, words = {}, {}
    for name, entries in named.items():
        known = other is not None and other.reaches(layer) != "none" and name not in unsure
        seen = _against(entries, there.get(name)) if known else _alone(entries)
        if seen.item is not None:
            items[name] = seen.item
        elif seen.open is not None:
            words[name] = seen.open
    return items, words


def _alone(entries: list[Entry]) -> _Seen:
    """As the document has it, without another side."""
    if len(entries) == 1 and not entries[0].doubt and _pinned(entries[0]):
        return _Seen(item=_item(entries[0], entries[0].version))
    return _Seen(open=_words(entries))


def _against(entries: list[Entry], there: Item | None) -> _Seen:
    """As it is held against the item of the other side, which knows that there is none."""
    if there is None:
        if all(entry.doubt for entry in entries):
            return _Seen(open=_words(entries))
        return _Seen(item=_item(entries[0], _text(entries)))
    for entry in entries:
        if _same(entry, there.version):
            return _Seen(item=_item(entry, there.version))
    found = [(entry, _meets(entry, there.version)) for entry in entries]
    for entry, met in found:
        if met is True:
            return _Seen(item=_item(entry, there.version))
    reasons = [met for _, met in found if isinstance(met, str)]
    if reasons:
        said = [_words(entries), *dict.fromkeys(filter(None, reasons))]
        return _Seen(open=", and ".join(said[:2]))
    asked = any(map(_is_range, entries))
    return _Seen(item=_item(entries[0], _text(entries), asked=asked))


def _item(entry: Entry, version: str, *, asked: bool = False) -> Item:
    return Item(
        name=entry.name,
        version=version,
        tree=None,
        listed=entry.listed,
        origin=entry.origin,
        asked=asked,
    )


def _is_range(entry: Entry) -> bool:
    """Whether it asks for more versions than one; ``=1.26`` of conda's does."""
    return entry.wanted is not None and (entry.layer == "conda" or not entry.version)


def _pinned(entry: Entry) -> bool:
    return bool(entry.version)


def _text(entries: Iterable[Entry]) -> str:
    """The versions that it may have."""
    texts = list(dict.fromkeys(map(_version, entries)))
    return " or ".join(texts[:_MOST]) + (" or ..." if len(texts) > _MOST else "")


def _version(entry: Entry) -> str:
    return str(entry.wanted) if _is_range(entry) else entry.version or entry.wanted or "any"


def _words(entries: list[Entry]) -> str:
    """What is known of it."""
    said = [f"{entry.wanted or entry.version} {entry.doubt}".strip() for entry in entries]
    said = list(dict.fromkeys(said))
    return "listed as " + "; ".join(said[:_MOST]) + ("; ..." if len(said) > _MOST else "")


def _same(entry: Entry, version: str) -> bool:
    """Whether *version* is the one that the entry names."""
    if not entry.version:
        return False
    if entry.layer == "conda":
        mine, _, build = entry.version.partition(" ")
        theirs, _, other = version.partition(" ")
        if mine == theirs:
            return build == other or not build or not other
        return condaspec.holds(entry.name, entry.version, theirs, other) is True
    if entry.version == version:
        return True
    one, two = _parsed(entry.version), _parsed(version)
    return one is not None and one == two


def _parsed(text: str) -> object:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(text)
    except (InvalidVersion, ValueError):
        return None


def _meets(entry: Entry, version: str) -> bool | str:
    """Whether *version* is one that the entry asks for; where nobody can tell, a reason, or ``""``.

    A pin is met by nothing but what it names: ``2.1.0+cu121`` meets ``==2.1.0``, and which build
    was meant is not told.
    """
    if entry.wanted is None:
        return False
    if entry.wanted == ANY:
        return True
    if entry.layer == "conda":
        return _conda_meets(entry, version)
    met = _contains(entry.wanted, version)
    return "" if met is None or (met and entry.version) else met


def _conda_meets(entry: Entry, version: str) -> bool | str:
    number, _, build = version.partition(" ")
    if entry.version and number.startswith(f"{entry.version}."):
        return True  # ``=1.26`` is each 1.26.
    return condaspec.holds(entry.name, entry.wanted or "", number, build)


def _contains(wanted: str, version: str) -> bool | None:
    """None: words, or a version that has no order."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion

    try:
        return SpecifierSet(wanted).contains(version, prereleases=True)
    except (InvalidSpecifier, InvalidVersion, ValueError):
        return None


def _system(document: Document, other: View | None) -> dict[str, str]:
    """By ``name:arch``; an arch that the document lacks is the other side's, if that has one."""
    there = other.system if other is not None and other.system is not None else {}
    found = {}
    for entry in document.entries:
        if entry.layer != "system":
            continue
        key = entry.name
        if key.endswith(":"):
            fits = [name for name in there if name.startswith(key)]
            key = fits[0] if len(fits) == 1 else key
        found[key] = entry.version
    return found
