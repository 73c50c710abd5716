"""Lets ``python -m schuss`` do what the console script does."""

import sys

from schuss.cli import main

if __name__ == "__main__":
    sys.exit(main())
