"""Models of the curvature, by which gradients become directions: H^-1 g for some H."""

import numpy as np
from scipy.linalg import lapack

from schuss import backends
from schuss.constants import SINGULAR
from schuss.vectors import dot

# A Hessian that is singular to working accuracy gets its diagonal times ten times what counts
# as rounding added, and ten thousand times more each time that was too little.
_RIDGE = 10.0
_MORE_RIDGE = 1e4
# Columns that are eliminated at a time. OpenBLAS gives no factor of fewer than 64 to its threads.
_COLUMNS = 48


class Blocks:
    """A block-diagonal matrix.

    Parameters
    ----------
    blocks : ndarray of shape (B, r, r)
        Symmetric, positive semidefinite but for rounding.
    singular : float
        Share of a diagonal entry that is rounding.
    scaled : bool
        Whether its length is right, or each step measures a factor.
    """

    def __init__(self, blocks, singular=SINGULAR[8], scaled=True):
        self.blocks = blocks
        self.scaled = scaled
        self.singular = singular
        self._factors = None

    @property
    def is_singular(self):
        """Whether a block has no factor, so that `solve` takes that of one near by."""
        return any(changed for _, changed in self._all_factors())

    def solve(self, v):
        """H^-1 v."""
        parts = v.reshape(len(self.blocks), -1)
        solutions = [
            solve(factor, part)
            for (factor, _), part in zip(self._all_factors(), parts, strict=True)
        ]
        return solutions[0] if len(solutions) == 1 else np.concatenate(solutions)

    def _all_factors(self):
        if self._factors is None:
            self._factors = [near_factor(block, self.singular) for block in self.blocks]
        return self._factors

    def learn(self, step, change):
        """Agree with a change of the gradient over a step (BFGS)."""
        b = len(self.blocks)
        for block, s, y in zip(
            self.blocks, step.reshape(b, -1), change.reshape(b, -1), strict=True
        ):
            turned = np.einsum("ij,j->i", block, s)
            product, expected = dot(s, y), dot(s, turned)
            if product > np.finfo(float).eps * dot(y, y) and expected > 0:
                block += np.outer(y, y) / product - np.outer(turned, turned / expected)
        self._factors = None


class ClassBlocks(Blocks):
    """Blocks of classes that a loss couples, without what lies between them.

    The same number added to a parameter of all classes changes no probability: in that direction
    there is the penalty alone, of which each block makes the curvature of a class. So they are used
    for what is orthogonal to it: digits took 26 passes, 45 with blocks as they are.

    Parameters
    ----------
    blocks : ndarray of shape (K, p, p)
    l2 : ndarray of shape (p,)
        Penalty of the parameters of a class.
    singular : float
    """

    def __init__(self, blocks, l2, singular=SINGULAR[8]):
        super().__init__(blocks, singular, scaled=False)
        self._softness = np.divide(1.0, l2, out=np.zeros_like(l2), where=l2 > 0)

    def solve(self, v):
        v = v.reshape(len(self.blocks), -1)
        mean = v.mean(axis=0)
        solution = super().solve(v - mean).reshape(v.shape)
        return (solution - solution.mean(axis=0) + mean * self._softness).ravel()


class Kronecker:
    """The Kronecker product of two matrices times a factor that each step measures.

    Parameters
    ----------
    classes, features : ndarrays of shapes (K, K) and (p, p)
        Symmetric, positive semidefinite but for rounding.
    singular : float
    """

    scaled = False

    def __init__(self, classes, features, singular=SINGULAR[8]):
        self._classes, self._features = (
            inverse(factorise(matrix, singular)) for matrix in (classes, features)
        )

    def solve(self, v):
        """H^-1 v, for v of K p entries."""
        v = v.reshape(len(self._classes), -1)
        return product(product(self._classes, v), self._features).ravel()


class Diagonal:
    """A diagonal matrix times a factor that each step measures."""

    scaled = False

    def __init__(self, diagonal):
        self._diagonal = diagonal

    def solve(self, v):
        return v / self._diagonal


def factorise(matrix, singular=SINGULAR[8]):
    """The factor of `near_factor`."""
    return near_factor(matrix, singular)[0]


def near_factor(matrix, singular=SINGULAR[8]):
    """Cholesky factor of a matrix, or of one near by where it is singular, and which it is.

    The lower one, whatever the units of the columns are.
    """
    diagonal = matrix.diagonal()
    share = 0.0
    while True:
        shifted = matrix
        if share:
            # What has no curvature gets that of the others.
            usual = diagonal[diagonal > 0].mean() if (diagonal > 0).any() else 1.0
            shifted = matrix + np.diag(share * np.where(diagonal > 0, diagonal, usual))
        factor = _cholesky(shifted)
        if factor is not None and (factor.diagonal() ** 2 > singular * diagonal).all():
            return factor, share > 0
        share = share * _MORE_RIDGE or _RIDGE * singular
        if not share < 1 / singular:
            return np.eye(len(matrix)), True


def two_loops(pairs, v, solve_model):
    """H^-1 v of L-BFGS around a model (Nocedal & Wright, algorithm 7.4).

    Parameters
    ----------
    pairs : list of (step, change, product)
        Curvature pairs, the oldest first.
    v : ndarray
    solve_model : callable
        Solves with the model.
    """
    shares = []
    for step, change, product in reversed(pairs):
        shares.append(dot(step, v) / product)
        v = v - shares[-1] * change
    v = solve_model(v)
    for (step, change, product), share in zip(pairs, reversed(shares), strict=True):
        v = v + (share - dot(change, v) / product) * step
    return v


def dependent(matrix, singular=SINGULAR[8]):
    """Columns of which a Gram matrix says that they are combinations of each other.

    Parameters
    ----------
    matrix : ndarray of shape (r, r), positive semidefinite
    singular : float
        Share of a diagonal entry that is rounding.

    Returns
    -------
    list of ndarray
        Indices of the columns of each combination, the superfluous one first; empty where all
        columns are independent.
    """
    diagonal = matrix.diagonal().copy()
    units = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    scaled = matrix / np.outer(units, units)
    # Of columns that are alike the first is kept, whatever rounding made of their ones.
    np.fill_diagonal(scaled, diagonal > 0)
    factor, order, rank, _ = lapack.dpstrf(scaled, singular, lower=1)
    order = order - 1
    found = []
    kept = np.tril(factor)[:rank, :rank]
    for i in range(rank, len(matrix)):
        # The column as a combination of those that were kept.
        shares = lapack.dtrtrs(kept, factor[i, :rank], lower=1, trans=1)[0]
        others = order[:rank][np.abs(shares) > np.sqrt(singular)]
        found.append(np.append(order[i], np.sort(others)))
    return found


def solve(factor, v):
    """Solve with a factor of `factorise`."""
    return lapack.dpotrs(factor, v, lower=1)[0]


def solve_transposed(factor, v):
    """L^-T v of the lower factor L, for v of shape (r, K)."""
    return product(_inverse_of_upper(factor.T), v)


def inverse(factor):
    """Of the matrix that has this lower factor."""
    upper = _inverse_of_upper(factor.T)
    return product(upper, upper.T)


def _inverse_of_upper(matrix):
    """By halves: [[A, B], [0, C]]^-1 = [[A^-1, -A^-1 B C^-1], [0, C^-1]]."""
    r = len(matrix)
    if r <= _COLUMNS:
        return np.triu(lapack.dtrtri(matrix)[0])
    half = r // 2
    left, right = (_inverse_of_upper(part) for part in (matrix[:half, :half], matrix[half:, half:]))
    result = np.zeros((r, r))
    result[:half, :half], result[half:, half:] = left, right
    result[:half, half:] = -product(product(left, matrix[:half, half:]), right)
    return result


def product(left, right):
    """Their product, with the same bits for every number of threads."""
    out = np.zeros((len(left), right.shape[1]))
    backends.current().add_product(left.T, right, 1.0, out, upper=False)
    return out


def _cholesky(matrix):
    """Lower factor in Fortran's order, or None."""
    r = len(matrix)
    if r <= _COLUMNS:
        factor, failed = lapack.dpotrf(matrix.T, lower=1, clean=0)
        return None if failed else factor
    upper = matrix.copy()
    add_product = backends.current().add_product
    for first in range(0, r, _COLUMNS):
        stop = min(first + _COLUMNS, r)
        corner, failed = lapack.dpotrf(upper[first:stop, first:stop].T, lower=1)
        if failed:
            return None
        upper[first:stop, first:stop] = corner.T
        if stop < r:
            inverse, _ = lapack.dtrtri(corner, lower=1)
            rest = np.zeros((stop - first, r - stop))
            add_product(inverse.T, upper[first:stop, stop:], 1.0, rest, upper=False)
            upper[first:stop, stop:] = rest
            add_product(rest, rest, -1.0, upper[stop:, stop:], upper=True)
    return upper.T
