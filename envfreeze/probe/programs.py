"""Programs of the machine: asked with a time limit, for bounded output, leaving nothing behind."""

import os
import time

if False:  # For type checkers; the probe has no time to import it.
    from typing import Any  # noqa: F401

OUTPUT = 1 << 20  # Bytes.
PASSED = ("CUDA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_VISIBLE_DEVICES")
GRACE = 1  # Seconds for one that was killed; the kernel may hold it in a driver for ever.


class Program(object):
    """A program that runs until :meth:`answer` is asked for."""

    def __init__(self, argv, environ, seconds):
        import subprocess  # Only here: most machines have nobody to ask.

        self._late = subprocess.TimeoutExpired
        self.seconds = seconds
        self.late = False  # It did not end in time.
        self._end = time.monotonic() + seconds
        self._process = None  # type: Any
        self._problem = None
        try:
            self._process = subprocess.Popen(
                argv,
                env=environ,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            self._problem = "it cannot be run: %s" % (getattr(error, "strerror", None) or error)

    def answer(self):
        """``(status, output, problem)``: status None, and the problem, where it gave no answer."""
        if self._process is None:
            return None, b"", self._problem
        output = self._read(self._process.stdout.fileno())
        status, problem = None, "it says too much"
        if len(output) < OUTPUT:
            status, problem = self._wait()
        self._kill()
        self._process.stdout.close()
        return status, output, problem

    def _wait(self):
        """``(status, None)``, or ``(None, problem)``."""
        try:
            status = self._process.wait(max(self._end - time.monotonic(), 0.01))
        except self._late:
            self.late = True
            return None, "it did not answer within %g s" % self.seconds
        return (status, None) if status >= 0 else (None, "it was killed by signal %d" % -status)

    def _read(self, descriptor):
        """What it prints until it ends, the time is up, or it says too much."""
        import select

        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        parts, size = [], 0
        while size < OUTPUT:
            left = self._end - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                break
            part = os.read(descriptor, 1 << 16)
            if not part:
                break
            parts.append(part)
            size += len(part)
        return b"".join(parts)[:OUTPUT]

    def _kill(self):
        """End it and what it started: its group is its own."""
        try:
            os.killpg(self._process.pid, 9)
        except (OSError, AttributeError):
            pass  # It has ended.
        try:
            self._process.wait(GRACE)
        except self._late:
            pass


def environ(places):
    """What such a program is given of the machine's environment.

    No variable that makes a loader, a shell or a library run something else; and search paths
    without the directories where others than this user and root may put things.
    """
    given = {
        name: value
        for name, value in places.machine.environ.items()
        if name in PASSED or name.startswith("NVML_")
    }
    for name in ("LD_LIBRARY_PATH", "PATH"):
        paths = [places.machine.path(path) for path in places.variables(name)]
        paths = [path for path in paths if trusted(path)]
        if paths:
            given[name] = ":".join(paths)
    given["LC_ALL"] = "C"
    return given


def trusted(path):
    """Whether only this user or root can have put *path* there, in a directory of that kind.

    What lies on a PATH may be anybody's, and a capture may be root's.
    """
    users = (0, os.geteuid())
    try:
        found = [os.stat(path), os.stat(os.path.dirname(path) or "/")]
    except (OSError, ValueError):
        return False
    return all(st.st_uid in users and not st.st_mode & 0o002 for st in found)
