"""``python -m envfreeze``."""

from envfreeze.cli.main import run

if __name__ == "__main__":
    run()
