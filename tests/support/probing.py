"""The facts of a real interpreter, as the probe reports them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from envfreeze.model.snapshot import Interpreter
from envfreeze.targets.bundle import Question


def interpreter_of(python: Path, **environ: str) -> Interpreter:
    """Run the probe in *python*, with *environ* added to the variables."""
    question = Question({})
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        question.argv(str(python)), env=kept | environ, capture_output=True, check=True
    )
    return question.answer(done.stdout, str(python)).snapshot.interpreter
