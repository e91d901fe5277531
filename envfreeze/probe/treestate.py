"""What the answer about source trees rests on, made one digest: has anything of it changed?

More than can make a difference is looked at, never less: the stamps of all files of the trees but
of what :mod:`.trees` never keeps, and of the repositories their references, index and ignore
rules, with git's own settings. Objects are not: what one is named after does not change.
"""

import hashlib
import os

from . import git
from .files import STAMP, is_past
from .trees import SKIPPED, is_environment

MOST = 20000  # Files of all trees; looking at more would take longer than asking git.
SECONDS = 10  # For git, of all repositories together.
_CTIME = -2  # In a stamp.
_ASIDE = frozenset(("objects", "logs", "hooks", "lfs"))
_EXCLUDES = b"core.excludesfile\n"


class UnknownStateError(Exception):
    """It cannot be told cheaply, or not at all."""


class State(object):
    """The trees as they are now."""

    def __init__(self, program, environ):
        """*program*: the git to ask, or None. *environ*: where a person's ignore rules lie."""
        self.digest = hashlib.sha256()
        self.newest = 0  # The latest change of a file, in nanoseconds.
        self.directories = set()  # Of the trees: full paths of those that were looked into.
        self._program = program
        self._environ = environ
        self._left = MOST
        self._clock = git.Clock(SECONDS)
        self._repositories = set()
        self._feed("git", program, environ.get("HOME"))

    def add(self, root):
        """Look at one tree.

        :raises UnknownStateError: it has too many files, is an environment itself, or git does
            not answer.
        """
        self._feed("root", root)
        places = [place for place in (git.find(root),) if place]
        if places and places[0][0] != root:
            self._rules_above(root, places[0][0])
        for directory in self._walk(root):
            found = git.find(directory)
            if found is not None:
                places.append(found)
        for place in places:
            self._repository(*place)

    def covers(self, path):
        """Whether files in the directory *path* (a real path) were looked at."""
        return path in self.directories

    # --- the files of a tree ---

    def _walk(self, root):
        """The directories that hold a ``.git``."""
        repositories, pending = [], [root]
        while pending:
            place = pending.pop()
            entries = self._entries(place)
            if is_environment(entries):
                if place == root:
                    raise UnknownStateError("an environment, in place")
                continue
            self.directories.add(place)
            for name, entry in sorted(entries.items()):
                if name == ".git":
                    repositories.append(place)
                elif name in SKIPPED or name.endswith(".pyc"):
                    continue
                elif _is_directory(entry):
                    pending.append(place + "/" + name)
                else:
                    self._file(place + "/" + name)
        return repositories

    def _entries(self, place):
        try:
            with os.scandir(place) as entries:
                return {entry.name: entry for entry in entries}
        except OSError as error:
            self._feed("unreadable", place, error.errno)
            return {}

    def _file(self, path):
        """One more file; of a link, what it leads to, as well."""
        self._left -= 1
        if self._left < 0:
            raise UnknownStateError("more than %d files" % MOST)
        try:
            stamp = STAMP(os.lstat(path))
            self.newest = max(self.newest, stamp[_CTIME])
            self._feed(path, stamp, STAMP(os.stat(path))[:2] if os.path.islink(path) else ())
        except (OSError, ValueError) as error:
            self._feed(path, type(error).__name__)

    # --- what git knows ---

    def _repository(self, top, git_directory):
        if git_directory in self._repositories:
            return
        self._repositories.add(git_directory)
        self._file(top + "/.git")
        for directory in sorted({git_directory, git.common(git_directory)}):
            self._control(directory)
        if self._program is None:
            return
        repository = git.Repository(self._program, top, (top, git_directory), self._clock)
        try:
            settings = repository.run("config", "--list", "--show-origin", "-z", ok=(0, 1))
        except git.GitError as error:
            raise UnknownStateError(str(error))
        self.digest.update(settings)
        for path in self._ignore_files(settings):
            self._file(os.path.join(top, path))

    def _control(self, directory):
        """Files of a git directory that say what is checked out, tracked, ignored and pushed."""
        pending = [directory]
        while pending:
            place = pending.pop()
            for name, entry in sorted(self._entries(place).items()):
                path = place + "/" + name
                if not _is_directory(entry):
                    self._file(path)
                elif name not in _ASIDE or "/refs/" in path:
                    pending.append(path)

    def _ignore_files(self, settings):
        """gitignore(5): ``core.excludesFile``, and where that is not set."""
        home = self._environ.get("HOME") or os.path.expanduser("~")
        config = self._environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
        found = [os.path.join(config, "git", "ignore")]
        for record in settings.split(b"\0"):
            if record.lower().startswith(_EXCLUDES):
                found.append(os.path.expanduser(os.fsdecode(record[len(_EXCLUDES) :])))
        return [path for path in found if "\0" not in path]

    def _rules_above(self, root, top):
        """The ignore rules of a repository that begins above the tree, and its submodules."""
        place = root
        while place != top:
            place = os.path.dirname(place)
            self._file(place + "/.gitignore")
        self._file(top + "/.gitmodules")

    def _feed(self, *words):
        self.digest.update(repr(words).encode("utf-8", "surrogateescape"))


def _is_directory(entry):
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:  # Some file systems have to be asked.
        return False


def of(roots, program, environ):
    """The :class:`State` of these directories; None where it cannot be told, or is too fresh."""
    state = State(program, environ)
    try:
        for root in roots:
            state.add(root)
    except UnknownStateError:
        return None
    return state if is_past(state.newest) else None
