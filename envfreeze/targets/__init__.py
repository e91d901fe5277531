"""How to reach a target and run the probe there."""
