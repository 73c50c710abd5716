"""`SGDClassifier`, `Perceptron` and `SGDRegressor`: scikit-learn's, with another inner loop.

Checks, parameters, tags, metadata routing and predictions are those of the classes that
these inherit from; what is here lies between the checked input and the fitted attributes.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn import linear_model
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import _stochastic_gradient
from sklearn.linear_model._base import SPARSE_INTERCEPT_DECAY
from sklearn.utils import check_random_state

from schuss import backends, data, objective, threads, validation
from schuss.docstrings import borrows
from schuss.errors import warn
from schuss.inference import Inferable
from schuss.losses import LOSSES, ROW_LOSSES
from schuss.predictions import scores
from schuss.solvers.sgd import SGD, Start
from schuss.training import (
    Incremental,
    IncrementalClassifier,
    Plan,
    Rows,
    TrainedFromWeights,
    hold,
)

# The range that scikit-learn draws seeds from.
_MOST = np.iinfo(np.int32).max


class _SGD(TrainedFromWeights):
    """What the two classes share: all but the meaning of y."""

    coef_: Any
    intercept_: Any

    # Whether a warm start goes on from the weights without averages, and from no others.
    _keeps_weights = False

    _takes_streams = True

    def _options(self, more, **given):
        if not (more and self._is_fitted()):
            self._more_validate_params(for_partial_fit=more)
        return super()._options(more, **given)

    def _begin(self, X, more, coef_init, intercept_init):
        """Give the weights of `scikit-learn` the values that it begins with."""
        fitted = getattr(self, "coef_", None) is not None
        if fitted and sp.issparse(self.coef_):
            self.densify()
        if not more:
            self.t_ = 1.0
            if self.warm_start and fitted:
                coef_init = self.coef_ if coef_init is None else coef_init
                intercept_init = self.intercept_ if intercept_init is None else intercept_init
            else:
                fitted, self.coef_, self.intercept_ = False, None, None
        elif not hasattr(self, "t_"):
            self.t_ = 1.0
        n_classes = len(getattr(self, "classes_", "01"))
        if not fitted or (coef_init is not None and not self._keeps_weights):
            coef_init, intercept_init = (
                None if value is None else np.array(value) for value in (coef_init, intercept_init)
            )
            self._allocate_parameter_mem(
                n_classes, X.shape[1], data.real_type(X), coef_init, intercept_init
            )
        elif self.average > 0:
            coef, intercept = validation.linear_weights(self, X.shape[1])
            averages = getattr(self, "_average_coef", None)
            if averages is None or np.atleast_2d(averages).shape != coef.shape:
                # Weights that were set by hand, or trained without averages.
                self.coef_, self.intercept_ = coef, intercept
                self._standard_coef, self._standard_intercept = coef, intercept
                self._average_coef = np.zeros_like(coef)
                self._average_intercept = np.zeros_like(intercept)

    def _plan(self, rows, eval_rows, more, *, coef_init=None, intercept_init=None):
        self._begin(rows.X, more, coef_init, intercept_init)
        average = self.average > 0
        if average:
            coef, intercept = np.atleast_2d(self._standard_coef), self._standard_intercept
            averages = np.atleast_2d(self._average_coef), self._average_intercept
        else:
            coef, intercept = validation.linear_weights(self, rows.X.shape[1])
        validation.check_finite_weights(coef_=coef, intercept_=intercept)
        X, y, weights = data.as_type(rows.X, coef.dtype), rows.y, rows.sample_weight
        if y.dtype.kind == "f":
            y = validation.check_range(y, coef.dtype)
        blocked = isinstance(X, data.Blocked)
        weights = np.ones(len(y)) if weights is None else weights
        weights = weights.astype(coef.dtype, copy=False)
        mask, seeds = self._draw(y, weights, coef.dtype, eval_rows is None and not blocked)
        if eval_rows is not None:
            scored = eval_rows
        else:
            scored = hold(Rows(X, y, weights), mask) if mask.any() else None
        if blocked:
            whole = X.objective(LOSSES["log_loss"])
            backend, bound = whole.backend, whole.data
        else:
            backend = backends.current()
            bound = objective.bind(backend, X, y, None if (weights == 1).all() else weights)
        run = SGD(
            backend,
            bound,
            [
                Start(
                    coef[k], intercept[k], averages[0][k] if average else None,
                    averages[1][k] if average else 0.0, seed,
                )
                for k, seed in enumerate(seeds)
            ],
            self._row_weights(),
            loss=self.loss, penalty=self.penalty, learning_rate=self.learning_rate,
            epsilon=self.epsilon, alpha=self.alpha, l1_ratio=self._get_l1_ratio(),
            eta0=self.eta0, power_t=self.power_t, fit_intercept=self.fit_intercept,
            shuffle=self.shuffle, decay=SPARSE_INTERCEPT_DECAY if data.is_sparse(X) else 1.0,
            average=int(self.average), t=self.t_, tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
            scores=None if scored is None else self._scores(scored, coef.dtype),
            early_stopping=self.early_stopping,
            held_out=mask.view(np.uint8) if mask.any() else None,
            n_threads=threads.available(getattr(self, "n_jobs", None)), size=data.size(X),
            check_rows=X.check_finite if blocked else lambda: data.check_features(X),
            ordered=not blocked,
        )  # fmt: skip
        validate = None if scored is None else lambda: run.validation_loss
        return Plan(run, 1 if more else self.max_iter, scored, validate=validate)

    def _mend(self, rows):
        largest = {
            "the features": data.largest(rows.X),
            "y": float(np.abs(rows.y).max()) if rows.y.dtype.kind == "f" else 0.0,
            "sample_weight": 0.0 if rows.sample_weight is None else rows.sample_weight.max(),
        }
        culprit = max(largest, key=lambda name: largest[name])
        if culprit == "the features":
            return "Scale the features, for example with sklearn.preprocessing.StandardScaler."
        return f"Scale {culprit}, which holds values as large as {largest[culprit]:.3g}."

    def _keep(self, rows, plan, outcome, more):
        run = plan.run
        self.loss_ = float(run.last_loss)
        self.n_iter_ = int(run.n_iter.max())
        self.t_ += self.n_iter_ * rows.X.shape[0]
        self._keep_weights(run)
        if outcome.n_iter and not np.isfinite(self.loss_):
            warn(
                f"The objective came to {self.loss_}: scores or penalties overflow, and the "
                f"model is of no use. {self._mend(rows)}",
                RuntimeWarning,
            )
        if more:
            return
        if self.tol is not None and self.tol > -np.inf and self.n_iter_ == self.max_iter:
            warn(
                "Maximum number of iteration reached before convergence. Consider increasing "
                "max_iter to improve the fit.",
                ConvergenceWarning,
            )
        if self.power_t < 0:
            warn(
                "Negative values for `power_t` are deprecated in version 1.8 and will raise an "
                "error in 1.10. Use values in the range [0.0, inf) instead.",
                FutureWarning,
            )


class _Classification(Inferable, _SGD, IncrementalClassifier):
    """What classifiers share: all but their parameters."""

    def decision_function(self, X: Any) -> np.ndarray:
        """Scores: the second class's, or one score a class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), or (n_samples, n_classes) for several classes
        """
        return scores(self, X)

    def _check_likelihood(self):
        if self.loss != "log_loss":
            raise ValueError(
                f"summary needs a likelihood, which loss={self.loss!r} is not. Use "
                "loss='log_loss', or LogisticRegression."
            )
        if self.class_weight is not None:
            raise ValueError(
                "summary: with class_weight the steps of the classes are weighed, not the "
                "likelihood. Use LogisticRegression, or sample_weight."
            )

    def _threads_wanted(self):
        return self.n_jobs

    def _penalties(self, total, n_rows):
        strength = 0.0 if self.penalty is None else self.alpha * n_rows
        l1_ratio = {"l2": 0.0, "l1": 1.0}.get(self.penalty, self._get_l1_ratio())
        return strength * (1 - l1_ratio), strength * l1_ratio, 0.0

    def _check_weights(self, sample_weight, X):
        # Of weights that are all 0 the split for early stopping tells.
        return validation.check_weights(sample_weight, X, all_zero=self.early_stopping)

    def _weigh(self, X, y, weights, more):
        """The weights of the rows; those of the classes go with each class's own neuron."""
        if more and not self._is_fitted():
            validation.check_partial_class_weight(self.class_weight)
        if weights is not None and weights.any() and not more:
            validation.check_classes(self.classes_, y, weights)
        counts = X.counts.sum(axis=0) if isinstance(X, data.Blocked) else None
        self._expanded_class_weight = validation.class_factors(
            self.class_weight, self.classes_, y, counts
        )
        return weights

    def _row_weights(self):
        weights = self._expanded_class_weight
        if len(weights) == 2:
            return weights[None, ::-1].copy()
        return np.column_stack([weights, np.ones_like(weights)])

    def _draw(self, codes, weights, dtype, splits):
        """Rows held out, and a seed for each neuron, in the order in which scikit-learn draws."""
        n_classes = len(self.classes_)
        random_state = check_random_state(self.random_state)
        none = np.zeros(len(codes), bool)

        def split(y):
            return self._make_validation_split(y, sample_mask=weights > 0) if splits else none

        if n_classes == 2:
            random_state.randint(1, _MOST)  # it does not use this number
            mask = split(self._own_targets(codes, 1, dtype))
            return mask, [random_state.randint(_MOST)]
        mask, seeds = split(self.classes_[codes]), []
        for seed in random_state.randint(_MOST, size=n_classes):
            own = check_random_state(seed)
            own.randint(1, _MOST)
            seeds.append(own.randint(_MOST))
        return mask, seeds

    def _scores(self, rows, dtype):
        """scikit-learn's scores of each neuron on rows held out."""
        classes = np.array([-1, 1], dtype=dtype)
        neurons = [1] if len(self.classes_) == 2 else range(len(self.classes_))
        return [
            _stochastic_gradient._ValidationScoreCallback(
                self, rows.X, self._own_targets(rows.y, k, dtype), rows.sample_weight,
                classes=classes,
            )
            for k in neurons
        ]  # fmt: skip

    def _own_targets(self, codes, k, dtype):
        """scikit-learn's targets of one class."""
        return np.where(codes == k, 1, ROW_LOSSES[self.loss].negative).astype(dtype)

    def _keep_weights(self, run):
        if not self.average > 0:
            self.coef_, self.intercept_ = run.coef, run.intercept
            return
        averaged = self.average <= self.t_ - 1
        if len(self.classes_) == 2:
            self._standard_coef, self._average_coef = run.coef[0], run.average_coef[0]
            self._average_intercept = run.average_intercept
            # The intercept without averages stays as it was, here as in scikit-learn: the next
            # `partial_fit` begins with it.
            if averaged:
                self.coef_ = self._average_coef.reshape(1, -1)
                self.intercept_ = self._average_intercept
            else:
                self.coef_ = self._standard_coef.reshape(1, -1)
                self.intercept_ = self._standard_intercept = run.intercept
            return
        self._standard_coef, self._average_coef = run.coef, run.average_coef
        # In scikit-learn `intercept_` is one array with another one, and both are written to:
        # before averages are used with the standard one, afterwards with their own.
        if self.intercept_ is self._standard_intercept:
            self._standard_intercept = run.intercept
            self._average_intercept = run.average_intercept
        else:
            self._average_intercept = run.intercept
        if averaged:
            self.coef_, self.intercept_ = self._average_coef, self._average_intercept
        else:
            self.coef_, self.intercept_ = self._standard_coef, self._standard_intercept


class SGDClassifier(_Classification, linear_model.SGDClassifier):
    """Linear classifiers trained row by row, along the path of scikit-learn's class.

    The same `random_state` gives the same order of rows, the same steps and the same end.

    Parameters
    ----------
    loss, penalty, alpha, l1_ratio, fit_intercept, max_iter, tol, shuffle, verbose, epsilon,\
    random_state, learning_rate, eta0, power_t, early_stopping, validation_fraction,\
    n_iter_no_change, class_weight, warm_start, average
        Those of `sklearn.linear_model.SGDClassifier`, with its defaults.
    n_jobs : int, default=None
        Threads that share the classes; None takes ``SCHUSS_NUM_THREADS`` or all that the
        process may use. It does not change the result.

    Attributes
    ----------
    coef_, intercept_, n_iter_, t_, n_features_in_, feature_names_in_
        scikit-learn's, as the classifier's ``classes_``. float32 features train float32
        coefficients and intercepts.
    history_ : dict of ndarray of shape (n_epochs,)
        For each epoch ``loss``, the mean over its rows of the loss and the penalty before each
        step, summed over the classes; ``step``, the length of its last step; ``seconds`` since
        the start; with ``early_stopping`` also ``validation_loss``, 1 - score. `partial_fit`
        adds to it.
    loss_ : float
        The last entry of ``history_["loss"]``.
    stop_reason_ : str
        "converged", "max_iter", "early_stopping", "callback" or "interrupted".
    converged_ : bool
        Whether a stopping rule ended the fit.
    fit_info_ : dict
        What served the last fit, and what it took: `TrainResult.fit_info`.

    Notes
    -----
    Rows are taken in scikit-learn's order, and each step is its step: to the bit for float64 rows
    of up to 16 features. Sums of longer rows are added in another order, so numbers agree to
    rounding. Where steps are so long that the path is chaotic (``learning_rate="optimal"`` with a
    small ``alpha`` begins so), rounding is all that it takes to part two paths.

    Source: Bottou, Stochastic Gradient Descent Tricks (2012).

    Examples
    --------
    >>> from schuss import SGDClassifier
    >>> X = [[-1.0, -1.0], [-2.0, -1.0], [1.0, 1.0], [2.0, 1.0]]
    >>> model = SGDClassifier(random_state=0).fit(X, ["a", "a", "b", "b"])
    >>> model.predict([[-0.8, -1.0]]).tolist()
    ['a']
    >>> model.stop_reason_
    'converged'
    """


@borrows(SGDClassifier, "Attributes", "Notes")
class Perceptron(_Classification, linear_model.Perceptron):
    """The perceptron, trained row by row along the path of scikit-learn's class.

    It is `SGDClassifier` with ``loss="perceptron"``, ``learning_rate="constant"`` and
    ``penalty=None``.

    Parameters
    ----------
    penalty, alpha, l1_ratio, fit_intercept, max_iter, tol, shuffle, verbose, eta0,\
    random_state, early_stopping, validation_fraction, n_iter_no_change, class_weight, warm_start
        Those of `sklearn.linear_model.Perceptron`, with its defaults.
    n_jobs : int, default=None
        As of `SGDClassifier`.

    Examples
    --------
    >>> from schuss import Perceptron
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> round(Perceptron().fit(X, y).score(X, y), 3)
    0.939
    """


@borrows(SGDClassifier, "Attributes", "Notes")
class SGDRegressor(_SGD, Incremental, linear_model.SGDRegressor):
    """Linear regression trained row by row, along the path of scikit-learn's class.

    The same `random_state` gives the same order of rows, the same steps and the same end.

    Parameters
    ----------
    loss, penalty, alpha, l1_ratio, fit_intercept, max_iter, tol, shuffle, verbose, epsilon,\
    random_state, learning_rate, eta0, power_t, early_stopping, validation_fraction,\
    n_iter_no_change, warm_start, average
        Those of `sklearn.linear_model.SGDRegressor`, with its defaults.

    Examples
    --------
    >>> from schuss import SGDRegressor
    >>> X = [[0.0], [1.0], [2.0], [3.0]]
    >>> model = SGDRegressor(eta0=0.1, random_state=0, tol=1e-6).fit(X, [1.0, 3.0, 5.0, 7.0])
    >>> bool(abs(model.predict([[4.0]])[0] - 9.0) < 0.1)
    True
    """

    # As in scikit-learn, whose classifier begins anew with `coef_` or `coef_init`.
    _keeps_weights = True

    def _resets(self, more):
        return not (self._is_fitted() and (more or self.warm_start))

    def _decision_function(self, X):
        """Called by scikit-learn's `predict`."""
        return scores(self, X)

    def _check_targets(self, X, y, known):
        return validation.check_targets(y, X.shape[0], data.real_type(X))

    def _row_weights(self):
        return np.ones((1, 2))

    def _draw(self, y, weights, dtype, splits):
        """Rows held out, and the neuron's seed, in the order in which scikit-learn draws."""
        mask = np.zeros(len(y), bool)
        if splits:
            mask = self._make_validation_split(y, sample_mask=weights > 0)
        return mask, [check_random_state(self.random_state).randint(0, _MOST)]

    def _scores(self, rows, dtype):
        score = _stochastic_gradient._ValidationScoreCallback
        return [score(self, rows.X, rows.y, rows.sample_weight)]

    def _keep_weights(self, run):
        self.coef_, self.intercept_ = run.coef[0], run.intercept
        if self.average > 0:
            self._standard_coef, self._standard_intercept = self.coef_, self.intercept_
            self._average_coef = run.average_coef[0]
            self._average_intercept = run.average_intercept
            if self.average <= self.t_ - 1:
                self.coef_, self.intercept_ = self._average_coef, self._average_intercept
