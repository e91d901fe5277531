"""Will it run here? What a lock needs, held against what is known of a machine. Pure."""
