"""How long a capture takes, beside the tools that answer a part of the same question.

    python tests/bench/bench_capture.py --python PATH_OF_AN_ENVIRONMENT

Warm: every command runs once unmeasured, then all of them take turns, so that a slow moment of
the machine meets each alike. Cold: no cache at all, over the same list of pinned versions.
The ratios with a target are what this project holds itself to.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

HERE = Path(sys.executable).parent
CAPTURE = "envfreeze capture --offline --no-pack"
INSPECT = "pip inspect"
HELP = "envfreeze --help"
COLD = "envfreeze capture (fresh cache)"


@dataclasses.dataclass(frozen=True)
class Command:
    """Something to measure."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Measured:
    """Its wall times in seconds, or why there are none."""

    name: str
    seconds: list[float] = dataclasses.field(default_factory=list)
    failed: str = ""

    @property
    def median(self) -> float | None:
        return statistics.median(self.seconds) if self.seconds else None


def run_once(command: Command, measured: Measured | None) -> None:
    # A start without compiled modules is no tool's own time.
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    done = subprocess.run(
        command.argv,
        env={**inherited, **command.env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    took = time.perf_counter() - started
    if measured is None:
        return
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
        measured.failed = f"exit {done.returncode} after {took:.1f} s: {said[-1].strip()[:160]}"
    else:
        measured.seconds.append(took)


def interleaved(commands: Sequence[Command], runs: int, *, warm_up: bool) -> list[Measured]:
    """Each command *runs* times, in turns."""
    results = [Measured(command.name) for command in commands]
    if warm_up:
        for command in commands:
            run_once(command, None)
    for _ in range(runs):
        for command, measured in zip(commands, results, strict=True):
            if not measured.failed:
                run_once(command, measured)
    return results


# --- what is measured --------------------------------------------------------------------


def tool(name: str) -> str:
    found = shutil.which(name, path=f"{HERE}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        sys.exit(f"{name} is not installed beside {sys.executable}: pip install --group test")
    return found


def pip_of(python: str) -> list[str]:
    """pip as the environment runs it; an environment without pip runs ours, as --python does."""
    own = subprocess.run([python, "-c", "import pip"], capture_output=True, check=False)
    if own.returncode == 0:
        return [python, "-m", "pip"]
    spec = importlib.util.find_spec("pip")
    if spec is None or spec.origin is None:
        sys.exit("neither the environment nor this interpreter has pip")
    return [python, str(Path(spec.origin).parent)]


def warm_commands(python: str, scratch: Path) -> list[Command]:
    envfreeze = tool("envfreeze")
    cache = {"ENVFREEZE_CACHE_DIR": str(scratch / "cache")}
    offline = [envfreeze, "capture", "--offline", "--no-pack", "-q", "-o", str(scratch / "w.lock")]
    return [
        Command(CAPTURE, [*offline, python], cache),
        Command(f"{CAPTURE} --rehash", [*offline, "--rehash", python], cache),
        Command(INSPECT, [*pip_of(python), "inspect"]),
        Command("uv pip freeze", [tool("uv"), "pip", "freeze", "--python", python]),
        Command(HELP, [envfreeze, "--help"]),
    ]


def pins(python: str) -> list[str]:
    """``name==version`` of everything that has a version on an index."""
    done = subprocess.run(
        [tool("uv"), "pip", "freeze", "--python", python],
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in done.stdout.splitlines() if "==" in line and " @ " not in line]


def cold_commands(python: str, scratch: Path, turn: int) -> list[Command]:
    listed = scratch / "frozen.in"
    place = scratch / f"cold-{turn}"
    place.mkdir()
    lock, uv_out, pip_out = (str(place / name) for name in ("cold.lock", "uv.txt", "pip.txt"))
    uv = ["--quiet", "--generate-hashes", "--no-cache"]
    pip = ["--quiet", "--generate-hashes", "--no-header", "--strip-extras", "--allow-unsafe"]
    pip += ["--cache-dir", str(place / "pip-tools"), "--pip-args", "--no-cache-dir"]
    return [
        Command(
            COLD,
            [tool("envfreeze"), "capture", "-q", "-o", lock, python],
            {"ENVFREEZE_CACHE_DIR": str(place / "cache")},
        ),
        Command(
            "uv pip compile --generate-hashes --no-cache",
            [
                tool("uv"),
                "pip",
                "compile",
                *uv,
                *uv_indexes(),
                "-p",
                python,
                "-o",
                uv_out,
                str(listed),
            ],
        ),
        Command(
            "pip-compile --generate-hashes",
            [tool("pip-compile"), *pip, "-o", pip_out, str(listed)],
        ),
    ]


def uv_indexes() -> list[str]:
    """uv does not read pip's settings: hand it the same indexes."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    flags = {"index-url": "--default-index", "extra-index-url": "--index"}
    given: dict[str, None] = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition("=")
        flag = {**flags, "find-links": "--find-links"}.get(key.rpartition(".")[2])
        for word in value.strip("'").split() if flag else []:
            given[f"{flag}={word}"] = None
    return [*given, "--index-strategy=unsafe-best-match"]


# --- the report --------------------------------------------------------------------------


def ratios(results: Mapping[str, Measured]) -> list[dict[str, object]]:
    """What is held to a target, and what is only told."""
    found: list[dict[str, object]] = []

    def add(name: str, value: float | None, target: float | None) -> None:
        met = None if target is None or value is None else value <= target
        found.append({"name": name, "value": value, "target": target, "met": met})

    def by(one: str, two: str) -> float | None:
        first, second = results.get(one), results.get(two)
        if first is None or second is None or first.median is None or not second.median:
            return None
        return first.median / second.median

    add(f"{CAPTURE} / {INSPECT}", by(CAPTURE, INSPECT), 0.5)
    add(f"{HELP}, seconds", results[HELP].median if HELP in results else None, 0.25)
    for name in results:
        if name.startswith(("uv ", "pip-compile")):
            ours = COLD if "compile" in name else CAPTURE
            add(f"{ours} / {name}", by(ours, name), None)
    return found


def as_table(results: Sequence[Measured], found: Sequence[Mapping[str, object]]) -> str:
    width = max(len(measured.name) for measured in results)
    lines = [f"{'':<{width}}  {'median':>9} {'min':>9} {'max':>9}   runs"]
    for measured in results:
        if measured.median is None:
            lines.append(f"{measured.name:<{width}}  failed: {measured.failed}")
            continue
        times = (measured.median, min(measured.seconds), max(measured.seconds))
        shown = " ".join(f"{seconds:>7.3f} s" for seconds in times)
        lines.append(f"{measured.name:<{width}}  {shown}   {len(measured.seconds)}")
    lines.append("")
    for ratio in found:
        value, target = ratio["value"], ratio["target"]
        said = "not measured" if value is None else f"{value:.3f}"
        if target is not None:
            said += f"   target: at most {target}"
            said += {True: ", met", False: ", MISSED", None: ""}[ratio["met"]]  # type: ignore[index]
        lines.append(f"{ratio['name']}: {said}")
    return "\n".join(lines)


def measure(python: str, runs: int, cold_runs: int, scratch: Path) -> list[Measured]:
    results = interleaved(warm_commands(python, scratch), runs, warm_up=True)
    if not cold_runs:
        return results
    (scratch / "frozen.in").write_text("\n".join(pins(python)) + "\n", "utf-8")
    cold: dict[str, Measured] = {}
    for turn in range(cold_runs):
        for command in cold_commands(python, scratch, turn):
            measured = cold.setdefault(command.name, Measured(command.name))
            if not measured.failed:
                run_once(command, measured)
    return [*results, *cold.values()]


def interpreter(path: Path) -> str:
    found = path / "bin" / "python" if path.is_dir() else path
    if not os.access(found, os.X_OK):
        sys.exit(f"{path}: no interpreter, and no environment with bin/python")
    return str(found.absolute())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", type=Path, required=True, help="an environment, or its python")
    parser.add_argument("--runs", type=int, default=9, help="of each warm command (default: 9)")
    parser.add_argument("--cold-runs", type=int, default=1, help="0: none (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    given = parser.parse_args(arguments)
    python = interpreter(given.python)
    with tempfile.TemporaryDirectory(prefix="envfreeze-bench.") as scratch:
        results = measure(python, max(1, given.runs), given.cold_runs, Path(scratch))
    found = ratios({measured.name: measured for measured in results})
    count = len(pins(python))
    where = f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {platform.machine()}"
    print(f"{count} pinned distributions; measured from {where}\n\n{as_table(results, found)}")
    if given.json:
        times = [{**dataclasses.asdict(m), "median": m.median} for m in results]
        report = {"schema": 1, "distributions": count, "measured": times, "ratios": found}
        given.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return 1 if given.check and any(ratio["met"] is False for ratio in found) else 0


if __name__ == "__main__":
    sys.exit(main())
