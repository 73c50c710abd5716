"""The fused pass over tiles of rows, and prediction through the same reads.

X comes from memory once a pass.
"""

from typing import NamedTuple

import numpy as np
from numba import types

from schuss.backends.numba_kernels.codes import (
    LOG_LOSS,
    MULTINOMIAL,
    QUADRATIC,
    SQUARED_ERROR,
)
from schuss.backends.numba_kernels.compiling import (
    array,
    compiled_for,
    exact,
    exact_inlined,
    given,
    sums,
)
from schuss.backends.numba_kernels.formulas import activate, log_losses, quadratics, squared_errors
from schuss.backends.numba_kernels.lines import (
    block_gradient,
    block_scores,
    fetch,
    source,
    together,
)
from schuss.backends.numba_kernels.matrix import rows_types, whole_registers
from schuss.backends.numba_kernels.registers import LINES, REGISTER
from schuss.backends.numba_kernels.softmax import softmax_costs

# Partial gradients in the weights' precision are added up in float64 after so many rows, which
# lose 8e-6 at most of a sum of equals.
_FLUSH_ROWS = 256


def learnt_types(real):
    return (
        given(real, 2), given(np.uint8, 1), given(np.int32, 1), given(real, 1), types.float64
    )  # fmt: skip


def learnt(data):
    """Targets in the one of three arrays that fits, weights (empty for ones), scale."""
    real = data.X.real
    soft, small, wide = np.empty((0, 0), real), np.empty(0, np.uint8), np.empty(0, np.int32)
    if data.y.ndim == 2:
        soft = data.y
    elif data.y.dtype == np.uint8:
        small = data.y
    else:
        wide = data.y
    weight = np.empty(0, real) if data.sample_weight is None else data.sample_weight
    return soft, small, wide, weight, float(data.scale)


class Scratch(NamedTuple):
    """Working memory of a pass, in whole registers and lines."""

    # Of a tile's rows: their numbers, their places in what was fetched; and the columns, of which
    # those up to a multiple of LINES repeat the last one.
    rows: np.ndarray
    own: np.ndarray
    every: np.ndarray
    # In the weights' type: scores, targets, costs and derivatives.
    z: np.ndarray
    y: np.ndarray
    cost: np.ndarray
    slope: np.ndarray
    work: np.ndarray
    weights: np.ndarray  # (K, whole registers)
    partial: np.ndarray  # the same of gradients
    scores: np.ndarray  # softmax: (K, rows of a tile)
    targets: np.ndarray
    # Sums in float64. Of every so many-th row, so that their order is that of the rows' numbers.
    costs: np.ndarray
    slopes: np.ndarray  # (K, rows of a tile)
    total: np.ndarray  # (K, d)


def scratch(X, n_outputs, loss=None):
    d, block, real = X.shape[1], X.tile_rows, X.real
    width = whole_registers(d)
    every = np.minimum(np.arange(d + (-d) % LINES), d - 1)
    coupled = n_outputs if loss == MULTINOMIAL else 0
    padded = whole_registers(block)
    return Scratch(
        np.empty(block, np.int64), np.arange(block), every,
        *np.zeros((4, padded), real), np.empty(max(padded, len(every)), real),
        np.zeros((n_outputs, width), real), np.zeros((n_outputs, width), real),
        np.empty((coupled, block), real), np.empty((coupled, block), real),
        np.empty(block), np.empty((n_outputs, block)), np.empty((n_outputs, d)),
    )  # fmt: skip


def scratch_types(real):
    numbers, reals, table = array(np.int64, 1), array(real, 1), array(real, 2)
    sums = array(np.float64, 1), array(np.float64, 2), array(np.float64, 2)
    kinds = *3 * (numbers,), *5 * (reals,), *4 * (table,), *sums
    return types.NamedTuple(kinds, Scratch)


@exact
def _take_weights(coef, weights):
    for k in range(coef.shape[0]):
        for j in range(coef.shape[1]):
            weights[k, j] = coef[k, j]


@exact_inlined
def read_targets(soft, small, wide, n_outputs, k, rows, ordered, m, y):
    """y[r], the target of neuron k in row rows[r]."""
    code = 1 if n_outputs == 1 else k
    # Not negative, as the compiler cannot know.
    first = np.uint64(rows[0])
    for r in range(m):
        row = np.uint64(rows[r]) if ordered else first + np.uint64(r)
        if len(soft):
            y[r] = soft[k, row]
        elif len(small):
            y[r] = small[row] == code
        else:
            y[r] = wide[row] == code


@exact
def _total(values):
    """Their sum, halved again and again; it is left in the first."""
    size = len(values)
    while size > 1:
        half = (size + 1) // 2
        for i in range(size - half):
            values[i] += values[half + i]
        size = half
    return values[0]


@sums
def _flush(partial, total):
    for k in range(total.shape[0]):
        for j in range(total.shape[1]):
            total[k, j] += partial[k, j]
            partial[k, j] = 0


@sums
def whole_pass(
    values, indices, indptr, fetched_rows, columns, soft, small, wide, weight, scale,
    loss, coef, intercept, order, epoch, start, stop, room, grad,
):  # fmt: skip
    """Value and gradient, shape (K, d + 1), of `scale` times the cost's sum over some rows.

    Rows start to stop, of those in row `epoch` of `order` where it is not empty.
    """
    (
        rows, own, every, z, y, cost, slope, work, weights, partial, scores, wanted, costs, slopes,
        total,
    ) = room  # fmt: skip
    n_outputs, d = coef.shape
    block = len(rows)
    coupled = loss == MULTINOMIAL
    _take_weights(coef, weights)
    for r in range(block):
        costs[r] = 0
        for k in range(n_outputs):
            slopes[k, r] = 0
    for k in range(n_outputs):
        for j in range(d):
            total[k, j] = 0
    since_flush = 0
    ordered, weighted = order.size > 0, len(weight) > 0
    tile, lines, fetched, ahead = source(
        values, indices, indptr, fetched_rows, columns, rows, own, ordered
    )
    first = start
    while first < stop:
        m = min(block, stop - first, together(values, columns, ordered, first))
        for r in range(m):
            rows[r] = order[epoch, first + r] if ordered else first + r
        for r in range(m, m + (-m) % LINES):
            rows[r] = rows[m - 1]
        if fetched:
            fetch(values, columns, rows, m, fetched_rows)
        if coupled:
            for k in range(n_outputs):
                block_scores(tile, lines, every, ahead, m, weights, k, d, intercept[k], z)
                read_targets(soft, small, wide, n_outputs, k, rows, ordered, m, y)
                for r in range(m):
                    scores[k, r], wanted[k, r] = z[r], y[r]
            softmax_costs(m, scores, wanted, cost)
        for k in range(n_outputs):
            if coupled:
                for r in range(m):
                    cost[r] = cost[r] if k == 0 else 0.0
                    slope[r] = scores[k, r]
            else:
                block_scores(tile, lines, every, ahead, m, weights, k, d, intercept[k], z)
                read_targets(soft, small, wide, n_outputs, k, rows, ordered, m, y)
                # Whole registers: what is left of one would be computed row by row.
                count = m + (-m) % REGISTER
                if loss == SQUARED_ERROR:
                    squared_errors(count, z, y, cost, slope)
                elif loss == LOG_LOSS:
                    log_losses(count, z, y, cost, slope)
                elif loss == QUADRATIC:
                    quadratics(count, z, cost, slope)
            if weighted:
                for r in range(m):
                    cost[r] *= weight[rows[r]]
                    slope[r] *= weight[rows[r]]
            for r in range(m):
                costs[r] += cost[r]
                slopes[k, r] += slope[r]
            # What fills up a register.
            for r in range(m, m + (-m) % REGISTER):
                slope[r] = 0
            block_gradient(tile, lines, every, ahead, m, slope, work, partial, total, k, d)
        since_flush += m
        first += m
        # A row of CSR may have few entries, which go to the total at once.
        if indptr is None and (since_flush >= _FLUSH_ROWS or first >= stop):
            _flush(partial, total)
            since_flush = 0
    for k in range(n_outputs):
        for j in range(d):
            grad[k, j] = total[k, j] * scale
        grad[k, d] = _total(slopes[k]) * scale
    return _total(costs) * scale


def _predict_types(real, *kind):
    parameters = given(real, 2), given(real, 1)
    return *rows_types(real, *kind), *parameters, types.int64, scratch_types(real), array(real, 2)


@compiled_for(_predict_types)
def predict(
    n, values, indices, indptr, fetched_rows, columns, coef, intercept, activation, room, out
):
    """The number of scores that are not finite."""
    rows, own, every, z, _, _, _, _, weights, _, _, _, _, _, _ = room
    n_outputs, d = coef.shape
    wrong, block = 0, len(rows)
    _take_weights(coef, weights)
    tile, lines, fetched, ahead = source(
        values, indices, indptr, fetched_rows, columns, rows, own, False
    )
    for first in range(0, n, block):
        m = min(block, n - first)
        for r in range(m + (-m) % LINES):
            rows[r] = first + min(r, m - 1)
        if fetched:
            fetch(values, columns, rows, m, fetched_rows)
        for k in range(n_outputs):
            block_scores(tile, lines, every, ahead, m, weights, k, d, intercept[k], z)
            for r in range(m):
                # 0, or NaN.
                wrong += z[r] - z[r] != 0.0
            activate(activation, m, z)
            for r in range(m):
                out[first + r, k] = z[r]
    return wrong
