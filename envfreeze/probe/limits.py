"""How much of the machine the process may use: processors, memory, control groups.

Sources: proc(5), cgroups(7), sched_getaffinity(2); of the kernel's
Documentation ``admin-guide/cgroup-v2.rst``, ``admin-guide/cgroup-v1/memory.rst`` and
``scheduler/sched-bwc.rst``.
"""

import os
import re

_UNLIMITED = 1 << 60  # v1 says "no limit" as the largest multiple of a page in 63 bits.
_DEPTH = 64


def cpu_list(text):
    """How many numbers ``0-3,8`` names, or None when it is not such a list."""
    count = 0
    for part in text.strip().split(","):
        match = re.match(r"([0-9]{1,6})(?:-([0-9]{1,6}))?\Z", part.strip())
        if not match:
            return None
        count += int(match.group(2) or match.group(1)) - int(match.group(1)) + 1
    return count if count > 0 else None


def memory_total(text):
    """MemTotal of /proc/meminfo in bytes, or None."""
    match = re.search(r"^MemTotal:\s+([0-9]{1,15}) kB", text, re.M)
    return int(match.group(1)) * 1024 if match else None


# --- where a process stands in the hierarchies ----------------------------------------------


def memberships(text):
    """``{controller: path}`` of /proc/PID/cgroup; that of version 2 is called ``""``."""
    found = {}
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if colon and path.startswith("/"):
            if number == "0" and not controllers:
                found[""] = path
            elif controllers:
                found.update((name, path) for name in controllers.split(","))
    return found


def hierarchies(text):
    """``{controller: (root, mount point)}`` of mountinfo; version 2 is called ``""``.

    *root* is the directory within the hierarchy that lies at the mount point.
    """
    found = {}  # type: dict
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if not dash or len(fields) < 6 or len(kind) < 3:
            continue
        place = (_unescaped(fields[3]), _unescaped(fields[4]))
        if kind[0] == "cgroup2":
            found.setdefault("", place)
        elif kind[0] == "cgroup":
            for name in kind[2].split(","):
                found.setdefault(name, place)
    return found


def _unescaped(text):
    """Blanks and backslashes are octal escapes there (proc(5))."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8) & 255), text)


def directories(path, root, mount):
    """The cgroup's directory and those above it, as far as the mount shows them.

    A limit holds for all that lies below it, so the tightest on the way up counts. Where the
    path is not below *root* (another namespace's view), only the mount point is known.
    """
    if root != "/" and (path + "/").startswith(root + "/"):
        path = path[len(root) :]
    parts = [part for part in path.split("/") if part]
    parts = [] if ".." in parts else parts[:_DEPTH]
    return ["/".join([mount.rstrip("/"), *parts[:count]]) for count in range(len(parts), -1, -1)]


# --- the limits themselves -----------------------------------------------------------------


def quota_v2(text):
    """Processors that cpu.max allows: ``150000 100000`` is 1.5; None: ``max``."""
    words = text.split()
    return _ratio(words[0], words[1] if len(words) > 1 else "100000") if words else None


def quota_v1(quota, period):
    """Processors by cpu.cfs_quota_us and cpu.cfs_period_us; None: -1, no limit."""
    return _ratio(quota.strip(), period.strip())


def _ratio(quota, period):
    if not (_is_number(quota) and _is_number(period)) or int(period) == 0 or int(quota) == 0:
        return None
    return round(int(quota) / float(int(period)), 3)


def _is_number(text):
    return re.match(r"[0-9]{1,19}\Z", text) is not None


def memory_limit(text):
    """Bytes by memory.max or memory.limit_in_bytes, or None: no limit."""
    text = text.strip()
    limit = int(text) if _is_number(text) else _UNLIMITED
    return limit if limit < _UNLIMITED else None


def _small(machine, path):
    return machine.text(path, 4096) or ""


def _quota(machine, directory, version):
    if version == 2:
        return quota_v2(_small(machine, directory + "/cpu.max"))
    period = _small(machine, directory + "/cpu.cfs_period_us")
    return quota_v1(_small(machine, directory + "/cpu.cfs_quota_us"), period)


def _memory(machine, directory, version):
    name = "/memory.max" if version == 2 else "/memory.limit_in_bytes"
    return memory_limit(_small(machine, directory + name))


def tightest(machine, process, controller, read):
    """The smallest limit of *controller* on *process* in either version, or None."""
    member = memberships(machine.text("/proc/%s/cgroup" % process, 1 << 20) or "")
    mounted = hierarchies(machine.text("/proc/%s/mountinfo" % process, 1 << 24) or "")
    found = []
    for name, version in ((controller, 1), ("", 2)):
        if name in member and name in mounted:
            for directory in directories(member[name], *mounted[name]):
                found.append(read(machine, directory, version))
    return min([limit for limit in found if limit is not None], default=None)


def online(machine):
    count = cpu_list(_small(machine, "/sys/devices/system/cpu/online"))
    if count is None and machine.root == "/":
        try:
            count = os.sysconf("SC_NPROCESSORS_ONLN")
        except (AttributeError, OSError, ValueError):
            count = None
    return count if count and count > 0 else None


def allowed(machine, process):
    """Affinity: of a recorded machine from the status file, which there is asked for in vain."""
    if machine.root == "/":
        try:
            return len(os.sched_getaffinity(0 if process == "self" else int(process)))
        except (AttributeError, OSError, ValueError):
            pass
    status = machine.text("/proc/%s/status" % process, 1 << 16) or ""
    match = re.search(r"^Cpus_allowed_list:\s*(\S+)$", status, re.M)
    return cpu_list(match.group(1)) if match else None


def facts(machine, process="self"):
    """:class:`envfreeze.model.host.Limits` of *process*, ``self`` or a number, as a dict."""
    found = {
        "online": online(machine),
        "allowed": allowed(machine, process),
        "quota": tightest(machine, process, "cpu", _quota),
        "memory": memory_total(machine.text("/proc/meminfo", 1 << 16) or ""),
        "memory-limit": tightest(machine, process, "memory", _memory),
    }
    return {key: value for key, value in found.items() if value is not None}
