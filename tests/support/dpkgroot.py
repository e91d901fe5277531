"""A root directory with a dpkg database in it, and the .debs that it came from."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from envfreeze.resolve.debfile import write_deb


@dataclass(kw_only=True)
class Pkg:
    """One package: its fields, and path to content (None: a directory)."""

    name: str
    version: str = "1.0-1"
    arch: str = "amd64"
    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    conffiles: dict[str, bytes] = field(default_factory=dict)
    scripts: dict[str, str] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        same = self.fields.get("Multi-Arch") == "same"
        return f"{self.name}:{self.arch}" if same else self.name

    @property
    def md5sums(self) -> str:
        return "".join(
            f"{hashlib.md5(content).hexdigest()}  {path.lstrip('/')}\n"
            for path, content in sorted(self.files.items())
        )

    @property
    def stanza(self) -> str:
        rows = {
            "Package": self.name,
            "Status": "install ok installed",
            "Architecture": self.arch,
            "Version": self.version,
            **self.fields,
        }
        if self.conffiles:
            rows["Conffiles"] = "".join(
                f"\n {path} {hashlib.md5(content).hexdigest()}"
                for path, content in self.conffiles.items()
            )
        return "".join(f"{key}: {value}\n" for key, value in rows.items())

    @property
    def paths(self) -> list[str]:
        found = {"/."}
        for path in (*self.files, *self.conffiles):
            found.add(path)
            found |= {str(p) for p in Path(path).parents if str(p) != "/"}
        return sorted(found)


class DpkgRoot:
    """Write the database, the files and apt's lists below one directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.packages: list[Pkg] = []

    def write(self, name: str, data: str | bytes) -> Path:
        target = self.path / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data.encode() if isinstance(data, str) else data)
        return target

    def install(self, package: Pkg) -> Pkg:
        self.packages.append(package)
        for path, content in (package.files | package.conffiles).items():
            self.write(path, content)
        info = f"/var/lib/dpkg/info/{package.stem}"
        self.write(f"{info}.list", "".join(f"{path}\n" for path in package.paths))
        self.write(f"{info}.md5sums", package.md5sums)
        if package.conffiles:
            self.write(f"{info}.conffiles", "".join(f"{path}\n" for path in package.conffiles))
        for suffix, text in package.scripts.items():
            self.write(f"{info}.{suffix}", text)
        text = "\n".join(p.stanza for p in self.packages)
        self.write("/var/lib/dpkg/status", text)
        return package

    def offer(self, deb: bytes, package: Pkg, base: str) -> str:
        """List *deb* in apt's lists as an archive at *base* would; its URL."""
        path = f"pool/{package.name}_{package.version.rpartition(':')[2]}_{package.arch}.deb"
        self.write(
            "/etc/apt/sources.list.d/x.sources",
            f"Types: deb\nURIs: {base}\nSuites: stable\nComponents: main\n",
        )
        stem = base.partition("://")[2].rpartition("@")[2].replace("/", "_")
        listed = self.path / f"var/lib/apt/lists/{stem}_dists_stable_main_binary-amd64_Packages"
        before = listed.read_text() if listed.exists() else ""
        stanza = (
            f"Package: {package.name}\nVersion: {package.version}\n"
            f"Architecture: {package.arch}\nFilename: {path}\nSize: {len(deb)}\n"
            f"SHA256: {hashlib.sha256(deb).hexdigest()}\n\n"
        )
        self.write(str(listed.relative_to(self.path)), before + stanza)
        return f"{base}/{path}"


def deb_bytes(package: Pkg, *, md5sums: bool = True, scripts: Mapping[str, str] = {}) -> bytes:
    """The .deb that *package* would have been installed from.

    :param scripts: what of its own it runs, by name.
    """
    out = io.BytesIO()
    entries = []
    contents = package.files | package.conffiles
    for index, (path, content) in enumerate(sorted(contents.items())):
        info = tarfile.TarInfo(f".{path}")
        info.size = len(content)
        entries.append((info, content, index))
    control = [("control", package.stanza.replace("Status: install ok installed\n", "").encode())]
    if md5sums:
        control.append(("md5sums", package.md5sums.encode()))
    if package.conffiles:
        control.append(("conffiles", "".join(f"{p}\n" for p in package.conffiles).encode()))
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz", format=tarfile.GNU_FORMAT) as archive:
        for info, content, _ in entries:
            archive.addfile(info, io.BytesIO(content))
    rows = [(name, content, 0o644) for name, content in control]
    rows += [(name, text.encode(), 0o755) for name, text in scripts.items()]
    write_deb(out, rows, data.getvalue())
    return out.getvalue()
