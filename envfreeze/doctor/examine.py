"""A lock, or the active environment, held against a machine."""

from __future__ import annotations

from envfreeze.doctor import accelerator, system
from envfreeze.doctor.facts import VERDICTS, Check, Here
from envfreeze.doctor.subject import of_here, of_lock
from envfreeze.model.lock import Lock


def examine(lock: Lock | None, here: Here) -> list[Check]:
    """Everything that was looked at, worst first; without a lock, of what is active here."""
    subject = of_here(here) if lock is None else of_lock(lock)
    found = [*accelerator.checks(subject, here), *system.checks(subject, here)]
    return sorted(dict.fromkeys(found), key=lambda check: VERDICTS.index(check.verdict))
