"""A look inside an image at what the probe of an environment leaves out."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import msgspec

from envfreeze.diff import inside, verdict
from envfreeze.diff.compare import Change
from envfreeze.diff.inside import Inside
from envfreeze.errors import EngineError, TargetError
from envfreeze.model.lock import Lock
from envfreeze.workflow.context import ROOT

if TYPE_CHECKING:
    from envfreeze.build.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    changes: list[Change]
    counts: verdict.Counts


def look(lock: Lock, engine: Engine, image: str, *, ours: bool) -> Looked:
    """Run :mod:`envfreeze.probe.inside` there, and compare.

    :param ours: as for :func:`envfreeze.workflow.verifying.verify_image`.
    """
    from envfreeze.render import dockerfile

    variables = dockerfile.variables(lock)
    request = _request(lock, list(variables))
    seen = _ask(lock, engine, image, request)
    if seen is None:  # Its own interpreter is not there: the probe's comparison tells that.
        return Looked(changes=[], counts=verdict.Counts(files=0))
    found = list(inside.changes(lock, seen, variables))
    if ours:
        found += inside.python(lock, seen)
        found += _start(engine, image)
    counts = verdict.Counts(
        files=0,
        own=len(seen.own) if lock.machine.interpreter.files is not None else None,
        unowned=len(seen.files),
        variables=len(variables),
        started=ours,
    )
    return Looked(changes=found, counts=counts)


def _request(lock: Lock, names: list[str]) -> dict[str, object]:
    facts = lock.machine.interpreter.facts
    return {
        "interpreter": {
            "stdlib": facts.stdlib,
            "executable": facts.executable,
            "base_executable": facts.base_executable,
            "base_prefix": facts.base_prefix,
            "libpython": facts.signs.libpython,
        },
        "files": list(inside.unowned(lock)),
        "environment": names,
    }


def _ask(lock: Lock, engine: Engine, image: str, request: dict[str, object]) -> Inside | None:
    """The answer; None: the interpreter of the lock is not there.

    :raises TargetError: what it answers is none.
    """
    from envfreeze.build.engine import has_no_such_program

    marker = f"envfreeze-{secrets.token_hex(16)}"
    program = resources.files("envfreeze.probe").joinpath("inside.py").read_text("utf-8")
    python = lock.machine.interpreter.facts.executable
    place = f"/envfreeze-{secrets.token_hex(8)}.json"
    files = {place: json.dumps({**request, "marker": marker}).encode()}
    argv = [python, "-S", "-B", "-c", program, place]
    try:
        output = engine.run_probe(image, argv, files, user=ROOT)
    except EngineError as error:
        if has_no_such_program(error):
            return None
        raise
    answer = output.partition(marker.encode())[2]
    try:
        return msgspec.json.decode(answer, type=Inside)
    except msgspec.MsgspecError as error:
        raise TargetError(
            f"image:{image} gave no answer that can be read: {error}",
            hint="Check that it is a working Python: run it with -c 'print(1)'.",
        ) from error


def _start(engine: Engine, image: str) -> Iterator[Change]:
    """Whether the user of the image can run what PATH leads to."""
    try:
        engine.run_probe(image, ["python", "-c", "import site"])
    except EngineError as error:
        yield Change(
            layer="environment",
            kind="changed",
            name="a start as its user",
            before="python runs",
            after=str(error).splitlines()[-1][:200],
            note="--user root, or another base",
        )
