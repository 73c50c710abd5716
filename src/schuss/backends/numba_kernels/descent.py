"""Runs: epochs of steps, full or in batches, and the configs of the solvers."""

import math

import numpy as np

from schuss.backends.contract import UpdateConfig
from schuss.backends.numba_kernels.codes import (
    ADAM,
    ADAPTIVE,
    CONVERGED,
    EPOCHS,
    MOMENTUM,
    NESTEROV,
    NONFINITE,
    RAN,
    RATIO,
    STEP,
    STEPS,
)
from schuss.backends.numba_kernels.compiling import array, compiled_for, exact, given, tuple_type
from schuss.backends.numba_kernels.matrix import rows_types
from schuss.backends.numba_kernels.neuron import learnt_types, scratch_types, whole_pass


def _descend_types(real, *kind):
    return (
        *rows_types(real, *kind), *learnt_types(real),
        array(real, 2), array(real, 1), array(real, 3), array(np.float64, 1),
        tuple_type(UpdateConfig),
        given(np.int32, 2), array(np.float64, 2), scratch_types(real), array(real, 2),
    )  # fmt: skip


@compiled_for(_descend_types)
def descend(
    n, values, indices, indptr, scratch, columns, soft, small, wide, weight, scale,
    coef, intercept, slots, counters, config, order, history, room, grad,
):  # fmt: skip
    """A run; `grad` is left with the last gradient or point."""
    full = config.batch_size >= n
    if order.size:
        n = order.shape[1]
    counters[EPOCHS] = 0
    for epoch in range(len(history)):
        mean = 0.0
        for start in range(0, n, config.batch_size):
            stop = min(start + config.batch_size, n)
            share = (stop - start) / n
            value = whole_pass(
                values, indices, indptr, scratch, columns, soft, small, wide, weight, scale / share,
                config.loss, coef, intercept, order, epoch, start, stop, room, grad,
            )  # fmt: skip
            norm, penalty = _add_penalty(coef, config, grad)
            mean += value * share
            last = stop == n
            if last:
                mean += penalty
            history[epoch, 0] = mean
            history[epoch, 1] = norm
            history[epoch, 2] = counters[STEP]
            if not (math.isfinite(mean) and (not last or math.isfinite(norm))):
                return epoch, NONFINITE
            if full and norm <= config.tol:
                return epoch, CONVERGED
            take_step(coef, intercept, slots, counters, config, full, grad)
            history[epoch, 2] = counters[STEP]
        counters[EPOCHS] = epoch + 1
    return len(history), RAN


@exact
def _add_penalty(coef, config, grad):
    """Add the l2 term; return the largest entry of the smallest subgradient, and the penalty."""
    n_outputs, d = coef.shape
    norm = squares = absolutes = 0.0
    for k in range(n_outputs):
        if not config.fit_intercept:
            grad[k, d] = 0
        norm = larger(norm, abs(grad[k, d]))
        for j in range(d):
            w = float(coef[k, j])
            if config.l2 > 0:
                grad[k, j] += config.l2 * w
            if w > 0:
                smallest = abs(grad[k, j] + config.l1)
            elif w < 0:
                smallest = abs(grad[k, j] - config.l1)
            else:
                smallest = max(abs(grad[k, j]) - config.l1, 0.0)
            norm = larger(norm, smallest)
            squares += w * w
            absolutes += abs(w)
    penalty = 0.0
    # The squares of large weights overflow, and 0 * inf would be NaN.
    if config.l2 > 0:
        penalty += config.l2 / 2 * squares
    if config.l1 > 0:
        penalty += config.l1 * absolutes
    return norm, penalty


@exact
def larger(a, b):
    """The larger one, or NaN if there is one."""
    return a if a >= b or a != a else b


@exact
def take_step(coef, intercept, slots, counters, config, full, grad):
    """Move the parameters against the gradient as the config says."""
    n_outputs, d = coef.shape
    steps = counters[STEPS]
    step = config.learning_rate
    if config.solver == ADAM:
        correction_1 = 1 - config.beta_1 ** (steps + 1)
        correction_2 = 1 - config.beta_2 ** (steps + 1)
    elif config.solver == NESTEROV:
        # The parameters are the extrapolated point y_k, the slot is x_k.
        if steps == 0:
            counters[RATIO] = 1.0
            for k in range(n_outputs):
                for j in range(d + 1):
                    slots[0, k, j] = intercept[k] if j == d else coef[k, j]
    elif config.solver == ADAPTIVE:
        step = _adaptive_step(coef, intercept, slots, counters, config, grad)

    # From here on `grad` becomes the next point.
    uphill = 0.0
    for k in range(n_outputs):
        for j in range(d + 1):
            theta = float(intercept[k] if j == d else coef[k, j])
            g = float(grad[k, j])
            threshold = step * config.l1
            if config.solver == MOMENTUM:
                slots[0, k, j] = config.momentum * slots[0, k, j] - step * g
                new = theta + slots[0, k, j]
            elif config.solver == ADAM:
                slots[0, k, j] = config.beta_1 * slots[0, k, j] + (1 - config.beta_1) * g
                slots[1, k, j] = config.beta_2 * slots[1, k, j] + (1 - config.beta_2) * g * g
                root = math.sqrt(slots[1, k, j] / correction_2)
                rate = step / correction_1 / (root + config.epsilon)
                new = theta - rate * slots[0, k, j]
                threshold = config.l1 * correction_1 * rate
            else:
                new = theta - step * g
            if j < d and threshold > 0:
                new = _shrink(new, threshold)
            grad[k, j] = new
            if config.solver == NESTEROV:
                uphill += g * (new - slots[0, k, j])

    if config.solver == NESTEROV:
        _extrapolate(slots[0], counters, config, full, uphill, grad)
    for k in range(n_outputs):
        for j in range(d):
            coef[k, j] = grad[k, j]
        if config.fit_intercept:
            intercept[k] = grad[k, d]
    counters[STEPS] = steps + 1
    counters[STEP] = step


@exact
def _shrink(w, threshold):
    """Proximal operator of threshold * |w|."""
    if w > threshold:
        return w - threshold
    if w < -threshold:
        return w + threshold
    return w - w


@exact
def _adaptive_step(coef, intercept, slots, counters, config, grad):
    """Malitsky & Mishchenko, arXiv 1910.09529, algorithm 1: no line search."""
    n_outputs, d = coef.shape
    moved = turned = 0.0
    for k in range(n_outputs):
        for j in range(d + 1):
            theta = intercept[k] if j == d else coef[k, j]
            moved += float(theta - slots[0, k, j]) ** 2
            turned += float(grad[k, j] - slots[1, k, j]) ** 2
            slots[0, k, j] = theta
            slots[1, k, j] = grad[k, j]
    if counters[STEPS] == 0:
        counters[RATIO] = np.inf
        return config.learning_rate
    last = counters[STEP]
    step = math.sqrt(1 + counters[RATIO]) * last
    if turned > 0 and moved > 0:
        step = min(step, math.sqrt(moved) / (2 * math.sqrt(turned)))
    if not math.isfinite(step):
        step = last
    counters[RATIO] = step / last
    return step


@exact
def _extrapolate(previous, counters, config, full, uphill, point):
    """Nesterov's next point in place of `point`; `numpy_` names the sources."""
    t = counters[RATIO]
    if full and uphill > 0:
        t = 1.0
    t_next = (1 + math.sqrt(1 + 4 * t * t)) / 2
    factor = (t - 1) / t_next
    if not full:
        factor = min(factor, config.momentum)
    for k in range(point.shape[0]):
        for j in range(point.shape[1]):
            new = point[k, j]
            point[k, j] = new + factor * (new - previous[k, j])
            previous[k, j] = new
    counters[RATIO] = t_next
