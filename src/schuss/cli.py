"""Entry point of the console script ``schuss``; the commands are in `schuss._commands`."""

import contextlib
import io
import os
import select
import sys
from importlib.util import find_spec

NEEDED = ("typer", "rich", "pyarrow", "narwhals")

OUTPUT_CLOSED = 141  # what shells report where the reader of a pipe has had enough


def main(arguments=None):
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Those of the process by default.

    Returns
    -------
    int
        Exit code: 0; 1 where ``bench`` refused a library; 2 for bad input, or what cannot be read
        or written; 130 after Ctrl-C; 141 where the reader of the output has gone.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(
            f'schuss: the command line needs {", ".join(missing)}: pip install "schuss[cli]"',
            file=sys.stderr,
        )
        return 2
    from schuss._commands import app, report_error

    _reserve_descriptors()
    with (
        contextlib.redirect_stdout(_whole(sys.stdout, 1, "stdout")),
        contextlib.redirect_stderr(_whole(sys.stderr, 2, "stderr")),
    ):
        try:
            try:
                app(arguments, prog_name="schuss")
            finally:
                sys.stdout.flush()
        except SystemExit as end:
            return end.code
        except OSError as error:
            return report_error(error, "--json" in (sys.argv if arguments is None else arguments))
    return 0


class _WholeWrites(io.RawIOBase):
    """A stream that writes all it is given, or raises.

    An unbuffered stdout may write a part and report no error. What stderr does not take is
    dropped: nobody is there to be told.
    """

    def __init__(self, raw, name):
        self._raw = raw
        self._name = name

    def writable(self):
        return True

    def fileno(self):
        return self._raw.fileno()

    def isatty(self):
        return self._raw.isatty()

    def write(self, data):
        rest = memoryview(data).cast("B")
        size = rest.nbytes
        try:
            while rest:
                written = self._raw.write(rest)
                if written is None:  # a pipe that does not block is full
                    select.select([], [self._raw], [])
                else:
                    rest = rest[written:]
        except BrokenPipeError:
            if self._name == "stdout":
                # rich and click catch BrokenPipeError, and end with a code of their own.
                raise SystemExit(OUTPUT_CLOSED) from None
        except OSError as error:
            if self._name == "stdout":
                error.filename = self._name
                raise
        return size


def _whole(stream, descriptor, name):
    """Return `stream`, or where it is a file or None, one that writes all of the text."""
    if stream is None:
        raw, encoding = io.FileIO(descriptor, "w", closefd=False), "utf-8"
    elif not hasattr(stream, "buffer"):
        return stream
    else:
        stream.flush()
        raw, encoding = getattr(stream.buffer, "raw", stream.buffer), stream.encoding
    return io.TextIOWrapper(
        _WholeWrites(raw, name),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=name == "stderr" or raw.isatty(),
    )


def _reserve_descriptors():
    """Fill the places of closed standard streams: a model must not be what print writes to."""
    while (number := os.open(os.devnull, os.O_RDONLY)) <= 2:
        pass
    os.close(number)
