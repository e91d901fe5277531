"""Enemies of every parser: one harness each, for the quick property tests and for ``make fuzz``.

A harness takes bytes and returns, or raises what is then a finding. :mod:`tests.fuzz.guard` adds
what no input of any parser may do: run something, read or write elsewhere, take long, take much
memory. ``python -m tests.fuzz --seconds 60`` runs them for long; see CONTRIBUTING.md.
"""
