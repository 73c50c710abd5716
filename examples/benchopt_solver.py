"""schuss in benchopt's benchmark of L2-penalised logistic regression.

Copy this file to ``solvers/schuss.py`` of the benchmark ``logreg_l2``, and run in the folder of
the benchmark:

    pip install benchopt schuss
    benchopt run . -s schuss -s sklearn

The benchmark passes y in {-1, 1}, an X that may be sparse, and the penalty `lmbd`. The result is
beta, and with `fit_intercept` c after it, which minimise

    sum_i log(1 + exp(-y_i (x_i . beta + c))) + lmbd / 2 * ||beta||^2

schuss minimises the mean, so its `alpha` is lmbd / n.
"""

import warnings

import numpy as np
from benchopt import BaseSolver
from sklearn.exceptions import ConvergenceWarning

from schuss import SigmoidClassifier


class Solver(BaseSolver):
    """Full-batch training by accelerated or adaptive gradient descent."""

    name = "schuss"
    install_cmd = "conda"
    requirements = ["pip::schuss"]
    parameters = {"solver": ["nesterov", "adaptive"]}
    sampling_strategy = "iteration"

    def set_objective(self, X, y, lmbd, fit_intercept=False):
        """Store the problem."""
        self.X, self.y = X, y
        self.model = SigmoidClassifier(
            loss="log_loss",
            solver=self.solver,
            alpha=lmbd / X.shape[0],
            fit_intercept=fit_intercept,
            tol=0.0,
        )

    def run(self, n_iter):
        """Run `n_iter` iterations from zero weights."""
        if n_iter == 0:
            self.beta = np.zeros(self.X.shape[1] + self.model.fit_intercept)
            return
        with warnings.catch_warnings():
            # The benchmark decides when to stop.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.set_params(max_iter=n_iter).fit(self.X, self.y)
        self.beta = self.model.coef_.ravel()
        if self.model.fit_intercept:
            self.beta = np.append(self.beta, self.model.intercept_)

    def get_result(self):
        """Arguments of the objective."""
        return {"beta": self.beta}
