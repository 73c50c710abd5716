"""`SGDClassifier` and `SGDRegressor`: scikit-learn's, with another inner loop.

Checks, parameters, tags, metadata routing and predictions are those of the classes that
these inherit from; what is here lies between the checked input and the fitted attributes.
"""

import numpy as np
import scipy.sparse as sp
from sklearn import linear_model
from sklearn.linear_model._base import SPARSE_INTERCEPT_DECAY
from sklearn.utils import check_random_state

from schuss import backends, data, driver, threads, validation
from schuss import callbacks as _callbacks
from schuss.errors import warn
from schuss.linear.weights import scores
from schuss.losses import ROW_LOSSES
from schuss.solvers.sgd import SGD, Start
from schuss.sparse import as_csr
from schuss.training import atomic_fit, raise_divergence, store_result

# The range that scikit-learn draws seeds from.
_MOST = np.iinfo(np.int32).max


class _SGD:
    """What the two classes share: all but the meaning of y."""

    def fit(self, X, y, coef_init=None, intercept_init=None, sample_weight=None, *,
            callbacks=None):  # fmt: skip
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        coef_init : array-like of the shape of `coef_`, default=None
            Coefficients to start from. Not changed.
        intercept_init : array-like of the shape of `intercept_`, default=None
        sample_weight : array-like of shape (n_samples,), default=None
        callbacks : callable or list of callables, default=None
            See `schuss.callbacks`; ``info.loss`` is as in `history_`, and ``info.gradient_norm``
            is NaN, as no gradient of all rows is at hand.

        Returns
        -------
        self : object

        Raises
        ------
        DivergenceError
            Where weights are not finite at the end of an epoch.
        """
        callbacks = validation.check_callbacks(callbacks)
        if coef_init is not None:
            coef_init = np.array(coef_init)
        if intercept_init is not None:
            intercept_init = np.array(intercept_init)
        with atomic_fit(self) as work:
            # How `_sweep` tells, behind scikit-learn's `fit`, that it is one.
            work._callbacks = callbacks
            super(_SGD, work).fit(X, y, coef_init, intercept_init, sample_weight)
            del work._callbacks
        return self

    def _partial_fit(self, X, *args, **kwargs):
        """scikit-learn's, behind `fit` and `partial_fit`: where it first looks at X."""
        # What overflows in scikit-learn's casts and sums is refused as infinite.
        with np.errstate(over="ignore", invalid="ignore"):
            return super()._partial_fit(as_csr(X), *args, **kwargs)

    def _sweep(
        self, X, y, sample_weight, starts, class_weight, *, alpha, learning_rate, max_iter,
        validation_mask, scores,
    ):  # fmt: skip
        """Run the sweeps; returns them where they went."""
        weights = validation.check_not_negative(sample_weight)
        backend = backends.current()
        sweeps = SGD(
            backend,
            data.bind(backend, X, y, None if (weights == 1).all() else weights),
            starts, np.array(class_weight, np.float64),
            loss=self.loss, penalty=self.penalty, learning_rate=learning_rate,
            epsilon=self.epsilon, alpha=alpha, l1_ratio=self._get_l1_ratio(), eta0=self.eta0,
            power_t=self.power_t, fit_intercept=self.fit_intercept, shuffle=self.shuffle,
            decay=SPARSE_INTERCEPT_DECAY if sp.issparse(X) else 1.0, average=int(self.average),
            t=self.t_, tol=self.tol, n_iter_no_change=self.n_iter_no_change,
            scores=scores if self.early_stopping else None,
            held_out=validation_mask.view(np.uint8) if validation_mask.any() else None,
            n_threads=threads.available(getattr(self, "n_jobs", None)), size=data.size(X),
        )  # fmt: skip
        callbacks = vars(self).get("_callbacks", ())
        if self.verbose:
            callbacks = (*callbacks, _callbacks.Print(1.0 / self.verbose))
        outcome = driver.run(
            sweeps, max_iter=max_iter, callbacks=callbacks,
            validate=(lambda: sweeps.validation_loss) if self.early_stopping else None,
        )  # fmt: skip
        # No gradient of all rows is at hand.
        history = {k: v for k, v in outcome.history.items() if k != "gradient_norm"}
        loss = float(history["loss"][-1]) if len(history["loss"]) else np.nan
        outcome = outcome._replace(history=history, loss=loss)
        diverged = outcome.stop_reason == "diverged"
        mend = "" if np.isfinite(loss) and not diverged else _mend(X, y, weights)
        raise_divergence(sweeps, outcome, mend)
        store_result(self, outcome, append="_callbacks" not in vars(self))
        if not np.isfinite(loss):
            warn(
                f"The objective came to {loss}: scores or penalties overflow, and the "
                f"model is of no use. {mend}",
                RuntimeWarning,
            )
        return sweeps


def _mend(X, y, weights):
    """What to scale where a sweep overflows: that whose numbers are the largest."""
    largest = {
        "the features": data.largest(X),
        "y": float(np.abs(y).max()) if y.dtype.kind == "f" else 0.0,
        "sample_weight": float(weights.max()),
    }
    culprit = max(largest, key=largest.get)
    if culprit == "the features":
        return "Scale the features, for example with sklearn.preprocessing.StandardScaler."
    return f"Scale {culprit}, which holds values as large as {largest[culprit]:.3g}."


class SGDClassifier(_SGD, linear_model.SGDClassifier):
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
    coef_, intercept_, n_iter_, t_, n_features_in_, feature_names_in_, classes_
        scikit-learn's. float32 features train float32 coefficients and intercepts.
    history_ : dict of ndarray of shape (n_epochs,)
        For each epoch ``loss``, the mean over its rows of the cost and the penalty before each
        step, summed over
        the classes; ``step``, the length of its last step; ``seconds`` since the start; with
        ``early_stopping`` also ``validation_loss``, 1 - score. `partial_fit` adds to it.
    loss_ : float
        The last entry of ``history_["loss"]``.
    stop_reason_ : str
        "converged", "max_iter", "early_stopping", "callback" or "interrupted".
    converged_ : bool
        Whether a stopping rule ended the fit.

    Notes
    -----
    Rows are taken in scikit-learn's order, and each step is its step; sums are added in another
    order, so numbers agree to rounding. Where steps are so long that the path is chaotic
    (``learning_rate="optimal"`` with a small ``alpha`` begins so), rounding is all that it takes to
    part two paths.

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

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Run one epoch over these rows, going on where the last call stopped.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        classes : array-like of shape (n_classes,), default=None
            All labels that will come; needed in the first call.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self : object

        Raises
        ------
        DivergenceError
            Where weights are not finite at the end of the epoch.
        """
        with atomic_fit(self) as work:
            super(SGDClassifier, work).partial_fit(X, y, classes, sample_weight)
        return self

    def _fit(self, X, y, *args, **kwargs):
        validation.check_missing_labels(y)
        return super()._fit(X, y, *args, **kwargs)

    def _partial_fit(self, X, y, *args, **kwargs):
        validation.check_missing_labels(y)
        # scikit-learn's look at a dict takes text that looks like a number for one.
        given = self.class_weight
        try:
            if isinstance(given, dict):
                self._class_weight, self.class_weight = given, None
            return super()._partial_fit(X, y, *args, **kwargs)
        finally:
            self.class_weight = given
            vars(self).pop("_class_weight", None)

    def decision_function(self, X):
        """Scores: the second class's, or one score a class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), or (n_samples, n_classes) for several classes
        """
        return scores(self, X)

    def _fit_binary(self, X, y, alpha, sample_weight, learning_rate, max_iter):
        """Called by scikit-learn's `fit` and `partial_fit` once the input is checked."""
        X, codes = self._encode(X, y, sample_weight)
        random_state = check_random_state(self.random_state)
        random_state.randint(1, _MOST)  # scikit-learn draws a number here that it does not use
        y_own = self._own_targets(codes, 1, X.dtype)
        mask = self._make_validation_split(y_own, sample_mask=sample_weight > 0)
        average = self.average > 0
        coef, intercept = validation.linear_weights(self, X.shape[1])
        start = Start(
            (self._standard_coef if average else coef).ravel(),
            (self._standard_intercept if average else intercept)[0],
            self._average_coef.ravel() if average else None,
            self._average_intercept[0] if average else 0.0,
            random_state.randint(_MOST),
        )
        sweeps = self._sweep(
            X, codes, sample_weight, [start], [self._expanded_class_weight[::-1]], alpha=alpha,
            learning_rate=learning_rate, max_iter=max_iter, validation_mask=mask,
            scores=[self._score_of(mask, X, y_own, sample_weight)],
        )  # fmt: skip
        self.n_iter_ = int(sweeps.n_iter[0])
        self.t_ += self.n_iter_ * X.shape[0]
        if not average:
            self.coef_, self.intercept_ = sweeps.coef, sweeps.intercept
            return
        self._standard_coef, self._average_coef = sweeps.coef[0], sweeps.average_coef[0]
        self._average_intercept = sweeps.average_intercept
        if self.average <= self.t_ - 1:
            # The intercept without averages stays as it was, here as in scikit-learn: the next
            # `partial_fit` begins with it.
            self.coef_ = self._average_coef.reshape(1, -1)
            self.intercept_ = self._average_intercept
        else:
            self.coef_ = self._standard_coef.reshape(1, -1)
            self.intercept_ = self._standard_intercept = sweeps.intercept

    def _fit_multiclass(self, X, y, alpha, learning_rate, sample_weight, max_iter):
        """Called by scikit-learn's `fit` and `partial_fit` once the input is checked."""
        X, codes = self._encode(X, y, sample_weight)
        mask = self._make_validation_split(y, sample_mask=sample_weight > 0)
        seeds = check_random_state(self.random_state).randint(_MOST, size=len(self.classes_))
        average = self.average > 0
        coef, intercept = validation.linear_weights(self, X.shape[1])
        starts, scores = [], []
        for i, seed in enumerate(seeds):
            random_state = check_random_state(seed)
            random_state.randint(1, _MOST)
            starts.append(
                Start(
                    (self._standard_coef if average else coef)[i],
                    (self._standard_intercept if average else intercept)[i],
                    self._average_coef[i] if average else None,
                    self._average_intercept[i] if average else 0.0,
                    random_state.randint(_MOST),
                )
            )
            y_own = self._own_targets(codes, i, X.dtype)
            scores.append(self._score_of(mask, X, y_own, sample_weight))
        sweeps = self._sweep(
            X, codes, sample_weight, starts, [(w, 1.0) for w in self._expanded_class_weight],
            alpha=alpha, learning_rate=learning_rate, max_iter=max_iter, validation_mask=mask,
            scores=scores,
        )  # fmt: skip
        self.n_iter_ = int(sweeps.n_iter.max())
        self.t_ += self.n_iter_ * X.shape[0]
        if not average:
            self.coef_, self.intercept_ = sweeps.coef, sweeps.intercept
            return
        self._standard_coef, self._average_coef = sweeps.coef, sweeps.average_coef
        # In scikit-learn `intercept_` is one array with another one, and both are written to:
        # before averages are used with the standard one, afterwards with their own.
        if self.intercept_ is self._standard_intercept:
            self._standard_intercept = sweeps.intercept
            self._average_intercept = sweeps.average_intercept
        else:
            self._average_intercept = sweeps.intercept
        if self.average <= self.t_ - 1:
            self.coef_, self.intercept_ = self._average_coef, self._average_intercept
        else:
            self.coef_, self.intercept_ = self._standard_coef, self._standard_intercept

    def _encode(self, X, y, sample_weight):
        """X in the type of the coefficients, and the codes of the labels."""
        self.classes_, codes = validation.check_labels(y, X.shape[0], self.classes_)
        if "_class_weight" in vars(self):
            self._expanded_class_weight = validation.class_factors(
                self._class_weight, self.classes_
            )
        fits = "_callbacks" in vars(self)
        # Where all weigh nothing, scikit-learn has an error of its own.
        if fits and sample_weight.any() and not sample_weight.all():
            weights = np.bincount(codes, weights=sample_weight, minlength=len(self.classes_))
            validation.check_lost_classes(self.classes_, weights)
        coef, intercept = validation.linear_weights(self, X.shape[1])
        validation.check_finite_weights(coef_=coef, intercept_=intercept)
        return X.astype(coef.dtype, copy=False), codes

    def _own_targets(self, codes, k, dtype):
        """scikit-learn's targets of one class, which its early stopping scores are taken on."""
        if not self.early_stopping:
            return codes
        negative = ROW_LOSSES[self.loss].negative
        return np.where(codes == k, 1, negative).astype(dtype)

    def _score_of(self, mask, X, y, sample_weight):
        classes = np.array([-1, 1], dtype=X.dtype)
        return self._make_validation_score_cb(mask, X, y, sample_weight, classes=classes)


class SGDRegressor(_SGD, linear_model.SGDRegressor):
    """Linear regression trained row by row, along the path of scikit-learn's class.

    The same `random_state` gives the same order of rows, the same steps and the same end.

    Parameters
    ----------
    loss, penalty, alpha, l1_ratio, fit_intercept, max_iter, tol, shuffle, verbose, epsilon,\
    random_state, learning_rate, eta0, power_t, early_stopping, validation_fraction,\
    n_iter_no_change, warm_start, average
        Those of `sklearn.linear_model.SGDRegressor`, with its defaults.

    Attributes
    ----------
    coef_, intercept_, n_iter_, t_, n_features_in_, feature_names_in_
        scikit-learn's. float32 features train float32 coefficients and intercepts.
    history_ : dict of ndarray of shape (n_epochs,)
        For each epoch ``loss``, the mean over its rows of the cost and the penalty before each
        step; ``step``, the length of its last step; ``seconds`` since the start; with
        ``early_stopping`` also ``validation_loss``, 1 - score. `partial_fit` adds to it.
    loss_ : float
        The last entry of ``history_["loss"]``.
    stop_reason_ : str
        "converged", "max_iter", "early_stopping", "callback" or "interrupted".
    converged_ : bool
        Whether a stopping rule ended the fit.

    Notes
    -----
    Rows are taken in scikit-learn's order, and each step is its step; sums are added in another
    order, so numbers agree to rounding. Where steps are so long that the path is chaotic
    (``learning_rate="optimal"`` with a small ``alpha`` begins so), rounding is all that it takes to
    part two paths.

    Source: Bottou, Stochastic Gradient Descent Tricks (2012).

    Examples
    --------
    >>> from schuss import SGDRegressor
    >>> X = [[0.0], [1.0], [2.0], [3.0]]
    >>> model = SGDRegressor(eta0=0.1, random_state=0, tol=1e-6).fit(X, [1.0, 3.0, 5.0, 7.0])
    >>> bool(abs(model.predict([[4.0]])[0] - 9.0) < 0.1)
    True
    """

    def partial_fit(self, X, y, sample_weight=None):
        """Run one epoch over these rows, going on where the last call stopped.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self : object

        Raises
        ------
        DivergenceError
            Where weights are not finite at the end of the epoch.
        """
        with atomic_fit(self) as work:
            super(SGDRegressor, work).partial_fit(X, y, sample_weight)
        return self

    def _decision_function(self, X):
        """Called by scikit-learn's `predict`."""
        return scores(self, X)

    def _fit_regressor(self, X, y, alpha, loss, learning_rate, sample_weight, max_iter):
        """Called by scikit-learn's `fit` and `partial_fit` once the input is checked."""
        coef, intercept = validation.linear_weights(self, X.shape[1])
        validation.check_finite_weights(coef_=coef, intercept_=intercept)
        X, y = X.astype(coef.dtype, copy=False), validation.check_range(y, coef.dtype)
        if not hasattr(self, "t_"):
            self.t_ = 1.0
        mask = self._make_validation_split(y, sample_mask=sample_weight > 0)
        score = self._make_validation_score_cb(mask, X, y, sample_weight)
        random_state = check_random_state(self.random_state)
        seed = random_state.randint(0, _MOST)
        random_state.randint(1, _MOST)  # scikit-learn draws a number here that it does not use
        average = self.average > 0
        start = Start(
            self._standard_coef if average else coef[0],
            (self._standard_intercept if average else intercept)[0],
            self._average_coef if average else None,
            self._average_intercept[0] if average else 0.0,
            seed,
        )
        sweeps = self._sweep(
            X, y, sample_weight, [start], [(1.0, 1.0)], alpha=alpha, learning_rate=learning_rate,
            max_iter=max_iter, validation_mask=mask, scores=[score],
        )  # fmt: skip
        self.n_iter_ = int(sweeps.n_iter[0])
        self.t_ += self.n_iter_ * X.shape[0]
        self.coef_, self.intercept_ = sweeps.coef[0], sweeps.intercept
        if average:
            self._standard_coef, self._standard_intercept = self.coef_, self.intercept_
            self._average_coef = sweeps.average_coef[0]
            self._average_intercept = sweeps.average_intercept
            if self.average <= self.t_ - 1:
                self.coef_, self.intercept_ = self._average_coef, self._average_intercept
