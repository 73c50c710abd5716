"""Targets and sample weights as the kernels read them."""

from typing import NamedTuple

import numpy as np

from schuss.backends.numba_kernels.compiling import fused, read_only
from schuss.backends.numba_kernels.rows import row_at


class Targets(NamedTuple):
    """Targets in the one of three arrays that fits. What does not apply is empty."""

    real: np.ndarray  # (K, n)
    small: np.ndarray  # codes, uint8
    wide: np.ndarray  # codes, int32
    weight: np.ndarray  # empty for ones


def targets_of(data):
    dtype = data.X.real
    real, small, wide = np.empty((0, 0), dtype), np.empty(0, np.uint8), np.empty(0, np.int32)
    if data.y.ndim == 2:
        real = data.y
    elif data.y.dtype == np.uint8:
        small = data.y
    else:
        wide = data.y
    weight = np.empty(0, dtype) if data.sample_weight is None else data.sample_weight
    return Targets(*map(read_only, (real, small, wide, weight)))


@fused
def target(targets, k, n_outputs, row):
    """Of neuron k."""
    if len(targets.real):
        return np.float64(targets.real[k, row])
    code = targets.small[row] if len(targets.small) else targets.wide[row]
    return 1.0 if code == (1 if n_outputs == 1 else k) else 0.0


@fused
def read_targets(targets, k, n_outputs, order, first, y):
    """Those of the rows from `first` on of an order."""
    m = len(y)
    if len(order) == 0 and len(targets.real):
        y[:] = targets.real[k, first : first + m]
    elif len(order) == 0 and len(targets.small):
        codes, code = targets.small[first : first + m], 1 if n_outputs == 1 else k
        for r in range(m):
            y[r] = codes[r] == code
    else:
        for r in range(m):
            y[r] = target(targets, k, n_outputs, row_at(order, first + r))


@fused
def weight_of(targets, row):
    return np.float64(targets.weight[row]) if len(targets.weight) else 1.0


@fused
def read_weights(targets, order, first, weight):
    """Theirs, in place of ones."""
    for r in range(len(weight) if len(targets.weight) else 0):
        weight[r] = targets.weight[row_at(order, first + r)]
