"""Files to an environment: venv, docker. Fetches by hash first, then works without network."""
