"""The distributions of each sys.path entry, their files, and the files nobody owns."""

import hashlib
import json
import os
import re

from . import files, metadata
from .machine import is_utf8

# Part of every fingerprint: raise it when what is remembered changes its meaning.
MEMORY = 2


class Roots(object):
    """Where the files of one site directory's distributions may lie."""

    def __init__(self, site, prefix, headers):
        self.site = site
        self.prefix = prefix
        self.scripts = prefix and os.path.join(prefix, "bin")
        self.headers = headers

    def place(self, path):
        """``(scheme, relative path, full path)`` of a RECORD row. Nothing outside is ever read."""
        if "\0" in path or "\n" in path or "\r" in path:
            return "outside", path, None
        if path[:1] not in ("/", ".") and "/." not in path and "\\" not in path:
            return "site", path, self.site + "/" + path
        full = os.path.normpath(os.path.join(self.site, path))
        for scheme, root in (
            ("site", self.site),
            ("scripts", self.scripts),
            ("headers", self.headers),
            ("data", self.prefix),
        ):
            if root and full.startswith(root.rstrip("/") + "/"):
                relative = full[len(root.rstrip("/")) + 1 :]
                if scheme == "headers" and "/" in relative:
                    # include/site/python3.11/NAME/...: NAME is the installer's doing.
                    relative = relative.partition("/")[2]
                return scheme, relative, full
        return "outside", path, None


class SiteProbe(object):
    """One sys.path entry: walked once, its distributions checked against that walk."""

    def __init__(self, machine, hasher, roots):
        self.machine = machine
        self.hasher = hasher
        self.roots = roots
        self.path = roots.site
        self.stats = {}
        self.owned = set()
        self.remember = {}
        self._checked = []

    def dists(self, owns_files):
        """The distributions here. *owns_files*: a site directory, to be walked whole."""
        if owns_files:
            self.stats = files.walk(self.path)
        found = []
        for name in self._metadata_names():
            dist = self._dist(name)
            if dist is not None:
                found.append(dist)
        return found

    def _metadata_names(self):
        try:
            names = sorted(os.listdir(self.path))
        except OSError as error:
            self.machine.find("unreadable", self.path, str(error.strerror))
            return []
        chosen = []
        if self.path.endswith(".egg") and "EGG-INFO" in names:
            chosen.append("EGG-INFO")
        for name in names:
            if name.startswith("~"):
                self.machine.find(
                    "leftover",
                    self.path + "/" + name,
                    "an interrupted pip left it behind; it is not part of the environment",
                    "delete it",
                )
            elif name.lower().endswith((".dist-info", ".egg-info")):
                if is_utf8(name):
                    chosen.append(name)
                else:
                    self.machine.find("not-utf8", self.path + "/" + name, "its name is not UTF-8")
        return chosen

    def _read(self, info, name):
        return self.machine.text(self.path + "/" + info + "/" + name)

    def _dist(self, info):
        place = self.path + "/" + info
        if not os.path.isdir(place):
            return self._egg_file(info)
        try:
            present = set(os.listdir(place))
        except OSError as error:
            self.machine.find("unreadable", place, str(error.strerror))
            return None
        source = "METADATA" if "METADATA" in present else "PKG-INFO"
        name, version = metadata.name_and_version(self._read(info, source))
        if not name or not version:
            guessed = metadata.from_directory_name(info)
            self.machine.find(
                "damaged-metadata",
                place,
                "%s has no name or no version; the directory's name is used" % source,
                "reinstall it",
            )
            name, version = name or guessed[0], version or guessed[1]
        dist = {"site": self.path, "info": info, "name": name, "version": version, "rows": None}
        self._optional(dist, info, present)
        if "RECORD" in present:
            self._rows(dist, info)
        return dist

    def _egg_file(self, info):
        """A single-file ``X.egg-info`` of distutils, or a dangling link in its place."""
        text = self.machine.text(self.path + "/" + info)
        if text is None:
            self.machine.find("unreadable", self.path + "/" + info)
            return None
        name, version = metadata.name_and_version(text)
        guessed = metadata.from_directory_name(info)
        return {
            "site": self.path,
            "info": info,
            "name": name or guessed[0],
            "version": version or guessed[1],
            "rows": None,
        }

    def _optional(self, dist, info, present):
        if "WHEEL" in present:
            dist.update(metadata.wheel(self._read(info, "WHEEL") or ""))
        if "INSTALLER" in present:
            dist["installer"] = self._read(info, "INSTALLER")
        if "REQUESTED" in present:
            dist["requested"] = True
        if "direct_url.json" in present:
            dist["direct_url"] = self._read(info, "direct_url.json")
        if "entry_points.txt" in present:
            dist["wrappers"] = metadata.wrappers(self._read(info, "entry_points.txt") or "")

    def _rows(self, dist, info):
        data = self.machine.read(self.path + "/" + info + "/RECORD")
        rows = None if data is None else metadata.record(data.decode("utf-8", "replace"))
        if rows is None:
            self.machine.find(
                "damaged-record",
                self.path + "/" + info + "/RECORD",
                "it is not a table of files that can be read",
                "reinstall %s" % dist["name"],
            )
            return
        check = DistCheck(self, dist, hashlib.sha256(data))
        dist["rows"] = [row for row in (check.row(path, claim) for path, claim in rows) if row]
        check.start()
        self._checked.append(check)

    def lstat(self, scheme, path, full):
        if scheme == "site":
            self.owned.add(path)
            found = self.stats.get(path)
            if found is not None:
                return found
        try:
            return os.lstat(full)
        except (OSError, ValueError):
            return None

    def loose(self):
        """Start on the files that no RECORD owns; complete after the hasher has run."""
        result = []  # type: list
        for path in sorted(set(self.stats) - self.owned):
            if path.startswith("~"):
                continue
            if not is_utf8(path) or re.search(r"[\x00-\x1f\x7f]", path):
                self.machine.find(
                    "not-utf8", self.path + "/" + path, "its name cannot be written down"
                )
                continue
            st = self.stats[path]
            full = self.path + "/" + path
            if files.is_link(st):
                self._loose_link(result, path, full)
            elif files.is_regular(st):
                row = [path, None, st.st_size, files.is_executable(st), None]
                result.append(row)
                self.hasher.add(full, _setter(row, 1))
        return result

    def _loose_link(self, result, path, full):
        link = os.readlink(full)
        if not os.path.exists(full):
            self.machine.find("dangling-link", full, "points at %s" % link, "delete it")
        elif is_utf8(link):
            result.append([path, None, 0, False, link])

    def finish(self):
        """After the hasher has run: fold the digests in and collect what to remember."""
        for check in self._checked:
            check.finish()
            if check.remember is not None:
                self.remember[check.fingerprint] = check.remember


def _setter(row, index):
    def done(sha256, _neutral):
        row[index] = sha256

    return done


class DistCheck(object):
    """Compares one distribution's files with its RECORD, or recalls an earlier comparison."""

    def __init__(self, site, dist, fingerprint):
        self.site = site
        self.dist = dist
        self.fingerprint = fingerprint
        self.remember = None
        self._work = []  # (row, claim, full path, stat)
        self._neutral = {}  # position in _work: digest of a script without its interpreter
        self._recalled = False

    def row(self, path, claim):
        """The snapshot's row for RECORD's ``path,claim``, its digest still open; None to skip."""
        if "__pycache__/" in path and path.endswith((".pyc", ".pyo")):
            return None
        scheme, relative, full = self.site.roots.place(path)
        if scheme == "outside":
            self.site.machine.find(
                "outside-row",
                "%s/%s/RECORD" % (self.site.path, self.dist["info"]),
                "it claims %r, which lies outside the environment: not read, not kept" % path,
            )
            return ["outside", path, None, None, False, claim]
        st = self.site.lstat(scheme, relative, full)
        row = [scheme, relative, None, None, False, claim]
        if st is not None and (files.is_regular(st) or files.is_link(st)):
            row[3], row[4] = st.st_size, files.is_executable(st)
            self._work.append((row, claim, full, st))
        return row

    def start(self):
        """Recall the result if nothing has changed since, else queue the files for hashing."""
        self.fingerprint.update(
            "".join(files.stamp(work[3]) for work in self._work).encode("ascii")
        )
        salt = [MEMORY, sorted(self.site.hasher.interpreters)]
        self.fingerprint.update(json.dumps(salt).encode("ascii"))
        self.fingerprint = self.fingerprint.hexdigest()
        known = None if self.site.machine.rehash else self.site.machine.known.get(self.fingerprint)
        if known is not None:
            self._recall(known)
            return
        for index, (row, _, full, _) in enumerate(self._work):
            script = row[0] == "scripts"
            done = self._script_setter(index) if script else _setter(row, 2)
            self.site.hasher.add(full, done, script=script)

    def _script_setter(self, index):
        def done(sha256, neutral):
            self._work[index][0][2] = sha256
            if neutral is not None:
                self._neutral[index] = neutral

        return done

    def _recall(self, known):
        """*known*: by index, each digest that is not simply the one that RECORD claims.

        ``=`` before it: the file agrees with RECORD, and this is its neutral form.
        """
        self._recalled = True
        for index, (row, claim, _, _) in enumerate(self._work):
            found = known.get(str(index), "")
            if found == "":
                row[2], row[5] = files.digest_of(claim)[1], None
            elif found is not None and found.startswith("="):
                row[2], row[5] = found[1:], None
            else:
                row[2] = found

    def finish(self):
        """After the hasher has run: what agrees with RECORD, and what to remember of it."""
        if self._recalled:
            return
        notable = {}
        for index, (row, claim, _, _) in enumerate(self._work):
            agrees = row[2] is not None and files.digest_of(claim) == ("sha256", row[2])
            if agrees:
                row[5] = None
            if index in self._neutral:
                row[2] = self._neutral[index]
                notable[str(index)] = ("=" if agrees else "") + row[2]
            elif not agrees:
                notable[str(index)] = row[2]
        if self._work and files.settled([work[3] for work in self._work]):
            self.remember = notable
