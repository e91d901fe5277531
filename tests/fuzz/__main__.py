"""``python -m tests.fuzz``: every harness for some time, one after the other, and a table.

Exit status 1 where there is a finding; its input and traceback lie below ``--into``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each harness")
    parser.add_argument("--only", default="", help="harnesses whose name has this in it")
    parser.add_argument("--engine", choices=("atheris", "hypothesis"), default="atheris")
    parser.add_argument("--into", type=Path, default=Path("demo/fuzz"), help="corpora and findings")
    asked = parser.parse_args()
    from tests.fuzz.harnesses import HARNESSES

    names = [h.name for h in HARNESSES if asked.only.lower() in h.name.lower()]
    if not names:
        parser.error(f"no harness has {asked.only!r} in its name")
    print(
        f"{'harness':26} {'engine':10} {'executions':>11} {'a second':>9} {'slowest':>9}"
        f" {'memory':>9} {'findings':>9}",
        flush=True,
    )
    total = found = 0
    for name in names:
        count = one(name, asked.into / name.replace("/", "_").replace(" ", "-"), asked)
        total += count["executions"]
        found += len(count["findings"])
        print(
            f"{name:26} {count['engine']:10} {count['executions']:>11,}"
            f" {count['executions'] / max(count['seconds'], 0.1):>9,.0f}"
            f" {count['slowest']:>7.2f} s {count['memory'] / 2**20:>5.1f} MiB"
            f" {len(count['findings']):>9}",
            flush=True,
        )
        for where, path in count["findings"].items():
            print(f"    {where}\n      {path}", flush=True)
    print(f"{len(names)} harnesses, {total:,} executions, {found} findings")
    return 1 if found else 0


def one(name: str, into: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """The counts of *name*; a process that was stopped is started again for the rest."""
    into.mkdir(parents=True, exist_ok=True)
    status = into / "status.json"
    status.unlink(missing_ok=True)
    end = time.monotonic() + asked.seconds
    whole: dict[str, Any] = {}
    while (left := int(end - time.monotonic())) > 0 or not whole:
        argv = [sys.executable, "-m", "tests.fuzz.run", name, str(into), str(max(left, 1))]
        before = set(into.glob("stopped-*"))
        with (into / "log").open("ab") as log:
            done = subprocess.run([*argv, asked.engine], stdout=log, stderr=log, check=False)
        count = json.loads(status.read_text()) if status.exists() else None
        status.unlink(missing_ok=True)
        if count is None:
            raise SystemExit(f"{name} did not start: see {into / 'log'}")
        for path in set(into.glob("stopped-*")) - before:
            count["findings"][path.name.split("-")[1] + " (the process was stopped)"] = str(path)
        _add(whole, count)
        if done.returncode not in {0, 77}:
            # Nothing of libFuzzer's: what it was is in the log.
            stopped = whole["findings"].setdefault(f"exit status {done.returncode}", str(into))
            if stopped == str(into) and left > asked.seconds / 2:
                continue
    return whole


def _add(whole: dict[str, Any], count: dict[str, Any]) -> None:
    if not whole:
        whole.update(count)
        return
    for key in ("executions", "seconds"):
        whole[key] += count[key]
    for key in ("slowest", "memory"):
        whole[key] = max(whole[key], count[key])
    whole["findings"].update(count["findings"])


if __name__ == "__main__":
    sys.exit(main())
