"""Losses of many scores that do not depend on each other."""

import numpy as np

from schuss.backends.numba_kernels.compiling import compiled
from schuss.backends.numba_kernels.formulas import log_loss, quadratic, squared_error
from schuss.losses import Loss


@compiled
def pointwise(z, y, loss, value, derivative):
    if loss == Loss.SQUARED_ERROR:
        for i in range(len(z)):
            value[i], derivative[i] = squared_error(np.float64(z[i]), np.float64(y[i]))
    elif loss == Loss.LOG_LOSS:
        for i in range(len(z)):
            value[i], derivative[i] = log_loss(np.float64(z[i]), np.float64(y[i]))
    elif loss == Loss.QUADRATIC:
        for i in range(len(z)):
            value[i], derivative[i] = quadratic(np.float64(z[i]), np.float64(y[i]))
