"""Which directories of a venv each locked thing goes to.

All captured site directories come into the venv's own one. What the lock has *apart*, because it
would hide something or would no longer be hidden there, goes into site directories behind it:
one below ``apart-N`` for each captured one, with a ``bin`` and ``share`` of its own, named by a
``.pth`` file (:data:`envfreeze.probe.sitepath.APART`) in the order that sys.path had.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from envfreeze.build import sinks
from envfreeze.build.layout import Schemes
from envfreeze.model.lock import Lock, LooseEntry, LooseSite, Package
from envfreeze.probe import sitepath


@dataclass(frozen=True, slots=True, kw_only=True)
class Homes:
    """The site directories of a venv."""

    main: Schemes
    apart: Mapping[str, Schemes] = field(default_factory=dict)
    """By the captured site directory, in the order of sys.path."""
    lines: tuple[str, ...] = ()
    """Of the file that names :attr:`apart`."""
    lock: Lock

    def of(self, package: Package) -> Schemes:
        """Where a package goes."""
        if package.facts.apart or package in self.lock.machine.shadowed:
            return self.apart[self.lock.site_of(package)]
        return self.main

    def parts(self, loose: LooseSite) -> list[tuple[LooseSite, Schemes]]:
        """The unowned files of a captured site directory by where they go."""
        found = []
        for apart, schemes in ((False, self.main), (True, self.apart.get(loose.site))):
            files = [entry for entry in loose.files if entry.apart is apart]
            if files and schemes is not None:
                found.append((_only(loose, files), schemes))
        return found

    @property
    def pth(self) -> tuple[str, bytes] | None:
        """``(path, content)`` of the file that names the others; None: there are none."""
        if not self.lines:
            return None
        text = "".join(f"{line}\n" for line in self.lines)
        return f"{self.main.site}/{sitepath.APART}", text.encode()

    def finish(self, sink: sinks.Sink) -> None:
        """Write :attr:`pth`: last, for until then nothing leads to what lies apart."""
        if self.pth is not None:
            path, content = self.pth
            sink.put(path, io.BytesIO(content), executable=False)


def _only(loose: LooseSite, files: list[LooseEntry]) -> LooseSite:
    return LooseSite(site=loose.site, scheme=loose.scheme, archive=loose.archive, files=files)


def homes(lock: Lock, into: str, main: Schemes) -> Homes:
    """The site directories of a venv at *into* for *lock*; *main* is its own one."""
    facts = lock.machine.interpreter.facts
    tag = Path(main.site).parent.name
    behind = [package for package in lock.packages if package.facts.apart]
    wanted = {lock.site_of(package) for package in [*behind, *lock.machine.shadowed]}
    wanted |= {site.site for site in lock.machine.loose if any(entry.apart for entry in site.files)}
    order = {site: number for number, site in enumerate(lock.machine.sites)}
    apart, lines = {}, []
    for number, site in enumerate(sorted(wanted, key=lambda s: (order.get(s, -1), s)), start=1):
        directory = f"apart-{number}"
        prefix = f"{into}/{directory}"
        lines.append(str(sitepath.apart_line(directory, tag)))  # type: ignore[no-untyped-call]
        apart[site] = replace(
            main,
            site=f"{prefix}/lib/{tag}/site-packages",
            scripts=f"{prefix}/bin",
            headers=f"{prefix}/include/{_headers(facts.version)}{facts.abiflags}",
            data=prefix,
        )
    return Homes(main=main, apart=apart, lines=tuple(lines), lock=lock)


def _headers(version: str) -> str:
    return "python" + ".".join(version.split(".")[:2])
