"""Stochastic gradient descent from row to row."""

import math

import numpy as np

from schuss.backends import numpy_
from schuss.backends.numba_kernels.compiling import compiled, fused, strict
from schuss.backends.numba_kernels.formulas import log_loss
from schuss.backends.numba_kernels.rows import take_dense
from schuss.backends.numba_kernels.targets import target, weight_of
from schuss.constants import Schedule, SGDScalar, Status
from schuss.losses import RowLoss

# The reference's own.
_shuffle_rows = fused(numpy_.shuffle_rows)
_row_loss = fused(numpy_.row_loss)
_learning_rate = strict(numpy_.learning_rate)
_has_ended = strict(numpy_.has_ended)


@compiled
def sweep(
    n, X, targets, scale, coef, averages, l1_applied, orders, all_scalars, config, class_weight,
    held_out, seeds, history,
):  # fmt: skip
    n_outputs = len(coef)
    low = 0.0 if config.loss == RowLoss.LOG_LOSS else -1.0
    for k in range(n_outputs):
        w, average, applied, order = coef[k], averages[k], l1_applied[k], orders[k]
        scalars = all_scalars[k]
        scalars[SGDScalar.EPOCHS] = 0.0
        if scalars[SGDScalar.STATUS] != Status.RAN.value:
            continue
        for epoch in range(len(history)):
            if len(seeds):
                _shuffle_rows(order, n, np.int64(seeds[k]))
            value = _sweep_epoch(
                n, X, targets, k, n_outputs, low, w, average, applied, order, scalars, config,
                class_weight[k], held_out,
            )  # fmt: skip
            history[epoch, k, 0], history[epoch, k, 1] = value, scalars[SGDScalar.STEP]
            scalars[SGDScalar.EPOCHS] = epoch + 1
            if _has_ended(w, scalars, config, value):
                break
    return int(all_scalars[:, SGDScalar.EPOCHS].max())


@strict
def _sweep_epoch(
    n, X, targets, k, n_outputs, low, w, average, applied, order, scalars, config, class_weight,
    held_out,
):  # fmt: skip
    """All rows once; returns the objective."""
    d, sparse = len(w), len(X.indptr) > 0
    all_columns = np.arange(d).astype(X.indices.dtype)
    row_memory = np.empty((1, 0 if sparse else d), w.dtype)
    total, learnt = 0.0, 0
    for i in range(n):
        row = order[i]
        if len(held_out) and held_out[row]:
            continue
        if sparse:
            entries = slice(X.indptr[row], X.indptr[row + 1])
            at, x = X.indices[entries], X.data[entries]
        elif len(X.dense):
            at, x = all_columns, X.dense[row]
        else:
            take_dense(X, order, i, row_memory)
            at, x = all_columns, row_memory[0]
        y = target(targets, k, n_outputs, row)
        if len(targets.real) == 0 and y == 0.0:
            y = low
        s = class_weight[0 if y > 0.0 else 1] * weight_of(targets, row)
        total += _sweep_row(at, x, y, s, w, average, applied, scalars, config)
        learnt += 1
    return total / max(learnt, 1)


@strict
def _sweep_row(at, x, y, s, w, average, applied, m, config):
    """One step, for a row that weighs s; returns its share of the objective."""
    count = len(x)
    p = 0.0
    for j in range(count):
        p += w[at[j]] * x[j]
    p = p * m[SGDScalar.SCALE] + m[SGDScalar.INTERCEPT]
    if not math.isfinite(p):
        m[SGDScalar.NONFINITE_SCORE] = 1.0
    eta = m[SGDScalar.STEP] = _learning_rate(config, m)
    if config.loss == RowLoss.LOG_LOSS:
        value, derivative = log_loss(p, y)
    else:
        value, derivative = _row_loss(config.loss, config.parameter, p, y)
    if config.schedule >= Schedule.PA1:
        size = 0.0
        for j in range(count):
            size += np.float64(x[j]) * x[j]
        if config.schedule == Schedule.PA1:
            if size == 0.0:
                return value
            update = min(config.eta0, value / size)
        else:
            update = value / (size + 0.5 / config.eta0)
        update *= y if config.loss == RowLoss.HINGE else math.copysign(1.0, y - p)
    else:
        value += config.l2 / 2.0 * m[SGDScalar.SQUARES] + config.l1 * m[SGDScalar.ABSOLUTES]
        update = -eta * min(max(derivative, -config.largest_derivative), config.largest_derivative)
    update *= s
    if config.l2 > 0.0:
        factor = max(0.0, 1.0 - (1.0 - config.l1_ratio) * eta * config.alpha)
        m[SGDScalar.SCALE] *= factor
        m[SGDScalar.SQUARES] *= factor * factor
        m[SGDScalar.ABSOLUTES] *= factor
        if m[SGDScalar.SCALE] < config.least_scale:
            average += m[SGDScalar.SHARE] * w[: len(average)]
            average /= m[SGDScalar.WHOLE]
            w *= m[SGDScalar.SCALE]
            m[SGDScalar.SCALE], m[SGDScalar.SHARE], m[SGDScalar.WHOLE] = 1.0, 0.0, 1.0
    scale = m[SGDScalar.SCALE]
    if update != 0.0:
        factor = update / scale
        squares = absolutes = 0.0
        for j in range(count):
            w[at[j]] += x[j] * factor
            squares += w[at[j]] * w[at[j]]
            absolutes += abs(w[at[j]])
        m[SGDScalar.SQUARES], m[SGDScalar.ABSOLUTES] = squares * scale * scale, absolutes * scale
        if config.fit_intercept:
            m[SGDScalar.INTERCEPT] += update * config.decay
    if 0 < config.average_from <= m[SGDScalar.T]:
        seen = m[SGDScalar.T] - config.average_from + 1.0
        if update != 0.0:
            factor = m[SGDScalar.SHARE] * update / scale
            for j in range(count):
                average[at[j]] -= x[j] * factor
        if seen > 1.0:
            m[SGDScalar.WHOLE] /= 1.0 - 1.0 / seen
        m[SGDScalar.SHARE] += m[SGDScalar.WHOLE] * scale / seen
        m[SGDScalar.AVERAGE_INTERCEPT] += (
            m[SGDScalar.INTERCEPT] - m[SGDScalar.AVERAGE_INTERCEPT]
        ) / seen
    if config.l1 > 0.0:
        m[SGDScalar.L1_TOTAL] += config.l1_ratio * eta * config.alpha
        for j in range(count):
            z, q = np.float64(w[at[j]]), np.float64(applied[at[j]])
            v = z
            if z > 0.0:
                v = max(0.0, z - (m[SGDScalar.L1_TOTAL] + q) / scale)
            elif z < 0.0:
                v = min(0.0, z + (m[SGDScalar.L1_TOTAL] - q) / scale)
            w[at[j]] = v
            applied[at[j]] = q + scale * (w[at[j]] - z)
    m[SGDScalar.T] += 1.0
    return value
