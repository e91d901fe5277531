"""What several tests need: servers that misbehave on demand, and small artifacts."""
