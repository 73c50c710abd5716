"""Runs: epochs of steps, full or in batches, and the steps of the solvers."""

import math

import numpy as np

from schuss.backends.numba_kernels.compiling import compiled, fused
from schuss.backends.numba_kernels.gradient import gradient_sums, pass_memory
from schuss.constants import Counter, Status
from schuss.methods import Solver


@compiled
def descend(
    n, X, targets, scale, coef, intercept, slots, counters, config, orders, history
):  # fmt: skip
    n_outputs, d = coef.shape
    grad, sums = np.empty((n_outputs, d + 1), coef.dtype), np.empty((n_outputs, d + 1))
    full = config.batch_size >= n
    n = orders.shape[1] if len(orders) else n
    memory = pass_memory(X, coef, min(config.batch_size, n))
    counters[Counter.EPOCHS] = 0
    for epoch in range(len(history)):
        order = orders[epoch] if len(orders) else orders.reshape(-1)
        mean = 0.0
        for start in range(0, n, config.batch_size):
            stop = min(start + config.batch_size, n)
            share = (stop - start) / n
            factor = scale / share
            value = gradient_sums(
                X, targets, config.loss, coef, intercept, order, start, stop, memory, sums
            )
            grad[:] = sums * factor
            norm, penalty = _add_penalty(coef, config, grad)
            mean += value * factor * share
            last = stop == n
            if last:
                mean += penalty
            history[epoch, 0] = mean
            history[epoch, 1] = norm
            history[epoch, 2] = counters[Counter.STEP]
            if not (math.isfinite(mean) and (not last or math.isfinite(norm))):
                return epoch, Status.NONFINITE.value
            if full and norm <= config.tol:
                return epoch, Status.CONVERGED.value
            take_step(coef, intercept, slots, counters, config, config.learning_rate, full, grad)
            history[epoch, 2] = counters[Counter.STEP]
        counters[Counter.EPOCHS] = epoch + 1
    return len(history), Status.RAN.value


@fused
def _add_penalty(coef, config, grad):
    """Add the l2 term; return the largest entry of the smallest subgradient, and the penalty."""
    n_outputs, d = coef.shape
    norm = squares = absolutes = 0.0
    for k in range(n_outputs):
        if not config.fit_intercept:
            grad[k, d] = 0
        norm = larger(norm, abs(grad[k, d]))
        for j in range(d):
            w = np.float64(coef[k, j])
            if config.l2 > 0:
                grad[k, j] += config.l2 * w
            if w == 0:
                smallest = max(abs(grad[k, j]) - config.l1, 0.0)
            else:
                smallest = abs(grad[k, j] + math.copysign(config.l1, w))
            norm = larger(norm, smallest)
            squares += w * w
            absolutes += abs(w)
    # The squares of large weights overflow, and 0 * inf would be NaN.
    penalty = config.l2 / 2 * squares if config.l2 > 0 else 0.0
    if config.l1 > 0:
        penalty += config.l1 * absolutes
    return norm, penalty


@fused
def larger(a, b):
    """The larger one, or NaN if there is one."""
    return a if a >= b or a != a else b


@fused
def take_step(coef, intercept, slots, counters, config, step, full, grad):
    """Move the parameters against the gradient as the config says."""
    n_outputs, d = coef.shape
    steps = counters[Counter.STEPS]
    correction_1 = correction_2 = 1.0
    if config.solver == Solver.ADAM:
        correction_1 = 1 - config.beta_1 ** (steps + 1)
        correction_2 = 1 - config.beta_2 ** (steps + 1)
    elif config.solver == Solver.NESTEROV and steps == 0:
        # The parameters are the extrapolated point y_k, the slot is x_k.
        counters[Counter.RATIO] = 1.0
        slots[0, :, :d] = coef
        slots[0, :, d] = intercept
    elif config.solver == Solver.ADAPTIVE:
        step = _adaptive_step(coef, intercept, slots, counters, step, grad)
    # From here on `grad` becomes the next point.
    uphill = 0.0
    for k in range(n_outputs):
        for j in range(d + 1):
            theta = np.float64(intercept[k] if j == d else coef[k, j])
            g = np.float64(grad[k, j])
            threshold = step * config.l1
            if config.solver == Solver.MOMENTUM:
                slots[0, k, j] = config.momentum * slots[0, k, j] - step * g
                new = theta + slots[0, k, j]
            elif config.solver == Solver.ADAM:
                slots[0, k, j] = config.beta_1 * slots[0, k, j] + (1 - config.beta_1) * g
                slots[1, k, j] = config.beta_2 * slots[1, k, j] + (1 - config.beta_2) * g * g
                root = math.sqrt(slots[1, k, j] / correction_2)
                rate = step / correction_1 / (root + config.epsilon)
                new = theta - rate * slots[0, k, j]
                threshold = config.l1 * correction_1 * rate
            else:
                new = theta - step * g
            if j < d and threshold > 0:
                # The proximal operator of threshold * |w|.
                new = math.copysign(max(abs(new) - threshold, 0.0), new)
            grad[k, j] = new
            if config.solver == Solver.NESTEROV:
                uphill += g * (new - slots[0, k, j])

    if config.solver == Solver.NESTEROV:
        _extrapolate(slots[0], counters, config, full, uphill, grad)
    coef[:] = grad[:, :d]
    if config.fit_intercept:
        intercept[:] = grad[:, d]
    counters[Counter.STEPS] = steps + 1
    counters[Counter.STEP] = step


@fused
def _adaptive_step(coef, intercept, slots, counters, step, grad):
    """Malitsky & Mishchenko, arXiv 1910.09529, algorithm 1: no line search."""
    n_outputs, d = coef.shape
    moved = changed = 0.0
    for k in range(n_outputs):
        for j in range(d + 1):
            theta = intercept[k] if j == d else coef[k, j]
            moved += np.float64(theta - slots[0, k, j]) ** 2
            changed += np.float64(grad[k, j] - slots[1, k, j]) ** 2
            slots[0, k, j] = theta
            slots[1, k, j] = grad[k, j]
    if counters[Counter.STEPS] == 0:
        counters[Counter.RATIO] = np.inf
        return step
    last = counters[Counter.STEP]
    step = math.sqrt(1 + counters[Counter.RATIO]) * last
    if changed > 0 and moved > 0:
        step = min(step, math.sqrt(moved) / (2 * math.sqrt(changed)))
    step = step if math.isfinite(step) else last
    counters[Counter.RATIO] = step / last
    return step


@fused
def _extrapolate(previous, counters, config, full, uphill, point):
    """Nesterov's next point in place of `point`; `numpy_` names the sources."""
    t = 1.0 if full and uphill > 0 else counters[Counter.RATIO]
    t_next = (1 + math.sqrt(1 + 4 * t * t)) / 2
    factor = (t - 1) / t_next
    if not full:
        factor = min(factor, config.momentum)
    moved = point - previous
    previous[:] = point
    point += factor * moved
    counters[Counter.RATIO] = t_next
