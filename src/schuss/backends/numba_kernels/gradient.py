"""The fused forward and backward pass over blocks of rows."""

import math

import numpy as np

from schuss.backends.numba_kernels import rows
from schuss.backends.numba_kernels.compiling import compiled, fused, reordered
from schuss.backends.numba_kernels.formulas import (
    exp_negative,
    log_loss,
    quadratic,
    squared_error,
)
from schuss.backends.numba_kernels.targets import read_targets, read_weights
from schuss.losses import Loss


def _summed(formula):
    """Of each loss a loop of its own, without a branch on the loss."""

    @reordered
    def loss_sums(z, intercept, y, weight):
        value = total_derivative = 0.0
        for r in range(len(z)):
            c, g = formula(z[r] + intercept, y[r])
            value += weight[r] * c
            total_derivative += weight[r] * g
            z[r] = weight[r] * g
        return value, total_derivative

    return loss_sums


_squared_error_sums, _log_loss_sums, _quadratic_sums = map(
    _summed, (squared_error, log_loss, quadratic)
)


@fused
def loss_sums(loss, z, intercept, y, weight):
    """Weighted sums of losses and derivatives; these take the place of the scores."""
    if loss == Loss.SQUARED_ERROR:
        return _squared_error_sums(z, intercept, y, weight)
    if loss == Loss.LOG_LOSS:
        return _log_loss_sums(z, intercept, y, weight)
    return _quadratic_sums(z, intercept, y, weight)


@fused
def _softmax_sums(z, intercept, y, weight, sums):
    """The same of softmax, whose scores are (K, m); `numpy_._softmax_loss` explains."""
    n_outputs, m = z.shape
    value = 0.0
    for r in range(m):
        top, largest = 0, z[0, r] + np.float64(intercept[0])
        for k in range(1, n_outputs):
            score = z[k, r] + np.float64(intercept[k])
            if score > largest:
                top, largest = k, score
        rest = own = 0.0
        for k in range(n_outputs):
            below = largest - (z[k, r] + np.float64(intercept[k]))
            if y[k, r] != 0:
                own += y[k, r] * below
            share = exp_negative(-below)
            z[k, r] = share
            if k != top:
                rest += share
        value += weight[r] * (own + math.log1p(rest))
        for k in range(n_outputs):
            share = np.float64(z[k, r])
            p, q = share / (1.0 + rest), (rest + (1.0 - share)) / (1.0 + rest)
            g = weight[r] * (p * (1.0 - y[k, r]) - y[k, r] * q)
            z[k, r] = g
            sums[k, -1] += g
    return value


@fused
def pass_memory(X, coef, n):
    """For a pass over n rows: a block, its partial sums, scores, targets and weights."""
    n_outputs, d = coef.shape
    m, real = rows.block_rows(X, max(d, n_outputs), n), coef.dtype
    block = np.empty(0 if len(X.indptr) else m * d, real)
    scores, targets = np.empty((n_outputs, m), real), np.empty((n_outputs, m))
    return block, np.empty(d, real), scores, targets, np.ones(m)


@fused
def gradient_sums(X, targets, loss, coef, intercept, order, start, stop, memory, sums):
    """Sum of the losses of rows start to stop of an order; `sums` (K, d + 1) of gradients."""
    n_outputs, d = coef.shape
    coupled = loss == Loss.MULTINOMIAL
    block_memory, part, z, y, weight = memory
    most = len(weight)
    sums[:] = 0
    value = 0.0
    for first in range(start, stop, most):
        m = min(most, stop - first)
        block = rows.take_block(X, order, first, m, block_memory)
        read_weights(targets, order, first, weight[:m])
        for k in range(n_outputs):
            rows.block_scores(X, block, order, first, coef[k], z[k, :m])
            read_targets(targets, k, n_outputs, order, first, y[k, :m])
            if not coupled:
                b = np.float64(intercept[k])
                c, g = loss_sums(loss, z[k, :m], b, y[k, :m], weight[:m])
                value += c
                sums[k, d] += g
        if coupled:
            value += _softmax_sums(z[:, :m], intercept, y[:, :m], weight[:m], sums)
        for k in range(n_outputs):
            rows.add_block(X, block, order, first, z[k, :m], part, sums[k])
    return value


@compiled
def gradient(n, X, targets, scale, loss, coef, intercept, order, coef_grad, intercept_grad):
    n_outputs, d = coef.shape
    sums = np.empty((n_outputs, d + 1))
    memory = pass_memory(X, coef, n)
    value = gradient_sums(X, targets, loss, coef, intercept, order, 0, n, memory, sums)
    coef_grad[:] = sums[:, :d] * scale
    intercept_grad[:] = sums[:, d] * scale
    return value * scale
