"""Working sets of features for an L1 penalty, each solved by proximal Newton steps.

Most weights of the optimum are 0. A working set holds those that are not, and the features whose
gradient exceeds the penalty most; the problem of its weights alone is solved by steps to the
minimum of quadratic models (Yuan, Ho & Lin, JMLR 2012), which coordinate descent finds. The
gradient over all features then tells which of them the next set needs (Massias, Gramfort &
Salmon, ICML 2018): no feature is lost, however a set was chosen.
"""

from typing import Any

import numpy as np

from schuss.backends.contract import Columns
from schuss.constants import ARMIJO
from schuss.vectors import dot

# Features of a set: so many times as many as weights that are not 0, this share of the number of
# rows and this number at the least.
_GROWTH = 2
_ROWS_SHARE = 2
_LEAST = 64
# Share of the subgradient over all features that the steps on a set may leave, and of that over
# the set which each model may.
_ENOUGH = 0.3
# Of `tol`: rounding, and features outside of the set, may add something.
_MARGIN = 0.7
_INNER = 0.3
_STEPS = 20
_SWEEPS = 100
_HALVINGS = 30
# Curvatures of rows, as a share of the largest: steps over rows without any would have no end.
_LEAST_CURVATURE = 1e-10
# Of a sparse X sweeps over a set of more features than this share of the rows take longer than
# passes over all rows.
_SPARSE_SHARE = 8


class WorkingSet:
    """The features that matter, and their columns.

    Parameters
    ----------
    problem : Problem
        Of one neuron and a convex loss.

    Attributes
    ----------
    threshold : ndarray of shape (q,) or None
        The next set has all features whose gradients are as large.
    """

    _columns: Columns | None
    # Those of the weights that `improve` left, or None.
    _scores: Any

    def __init__(self, problem):
        objective = problem.objective
        self._problem, self._objective = problem, objective
        self._columns = None
        self._places = np.full(problem.size, -1, np.int32)
        self._n_columns = 0
        self._scores = self.threshold = None
        y = objective.data.y
        self._y = y[0].astype(np.float64) if y.ndim == 2 else (y == 1).astype(np.float64)
        weight = objective.data.sample_weight
        self._weight = objective.data.scale * (
            np.ones(objective.n_rows) if weight is None else weight.astype(np.float64)
        )

    def improve(self, theta, gradient, subgradient, tol):
        """Minimise over a working set.

        Parameters
        ----------
        theta, gradient, subgradient : ndarray of shape (q,)
            Weights, the gradient without the L1 penalty, and the smallest subgradient there.
        tol : float
            Largest entry of it that is good enough.

        Returns
        -------
        ndarray of shape (q,) or None
            Better weights; None where sets have become too large to pay.
        """
        # A set by the strong rule hardly ever lacks a feature.
        share = _ENOUGH if self.threshold is None else 0.0
        features = self._choose(theta, gradient, subgradient)
        if self._objective.is_sparse and len(features) * _SPARSE_SHARE > self._objective.n_rows:
            return None
        self._take(features)
        if self._scores is None:
            self._scores = self._objective.scores(theta[None, :])[:, 0].astype(np.float64)
        enough = max(_MARGIN * tol, share * float(np.abs(subgradient).max()))
        new = theta.copy()
        new[features] = self._solve(features, theta[features], enough)
        return new

    def forget(self):
        """The weights were changed by others."""
        self._scores = None

    def _choose(self, theta, gradient, subgradient):
        """Those that are not 0, and those that are furthest from staying there."""
        needed = np.abs(subgradient)
        kept = (theta != 0) | (self._problem.l1 == 0)
        if self.threshold is not None:
            kept |= np.abs(gradient) >= self.threshold
            self.threshold = None
        needed[kept] = np.inf
        found = np.flatnonzero(needed)
        n_kept = int(np.isinf(needed).sum())
        size = max(_GROWTH * n_kept, self._objective.n_rows // _ROWS_SHARE, _LEAST)
        if len(found) > size:
            found = found[np.argpartition(-needed[found], size)[:size]]
            found.sort()
        return found

    def _take(self, features):
        """Copy the columns that are not there yet.

        Of a sparse X all of them, at once: one column takes nearly as long, for all rows are read.
        """
        if self._objective.is_sparse:
            features = np.arange(self._problem.size)
        new = features[self._places[features] < 0].astype(np.int32)
        if not len(new):
            return
        self._places[new] = self._n_columns + np.arange(len(new))
        self._n_columns += len(new)
        self._columns = _joined(self._columns, self._objective.columns(new))

    def _solve(self, features, theta, enough):
        """Weights of some features, all others being 0, by proximal Newton steps."""
        objective, problem = self._objective, self._problem
        real = objective.dtype
        places, l2, l1 = self._places[features], problem.l2[features], problem.l1[features]
        change = np.empty(objective.n_rows, real)
        value, residual = self._loss(self._scores)
        for _ in range(_STEPS):
            curvature = objective.loss.second_derivative(self._scores) * self._weight
            np.maximum(curvature, _LEAST_CURVATURE * curvature.max(initial=0), out=curvature)
            new = theta.copy()
            _, first, last = objective.backend.coordinate_descent(
                self._columns, places, residual.astype(real), curvature.astype(real), l2, l1, new,
                change, _INNER * enough, _INNER, _SWEEPS,
            )  # fmt: skip
            if not np.isfinite(last):
                break
            move, scores = new - theta, change.astype(np.float64)
            before = value + _penalty(l2, l1, theta)
            derivative = dot(residual, scores) + dot(l2 * theta, move)
            derivative += dot(l1, np.abs(new) - np.abs(theta))
            if not derivative < 0:
                break
            t = 1.0
            for _ in range(_HALVINGS):
                trial = theta + t * move
                new_value, new_residual = self._loss(self._scores + t * scores)
                bound = before + ARMIJO * t * derivative + problem.noise * abs(before)
                if new_value + _penalty(l2, l1, trial) <= bound:
                    break
                t /= 2
            else:
                break
            theta, value, residual = trial, new_value, new_residual
            self._scores += t * scores
            if first <= enough:
                break
        return theta

    def _loss(self, scores):
        """Mean loss, and its derivatives by the scores."""
        values, derivatives = np.empty_like(scores), np.empty_like(scores)
        objective = self._objective
        with np.errstate(over="ignore", invalid="ignore"):
            objective.backend.pointwise(scores, self._y, objective.loss.code, values, derivatives)
        return dot(values, self._weight), derivatives * self._weight


def _penalty(l2, l1, theta):
    return 0.5 * dot(l2 * theta, theta) + dot(l1, np.abs(theta))


def _joined(columns, more):
    """Dense columns after those that were there."""
    if columns is None:
        return more
    return Columns(np.concatenate([columns.values, more.values]), None, None)
