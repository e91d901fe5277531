"""What git knows of a directory, asked without running anything that the repository says.

A repository may be anybody's, and its configuration can name programs. So git is called for
plumbing that reads the index, trees, references and ignore rules, never for what would look into
the files of the work tree (that is where filters run): content is compared by :mod:`.sources`.
Its directory is named outright, so that neither ownership nor ``core.worktree`` comes into it;
all transports are refused, for a partial clone would fetch what it lacks.
"""

import os
import re
import subprocess
import threading
import time

from . import urls

SECONDS = 30  # For all questions about one repository, its submodules included.
OUTPUT = 1 << 26  # Bytes of one answer.
DEPTH = 8  # Submodules within submodules.
NESTED = 500  # Submodules in all.

GITLINK = "160000"
LINK = "120000"

_OPTIONS = (
    "--no-pager",
    "--literal-pathspecs",
    "-c",
    "core.fsmonitor=",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.sshCommand=false",
    "-c",
    "core.quotePath=false",
    "-c",
    "credential.helper=",
    "-c",
    "protocol.allow=never",
)
_ENVIRON = {
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*oid sha256:(\w{64})\n"
)
POINTER_LIMIT = 1024  # Bytes, git-lfs: docs/spec.md.


class GitError(Exception):
    """Git is not there, does not answer, or does not take this for a repository."""


class Facts(object):
    """A repository as seen from a directory in it; all paths are relative to that directory."""

    def __init__(self):
        self.commit = None
        self.branch = None
        self.url = None
        self.credentials = False  # The remote's URL had some.
        self.pushed = False  # It, and what is checked out of its submodules.
        self.subdirectory = ""
        self.tracked = set()
        self.untracked = []  # Not ignored.
        self.tree = {}  # path: (mode, object id) in the commit
        self.submodules = []  # {"path":, "commit":, "url":}, in the shape of a Snapshot
        self.moved = []  # Submodules that are at another commit than the one recorded.
        self.modes = True  # Whether the disk can tell executable files.
        self.links = True
        self.repositories = []  # [(prefix, Repository)], for objects

    def repository_of(self, path):
        """The innermost :class:`Repository` that holds *path*."""
        holding = [item for item in self.repositories if path.startswith(item[0])]
        return max(holding, key=lambda item: len(item[0]))[1]


def program(environ):
    """The git on PATH, or None. Entries that depend on the current directory do not count."""
    for directory in _path(environ).split(os.pathsep):
        candidate = os.path.join(directory, "git")
        if directory and os.access(candidate, os.X_OK) and os.path.isfile(candidate):
            return candidate
    return None


def _path(environ):
    entries = environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(entry for entry in entries if os.path.isabs(entry))


def find(directory):
    """``(work tree, git directory)`` of the repository around *directory*, or None."""
    place = directory
    while True:
        found = _git_directory(place)
        if found is not None:
            return place, found
        above = os.path.dirname(place)
        if above == place:
            return None
        place = above


def _git_directory(place):
    """What ``.git`` in *place* is, or leads to (gitrepository-layout(5)); None: there is none."""
    path = os.path.join(place, ".git")
    if os.path.isdir(path):
        return path
    try:
        if not os.path.isfile(path):
            return None
        with open(path, "rb") as file:
            text = file.read(1 << 13)
    except OSError:
        return None
    if not text.startswith(b"gitdir: ") or b"\0" in text:
        return None
    return os.path.normpath(os.path.join(place, os.fsdecode(text[8:].rstrip(b"\r\n"))))


class Clock(object):
    """The time that is left for all questions together."""

    def __init__(self, seconds=SECONDS):
        self.end = time.monotonic() + seconds
        self.nested = 0

    def left(self):
        left = self.end - time.monotonic()
        if left <= 0:
            raise GitError("git did not answer in time")
        return left


class Repository(object):
    """One repository, asked from a directory of its work tree."""

    def __init__(self, git, directory, place, clock):
        self.git = git
        self.directory = directory
        self.top, self.git_directory = place
        self.clock = clock

    def run(self, *arguments, **more):
        """What git prints (bytes). *ok*: exit statuses that are answers too; *given*: its input.

        :raises GitError: it fails, takes too long, or says too much.
        """
        ok, given = more.get("ok", (0,)), more.get("given")
        command = [self.git, "--git-dir=" + self.git_directory, "--work-tree=" + self.top]
        environ = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        environ.update(_ENVIRON, PATH=_path(os.environ))
        left = self.clock.left()
        try:
            process = subprocess.Popen(
                command + list(_OPTIONS) + list(arguments),
                cwd=self.directory,
                env=environ,
                stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise GitError("git cannot be run: %s" % error)
        with process:
            timer = threading.Timer(left, _kill, (process,))
            timer.start()
            try:
                output = _converse(process, given)
            finally:
                timer.cancel()
                timer.join()  # A later fork should find no other thread.
                if process.poll() is None and len(output) > OUTPUT:
                    _kill(process)
        self.clock.left()
        if len(output) > OUTPUT:
            raise GitError("git names more than can be looked at")
        if process.returncode not in ok:
            raise GitError("git %s fails with status %d" % (arguments[0], process.returncode))
        return output

    def words(self, *arguments, **more):
        """The output's first line as text; None where there is none."""
        line = self.run(*arguments, **more).partition(b"\n")[0]
        return os.fsdecode(line) or None

    def paths(self, *arguments):
        """NUL-terminated records of the output, each as text."""
        return [os.fsdecode(part) for part in self.run(*arguments).split(b"\0")[:-1]]

    def settings(self, pattern, *where):
        """``[(key, value)]`` of the configuration's keys that match."""
        found = self.run("config", *where, "-z", "--get-regexp", pattern, ok=(0, 1))
        pairs = [os.fsdecode(part).partition("\n") for part in found.split(b"\0")[:-1]]
        return [(key, value) for key, _, value in pairs]

    def blobs(self, names):
        """``{object id: content}`` of those of *names* that are small enough for a pointer."""
        if not names:
            return {}
        given = "".join(name + "\n" for name in names).encode("ascii")
        small = []
        for line in self.run("cat-file", "--batch-check", given=given).splitlines():
            parts = line.split()
            if len(parts) == 3 and parts[1] == b"blob" and int(parts[2]) <= POINTER_LIMIT:
                small.append((parts[0], int(parts[2])))
        given = b"".join(name + b"\n" for name, _ in small)
        output, start, found = self.run("cat-file", "--batch", given=given), 0, {}
        for name, size in small:
            start = output.index(b"\n", start) + 1
            found[name.decode("ascii")] = output[start : start + size]
            start += size + 1
        return found


def _kill(process):
    import signal

    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        process.kill()


def _converse(process, given):
    if given is not None:
        writer = threading.Thread(target=_feed, args=(process.stdin, given), daemon=True)
        writer.start()
    parts, size = [], 0
    while size <= OUTPUT:
        part = process.stdout.read(1 << 20)
        if not part:
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _feed(pipe, given):
    try:
        pipe.write(given)
        pipe.close()
    except (OSError, ValueError):
        pass


def look(git, directory, place, seconds=SECONDS):
    """The :class:`Facts` of the repository at *place* (see :func:`find`), from *directory*.

    :raises GitError: git does not answer.
    """
    facts = Facts()
    repository = Repository(git, directory, place, Clock(min(seconds, SECONDS)))
    _look(repository, facts, "", 0)
    facts.subdirectory = os.path.relpath(directory, place[0]).replace(os.sep, "/")
    if facts.subdirectory == ".":
        facts.subdirectory = ""
    return facts


def _look(repository, facts, prefix, depth):
    """Add what *repository* has to *facts*, its paths below *prefix*. Returns its own facts."""
    facts.repositories.append((prefix, repository))
    own = facts if not prefix else Facts()
    own.commit = repository.words("rev-parse", "--verify", "--quiet", "HEAD^{commit}", ok=(0, 1))
    _settings(repository, own)
    linked = {}
    for record in repository.paths("ls-files", "-z", "--stage"):
        about, _, path = record.partition("\t")
        mode, name = about.split(" ")[:2]
        if not is_plain(path):
            continue
        if mode == GITLINK:
            linked[path] = name
        else:
            facts.tracked.add(prefix + path)
    others = repository.paths("ls-files", "-z", "--others", "--exclude-standard")
    nested = [path.rstrip("/") for path in others if path.endswith("/")]
    facts.untracked += [prefix + p for p in others if is_plain(p)]
    if own.commit:
        for record in repository.paths("ls-tree", "-r", "-z", own.commit):
            about, _, path = record.partition("\t")
            mode, _, name = about.split(" ")[:3]
            facts.tree[prefix + path] = (mode, name)
    for path in sorted(set(linked) | {path for path in nested if is_plain(path)}):
        _nested(repository, facts, (prefix, path, linked.get(path)), depth + 1)
    return own


def is_plain(path):
    """Whether *path* stays below where it starts; an index is a file like any other."""
    return bool(path) and not any(part in ("", ".", "..") for part in path.split("/"))


def _settings(repository, facts):
    """Branch, remote, and what this disk can tell."""
    found = repository.settings(r"^(remote\..*\.url|branch\..*\.remote|core\.(filemode|symlinks))$")
    values = dict(reversed(found))  # Of several URLs of a remote, git fetches from the first.
    last = dict(found)
    facts.modes = last.get("core.filemode", "true").lower() not in ("false", "no", "off", "0")
    facts.links = last.get("core.symlinks", "true").lower() not in ("false", "no", "off", "0")
    facts.branch = repository.words("symbolic-ref", "--quiet", "--short", "HEAD", ok=(0, 1))
    remotes = sorted(key[len("remote.") : -len(".url")] for key in values if key.endswith(".url"))
    followed = last.get("branch.%s.remote" % facts.branch)
    order = [name for name in (followed, "origin") if name in remotes] + remotes
    holder = _holder(repository, facts.commit, order) if order and facts.commit else None
    facts.pushed = holder is not None
    if order:
        url = values["remote.%s.url" % (holder or order[0])]
        facts.url = without_credentials(url)
        facts.credentials = facts.url != url


def _holder(repository, commit, remotes):
    """The first of *remotes* that is known to have *commit*, or None.

    By its remote-tracking branches; or, where git was told to fetch one commit alone, by what it
    noted then: only what came from elsewhere is the end of a shallow history (``shallow``).
    """
    pattern = "--format=%(refname)"
    output = repository.run("for-each-ref", pattern, "--contains", commit, "refs/remotes")
    names = os.fsdecode(output).splitlines()
    for remote in remotes:
        if any(name.startswith("refs/remotes/%s/" % remote) for name in names):
            return remote
    shared = common(repository.git_directory)
    for path in (shared + "/shallow", repository.git_directory + "/FETCH_HEAD"):
        if any(line.split()[:1] == [commit.encode("ascii")] for line in _lines(path)):
            return remotes[0]
    return None


def common(git_directory):
    """The directory that the work trees of a repository share (gitrepository-layout(5))."""
    for line in _lines(git_directory + "/commondir"):
        return os.path.join(git_directory, os.fsdecode(line))
    return git_directory


def _lines(path):
    try:
        if not os.path.isfile(path):
            return []
        with open(path, "rb") as file:
            return file.read(1 << 20).splitlines()
    except (OSError, ValueError):
        return []


def _nested(outer, facts, where, depth):
    """A submodule, or a repository of its own inside the tree: its files belong to the tree."""
    prefix, path, recorded = where
    directory = os.path.join(outer.directory, path)
    found = {"path": prefix + path, "commit": recorded}
    url = _declared_url(outer, path)
    place = None
    # Through no link: an index may claim a directory that lies elsewhere.
    if os.path.realpath(directory) == os.path.join(os.path.realpath(outer.directory), path):
        git_directory = _git_directory(directory)
        place = git_directory and (directory, git_directory)
    outer.clock.nested += 1
    if place and depth < DEPTH and outer.clock.nested <= NESTED:
        inner = Repository(outer.git, directory, place, outer.clock)
        own = _look(inner, facts, prefix + path + "/", depth)
        found["commit"], url = own.commit, own.url or url
        facts.credentials = facts.credentials or own.credentials
        facts.pushed = facts.pushed and own.pushed
        in_commit = facts.tree.get(prefix + path)
        if in_commit and in_commit != (GITLINK, own.commit):
            facts.moved.append(prefix + path)
    if url:
        found["url"] = without_credentials(url)
    facts.submodules.append(found)


def _declared_url(repository, path):
    """What ``.gitmodules`` says where *path* comes from."""
    modules = os.path.join(repository.top, ".gitmodules")
    if not os.path.isfile(modules) or os.path.islink(modules):
        return None
    there = os.path.relpath(os.path.join(repository.directory, path), repository.top)
    found = dict(repository.settings(r"^submodule\..*\.(path|url)$", "-f", modules))
    for key, value in found.items():
        if key.endswith(".path") and value == there:
            return found.get(key[: -len("path")] + "url")
    return None


_HTTP = re.compile(r"(?i)^([a-z][a-z0-9+.-]*://)([^/?#]*@)?([^?#]*)(.*)$", re.S)


def without_credentials(url):
    """*url* without user, password, token and query; of ssh, the user stays: it is no secret.

    What is no URL (``git@host:path``, a path) stays as it is.
    """
    url = urls.with_slashes(urls.bare_scp(url))
    match = _HTTP.match(url)
    if match is None:
        return url
    scheme, user, rest, query = match.groups()
    rest = urls.bare_path(rest)
    user = user or ""
    if scheme.lower() in ("ssh://", "git+ssh://", "ssh+git://"):
        name = user.rstrip("@").partition(":")[0]
        user = name + "@" if name else ""
    elif scheme.lower() == "file://":
        rest += query
        query = ""
    else:
        user = ""
    return scheme + user + rest


def absent_content(data):
    """The sha256 (hex) of the file that *data* (bytes) stands for in git-lfs, or None."""
    match = _POINTER.match(data) if len(data) <= POINTER_LIMIT else None
    return match.group(1).decode("ascii") if match else None
