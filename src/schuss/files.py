"""Files written whole or not at all."""

import contextlib
import os
import secrets
import shutil
from pathlib import Path


@contextlib.contextmanager
def write_whole(path):
    """Open a binary file that takes the place of `path` only once it is complete.

    Parameters
    ----------
    path : str or path-like

    Yields
    ------
    file object
        If the block ends with an exception, `path` is as it was before.
    """
    # The file behind a symbolic link is the one to replace.
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file() and not path.is_dir():
        # A device or a pipe, such as /dev/stdout, cannot be replaced.
        with open(path, "wb") as file:
            yield file
        return
    partial = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.part")
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
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(f"{path}: a folder; expected the name of a file to write")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist")
    if not os.access(path.parent if not path.exists() or path.is_file() else path, os.W_OK):
        raise PermissionError(f"{path}: may not be written to; choose another place")
