"""How long two big locks take to be compared, as a whole process.

    python tests/bench/bench_diff.py [--runs N]

Two locks of 1,000 distributions and 2,000 system packages, half of which differ, are made up;
``envfreeze diff`` runs in turns with ``envfreeze --help`` and with GNU ``diff`` on the same files.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench_capture import HERE, Command, Measured, as_table, run_once

ROOT = Path(__file__).resolve().parents[2]
PYTHON, SYSTEM = 1000, 2000
DIFF = "envfreeze diff"
TARGET = 0.5


def write(path: Path, step: int) -> None:
    """A lock in which every second version is of *step*."""
    from envfreeze.model.identity import environment_id, lock_layers
    from envfreeze.model.lock import Artifact, Package, PackageFacts, PackageTool, dumps
    from tests.support import locks

    packages = []
    for number in range(PYTHON):
        version = f"1.{step if number % 2 else 0}.{number}"
        name = f"package-{number:04}"
        wheel = Artifact(
            name=f"{name.replace('-', '_')}-{version}-py3-none-any.whl",
            url=f"https://index.example/{name}-{version}.whl",
            size=1000,
            hashes={"sha256": f"{number:064x}"},
        )
        facts = PackageFacts(
            proof="proved", evidence="RECORD", tree=f"{number + step:064x}", info="x.dist-info"
        )
        packages.append(
            Package(name=name, version=version, wheels=[wheel], tool=PackageTool(envfreeze=facts))
        )
    system = [
        locks.deb(f"lib{number:04}", f"1.{step if number % 2 else 0}-{number}")
        for number in range(SYSTEM)
    ]
    lock = locks.lock(system=system)
    lock = type(lock)(
        lock_version=lock.lock_version,
        created_by=lock.created_by,
        packages=packages,
        tool=lock.tool,
    )
    layers = lock_layers(lock)
    path.write_text(dumps(lock.with_machine(layers=layers, id=environment_id(layers))), "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as scratch:
        one, two = Path(scratch, "one.lock"), Path(scratch, "two.lock")
        write(one, 1)
        write(two, 2)
        program = str(HERE / "envfreeze")
        # A status of 1 says that they differ.
        commands = [
            Command(DIFF, ["sh", "-c", f"{program} diff {one} {two}; test $? = 1"]),
            Command("envfreeze --help", [program, "--help"]),
            Command("GNU diff", ["sh", "-c", f"diff {one} {two}; test $? = 1"]),
        ]
        measured = {command.name: Measured(command.name) for command in commands}
        for command in commands:
            run_once(command, Measured("warm"))
        for _ in range(options.runs):
            for command in commands:
                run_once(command, measured[command.name])
    median = measured[DIFF].median
    met = None if median is None else median <= TARGET
    found = {"name": f"{DIFF}, seconds", "value": median, "target": TARGET, "met": met}
    print(as_table(list(measured.values()), [found]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
