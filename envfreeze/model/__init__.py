"""The two documents, Snapshot and Lock, and the identity of an environment."""
