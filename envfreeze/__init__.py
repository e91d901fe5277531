"""Capture a Python environment that already runs, rebuild it exactly, and prove it."""

__version__ = "0.1.0"
