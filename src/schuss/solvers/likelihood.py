"""The log-likelihood of logistic regression, with its information: what inference stands on.

In place of the mean loss that `objective` minimises, everything here is a sum over the rows,
whose weights count as they are: the inverse of the information is a covariance.
"""

from functools import cached_property
from threading import Lock

import numpy as np
import scipy.sparse as sp
from scipy.linalg import lapack
from scipy.special import expit, softmax, xlogy

from schuss import threads
from schuss.constants import SINGULAR
from schuss.losses import LOSSES, MULTINOMIAL
from schuss.objective import Objective
from schuss.solvers import separation
from schuss.solvers.problem import Problem
from schuss.sparse import without_duplicates
from schuss.vectors import dot

# Rows and features up to which every optimum is looked at for separation; of more only where
# some of the rows have a score as far from 0 as this.
_SMALL, _ROWS_LOOKED_AT, _FAR = 1_000_000, 2000, 10.0

# Products of rows with a factor that are kept at a time.
_LEVERAGES = 1 << 22


class _Summed(Objective):
    """What the likelihoods of two and of several classes share."""

    penalty: np.ndarray
    n_contrasts: int
    n_redundant: int
    bias_reduced: bool

    def _count(self):
        weight = self.data.sample_weight
        self.n_counted = self.n_rows if weight is None else int(np.count_nonzero(weight))
        self.singular = SINGULAR[self.dtype.itemsize]
        if not self.data.scale:
            raise ValueError(
                f"sample_weight: the sum of the weights is 0 or infinite in {self.dtype}. Scale "
                "them, or pass X in float64."
            )
        self.total = 1 / self.data.scale  # sum of the weights
        self.penalty_value = 0.0  # at the last evaluation

    @cached_property
    def is_penalised(self):
        return bool(self.penalty.any())

    @property
    def weights(self):
        """Weights of the rows, of shape (n,) and float64."""
        weight = self.data.sample_weight
        return np.ones(self.n_rows) if weight is None else weight.astype(np.float64)

    def null_value(self):
        """Value of the best constant prediction, or None where it takes a fit."""
        if not self.fit_intercept:
            return self.total * self.loss.at_zero(self.n_outputs)
        mean = self._mean_targets()
        if self.n_outputs == 1:
            mean = np.append(mean, 1 - mean)
        return -self.total * float(xlogy(mean, mean).sum())


class Likelihood(_Summed):
    """Negative log-likelihood of one neuron on some rows.

    Parameters
    ----------
    backend, X, y, sample_weight, fit_intercept, n_threads
        As of `Objective`. Weights need not be scaled.
    offset : ndarray of shape (n,), or None
        Added to the scores.
    bias_reduced : bool
        Whether half the logarithm of the determinant of the information is subtracted (Firth,
        Biometrika 80, 1993).
    penalty : ndarray of shape (r,), or None
        ``sum penalty / 2 * theta**2`` is added.

    Attributes
    ----------
    r : int
        Parameters: d, and with an intercept, which is the last one, d + 1.
    """

    n_contrasts, n_redundant = 1, 0

    def __init__(
        self, backend, X, y, sample_weight, *,
        fit_intercept=True, offset=None, bias_reduced=False, penalty=None, n_threads=1,
    ):  # fmt: skip
        super().__init__(
            backend, X, y, sample_weight, LOSSES["log_loss"], fit_intercept=fit_intercept,
            n_threads=n_threads,
        )  # fmt: skip
        self._count()
        self.r = self.n_features + bool(fit_intercept)
        self.offset = None if offset is None else offset.astype(self.dtype)
        self.bias_reduced = bias_reduced
        self.penalty = np.zeros(self.r) if penalty is None else penalty
        self._rows = self._information = None
        self._lock = Lock()  # of what the evaluation keeps: summaries are shared by threads

    def evaluate(self, theta):
        """Value, gradient and information at some parameters, penalties included.

        Parameters
        ----------
        theta : ndarray of shape (r,), float64

        Returns
        -------
        value : float
            Infinity where Firth's penalty meets a singular information.
        gradient : ndarray of shape (r,)
        information : ndarray of shape (r, r)
            That of the rows and, on its diagonal, of the penalty; Firth's has none.
        """
        self.passes += 1 + self.bias_reduced
        self.hessians += 1
        if self.is_sparse:
            value, gradient, information = self._evaluate_sparse(theta)
        else:
            value, gradient, information = self._evaluate_dense(theta)
        if self.is_penalised:
            pull = self.penalty * theta
            information.ravel()[:: self.r + 1] += self.penalty
            self.penalty_value = 0.5 * dot(pull, theta)
            value, gradient = value + self.penalty_value, gradient + pull
        return value, gradient, information

    def null_value(self):
        return None if self.offset is not None or self.bias_reduced else super().null_value()

    def may_be_separated(self, theta):
        """Whether the classes may be, as far as some of the scores tell."""
        if self.is_penalised or self.bias_reduced or self.data.y.ndim == 2:
            return False
        if self.size <= _SMALL:
            return True
        some = self.sample(np.linspace(0, self.n_rows - 1, _ROWS_LOOKED_AT).astype(np.int64))
        return bool(np.abs(some.scores(theta[None])).max() >= _FAR)

    def separation(self, theta, step):
        """How columns separate the classes, or None; see `separation.find`.

        Parameters
        ----------
        theta, step : ndarray of shape (r,)
            Where the likelihood is, or nearly is, at its maximum, and Newton's step there.
        """
        if not self.may_be_separated(theta):
            return None
        if np.abs(self.scores(step[None])).max() < separation.MOST_CHANGE:
            return None
        return separation.find(
            self._X, self.targets, self.weights, intercept=self.fit_intercept
        )  # fmt: skip

    def _evaluate_dense(self, theta):
        gradient, information = np.empty(self.r), np.empty((self.r, self.r))
        with self._lock:
            if self._information is None:
                self._information = self.backend.information(
                    self.data, self.offset, self.fit_intercept, self.bias_reduced, self.singular,
                    self._hessian_threads(),
                )  # fmt: skip
            return self._information(theta, gradient, information), gradient, information

    def _hessian_threads(self):
        return threads.useful(self._threads, self.size * self.r)

    @np.errstate(over="ignore", invalid="ignore")
    def _evaluate_sparse(self, theta):
        z = self.scores_with_offset(theta)
        y, s = self.targets, self.weights
        value = float((s * (np.logaddexp(0, z) - y * z)).sum())
        residual, curvature = s * (expit(z) - y), s * expit(z) * expit(-z)
        information = self.gram(curvature)
        if self.bias_reduced:
            sign, logarithm = np.linalg.slogdet(information)
            if not sign > 0:
                return np.inf, np.zeros(self.r), information
            value -= 0.5 * logarithm
            residual = residual + self._leverages(curvature, information) * (expit(z) - 0.5)
        return value, self.rows.T @ residual, information

    # ------------------------------------------------------------ rows one by one

    @property
    def targets(self):
        """Targets in [0, 1], of shape (n,) and float64."""
        y = self.data.y
        return (y[0] if y.ndim == 2 else y == 1).astype(np.float64)

    @property
    def rows(self):
        """[X 1] as CSR, of a sparse X."""
        if self._rows is None:
            X = without_duplicates(self._X)
            ones = [sp.csr_array(np.ones((self.n_rows, 1), X.dtype))] * bool(self.fit_intercept)
            self._rows = sp.csr_array(sp.hstack([X, *ones], format="csr"))
        return self._rows

    def scores_with_offset(self, theta):
        """Scores with their offset, of shape (n,) and float64."""
        z = self.scores(theta[None])[:, 0].astype(np.float64)
        return z if self.offset is None else z + self.offset

    def residuals(self, theta):
        """Derivatives of the rows' log-likelihoods with respect to their scores."""
        return self.weights * (self.targets - expit(self.scores_with_offset(theta)))

    def gram(self, factors):
        """``sum_i factors_i x_i x_i^T``, for factors of 0 or more."""
        if self.is_sparse:
            return (self.rows.T @ (self.rows * factors[:, None])).toarray()
        out = np.empty((self.r, self.r))
        self.backend.weighted_gram(
            self.data.X, factors.astype(self.dtype, copy=False), self.fit_intercept, out,
            self._hessian_threads(),
        )  # fmt: skip
        return out

    def meat(self, theta, factors=None):
        """Sum of the squares of the rows' gradients, times factors."""
        squares = self.residuals(theta) ** 2
        return self.gram(squares if factors is None else squares * factors)

    def sums(self, theta, groups, n_groups):
        """Gradients summed over the rows of each group, of shape (n_groups, r)."""
        residuals = self.residuals(theta)
        if self.is_sparse:
            members = sp.csr_array((residuals, (groups, np.arange(self.n_rows))))
            return (members @ self.rows).toarray()
        out = np.zeros((n_groups, self.r))
        for rows, lines in self._lines(None, None):
            np.add.at(out, groups[rows], lines * residuals[rows, None])
        return out

    def leverages(self, theta, information):
        """Diagonal of the weighted hat matrix, of shape (n,)."""
        z = self.scores_with_offset(theta)
        curvature = self.weights * expit(z) * expit(-z)
        return self._leverages(curvature, information)

    def _leverages(self, curvature, information):
        root = lapack.dtrtri(np.linalg.cholesky(information), lower=1)[0]
        out = np.empty(self.n_rows)
        step = max(1, _LEVERAGES // self.r)
        for first in range(0, self.n_rows, step):
            rows = np.arange(first, min(first + step, self.n_rows))
            z = self.sample(rows).scores(root)
            out[rows] = np.einsum("ij,ij->i", z, z, dtype=np.float64)
        return curvature * out

    def contrasts(self, theta, cov):
        """The parameters of a table and their covariance."""
        return theta, cov

    def contrast_names(self, names, classes):
        return names


class MultinomialLikelihood(_Summed):
    """Negative log-likelihood of softmax over several classes; parameters are the rows of (K, r).

    Parameters
    ----------
    backend, X, y, sample_weight, fit_intercept, penalty, n_threads
        As of `Likelihood`; `offset` and `bias_reduced` are not there.
    """

    offset, bias_reduced = None, False

    def __init__(
        self, backend, X, y, sample_weight, *,
        fit_intercept=True, offset=None, bias_reduced=False, penalty=None, n_threads=1,
    ):  # fmt: skip
        k = len(penalty) // (X.shape[1] + bool(fit_intercept))
        total = X.shape[0] if sample_weight is None else sample_weight.sum(dtype=np.float64)
        super().__init__(
            backend, X, y, sample_weight, MULTINOMIAL, n_outputs=k, alpha=penalty[0] / total,
            fit_intercept=fit_intercept, n_threads=n_threads,
        )  # fmt: skip
        self._count()
        self.r = self.n_features + bool(fit_intercept)
        self.penalty = penalty
        self.n_contrasts = k - 1
        # The same number added to the parameters of all classes changes nothing.
        self.n_redundant = int((penalty[: self.r] == 0).sum())
        self._problem = Problem(self)

    def evaluate(self, theta):
        """As `Likelihood.evaluate`, of (K r,) parameters."""
        value, gradient = self._problem.evaluate(theta)
        information = self._problem.hessian(theta)[0]
        self.penalty_value = 0.5 * dot(self.penalty * theta, theta)
        return self.total * value, self.total * gradient, self.total * information

    def separation(self, theta, step):
        """Not looked for."""
        return None

    def leverages(self, theta, information):
        raise ValueError(
            "cov_type: leverages, which HC2 and HC3 need, are there for two classes only. Use "
            "cov_type='HC1'."
        )

    def meat(self, theta, factors=None):
        """Sum of the squares of the rows' gradients."""
        size = len(theta)
        out = np.zeros((size, size))
        for _, parts in self._gradients(theta):
            self.backend.add_product(parts, parts, 1.0, out, upper=False)
        return out

    def sums(self, theta, groups, n_groups):
        """Gradients summed over the rows of each group."""
        out = np.zeros((n_groups, len(theta)))
        for rows, parts in self._gradients(theta):
            np.add.at(out, groups[rows], parts)
        return out

    def _gradients(self, theta):
        """Pairs of rows and their gradients, of shape (m, K r)."""
        k, y, weights = self.n_outputs, self.data.y, self.weights
        z = self.scores(theta.reshape(k, -1))
        for rows, lines in self._lines(None, None, k):
            residual = weights[rows, None] * (
                (y[rows, None] == np.arange(k)) - softmax(z[rows], axis=1)
            )
            parts = residual[:, :, None].astype(self.dtype) * lines[:, None, :]
            yield rows, parts.reshape(len(lines), -1)

    def contrasts(self, theta, cov):
        """Differences of the parameters from those of the first class, and their covariance."""
        k, r = self.n_outputs, self.r
        theta = theta.reshape(k, r)
        blocks = cov.reshape(k, r, k, r)
        first = blocks[:1, :, :1]
        cov = blocks[1:, :, 1:] - blocks[1:, :, :1] - blocks[:1, :, 1:] + first
        return (theta[1:] - theta[0]).ravel(), cov.reshape((k - 1) * r, (k - 1) * r)

    def contrast_names(self, names, classes):
        return [f"{label}: {name}" for label in classes[1:].tolist() for name in names]
