"""Scores and activations."""

import math

import numpy as np

from schuss.backends.numba_kernels import rows
from schuss.backends.numba_kernels.compiling import compiled, fused
from schuss.backends.numba_kernels.formulas import exp_negative, log1p, sigmoid_pair
from schuss.constants import Activation


@fused
def _activate(activation, z, intercept, out):
    """The number of scores that are not finite."""
    wrong = 0
    for r in range(len(z)):
        z[r] += intercept
        wrong += not math.isfinite(z[r])
    if activation == Activation.LOGISTIC:
        for r in range(len(z)):
            out[r] = sigmoid_pair(np.float64(z[r]))[0]
    elif activation == Activation.LOG_LOGISTIC:
        for r in range(len(z)):
            score = np.float64(z[r])
            t = exp_negative(-abs(score))
            out[r] = (score if score < 0.0 else 0.0) - log1p(t)
    else:
        out[:] = z
    return wrong


@compiled
def predict(X, coef, intercept, activation, order, out):
    """The number of scores that are not finite."""
    n, d, wrong = len(out), coef.shape[1], 0
    most = rows.block_rows(X, d, n)
    memory = np.empty(0 if len(X.indptr) else most * d, coef.dtype)
    z = np.empty(most, coef.dtype)
    for first in range(0, n, most):
        m = min(most, n - first)
        block = rows.take_block(X, order, first, m, memory)
        for k in range(len(coef)):
            rows.block_scores(X, block, order, first, coef[k], z[:m])
            wrong += _activate(activation, z[:m], intercept[k], out[first : first + m, k])
    return wrong
