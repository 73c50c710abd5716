"""Entry point of the console script ``schuss``; the commands are in `schuss._commands`."""

import contextlib
import io
import os
import select
import sys
from importlib.util import find_spec

NEEDED = ("typer", "rich", "duckdb", "pyarrow", "narwhals", "PIL")

OUTPUT_CLOSED = 141  # what shells report if the reader closes a pipe


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Arguments; by default those of the process.

    Returns
    -------
    int
        Exit code: 0 for success; 1 if ``bench`` rejects a library; 2 for invalid input and for
        files that cannot be read or written; 130 after Ctrl-C; 141 if the output pipe is closed.
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
            return end.code if isinstance(end.code, int) else 2
        except OSError as error:
            return report_error(error, "--json" in (sys.argv if arguments is None else arguments))
    return 0


class _WholeWrites(io.RawIOBase):
    """A stream that writes everything, or raises.

    An unbuffered stdout may write a part without an error. Errors of stderr are ignored, as
    there is nowhere to report them.
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
        remaining = memoryview(data).cast("B")
        size = remaining.nbytes
        try:
            while remaining:
                written = self._raw.write(remaining)
                if written is None:  # a non-blocking pipe is full
                    select.select([], [self._raw], [])
                else:
                    remaining = remaining[written:]
        except BrokenPipeError:
            if self._name == "stdout":
                # rich and click would catch BrokenPipeError and exit with another code.
                raise SystemExit(OUTPUT_CLOSED) from None
        except OSError as error:
            if self._name == "stdout":
                error.filename = self._name
                raise
        return size


def _whole(stream, descriptor, name):
    """Return a stream that writes all of the text, unless `stream` has no buffer."""
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
    """Open the null device for closed standard streams, so that no file gets their number."""
    while (number := os.open(os.devnull, os.O_RDONLY)) <= 2:
        pass
    os.close(number)
