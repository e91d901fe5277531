"""The machine's part of a lock: the interpreter and the system packages that it needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from envfreeze.model.lock import InterpreterLayer, SystemLayer
from envfreeze.model.snapshot import Finding, Snapshot
from envfreeze.model.survey import Survey

if TYPE_CHECKING:
    from envfreeze.resolve.freeze import Means


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineLayers:
    interpreter: InterpreterLayer
    system: SystemLayer
    findings: list[Finding] = field(default_factory=list)


def lock_machine(snapshot: Snapshot, seen: Survey, means: Means) -> MachineLayers:
    return MachineLayers(
        interpreter=InterpreterLayer(facts=snapshot.interpreter, origin="unpacked"),
        system=SystemLayer(
            kernel=snapshot.system.kernel,
            machine=snapshot.system.machine,
            os_release=snapshot.system.os_release,
        ),
    )
