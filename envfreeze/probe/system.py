"""The machine below the interpreter: operating system and its packages, from their files."""

import platform

OS_RELEASE_KEYS = ("ID", "ID_LIKE", "VERSION_ID", "VERSION_CODENAME", "PRETTY_NAME")


def os_release(text):
    """The chosen keys of os-release(5)."""
    found = {}
    for line in text.splitlines():
        key, mark, value = line.partition("=")
        if mark and key in OS_RELEASE_KEYS:
            found[key] = value.strip().strip("\"'")
    return found


def dpkg_status(text):
    """``{name:arch: version}`` of the installed packages in dpkg's status file."""
    found = {}
    for stanza in text.split("\n\n"):
        fields = {}
        for line in stanza.split("\n"):
            if line.startswith(("Package:", "Version:", "Architecture:", "Status:")):
                key, _, value = line.partition(":")
                fields[key] = value.strip()
        if fields.get("Status", "").endswith(" installed") and "Package" in fields:
            name = "%s:%s" % (fields["Package"], fields.get("Architecture", ""))
            found[name] = fields.get("Version", "")
    return found


def facts(machine):
    release = machine.text("/etc/os-release") or machine.text("/usr/lib/os-release") or ""
    found = {
        "kernel": platform.system(),
        "machine": platform.machine(),
        "os_release": os_release(release),
    }
    status = machine.text("/var/lib/dpkg/status")
    if status is not None:
        found["dpkg"] = dpkg_status(status)
    return found
