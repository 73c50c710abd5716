"""Stochastic gradient descent from row to row."""

import math

import numpy as np
from numba import types
from numba.extending import overload

from schuss.backends.contract import SGDConfig
from schuss.backends.numba_kernels.codes import (
    ADAPTIVE_SCHEDULE,
    CONVERGED,
    EPSILON,
    HINGE,
    HUBER,
    INVSCALING,
    M_ABSOLUTES,
    M_AVERAGE,
    M_BEST,
    M_EPOCHS,
    M_INTERCEPT,
    M_NONFINITE_SCORE,
    M_OWED,
    M_SCALE,
    M_SHARE,
    M_SQUARES,
    M_STATUS,
    M_STEP,
    M_T,
    M_WAITED,
    M_WHOLE,
    MODIFIED_HUBER,
    NONFINITE,
    OPTIMAL,
    PA1,
    RAN,
    ROW_LOG_LOSS,
    ROW_SQUARED,
    SQUARED_HINGE,
)
from schuss.backends.numba_kernels.compiling import (
    array,
    compiled_for,
    exact,
    given,
    strict,
    tuple_type,
)
from schuss.backends.numba_kernels.formulas import log1p, logistic_pair
from schuss.backends.numba_kernels.lines import fetch, source
from schuss.backends.numba_kernels.matrix import rows_types
from schuss.backends.numba_kernels.neuron import learnt_types


@exact
def _shuffle(order, n, state):
    """The same swaps for the same state; a state of 0 would stay there."""
    state = np.uint32(max(state, 1))
    for i in range(n - 1):
        state = np.uint32(state ^ np.uint32(state << np.uint32(13)))
        state = np.uint32(state ^ np.uint32(state >> np.uint32(17)))
        state = np.uint32(state ^ np.uint32(state << np.uint32(5)))
        j = i + np.int64(state & np.uint32(0x7FFFFFFF)) % (n - i)
        order[i], order[j] = order[j], order[i]


@exact
def _row_cost(loss, parameter, p, y):
    """Cost of a row, and its derivative with respect to the score."""
    z = p * y
    if loss == HINGE:
        return (parameter - z, -y) if z <= parameter else (0.0, 0.0)
    if loss == SQUARED_HINGE:
        z = max(parameter - z, 0.0)
        return z * z, -2.0 * y * z
    if loss == MODIFIED_HUBER:
        if z >= 1.0:
            return 0.0, 0.0
        return ((1.0 - z) ** 2, -2.0 * (1.0 - z) * y) if z >= -1.0 else (-4.0 * z, -4.0 * y)
    if loss == ROW_LOG_LOSS:
        above, below, t = logistic_pair(p)
        value = log1p(t) + (1.0 - y) * max(p, 0.0) + y * max(-p, 0.0)
        return value, above * (1.0 - y) - below * y
    z = p - y
    if loss == ROW_SQUARED or (loss == HUBER and abs(z) <= parameter):
        return z * z / 2.0, z
    sign = math.copysign(1.0, z)
    beyond = abs(z) - parameter
    if loss == HUBER:
        return parameter * (abs(z) - parameter / 2.0), sign * parameter
    if not beyond > 0.0:
        return 0.0, 0.0
    if loss == EPSILON:
        return beyond, sign
    return beyond * beyond, sign * 2.0 * beyond


def _entries_sparse(tile, at, places):
    values, indices, indptr = tile
    start, stop = indptr[at], indptr[at + 1]
    return indices[start:stop], values[start:stop]


def _entries_rows(tile, at, places):
    return places, tile[at]


def _entries_columns(tile, at, places):
    d = len(places)
    panel, place = divmod(at, tile[0].shape[1])
    return places, tile[0][panel * d : panel * d + d, place].copy()


def _entries(tile, at, places):
    """The places of a row's entries, and the entries."""


@overload(_entries)
def _choose_entries(tile, at, places):
    if isinstance(tile, types.Array):
        return _entries_rows
    return _entries_columns if len(tile) == 1 else _entries_sparse


def _sweep_types(real, *kind):
    return (
        *rows_types(real, *kind), *learnt_types(real),
        array(real, 2), array(real, 2), array(real, 2), array(np.int32, 2), array(np.float64, 2),
        tuple_type(SGDConfig), given(np.float64, 2), given(np.uint8, 1), given(np.uint32, 1),
        array(np.float64, 3),
    )  # fmt: skip


@compiled_for(_sweep_types)
def sweep(
    n, values, indices, indptr, scratch, columns, soft, small, wide, weight, scale_,
    coef, averages, debts, orders, all_marks, config, class_weight, held_out, seeds, history,
):  # fmt: skip
    n_outputs, d = coef.shape
    places = np.arange(d, dtype=np.int32)
    own = np.zeros(1, np.int32)
    one = np.zeros(1, np.int32)
    tile, rows, fetched, _ = source(values, indices, indptr, scratch, columns, one, own, False)
    low = 0.0 if config.loss == ROW_LOG_LOSS else -1.0
    most = 0
    for k in range(n_outputs):
        w, average, debt, marks, order = coef[k], averages[k], debts[k], all_marks[k], orders[k]
        marks[M_EPOCHS] = 0.0
        if marks[M_STATUS] != RAN:
            continue
        wanted = 1 if n_outputs == 1 else k
        for epoch in range(len(history)):
            if len(seeds):
                _shuffle(order, n, np.int64(seeds[k]))
            total, learnt = 0.0, 0
            for i in range(n):
                row = order[i]
                if len(held_out) and held_out[row]:
                    continue
                one[0] = row
                if fetched:
                    fetch(values, columns, one, 1, scratch)
                at, x = _entries(tile, rows[0], places)
                y = low
                if len(soft):
                    y = np.float64(soft[k, row])
                elif len(small):
                    if small[row] == wanted:
                        y = 1.0
                elif wide[row] == wanted:
                    y = 1.0
                s = class_weight[k, 0] if y > 0.0 else class_weight[k, 1]
                if len(weight):
                    s *= weight[row]
                total += _sweep_row(at, x, y, s, w, average, debt, marks, config)
                learnt += 1
            value = total / max(learnt, 1)
            history[epoch, k, 0], history[epoch, k, 1] = value, marks[M_STEP]
            marks[M_EPOCHS] = epoch + 1
            most = max(most, epoch + 1)
            finite = math.isfinite(marks[M_INTERCEPT])
            for j in range(d):
                finite = finite and math.isfinite(w[j])
            if not finite:
                marks[M_STATUS] = NONFINITE
                break
            if config.tol > -math.inf and value > marks[M_BEST] - config.tol:
                marks[M_WAITED] += 1
            else:
                marks[M_WAITED] = 0
            if value < marks[M_BEST]:
                marks[M_BEST] = value
            if marks[M_WAITED] >= config.patience:
                if config.schedule == ADAPTIVE_SCHEDULE and marks[M_STEP] > config.least_step:
                    marks[M_STEP] /= config.divisor
                    marks[M_WAITED] = 0
                else:
                    marks[M_STATUS] = CONVERGED
                    break
    return most


@strict
def _sweep_row(at, x, y, s, w, average, debt, m, config):
    """One step, for a row that weighs s; returns its share of the objective."""
    count = len(x)
    p = 0.0
    for j in range(count):
        p += w[at[j]] * x[j]
    p = p * m[M_SCALE] + m[M_INTERCEPT]
    if not math.isfinite(p):
        m[M_NONFINITE_SCORE] = 1.0
    if config.schedule == OPTIMAL:
        m[M_STEP] = 1.0 / (config.alpha * (config.shift + m[M_T] - 1.0))
    elif config.schedule == INVSCALING:
        m[M_STEP] = config.eta0 / m[M_T] ** config.power_t
    eta = m[M_STEP]
    value, slope = _row_cost(config.loss, config.parameter, p, y)
    if config.schedule >= PA1:
        size = 0.0
        for j in range(count):
            size += np.float64(x[j]) * x[j]
        if config.schedule == PA1:
            if size == 0.0:
                return value
            update = min(config.eta0, value / size)
        else:
            update = value / (size + 0.5 / config.eta0)
        update *= y if config.loss == HINGE else math.copysign(1.0, y - p)
    else:
        value += config.l2 / 2.0 * m[M_SQUARES] + config.l1 * m[M_ABSOLUTES]
        update = -eta * min(max(slope, -config.largest_derivative), config.largest_derivative)
    update *= s
    if config.l2 > 0.0:
        factor = max(0.0, 1.0 - eta * config.l2)
        m[M_SCALE] *= factor
        m[M_SQUARES] *= factor * factor
        m[M_ABSOLUTES] *= factor
        if m[M_SCALE] < config.least_scale:
            for j in range(len(average)):
                average[j] = (average[j] + m[M_SHARE] * w[j]) / m[M_WHOLE]
            for j in range(len(w)):
                w[j] *= m[M_SCALE]
            m[M_SCALE], m[M_SHARE], m[M_WHOLE] = 1.0, 0.0, 1.0
    scale = m[M_SCALE]
    if update != 0.0:
        factor = update / scale
        squares = absolutes = 0.0
        for j in range(count):
            w[at[j]] += x[j] * factor
            squares += w[at[j]] * w[at[j]]
            absolutes += abs(w[at[j]])
        m[M_SQUARES], m[M_ABSOLUTES] = squares * scale * scale, absolutes * scale
        if config.fit_intercept:
            m[M_INTERCEPT] += update * config.decay
    if 0 < config.average_from <= m[M_T]:
        seen = m[M_T] - config.average_from + 1.0
        if update != 0.0:
            factor = m[M_SHARE] * update / scale
            for j in range(count):
                average[at[j]] -= x[j] * factor
        if seen > 1.0:
            m[M_WHOLE] /= 1.0 - 1.0 / seen
        m[M_SHARE] += m[M_WHOLE] * scale / seen
        m[M_AVERAGE] += (m[M_INTERCEPT] - m[M_AVERAGE]) / seen
    if config.l1 > 0.0:
        m[M_OWED] += eta * config.l1
        for j in range(count):
            z, q = np.float64(w[at[j]]), np.float64(debt[at[j]])
            v = z
            if z > 0.0:
                v = max(0.0, z - (m[M_OWED] + q) / scale)
            elif z < 0.0:
                v = min(0.0, z + (m[M_OWED] - q) / scale)
            w[at[j]] = v
            debt[at[j]] = q + scale * (w[at[j]] - z)
    m[M_T] += 1.0
    return value
