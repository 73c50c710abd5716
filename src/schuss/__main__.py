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
    words, classes, rest = _split(sys.argv[1:])
    if not (rest[:1] == ["-m"] and len(rest) > 1) and not (rest and rest[0].endswith(".py")):
        from schuss import cli

        sys.exit(cli.main())
    from schuss.acceleration import available, start

    if classes is not None:
        names = set(classes.split(",")) - {""}
        if not names or names - {*available()}:
            sys.exit(
                f"schuss: --classes={classes}: expected names separated by commas, of "
                f"{', '.join(available())}."
            )
        words |= names
    start(words)
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
    """The options, the value of ``--classes`` or None, and what comes behind them."""
    words, classes, rest = set(), None, list(arguments)
    while rest:
        name, equals, value = rest[0].partition("=")
        if rest[0] in FLAGS:
            words.add(name[2:])
        elif name == "--classes":
            classes = value if equals else rest.pop(1) if len(rest) > 1 else ""
        else:
            break
        del rest[0]
    return words, classes, rest


if __name__ == "__main__":
    main()
