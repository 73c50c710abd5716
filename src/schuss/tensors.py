"""Arrays and a JSON document in one safetensors file, with a checksum.

The document is the metadata entry `METADATA_KEY`. The entry `CHECKSUM_KEY` is the SHA-256 of the
whole file with its own 64 digits replaced by zeros, so that every changed byte and every
truncation is detected. Files of the first format version have no checksum.

The package safetensors writes the arrays, and parses and validates them. Limits, strict JSON and
the checksum are checked here, before. No code from a file is executed.
"""

import hashlib
import json
import math
import os
import re
import reprlib
import stat
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from schuss.files import PathLike, open_to_read, write_whole

__all__ = ["TensorFileError", "read", "write"]

METADATA_KEY = "schuss"
CHECKSUM_KEY = "sha256"
# The first version of either format whose files hold a checksum.
CHECKED_VERSION = 2

MAX_HEADER_BYTES = 1 << 25
MAX_TENSORS = 4096

_METADATA = b'{"__metadata__":{'
_SLOT = f'"{CHECKSUM_KEY}":"'.encode()
_ZEROS = b"0" * 64
# Padded to 80 bytes, so that the arrays stay aligned.
_ENTRY = _SLOT + b'%s",    '
_CHECKSUM = re.compile(re.escape(_SLOT) + b"[0-9a-f]{64}")


class TensorFileError(ValueError):
    """A file that is incomplete or of an unknown format; the message says what was found."""


def write(path: PathLike, tensors: Mapping[str, np.ndarray], document: dict[str, Any]) -> None:
    """Write arrays and a document; equal contents give equal bytes.

    Parameters
    ----------
    path : str or path-like
        Written atomically.
    tensors : dict of str to ndarray
        Numbers or booleans of at most 8 bytes.
    document : dict
        Values of strict JSON; the library's version is added. `read` checks ``format`` and
        ``format_version``.
    """
    from schuss import __version__

    text = json.dumps({"schuss_version": __version__, **document}, allow_nan=False)
    arrays = {
        name: np.asarray(array, array.dtype.newbyteorder("<"), order="C")
        for name, array in tensors.items()
    }
    try:
        content = memoryview(save(arrays, {METADATA_KEY: text}))
    except SafetensorError as error:
        raise ValueError(f"{path}: {error}") from None
    end = 8 + int.from_bytes(content[:8], "little")
    # Not by the package, whose order of several entries varies.
    head = bytes(content[8:end]).replace(_METADATA, _METADATA + _ENTRY % _ZEROS, 1)
    data = content[end:]
    if len(head) > MAX_HEADER_BYTES or len(tensors) > MAX_TENSORS:
        raise ValueError(
            f"{path}: {len(tensors):,} arrays and {len(head):,} bytes of text; a file holds up "
            f"to {MAX_TENSORS:,} arrays and {MAX_HEADER_BYTES:,} bytes of text (parameters, "
            "classes, names)"
        )
    with write_whole(path) as file:
        file.write(len(head).to_bytes(8, "little"))
        file.write(signed(head, data))
        file.write(data)


def signed(head: bytes, data: Any) -> bytes:
    """Return a header with the checksum of itself and of the arrays in place of what it has."""
    blank = _CHECKSUM.sub(_SLOT + _ZEROS, head, count=1)
    return blank.replace(_SLOT + _ZEROS, _SLOT + _digest(blank, data).encode(), 1)


def read(path: PathLike, kind: str, version: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a file written by `write`.

    Parameters
    ----------
    path : str or path-like
    kind : str
        The document's ``format``.
    version : int
        The newest ``format_version`` that the caller can read.

    Returns
    -------
    document : dict
    tensors : dict of str to ndarray
        Writable arrays in native byte order.

    Raises
    ------
    TensorFileError
        For any fault of the file.
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
        end = _end_of_arrays(header)
        status = os.fstat(file.fileno())
        # Checked first, so that a large file takes no memory.
        if stat.S_ISREG(status.st_mode) and status.st_size != 8 + size + end:
            raise ValueError(f"{status.st_size} bytes, expected {_short(8 + size + end)}")
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"not a whole safetensors file ({error}); it begins with {(start + head[:8])!r}"
        ) from None
    if METADATA_KEY not in metadata:
        raise ValueError(
            f"a safetensors file of another program (metadata {_short(sorted(metadata))})"
        )
    data = file.read()
    if len(data) != end:
        raise ValueError(f"{len(data)} bytes of arrays, expected {_short(end)}")
    digest = metadata.get(CHECKSUM_KEY)
    if digest is not None:
        blank = head.replace(_SLOT + str(digest).encode(), _SLOT + _ZEROS, 1)
        if _digest(blank, data) != digest:
            raise ValueError("damaged: its checksum does not match its content")
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
    try:
        arrays = load(start + head + data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"damaged: its arrays cannot be read ({str(error)[:200]})") from None
    return document, {name: _own(array) for name, array in arrays.items()}


def _digest(head, data):
    digest = hashlib.sha256(len(head).to_bytes(8, "little"))
    digest.update(head)
    digest.update(data)
    return digest.hexdigest()


def _end_of_arrays(header):
    """End of the data according to the header; the package checks the rest."""
    if len(header) > MAX_TENSORS:
        raise ValueError(f"{len(header):,} arrays, more than {MAX_TENSORS:,}")
    for name, entry in header.items():
        if _object(entry).keys() != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"array {_short(name)} has the keys {_short(list(entry))}")
    return max((entry["data_offsets"][1] for entry in header.values()), default=0)


def _own(array):
    """A copy in native byte order; the package keeps that of the file."""
    if array.dtype.kind not in "biuf":
        raise ValueError(f"an array of type {array.dtype}")
    if array.dtype.kind == "b" and array.view(np.uint8).max(initial=0) > 1:
        raise ValueError("damaged: an array of booleans holds other values")
    return array.view(array.dtype.newbyteorder("<")).astype(array.dtype)


def _object(value):
    if not isinstance(value, dict):
        raise ValueError(f"{_short(value)} where a JSON object was expected")
    return value


def _strict_json(text):
    """Parse JSON without NaN, infinities, repeated keys or deep nesting."""
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
