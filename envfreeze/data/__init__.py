"""Tables: what the world outside has and needs, each row with its source."""
