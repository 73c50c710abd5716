"""Files written whole or not at all; pipes and devices as files."""

import contextlib
import io
import os
import secrets
import shutil
from pathlib import Path

STDIN, STDOUT = Path("/dev/stdin"), Path("/dev/stdout")

# The longest file name that common file systems know has 255 bytes.
_STEM_BYTES = 200


def descriptor(path):
    """Number of the open file that `path` stands for, such as 1 for ``/dev/stdout``.

    Parameters
    ----------
    path : str or path-like
        ``/dev/fd/3``, ``/dev/stdin`` or a symbolic link to such a name.

    Returns
    -------
    int or None
        None for every other path.
    """
    path = Path(path)
    if path in (STDIN, STDOUT):
        return (STDIN, STDOUT).index(path)
    # What the last link points to is of no use: /proc gives the name of the file behind it.
    open_files = os.path.realpath("/dev/fd")
    path = os.path.abspath(path)
    for _ in range(40):
        folder, name = os.path.split(path)
        if name.isdecimal() and os.path.realpath(folder) == open_files:
            return int(name)
        try:
            path = os.path.join(folder, os.readlink(path))
        except (OSError, ValueError, AttributeError):
            break
    return None


def open_to_read(path):
    """Open a file, pipe or device as a binary file.

    A descriptor is read from where it stands, and is not closed.

    Parameters
    ----------
    path : str or path-like
    """
    number = descriptor(path)
    return open(path, "rb") if number is None else open(number, "rb", closefd=False)


def can_be_reopened(path):
    """Say whether `path` can be opened again and gives the same bytes: a pipe does not.

    Parameters
    ----------
    path : str or path-like
    """
    return descriptor(path) is None and Path(path).is_file()


@contextlib.contextmanager
def write_whole(path):
    """Open a binary file that takes the place of `path` only once it is complete.

    Parameters
    ----------
    path : str or path-like
        A pipe or a device, such as ``/dev/stdout``, gets the complete content at the end.

    Yields
    ------
    file object
        If the block ends with an exception, `path` is as it was before.
    """
    try:
        number = descriptor(path)
        # The file behind a symbolic link is the one to replace.
        target = Path(os.path.realpath(path)) if number is None else number
        if number is not None or (target.exists() and not target.is_file()):
            content = io.BytesIO()
            yield content
            with open(target, "wb", closefd=number is None) as file:
                file.write(content.getbuffer())
        else:
            yield from _replacement(target)
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def _replacement(path):
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
    """Let the new name outlive a power cut, where the system can do so."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_writable(path):
    """Raise an OSError now if `write_whole` could not write to `path` later.

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
    # The administrator may write to every file; one that nobody may write to is kept, too.
    if mode is not None and not (mode & 0o222 and os.access(path, os.W_OK)):
        raise PermissionError(
            f"{path}: the file is read-only; choose another place, or let it be written to"
        )
    if not os.access(path.parent if mode is None or path.is_file() else path, os.W_OK):
        raise PermissionError(f"{path}: may not be written to; choose another place")
