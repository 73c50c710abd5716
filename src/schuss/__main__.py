"""``python -m schuss``: the console script ``schuss``, or a script or module accelerated.

    python -m schuss [options] script.py [arguments]
    python -m schuss [options] -m module [arguments]

Options: --classes=A,B  --verbose  --strict  --verify  --report
"""

import os
import runpy
import sys
from io import open_code
from types import ModuleType

FLAGS = {"--verbose", "--strict", "--verify", "--report"}


def main():
    """Run what the arguments of the process name."""
    words, rest = _split(sys.argv[1:])
    if not (rest[:1] == ["-m"] and len(rest) > 1) and not (rest and rest[0].endswith(".py")):
        from schuss import cli

        sys.exit(cli.main())
    from schuss.acceleration import start

    try:
        start(words)
    except ValueError as error:
        sys.exit(f"schuss: --classes: {error}")
    if rest[0] == "-m":
        sys.argv = rest[1:]
        runpy.run_module(rest[1], run_name="__main__", alter_sys=True)
        return
    sys.argv = rest
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.realpath(rest[0]))
    _run_script(rest[0])


def _run_script(name):
    """Run a file as Python does: runpy changes `sys.argv`, and `__main__` at the end."""
    path = os.path.abspath(name)
    try:
        with open_code(path) as file:
            code = file.read()
    except OSError as error:
        sys.exit(f"schuss: {error}")
    module = sys.modules["__main__"] = ModuleType("__main__")
    module.__file__ = path
    exec(compile(code, path, "exec"), vars(module))


def _split(arguments):
    """The options for `schuss.acceleration.start`, and what comes behind them."""
    words = set()
    for i, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if argument in FLAGS:
            words.add(argument[2:])
        elif name == "--classes":
            words.update(value.split(","))
        else:
            return words, arguments[i:]
    return words, []


if __name__ == "__main__":
    main()
