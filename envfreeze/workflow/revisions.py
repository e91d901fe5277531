"""A lock as a revision of its git repository has it.

git is asked as a program, never through a shell, and what it is asked for cannot be taken for an
option. No filter, text conversion or hook of the repository runs: only objects are read.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from envfreeze.errors import LockError, UsageError

PREFIX = "git:"
"""``git:REVISION:PATH`` is a side of a comparison."""
_REVISION = re.compile(r"[^\x00-\x20\x7f:~^?*\[\\-][^\x00-\x20\x7f:?*\[\\]*")
_HINT = "It is a commit, a tag or a branch: git log --oneline -- LOCK shows where the lock changed."
_DROPPED = ("GIT_EXTERNAL_DIFF", "GIT_PAGER", "GIT_TRACE")


def sides(revisions: str, lock: Path) -> tuple[str, str]:
    """The two sides that ``--git REVISIONS LOCK`` compares: ``REV`` with the lock as it lies here,
    ``A..B``, or ``A...B``, from where the two parted."""
    one, dots, two = revisions.partition("...")
    if not dots:
        one, dots, two = revisions.partition("..")
    if not dots:
        return f"{PREFIX}{_checked(one)}:{lock}", str(lock)
    one, two = _checked(one or "HEAD"), _checked(two or "HEAD")
    if len(dots) == len("..."):
        one = _parted(one, two, lock.parent)
    return f"{PREFIX}{one}:{lock}", f"{PREFIX}{two}:{lock}"


def read(side: str) -> tuple[bytes, Path]:
    """The lock of ``git:REVISION:PATH``, and where it lies in the working tree.

    :raises UsageError: there is no git, no repository or no such revision.
    :raises LockError: the revision has no such file.
    """
    revision, _, name = side.removeprefix(PREFIX).partition(":")
    path = Path(name)
    if not path.name:
        raise UsageError(f"{side} names no lock", hint="For example: git:HEAD:env.lock")
    commit = _commit(_checked(revision), path.parent)
    # Not "git show": that runs the text conversion which the repository asks for.
    blob = f"{commit}:./{path.name}"
    done = git(path.parent, "cat-file", "blob", blob)
    if done.returncode:
        raise LockError(
            f"{path} is not in the revision {revision}",
            hint=f"See which have it: git log --oneline -- {path}",
        )
    return done.stdout, path


def _checked(revision: str) -> str:
    if not _REVISION.fullmatch(revision):
        raise UsageError(f"--git {revision!r}: not the name of a revision", hint=_HINT)
    return revision


def _commit(revision: str, directory: Path) -> str:
    find_repository(directory)
    done = git(directory, "rev-parse", "--verify", "--quiet", revision + "^{commit}")
    commit = done.stdout.decode("ascii", "replace").strip()
    if done.returncode or not re.fullmatch(r"[0-9a-f]{40,64}", commit):
        raise UsageError(f"there is no revision {revision} in this repository", hint=_HINT)
    return commit


def _parted(one: str, two: str, directory: Path) -> str:
    commits = _commit(one, directory), _commit(two, directory)
    done = git(directory, "merge-base", *commits)
    if done.returncode:
        raise UsageError(
            f"{one} and {two} have no commit in common",
            hint=f"Compare the two as they are: {one}..{two}. Of a shallow clone, fetch more.",
        )
    return done.stdout.decode("ascii", "replace").split()[0]


def find_repository(directory: Path) -> Path:
    """The top of the working tree that *directory* lies in.

    :raises UsageError: there is none, or git will not say.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory}: no such directory", hint="Give the path of the lock.")
    done = git(directory, "rev-parse", "--show-toplevel")
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise UsageError(
            f"{directory.absolute()} is in no git repository that can be read"
            + (f":\n{said[0]}" if said else ""),
            hint="Call it in the repository of the lock, or give the lock's path.",
        )
    return Path(os.fsdecode(done.stdout.rstrip(b"\n")))


def git(directory: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run ``git ARGUMENTS`` in *directory*; its exit status is for the caller.

    :raises UsageError: git is not installed.
    """
    argv = ["git", "--no-pager", "-c", "core.fsmonitor=false", *arguments]
    try:
        return subprocess.run(
            argv,
            cwd=directory,
            env=_environ(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise UsageError(
            "git is not installed: there is no such program on PATH",
            hint="Install git, or compare two lock files: envfreeze diff A B",
        ) from error


def _environ(environ: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in environ.items() if name not in _DROPPED}
    return {**kept, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
