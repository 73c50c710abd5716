"""Arrays and a JSON document in one safetensors file, with a checksum.

The document is the metadata entry `METADATA_KEY`. The entry `CHECKSUM_KEY` is the SHA-256 of the
whole file with its own 64 digits taken as zeros, so that any changed byte and any cut is found.
Files of the first format version have no checksum.

A reader trusts nothing: the header is strict JSON of a limited size, its keys, types, shapes and
offsets are checked before an array is made, and no code is run.
"""

import hashlib
import json
import math
import os
import reprlib
import stat

import numpy as np

from schuss.files import open_to_read, write_whole

__all__ = ["TensorFileError", "read", "write"]

METADATA_KEY = "schuss"
CHECKSUM_KEY = "sha256"
# The first version of either format whose files hold a checksum.
CHECKED_VERSION = 2

MAX_HEADER_BYTES = 1 << 25
MAX_TENSORS = 4096
MAX_DIMENSIONS = 8

_DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items()}
_SLOT = f'"{CHECKSUM_KEY}":"'.encode()
_ZEROS = "0" * 64


class TensorFileError(ValueError):
    """A file that is not whole, or not of a known format; the message says what was found."""


def write(path, tensors, document):
    """Write arrays and a document; the same ones always give the same bytes.

    Parameters
    ----------
    path : str or path-like
        Written whole or not at all.
    tensors : dict of str to ndarray
        Numbers or booleans of at most 8 bytes.
    document : dict
        What strict JSON can hold; the library's version is added. ``format`` and
        ``format_version`` are what `read` looks at.
    """
    from schuss import __version__

    text = json.dumps({"schuss_version": __version__, **document}, allow_nan=False)
    header = {"__metadata__": {METADATA_KEY: text, CHECKSUM_KEY: _ZEROS}}
    parts, end = [], 0
    # The widest first, so that each array is aligned.
    for name, array in sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0])):
        dtype = array.dtype.newbyteorder("<")
        data = np.ascontiguousarray(array, dtype).reshape(-1).view(np.uint8)
        header[name] = {
            "dtype": _NAMES[dtype],
            "shape": list(array.shape),
            "data_offsets": [end, end + data.size],
        }
        parts.append(data)
        end += data.size
    head = json.dumps(header, allow_nan=False, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    if len(head) > MAX_HEADER_BYTES or len(tensors) > MAX_TENSORS:
        raise ValueError(
            f"{path}: {len(tensors):,} arrays and {len(head):,} bytes of text; a file holds up "
            f"to {MAX_TENSORS:,} arrays and {MAX_HEADER_BYTES:,} bytes of text (parameters, "
            "classes, names)"
        )
    digest = _digest(head, parts).encode()
    head = head.replace(_SLOT + _ZEROS.encode(), _SLOT + digest, 1)
    with write_whole(path) as file:
        file.write(len(head).to_bytes(8, "little"))
        file.write(head)
        for data in parts:
            file.write(data)


def read(path, kind, version):
    """Read what `write` wrote.

    Parameters
    ----------
    path : str or path-like
    kind : str
        The document's ``format``.
    version : int
        The newest ``format_version`` that the caller knows.

    Returns
    -------
    document : dict
    tensors : dict of str to ndarray
        Arrays of their own, in the machine's byte order.

    Raises
    ------
    TensorFileError
        Whatever is wrong with the file.
    """
    try:
        with open_to_read(path) as file:
            return _read(path, file, kind, version)
    except OSError as error:
        raise TensorFileError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise TensorFileError(f"{path}: {error}") from None


def _read(path, file, kind, version):
    start = file.read(8)
    size = int.from_bytes(start, "little")
    head = file.read(size) if len(start) == 8 and size <= MAX_HEADER_BYTES else b""
    try:
        if not head or len(head) < size:
            raise ValueError("no header of safetensors")
        header = _object(_strict_json(head))
        metadata = _object(header.pop("__metadata__", {}))
        entries = _check_entries(header)
        end = entries[-1][-1] if entries else 0
        status = os.fstat(file.fileno())
        # Looked at first, so that a file of any size takes no memory.
        if stat.S_ISREG(status.st_mode) and status.st_size != 8 + size + end:
            raise ValueError(f"{status.st_size:,} bytes, expected {8 + size + end:,}")
    except ValueError as error:
        raise ValueError(
            f"not a whole safetensors file ({error}); it begins with {(start + head[:8])!r}"
        ) from None
    if METADATA_KEY not in metadata:
        raise ValueError(
            f"a safetensors file of something else (metadata {_short(sorted(metadata))})"
        )
    data = file.read()
    if len(data) != end:
        raise ValueError(f"{len(data):,} bytes of arrays, expected {end:,}")
    digest = metadata.get(CHECKSUM_KEY)
    if digest is not None:
        blank = head.replace(_SLOT + str(digest).encode(), _SLOT + _ZEROS.encode(), 1)
        if _digest(blank, [data]) != digest:
            raise ValueError("damaged: its checksum does not agree with what it holds")
    document = _object(_strict_json(metadata[METADATA_KEY]))
    found = document.get("format"), document.get("format_version")
    if found[0] != kind or type(found[1]) is not int or not 1 <= found[1] <= version:
        from schuss import __version__

        raise ValueError(
            f"format {_short(found[0])} {_short(found[1])}, written by schuss "
            f"{_short(document.get('schuss_version'))}; this is schuss {__version__}, which "
            f"reads {kind!r} up to {version}"
        )
    if digest is None and found[1] >= CHECKED_VERSION:
        raise ValueError("damaged: its checksum is missing")
    return document, {name: _array(data, *entry) for name, *entry in entries}


def _digest(head, parts):
    digest = hashlib.sha256(len(head).to_bytes(8, "little"))
    digest.update(head)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _check_entries(header):
    """Name, type, shape and offsets of each array, in the order of their data."""
    if len(header) > MAX_TENSORS:
        raise ValueError(f"{len(header):,} arrays, more than {MAX_TENSORS:,}")
    entries = []
    for name, entry in header.items():
        if _object(entry).keys() != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"array {_short(name)} has the keys {_short(list(entry))}")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            raise ValueError(f"array {_short(name)} is of type {_short(dtype)}")
        if not (_are_sizes(shape) and _are_sizes(offsets) and len(offsets) == 2):
            raise ValueError(
                f"array {_short(name)} has the shape {_short(shape)} and the offsets "
                f"{_short(offsets)}"
            )
        entries.append((name, np.dtype(_DTYPES[dtype]), tuple(shape), *offsets))
    entries.sort(key=lambda entry: entry[3:])
    place = 0
    for name, dtype, shape, begin, end in entries:
        if begin != place or end - begin != math.prod(shape) * dtype.itemsize:
            raise ValueError(
                f"array {_short(name)} of type {dtype} and shape {shape} does not fill the "
                f"bytes {begin} to {end}, or does not follow those at {place}"
            )
        place = end
    return entries


def _array(data, dtype, shape, begin, end):
    array = np.ndarray(shape, dtype, data, begin)
    if dtype.kind == "b" and array.view(np.uint8).max(initial=0) > 1:
        raise ValueError("damaged: an array of booleans holds other numbers")
    return array.astype(dtype.newbyteorder("="))


def _are_sizes(value):
    return (
        isinstance(value, list)
        and len(value) <= MAX_DIMENSIONS
        and all(type(size) is int and 0 <= size < 1 << 48 for size in value)
    )


def _object(value):
    if not isinstance(value, dict):
        raise ValueError(f"{_short(value)} where a JSON object was expected")
    return value


def _strict_json(text):
    """Parse JSON, but no NaN, infinity, repeated key or endless nesting."""
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    if not isinstance(text, str):
        raise ValueError(f"{_short(text)} where JSON was expected")
    try:
        return json.loads(
            text, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite
        )
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None


def _unique(pairs):
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("JSON in which a key is repeated")
    return values


def _finite(text):
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"JSON with the number {_short(text)}")
    return value


def _short(value):
    return reprlib.repr(value)
