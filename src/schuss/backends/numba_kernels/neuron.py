"""The fused pass over tiles of rows, and prediction through the same reads.

X comes from memory once a pass.
"""

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
from schuss.backends.numba_kernels.formulas import activate, cost_loop
from schuss.backends.numba_kernels.lines import (
    block_gradient,
    block_scores,
    every_column,
    fetch,
    padded_weights,
    source,
    together,
)
from schuss.backends.numba_kernels.matrix import rows_types, tile_rows
from schuss.backends.numba_kernels.registers import LINES, REGISTER
from schuss.backends.numba_kernels.softmax import softmax_costs

# Partial gradients in the weights' precision are added up in float64 after so many rows.
_FLUSH_ROWS = 1024


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
    total = 0.0
    for value in values:
        total += value
    return total


@sums
def _flush(partial, total):
    for k in range(total.shape[0]):
        for j in range(total.shape[1]):
            total[k, j] += partial[k, j]
            partial[k, j] = 0


@sums
def whole_pass(
    values, indices, indptr, scratch, columns, soft, small, wide, weight, scale,
    loss, coef, intercept, order, start, stop, grad,
):  # fmt: skip
    """Value and gradient, shape (K, d + 1), of `scale` times the cost's sum over some rows.

    Rows start to stop, of `order` where it is not empty.
    """
    n_outputs, d = coef.shape
    block = tile_rows(d, coef.itemsize, columns)
    rows, own = np.empty(block, np.int64), np.arange(block)
    z, y, cost, slope = np.empty(block), np.empty(block), np.empty(block), np.empty(block)
    weights, every = padded_weights(coef), every_column(d)
    e, work = np.empty(block, coef.dtype), np.empty(max(block, len(every)), coef.dtype)
    coupled = loss == MULTINOMIAL
    scores = np.empty((n_outputs if coupled else 0, block))
    wanted = np.empty((n_outputs if coupled else 0, block))
    # Sums of every block-th row, so that their order is that of the rows' numbers.
    costs, slopes = np.zeros(block), np.zeros((n_outputs, block))
    # At least d rows, so that a flush never costs more than what it follows, even for CSR.
    flush_rows = max(_FLUSH_ROWS, d)
    partial = np.zeros_like(weights)
    total = np.zeros((n_outputs, d))
    since_flush = 0
    ordered, weighted = len(order) > 0, len(weight) > 0
    tile, lines, fetched, ahead = source(
        values, indices, indptr, scratch, columns, rows, own, ordered
    )
    first = start
    while first < stop:
        m = min(block, stop - first, together(values, columns, ordered, first))
        for r in range(m):
            rows[r] = order[first + r] if ordered else first + r
        for r in range(m, m + (-m) % LINES):
            rows[r] = rows[m - 1]
        if fetched:
            fetch(values, columns, rows, m, scratch)
        if coupled:
            for k in range(n_outputs):
                block_scores(
                    tile, lines, every, ahead, m, weights, k, d, intercept[k], work, scores[k]
                )
                read_targets(soft, small, wide, n_outputs, k, rows, ordered, m, wanted[k])
            softmax_costs(m, scores, wanted, cost)
        for k in range(n_outputs):
            if coupled:
                for r in range(m):
                    cost[r] = cost[r] if k == 0 else 0.0
                    slope[r] = scores[k, r]
            else:
                block_scores(tile, lines, every, ahead, m, weights, k, d, intercept[k], work, z)
                read_targets(soft, small, wide, n_outputs, k, rows, ordered, m, y)
                # A constant in each call: the loop in it has no branch.
                if loss == SQUARED_ERROR:
                    cost_loop(SQUARED_ERROR, m, z, y, cost, slope)
                elif loss == LOG_LOSS:
                    cost_loop(LOG_LOSS, m, z, y, cost, slope)
                else:
                    cost_loop(QUADRATIC, m, z, y, cost, slope)
            if weighted:
                for r in range(m):
                    cost[r] *= weight[rows[r]]
                    slope[r] *= weight[rows[r]]
            for r in range(m):
                costs[r] += cost[r]
                slopes[k, r] += slope[r]
                e[r] = slope[r]
            # What fills up the register of columns.
            for r in range(m, min(m + (-m) % REGISTER, block)):
                e[r] = 0
            block_gradient(tile, lines, every, ahead, m, e, work, partial, k, d)
        since_flush += m
        first += m
        if since_flush >= flush_rows or first >= stop:
            _flush(partial, total)
            since_flush = 0
    for k in range(n_outputs):
        for j in range(d):
            grad[k, j] = total[k, j] * scale
        grad[k, d] = _total(slopes[k]) * scale
    return _total(costs) * scale


def _predict_types(real, *kind):
    parameters = given(real, 2), given(real, 1)
    return *rows_types(real, *kind), *parameters, types.int64, array(real, 2)


@compiled_for(_predict_types)
def predict(n, values, indices, indptr, scratch, columns, coef, intercept, activation, out):
    """The number of scores that are not finite."""
    n_outputs, d = coef.shape
    wrong = 0
    block = tile_rows(d, coef.itemsize, columns)
    rows, own = np.empty(block, np.int64), np.arange(block)
    z, work = np.empty(block), np.empty(block, coef.dtype)
    weights, every = padded_weights(coef), every_column(d)
    tile, lines, fetched, ahead = source(
        values, indices, indptr, scratch, columns, rows, own, False
    )
    for first in range(0, n, block):
        m = min(block, n - first)
        for r in range(m + (-m) % LINES):
            rows[r] = first + min(r, m - 1)
        if fetched:
            fetch(values, columns, rows, m, scratch)
        for k in range(n_outputs):
            block_scores(tile, lines, every, ahead, m, weights, k, d, intercept[k], work, z)
            for r in range(m):
                # 0, or NaN.
                wrong += z[r] - z[r] != 0.0
            activate(activation, m, z)
            for r in range(m):
                out[first + r, k] = z[r]
    return wrong
