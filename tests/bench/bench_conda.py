"""What a conda prefix of 400 records costs to capture, and to rebuild beside py-rattler.

    python tests/bench/bench_conda.py [--runs N] [--records N] [--files N]

A channel is made by hand (``tests/support/channel.py``): a real Python, a noarch package, and
packages of C libraries' size. py-rattler links a prefix from it; that is captured, and rebuilt
from its lock by ``envfreeze build --to conda``, verification and all. What stands beside that is
``rattler.install`` of the same records into an empty prefix, in a process of its own, in turns;
both unpack the packages, which lie on the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench_capture import HERE, Command, Measured, as_table, run_once

ROOT = Path(__file__).resolve().parents[2]
CAPTURE = "envfreeze capture --offline, everything remembered"
COLD = "envfreeze capture --offline, nothing remembered"
REBUILD = "envfreeze build --to conda, verified"
RATTLER = "rattler.install of the same records"

INSTALL = """\
import asyncio, os, sys
import rattler
prefix, cache, channel, *specs = sys.argv[1:]
async def work():
    records = await rattler.solve(
        sources=[rattler.Channel(channel)], specs=specs, platforms=["linux-64", "noarch"])
    await rattler.install(records, target_prefix=prefix, cache_dir=cache, show_progress=False)
asyncio.run(work())
os._exit(0)  # Its threads may end after what they use.
"""


def channel(place: Path, records: int, files: int) -> list[str]:
    """Make the channel at *place*; the specs of all its packages."""
    sys.path.insert(0, str(ROOT))
    from tests.support import channel as channels

    made = channels.Channel(place)
    made.add(channels.python_recipe())
    made.add(channels.noarch_recipe())
    names = [f"lib{number:03}" for number in range(records - 2)]
    for name in names:
        content = {
            f"lib/{name}/{number}.txt": f"{name} {number}\n".encode() * 40
            for number in range(files)
        }
        content[f"lib/pkgconfig/{name}.pc"] = b"prefix=" + channels.PLACEHOLDER.encode() + b"\n"
        made.add(channels.Recipe(name=name, files=content))
    made.write()
    return [f"python =={channels.PYTHON}", "greet", *names]


def commands(scratch: Path, specs: Sequence[str]) -> dict[str, Command]:
    program, url = str(HERE / "envfreeze"), (scratch / "channel").as_uri()
    env = {"ENVFREEZE_CACHE_DIR": str(scratch / "cache")}
    prefix, lock, again = scratch / "prefix", scratch / "env.lock", scratch / "again"
    capture = [program, "capture", str(prefix), "--offline", "-q", "-o", str(lock)]
    build = [program, "build", str(lock), "--to", "conda", "--into", str(again), "-q"]
    packages = str(scratch / "pkgs")
    install = [sys.executable, "-c", INSTALL, str(again), packages, url, *specs]
    listed = [
        Command(CAPTURE, capture, env),
        Command(COLD, capture, {"ENVFREEZE_CACHE_DIR": str(scratch / "cold")}),
        Command(REBUILD, build, env),
        Command(RATTLER, install),
    ]
    return {command.name: command for command in listed}


def prepared(scratch: Path, name: str) -> None:
    """What a command finds has to be as the one before it found it."""
    shutil.rmtree(scratch / "cold", ignore_errors=True)
    for place in ("again", "pkgs") if name in {REBUILD, RATTLER} else ():
        shutil.rmtree(scratch / place, ignore_errors=True)


def findings(measured: dict[str, Measured]) -> list[dict[str, object]]:
    capture, ours, theirs = (measured[name].median for name in (CAPTURE, REBUILD, RATTLER))
    ratio = None if ours is None or theirs is None else ours / theirs
    return [
        {
            "name": f"{CAPTURE}, seconds",
            "value": capture,
            "target": 0.5,
            "met": None if capture is None else capture <= 0.5,
        },
        {
            "name": f"{REBUILD} / {RATTLER}",
            "value": ratio,
            "target": 1.2,
            "met": None if ratio is None else ratio <= 1.2,
        },
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--records", type=int, default=402)
    parser.add_argument("--files", type=int, default=30, help="of each record")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="envfreeze-bench-") as place:
        scratch = Path(place)
        specs = channel(scratch / "channel", options.records, options.files)
        url = (scratch / "channel").as_uri()
        install = [sys.executable, "-c", INSTALL, str(scratch / "prefix"), str(scratch / "pkgs")]
        subprocess.run([*install, url, *specs], check=True)
        (scratch / "prefix/conda-meta/history").touch()
        listed = commands(scratch, specs)
        for name, command in listed.items():
            prepared(scratch, name)
            run_once(command, Measured("warm"))
        measured = {name: Measured(name) for name in listed}
        for _ in range(options.runs):
            for name, command in listed.items():
                prepared(scratch, name)
                run_once(command, measured[name])
    print(json.dumps({"records": options.records, "files": options.files, "cpus": os.cpu_count()}))
    print(as_table(list(measured.values()), findings(measured)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
