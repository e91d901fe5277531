"""Capture a Python environment that already runs, rebuild it exactly, and prove it.

From Python, the commands are the functions of :mod:`envfreeze.workflow`.
"""

__version__ = "0.1.0"
