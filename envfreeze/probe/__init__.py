"""What runs inside the target: standard library only, Python 3.6 and later.

The modules of this package travel as text to the target's own interpreter and run there in
one process, started with ``-S -B``: no ``.pth`` line, ``sitecustomize`` or package of the
target runs, nothing is written. They print one JSON document, the Snapshot
(:mod:`envfreeze.model.snapshot` types it). They import nothing of envfreeze but each other.

Each probe is a function of a :class:`machine.Machine` that returns facts.
"""
