"""The speeds that this project holds itself to, on an environment of a working size.

    python tests/bench/bench_targets.py --python PATH_OF_AN_ENVIRONMENT

Everything is measured in one run, in turns, and told as medians. What stands beside a figure is
measured on the same files or the same list of pins:

- the probe of an environment that has not changed, and what one ``lstat`` of each file costs;
- sha256 of every file by the probe's own means, and by ``xargs -P2 sha256sum``;
- the proof of every wheel with nothing remembered, and ``uv pip compile --generate-hashes
  --no-cache``. What lies on this machine alone is left out of both: uv unpacks such wheels;
- a whole capture with everything remembered, and the memory of one with nothing remembered.

An environment to measure: ``tests/bench/README.md``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench_capture import Measured, as_table, interpreter, pins, tool, uv_indexes

import envfreeze
from envfreeze.model.identity import normalize
from envfreeze.store import Cache
from envfreeze.targets import local

PROBE = "probe, nothing changed"
PROBE_KNOWN = "probe, all looked at, digests remembered"
LSTAT = "find -printf (an lstat of each file)"
HASH = "sha256 of every file, by the probe's means"
XARGS = "xargs -P2 sha256sum"
REHASH = "probe --rehash: that, and RECORDs compared"
PROOF = "proof of every wheel, nothing remembered"
COMPILE = "uv pip compile --generate-hashes --no-cache"
WARM = "envfreeze capture, everything remembered"
COLD = "envfreeze capture, nothing remembered"

SECONDS = {PROBE: 0.25, WARM: 1.0}
RATIOS = {
    (HASH, XARGS): 0.35,
    (REHASH, XARGS): None,
    (PROBE, LSTAT): None,
    (PROOF, COMPILE): 4.0,
    (COLD, COMPILE): None,
}
MEGABYTES = 300

HASH_PROGRAM = """\
import os, sys
sys.path.insert(0, sys.argv[1])
from probe import files
hasher, found = files.Hasher(frozenset()), []
for line in sys.stdin.buffer.read().split(b"\\0")[:-1]:
    size, _, path = line.partition(b" ")
    hasher.add(os.fsdecode(path), lambda *digests: found.append(digests), size=int(size))
hasher.run()
assert all(sha256 for sha256, _ in found)
"""

PROOF_PROGRAM = """\
import os, sys
from pathlib import Path
import msgspec
from envfreeze.model.snapshot import Snapshot
from envfreeze.resolve.wheels import WheelProof, prove_all
from envfreeze.store import Cache
from envfreeze.workflow.context import Context, index
snapshot = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Snapshot)
context = Context(cache=Cache(Path(sys.argv[2])))
verdicts = prove_all(snapshot.dists, index(snapshot.interpreter, context), context.cache)
for dist, verdict in zip(snapshot.dists, verdicts):
    if isinstance(verdict, WheelProof):
        print("local" if verdict.candidate.local else "proved", dist.name)
"""


@dataclasses.dataclass(frozen=True)
class Bench:
    """What all the measured things share."""

    python: str
    scratch: Path
    environ: Mapping[str, str]
    cache: Cache

    def target(self) -> local.LocalTarget:
        return local.LocalTarget(python=self.python, described=self.python, own=False)

    @property
    def listed(self) -> Path:
        """The files to hash, each followed by a zero byte."""
        return self.scratch / "files"

    @property
    def sized(self) -> Path:
        """The same, each after its size and a space: the probe knows them from its walk."""
        return self.scratch / "sized"

    def ran(
        self,
        argv: Sequence[str],
        *,
        stdin: Path | None = None,
        cache: Path | None = None,
        stdout: Path | None = None,
    ) -> float:
        """Seconds that a command takes; a failing one ends the benchmark."""
        environ = {**self.environ, **({"ENVFREEZE_CACHE_DIR": str(cache)} if cache else {})}
        with (
            open(stdin or os.devnull, "rb") as given,  # noqa: PTH123
            open(stdout or os.devnull, "wb") as output,  # noqa: PTH123
        ):
            started = time.perf_counter()
            done = subprocess.run(
                argv, env=environ, stdin=given, stdout=output, stderr=subprocess.PIPE, check=False
            )
            took = time.perf_counter() - started
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip()
            sys.exit(f"{argv[0]} failed with exit status {done.returncode}:\n{said[-800:]}")
        return took


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


# --- what is measured --------------------------------------------------------------------


def finding(site: Path, form: str) -> list[str]:
    """Tell of each regular file below *site* that the probe walks over."""
    walk = ["find", str(site), "-name", "__pycache__", "-prune", "-o", "-type", "f"]
    return [*walk, "-printf", form]


def listed_files(bench: Bench, site: Path) -> tuple[int, int]:
    """Write down the files below *site*, with their sizes and without; how many, and how large."""
    bench.ran(finding(site, "%s %p\\0"), stdout=bench.sized)
    lines = bench.sized.read_bytes().split(b"\0")[:-1]
    pairs = [line.partition(b" ") for line in lines]
    bench.listed.write_bytes(b"".join(path + b"\0" for _, _, path in pairs))
    return len(pairs), sum(int(size) for size, _, _ in pairs)


def probes(bench: Bench) -> dict[str, Callable[[], float]]:
    target, environ, cache = bench.target(), bench.environ, bench.cache

    def unchanged() -> float:
        return timed(lambda: local.observe(target, environ=environ, cache=cache))

    def known() -> float:
        """Digests remembered, and no answer kept that could still hold."""
        for kept in (cache.root / "last").rglob("*.json"):
            kept.unlink()
        return timed(lambda: local.observe(target, environ=environ, cache=cache))

    def rehashed() -> float:
        return timed(lambda: local.observe(target, environ=environ, cache=cache, rehash=True))

    return {PROBE_KNOWN: known, PROBE: unchanged, REHASH: rehashed}


def hashes(bench: Bench, site: Path) -> dict[str, Callable[[], float]]:
    home = str(Path(envfreeze.__file__).parent)
    ours = [bench.python, "-S", "-B", "-c", HASH_PROGRAM, home]
    stats = finding(site, "%D%i%s%T@%C@%m")
    return {
        LSTAT: lambda: bench.ran(stats),
        HASH: lambda: bench.ran(ours, stdin=bench.sized),
        XARGS: lambda: bench.ran(["xargs", "-0", "-P2", "sha256sum"], stdin=bench.listed),
    }


class Proofs:
    """The proof and uv, each without a cache, over what an index on the network has."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._turn = 0
        document = json.loads(
            local.observe(bench.target(), environ=bench.environ, cache=None).document
        )
        names = {dist["name"] for dist in document["dists"]}
        chosen = names - self._local(document)
        document["dists"] = [dist for dist in document["dists"] if dist["name"] in chosen]
        self._snapshot(document)
        wanted = {normalize(name) for name in chosen}
        lines = [pin for pin in pins(bench.python) if normalize(pin.partition("==")[0]) in wanted]
        self.count = len(lines)
        (bench.scratch / "pins.in").write_text("\n".join(lines) + "\n", "utf-8")

    def _snapshot(self, document: object) -> None:
        (self._bench.scratch / "snapshot.json").write_text(json.dumps(document), "utf-8")

    def _local(self, document: object) -> set[str]:
        """The names that are proved by a file of this machine."""
        self._snapshot(document)
        self.prove()
        said = (self._bench.scratch / "proved").read_text("utf-8").splitlines()
        return {line.partition(" ")[2] for line in said if line.startswith("local ")}

    def prove(self) -> float:
        self._turn += 1
        scratch = self._bench.scratch
        cache = scratch / f"proof-{self._turn}"
        argv = [sys.executable, "-c", PROOF_PROGRAM, str(scratch / "snapshot.json"), str(cache)]
        return self._bench.ran(argv, stdout=scratch / "proved")

    def proved(self) -> int:
        return len((self._bench.scratch / "proved").read_text("utf-8").splitlines())

    def compile(self) -> float:
        scratch = self._bench.scratch
        flags = ["--quiet", "--generate-hashes", "--no-cache", "-p", self._bench.python]
        flags += [*uv_indexes(), "-o", str(scratch / "uv.txt")]
        return self._bench.ran([tool("uv"), "pip", "compile", *flags, str(scratch / "pins.in")])


def warm(bench: Bench) -> Callable[[], float]:
    argv = [tool("envfreeze"), "capture", "-q", "-o", str(bench.scratch / "w.lock"), bench.python]
    return lambda: bench.ran(argv, cache=bench.scratch / "warm")


def cold(bench: Bench, turn: int) -> tuple[float, int]:
    """Seconds, and the megabytes of the largest of its processes."""
    place = bench.scratch / f"cold-{turn}"
    place.mkdir()
    argv = [tool("envfreeze"), "capture", "-q", "-o", str(place / "c.lock"), bench.python]
    environ = {**bench.environ, "ENVFREEZE_CACHE_DIR": str(place / "cache")}
    started = time.perf_counter()
    process = os.posix_spawn(argv[0], argv, environ)
    _, status, usage = os.wait4(process, 0)
    took = time.perf_counter() - started
    if status:
        sys.exit(f"a cold capture failed with wait status {status}")
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return took, usage.ru_maxrss // unit


# --- the report --------------------------------------------------------------------------


def verdicts(results: Mapping[str, Measured], megabytes: int | None) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []

    def add(name: str, value: float | None, target: float | None) -> None:
        met = None if target is None or value is None else value <= target
        found.append({"name": name, "value": value, "target": target, "met": met})

    def median(name: str) -> float | None:
        return results[name].median if name in results else None

    for name, most in SECONDS.items():
        add(f"{name}, seconds", median(name), most)
    for (one, two), limit in RATIOS.items():
        ours, theirs = median(one), median(two)
        add(f"{one} / {two}", ours / theirs if ours and theirs else None, limit)
    add(f"{COLD}, MB of its largest process", megabytes, MEGABYTES)
    return found


def measure(
    bench: Bench, site: Path, runs: int, cold_runs: int
) -> tuple[list[Measured], int | None, str]:
    count, size = listed_files(bench, site)
    said = f"{count} files, {size / 1e9:.2f} GB"
    things = {**probes(bench), **hashes(bench, site), WARM: warm(bench)}
    results = {name: Measured(name) for name in things}
    for work in things.values():
        work()
    for _ in range(runs):
        for name, work in things.items():
            results[name].seconds.append(work())
    if not cold_runs:
        return list(results.values()), None, said
    proofs = Proofs(bench)
    proofs.prove()
    said += f"; {proofs.proved()} wheels proved of {proofs.count} pins"
    proofs.compile()
    largest = 0
    for name in (PROOF, COMPILE, COLD):
        results[name] = Measured(name)
    for turn in range(cold_runs):
        results[PROOF].seconds.append(proofs.prove())
        results[COMPILE].seconds.append(proofs.compile())
        seconds, megabytes = cold(bench, turn)
        results[COLD].seconds.append(seconds)
        largest = max(largest, megabytes)
    return list(results.values()), largest, said


def site_of(python: str) -> Path:
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", type=Path, required=True, help="an environment, or its python")
    parser.add_argument("--runs", type=int, default=7, help="of what is warm (default: 7)")
    parser.add_argument("--cold-runs", type=int, default=3, help="0: none (default: 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    given = parser.parse_args(arguments)
    python = interpreter(given.python)
    # PYTHONPATH leads to envfreeze at most; a target's would be part of the environment.
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with tempfile.TemporaryDirectory(prefix="envfreeze-bench.") as place:
        scratch = Path(place)
        bench = Bench(python, scratch, environ, Cache(scratch / "cache"))
        results, megabytes, said = measure(
            bench, site_of(python), max(1, given.runs), given.cold_runs
        )
    found = verdicts({measured.name: measured for measured in results}, megabytes)
    load = ", ".join(f"{part:.1f}" for part in os.getloadavg())
    print(f"{said}; {os.cpu_count()} CPUs, load {load}\n\n{as_table(results, found)}")
    if given.json:
        times = [{**dataclasses.asdict(m), "median": m.median} for m in results]
        report = {"schema": 1, "measured": times, "ratios": found}
        given.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return 1 if given.check and any(ratio["met"] is False for ratio in found) else 0


if __name__ == "__main__":
    sys.exit(main())
