"""How long an image takes, beside ``docker build`` of the Dockerfile that a person would write.

    python tests/bench/bench_images.py LOCK --base NAME@sha256:... --python-base NAME

The person's Dockerfile runs ``pip install --require-hashes`` on the same wheels, from an index on
the loopback interface that has them at hand: a warm cache. Its base has a Python and pip of the
lock's version already, so it builds less than we do: no interpreter and no system packages. Only
locks whose distributions are all from an index can be compared, and what is packed is left out
on that side.

Everything is measured in turns in one run; what was fetched is at hand on both sides, and no layer
is. Needs an engine that can build with the host's network. How to get the bases:
``tests/bench/README.md``.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench_capture import Measured, as_table

from envfreeze import workflow
from envfreeze.build.fetch import Fetcher
from envfreeze.model.lock import Lock, Package, artifacts
from envfreeze.progress import Progress
from envfreeze.store import Cache

PERSON = "docker build: pip install --require-hashes"
DOCKER = "envfreeze build --to docker"
OCI = "envfreeze build --to oci"
AGAIN = "envfreeze build --to docker, one package changed"
RATIOS = {(OCI, PERSON): 0.5, (DOCKER, PERSON): 1.0, (AGAIN, PERSON): 0.2}
TAG = "envfreeze-bench"

DOCKERFILE = """\
FROM {base}
COPY requirements.txt /requirements.txt
RUN python3 -m venv /env && /env/bin/python -m pip install --no-cache-dir --no-deps \
    --require-hashes --no-index --find-links {url} -r /requirements.txt
"""


@dataclasses.dataclass(frozen=True)
class Bench:
    """What all the measured things share."""

    lock: Path
    changed: Path
    base: str
    python_base: str
    scratch: Path

    @property
    def cache(self) -> Path:
        return self.scratch / "cache"

    def envfreeze(self, *arguments: str | Path) -> float:
        program = [sys.executable, "-m", "envfreeze", *map(str, arguments)]
        return ran(program, {"ENVFREEZE_CACHE_DIR": str(self.cache)})

    def forget(self) -> None:
        """Every layer and image that was made: only what was fetched stays."""
        for name in ("layers", "base-trees", "base-images"):
            shutil.rmtree(self.cache / name, ignore_errors=True)
        remove(f"{TAG}:1", f"{TAG}:person")


def ran(argv: Sequence[str], more: dict[str, str] | None = None) -> float:
    """Seconds that a command takes; a failing one ends the benchmark."""
    started = time.perf_counter()
    done = subprocess.run(
        argv, env={**os.environ, **(more or {})}, capture_output=True, text=True, check=False
    )
    took = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(argv[:4])} failed:\n{done.stdout[-400:]}{done.stderr[-800:]}")
    return took


def remove(*images: str) -> None:
    for image in images:
        subprocess.run(["docker", "rmi", "-f", image], capture_output=True, check=False)


def proved(lock: Lock) -> list[Package]:
    """What an index has."""
    return [package for package in lock.packages if package.artifact.url]


def fetched(bench: Bench) -> Path:
    """The lock's wheels under their own names, and everything else in the cache."""
    lock = workflow.load(bench.lock)
    context = workflow.Context(cache=Cache(bench.cache))
    http = workflow.context.index(lock.machine.interpreter.facts, context).http
    files = Fetcher(bench.lock, context.cache, http).all(artifacts(lock), Progress())
    wheels = bench.scratch / "wheels"
    wheels.mkdir()
    for package in proved(lock):
        os.link(files[package.artifact.sha256], wheels / package.artifact.filename)
    return wheels


@contextlib.contextmanager
def serving(directory: Path) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(directory))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()


def persons(bench: Bench, url: str) -> float:
    bench.forget()
    context = bench.scratch / "context"
    context.mkdir(exist_ok=True)
    rows = [
        f"{package.name}=={package.version} --hash=sha256:{package.artifact.sha256}\n"
        for package in proved(workflow.load(bench.lock))
    ]
    (context / "requirements.txt").write_text("".join(rows))
    (context / "Dockerfile").write_text(DOCKERFILE.format(base=bench.python_base, url=url))
    argv = ["docker", "build", "--network", "host", "--no-cache", "-q", "-t", f"{TAG}:person"]
    return ran([*argv, str(context)], {"DOCKER_BUILDKIT": "0"})


def to_docker(bench: Bench) -> float:
    bench.forget()
    return bench.envfreeze(
        "build", bench.lock, "--to", "docker", "--tag", f"{TAG}:1", "--base", bench.base, "-q"
    )


def again(bench: Bench) -> float:
    """Right after :func:`to_docker`."""
    return bench.envfreeze(
        "build", bench.changed, "--to", "docker", "--tag", f"{TAG}:1", "--base", bench.base, "-q"
    )


def to_oci(bench: Bench) -> float:
    bench.forget()
    into = bench.scratch / "image.tar"
    took = bench.envfreeze(
        "build", bench.lock, "--to", "oci", "--into", into, "--base", bench.base, "-q"
    )
    into.unlink()
    return took


def measure(bench: Bench, runs: int) -> list[Measured]:
    results = {name: Measured(name) for name in (PERSON, DOCKER, AGAIN, OCI)}
    with serving(fetched(bench)) as url:
        for _ in range(runs):
            results[PERSON].seconds.append(persons(bench, url))
            results[DOCKER].seconds.append(to_docker(bench))
            results[AGAIN].seconds.append(again(bench))
            results[OCI].seconds.append(to_oci(bench))
    bench.forget()
    return list(results.values())


def verdicts(results: Sequence[Measured]) -> list[dict[str, object]]:
    medians = {measured.name: measured.median for measured in results}
    found: list[dict[str, object]] = []
    for (one, two), target in RATIOS.items():
        value = medians[one] / medians[two]
        met = value <= target
        found.append({"name": f"{one} / {two}", "value": value, "target": target, "met": met})
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lock", type=Path)
    parser.add_argument("changed", type=Path, help="the same with one package changed")
    parser.add_argument("--base", required=True, help="for ours: NAME@sha256:DIGEST")
    parser.add_argument("--python-base", required=True, help="the person's: with python3 and venv")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="envfreeze-bench.") as place:
        bench = Bench(given.lock, given.changed, given.base, given.python_base, Path(place))
        results = measure(bench, max(1, given.runs))
    found = verdicts(results)
    load = ", ".join(f"{part:.1f}" for part in os.getloadavg())
    print(f"{os.cpu_count()} CPUs, load {load}\n\n{as_table(results, found)}")
    if given.json:
        times = [{**dataclasses.asdict(m), "median": m.median} for m in results]
        report = {"schema": 1, "measured": times, "ratios": found}
        given.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
