"""What git calls to show a lock, and what sets that up.

``git diff`` calls a driver's ``command`` with both files; ``git log -p`` and ``git show`` call no
command (but under ``--ext-diff``) and compare what the driver's ``textconv`` prints. So there are
both. Neither fails: where a file is no lock of ours, git shows what it would have shown.

Source: gitattributes(5), "Defining an external diff driver", "Performing text diffs of binary
files"; git(1), ``GIT_EXTERNAL_DIFF``.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from envfreeze.diff import judge, plain
from envfreeze.diff.compare import Difference
from envfreeze.diff.judge import Judgement
from envfreeze.errors import EnvfreezeError, UsageError
from envfreeze.store import disk_errors, write_atomic
from envfreeze.workflow import comparing, judging
from envfreeze.workflow.context import Context, load
from envfreeze.workflow.revisions import find_repository, git

NAME = "envfreeze"
"""Of the driver: ``diff=envfreeze`` in ``.gitattributes``."""
_ABSENT = Path(os.devnull)
_OURS = re.compile(r"(.*[/ ])?envfreeze'? git (diff|text) --")
"""What an envfreeze has set that was installed elsewhere."""
_PLAIN = re.compile(r"[A-Za-z0-9_.+@=/-]+")


def text(path: Path) -> bytes:
    """What ``textconv`` prints: the lock, a fact a line; of anything else the file itself."""
    try:
        return plain.as_plain(load(path)).encode()
    except EnvfreezeError:
        return _read(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What there is to say of one path."""

    head: str
    """The line that git's own diff would begin with."""
    judgement: Judgement | None = None
    """None: one side, or both, is no lock of ours; or there is only one."""
    text: str = ""
    """What is shown in its stead."""


def shown(arguments: list[str], context: Context) -> Shown:
    """What git's external diff is to print.

    :param arguments: ``PATH OLD-FILE OLD-HEX OLD-MODE NEW-FILE NEW-HEX NEW-MODE``, of a renamed
        file the new path and what git says of it, too; of an unmerged one the path alone.
    """
    path = arguments[0] if arguments else "?"
    if len(arguments) < 7:
        return Shown(head=f"* Unmerged path {path}")
    to = arguments[7] if len(arguments) > 7 else path
    old, new = Path(arguments[1]), Path(arguments[4])
    head = f"diff --envfreeze a/{path} b/{to}"
    if _ABSENT not in {old, new}:
        try:
            found = comparing.diff_locks(old, new, context)
            found = replace(found, before=f"a/{path}", after=f"b/{to}")
            return Shown(head=head, judgement=_judged(found))
        except EnvfreezeError:
            pass
        one, two = _read(old), _read(new)  # Such as the file lies there, not its facts.
    else:
        one, two = text(old), text(new)
    return Shown(head=head, text=_unified(to, one, two))


def _judged(difference: Difference) -> Judgement:
    """By the repository's own rules as well, where they can be read."""
    try:
        return judging.judged(difference)
    except EnvfreezeError:
        return judge.judge(difference)


def _unified(path: str, one: bytes, two: bytes) -> str:
    from envfreeze.resolve import patches

    if one == two:
        return ""
    if b"\0" in one or b"\0" in two:
        return f"Binary files a/{path} and b/{path} differ\n"
    return patches.diff(path, one, two).decode("utf-8", "replace")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


# --- set-up ----------------------------------------------------------------------------------


def setup(lock: Path, *, everywhere: bool) -> list[str]:
    """Tell git of the driver, and which file is shown by it; what was done, a line each.

    :param everywhere: for this user's repositories, else for the one that *lock* lies in.
    :raises UsageError: something else is set there; nothing is overwritten.
    """
    scope = "--global" if everywhere else "--local"
    directory = Path() if everywhere else lock.parent
    top = None if everywhere else find_repository(directory)
    if not _PLAIN.fullmatch(lock.name):
        raise UsageError(f"{lock.name} is a name that .gitattributes cannot hold plainly")
    wanted = {
        f"diff.{NAME}.command": f"{_program()} git diff --",
        f"diff.{NAME}.textconv": f"{_program()} git text --",
    }
    for key, value in wanted.items():
        _check_free(directory, scope, key, value)
    attributes, pattern = _attributes(lock, top, directory)
    done = _add_line(attributes, pattern)
    for key, value in wanted.items():
        if _config(directory, scope, key) != value:
            _set(directory, scope, key, value)
            done.append(f"git config {scope} {key} {shlex.quote(value)}")
    return done


def _program() -> str:
    """How git, which has its own PATH and a shell, is to call us."""
    beside = Path(sys.executable).with_name(NAME)
    if shutil.which(NAME):
        return NAME
    if os.access(beside, os.X_OK):
        return shlex.quote(str(beside))
    # Isolated: git runs it in the working tree, from which nothing must be imported.
    return f"{shlex.quote(sys.executable)} -I -m envfreeze"


def _config(directory: Path, scope: str, key: str) -> str | None:
    done = git(directory, "config", scope, "--get", key)
    return done.stdout.decode("utf-8", "replace").rstrip("\n") if done.returncode == 0 else None


def _check_free(directory: Path, scope: str, key: str, value: str) -> None:
    there = _config(directory, scope, key)
    if there is not None and there != value and not _OURS.fullmatch(there):
        raise UsageError(
            f"git config {scope} {key} is something else already: {there}",
            hint=f"To have it set up anew: git config {scope} --unset-all {key}",
        )


def _set(directory: Path, scope: str, key: str, value: str) -> None:
    done = git(directory, "config", scope, key, value)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise UsageError(f"git config {scope} {key} could not be set: {said}")


def _attributes(lock: Path, top: Path | None, directory: Path) -> tuple[Path, str]:
    """The file that names the lock, and how it does."""
    if top is not None:
        relative = os.path.relpath(lock.parent.resolve() / lock.name, top.resolve())
        if not _PLAIN.fullmatch(relative):
            # A pattern without a slash means the name, wherever it lies.
            return top / ".gitattributes", lock.name
        return top / ".gitattributes", f"/{relative}"
    done = git(directory, "config", "--global", "--type=path", "--get", "core.attributesFile")
    if done.returncode == 0:
        return Path(os.fsdecode(done.stdout.rstrip(b"\n"))), lock.name
    home = os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
    return Path(home) / "git/attributes", lock.name


def _add_line(path: Path, pattern: str) -> list[str]:
    """Say in *path* that *pattern* is shown by our driver; nothing where it says so already."""
    there = _read(path).decode("utf-8", "surrogateescape")
    for row in there.splitlines():
        first, *attributes = row.split() or [""]
        if first == pattern and f"diff={NAME}" in attributes:
            return []
        if first in {pattern, pattern.rpartition("/")[2]} and _shows(attributes):
            raise UsageError(
                f"{path} says already how {first} is shown: {row.strip()}",
                hint=f"Change that line to: {pattern} diff={NAME}",
            )
    if path.is_symlink():
        raise UsageError(f"{path} is a link, which git does not follow", hint="Replace it.")
    start = there if not there or there.endswith("\n") else there + "\n"
    data = f"{start}{pattern} diff={NAME}\n".encode("utf-8", "surrogateescape")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)
    return [f"{os.path.relpath(path)}: {pattern} diff={NAME}"]


def _shows(attributes: list[str]) -> bool:
    return any(re.fullmatch(r"[-!]?(diff|binary)(=.*)?", each) for each in attributes)


# --- hooks -----------------------------------------------------------------------------------


def check(locks: list[Path]) -> list[str]:
    """The *locks* that are whole, and yet not hermetic: each with why.

    :raises LockError: one cannot be read, or contradicts itself.
    """
    return [f"{path} is not hermetic" for path in locks if not load(path).machine.hermetic]
