"""``python -m envfreeze``."""

from envfreeze.cli.main import main

if __name__ == "__main__":
    main()
