"""Entry point of the console script ``schuss``; the commands are in `schuss._commands`."""

import sys
from importlib.util import find_spec

NEEDED = ("typer", "rich", "pyarrow", "narwhals")


def main(arguments=None):
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Those of the process by default.

    Returns
    -------
    int
        Exit code: 0, or 2 for bad input.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(
            f'schuss: the command line needs {", ".join(missing)}: pip install "schuss[cli]"',
            file=sys.stderr,
        )
        return 2
    from schuss._commands import app

    try:
        app(arguments, prog_name="schuss")
    except SystemExit as end:
        return end.code
    return 0
