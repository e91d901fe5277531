"""Compare two environments (pure) and report."""
