"""``python -m schuss``: the console script ``schuss``."""

import sys

from schuss.cli import main

if __name__ == "__main__":
    sys.exit(main())
