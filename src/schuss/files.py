"""Atomic writes of files; pipes, devices and compressed files as files."""

import codecs
import contextlib
import importlib
import io
import os
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, Any

# What decompression raises besides OSError; not every build of Python has both modules.
_DAMAGE: tuple[type[Exception], ...] = (EOFError, LookupError, RuntimeError, zipfile.BadZipFile)
for module, name in (("zlib", "error"), ("lzma", "LZMAError")):
    with contextlib.suppress(ImportError):
        _DAMAGE += (getattr(importlib.import_module(module), name),)

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


def open_to_read(path: PathLike) -> io.BufferedReader:
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


def write_text(path: PathLike, text: str) -> None:
    """Write a text as UTF-8 by `write_whole`."""
    with write_whole(path) as file:
        file.write(text.encode())


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


_MAGIC = {
    b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\0": "lzma", b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}  # fmt: skip
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@contextlib.contextmanager
def unpacked(path: PathLike, encoding: str | None = None) -> Iterator[Path]:
    """A file that holds the content of `path` decompressed and in UTF-8.

    It is `path` itself where nothing has to be done, else a temporary file: of a pipe; of what is
    compressed with gzip, bzip2, xz or zstd, or a zip archive of one file, by the first bytes; of
    UTF-16 with a byte order mark, and of any other `encoding`.

    Parameters
    ----------
    path : str or path-like
    encoding : str, optional
        One of Python's.

    Yields
    ------
    pathlib.Path

    Raises
    ------
    ValueError
        If the content is damaged, if an archive does not hold one file, or if `encoding` is
        unknown or another.
    """
    with tempfile.TemporaryDirectory(prefix="schuss-") as folder:
        copy = Path(folder, "content")
        try:
            is_copied = _unpack(path, copy, encoding)
        except _DAMAGE as error:
            raise ValueError(str(error)) from None
        yield copy if is_copied else Path(path)


def _unpack(path, copy, encoding):
    """Write the content of `path` to `copy`, unless it can be read as it is."""
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_to_read(path))
        once = not can_be_reopened(path)
        if once:
            spooled: Any = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(file, spooled)
            spooled.seek(0)
            file = spooled
        head = file.peek(8)
        kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
        content = stack.enter_context(_decompressed(file, kind)) if kind else file
        if encoding is None and content.peek(2).startswith(_UTF_16):
            encoding = "utf-16"
        if encoding and codecs.lookup(encoding).name in ("utf-8", "utf-8-sig"):
            encoding = None
        if not (once or kind or encoding):
            return False
        with open(copy, "wb") as out:
            if encoding is None:
                shutil.copyfileobj(content, out, 1 << 20)
            else:
                reader = codecs.getreader(encoding)(content)
                while text := reader.read(1 << 20):
                    out.write(text.encode())
    return True


def _decompressed(file, kind):
    if kind == "zip":
        return _only_member(zipfile.ZipFile(file))
    if kind == "zstd":
        # Python has it from 3.14 on.
        import pyarrow as pa

        return io.BufferedReader(pa.input_stream(file, compression="zstd"))
    # Not in every build of Python.
    return importlib.import_module(kind).open(file)


def _only_member(archive):
    names = [
        info.filename for info in archive.infolist()
        if not info.is_dir() and not info.filename.startswith("__MACOSX/")
    ]  # fmt: skip
    if "[Content_Types].xml" in names:
        raise ValueError("a workbook or document; save the sheet as CSV")
    if len(names) != 1:
        raise ValueError(f"an archive of {len(names)} files; expected one. Unpack it")
    return archive.open(names[0])
