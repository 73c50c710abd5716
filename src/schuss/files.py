"""Atomic writes of files; pipes and devices as files."""

import contextlib
import io
import os
import secrets
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO

PathLike = str | os.PathLike[str]

STDIN, STDOUT = Path("/dev/stdin"), Path("/dev/stdout")

# Common file systems limit file names to 255 bytes.
_STEM_BYTES = 200


def descriptor(path: PathLike) -> int | None:
    """File descriptor that `path` stands for, such as 1 for ``/dev/stdout``.

    Parameters
    ----------
    path : str or path-like
        ``/dev/fd/3``, ``/dev/stdin`` or a symbolic link to such a name.

    Returns
    -------
    int or None
        None for any other path.
    """
    if Path(path) in (STDIN, STDOUT):
        return (STDIN, STDOUT).index(Path(path))
    # Resolve links one at a time: the last, in /proc, points to the file behind the descriptor.
    open_files = os.path.realpath("/dev/fd")
    name = os.path.abspath(path)
    for _ in range(40):
        folder, base = os.path.split(name)
        if base.isdecimal() and os.path.realpath(folder) == open_files:
            return int(base)
        try:
            name = os.path.join(folder, os.readlink(name))
        except (OSError, ValueError, AttributeError):
            break
    return None


def open_to_read(path: PathLike) -> IO[bytes]:
    """Open a file, pipe or device as a binary file.

    A descriptor is read from its current position, and is not closed.

    Parameters
    ----------
    path : str or path-like
    """
    number = descriptor(path)
    return open(path, "rb") if number is None else open(number, "rb", closefd=False)


def can_be_reopened(path: PathLike) -> bool:
    """Whether `path` can be opened again and gives the same bytes, unlike a pipe.

    Parameters
    ----------
    path : str or path-like
    """
    return descriptor(path) is None and Path(path).is_file()


@contextlib.contextmanager
def write_whole(path: PathLike) -> Iterator[IO[bytes]]:
    """Open a binary file that replaces `path` only when it is complete.

    Parameters
    ----------
    path : str or path-like
        A pipe or a device, such as ``/dev/stdout``, receives the complete content at the end.

    Yields
    ------
    file object
        If the block raises an exception, `path` is unchanged.
    """
    try:
        number = descriptor(path)
        # The file behind a symbolic link is replaced, not the link.
        target = Path(os.path.realpath(path))
        if number is not None or (target.exists() and not target.is_file()):
            content = io.BytesIO()
            yield content
            with open(target if number is None else number, "wb", closefd=number is None) as file:
                file.write(content.getbuffer())
        else:
            yield from _replacement(target)
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def _replacement(path: Path) -> Generator[IO[bytes], None, None]:
    stem = os.fsencode(path.name)[:_STEM_BYTES].decode("utf-8", "ignore")
    partial = path.with_name(f".{stem}.{secrets.token_hex(4)}.part")
    try:
        with open(partial, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, partial)
        os.replace(partial, path)
        _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _sync_folder(folder):
    """Make the new name durable, where the system supports it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_writable(path: PathLike) -> None:
    """Raise an OSError if `write_whole` could not write to `path`.

    Parameters
    ----------
    path : str or path-like
    """
    if descriptor(path) is not None:
        return
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(f"{path}: a folder; expected the name of a file to write")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist")
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = None
    # Root may write to every file, but files without write permission are kept for root, too.
    if mode is not None and not (mode & 0o222 and os.access(path, os.W_OK)):
        raise PermissionError(
            f"{path}: the file is read-only; choose another file, or make it writable"
        )
    if not os.access(path.parent if mode is None or path.is_file() else path, os.W_OK):
        raise PermissionError(f"{path}: no permission to write; choose another file")
