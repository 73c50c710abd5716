"""Softmax regression: the cost that couples the neurons."""

import math

import numpy as np

from schuss.backends.numba_kernels.compiling import exact
from schuss.backends.numba_kernels.formulas import exp_parts


@exact
def softmax_costs(m, z, y, value):
    """Cost of m rows; their scores become derivatives. `numpy_._softmax_cost` explains."""
    n_outputs = len(z)
    for i in range(m):
        top = 0
        for k in range(1, n_outputs):
            if z[k, i] > z[top, i]:
                top = k
        largest, rest, own = np.float64(z[top, i]), 0.0, 0.0
        for k in range(n_outputs):
            below = largest - z[k, i]
            if y[k, i] != 0:
                own += y[k, i] * below
            share, _ = exp_parts(-below)
            z[k, i] = share
            if k != top:
                rest += share
        value[i] = own + math.log1p(rest)
        for k in range(n_outputs):
            share = np.float64(z[k, i])
            p, q = share / (1.0 + rest), (rest + (1.0 - share)) / (1.0 + rest)
            z[k, i] = p * (1.0 - y[k, i]) - y[k, i] * q
