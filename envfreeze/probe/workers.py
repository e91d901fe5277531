"""Work shared out to forked copies of this process: threads would wait for one another.

Small files keep the interpreter lock busy, so that four threads hash them more slowly than one;
copies share nothing but a queue.
"""

import marshal
import os
import struct
import sys
import time

# A queue's numbers must fit into a pipe that nobody empties yet: 4096 bytes are always there.
MOST = 2048
_NUMBER = struct.Struct("<H")
_LENGTH = struct.Struct("<Q")


def processors():
    """How many copies can run at once; more than eight would only wait for the memory."""
    try:
        return max(1, min(8, len(os.sched_getaffinity(0))))
    except AttributeError:
        return max(1, min(8, os.cpu_count() or 1))


def share(count, work, copies):
    """``{number: work(number)}`` for numbers below *count*: those that were done.

    What is missing is for the caller to do: no copy could be made, or one was killed, or
    *work* failed in it. Lower numbers are begun first. *count* is at most MOST; what *work*
    returns is made of marshal's types.
    """
    if copies < 2 or not 1 < count <= MOST or not _is_alone():
        return {}
    queue, end = os.pipe()
    os.write(end, b"".join(map(_NUMBER.pack, range(count))))
    os.close(end)
    children = []  # type: list
    done = {}  # type: dict
    try:
        while len(children) < min(copies, count):
            child = _fork(queue, work)
            if child is None:
                break
            children.append(child)
    finally:
        os.close(queue)
        for _, answer in children:
            done.update(_received(answer))
        for child, _ in children:
            _reap(child)
    return done


def _fork(queue, work):
    """``(process id, where it answers)``, or None where no process is to be had."""
    answer, end = os.pipe()
    try:
        child = os.fork()
    except OSError:
        os.close(answer)
        os.close(end)
        return None
    if child:
        os.close(end)
        return child, answer
    try:
        os.close(answer)
        _send(end, _work(queue, work))
    finally:
        os._exit(0)  # Whatever happened, nothing of the parent's is run or flushed here.


def _work(queue, work):
    done = {}  # type: dict
    while True:
        number = os.read(queue, _NUMBER.size)
        if len(number) < _NUMBER.size:
            return marshal.dumps(done, 2)
        (index,) = _NUMBER.unpack(number)
        done[index] = work(index)


def _send(end, data):
    view = memoryview(_LENGTH.pack(len(data)) + data)
    while view:
        view = view[os.write(end, view) :]


def _received(answer):
    """What a copy has done; nothing where its answer is not whole."""
    with os.fdopen(answer, "rb") as stream:
        data = stream.read()
    size = _LENGTH.size
    if len(data) < size or len(data) != size + _LENGTH.unpack_from(data)[0]:
        return {}
    return marshal.loads(data[size:])  # noqa: S302 - a copy of ourselves wrote it


def _reap(child):
    try:
        os.waitpid(child, 0)
    except OSError:
        pass  # Somebody ignores SIGCHLD, and the system has reaped it.


def _is_alone():
    """Whether this process has one thread: a lock that another holds would be held for ever.

    One that is just ending is waited for.
    """
    if not hasattr(os, "fork"):
        return False
    for _ in range(20):
        if _threads() == 1:
            return True
        time.sleep(0.001)
    return False


def _threads():
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        threading = sys.modules.get("threading")
        return threading.active_count() if threading else 1
