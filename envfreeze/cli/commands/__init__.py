"""The commands, a module each: only the one that is asked for is imported.

In these modules annotations are values, and not put off by ``__future__``: typer reads them at each
start, and text has to be compiled first.
"""
