"""Models of the curvature, by which gradients become directions: H^-1 g for some H."""

import numpy as np
from scipy.linalg import lapack

# A Hessian that is singular to working accuracy gets this share of its mean diagonal added,
# and ten thousand times more each time that was too little.
_RIDGE = 1e-13
_MORE_RIDGE = 1e4


class Blocks:
    """A block-diagonal matrix, by its Cholesky factors.

    Parameters
    ----------
    blocks : ndarray of shape (B, r, r)
        Symmetric, positive semidefinite but for rounding.
    """

    scaled = True

    def __init__(self, blocks):
        self._blocks = blocks
        self._factors = None

    def solve(self, v, free=None):
        """H^-1 v; with a mask `free` for H without the other rows and columns."""
        b, r, _ = self._blocks.shape
        if free is not None and not free.all():
            out = np.zeros_like(v)
            for i, mask in enumerate(free.reshape(b, r)):
                place = i * r + np.flatnonzero(mask)
                if len(place):
                    part = self._blocks[i][np.ix_(mask, mask)]
                    out[place] = _solve(_factor(part), v[place])
            return out
        if self._factors is None:
            self._factors = [_factor(block) for block in self._blocks]
        if b == 1:
            return _solve(self._factors[0], v)
        parts = zip(self._factors, v.reshape(b, r), strict=True)
        return np.concatenate([_solve(factor, part) for factor, part in parts])


class Diagonal:
    """A diagonal matrix times a factor that each step measures."""

    scaled = False

    def __init__(self, diagonal):
        self._diagonal = diagonal

    def solve(self, v, free=None):
        out = v / self._diagonal
        return out if free is None else np.where(free, out, 0.0)


def _factor(matrix):
    mean = float(np.trace(matrix)) / len(matrix)
    ridge = 0.0
    while True:
        # LAPACK reads one half, of the transpose: no copy is made of a C array.
        shifted = matrix.T if not ridge else matrix.T + ridge * np.eye(len(matrix))
        factor, failed = lapack.dpotrf(shifted, lower=0, clean=0)
        if not failed and not _is_singular(factor):
            return factor
        ridge = ridge * _MORE_RIDGE or max(_RIDGE * mean, np.finfo(float).tiny)
        if not np.isfinite(ridge):
            return np.eye(len(matrix))


def _is_singular(factor):
    diagonal = factor.diagonal()
    return not float(diagonal.min()) > 1e-8 * float(diagonal.max())


def _solve(factor, v):
    return lapack.dpotrs(factor, v, lower=0)[0]
