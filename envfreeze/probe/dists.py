"""The distributions of each sys.path entry, their files, and the files nobody owns."""

import hashlib
import json
import os
import re
import stat
import zlib

from . import files, metadata, sitepath
from .machine import is_utf8

# Part of every fingerprint: raise it when what is remembered changes its meaning.
MEMORY = 5


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# pip gives what it is about to delete such a name; killed, it leaves it behind (pip#6194).
_LEFTOVER = ("~", "-")
_LINKED = "%s: the link is kept, and what it leads to, but not as files of this distribution"
_UNLINK = "put the directory in place of the link, to have it proved"


class Roots(object):
    """Where the files of one site directory's distributions may lie."""

    def __init__(self, site, prefix, headers):
        self.site = site
        # Where Python's prefix is the whole file system, any path would pass for its data.
        self.data = None if prefix == "/" else prefix
        self.scripts = prefix and os.path.join(prefix, "bin")
        self.headers = headers
        self._real = [os.path.realpath(root) for root in (site, self.data) if root]

    def lead_out(self, full):
        """Whether links on the way to *full* lead to where nothing of this belongs."""
        real = os.path.realpath(full)
        return not real.startswith(tuple(root.rstrip("/") + "/" for root in self._real))

    def place(self, path):
        """``(scheme, relative path, full path)`` of a RECORD row. No path leads outside."""
        if "\0" in path or "\n" in path or "\r" in path:
            return "outside", path, None
        full = os.path.normpath(os.path.join(self.site, path))
        for scheme, root in (
            ("site", self.site),
            ("scripts", self.scripts),
            ("headers", self.headers),
            ("data", self.data),
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

    def __init__(self, machine, hasher, roots, conda=None):
        self.machine = machine
        self.hasher = hasher
        self.roots = roots
        self.conda = conda  # The conda prefix that this is of, if it is.
        self.path = roots.site
        self.regular = {}
        self.other = {}
        self.names = []  # Of what lies directly in a walked directory.
        self._links = None
        self.owned = set()
        self.outside = []  # Files that RECORDs name beyond the walk.
        self._loose = []  # type: list
        self._checked = []

    def dists(self, walk):
        """The distributions here. *walk*: the Walk of a site directory, None for another."""
        owns_files = walk is not None
        if owns_files:
            self.regular, self.other = walk.regular, walk.other
        found = []
        for name in self._metadata_names(owns_files):
            dist = self._dist(name)
            if dist is not None:
                found.append(dist)
        return found

    def _metadata_names(self, owns_files):
        try:
            names = sorted(os.listdir(self.path))
        except OSError as error:
            self.machine.find("unreadable", self.path, str(error.strerror))
            return []
        chosen = []
        if owns_files:
            self.names = names
        if self.path.endswith(".egg") and "EGG-INFO" in names:
            chosen.append("EGG-INFO")
        for name in names:
            if name.startswith(_LEFTOVER):
                if owns_files:
                    self.machine.find(
                        "leftover",
                        self.path + "/" + name,
                        "an interrupted pip left it behind; it is not part of the environment",
                        "delete it",
                    )
            elif name.lower().endswith((".dist-info", ".egg-info")):
                if is_utf8(name) and not _CONTROL.search(name):
                    chosen.append(name)
                elif not owns_files:  # Else found among the loose files.
                    self.machine.find("not-utf8", self.path + "/" + name, "its name is not UTF-8")
        return chosen

    def links(self):
        """The links here, each with a slash behind it."""
        if self._links is None:
            found = [path + "/" for path, st in self.other.items() if files.is_link(st)]
            self._links = tuple(found)
        return self._links

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
        name, version, requires, licence = metadata.core(self._read(info, source))
        if not requires and "requires.txt" in present:
            requires = metadata.egg_requires(self._read(info, "requires.txt") or "")
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
        if requires:
            dist["requires"] = requires
        if licence:
            dist["licence"] = licence
        self._optional(dist, info, present)
        owner = self.conda and self.conda.owner_of(self.path, info)
        if owner:
            dist["conda"] = owner.file
            return dist
        if "RECORD" in present and not self._is_linked(info, place):
            self._rows(dist, info)
        return dist

    def _is_linked(self, info, place):
        """Whether the metadata lies behind a link: that comes back, and with it RECORD."""
        if info not in self.other:
            return False
        self.machine.find("linked-directory", place, _LINKED % "it is a link", _UNLINK)
        return True

    def _egg_file(self, info):
        """A single-file ``X.egg-info`` of distutils, or a dangling link in its place."""
        text = self.machine.text(self.path + "/" + info)
        if text is None:
            if os.path.lexists(self.path + "/" + info) and not os.path.exists(
                self.path + "/" + info
            ):
                detail = "a link that points nowhere"
                self.machine.find("damaged-metadata", self.path + "/" + info, detail, "delete it")
            else:
                self.machine.find("unreadable", self.path + "/" + info)
            return None
        name, version = metadata.name_and_version(text)
        guessed = metadata.from_directory_name(info)
        dist = {
            "site": self.path,
            "info": info,
            "name": name or guessed[0],
            "version": version or guessed[1],
            "rows": None,
        }
        owner = self.conda and self.conda.owner_of(self.path, info)
        if owner:
            dist["conda"] = owner.file
        return dist

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
        place = self.path + "/" + info + "/RECORD"
        data = self.machine.read(place)
        columns = None if data is None else metadata.record(data.decode("utf-8", "replace"))
        if columns is None:
            self.machine.find(
                "damaged-record",
                place,
                "it cannot be read, or is larger than 64 MiB"
                if data is None
                else "it is not a table of files, or has more than %d rows" % metadata.MAX_ROWS,
                "reinstall %s" % dist["name"],
            )
            return
        check = DistCheck(self, place, dist.get("direct_url"))
        dist["rows"] = check.rows(*columns)
        check.start(hashlib.sha256(data))
        self._checked.append(check)

    def loose(self):
        """Start on the files that no RECORD owns; complete after the hasher has run."""
        result = self._loose
        groups = {}  # type: dict
        for path in sorted((self.regular.keys() | self.other.keys()) - self.owned):
            if path.startswith(_LEFTOVER) or (path == sitepath.APART and self._names_sites()):
                continue
            if self.conda and self.conda.owns(self.path + "/" + path):
                continue
            if not is_utf8(path) or _CONTROL.search(path) or "\\" in path:
                self.machine.find(
                    "not-utf8", self.path + "/" + path, "its name cannot be written down"
                )
            elif path in self.other:
                self._loose_other(result, path, self.path + "/" + path)
            else:
                st = self.regular[path]
                row = [path, None, st.st_size, files.is_executable(st), None]
                result.append(row)
                groups.setdefault(path.partition("/")[0], []).append((row, st))
        for group in groups.values():
            check = LooseCheck(self, group)
            check.start()
            self._checked.append(check)
        return result

    def _names_sites(self):
        return sitepath.apart(self.machine.text(self.path + "/" + sitepath.APART) or "") is not None

    def _loose_other(self, result, path, full):
        if stat.S_ISDIR(self.other[path].st_mode):
            self.machine.find("unreadable", full, "a directory: what lies in it is not known")
            return
        if not files.is_link(self.other[path]):
            detail = "a FIFO, socket or device: it has no content to keep"
            self.machine.find("unreadable", full, detail, "delete it")
            return
        try:
            link = os.readlink(full)
        except OSError as error:
            self.machine.find("unreadable", full, str(error.strerror))
            return
        if not os.path.exists(full):
            self.machine.find("dangling-link", full, "points at %s" % link, "delete it")
        elif is_utf8(link):
            result.append([path, None, 0, False, files.portable(link, full, self.path)])
        else:
            self.machine.find("not-utf8", full, "what it points at cannot be written down")

    def finish(self):
        """After the hasher has run: fold the digests in. Returns what to remember."""
        remember = {}
        for check in self._checked:
            notable = check.finish()
            if notable is not None:
                remember[check.fingerprint] = notable
        self._loose.sort(key=lambda row: row[0])
        return remember

    def disown(self, path):
        """What lies at *path* is a link, and what it leads to is not what RECORD claims."""
        if path in self.other and files.is_link(self.other[path]):
            self._loose_other(self._loose, path, self.path + "/" + path)

    def unread(self, full):
        self.machine.find("unreadable", full, "its content could not be read")


def zipped(machine, path):
    """The distribution in a zipped egg, or None where *path* is none."""
    if not path.endswith(".egg"):
        return None
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive, archive.open("EGG-INFO/PKG-INFO") as file:
            text = file.read(1 << 20).decode("utf-8", "replace")
    except (OSError, LookupError, ValueError, RuntimeError, EOFError):
        text = ""
    except (zipfile.BadZipFile, zlib.error):
        text = ""
    name, version = metadata.name_and_version(text)
    if not name or not version:
        guessed = os.path.basename(path)[: -len(".egg")].split("-")
        machine.find(
            "damaged-metadata",
            path,
            "EGG-INFO/PKG-INFO in it has no name or no version; the file's name is used",
            "reinstall it",
        )
        name, version = name or guessed[0], version or "".join(guessed[1:2])
    return {"site": path, "info": "EGG-INFO", "name": name, "version": version, "rows": None}


def _setter(row, index):
    def done(sha256, _neutral):
        row[index] = sha256

    return done


def _fingerprint(site, digest, stats):
    digest.update(files.stamps(stats))
    salt = [MEMORY, sorted(site.hasher.interpreters)]
    digest.update(json.dumps(salt).encode("ascii"))
    return digest.hexdigest()


def _recalled(site, fingerprint):
    return None if site.machine.rehash else site.machine.known.get(fingerprint)


class LooseCheck(object):
    """Hashes the unowned files below one name of a site directory, or recalls their digests."""

    def __init__(self, site, group):
        self.site = site
        self.group = group  # [(row, lstat)]
        names = "\0".join(row[0] for row, _ in group).encode("utf-8")
        stats = [st for _, st in group]
        self.fingerprint = _fingerprint(site, hashlib.sha256(b"loose\0" + names), stats)
        self._known = _recalled(site, self.fingerprint)

    def start(self):
        for index, (row, st) in enumerate(self.group):
            if self._known is not None:
                row[1] = self._known.get(str(index))
            else:
                full = self.site.path + "/" + row[0]
                self.site.hasher.add(full, _setter(row, 1), size=st.st_size)

    def finish(self):
        """What to remember, if anything."""
        whole = True
        for row, _ in self.group:
            if row[1] is None:
                whole = False
                self.site.unread(self.site.path + "/" + row[0])
        if self._known is None and whole and files.settled([st for _, st in self.group]):
            return {str(index): row[1] for index, (row, _) in enumerate(self.group)}
        return None


class DistCheck(object):
    """Compares one distribution's files with its RECORD, or recalls an earlier comparison."""

    def __init__(self, site, record, direct_url=None):
        self.site = site
        self.record = record
        self.direct_url = direct_url
        self.fingerprint = ""
        self._work = []  # (row, claim, full path or None for a plain site path, stat)
        self._neutral = {}  # position in _work: digest of a script without its interpreter
        self._known = None
        self._outside = []
        self._behind = []  # Rows behind a link to a directory.
        self._odd = set()
        self._leading = []  # Rows that links lead out to, positions in _work.

    def rows(self, paths, claims):
        """The snapshot's rows, their digests still open."""
        rows, work = [], self._work
        self.site.owned.update(paths)
        for path, claim, st in zip(paths, claims, map(self.site.regular.get, paths)):  # noqa: B905
            if st is not None:
                row, full = ["site", path, None, st.st_size, st.st_mode & 0o111 != 0, claim], None
            elif "__pycache__/" in path and path.endswith((".pyc", ".pyo")):
                continue
            else:
                row, full, st = self._elsewhere(path, claim)
                if row is None:
                    continue
                if st is not None and self.site.roots.lead_out(full):
                    self._leading.append(len(work))
            rows.append(row)
            if st is not None:
                work.append((row, claim, full, st))
        self.site.owned.difference_update(self._odd)
        if self._outside:
            self.site.machine.find("outside-row", self.record, _outside_text(self._outside))
        if self._behind:
            place = self.record[: -len("/RECORD")]
            detail = _LINKED % ("a link leads to %s" % _few(self._behind))
            self.site.machine.find("linked-directory", place, detail, _UNLINK)
        return rows

    def _elsewhere(self, path, claim):
        """``(row, full path, stat)`` of what is not simply a file of the walk."""
        scheme, relative, full = self.site.roots.place(path)
        row = [scheme, relative, None, None, False, claim]
        if scheme == "outside":
            self._outside.append(path)
            return row, None, None
        if scheme == "site" and relative != path and relative in self.site.regular:
            if relative in self.site.owned:  # The same file under two spellings.
                return None, None, None
            self.site.owned.add(relative)
        if scheme == "site" and relative.startswith(self.site.links()):
            # The link to a directory is an unowned one, and brings what it leads to.
            self._behind.append(relative)
            return row, None, None
        self.site.outside.append(full)
        try:
            st = os.stat(full)
        except PermissionError:
            row[3] = 0  # It is not known to be missing.
            return row, full, None
        except (OSError, ValueError):
            st = None
        if st is None or not stat.S_ISREG(st.st_mode) or self._is_source(full):
            # Claimed or not, a link to nowhere, to a directory, or into the tree of an editable
            # install (flit makes such) is looked at as a loose one.
            self._odd.add(relative)
            return row, None, None
        row[3], row[4] = st.st_size, files.is_executable(st)
        return row, full, st

    def _is_source(self, full):
        """Whether *full* is a link into the source tree that this is an editable install of."""
        if not self.direct_url or "editable" not in self.direct_url or not os.path.islink(full):
            return False
        from . import roots

        path = roots.editable_path(self.direct_url)
        return path is not None and roots.is_below(os.path.realpath(full), os.path.realpath(path))

    def start(self, digest):
        """Recall the result if nothing has changed since, else queue the files for hashing."""
        self.fingerprint = _fingerprint(self.site, digest, [work[3] for work in self._work])
        self._known = _recalled(self.site, self.fingerprint)
        if self._known is not None:
            self._recall(self._known)
            return
        for index, (row, _, full, st) in enumerate(self._work):
            script = row[0] == "scripts"
            done = self._script_setter(index) if script else _setter(row, 2)
            full = full or self.site.path + "/" + row[1]
            self.site.hasher.add(full, done, script=script, size=st.st_size)

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
        digests = files.digests_of([work[1] for work in self._work])
        for (row, _, _, _), digest in zip(self._work, digests):  # noqa: B905
            row[2], row[5] = digest, None
        for index, digest in known.items():
            row, claim = self._work[int(index)][:2]
            if digest is not None and digest.startswith("="):
                row[2] = digest[1:]
            else:
                row[2], row[5] = digest, claim

    def finish(self):
        """After the hasher has run: what agrees with RECORD, and what to remember of it."""
        if self._known is not None:
            return None
        whole = self._stay_inside()
        notable = {}
        claimed = files.digests_of([work[1] for work in self._work])
        for index, (row, claim, full, _) in enumerate(self._work):
            if row[2] is None:
                whole = False
                if row[3] is not None:
                    self.site.unread(full or self.site.path + "/" + row[1])
                continue
            usual = claim.startswith("sha256=")
            if usual:
                agrees = claimed[index] == row[2]
            else:
                agrees = self._agrees(row, claim, full)
            if agrees:
                row[5] = None
            if index in self._neutral:
                row[2] = self._neutral[index]
            if index in self._neutral or not agrees or not usual:
                notable[str(index)] = ("=" if agrees else "") + row[2]
        if whole and self._work and files.settled([work[3] for work in self._work]):
            return notable
        return None

    def _stay_inside(self):
        """Whether all that links lead out to is what RECORD claims, as in uv's link mode. What is
        not, is somebody else's: it is not kept, and the link is an unowned one."""
        strange = []
        for index in self._leading:
            row, claim, full, _ = self._work[index]
            if row[2] is None or not claim or not self._agrees(row, claim, full):
                row[2] = row[3] = None
                row[4] = False
                strange.append(full)
                if row[0] == "site":
                    self.site.disown(row[1])
        if strange:
            detail = "%s: links lead out of the environment, to what its RECORD does not claim"
            place = self.record[: -len("/RECORD")]
            advice = "put the content there in place of the link"
            self.site.machine.find("link-outside", place, detail % _few(strange), advice)
        return not strange

    def _agrees(self, row, claim, full):
        """Whether a file is what a claim by another algorithm says."""
        algorithm, claimed = files.digest_of(claim)
        if algorithm == "sha256":
            return claimed == row[2]
        full = full or self.site.path + "/" + row[1]
        return bool(algorithm) and files.digest_with(algorithm, full) == claimed


def _few(paths):
    return ", ".join(sorted(paths)[:3]) + (", ..." if len(paths) > 3 else "")


def _outside_text(paths):
    more = " and %d more" % (len(paths) - 1) if len(paths) > 1 else ""
    return "it claims %r%s outside the environment: not read, not kept" % (paths[0], more)
