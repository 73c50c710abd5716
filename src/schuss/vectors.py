"""Vector products with the same bits for any number of BLAS threads."""

import math

import numpy as np

# OpenBLAS uses one thread for products of vectors of up to 10,000 numbers.
_BLOCK = 4096


def dot(x: np.ndarray, y: np.ndarray) -> float:
    """Inner product of two vectors.

    Examples
    --------
    >>> import numpy as np
    >>> dot(np.ones(10_000), np.ones(10_000))
    10000.0
    """
    if len(x) <= _BLOCK:
        return float(x @ y)
    whole = len(x) - len(x) % _BLOCK
    blocks = np.vecdot(x[:whole].reshape(-1, _BLOCK), y[:whole].reshape(-1, _BLOCK))
    return float(blocks.sum() + x[whole:] @ y[whole:])


def max_norm(x: np.ndarray) -> float:
    """Largest absolute value, NaN where there is one; without a copy, unlike `numpy.abs`.

    Examples
    --------
    >>> max_norm(np.array([3.0, -4.0]))
    4.0
    """
    return float(np.maximum(x.max(initial=0), -x.min(initial=0)))


def norm(x: np.ndarray) -> float:
    """Euclidean norm.

    Examples
    --------
    >>> norm(np.array([3.0, 4.0]))
    5.0
    """
    return math.sqrt(dot(x, x))
