"""Losses and gradients of many models on the same rows."""

import numpy as np

from schuss.backends.numba_kernels import rows
from schuss.backends.numba_kernels.compiling import compiled
from schuss.backends.numba_kernels.gradient import loss_sums
from schuss.constants import ModelPart


@compiled
def gradient_many(shape, X, y, sample_weight, models, loss, theta, values, gradients):
    (n, d), (n_models, r) = shape, theta.shape
    most = rows.block_rows(X, d, n)
    order = np.empty(0, np.int32)
    block_memory = np.empty(0 if len(X.indptr) else most * d, y.dtype)
    rounded = theta.astype(y.dtype)
    part, z, weight = np.empty(d, y.dtype), np.empty(most, y.dtype), np.ones(most)
    target = np.empty(most)
    values[:] = 0
    gradients[:] = 0
    for first in range(0, n, most):
        m = min(most, n - first)
        block = rows.take_block(X, order, first, m, block_memory)
        for k in range(n_models):
            rows.block_scores(X, block, order, first, rounded[k, :d], z[:m])
            target[:m] = y[models[k, ModelPart.TARGET], first : first + m]
            if models[k, ModelPart.WEIGHT] >= 0:
                weight[:m] = sample_weight[models[k, ModelPart.WEIGHT], first : first + m]
            else:
                weight[:m] = 1.0
            b = np.float64(rounded[k, d]) if r > d else 0.0
            c, g = loss_sums(loss, z[:m], b, target[:m], weight[:m])
            values[k] += c
            if r > d:
                gradients[k, d] += g
            rows.add_block(X, block, order, first, z[:m], part, gradients[k])
