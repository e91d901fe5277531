"""What dpkg knows about a root: its status database, file lists and diversions, as they lie.

Sources: deb-version(7), deb-control(5), dpkg-divert(1) and Debian Policy 7. Only the files
are read; no tool is asked, so a root without a working dpkg answers just as well.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from envfreeze.resolve.packages import Kind, closed, merged_spellings
from envfreeze.resolve.rootfs import Root

ADMIN = "/var/lib/dpkg"
EXTENDED_STATES = "/var/lib/apt/extended_states"

_STATES_LIMIT = 64 << 20
_CLAUSE = re.compile(  # Of one without blanks around it: no two runs of blanks may meet.
    r"(?P<name>[a-z0-9][a-z0-9+.-]*)(?::(?P<arch>[a-z0-9-]+))?"
    r"(?:\s*\(\s*(?P<op><<|<=|>=|>>|=|<|>)\s*(?P<version>[^\s)]+)\s*\))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """One installed package, with its whole status stanza."""

    name: str
    version: str
    arch: str
    fields: dict[str, str]
    """Every field, raw, in the database's order."""

    @property
    def key(self) -> str:
        return f"{self.name}:{self.arch}"

    @property
    def essential(self) -> bool:
        return self.fields.get("Essential") == "yes"

    @property
    def source(self) -> str | None:
        """``Source`` of the stanza, ``gcc-12 (12.2.0-14)``; None: it has the package's name."""
        return self.fields.get("Source") or None


@dataclass(frozen=True, slots=True)
class Diversion:
    """dpkg-divert(1): *package*'s own file stays at *source*; everybody else's is at *target*."""

    source: str
    target: str
    package: str


class Dpkg:
    """The installed packages of one root."""

    kind: Kind = "dpkg"

    def __init__(self, root: Root, packages: Iterable[Installed]) -> None:
        self.root = root
        self.packages = {package.key: package for package in packages}
        self.diversions = list(_diversions(root))
        self._lists: dict[str, bytes] = {}
        self._by_name: dict[str, list[Installed]] = {}
        self._providers: dict[str, list[tuple[Installed, str | None]]] = {}
        for package in self.packages.values():
            self._by_name.setdefault(package.name, []).append(package)
            for name, version in _provided(package.fields.get("Provides", "")):
                self._providers.setdefault(name, []).append((package, version))
        self.native = next((p.arch for p in self._by_name.get("dpkg", []) if p.arch != "all"), "")

    @classmethod
    def read(cls, root: Root | None = None) -> Dpkg | None:
        """The database of *root*; None where there is none."""
        root = root or Root()
        try:
            text = Path(root.at(f"{ADMIN}/status")).read_text("utf-8", "surrogateescape")
        except OSError:
            return None
        return cls(root, sorted(installed(text), key=lambda package: package.key))

    # --- files ---------------------------------------------------------------------------

    def info(self, package: Installed, suffix: str) -> bytes | None:
        """A file of dpkg's ``info`` directory: ``list``, ``md5sums``, ``postinst``, ..."""
        for stem in (package.key, package.name):
            path = Path(self.root.at(f"{ADMIN}/info/{stem}.{suffix}"))
            if path.is_file():
                return path.read_bytes()
        return None

    def files(self, package: Installed) -> list[str]:
        """The paths that the package ships, as its list spells them (directories too)."""
        return [_text(line) for line in self._list(package).split(b"\n") if line]

    def _list(self, package: Installed) -> bytes:
        """Read once: an environment asks for the owners of its files several times."""
        known = self._lists.get(package.key)
        if known is None:
            known = self._lists[package.key] = self.info(package, "list") or b""
        return known

    def on_disk(self, package: Installed, path: str) -> str:
        """Where the file that *package* ships as *path* lies, diversions counted in."""
        for diversion in self.diversions:
            if diversion.source == path and diversion.package != package.name:
                return diversion.target
        return path

    def owners(self, paths: Iterable[str]) -> dict[str, list[Installed]]:
        """The packages that brought each path; a path that nobody brought is left out."""
        spelled: dict[bytes, list[str]] = {}
        for path in paths:
            for name in self._spellings(path):
                spelled.setdefault(os.fsencode(name), []).append(path)
        wanted = set(spelled)
        found: dict[str, list[Installed]] = {}
        for package in self.packages.values():
            lines = set(self._list(package).split(b"\n"))
            for line in sorted(lines & wanted):
                for path in spelled[line]:
                    if self._is_at(package, _text(line), path) and package not in found.get(
                        path, []
                    ):
                        found.setdefault(path, []).append(package)
        return found

    def _spellings(self, path: str) -> list[str]:
        """The names under which a package may list *path*.

        Where /usr is merged, dpkg knows ``/lib/x`` and the linker says ``/usr/lib/x``
        (Debian bug class "usrmerge"; dpkg keeps the name in the package).
        """
        names = merged_spellings(path)
        for diversion in self.diversions:
            if diversion.target in names:
                names.append(diversion.source)
        return names

    def _is_at(self, package: Installed, listed: str, path: str) -> bool:
        return path in merged_spellings(self.on_disk(package, listed))

    def manual(self) -> set[str] | None:
        """Keys of what somebody asked for: all that apt does not have as automatic
        (apt, ``apt-pkg/depcache.cc``); None where there is no apt."""
        data = self.root.read(EXTENDED_STATES, _STATES_LIMIT)
        if data is None:
            apt = self.root.exists("/var/lib/apt") and not self.root.exists(EXTENDED_STATES)
            return set(self.packages) if apt else None
        automatic = {
            (fields.get("Package", ""), fields.get("Architecture", ""))
            for fields in stanzas(data.decode("utf-8", "replace"))
            if fields.get("Auto-Installed") == "1"
        }
        return {
            key
            for key, package in self.packages.items()
            if (package.name, self.native if package.arch == "all" else package.arch)
            not in automatic
        }

    # --- dependencies --------------------------------------------------------------------

    def get(self, name: str) -> Installed | None:
        """The installed package *name*, of the native architecture where there are several."""
        return self._choose(name, None, None)

    def depends(self, package: Installed) -> list[Installed]:
        """What satisfies the Depends and Pre-Depends of *package* here, without repeats."""
        found: dict[str, Installed] = {}
        for field in ("Pre-Depends", "Depends"):
            for group in package.fields.get(field, "").split(","):
                chosen = self._satisfier(group, package)
                if chosen is not None and chosen.key != package.key:
                    found[chosen.key] = chosen
        return list(found.values())

    def closure(self, packages: Iterable[Installed]) -> list[Installed]:
        """*packages* and everything they depend on, by name.

        Essential packages are only there if named: every Debian base has them (Policy 3.8).
        """
        return closed(packages, lambda one: [p for p in self.depends(one) if not p.essential])

    def whole(self, packages: Iterable[Installed]) -> list[Installed]:
        """*packages* and everything they depend on, essential or not."""
        return closed(packages, self.depends)

    def essential(self) -> list[Installed]:
        """What every system of its kind begins with: a root directory needs no more."""
        return self.whole(package for package in self.packages.values() if package.essential)

    def unmet(self, package: Installed) -> list[str]:
        """The relations of *package* that do not hold here, as a person reads them."""
        found = [
            f"{field}: {' '.join(group.split())}"
            for field in ("Pre-Depends", "Depends")
            for group in filter(None, package.fields.get(field, "").split(","))
            if self._satisfier(group, package) is None
        ]
        for field in ("Conflicts", "Breaks"):
            for clause in filter(None, package.fields.get(field, "").split(",")):
                other = self._satisfier(clause, package)
                if other is not None and other.name != package.name:
                    found.append(f"{field}: {' '.join(clause.split())}")
        return found

    def _satisfier(self, group: str, package: Installed) -> Installed | None:
        """The first alternative that is installed in a version that will do (Policy 7.1)."""
        for clause in group.split("|"):
            match = _CLAUSE.fullmatch(clause.strip())
            if match is None:
                continue
            wanted = (match["op"], match["version"]) if match["op"] else None
            chosen = self._choose(match["name"], wanted, package.arch)
            if chosen is not None:
                return chosen
        return None

    def _choose(
        self, name: str, wanted: tuple[str, str] | None, arch: str | None
    ) -> Installed | None:
        arch = self.native if arch in {None, "all"} else arch
        real = [p for p in self._by_name.get(name, []) if _meets(p.version, wanted)]
        virtual = [
            package
            for package, version in self._providers.get(name, [])
            if wanted is None or (version is not None and _meets(version, wanted))
        ]
        for candidates in (real, virtual):
            if candidates:
                ranked = sorted(candidates, key=lambda p: (p.arch not in {arch, "all"}, p.key))
                return ranked[0]
        return None


def _text(line: bytes) -> str:
    return os.fsdecode(line)


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """The stanzas of a control file: field to value, continuation lines kept (deb822(5))."""
    for block in re.split(r"\n[ \t]*\n", text):
        fields: dict[str, list[str]] = {}
        last = ""
        for line in block.split("\n"):
            if line[:1] in {" ", "\t"} and last:
                fields[last].append(line)
            elif ":" in line and not line.startswith("#"):
                last, _, value = line.partition(":")
                fields[last] = [value.strip()]
        if fields:
            yield {field: "\n".join(lines) for field, lines in fields.items()}


def installed(text: str) -> Iterator[Installed]:
    """Packages whose files are there: the third word of Status (dpkg(1), "package states")."""
    for fields in stanzas(text):
        state = fields.get("Status", "").split()[2:3]
        if state and state[0] in {"installed", "triggers-awaited", "triggers-pending"}:
            yield Installed(
                name=fields.get("Package", ""),
                version=fields.get("Version", ""),
                arch=fields.get("Architecture", ""),
                fields=fields,
            )


def _diversions(root: Root) -> Iterator[Diversion]:
    """Three lines each: the path, where it went, and who asked (``:`` is the administrator)."""
    try:
        lines = Path(root.at(f"{ADMIN}/diversions")).read_text("utf-8", "surrogateescape")
    except OSError:
        return
    rows = lines.splitlines()
    for source, target, package in zip(rows[::3], rows[1::3], rows[2::3], strict=False):
        yield Diversion(source, target, package)


def _provided(field: str) -> Iterator[tuple[str, str | None]]:
    for clause in field.split(","):
        match = _CLAUSE.fullmatch(clause.strip())
        if match:
            yield match["name"], match["version"]


def _meets(version: str, wanted: tuple[str, str] | None) -> bool:
    if wanted is None:
        return True
    operator, bound = wanted
    order = compare(version, bound)
    return {
        "<<": order < 0,
        "<": order <= 0,
        "<=": order <= 0,
        "=": order == 0,
        ">=": order >= 0,
        ">": order >= 0,
        ">>": order > 0,
    }[operator]


def compare(left: str, right: str) -> int:
    """Negative, zero or positive, as *left* sorts before, with or after *right*
    (deb-version(7), "Sorting algorithm")."""
    one, other = _parts(left), _parts(right)
    if one == other:
        return 0
    return -1 if one < other else 1


_Number = tuple[int, str]
"""Digits as something that compares like their number, however many they are."""
_Part = list[tuple[list[int], _Number]]


def _number(digits: str) -> _Number:
    bare = digits.lstrip("0")
    return len(bare), bare


def _parts(version: str) -> tuple[_Number, _Part, _Part]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    if not dash:
        upstream, revision = rest, ""
    known = epoch if re.fullmatch(r"[0-9]+", epoch) else "0"
    return _number(known), _runs(upstream), _runs(revision)


def _runs(text: str) -> _Part:
    """Alternating non-digits and digits, each run as something that compares."""
    return [
        ([_weight(char) for char in letters] + [0], _number(digits))
        for letters, digits in re.findall(r"([^0-9]*)([0-9]*)", text)
    ]


def _weight(char: str) -> int:
    """``~`` before the end of the text, letters before everything else."""
    if char == "~":
        return -1
    return ord(char) if char.isalpha() else ord(char) + 256
