"""Run the probe in an unpacked root directory, by the interpreter that lies in there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import resources

from envfreeze.errors import TargetError
from envfreeze.targets.local import ANSWER_WITHIN


def check_root(directory: str) -> None:
    """Whether programs of *directory* can be run as if it were the root.

    :raises TargetError: it is no directory, or that takes root.
    """
    if not os.path.isdir(directory):  # noqa: PTH112 - a text of the command line
        raise TargetError(
            f"root:{directory}: no such directory", hint="Name a directory with etc and usr in it."
        )
    if sys.platform != "linux" or os.geteuid() != 0:
        raise TargetError(
            f"root:{directory}: only root on Linux can run an interpreter in there",
            hint="Run envfreeze as root, or import the directory as an image and give image:NAME.",
        )


def run(directory: str, argv: Sequence[str], environ: Mapping[str, str]) -> bytes:
    """What *argv* prints when *directory* is its root: without a network, nothing written.

    :raises TargetError: it cannot be run.
    """
    text = resources.files("envfreeze.targets").joinpath("jail.py").read_text("utf-8")
    root = os.path.realpath(directory)
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", text, root, *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(environ),
        start_new_session=True,
    )
    with process:
        try:
            output, errors = process.communicate(timeout=10 * ANSWER_WITHIN)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise TargetError(f"{argv[0]} in root:{directory} did not answer") from None
            raise
    if process.returncode and not output.strip():
        said = "\n".join(errors.decode("utf-8", "replace").strip().splitlines()[-3:])
        raise TargetError(f"{argv[0]} does not run in root:{directory}:\n{said}")
    return output
