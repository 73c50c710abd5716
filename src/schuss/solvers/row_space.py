"""A problem of more features than rows in coordinates of the rows.

With an L2 penalty that is the same for all weights the optimum is a combination of the rows
(representer theorem). The Cholesky factor L of their Gram matrix, X X^T = L L^T, makes
X = L Q with orthonormal rows of Q: the problem of the n rows of L has the same losses, and the same
penalty of its weights u = Q w.
"""

import numpy as np

from schuss.constants import SINGULAR
from schuss.solvers.curvature import factorise, solve_transposed


class RowSpace:
    """The objective of L, with weights of the problem from its own.

    Rows that depend on each other get a Gram matrix near by: the weights then are near the optimum.

    Parameters
    ----------
    problem : Problem
        Of a dense X, with an L2 penalty, in the units of the features.

    Attributes
    ----------
    objective : Objective
        In float64, with n features.
    """

    def __init__(self, problem):
        self._problem = problem
        objective = problem.objective
        factor = factorise(objective.row_gram(problem.centres), SINGULAR[objective.dtype.itemsize])
        self._factor = np.tril(factor)
        self.objective = objective.on_features(np.ascontiguousarray(self._factor))

    def join(self, coef, intercept):
        """Parameters of the problem, for weights of L and their intercept."""
        problem = self._problem
        shares = solve_transposed(self._factor, coef.T)
        theta = np.empty(problem.shape)
        theta[:, : problem.objective.n_features] = problem.objective.combine(
            shares, problem.centres
        )
        if problem.objective.fit_intercept:
            theta[:, -1] = intercept
        return theta.ravel()
