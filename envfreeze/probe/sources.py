"""Source trees outside the environment: which of their files belong to it, and their digests.

The rule gives the same files for a tree and for a copy of them without its repository:

- never what tools leave behind (:data:`SKIPPED`), nor environments that lie in the tree;
- without git, all other files;
- with git, what it tracks, as it lies on the disk; what it neither tracks nor ignores; and of
  what it ignores, what an import may need (:class:`Ignored`).
"""

import hashlib
import json
import os
import re
import stat

from . import files, git, pointers, roots
from .dists import MEMORY
from .machine import is_utf8

if False:  # For type checkers; the probe has no time to import it.
    from typing import Any  # noqa: F401

MAX_FILES = 50000
MAX_BYTES = 1 << 30
MAX_UNTRACKED = 1 << 26  # Bytes of one file that git does not track.

SKIPPED = frozenset(
    "__pycache__ .git .hg .svn .tox .nox .mypy_cache .pytest_cache .ruff_cache .hypothesis"
    " .ipynb_checkpoints node_modules".split()
)
_SUFFIXES = (".py", ".so", ".pyd", ".pth")
_METADATA = (".egg-info", ".dist-info")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
# What makes a directory an environment, and the parts of one made in the project's own directory.
_ENVIRONMENT = frozenset(("pyvenv.cfg", "conda-meta"))
_IN_PLACE = _ENVIRONMENT | frozenset("bin include lib lib64 share".split())
_BUILT = re.compile(r"(?:.*/)?(?:build|dist|htmlcov|target)$")
_BATCH = 500  # Files whose digests are remembered together.


class Trees(object):
    """All source trees of an environment."""

    def __init__(self, machine, hasher, found):
        """*found*: the :class:`roots.Root` objects, from ``roots.Finder``."""
        self.machine = machine
        self.roots = found
        self.own = []  # Real paths of the environment's directories.
        self._trees = []
        self._hasher = hasher

    def look(self, finder):
        """Choose the files, and start to hash them."""
        program = git.program(os.environ)
        if program is None:
            self._without_git()
        for root in self.roots:
            if root.problem:
                continue
            inner = [other.real for other in self.roots if other is not root]
            skipped = [p for p in inner + finder.own if p != root.real and root.holds(p)]
            tree = Tree(self.machine, root, {root.relative(path) for path in skipped})
            tree.prefixes = finder.prefixes
            tree.look(program)
            if not root.problem:
                tree.start(self._hasher)
                self._trees.append(tree)

    def _without_git(self):
        repositories = [root.path for root in self.roots if git.find(root.real)]
        if repositories:
            self.machine.find(
                "source-git",
                repositories[0],
                "no git on PATH: what it tracks and ignores here is not known, all is kept",
                "install git on the captured machine",
            )

    def finish(self):
        """After the hasher has run: the ``Source`` documents, and what to remember."""
        remember, documents = {}, {}
        for tree in self._trees:
            tree.finish()
            remember.update(tree.remember())
            documents[tree.root.key] = tree.document()
        for root in self.roots:
            if root.problem:
                documents[root.key] = _document(root)
        return [documents[key] for key in sorted(documents)], remember

    def spellings(self):
        """``[(directory as somebody spells it, key)]`` of the trees that are kept."""
        return [(text, tree.root.key) for tree in self._trees for text in tree.root.spellings]

    def neutralize(self, sites, dists):
        """Give the files that name a tree the digest of their neutral form."""
        spelt = self.spellings()
        if not spelt:
            return
        neutral = _Neutral(self.machine, spelt, {via for r in self.roots for via in r.via})
        for dist in dists:
            head = dist["site"] + "/"
            for row in dist["rows"] or ():
                # Most rows are of neither kind: a cheap question first.
                if row[0] == "site" and ("/" not in row[1] or row[1].endswith("url.json")):
                    row[2] = neutral.digest(head, row[1], row[2], row[3])
            if dist.get("direct_url"):
                dist["direct_url"] = neutral.direct_url(dist["direct_url"])
        for site in sites:
            for row in site["loose"]:
                if row[4] is not None:
                    row[4] = neutral.link(site["path"] + "/" + row[0], row[4])
                else:
                    row[1] = neutral.digest(site["path"] + "/", row[0], row[1], row[2])


class _Neutral(object):
    def __init__(self, machine, spelt, via):
        self.machine = machine
        self.spelt = spelt
        self.via = via

    def digest(self, head, path, sha256, size):
        """The digest of the neutral form of *path*; *sha256* where it is the same."""
        if sha256 is None or not pointers.is_pointer(path) or (size or 0) > pointers.LIMIT:
            return sha256
        data = self.machine.read(head + path, pointers.LIMIT)
        if data is None or hashlib.sha256(data).hexdigest() != sha256:
            return sha256  # A script's neutral digest, or a file that changes as we look.
        if pointers.keys(data):
            self.machine.find(
                "source-placeholder",
                head + path,
                "it holds a text that stands for a source tree in locks: kept as it is",
                "reinstall what it belongs to",
            )
            return sha256
        changed = pointers.neutral(path, data, self.spelt)
        if changed == data:
            if head + path in self.via:
                self.machine.find(
                    "source-relative",
                    head + path,
                    "it names a source tree in a way that cannot follow it to another place",
                    "write the tree's absolute path",
                )
            return sha256
        return hashlib.sha256(changed).hexdigest()

    def direct_url(self, text):
        data = text.encode("utf-8", "surrogatepass")
        if pointers.keys(data):
            return text
        changed = pointers.neutral("x.dist-info/direct_url.json", data, self.spelt)
        return changed.decode("utf-8", "surrogatepass")

    def link(self, place, target):
        if pointers.keys(os.fsencode(target)):
            return target
        full = os.path.normpath(os.path.join(os.path.dirname(place), target))
        changed = pointers.neutral_link(full, self.spelt)
        return target if changed == full else changed


class Tree(object):
    """One source tree."""

    def __init__(self, machine, root, skipped):
        self.machine = machine
        self.root = root
        self.skipped = skipped  # Relative paths of what belongs to somebody else.
        self.prefixes = []
        self.facts = None  # type: Any  # git.Facts, where git knows the tree
        self.regular = {}  # path: lstat
        self.links = {}  # path: text
        self.rows = []
        self._checks = []
        self._named = {}  # (kind, detail): paths, for the findings
        self._directories = {"": True}

    # --- which files ---

    def look(self, program):
        self.facts = self._ask_git(program)
        if self.facts is None:
            self.walk("", _all)
        else:
            self._listed()
        if not self.root.problem:
            self._check_links()
            self._limits()
        self._report()

    def _ask_git(self, program):
        place = program and git.find(self.root.real)
        if not place:
            return None
        try:
            facts = git.look(program, self.root.real, place)
        except git.GitError as error:
            self.machine.find(
                "source-git",
                self.root.path,
                "%s: which files it tracks and ignores is not known; all are kept" % error,
                "capture where git can read %s" % place[0],
            )
            return None
        if place[0] != self.root.real and not facts.tracked:
            return None  # It lies in somebody else's repository.
        if facts.credentials:
            self.machine.find(
                "credentials",
                self.root.path,
                "the URL of its git remote has a user, password or token; it is not kept",
                "keep it in a credential helper or in netrc, and take it out of the remote's URL",
            )
        return facts

    def _listed(self):
        """What git names, and what is ignored but needed."""
        named = sorted(self.facts.tracked) + self.facts.untracked
        environments = self._environments(named)
        in_place = _is_environment(self.entries(""))
        for path in named:
            if path.endswith("/") or any(path.startswith(head) for head in environments):
                continue
            if in_place and path not in self.facts.tracked and path.partition("/")[0] in _IN_PLACE:
                continue
            if self.take(path) and len(self.regular) + len(self.links) > MAX_FILES:
                break
        Ignored(self).look()

    @staticmethod
    def _environments(paths):
        heads = set()
        for path in paths:
            directory, _, name = path.rpartition("/")
            if name == "pyvenv.cfg" and directory:
                heads.add(directory + "/")
            elif directory.rpartition("/")[2] == "conda-meta" and "/" in directory:
                heads.add(directory.rpartition("/")[0] + "/")
        return heads

    def take(self, path):
        """Keep one path that git names. Returns whether it is there."""
        directory, _, name = path.rpartition("/")
        if name.endswith(".pyc") or name in SKIPPED or not self.is_ours(directory):
            return False
        if path.partition("/")[0] in _ENVIRONMENT:
            return False
        try:
            st = os.lstat(self.root.real + "/" + path)
        except (OSError, ValueError):
            return False
        if stat.S_ISDIR(st.st_mode):
            return False
        self._keep(path, st)
        return True

    def is_ours(self, directory):
        """Whether *directory* is one, reached through no link, and not left out by its name."""
        known = self._directories.get(directory)
        if known is None:
            above, _, name = directory.rpartition("/")
            try:
                known = (
                    self.is_ours(above)
                    and name not in SKIPPED
                    and directory not in self.skipped
                    and stat.S_ISDIR(os.lstat(self.root.real + "/" + directory).st_mode)
                )
            except (OSError, ValueError):
                known = False
            self._directories[directory] = known
        return known

    def _keep(self, path, st):
        if not is_utf8(path) or _CONTROL.search(path):
            self.note("not-utf8", "their names cannot be written down", path)
        elif stat.S_ISREG(st.st_mode):
            if st.st_size > MAX_UNTRACKED and self.facts and path not in self.facts.tracked:
                detail = "git does not track them, and each is larger than %s: left out"
                size = " (%d MiB)" % (st.st_size >> 20)
                self.note("source-large", detail % _mib(MAX_UNTRACKED), path + size)
            else:
                self.regular[path] = st
        elif stat.S_ISLNK(st.st_mode):
            try:
                text = os.readlink(self.root.real + "/" + path)
            except OSError:
                self.note("unreadable", "links that cannot be read: left out", path)
                return
            if is_utf8(text) and not _CONTROL.search(text):
                self.links[path] = text
            else:
                self.note("not-utf8", "what these links lead to cannot be written down", path)
        else:
            self.note("unreadable", "FIFOs, sockets or devices: they have no content", path)

    def walk(self, directory, wanted):
        """Keep all below *directory* of which *wanted* approves by name and path."""
        pending = [directory]
        while pending and len(self.regular) + len(self.links) <= MAX_FILES:
            place = pending.pop()
            entries = self.entries(place)
            if place and _is_environment(entries):
                continue
            in_place = not place and _is_environment(entries)
            for name, entry in sorted(entries.items(), reverse=True):
                path = place + "/" + name if place else name
                if name in SKIPPED or path in self.skipped or name.endswith(".pyc"):
                    continue
                if in_place and name in _IN_PLACE:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                elif wanted(path):
                    try:
                        self._keep(path, entry.stat(follow_symlinks=False))
                    except OSError:
                        continue

    def entries(self, directory):
        """``{name: os.DirEntry}``"""
        try:
            with os.scandir(self.root.real + "/" + directory) as entries:
                return {entry.name: entry for entry in entries}
        except OSError:
            self.note("unreadable", "directories that cannot be read", directory or ".")
            return {}

    # --- what to say about them ---

    def note(self, kind, detail, path):
        self._named.setdefault((kind, detail), []).append(path)

    def _report(self):
        for (kind, detail), paths in sorted(self._named.items()):
            self.machine.find(
                kind, self.root.path, "%s: %s" % (_some(paths), detail), _ADVICE[kind]
            )
        self._named = {}

    def _limits(self):
        total = sum(st.st_size for st in self.regular.values())
        count = len(self.regular) + len(self.links)
        if count <= MAX_FILES and total <= MAX_BYTES:
            if not self.facts:
                for path, st in self.regular.items():
                    if st.st_size > MAX_UNTRACKED:
                        size = " (%d MiB)" % (st.st_size >> 20)
                        self.note("source-size", "kept, and large", path + size)
            return
        if count > MAX_FILES:
            problem = "it has more than %d files" % MAX_FILES
        else:
            problem = "its files have %s, more than %s" % (_mib(total), _mib(MAX_BYTES))
        largest = sorted(self.regular, key=lambda path: -self.regular[path].st_size)[:3]
        sizes = ["%s (%d MiB)" % (path, self.regular[path].st_size >> 20) for path in largest]
        self.root.problem = problem
        self.machine.find(
            "source-large",
            self.root.path,
            "%s, so it is not kept; the largest: %s" % (problem, ", ".join(sizes)),
            "move data out of it, or let git ignore them",
        )

    def _check_links(self):
        inside = [self.root.real, *self.prefixes]
        for path, text in self.links.items():
            full = os.path.realpath(self.root.real + "/" + path)
            if not any(roots.is_below(full, directory) for directory in inside):
                self.note("source-outside", "links that lead out of the tree", path)
            elif os.path.isabs(text):
                spelt = [(spelling, self.root.key) for spelling in self.root.spellings]
                if not pointers.keys(os.fsencode(text)):
                    self.links[path] = pointers.neutral_link(os.path.normpath(text), spelt)

    # --- digests ---

    def start(self, hasher):
        """Rows for all files; their digests are recalled, or queued for hashing."""
        blob = self._blob()
        for path in sorted(self.regular.keys() | self.links.keys()):
            st = self.regular.get(path)
            if st is None:
                self.rows.append([path, None, 0, False, self.links[path]])
            else:
                self.rows.append([path, None, st.st_size, files.is_executable(st), None])
        group = [(row, self.regular[row[0]]) for row in self.rows if row[4] is None]
        for index in range(0, len(group), _BATCH):
            check = Check(self, group[index : index + _BATCH], blob)
            check.start(hasher)
            self._checks.append(check)

    def _blob(self):
        """The hash that names git's objects here; None: there is nothing to compare with."""
        for _, name in (self.facts.tree if self.facts else {}).values():
            return "sha256" if len(name) == 64 else "sha1"
        return None

    def finish(self):
        self.names = {}  # path: name of the blob that has its content
        for check in self._checks:
            self.names.update(check.finish())
        for row in self.rows:
            if row[1] is None and row[4] is None:
                self.note("unreadable", "they cannot be read", row[0])
        self.modified = self._modified() if self.facts else []
        self._report()

    def remember(self):
        found = {}
        for check in self._checks:
            notable = check.notable()
            if notable is not None:
                found[check.fingerprint] = notable
        return found

    # --- how it differs from its commit ---

    def _modified(self):
        """Paths that are not as the commit has them."""
        facts, found, other = self.facts, list(self.facts.moved), []
        rows = {row[0]: row for row in self.rows}
        for path, (mode, name) in facts.tree.items():
            if mode == git.GITLINK or _is_skipped(path):
                continue
            row = rows.get(path)
            if row is None:
                found.append(path)
            elif row[4] is not None:
                if mode != git.LINK or _blob_name(os.fsencode(self._link(path)), name) != name:
                    found.append(path)
            elif self.names.get(path) != name:
                other.append((path, name))
            elif self._mode_differs(row, mode):
                found.append(path)
        try:
            return sorted(found + self._truly(other))
        except git.GitError:
            return sorted(found + [path for path, _ in other])

    def _link(self, path):
        try:
            return os.readlink(self.root.real + "/" + path)
        except OSError:
            return ""

    def _mode_differs(self, row, mode):
        if mode == git.LINK:
            return self.facts.links
        return self.facts.modes and row[3] != (mode == "100755")

    def _truly(self, others):
        """Those of *others* that git-lfs or line endings do not explain: files as checked out."""
        found, groups = [], {}  # type: list, dict
        for path, name in others:
            repository, _ = self.facts.repository_of(path)
            groups.setdefault(repository, []).append((path, name))
        digests = {row[0]: row[1] for row in self.rows}
        for repository, items in groups.items():
            blobs = repository.blobs(sorted({name for _, name in items}))
            for path, name in items:
                wanted = git.absent_content(blobs.get(name, b""))
                if wanted is not None and wanted == digests[path]:
                    continue
                data = self.machine.read(self.root.real + "/" + path, 1 << 24) or b""
                if b"\r\n" in data and _blob_name(data.replace(b"\r\n", b"\n"), name) == name:
                    continue
                found.append(path)
        return found

    # --- the document ---

    def document(self):
        document = _document(self.root)
        document["files"] = self.rows
        if self.facts is not None:
            self._absent_content()
            document["repository"] = self._repository()
        return document

    def _repository(self):
        facts = self.facts
        found = {
            "commit": facts.commit,
            "pushed": facts.pushed,
            "subdirectory": facts.subdirectory,
            "modified": self.modified,
            "untracked": [row[0] for row in self.rows if row[0] not in facts.tree],
            "submodules": facts.submodules,
        }
        for name, value in (("branch", facts.branch), ("url", facts.url)):
            if value is not None and is_utf8(value):
                found[name] = value
        found["modified"] = [path for path in found["modified"] if is_utf8(path)]
        found["submodules"] = [
            s for s in facts.submodules if is_utf8("".join(filter(None, s.values())))
        ]
        return found

    def _absent_content(self):
        """Say which files are git-lfs pointers whose content was never fetched."""
        attributes = [path for path in self.regular if path.rpartition("/")[2] == ".gitattributes"]
        texts = [self.machine.read(self.root.real + "/" + path, 1 << 20) for path in attributes]
        if not any(b"filter=lfs" in (text or b"") for text in texts):
            return
        for path, st in sorted(self.regular.items()):
            if 100 < st.st_size <= git.POINTER_LIMIT and path in self.facts.tracked:
                data = self.machine.read(self.root.real + "/" + path, git.POINTER_LIMIT) or b""
                if git.absent_content(data):
                    self.note("source-lfs", "git-lfs pointers whose content is not here", path)
        self._report()


class Check(object):
    """Hashes some files of a tree, or recalls their digests."""

    def __init__(self, tree, group, blob):
        self.tree = tree
        self.group = group  # [(row, lstat)]
        self.blob = blob
        self.names = [None] * len(group)  # type: list
        text = json.dumps([MEMORY, "source", blob, tree.root.real, [row[0] for row, _ in group]])
        digest = hashlib.sha256(text.encode("ascii"))
        digest.update(files.stamps([st for _, st in group]))
        self.fingerprint = digest.hexdigest()
        known = None if tree.machine.rehash else tree.machine.known.get(self.fingerprint)
        self._known = known

    def start(self, hasher):
        for index, (row, _) in enumerate(self.group):
            if self._known is not None:
                sha256, _, name = (self._known.get(str(index)) or "").partition(":")
                row[1], self.names[index] = sha256 or None, name or None
            else:
                place = self.tree.root.real + "/" + row[0]
                hasher.add(place, self._setter(index), size=row[2], blob=self.blob)

    def _setter(self, index):
        def done(sha256, name):
            self.group[index][0][1] = sha256
            self.names[index] = name

        return done

    def finish(self):
        return {row[0]: name for (row, _), name in zip(self.group, self.names)}  # noqa: B905

    def notable(self):
        """What to remember, if anything."""
        whole = all(row[1] for row, _ in self.group)
        if self._known is not None or not whole:
            return None
        if not files.settled([st for _, st in self.group]):
            return None
        return {
            str(index): row[1] if name is None else row[1] + ":" + name
            for index, ((row, _), name) in enumerate(zip(self.group, self.names))  # noqa: B905
        }


class Ignored(object):
    """Of what git ignores, what an import may need.

    Below a directory that modules are imported from, through directories that are packages
    (git tracks something in them, or they have an ``__init__.py``): the importable files, and in
    packages the data beside them. Metadata of the project itself. And whole directories that a
    pointer names and of which git tracks nothing: built extensions, directories of links.
    """

    def __init__(self, tree):
        self.tree = tree
        self.have = set(tree.regular) | set(tree.links)
        self.directories = {""}  # That hold something that git names.
        for path in self.have:
            above = path.rpartition("/")[0]
            while above not in self.directories:
                self.directories.add(above)
                above = above.rpartition("/")[0]

    def look(self):
        root = self.tree.root
        for start in sorted(root.imports | root.packages):
            if start not in self.directories and self.tree.is_ours(start):
                self.tree.walk(start, self._is_new)
        self._metadata("")
        for start in sorted(root.imports):
            self._metadata(start)
            self._descend(start, False)
        for start in sorted(root.packages):
            self._descend(start, start != "")
        for path in root.modules:
            if path not in self.have:
                self.tree.take(path)

    def _is_new(self, path):
        return path not in self.have

    def _metadata(self, directory):
        if directory in self.directories:
            for name in self.tree.entries(directory):
                path = directory + "/" + name if directory else name
                if name.endswith(_METADATA) and self.tree.is_ours(path):
                    self.tree.walk(path, self._is_new)

    def _descend(self, start, package):
        if start not in self.directories:
            return
        pending = [(start, package)]
        while pending:
            directory, package = pending.pop()
            entries = self.tree.entries(directory)
            if directory and _is_environment(entries):
                continue
            package = package or "__init__.py" in entries
            for name, entry in entries.items():
                path = directory + "/" + name if directory else name
                if name in SKIPPED or name.startswith(".") or path in self.have:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if self._is_way(path, package):
                        pending.append((path, package))
                elif name.endswith(_SUFFIXES) or (package and _is_data(name)):
                    self.tree.take(path)

    def _is_way(self, path, package):
        """Whether to look into the directory at *path*, in one that may be a *package*."""
        if path in self.tree.skipped or path.endswith(_METADATA):
            return False
        if path in self.directories:
            return True
        names = self.tree.entries(path)
        if "__init__.py" in names:
            return True
        if package and not _BUILT.match(path) and any(map(_is_content, names)):
            detail = "ignored by git, in a package, and without tracked files: left out"
            self.tree.note("source-ignored", detail, path + "/")
        return False


_ADVICE = {
    "credentials": "",
    "not-utf8": "rename them",
    "source-ignored": "if they are needed, let git track them, or add an exception to .gitignore",
    "source-large": "if they are needed, let git track them",
    "source-lfs": "run git lfs pull",
    "source-size": "move data out of the tree, if it is none of the program",
    "source-outside": "copy what they lead to into the tree",
    "unreadable": "capture as a user who may read them",
}


def _all(_path):
    return True


def _is_environment(names):
    return not _ENVIRONMENT.isdisjoint(names)


def _is_skipped(path):
    return path.endswith(".pyc") or any(part in SKIPPED for part in path.split("/"))


def _is_content(name):
    return name not in SKIPPED and not name.startswith(".") and _is_data(name)


def _is_data(name):
    return not name.endswith((".pyc", ".swp", "~", ".orig", ".rej", ".o"))


def _blob_name(data, like):
    """The name of a git object with the content *data*, made as the name *like* was."""
    name = hashlib.new("sha256" if len(like) == 64 else "sha1", b"blob %d\0" % len(data))
    name.update(data)
    return name.hexdigest()


def _some(paths):
    shown = ", ".join(sorted(paths)[:5]) + (", ..." if len(paths) > 5 else "")
    return "%d (%s)" % (len(paths), shown)


def _mib(size):
    return "%d MiB" % (size >> 20)


def _document(root):
    document = {
        "key": root.key,
        "root": root.real,
        "spellings": root.spellings,
        "via": sorted(root.via),
        "imports": sorted(root.imports),
        "dists": sorted(root.dists),
        "files": [],
    }
    if root.problem:
        document["problem"] = root.problem
    return document
