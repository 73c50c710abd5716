"""Tiles of rows, and the two loops over X for each way in which it lies.

A tile is small enough to stay in the cache between the dot products and the gradient.
"""

import numpy as np
from numba import types
from numba.extending import overload, register_jitable

from schuss.backends.numba_kernels.compiling import INLINED, exact
from schuss.backends.numba_kernels.registers import AHEAD_BYTES, accumulate, dots


@exact
def _from_half(bits):
    """float32 from the bits of a float16."""
    # The exponent's bias differs by 112; infinities and NaN keep the highest exponent.
    magnitude = np.uint32(bits & 0x7FFF) << np.uint32(13)
    scaled = np.uint32(magnitude).view(np.float32) * np.float32(2.0**112)
    wide = np.float32(scaled).view(np.uint32)
    if bits & 0x7C00 == 0x7C00:
        wide |= np.uint32(0x7F800000)
    sign = np.uint32(bits & 0x8000) << np.uint32(16)
    return np.uint32(wide | sign).view(np.float32)


def _number(value):
    """The number that a stored feature stands for."""


@overload(_number)
def _choose_number(value):
    if value == types.uint16:
        return lambda value: _from_half(value)
    return lambda value: value


def _fetch_rows(values, columns, rows, m, scratch):
    d = values.shape[1]
    if abs(values.strides[0]) >= abs(values.strides[1]):
        for r in range(m):
            for j in range(d):
                scratch[r, j] = _number(values[rows[r], j])
    else:
        for j in range(d):
            for r in range(m):
                scratch[r, j] = _number(values[rows[r], j])


def _fetch_columns(values, columns, rows, m, scratch):
    d, height = len(scratch), values.shape[1]
    for r in range(m):
        panel, place = divmod(rows[r], height)
        for j in range(d):
            scratch[j, r] = values[panel * d + j, place]


def _fetch_nothing(values, columns, rows, m, scratch):
    pass


def fetch(values, columns, rows, m, scratch):
    """Bring m rows into the scratch, in the direction in which they lie in memory."""


@overload(fetch)
def _choose_fetch(values, columns, rows, m, scratch):
    if scratch is types.none:
        return _fetch_nothing
    return _fetch_rows if columns is types.none else _fetch_columns


def _in_place(values, indices, indptr, scratch, columns, rows, own, ordered):
    return values, rows, False, 0 if ordered else AHEAD_BYTES


def _in_place_columns(values, indices, indptr, scratch, columns, rows, own, ordered):
    return ((scratch,), own, True, None) if ordered else ((values,), rows, False, None)


def _converted(values, indices, indptr, scratch, columns, rows, own, ordered):
    return scratch, own, True, None


def _sparse(values, indices, indptr, scratch, columns, rows, own, ordered):
    return (values, indices, indptr), rows, False, None


def source(values, indices, indptr, scratch, columns, rows, own, ordered):
    """Where tiles are read.

    Returns
    -------
    tile
        An array of rows, or in a tuple one of columns, or the three of CSR.
    lines : `rows` or `own`
        The places of a tile's rows in it. Those of columns always follow one another.
    fetched : bool
        Whether `fetch` is to be called for each tile.
    ahead : int or None
        How many bytes ahead what follows is worth asking for.

    It is called once, because arrays that come and go in a loop have their references counted
    there, in atomic steps that took a quarter of the time.
    """


@overload(source)
def _choose_source(values, indices, indptr, scratch, columns, rows, own, ordered):
    if isinstance(indptr, types.Array):
        return _sparse
    if columns is not types.none:
        return _in_place_columns
    return _converted if isinstance(scratch, types.Array) else _in_place


def together(values, columns, ordered, first):
    """How many rows from `first` on one tile can have: of columns, those of one panel."""


@overload(together, jit_options=INLINED)
def _choose_together(values, columns, ordered, first):
    if columns is types.none:
        return lambda values, columns, ordered, first: 1 << 62

    def in_panel(values, columns, ordered, first):
        height = values.shape[1]
        return 1 << 62 if ordered else height - first % height

    return in_panel


@register_jitable
def _first_of(panels, d, row):
    """Where a row is in the first column of its panel, in numbers."""
    panel, place = divmod(row, panels.shape[1])
    return panel * d * panels.shape[1] + place


def _scores_rows(tile, rows, every, ahead, m, coef, k, d, bias, z):
    dots(tile, rows, m, 0, d, coef, k * coef.shape[1], z, ahead)
    for r in range(m):
        z[r] += bias


def _scores_columns(tile, rows, every, ahead, m, coef, k, d, bias, z):
    for r in range(m):
        z[r] = bias
    start = _first_of(tile[0], d, rows[0])
    accumulate(tile[0], every, d, start, m, coef, k * coef.shape[1], z, 0, ahead)


def _scores_sparse(tile, rows, every, ahead, m, coef, k, d, bias, z):
    values, indices, indptr = tile
    for r in range(m):
        total = bias - bias
        for p in range(indptr[rows[r]], indptr[rows[r] + 1]):
            total += values[p] * coef[k, indices[p]]
        z[r] = total + bias


def block_scores(tile, rows, every, ahead, m, coef, k, d, bias, z):
    """z[r] = tile[rows[r]] @ coef[k, :d] + bias; z is in whole registers."""


@overload(block_scores, jit_options=INLINED)
def _choose_scores(tile, rows, every, ahead, m, coef, k, d, bias, z):
    if isinstance(tile, types.Array):
        return _scores_rows
    return _scores_columns if len(tile) == 1 else _scores_sparse


def _gradient_rows(tile, rows, every, ahead, m, e, work, g, total, k, d):
    accumulate(tile, rows, m, 0, d, e, 0, g, k * g.shape[1], ahead)


def _gradient_columns(tile, rows, every, ahead, m, e, work, g, total, k, d):
    dots(tile[0], every, d, _first_of(tile[0], d, rows[0]), m, e, 0, work, ahead)
    for j in range(d):
        g[k, j] += work[j]


def _gradient_sparse(tile, rows, every, ahead, m, e, work, g, total, k, d):
    values, indices, indptr = tile
    for r in range(m):
        for p in range(indptr[rows[r]], indptr[rows[r] + 1]):
            total[k, indices[p]] += e[r] * values[p]


def block_gradient(tile, rows, every, ahead, m, e, work, g, total, k, d):
    """g[k, :d] += sum_r e[r] * tile[rows[r]]; of CSR, `total` takes it up."""


@overload(block_gradient, jit_options=INLINED)
def _choose_gradient(tile, rows, every, ahead, m, e, work, g, total, k, d):
    if isinstance(tile, types.Array):
        return _gradient_rows
    return _gradient_columns if len(tile) == 1 else _gradient_sparse
