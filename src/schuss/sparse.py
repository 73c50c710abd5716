"""Sparse rows as CSR that SciPy and the kernels can trust.

Both read wherever the indices point. So the structure is looked at before any conversion or
product, and that is done here alone.
"""

from copy import copy

import numpy as np
import scipy.sparse as sp

_LARGEST_INT32 = np.iinfo(np.int32).max


def as_csr(X, name="X"):
    """Return a sparse X as CSR with a checked structure; anything else as it is.

    The caller's matrix stays as it is: its arrays are shared, never sorted or merged, and
    copied only where they do not lie as the kernels read them.

    Parameters
    ----------
    X : object
    name : str
        What the messages call X.

    Returns
    -------
    X, or CSR
        Of float32 or float64, with contiguous arrays and indices of one type.
    """
    if not sp.issparse(X):
        return X
    check_structure(X, name)
    if X.dtype.kind not in "biufO":
        raise ValueError(
            f"Complex data not supported: {name} has dtype {X.dtype}, expected real numbers. "
            f"Pass {name}.real, or real and imaginary parts as features."
        )
    # A matrix of its own: what is cached or replaced below is not the caller's.
    X = X.tocsr() if X.format == "lil" else X.tocoo() if X.format == "dok" else copy(X)
    if X.format in _COMPRESSED:
        _make_plain(X)
    elif X.format == "dia":
        offsets = np.asarray(X.offsets, np.int64)
        inside = (offsets > -X.shape[0]) & (offsets < X.shape[1])
        X.offsets, X.data = offsets[inside], X.data[inside]
    # SciPy converts fewer types than it stores.
    with np.errstate(over="ignore"):
        X.data = np.require(X.data, _real(X.data.dtype), ["C", "A"])
    return X.tocsr()


def check_structure(X, name):
    """Refuse a sparse X whose arrays point outside it."""
    if X.ndim != 2:
        raise ValueError(
            f"{name} is a sparse array of shape {X.shape}. Expected 2D array, of shape (n, d). "
            f"Reshape it, for example a single row by {name}.reshape(1, -1)."
        )
    found = _CHECKS[X.format](X)
    if found:
        raise ValueError(
            f"{name} is a sparse matrix in {X.format.upper()} format, of shape {X.shape}, whose "
            f"structure is damaged: {found}. Build it anew, for example from its values, rows "
            "and columns by scipy.sparse.coo_array."
        )


def without_duplicates(X):
    """Return CSR in which no entry comes in several parts; a copy where some did."""
    X = sp.csr_array((X.data, X.indices, X.indptr), shape=X.shape)
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def _make_plain(X):
    """Leave out what lies behind the last row, and what is not contiguous or of other types."""
    stored = int(X.indptr[-1])
    types = {np.asarray(part).dtype for part in (X.indices, X.indptr)}
    if types not in ({np.dtype(np.int32)}, {np.dtype(np.int64)}):
        small = max(stored, *X.shape) <= _LARGEST_INT32
        types = {np.dtype(np.int32 if small else np.int64)}
    (kind,) = types
    X.indptr = np.require(X.indptr, kind, ["C", "A"])
    X.indices = np.require(X.indices[:stored], kind, ["C", "A"])
    X.data = X.data[:stored]
    # Whether its entries are sorted and merged is for SciPy to see, not to be told.
    for flag in ("_has_sorted_indices", "_has_canonical_format"):
        vars(X).pop(flag, None)


def _real(dtype):
    return dtype.newbyteorder("=") if dtype.kind == "f" and dtype.itemsize in (4, 8) else np.float64


def _check_compressed(X):
    rows, columns = X.shape[::-1] if X.format == "csc" else X.shape
    data = np.asarray(X.data)
    if X.format == "bsr":
        if data.ndim != 3 or 0 in data.shape[1:]:
            return f"data has shape {data.shape}, expected (blocks, rows, columns)"
        high, wide = data.shape[1:]
        if rows % high or columns % wide:
            return f"blocks of {high} x {wide} do not divide the shape"
        rows, columns = rows // high, columns // wide
    elif data.ndim != 1:
        return f"data has shape {data.shape}, expected one dimension"
    indptr = np.asarray(X.indptr)
    found = _check_numbers("indptr", indptr, rows + 1) or _check_numbers("indices", X.indices)
    if found:
        return found
    if indptr[0] != 0:
        return f"indptr begins with {indptr[0]}, expected 0"
    falls = indptr[1:] < indptr[:-1]
    if falls.any():
        place = int(falls.argmax())
        return f"indptr falls from {indptr[place]} to {indptr[place + 1]} at place {place + 1}"
    stored = int(indptr[-1])
    for part, array in (("indices", X.indices), ("data", data)):
        if len(array) < stored:
            return f"indptr ends with {stored}, but {part} has {len(array)} entries"
    return _check_range("indices", np.asarray(X.indices)[:stored], columns)


def _check_coordinates(X):
    data = np.asarray(X.data)
    if data.ndim != 1:
        return f"data has shape {data.shape}, expected one dimension"
    for part, array, bound in zip(("row", "col"), X.coords, X.shape, strict=True):
        found = _check_numbers(part, array, len(data)) or _check_range(part, array, bound)
        if found:
            return found
    return None


def _check_diagonals(X):
    data, offsets = np.asarray(X.data), np.asarray(X.offsets)
    if data.ndim != 2:
        return f"data has shape {data.shape}, expected (diagonals, columns)"
    found = _check_numbers("offsets", offsets, len(data))
    if not found and len(np.unique(offsets)) != len(offsets):
        found = "offsets come twice"
    return found


def _check_lists(X):
    lengths = [[len(entries) for entries in part] for part in (X.rows, X.data)]
    if len(lengths[0]) != X.shape[0] or lengths[0] != lengths[1]:
        return "rows and data do not hold as many columns as values, in each row"
    columns = np.array([column for entries in X.rows for column in entries], dtype=object)
    return _check_bounds("rows", columns, X.shape[1])


def _check_keys(X):
    keys = np.array(list(X.keys()), dtype=object).reshape(-1, 2)
    return _check_bounds("keys", keys[:, 0], X.shape[0]) or _check_bounds(
        "keys", keys[:, 1], X.shape[1]
    )


_COMPRESSED = ("csr", "csc", "bsr")
_CHECKS = dict.fromkeys(_COMPRESSED, _check_compressed) | {
    "coo": _check_coordinates,
    "dia": _check_diagonals,
    "lil": _check_lists,
    "dok": _check_keys,
}


def _check_numbers(part, array, length=None):
    array = np.asarray(array)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        return f"{part} has shape {array.shape} and dtype {array.dtype}, expected whole numbers"
    if length is not None and len(array) != length:
        return f"{part} has {len(array)} entries, expected {length}"
    return None


def _check_range(part, array, bound):
    array = np.asarray(array)
    # Without a sign the negative ones are large: one pass, not two.
    if len(array) and array.view(array.dtype.str.replace("i", "u")).max() >= bound:
        return _check_bounds(part, array, bound)
    return None


def _check_bounds(part, array, bound):
    wrong = np.flatnonzero((array < 0) | (array >= bound))
    if len(wrong):
        place = int(wrong[0])
        return f"{part} holds {array[place]} at place {place}, expected 0 to {bound - 1}"
    return None
