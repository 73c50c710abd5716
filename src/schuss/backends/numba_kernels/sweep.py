"""Stochastic gradient descent from row to row."""

import math

import numpy as np

from schuss.backends.numba_kernels.compiling import compiled, fused, strict
from schuss.backends.numba_kernels.formulas import log_loss
from schuss.backends.numba_kernels.rows import take_dense
from schuss.backends.numba_kernels.targets import target, weight_of
from schuss.constants import Schedule, SGDScalar, Status
from schuss.losses import RowLoss


@fused
def _shuffle(order, n, state):
    """The same swaps for the same state; a state of 0 would stay there."""
    state = np.uint32(max(state, 1))
    for i in range(n - 1):
        state = np.uint32(state ^ np.uint32(state << np.uint32(13)))
        state = np.uint32(state ^ np.uint32(state >> np.uint32(17)))
        state = np.uint32(state ^ np.uint32(state << np.uint32(5)))
        j = i + np.int64(state & np.uint32(0x7FFFFFFF)) % (n - i)
        order[i], order[j] = order[j], order[i]


@fused
def _row_loss(loss, parameter, p, y):
    """Loss of a row, and its derivative with respect to the score."""
    z = p * y
    if loss == RowLoss.HINGE:
        return (parameter - z, -y) if z <= parameter else (0.0, 0.0)
    if loss == RowLoss.SQUARED_HINGE:
        z = max(parameter - z, 0.0)
        return z * z, -2.0 * y * z
    if loss == RowLoss.MODIFIED_HUBER:
        if z >= 1.0:
            return 0.0, 0.0
        return ((1.0 - z) ** 2, -2.0 * (1.0 - z) * y) if z >= -1.0 else (-4.0 * z, -4.0 * y)
    if loss == RowLoss.LOG_LOSS:
        return log_loss(p, y)
    z = p - y
    if loss == RowLoss.SQUARED_ERROR or (loss == RowLoss.HUBER and abs(z) <= parameter):
        return z * z / 2.0, z
    sign = math.copysign(1.0, z)
    beyond = abs(z) - parameter
    if loss == RowLoss.HUBER:
        return parameter * (abs(z) - parameter / 2.0), sign * parameter
    if not beyond > 0.0:
        return 0.0, 0.0
    if loss == RowLoss.EPSILON_INSENSITIVE:
        return beyond, sign
    return beyond * beyond, sign * 2.0 * beyond


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
                _shuffle(order, n, np.int64(seeds[k]))
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
def _has_ended(w, scalars, config, value):
    """Whether a neuron stops after an epoch; its status says why."""
    if not (math.isfinite(scalars[SGDScalar.INTERCEPT]) and np.isfinite(w).all()):
        scalars[SGDScalar.STATUS] = Status.NONFINITE.value
        return True
    better = config.tol == -math.inf or not value > scalars[SGDScalar.BEST] - config.tol
    scalars[SGDScalar.WAITED] = 0.0 if better else scalars[SGDScalar.WAITED] + 1
    if value < scalars[SGDScalar.BEST]:
        scalars[SGDScalar.BEST] = value
    if scalars[SGDScalar.WAITED] < config.patience:
        return False
    lower = config.schedule == Schedule.ADAPTIVE and scalars[SGDScalar.STEP] > config.least_step
    if lower:
        scalars[SGDScalar.STEP] /= config.divisor
        scalars[SGDScalar.WAITED] = 0.0
    else:
        scalars[SGDScalar.STATUS] = Status.CONVERGED.value
    return not lower


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
    if config.schedule == Schedule.OPTIMAL:
        m[SGDScalar.STEP] = 1.0 / (config.alpha * (config.shift + m[SGDScalar.T] - 1.0))
    elif config.schedule == Schedule.INVSCALING:
        m[SGDScalar.STEP] = config.eta0 / m[SGDScalar.T] ** config.power_t
    eta = m[SGDScalar.STEP]
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
        factor = max(0.0, 1.0 - eta * config.l2)
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
        m[SGDScalar.L1_TOTAL] += eta * config.l1
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
