"""A conda prefix: its records, and whether each file is what its record says.

``conda-meta/*.json`` is read, never the conda program (CEP 32). A file into which the prefix was
written counts as it is in its package, with the placeholder: so two prefixes are comparable.
"""

import hashlib
import json
import os
import re
import stat

from . import condafiles, condarc, files, urls
from .machine import is_utf8, unfit, utf8

META = "conda-meta"
LIMIT = 1 << 26  # Bytes of a record.
# Directories of a base installation that are not part of its environment.
_OTHERS = frozenset((META, "pkgs", "envs", "conda-bld", "locks"))
_MADE = frozenset(("CACHEDIR.TAG", ".condarc", ".nonadmin"))
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}$")
_WORD = re.compile(r"[A-Za-z0-9_.!+~-]{1,200}$")
_HEX = re.compile(r"[0-9a-f]+$")
_USERINFO = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*:)?//[^/@?#]*@")
# As conda, mamba and rattler write the script of an entry point.
_ENTRY_POINT = re.compile(
    rb"#!.*\n(?:'''exec' .*\n' '''\n)?(?:# -\*- coding: utf-8 -\*-\n)?import re\nimport sys\n+"
    rb"from [\w.]+ import \w+\n+if __name__ == ['\"]__main__['\"]:\n"
    rb"\s+sys\.argv\[0\] = re\.sub\([^\n]*sys\.argv\[0\]\)\n\s+sys\.exit\([\w.]+\(\)\)\s*$"
)
_SECRET_NAME = re.compile(r"token|secret|passw|credential|(api|access)_?key", re.IGNORECASE)
_SPECS = re.compile(r"^# (update|install|remove) specs: (\[.*\])$")
_SPEC_NAME = re.compile(r"^(?:[^\s:\[]*::)?([A-Za-z0-9_][A-Za-z0-9_.-]*)")


def at(prefix):
    """Whether *prefix* is a conda environment."""
    try:
        names = os.listdir(prefix + "/" + META)
    except OSError:
        return False
    return "history" in names or any(name.endswith(".json") for name in names)


def bare_url(url):
    """*url* without login, token, query and fragment (``/t/TOKEN/`` is conda's own way)."""
    text = _USERINFO.sub(lambda match: (match.group(1) or "") + "//", urls.with_slashes(url))
    text = text.partition("#")[0].partition("?")[0]
    head, mark, rest = text.partition("://")
    if not mark or head.lower() == "file":
        return text
    host, slash, path = rest.partition("/")
    path = re.sub(r"(^|/)t/[^/]+(?=/|$)", "", "/" + path) if slash else ""
    return head + mark + host + (urls.bare_path(path) if path else "")


class Record(object):
    """One package, as ``conda-meta`` has it."""

    def __init__(self, file, document, paths):
        self.file = file
        self.document = document
        self.paths = paths  # [Path]
        self.words = {}  # type: dict
        self.odd = []  # type: list

    def text(self, key, fits=None):
        value = self.document.get(key)
        if isinstance(value, str) and is_utf8(value) and (fits is None or fits.match(value)):
            return value
        return None


class Path(object):
    """One file of a record."""

    __slots__ = ("binary", "installed", "kind", "moved", "path", "placeholder", "sha256")

    def __init__(self, path, entry):
        self.path = path
        self.moved = entry.get("_path") if _moved(entry) else None  # Another package lies there.
        self.kind = entry.get("path_type")
        self.sha256 = _digest(entry.get("sha256"))
        self.installed = _digest(entry.get("sha256_in_prefix"))
        placeholder = entry.get("prefix_placeholder")
        self.placeholder = placeholder if isinstance(placeholder, str) and placeholder else None
        self.binary = entry.get("file_mode") == "binary"


def _moved(row):
    """Where a file was meant to lie that rattler put aside for another package's; or None."""
    aside, path = row.get("_path"), row.get("original_path")
    return path if _is_inside(aside) and "__clobber" in aside and _is_inside(path) else None


def _expected(path):
    """The sha256 of a file as it has to lie in the prefix, where its record tells."""
    return path.installed or (None if path.placeholder else path.sha256)


def _digest(value):
    return value if isinstance(value, str) and len(value) == 64 and _HEX.match(value) else None


def paths_of(document):
    """``([Path], how many are none)`` of a record; old ones have ``files`` alone."""
    about = document.get("paths_data")
    rows = about.get("paths") if isinstance(about, dict) else None
    listed = document.get("files")
    listed = listed if isinstance(listed, list) else []
    placed = _placed(listed) if document.get("noarch") == "python" else {}
    entries = {}  # type: dict
    moved = set()
    bad = 0
    for row in rows if isinstance(rows, list) else []:
        path = row.get("_path") if isinstance(row, dict) else None
        if not _is_inside(path):
            bad += 1
        elif _moved(row):
            moved.add(path)
            entries[_moved(row)] = row
        else:
            entries[placed.get(path, path)] = row
    for path in listed:
        if not _is_inside(path):
            bad += rows is None
        elif path not in entries and path not in moved:
            entries[path] = {}
    return [Path(path, entries[path]) for path in sorted(entries)], bad


def _placed(listed):
    """``{path in the package: path in the prefix}`` of a noarch Python package's *listed* files.

    conda writes its rows with the former; mamba and rattler with the latter.
    """
    found = {}  # type: dict
    for path in listed:
        if not _is_inside(path):
            continue
        site, mark, rest = path.partition("/site-packages/")
        if mark and site.startswith("lib/"):
            found["site-packages/" + rest] = path
        elif path.startswith("bin/"):
            found["python-scripts/" + path[len("bin/") :]] = path
    return found


class Prefix(object):
    """The environment at *prefix*."""

    def __init__(self, machine, prefix, hasher):
        self.machine = machine
        self.prefix = prefix
        self.real = os.path.realpath(prefix)
        self.hasher = hasher
        self.records = []  # type: list
        self.owners = {}  # type: dict
        self.entries = {}  # type: dict
        self._contested = {}  # type: dict
        self._moved = set()  # type: set
        self._digests = {}  # type: dict
        self._stats = {}  # type: dict
        self._known = {}  # type: dict
        self._trees = frozenset()  # type: frozenset
        self._read()

    # --- reading ---

    def _read(self):
        place = self.prefix + "/" + META
        try:
            names = sorted(os.listdir(place))
        except OSError as error:
            self.machine.find("unreadable", place, str(error.strerror))
            return
        for name in names:
            if name.endswith(".json") and not name.startswith("."):
                record = self._record(place, name)
                if record is not None:
                    self.records.append(record)
        for record in self.records:
            for path in record.paths:
                self._claim(record, path)

    def _claim(self, record, path):
        """Two packages can have one path; whose file lies there is settled by its content."""
        if path.path in self.owners:
            before = [(self.owners[path.path], self.entries[path.path])]
            self._contested.setdefault(path.path, before).append((record, path))
        if path.moved:
            self._moved.add(path.moved)
        self.owners[path.path] = record
        self.entries[path.path] = path

    def _claims(self, inner):
        """``[(record, path)]`` of all that have this path."""
        alone = [(self.owners[inner], self.entries[inner])] if inner in self.owners else []
        return self._contested.get(inner, alone)

    def _record(self, place, name):
        document = None
        text = self.machine.text(place + "/" + name, LIMIT)
        if text is not None:
            try:
                document = json.loads(text)
            except (ValueError, RecursionError):
                pass
        if not isinstance(document, dict):
            self._damaged(place + "/" + name, "it is no JSON document")
            return None
        record = Record(name, document, [])
        if document.get("channel") == "pypi" or document.get("build") == "pypi_0":
            return None  # What pip installed, as some tools list it.
        fit = [
            record.text("name", _NAME),
            record.text("version", _WORD),
            record.text("build", _WORD),
        ]
        if None in fit:
            self._damaged(place + "/" + name, "it has no name, version and build")
            return None
        record.paths = self._paths(document, place + "/" + name)
        return record

    def _paths(self, document, place):
        found, bad = paths_of(document)
        if bad:
            self._damaged(place, "%d of its paths lead out of the prefix, or are none" % bad)
        return found

    def _damaged(self, place, detail):
        advice = "reinstall the package"
        self.machine.find("damaged-record", place, detail, advice)

    # --- what is whose ---

    def relative(self, path):
        """*path* relative to the prefix, or None."""
        for head in (self.prefix, self.real):
            if path.startswith(head.rstrip("/") + "/"):
                return path[len(head.rstrip("/")) + 1 :]
        return None

    def owner_of(self, site, info):
        """The record that the distribution with this metadata belongs to; None: it is pip's.

        Its metadata has to be what the record says: pip writes some of it anew.
        """
        inner = self.relative(site + "/" + info)
        if inner is None:
            return None
        if inner in self.owners:  # X.egg-info as one file.
            fit = [each for each, path in self._claims(inner) if self._is_as_recorded(path)]
            return fit[0] if fit else None
        head = inner + "/"
        claims = self._claims(head + "METADATA") or self._claims(head + "PKG-INFO")
        fit = [each for each, _path in claims if self._has(each, head)]
        for name in ("RECORD", "INSTALLER"):  # Whose it was is in these.
            if head + name not in self.owners and os.path.lexists(self.prefix + "/" + head + name):
                return None
        return fit[0] if fit else None

    def _has(self, record, head):
        """Whether all of the record's files below *head* are as it says."""
        return all(
            self._is_as_recorded(path) for path in record.paths if path.path.startswith(head)
        )

    def _is_as_recorded(self, path):
        data = self.machine.read(self.prefix + "/" + path.path)
        if data is None:
            return False
        expected = _expected(path)
        return expected is None or hashlib.sha256(data).hexdigest() == expected

    def owns(self, full):
        """Whether a record has a file at this path."""
        return self.relative(full) in self.owners

    # --- the files ---

    def start(self):
        """Queue the files for hashing."""
        for record in self.records:
            stats = {}  # type: dict
            for path in record.paths:
                if counts(path):
                    try:
                        stats[path.path] = os.lstat(self.prefix + "/" + path.path)
                    except (OSError, ValueError):
                        stats[path.path] = None
            self._stats[record.file] = stats
            fingerprint = self._fingerprint(record, stats)
            known = None if self.machine.rehash else self.machine.known.get(fingerprint)
            if known is not None:
                self._known[record.file] = known
                self._digests.update(known)
                continue
            for path, st in stats.items():
                if st is not None and stat.S_ISREG(st.st_mode):
                    full = self.prefix + "/" + path
                    self.hasher.add(full, self._setter(path), size=st.st_size)

    def _setter(self, path):
        def done(sha256, _second):
            self._digests[path] = sha256

        return done

    def _fingerprint(self, record, stats):
        digest = hashlib.sha256(
            b"conda\0" + self.prefix.encode("utf-8") + record.file.encode("utf-8")
        )
        digest.update("\0".join(stats).encode("utf-8"))
        digest.update(files.stamps([st for st in stats.values() if st is not None]))
        return digest.hexdigest()

    def finish(self, found, outside, trees=()):
        """``(facts, what to remember)``, after the hasher has run.

        *found*: the distributions; *outside*: full paths of files of theirs beyond the walks;
        *trees*: site directories and source trees, whose files are kept as such.
        """
        theirs = self._of_pip(found)
        self._settle()
        remember = {}
        for record in self.records:
            stats = self._stats[record.file]
            for path in record.paths:
                if counts(path):
                    self._judge(record, path, stats[path.path], theirs)
            there = [st for st in stats.values() if st is not None]
            if record.file not in self._known and there and files.settled(there):
                fingerprint = self._fingerprint(record, stats)
                remember[fingerprint] = {p: self._digests[p] for p in stats if self._digests.get(p)}
        self._trees = frozenset(os.path.realpath(path) for path in trees)
        loose = self._loose({self.relative(path) for path in outside} | set(theirs))
        return self._facts(loose), remember

    def _settle(self):
        """Of two packages with one path, that one has it whose content lies there."""
        for inner, claims in self._contested.items():
            for record, path in claims:
                if self._has_content(inner, path):
                    self.owners[inner], self.entries[inner] = record, path

    def _of_pip(self, found):
        """``{relative path: whether RECORD is right about it}`` of what pip installed; on the way
        what conda put over it is noted in the distribution."""
        theirs = {}  # type: dict
        for dist in found:
            if dist.get("conda") or not dist.get("rows"):
                continue
            roots = {"site": dist["site"], "scripts": self.prefix + "/bin", "data": self.prefix}
            over = []
            for row in dist["rows"]:
                inner = self.relative(roots.get(row[0], "") + "/" + row[1])
                if inner is None or row[2] is None:
                    continue
                agrees = not row[5]
                theirs[inner] = agrees or theirs.get(inner, False)
                if not agrees and inner in self.owners and self._is_installed(inner):
                    over.append(row[0] + "/" + row[1])
            if over:
                dist["overlaid"] = over
        return theirs

    def _is_installed(self, inner):
        return any(self._has_content(inner, path) for _record, path in self._claims(inner))

    def _has_content(self, inner, path):
        """Whether what lies there is known to be what the record of *path* has."""
        expected = _expected(path)
        return expected is not None and self._digests.get(inner) == expected

    def _judge(self, record, path, st, theirs):
        """Find the word for a file's content, and what is odd about it."""
        if st is None:
            record.odd.append([path.path, "missing"])
            return
        full = self.prefix + "/" + path.path
        if stat.S_ISLNK(st.st_mode):
            self._judge_link(record, path, full)
            return
        if not stat.S_ISREG(st.st_mode):
            if path.kind != "directory":
                record.odd.append([path.path, "changed"])
            return
        sha256 = self._digests.get(path.path)
        if sha256 is None:
            self.machine.find("unreadable", full)
            record.odd.append([path.path, "unreadable"])
            return
        executable = " executable" if files.is_executable(st) else ""
        is_script = path.kind is not None and path.kind.endswith("entry_point")
        known = (path.installed, None if path.placeholder else path.sha256)
        if sha256 in known or (is_script and known == (None, None) and self._is_script(full)):
            # Each tool writes such scripts in its own way.
            word = "entry point" if is_script else path.sha256 or sha256
            record.words[path.path] = word + executable
            return
        if theirs.get(path.path):
            record.odd.append([path.path, "pip"])
            return
        if self.owners[path.path] is not record:
            record.odd.append([path.path, "another"])  # Two packages have it: one of them counts.
            return
        word, proved = self._undone(path, full, sha256)
        record.words[path.path] = word + executable
        if not proved:
            known = path.installed or path.sha256
            record.odd.append([path.path, "changed" if known else "unchecked"])

    def _is_script(self, full):
        """Whether it is what an installer makes of an entry point: not every record has a digest
        of that."""
        data = self.machine.read(full, 1 << 16)
        return data is not None and _ENTRY_POINT.match(data) is not None

    def _judge_link(self, record, path, full):
        try:
            target = os.readlink(full)
        except OSError:
            record.odd.append([path.path, "unreadable"])
            return
        record.words[path.path] = "-> " + utf8(files.portable(target, full, self.prefix))
        if path.kind not in ("softlink", "directory", None):
            record.odd.append([path.path, "changed"])

    def _undone(self, path, full, sha256):
        """``(digest of the file as it is in its package, whether the record says so)``."""
        data = self.machine.read(full, condafiles.LIMIT)
        if data is None:
            return sha256, False
        if path.placeholder and path.installed is None:
            bare = condafiles.undo(data, self.prefix, path.placeholder, path.binary)
            if bare is not None and hashlib.sha256(bare).hexdigest() == path.sha256:
                return path.sha256, True
        bare = condafiles.unbound(data, self.prefix, path.placeholder)[0]
        return hashlib.sha256(bare).hexdigest(), False

    # --- what nobody owns ---

    def _loose(self, theirs):
        """Files of the prefix that neither a record nor a distribution nor a site has."""
        found = []  # type: list
        for name in self.top():
            full = self.prefix + "/" + name
            if not os.path.isdir(full) or os.path.islink(full):
                self._loose_one(found, name, theirs)
                continue
            for here, directories, names in os.walk(full):
                directories[:] = [
                    each
                    for each in directories
                    if each != "__pycache__"
                    and os.path.realpath(here + "/" + each) not in self._trees
                ]
                linked = [each for each in directories if os.path.islink(here + "/" + each)]
                for each in names + linked:
                    self._loose_one(found, here[len(self.prefix) + 1 :] + "/" + each, theirs)
        return sorted(found)

    def _loose_one(self, found, inner, theirs):
        if inner in self.owners or inner in theirs or inner in self._moved:
            return
        full = self.prefix + "/" + inner
        if not is_utf8(inner) or _CONTROL.search(inner):
            self.machine.find("not-utf8", full, "its name cannot be written down")
            return
        try:
            st = os.lstat(full)
            if stat.S_ISLNK(st.st_mode):
                link = files.portable(os.readlink(full), full, self.prefix)
                found.append([inner, None, 0, False, utf8(link)])
                return
        except OSError:
            return
        data = self.machine.read(full, condafiles.LIMIT) if stat.S_ISREG(st.st_mode) else None
        if data is None:
            self.machine.find("unreadable", full)
            return
        bare = condafiles.unbound(data, self.prefix, None)[0]
        sha256 = hashlib.sha256(bare).hexdigest()
        found.append([inner, sha256, st.st_size, files.is_executable(st), None])

    def top(self):
        """What lies directly in the prefix and is part of the environment."""
        try:
            names = sorted(os.listdir(self.prefix))
        except OSError:
            return []
        return [name for name in names if name not in _OTHERS and name not in _MADE]

    # --- the facts ---

    def _facts(self, loose):
        history = self.machine.text(self.prefix + "/" + META + "/history", LIMIT) or ""
        asked = requested(history)
        facts = {
            "prefix": self.prefix,
            "records": [self._described(record, asked) for record in self.records],
            "loose": loose,
            "channels": self._channels(),
            "virtual": virtual_packages(),
            "frozen": os.path.exists(self.prefix + "/" + META + "/frozen"),
        }
        pinned = self.machine.text(self.prefix + "/" + META + "/pinned", 1 << 20) or ""
        facts["pinned"] = [line.strip() for line in pinned.splitlines() if line.strip()]
        facts["variables"] = self._variables()
        return facts

    def _described(self, record, asked):
        found = _plain(record)
        for key in ("url", "channel"):
            value = record.text(key)
            if value:
                found[key] = bare_url(value)
                if found[key] != value and key == "url":
                    self._credentials(record, value)
        if "channel" in found:
            found["channel"] = _channel(found["channel"], found.get("subdir"))
        found["tarball"] = record.text("package_tarball_full_path") or ""
        directory = record.text("extracted_package_dir")
        if directory and not found["tarball"] and found.get("fn"):
            found["tarball"] = os.path.dirname(directory) + "/" + found["fn"]
        found["requested"] = self._requested(record, asked)
        found["count"] = len(record.words)
        found["tree"] = _tree(record.words)
        found["odd"] = record.odd
        return found

    def _credentials(self, record, url):
        if "@" in url.partition("?")[0] or "/t/" in url or "?" in url:
            self.machine.find(
                "credentials",
                self.prefix + "/" + META + "/" + record.file,
                "its URL held a password or token, which is not in this lock",
                "change that secret if others can read this environment",
            )

    def _requested(self, record, asked):
        specs = record.document.get("requested_specs")
        if not isinstance(specs, list):
            specs = [record.document.get("requested_spec")]
        specs = [utf8(each) for each in specs if isinstance(each, str) and each not in ("", "None")]
        return specs or asked.get(record.document["name"], [])

    def _channels(self):
        found = [bare_url(each) for each in condarc.channels(self.machine, self.prefix)]
        return [each for i, each in enumerate(found) if each not in found[:i]]

    def _variables(self):
        """Variables that ``conda env config vars set`` keeps, where they hold no secret."""
        text = self.machine.text(self.prefix + "/" + META + "/state", 1 << 20)
        try:
            document = json.loads(text or "{}")
        except (ValueError, RecursionError):
            self._damaged(self.prefix + "/" + META + "/state", "it is no JSON document")
            return {}
        values = document.get("env_vars") if isinstance(document, dict) else None
        kept = {}
        for name, value in sorted(values.items()) if isinstance(values, dict) else []:
            if not isinstance(value, str) or not re.match(r"[A-Za-z_][A-Za-z0-9_]*$", name):
                continue
            if unfit(value) is None and not _SECRET_NAME.search(name):
                kept[name] = value
            else:
                place = self.prefix + "/" + META + "/state"
                detail = "the variable %s is not kept: it may hold a secret" % name
                self.machine.find("credentials", place, detail, "set it anew after a rebuild")
        return kept

    def feed(self, digest):
        """Add to *digest* what changes when the environment does; the latest time of change."""
        from . import walk

        newest = 0
        for name in [*self.top(), META]:
            full = self.prefix + "/" + name
            if os.path.isdir(full):
                found = walk.walk(full)
                found.feed(digest)
                newest = max(newest, found.newest())
        return newest


def feed(prefix, digest, environ):
    """As :meth:`Prefix.feed`, the records unread; and the settings that hold in the prefix."""
    place = Prefix.__new__(Prefix)
    place.prefix = prefix
    newest = place.feed(digest)
    for path in condarc.places(environ, prefix):
        try:
            st = os.stat(path)
        except (OSError, ValueError):
            continue
        digest.update(utf8(path).encode("utf-8"))
        digest.update(files.stamps([st]))
        newest = max(newest, st.st_ctime_ns)
    return newest


def _channel(text, subdir):
    """A channel as mamba and rattler name it: conda itself puts the platform behind it."""
    head, _, last = text.rstrip("/").rpartition("/")
    return head if head and last in ("noarch", subdir) else text


def _plain(record):
    """What a record says that can be taken as it is, where it is of the right kind."""
    found = {"file": utf8(record.file)}
    for key in ("name", "version", "build", "subdir", "noarch", "fn", "license"):
        value = record.text(key)
        if value is not None:
            found[key] = value
    for key, digits in (("md5", 32), ("sha256", 64)):
        value = record.text(key, _HEX)
        if value is not None and len(value) == digits:
            found[key] = value
    for key in ("size", "build_number", "timestamp"):
        value = record.document.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53:
            found[key] = value
    for key in ("depends", "constrains"):
        value = record.document.get(key)
        if isinstance(value, list):
            found[key] = [utf8(each) for each in value if isinstance(each, str)]
    return found


def _tree(words):
    digest = hashlib.sha256()
    for path in sorted(words):
        digest.update(("%s\0%s\n" % (path, words[path])).encode("utf-8"))
    return digest.hexdigest()


def counts(path):
    """Whether a file is compared: bytecode is made anew at any time."""
    if path.kind == "pyc_file" or path.kind == "linked_package_record":
        return False
    return not ("__pycache__/" in path.path and path.path.endswith((".pyc", ".pyo")))


def _is_inside(path):
    if not isinstance(path, str) or not path or not is_utf8(path) or _CONTROL.search(path):
        return False
    return (
        not path.startswith("/") and ".." not in path.split("/") and path == os.path.normpath(path)
    )


def requested(history):
    """``{name: [spec]}`` of what a person asked for, by ``conda-meta/history``."""
    found = {}  # type: dict
    for line in history.splitlines():
        match = _SPECS.match(line)
        if match is None:
            continue
        for spec in re.findall(r"'([^']*)'|\"([^\"]*)\"", match.group(2)):
            spec = spec[0] or spec[1]
            name = _SPEC_NAME.match(spec)
            if name is None:
                continue
            if match.group(1) == "remove":
                found.pop(name.group(1), None)
            else:
                found[name.group(1)] = [utf8(spec)]
    return found


def virtual_packages():
    """What conda would say of this machine (CEP 30), but for the GPU."""
    found = ["__unix=0=0"]
    about = os.uname()
    if about.sysname == "Linux":
        match = re.match(r"\d+(\.\d+)*", about.release)
        found.append("__linux=%s=0" % (match.group(0) if match else "0"))
        try:
            libc = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        except (AttributeError, OSError, ValueError):
            libc = []
        if len(libc) == 2 and libc[0] == "glibc":
            found.append("__glibc=%s=0" % libc[1])
    found.append("__archspec=1=%s" % about.machine)
    return found
