"""Models of the curvature, by which gradients become directions: H^-1 g for some H."""

import numpy as np
from scipy.linalg import lapack

from schuss.constants import SINGULAR

# A Hessian that is singular to working accuracy gets this share of its mean diagonal added,
# and ten thousand times more each time that was too little.
_RIDGE = 1e-13
_MORE_RIDGE = 1e4


class Blocks:
    """A block-diagonal matrix.

    Parameters
    ----------
    blocks : ndarray of shape (B, r, r)
        Symmetric, positive semidefinite but for rounding.
    """

    scaled = True

    def __init__(self, blocks):
        self.blocks = blocks
        self._factors = None

    def solve(self, v):
        """H^-1 v."""
        if self._factors is None:
            self._factors = [factorise(block) for block in self.blocks]
        if len(self._factors) == 1:
            return solve(self._factors[0], v)
        parts = zip(self._factors, v.reshape(len(self.blocks), -1), strict=True)
        return np.concatenate([solve(factor, part) for factor, part in parts])

    def learn(self, step, change):
        """Agree with a change of the gradient over a step (BFGS)."""
        b = len(self.blocks)
        for block, s, y in zip(
            self.blocks, step.reshape(b, -1), change.reshape(b, -1), strict=True
        ):
            turned = block @ s
            if float(s @ y) > np.finfo(float).eps * float(y @ y) and float(s @ turned) > 0:
                block += np.outer(y, y) / float(s @ y) - np.outer(turned, turned / (s @ turned))
        self._factors = None


class Diagonal:
    """A diagonal matrix times a factor that each step measures."""

    scaled = False

    def __init__(self, diagonal):
        self._diagonal = diagonal

    def solve(self, v):
        return v / self._diagonal


def factorise(matrix):
    """Cholesky factor of a matrix, or of one near by where it is singular."""
    mean = float(np.trace(matrix)) / len(matrix)
    ridge = 0.0
    while True:
        # LAPACK reads one half, of the transpose: no copy is made of a C array.
        shifted = matrix.T if not ridge else matrix.T + ridge * np.eye(len(matrix))
        factor, failed = lapack.dpotrf(shifted, lower=0, clean=0)
        diagonal = factor.diagonal()
        if not failed and float(diagonal.min()) > SINGULAR * float(diagonal.max()):
            return factor
        ridge = ridge * _MORE_RIDGE or max(_RIDGE * mean, np.finfo(float).tiny)
        if not np.isfinite(ridge):
            return np.eye(len(matrix))


def solve(factor, v):
    """Solve with a factor of `factorise`."""
    return lapack.dpotrs(factor, v, lower=0)[0]
