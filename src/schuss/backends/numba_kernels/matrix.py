"""X as the kernels read it: where it lies, in which order, and in what tiles of rows."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numba import types

from schuss.backends.numba_kernels.compiling import array, given
from schuss.backends.numba_kernels.registers import CACHE_LINE, LINES, REGISTER
from schuss.constants import REAL_TYPE

# Rows of a tile: as many as leave room in the first cache for those asked for ahead.
# Columns are read in pieces of a tile's length, which must not be short.
TILE_ROWS = 256
_TILE_BYTES, _TILE_COLUMNS_BYTES = 16 * 1024, 32 * 1024
_TILE_LEAST_COLUMNS = 64
# X of at most so many bytes is kept in column order and in the weights' type: both loops of
# a pass then run along rows, whatever the number of features.
SMALL_BYTES = 1024 * 1024


class Rows(NamedTuple):
    """X as the kernels take it."""

    shape: tuple
    real: np.dtype
    # (n, d), or if `columns` (panels * d, rows of a panel), one panel's columns after another's;
    # float16 as its bits in uint16; CSR: (nnz,)
    values: np.ndarray
    indices: np.ndarray | None = None
    indptr: np.ndarray | None = None
    in_place: bool = True  # read where it lies, else converted tile by tile
    columns: bool = False

    @property
    def tile_rows(self):
        return tile_rows(*self.shape, self.real.itemsize, self.columns)


def rows_of(X):
    if sp.issparse(X):
        return Rows(X.shape, X.data.dtype, X.data, X.indices, X.indptr)
    X = np.asarray(X)
    real = REAL_TYPE[X.dtype]
    if X.size * real.itemsize <= SMALL_BYTES:
        return Rows(X.shape, real, _panels(X, real), columns=True)
    if X.dtype == real and X.flags.aligned:
        if X.flags.f_contiguous:
            return Rows(X.shape, real, X.T, columns=True)
        if X.flags.c_contiguous:
            return Rows(X.shape, real, X)
    values = X.view(np.uint16) if X.dtype == np.float16 else X
    return Rows(X.shape, real, values, in_place=False)


def _panels(X, real):
    """A copy of X in panels of a tile's rows, from the beginning of a cache line on.

    So that a tile lies together: the second cache delivers it faster.
    """
    n, d = X.shape
    m = tile_rows(n, d, real.itemsize, True)
    whole, rest = divmod(n, m)
    size = (whole + (rest > 0)) * d * m
    memory = np.zeros(size + REGISTER, real)
    begin = -memory.ctypes.data % CACHE_LINE // real.itemsize
    panels = memory[begin : begin + size].reshape(-1, d, m)
    panels[:whole] = X[: whole * m].reshape(whole, m, d).transpose(0, 2, 1)
    panels[whole:, :, :rest] = X[whole * m :].T
    return panels.reshape(-1, m)


def dense(rows):
    """The array that `rows_of` was given, or its copy."""
    values = rows.values
    if rows.columns:
        n, d = rows.shape
        panels = values.reshape(-1, d, values.shape[1])
        values = panels.transpose(0, 2, 1).reshape(-1, d)[:n]
    return values.view(np.float16) if values.dtype == np.uint16 else values


def kind(X):
    index = None if X.indices is None else X.indices.dtype
    return X.real, X.values.dtype, index, X.in_place, X.columns


def rows_types(real, stored, index, in_place, columns):
    indices = indptr = scratch = types.none
    if index is not None:
        values, indices, indptr = given(real, 1), given(index, 1), given(index, 1)
    elif in_place:
        values = given(real, 2)
        scratch = array(real, 2) if columns else types.none
    else:
        values, scratch = given(stored, 2, "A", aligned=False), array(real, 2)
    # Where it is None is decided when a function is compiled.
    return types.int64, values, indices, indptr, scratch, types.boolean if columns else types.none


def arguments(X):
    n, d = X.shape
    scratch = None
    if X.columns or not X.in_place:
        m = X.tile_rows
        scratch = np.empty((d, m) if X.columns else (m, d), dtype=X.real)
    return n, X.values, X.indices, X.indptr, scratch, X.columns or None


def tile_rows(n, d, itemsize, columns):
    most, least = (_TILE_COLUMNS_BYTES, _TILE_LEAST_COLUMNS) if columns else (_TILE_BYTES, LINES)
    fitting = most // max(d * itemsize, 1)
    fitting -= fitting % (REGISTER if fitting >= REGISTER else LINES)
    return min(max(fitting, least), TILE_ROWS, whole_registers(n))


def whole_registers(count):
    return max(count + (-count) % REGISTER, REGISTER)
