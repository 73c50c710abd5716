"""X as the kernels read it: where it lies, and blocks of its rows.

A block is small enough to stay in the L2 cache between the scores and the gradient, so X comes
from memory once a pass. Products with a block are BLAS's: `np.dot` calls SciPy's.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from schuss.backends.numba_kernels.compiling import fused, read_only, reordered, strict
from schuss.constants import REAL_TYPE

# Numbers and rows of a block at most. OpenBLAS (since 0.3.27) takes several threads for products
# with a matrix of 460,800 numbers or more, which would make sums depend on their number.
_BLOCK_SIZE, _BLOCK_ROWS = 1 << 16, 1024
# Rows whose products are summed in float32, of rows and of columns, before float64 adds the sums:
# more would lose more than 2e-6 of a sum of equals.
_SUM_ROWS, _COLUMN_ROWS = 128, 256
# X of at most so many bytes is copied to C order in the weights' type.
SMALL_BYTES = 1 << 20


class Rows(NamedTuple):
    """X as compiled code takes it. What does not apply is empty."""

    # In C order and in the weights' type: blocks of it are read where they lie.
    dense: np.ndarray
    # What blocks are copied from: X, or its transpose, float16 as bits.
    stored: np.ndarray
    # CSR.
    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    transposed: bool
    half: bool


class Matrix(NamedTuple):
    """What `prepare` returns."""

    shape: tuple
    real: np.dtype  # type of the weights
    X: np.ndarray
    rows: Rows


def prepare(X):
    real = REAL_TYPE[X.dtype]
    empty, data, indices = np.empty((0, 0), real), np.empty(0, real), np.empty(0, np.int32)
    dense, stored, indptr, transposed, half = empty, empty, indices, False, False
    if sp.issparse(X):
        data, indices, indptr = X.data, X.indices, X.indptr
    else:
        if X.size * real.itemsize <= SMALL_BYTES:
            X = np.require(X, real, ("C", "A"))
        transposed = X.flags.f_contiguous and not X.flags.c_contiguous
        half = X.dtype == np.float16
        stored = X.view(np.uint16) if half else X
        stored = stored.T if transposed else stored
        if X.dtype == real and X.flags.c_contiguous and X.flags.aligned:
            dense = stored
    arrays = map(read_only, (dense, stored, data, indices, indptr))
    return Matrix(X.shape, real, X, Rows(*arrays, transposed, half))


@strict
def block_rows(X, d, n):
    """Rows of a block, of n that there are."""
    most = _COLUMN_ROWS if X.transposed else _BLOCK_ROWS
    return max(1, min(most, n, most if len(X.indptr) else _BLOCK_SIZE // max(d, 1)))


@fused
def _number(value, half):
    """The number that a stored feature stands for, of float16 its bits."""
    if not half:
        return np.float64(value)
    bits = np.uint16(value)
    # The exponent's bias differs by 112; infinities and NaN keep the highest exponent.
    magnitude = np.uint32(bits & 0x7FFF) << np.uint32(13)
    scaled = np.uint32(magnitude).view(np.float32) * np.float32(2.0**112)
    wide = np.float32(scaled).view(np.uint32)
    if bits & 0x7C00 == 0x7C00:
        wide |= np.uint32(0x7F800000)
    sign = np.uint32(bits & 0x8000) << np.uint32(16)
    return np.float64(np.uint32(wide | sign).view(np.float32))


@strict
def row_at(order, i):
    """Row i of an order, where there is one."""
    return np.int64(order[i]) if len(order) else i


@fused
def take_dense(X, order, first, out):
    """Copy the rows from `first` on of an order to those of `out`."""
    m, d = out.shape
    if len(X.indptr):
        out[:] = 0
        for r in range(m):
            row = row_at(order, first + r)
            for p in range(X.indptr[row], X.indptr[row + 1]):
                out[r, X.indices[p]] += X.data[p]
        return
    for r in range(m):
        row = row_at(order, first + r)
        for j in range(d):
            value = X.stored[j, row] if X.transposed else X.stored[row, j]
            out[r, j] = _number(value, X.half)


@fused
def take_block(X, order, first, m, memory):
    """Rows of an order, (m, d), or where X is transposed (d, m); of CSR nothing.

    They are copied to `memory` unless they can be read where they lie.
    """
    if len(X.dense) and len(order) == 0:
        return X.dense[first : first + m]
    if X.transposed:
        d = len(X.stored)
        out = memory[: d * m].reshape(d, m)
        for j in range(d):
            for r in range(m):
                out[j, r] = _number(X.stored[j, row_at(order, first + r)], X.half)
        return out
    d = X.stored.shape[1]
    out = memory[: m * d].reshape(m, d)
    if d:
        take_dense(X, order, first, out)
    return out


@reordered
def block_scores(X, block, order, first, w, z):
    """z[r] = row @ w, for the rows of a block."""
    if len(X.indptr):
        for r in range(len(z)):
            row = row_at(order, first + r)
            score = w[0] - w[0]
            for p in range(X.indptr[row], X.indptr[row + 1]):
                score += X.data[p] * w[X.indices[p]]
            z[r] = score
    elif block.size > _BLOCK_SIZE:
        row, score = block.reshape(-1), w[0] - w[0]
        for j in range(len(row)):
            score += row[j] * w[j]
        z[0] = score
    elif X.transposed:
        np.dot(w, block, z)
    else:
        np.dot(block, w, z)


@reordered
def add_block(X, block, order, first, e, part, total):
    """total += e @ rows, for the rows of a block; `part` is memory for d numbers."""
    d = len(part)
    if len(X.indptr):
        for r in range(len(e)):
            row = row_at(order, first + r)
            for p in range(X.indptr[row], X.indptr[row + 1]):
                total[X.indices[p]] += e[r] * X.data[p]
    elif block.size > _BLOCK_SIZE:
        total[:d] += e[0] * block.reshape(-1)
    elif X.transposed:
        np.dot(block, e, part)
        total[:d] += part
    else:
        for start in range(0, len(e), _SUM_ROWS):
            stop = min(start + _SUM_ROWS, len(e))
            np.dot(e[start:stop], block[start:stop], part)
            total[:d] += part
