"""A Dockerfile into an image by ``docker buildx``, where that is installed.

docker-py reaches the classic builder only, which Docker has declared legacy. The context and the
switched-off network are the same, so the files of the image are, too.

Source: docker/buildx ``docs/reference/buildx_build.md``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from envfreeze.errors import EngineError, printable

_STEP = re.compile(r"#\d+ \[(?:[^\]\s]+ )?(\d+/\d+)\] (.*)")
_LAST = 8
_ASK_SECONDS = 20


def program(environ: Mapping[str, str]) -> str | None:
    """The docker CLI, where it has buildx."""
    found = shutil.which("docker", path=environ.get("PATH"))
    if found is None:
        return None
    try:
        done = subprocess.run(
            [found, "buildx", "version"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env=dict(environ),
            timeout=_ASK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found if done.returncode == 0 else None


def command(program: str, context: Path, tag: str) -> list[str]:
    """What is run. An attestation would make an index of the image, with the day of the build."""
    return [
        *(program, "buildx", "build"),
        *("--network", "none"),
        *("--load", "--provenance", "false", "--sbom", "false"),
        *("--progress", "plain"),
        *("--file", str(context / "Dockerfile")),
        *("--tag", tag),
        str(context),
    ]


def build(
    argv: list[str], tag: str, environ: Mapping[str, str], on_line: Callable[[str], None]
) -> None:
    """Run *argv*, a step at a time told as the classic builder tells it.

    :raises EngineError: it failed; the message ends with what it said last.
    """
    last: list[str] = []
    with _running(argv, environ) as process:
        for raw in process.stdout or ():
            line = printable(raw.decode("utf-8", "replace").rstrip())
            if line:
                last = [*last[-(_LAST - 1) :], line]
            step = _STEP.match(line)
            on_line(f"Step {step[1]} : {step[2]}" if step else line)
        status = process.wait()
    if status != 0:
        said = "".join(f"\n  {line}" for line in last)
        raise EngineError(f"cannot build {tag}: docker buildx ended with status {status}{said}")


@contextmanager
def _running(argv: list[str], environ: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """The program, which is stopped when the block ends badly: its builder then stops, too."""
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environ),
        )
    except OSError as error:
        raise EngineError(f"{argv[0]} cannot be run: {error.strerror}") from error
    with process:
        try:
            yield process
        except BaseException:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_ASK_SECONDS)
            process.kill()
            raise
