"""Lock to files, pure: no I/O, no network, no engine."""
