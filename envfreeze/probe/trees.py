"""Which files belong to a source tree.

The rule gives the same files for a tree and for a copy of them without its repository:

- never what tools leave behind (:data:`SKIPPED`), nor environments that lie in the tree;
- without git, all other files;
- with git, what it tracks, as it lies on the disk; what it neither tracks nor ignores; and of
  what it ignores, what an import may need (:class:`Ignored`).
"""

import os
import re
import stat

from . import git, pointers, roots
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

    def look(self, program, seconds):
        """Choose the files. *program*: the git to ask, or None; *seconds*: it has for that."""
        if not os.access(self.root.real, os.R_OK | os.X_OK):
            self.root.problem = "it cannot be read"
            self.note("unreadable", "directories that cannot be read", ".")
        else:
            self.facts = self._ask_git(program, seconds)
            if self.facts is None:
                self.walk("", _all)
            else:
                self._listed()
            self._check_links()
            self._limits()
        self.report()

    def _ask_git(self, program, seconds):
        place = program and git.find(self.root.real)
        if not place:
            return None
        try:
            facts = git.look(program, self.root.real, place, seconds)
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
        in_place = is_environment(self.entries(""))
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
            for part in (path, directory):
                above, _, name = part.rpartition("/")
                if name == "conda-meta" and above:
                    heads.add(above + "/")
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
            if place and is_environment(entries):
                continue
            in_place = not place and is_environment(entries)
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
        """Something to say about *path*; all that is said of the kind becomes one finding."""
        self._named.setdefault((kind, detail), set()).add(path)

    def report(self):
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
        spelt = [(spelling, self.root.key) for spelling in self.root.spellings]
        for path, text in sorted(self.links.items()):
            full = os.path.realpath(self.root.real + "/" + path)
            if pointers.keys(os.fsencode(text)):
                self.note("source-placeholder", "links with a text that has a meaning here", path)
                del self.links[path]
            elif not any(roots.is_below(full, directory) for directory in inside):
                self.note("source-outside", "links that lead out of the tree", path)
            elif os.path.isabs(text):
                self.links[path] = pointers.neutral_link(os.path.normpath(text), spelt)


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
            if directory and is_environment(entries):
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
    "not-utf8": "rename them",
    "source-ignored": "if they are needed, let git track them, or add an exception to .gitignore",
    "source-large": "if they are needed, let git track them",
    "source-size": "move data out of the tree, if it is none of the program",
    "source-lfs": "run git lfs pull",
    "source-placeholder": "link to something else: these are left out",
    "source-outside": "copy what they lead to into the tree",
    "unreadable": "capture as a user who may read them",
}


def _all(_path):
    return True


def is_environment(names):
    return not _ENVIRONMENT.isdisjoint(names)


def is_skipped(path):
    return path.endswith(".pyc") or any(part in SKIPPED for part in path.split("/"))


def _is_content(name):
    return name not in SKIPPED and not name.startswith(".") and _is_data(name)


def _is_data(name):
    return not name.endswith((".pyc", ".swp", "~", ".orig", ".rej", ".o"))


def _some(paths):
    shown = ", ".join(sorted(paths)[:5]) + (", ..." if len(paths) > 5 else "")
    return "%d (%s)" % (len(paths), shown)


def _mib(size):
    return "%d MiB" % (size >> 20)
