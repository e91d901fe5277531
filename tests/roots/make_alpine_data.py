"""Write the data part of an .apk: a tar in which each file carries its sha1, as abuild makes it.

python make_alpine_data.py DIRECTORY TAR
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tarfile
from pathlib import Path

EPOCH = int(os.environ["SOURCE_DATE_EPOCH"])


def main() -> None:
    root = Path(sys.argv[1])
    with tarfile.open(sys.argv[2], "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(root.rglob("*")):
            member = tarfile.TarInfo(str(path.relative_to(root)))
            member.mtime, member.mode = EPOCH, 0o755
            data = b""
            if path.is_symlink():
                member.type, member.linkname = tarfile.SYMTYPE, str(path.readlink())
                data = member.linkname.encode()
            elif path.is_dir():
                member.type = tarfile.DIRTYPE
            else:
                data = path.read_bytes()
                member.size = len(data)
            if not member.isdir():
                digest = hashlib.sha1(data).hexdigest()
                member.pax_headers = {"APK-TOOLS.checksum.SHA1": digest}
            tar.addfile(member, io.BytesIO(data) if member.isreg() else None)


if __name__ == "__main__":
    main()
