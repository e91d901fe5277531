"""Run one harness until its time is over, coverage-guided where atheris is, and count.

A finding does not end the run: it is kept once for each place that it comes from, with its
input, and the run goes on. What stops a process (memory, an endless loop) is counted by
:mod:`tests.fuzz.__main__`, which starts it again.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.fuzz.harnesses import Harness

MEASURE_EVERY = 16
"""Executions between two whose memory is measured: it takes more than half of the speed."""
ADDRESS_SPACE = 3 << 30
LARGE = 8 << 10


@dataclass
class Count:
    """What has been done so far, as the status file has it."""

    harness: str
    engine: str
    executions: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    memory: int = 0
    findings: dict[str, str] = field(default_factory=dict)
    """Where it comes from, to the input's file."""


class Run:
    """One harness, its counts and its findings."""

    def __init__(self, name: str, into: Path, engine: str) -> None:
        from tests.fuzz.guard import Guard
        from tests.fuzz.harnesses import HARNESSES, ready

        ready()
        self.harness = next(h for h in HARNESSES if h.name == name)
        self.into = into
        self.count = Count(name, engine)
        self._scratch = tempfile.TemporaryDirectory(prefix="envfreeze-fuzz-")
        self._guard = Guard(Path(self._scratch.name))
        self._begin = self._written = time.monotonic()

    def one(self, data: bytes) -> None:
        from tests.fuzz.harnesses import check_cost

        count = self.count
        measure = count.executions % MEASURE_EVERY == 0 and self.harness.memory is not None
        count.executions += 1
        try:
            cost = self._guard.run(self.harness.check, data, measure=measure)
            count.slowest = max(count.slowest, cost.seconds)
            count.memory = max(count.memory, cost.memory or 0)
            check_cost(self.harness, cost, len(data))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._found(error, data)
        now = time.monotonic()
        if now - self._written > 0.5:
            self._written = now
            self.write()

    def _found(self, error: BaseException, data: bytes) -> None:
        where = _where(error)
        if where in self.count.findings:
            return
        path = self.into / f"{self.harness.name.replace('/', '_')}-{len(self.count.findings)}.bin"
        path.write_bytes(data)
        self.count.findings[where] = str(path)
        path.with_suffix(".txt").write_text("".join(traceback.format_exception(error)))
        self.write()

    def write(self) -> None:
        self.count.seconds = time.monotonic() - self._begin
        status = self.into / "status.json"
        status.with_suffix(".new").write_text(json.dumps(asdict(self.count)))
        status.with_suffix(".new").replace(status)


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/envfreeze/" in frame.filename] or list(frames)
    last = ours[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno} {last.name}"


def with_atheris(name: str, into: Path, seconds: int) -> None:
    import atheris

    include = ["envfreeze", "tomllib", "html.parser", "zipfile", "tarfile", "installer"]
    with atheris.instrument_imports(include=include):
        from tests.fuzz import harnesses  # noqa: F401
    run = Run(name, into, "atheris")
    corpus, tokens = into / "corpus", into / "tokens"
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(_seeds(run.harness)):
        (corpus / f"seed-{number}").write_bytes(seed)
    from tests.fuzz.mutate import COMMON

    words = [word for word in (*COMMON, *run.harness.tokens) if len(word) <= 64]
    tokens.write_text("".join(f'"{_escaped(word)}"\n' for word in words))
    arguments = [
        f"-max_total_time={seconds}",
        "-timeout=20",
        "-rss_limit_mb=2500",
        "-max_len=65536",
        "-reload=0",
        "-verbosity=0",
        "-detect_leaks=0",
        f"-dict={tokens}",
        f"-artifact_prefix={into}/stopped-",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *arguments], run.one)
    atheris.Fuzz()


def _seeds(harness: Harness) -> list[bytes]:
    from tests.fuzz.known import KNOWN

    known = KNOWN.get(harness.name, list)()
    # A large one is slow, and so is all that is made from it.
    return [*harness.seeds(), *(data for data in known if len(data) <= LARGE)]


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def with_hypothesis(name: str, into: Path, seconds: int) -> None:
    from hypothesis import HealthCheck, Phase, given, settings

    from tests.fuzz.mutate import mutants

    run = Run(name, into, "hypothesis")
    end = time.monotonic() + seconds

    @settings(
        max_examples=10**8,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(mutants(_seeds(run.harness), run.harness.tokens))
    def examples(data: bytes) -> None:
        if time.monotonic() > end:
            raise KeyboardInterrupt
        run.one(data)

    # Hypothesis ends early where it believes to have seen everything.
    while time.monotonic() < end:
        try:
            examples()
        except KeyboardInterrupt:
            break
    run.write()


def main(arguments: list[str]) -> None:
    name, into, seconds = arguments[0], Path(arguments[1]), int(arguments[2])
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    engine: Any = with_hypothesis
    if arguments[3:] != ["hypothesis"]:
        try:
            import atheris  # noqa: F401
        except ImportError:
            pass
        else:
            engine = with_atheris
    engine(name, into, seconds)


if __name__ == "__main__":
    main(sys.argv[1:])
