"""A program that stands in for mmdebstrap: it makes a root of the archive that it is given.

Nothing is installed: the root has what dpkg would have written down, and the accidents of the day.
"""

from __future__ import annotations

import sys
from pathlib import Path

SCRIPT = """#!{python}
import io, json, os, sys, tarfile, time
from pathlib import Path

*_, suite, made, source = sys.argv[1:]
archive = Path(source.split()[2].removeprefix("copy://"))
Path({log!r}).write_text(json.dumps({{
    "arguments": sys.argv[1:],
    "environment": dict(os.environ),
    "archive": {{path.name: path.read_bytes().hex() for path in archive.iterdir()}},
}}))
listed = archive.joinpath("Packages").read_text().strip("\\n").split("\\n\\n")
status = []
for block in listed:
    lines = [line for line in block.split("\\n") if not line.startswith(("Filename", "S"))]
    name = lines[0].partition(": ")[2]
    print("Setting up " + name + " ...", flush=True)
    if name == "broken":
        print("dpkg: error processing package broken (--configure):\\n exit status 1", flush=True)
        sys.exit(25)
    if name == "slow":
        time.sleep(60)
    if name != "forgotten":
        status.append("\\n".join([lines[0], "Status: install ok installed", *lines[1:]]))
now = str(time.time_ns())
files = {{
    "etc/apt/sources.list": source,
    "etc/machine-id": now,
    "etc/resolv.conf": now,
    "usr/lib/os-release": "ID=debian\\nVERSION_ID=12\\n",
    "usr/bin/sh": "elf",
    "var/lib/dpkg/status": "\\n\\n".join(status) + "\\n",
    "var/lib/dpkg/status-old": now,
    "var/log/dpkg.log": now,
}}
with tarfile.open(made, "w") as tar:
    for name in (".", "etc", "run", "run/lock", "run/of-the-day", "tmp", "usr", "usr/bin", "var"):
        member = tarfile.TarInfo("./" + name)
        member.type = tarfile.DIRTYPE
        member.mode = 0o1777 if name == "tmp" else 0o755
        member.mtime = time.time()
        tar.addfile(member)
    link = tarfile.TarInfo("./etc/os-release")
    link.type, link.linkname, link.mtime = tarfile.SYMTYPE, "../usr/lib/os-release", time.time()
    tar.addfile(link)
    for name, text in files.items():
        member = tarfile.TarInfo("./" + name)
        member.size, member.mtime = len(text), time.time()
        tar.addfile(member, io.BytesIO(text.encode()))
"""


def install(directory: Path) -> Path:
    """Put it into *directory*, for PATH; the file in which it notes how it was called."""
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "called.json"
    program = directory / "mmdebstrap"
    program.write_text(SCRIPT.format(python=sys.executable, log=str(log)))
    program.chmod(0o755)
    return log
