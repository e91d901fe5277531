"""Move the links of a recorded tree into a list beside it: ``python keep_links.py DIRECTORY``.

Tools that make archives of a project follow links. tests/support/roots.py makes them again.
"""

from __future__ import annotations

import sys
from pathlib import Path


def keep(directory: Path) -> None:
    links = sorted(path for path in directory.rglob("*") if path.is_symlink())
    rows = [f"{path.relative_to(directory)}\t{path.readlink()}\n" for path in links]
    directory.with_name(directory.name + ".links").write_text("".join(rows))
    for path in links:
        path.unlink()


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
