"""Run a program of an unpacked root, which nobody vouches for, so that it can do no harm.

This text is run by our own interpreter as a process of its own: ``python -c TEXT DIR WORD...``. It
takes namespaces of its own where the kernel gives them (then the root is mounted for it alone,
read-only, and nothing else can be reached), changes its root, gives up every privilege but that
of reading any file, and becomes the program. Without namespaces a changed root has to do: as the
privilege to change it again is gone, there is no way out of it either.

Source: chroot(2), pivot_root(2), mount_namespaces(7), capabilities(7), prctl(2).
"""

import ctypes
import os
import sys

NEW_NAMESPACES = 0x00020000 | 0x08000000 | 0x04000000 | 0x40000000  # mounts, IPC, UTS, network
NEW_PROCESSES = 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND = 1, 2, 4, 32, 4096
MS_REC, MS_PRIVATE, MNT_DETACH = 16384, 1 << 18, 2
DROP_BOUNDING, NO_NEW_PRIVILEGES, PARENT_DIES = 24, 38, 1
KEPT = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}

libc = ctypes.CDLL(None, use_errno=True)


def mount(source: bytes, target: bytes, flags: int) -> bool:
    return bool(libc.mount(source, target, None, ctypes.c_ulong(flags), None) == 0)


def alone(root: bytes) -> bool:
    """Whether the process has the root mounted for itself alone now, and stands in it."""
    number = PIVOT_ROOT.get(os.uname().machine)
    if number is None or libc.unshare(NEW_NAMESPACES) != 0:
        return False
    if not mount(b"none", b"/", MS_REC | MS_PRIVATE) or not mount(root, root, MS_BIND | MS_REC):
        return False
    read_only = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NODEV | MS_NOSUID
    if not mount(b"none", root, read_only):
        return False
    os.chdir(root)
    if libc.syscall(ctypes.c_long(number), b".", b".") != 0:
        return False
    return bool(libc.umount2(b".", MNT_DETACH) == 0)


def harmless() -> None:
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    for capability in range(64):
        if capability not in KEPT:
            libc.prctl(DROP_BOUNDING, capability, 0, 0, 0)


def main(root: str, words: list[str]) -> None:
    libc.prctl(PARENT_DIES, 9, 0, 0, 0)
    if not alone(os.fsencode(root)):
        os.chroot(root)
    os.chdir("/")
    if libc.unshare(NEW_PROCESSES) == 0:
        child = os.fork()
        if child:
            status = os.waitpid(child, 0)[1]
            os._exit(status >> 8 if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
        libc.prctl(PARENT_DIES, 9, 0, 0, 0)
    harmless()
    os.execve(words[0], words, dict(os.environ))  # noqa: S606 - that is what it is for


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2:])
    except OSError as error:
        sys.stderr.write(f"{error.filename or sys.argv[2]}: {error.strerror}\n")
        os._exit(126)
