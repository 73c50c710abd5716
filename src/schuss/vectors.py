"""Products of vectors that have the same bits for any number of BLAS's threads."""

import math

import numpy as np

# OpenBLAS gives the products of vectors of up to 10,000 numbers to no other thread.
_BLOCK = 4096


def dot(x, y):
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


def norm(x):
    """Euclidean length.

    Examples
    --------
    >>> norm(np.array([3.0, 4.0]))
    5.0
    """
    return math.sqrt(dot(x, x))
