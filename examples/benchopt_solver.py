"""schuss in benchopt's benchmark of L2-penalised logistic regression.

Copy this file into the folder ``solvers`` of the benchmark ``logreg_l2`` as ``schuss.py``
and run, in the benchmark's folder:

    pip install benchopt schuss
    benchopt run . -s schuss -s sklearn

The benchmark hands over y in {-1, 1}, an X that may be sparse, and the strength `lmbd`, and
asks for the beta, and with `fit_intercept` for the c after it, that minimise

    sum_i log(1 + exp(-y_i (x_i . beta + c))) + lmbd / 2 * ||beta||^2

schuss minimises the mean, so its `alpha` is lmbd / n.
"""

import warnings

import numpy as np
from benchopt import BaseSolver
from sklearn.exceptions import ConvergenceWarning

from schuss import SigmoidClassifier


class Solver(BaseSolver):
    """Full-batch training with momentum that grows, on the fused kernels."""

    name = "schuss"
    install_cmd = "conda"
    requirements = ["pip::schuss"]
    parameters = {"solver": ["nesterov", "adaptive"]}
    sampling_strategy = "iteration"

    def set_objective(self, X, y, lmbd, fit_intercept=False):
        """Keep the problem."""
        self.X, self.y = X, y
        self.model = SigmoidClassifier(
            loss="log_loss",
            solver=self.solver,
            alpha=lmbd / X.shape[0],
            fit_intercept=fit_intercept,
            tol=0.0,
        )

    def run(self, n_iter):
        """Do so many iterations, from zero weights."""
        if n_iter == 0:
            self.beta = np.zeros(self.X.shape[1] + self.model.fit_intercept)
            return
        with warnings.catch_warnings():
            # The benchmark decides when it is enough.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.set_params(max_iter=n_iter).fit(self.X, self.y)
        self.beta = self.model.coef_.ravel()
        if self.model.fit_intercept:
            self.beta = np.append(self.beta, self.model.intercept_)

    def get_result(self):
        """What the objective is computed from."""
        return {"beta": self.beta}
