"""The kernel contract in plain NumPy: the reference for the other backends.

Written to be read next to the formulas, not to be fast; `contract` says what each
function takes and returns.
"""

import math

import numpy as np
import scipy.sparse as sp

from schuss.constants import (
    REAL_TYPE,
    Activation,
    Counter,
    Loss,
    SweepMark,
    RowLoss,
    Schedule,
    Solver,
    Status,
)

NAME = "numpy"

# Rows converted at a time where X is not of the weights' type: bounds the copy.
_BLOCK_ROWS = 4096


def prepare(X):
    return X


def pointwise(z, y, loss, value, derivative):
    value[...], derivative[...] = _cost(z, y, loss)


def gradient(data, loss, coef, intercept, coef_grad, intercept_grad, n_threads):
    n = data.X.shape[0]
    return _rows_gradient(data, loss, coef, intercept, None, 0, n, 1.0, coef_grad, intercept_grad)


def descend(data, state, rule, order, history, n_threads):
    n = data.X.shape[0]
    state.counters[Counter.EPOCHS] = 0
    grad = np.empty_like(state.coef), np.empty_like(state.intercept)
    full = rule.batch_size >= n
    for epoch in range(len(history)):
        rows = None if full or order is None else order[epoch]
        total = 0.0
        for start in range(0, n, rule.batch_size):
            stop = min(start + rule.batch_size, n)
            with np.errstate(over="ignore", invalid="ignore"):
                value = _rows_gradient(
                    data, rule.loss, state.coef, state.intercept,
                    rows, start, stop, n / (stop - start), *grad,
                )  # fmt: skip
                norm, penalty = _add_penalty(state, rule, *grad)
            total += value * (stop - start) / n
            if stop == n:
                total += penalty
                history[epoch] = total, norm, state.counters[Counter.STEP]
            if not (math.isfinite(total) and (stop < n or math.isfinite(norm))):
                history[epoch] = total, norm, state.counters[Counter.STEP]
                return epoch, Status.NONFINITE
            if full and norm <= rule.tol:
                return epoch, Status.CONVERGED
            with np.errstate(over="ignore", invalid="ignore"):
                _step(state, rule, full, *grad)
            history[epoch, 2] = state.counters[Counter.STEP]
        state.counters[Counter.EPOCHS] = epoch + 1
    return len(history), Status.RAN


def sweep(data, trail, pace, class_weight, held_out, seeds, history, n_threads):
    n = data.X.shape[0]
    trail.marks[:, SweepMark.EPOCHS] = 0
    with np.errstate(all="ignore"):
        for k in range(len(trail.coef)):
            if trail.marks[k, SweepMark.STATUS] != Status.RAN:
                continue
            for epoch in range(len(history)):
                if seeds is not None:
                    _shuffle(trail.order[k], n, int(seeds[k]))
                value = _sweep_epoch(data, trail, pace, class_weight[k], held_out, k)
                history[epoch, k] = value, trail.marks[k, SweepMark.STEP]
                trail.marks[k, SweepMark.EPOCHS] = epoch + 1
                if _has_ended(trail.coef[k], trail.marks[k], pace, value):
                    break
    return int(trail.marks[:, SweepMark.EPOCHS].max())


def predict(X, coef, intercept, activation, out, n_threads):
    for rows in _blocks(0, X.shape[0]):
        z = _read(X, rows) @ coef.T + intercept
        if activation == Activation.LOGISTIC:
            z = _logistic_pair(z)[0]
        elif activation == Activation.LOG_LOGISTIC:
            z = -_log1pexp(-z)
        out[rows] = z


def _logistic_pair(z):
    """sigma(z) and sigma(-z), neither by subtraction from 1."""
    e = np.exp(-np.abs(z))
    large = 1 / (1 + e)
    small = e / (1 + e)
    return np.where(z < 0, small, large), np.where(z < 0, large, small)


def _log1pexp(z):
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def _cost(z, y, loss):
    """Cost and derivative, with no digit lost where sigma(z) rounds to 0 or 1."""
    if loss == Loss.QUADRATIC:
        return z * z / 2, z
    p, q = _logistic_pair(z)
    residual = p * (1 - y) - q * y
    if loss == Loss.SQUARED_ERROR:
        return residual * residual / 2, residual * p * q
    tail = np.log1p(np.exp(-np.abs(z)))
    return tail + (1 - y) * np.maximum(z, 0) + y * np.maximum(-z, 0), residual


def _blocks(start, stop):
    for first in range(start, stop, _BLOCK_ROWS):
        yield slice(first, min(first + _BLOCK_ROWS, stop))


def _read(X, rows):
    if sp.issparse(X):
        return X[rows]
    return X[rows].astype(REAL_TYPE[X.dtype.newbyteorder("=")], copy=False)


def _targets(y, n_outputs, rows):
    if y.ndim == 2:
        return y[:, rows].T
    codes = y[rows]
    if n_outputs == 1:
        return (codes == 1)[:, None]
    return codes[:, None] == np.arange(n_outputs)


def _rows_gradient(
    data, loss, coef, intercept, order, start, stop, factor, coef_grad, intercept_grad
):
    """Value and gradient of the mean cost over rows start to stop of an order."""
    coef_grad[...] = 0
    intercept_grad[...] = 0
    value = 0.0
    for block in _blocks(start, stop):
        rows = block if order is None else order[block]
        X = _read(data.X, rows)
        y = _targets(data.y, len(coef), rows).astype(coef.dtype, copy=False)
        cost, derivative = _cost(X @ coef.T + intercept, y, loss)
        if data.sample_weight is not None:
            weight = data.sample_weight[rows, None]
            cost, derivative = weight * cost, weight * derivative
        value += cost.sum(dtype=np.float64)
        coef_grad += (X.T @ derivative).T
        intercept_grad += derivative.sum(axis=0)
    factor *= data.scale
    coef_grad *= factor
    intercept_grad *= factor
    return float(value * factor)


def _add_penalty(state, rule, coef_grad, intercept_grad):
    """Add the l2 term; return the largest entry of the smallest subgradient, and the penalty."""
    coef = state.coef
    coef_grad += rule.l2 * coef
    if not rule.fit_intercept:
        intercept_grad[...] = 0
    smallest = np.where(
        coef != 0,
        coef_grad + rule.l1 * np.sign(coef),
        np.maximum(np.abs(coef_grad) - rule.l1, 0),
    )
    norm = max(np.abs(smallest).max(initial=0), np.abs(intercept_grad).max(initial=0))
    wide = coef.astype(np.float64)
    # Squares of large weights overflow: only where they count. 0 * w is NaN where w is not
    # finite, so weights that overflowed are noticed.
    penalty = np.sum(0 * wide) + np.sum(0 * state.intercept.astype(np.float64))
    if rule.l2:
        penalty += rule.l2 / 2 * np.sum(wide * wide)
    if rule.l1:
        penalty += rule.l1 * np.sum(np.abs(wide))
    return float(norm), float(penalty)


def _shrink(coef, threshold):
    """Proximal operator of threshold * |w|."""
    return np.sign(coef) * np.maximum(np.abs(coef) - threshold, 0)


def _step(state, rule, full, coef_grad, intercept_grad):
    """Move the parameters against the gradient as the rule says."""
    real = state.coef.dtype
    theta = np.concatenate([state.coef, state.intercept[:, None]], axis=1)
    grad = np.concatenate([coef_grad, intercept_grad[:, None]], axis=1)
    counters = state.counters
    steps = counters[Counter.STEPS]
    step = rule.learning_rate
    threshold = rule.l1 * step

    if rule.solver == Solver.GD:
        new = theta - real.type(step) * grad
    elif rule.solver == Solver.MOMENTUM:
        velocity = state.slots[0]
        velocity[...] = real.type(rule.momentum) * velocity - real.type(step) * grad
        new = theta + velocity
    elif rule.solver == Solver.NESTEROV:
        # The parameters are the extrapolated point y_k, the slot is x_k.
        if steps == 0:
            state.slots[0] = theta
            counters[Counter.RATIO] = 1.0
        new = theta - real.type(step) * grad
    elif rule.solver == Solver.ADAM:
        mean, square = state.slots
        mean[...] = real.type(rule.beta_1) * mean + real.type(1 - rule.beta_1) * grad
        square[...] = real.type(rule.beta_2) * square + real.type(1 - rule.beta_2) * grad * grad
        correction_1 = 1 - rule.beta_1 ** (steps + 1)
        correction_2 = 1 - rule.beta_2 ** (steps + 1)
        rate = real.type(step / correction_1) / (
            np.sqrt(square / real.type(correction_2)) + real.type(rule.epsilon)
        )
        new = theta - rate * mean
        threshold = rule.l1 * correction_1 * rate[:, :-1]
    else:
        step = _adaptive_step(state, rule, theta, grad)
        threshold = rule.l1 * step
        new = theta - real.type(step) * grad

    if rule.l1:
        new[:, :-1] = _shrink(new[:, :-1], np.asarray(threshold, dtype=real))
    if rule.solver == Solver.NESTEROV:
        new = _extrapolate(state, rule, full, new, grad)
    state.coef[...] = new[:, :-1]
    if rule.fit_intercept:
        state.intercept[...] = new[:, -1]
    counters[Counter.STEPS] = steps + 1
    counters[Counter.STEP] = step


def _adaptive_step(state, rule, theta, grad):
    """Malitsky & Mishchenko, arXiv 1910.09529, algorithm 1: no line search."""
    previous_theta, previous_grad = state.slots
    counters = state.counters
    if counters[Counter.STEPS] == 0:
        step = rule.learning_rate
        counters[Counter.RATIO] = np.inf
    else:
        moved = np.linalg.norm((theta - previous_theta).astype(np.float64))
        turned = np.linalg.norm((grad - previous_grad).astype(np.float64))
        last = counters[Counter.STEP]
        step = math.sqrt(1 + counters[Counter.RATIO]) * last
        if turned > 0 and moved > 0:
            step = min(step, moved / (2 * turned))
        if not math.isfinite(step):
            step = last
        counters[Counter.RATIO] = step / last
    previous_theta[...] = theta
    previous_grad[...] = grad
    return step


def _extrapolate(state, rule, full, new, grad):
    """Nesterov's next point; the momentum is dropped where it points uphill.

    The sequence t_k is that of Beck & Teboulle (FISTA, 2009), the restart the gradient
    scheme of O'Donoghue & Candes, arXiv 1204.3982. With batches the gradient is noisy,
    so the factor is held at ``rule.momentum`` at the most.
    """
    previous = state.slots[0]
    moved = new - previous
    t = state.counters[Counter.RATIO]
    if full and np.sum(grad.astype(np.float64) * moved) > 0:
        t = 1.0
    t_next = (1 + math.sqrt(1 + 4 * t * t)) / 2
    factor = (t - 1) / t_next
    if not full:
        factor = min(factor, rule.momentum)
    previous[...] = new
    state.counters[Counter.RATIO] = t_next
    return new + new.dtype.type(factor) * moved


def _shuffle(order, n, state):
    """The same swaps for the same state; a state of 0 would stay there."""
    state = state or 1
    for i in range(n - 1):
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
        j = i + (state & 0x7FFFFFFF) % (n - i)
        order[i], order[j] = order[j], order[i]


def _row_cost(loss, parameter, p, y):
    """Cost of a row, and its derivative with respect to the score."""
    z = p * y
    if loss == RowLoss.HINGE:
        return (parameter - z, -y) if z <= parameter else (0.0, 0.0)
    if loss == RowLoss.SQUARED_HINGE:
        z = max(parameter - z, 0.0)
        return z * z, -2 * y * z
    if loss == RowLoss.MODIFIED_HUBER:
        if z >= 1:
            return 0.0, 0.0
        return ((1 - z) ** 2, -2 * (1 - z) * y) if z >= -1 else (-4 * z, -4 * y)
    if loss == RowLoss.LOG_LOSS:
        return _cost(np.float64(p), y, Loss.LOG_LOSS)
    z = p - y
    if loss == RowLoss.SQUARED_ERROR or (loss == RowLoss.HUBER and abs(z) <= parameter):
        return z * z / 2, z
    sign = math.copysign(1.0, z)
    beyond = abs(z) - parameter
    if loss == RowLoss.HUBER:
        return parameter * (abs(z) - parameter / 2), sign * parameter
    if not beyond > 0:
        return 0.0, 0.0
    if loss == RowLoss.EPSILON_INSENSITIVE:
        return beyond, sign
    return beyond * beyond, sign * 2 * beyond


def _sweep_row(X, row, real):
    """The places of a row's entries, and the entries."""
    if sp.issparse(X):
        entries = slice(X.indptr[row], X.indptr[row + 1])
        return X.indices[entries], X.data[entries]
    return slice(None), X[row].astype(real)


def _sweep_epoch(data, trail, pace, class_weight, held_out, k):
    """All rows once; returns the objective."""
    w, average, debt, marks = trail.coef[k], trail.average[k], trail.debt[k], trail.marks[k]
    real = w.dtype.type
    low = 0.0 if pace.loss == RowLoss.LOG_LOSS else -1.0
    targets = _targets(data.y, len(trail.coef), slice(None))[:, k]
    passive = pace.schedule >= Schedule.PA1
    total, learnt = 0.0, 0
    # Arrays' entries, not Python's numbers: those would raise where these are infinite.
    m = marks
    for row in trail.order[k]:
        if held_out is not None and held_out[row]:
            continue
        at, x = _sweep_row(data.X, row, real)
        p = float(real(np.dot(w[at], x) * m[SweepMark.SCALE])) + m[SweepMark.INTERCEPT]
        y = float(targets[row]) if data.y.ndim == 2 else (1.0 if targets[row] else low)
        if pace.schedule == Schedule.OPTIMAL:
            m[SweepMark.STEP] = 1 / (pace.alpha * (pace.shift + m[SweepMark.T] - 1))
        elif pace.schedule == Schedule.INVSCALING:
            m[SweepMark.STEP] = pace.eta0 / m[SweepMark.T] ** pace.power_t
        eta = m[SweepMark.STEP]
        value, slope = _row_cost(pace.loss, pace.parameter, p, y)
        total += value
        learnt += 1
        if passive:
            size = float(np.sum(x.astype(np.float64) ** 2))
            if pace.schedule == Schedule.PA1:
                if size == 0:
                    continue
                update = min(pace.eta0, value / size)
            else:
                update = value / (size + 0.5 / pace.eta0)
            update *= y if pace.loss == RowLoss.HINGE else math.copysign(1.0, y - p)
        else:
            total += pace.l2 / 2 * m[SweepMark.SQUARES] + pace.l1 * m[SweepMark.ABSOLUTES]
            update = -eta * min(max(slope, -pace.largest_slope), pace.largest_slope)
        update *= class_weight[0] if y > 0 else class_weight[1]
        if data.sample_weight is not None:
            update *= data.sample_weight[row]
        if pace.l2 > 0:
            factor = float(real(max(0.0, 1 - eta * pace.l2)))
            m[SweepMark.SCALE] *= factor
            m[SweepMark.SQUARES] *= factor * factor
            m[SweepMark.ABSOLUTES] *= factor
            if m[SweepMark.SCALE] < pace.least_scale:
                average[:] = (average + m[SweepMark.SHARE] * w[: len(average)]) / m[SweepMark.WHOLE]
                w *= real(m[SweepMark.SCALE])
                m[SweepMark.SCALE], m[SweepMark.SHARE], m[SweepMark.WHOLE] = 1, 0, 1
        scale = m[SweepMark.SCALE]
        if update != 0:
            factor = real(real(update) / scale)
            np.add.at(w, at, factor * x)
            wide = w[at].astype(np.float64) * scale
            m[SweepMark.SQUARES], m[SweepMark.ABSOLUTES] = np.sum(wide * wide), np.sum(np.abs(wide))
            if pace.fit_intercept:
                m[SweepMark.INTERCEPT] += update * pace.decay
        if 0 < pace.average_from <= m[SweepMark.T]:
            seen = m[SweepMark.T] - pace.average_from + 1
            if update != 0:
                np.add.at(average, at, real(-m[SweepMark.SHARE] * (real(update) / scale)) * x)
            if seen > 1:
                m[SweepMark.WHOLE] /= 1 - 1 / seen
            m[SweepMark.SHARE] += m[SweepMark.WHOLE] * scale / seen
            m[SweepMark.AVERAGE_INTERCEPT] += (m[SweepMark.INTERCEPT] - m[SweepMark.AVERAGE_INTERCEPT]) / seen
        if pace.l1 > 0:
            m[SweepMark.OWED] += eta * pace.l1
            z, q, owed = w[at].copy(), debt[at].copy(), m[SweepMark.OWED]
            positive = np.maximum(0, z - (owed + q) / scale)
            negative = np.minimum(0, z + (owed - q) / scale)
            moved = np.where(z > 0, positive, np.where(z < 0, negative, z)).astype(real)
            w[at] = moved
            debt[at] = q + scale * (moved - z)
        m[SweepMark.T] += 1
    return total / max(learnt, 1)


def _has_ended(w, marks, pace, value):
    """Whether a neuron stops after an epoch; its status says why."""
    if not (np.isfinite(w).all() and math.isfinite(marks[SweepMark.INTERCEPT])):
        marks[SweepMark.STATUS] = Status.NONFINITE
        return True
    better = pace.tol == -math.inf or not value > marks[SweepMark.BEST] - pace.tol
    marks[SweepMark.WAITED] = 0 if better else marks[SweepMark.WAITED] + 1
    marks[SweepMark.BEST] = min(value, marks[SweepMark.BEST])
    if marks[SweepMark.WAITED] < pace.patience:
        return False
    if pace.schedule == Schedule.ADAPTIVE and marks[SweepMark.STEP] > pace.least_step:
        marks[SweepMark.STEP] /= pace.divisor
        marks[SweepMark.WAITED] = 0
        return False
    marks[SweepMark.STATUS] = Status.CONVERGED
    return True
