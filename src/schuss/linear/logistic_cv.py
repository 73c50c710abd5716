"""Cross-validated logistic regression: scikit-learn's estimator on our fits.

Folds, scores, attributes, warnings and routing are the code of scikit-learn's `fit`. What it
calls for the weights of a row of penalties is `fit_penalties` here; folds of two classes with an L2
penalty are fitted together, as `fit_many` does, before they are scored.
"""

import inspect
import types
import warnings
from numbers import Integral
from typing import Any, Self

import numpy as np
import sklearn
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV as _LogisticRegressionCV
from sklearn.linear_model import _logistic
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import validate_data

from schuss.linear.logistic import LogisticRegression
from schuss.many import fit_many
from schuss.predictions import LinearClassifierPredictions
from schuss.training import atomic_fit

_SHARES = {"l1": 1.0, "l2": 0.0, None: 0.0}
# Fewer iterations are left to single fits, whose warnings name the solver.
_LEAST_ITERATIONS = 50


def fit_penalties(
    X, y, *, classes, Cs=10, coef=None, penalty="l2", l1_ratio=None, sample_weight=None, **options
):
    """Fit one penalty after the other, each from the weights of the one before.

    Parameters
    ----------
    X, y, classes, Cs, coef, penalty, l1_ratio, sample_weight, **options
        As of scikit-learn's ``_logistic_regression_path``.

    Returns
    -------
    coefs : ndarray of shape (len(Cs), d + 1) or (len(Cs), n_classes, d + 1)
        Intercepts last, where there are any.
    Cs : ndarray
    n_iter : ndarray of shape (len(Cs),)
    """
    if isinstance(Cs, Integral):
        Cs = np.logspace(-4, 4, Cs)
    if len(np.unique(y)) < len(classes):
        # Its weights of a class that no row of this fold has are left to scikit-learn.
        return _logistic._logistic_regression_path(
            X, y, classes=classes, Cs=Cs, coef=coef, penalty=penalty, l1_ratio=l1_ratio,
            sample_weight=sample_weight, **options,
        )  # fmt: skip
    known = LogisticRegression._get_param_names()
    model = LogisticRegression(
        l1_ratio=_SHARES.get(penalty, l1_ratio), warm_start=True,
        **{name: value for name, value in options.items() if name in known},
    )  # fmt: skip
    d = X.shape[1]
    if coef is not None:
        coef = np.atleast_2d(coef).astype(X.dtype)
        model.classes_, model.coef_ = classes, np.ascontiguousarray(coef[:, :d])
        model.intercept_ = coef[:, d].copy() if model.fit_intercept else np.zeros(len(coef))
    coefs, n_iter = [], []
    strengths = np.full(len(Cs), np.inf) if penalty is None else Cs
    for _ in model._fit_path(X, y, sample_weight, strengths):
        weights = model.coef_
        if model.fit_intercept:
            weights = np.column_stack([weights, model.intercept_])
        coefs.append(weights[0].copy() if len(weights) == 1 else np.array(weights, order="F"))
        n_iter.append(model.n_iter_[0])
    return np.stack(coefs), np.asarray(Cs), _at_least_one(n_iter)


def _at_least_one(n_iter):
    """As scikit-learn's checks expect, also where a model begins at its optimum."""
    return np.maximum(n_iter, 1).astype(np.int32)


def score_penalties(*arguments: Any, **options: Any) -> tuple[np.ndarray, ...]:
    """Fit the penalties on the rows of a fold and score them on the others."""
    return _score_penalties(*arguments, **options)


class _Scored(LogisticRegression):
    """What is scored, fold by fold, by labels that were checked before."""

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy: scikit-learn's looks at the labels again, for nine tenths of a small fit."""
        return float(np.average(self.predict(X) == y, weights=sample_weight))


class Folds:
    """In place of joblib's `Parallel`: folds that can be are fitted together.

    Parameters
    ----------
    **options
        Of `Parallel`, which serves where processes are wanted, and all else.
    """

    def __init__(self, **options: Any):
        self._options = options

    def __call__(self, tasks: Any) -> list:
        """Results of `score_penalties`, from its arguments ``(args, kwargs)`` for each fold."""
        tasks = list(tasks)
        paths = None
        if self._options.get("n_jobs") in (None, 1) and _fits_together(tasks):
            paths = fit_folds(tasks)
        if paths is None:
            return Parallel(**self._options)(
                delayed(score_penalties)(*args, **kwargs) for args, kwargs in tasks
            )
        results = []
        for ((X, y, _, test), kwargs), path in zip(tasks, paths, strict=True):
            score = _rebind(
                _logistic._log_reg_scoring_path,
                _logistic_regression_path=lambda *args, path=path, **options: path,
                LogisticRegression=_Scored,
            )  # fmt: skip
            # The rows to fit, which it would copy, have served already.
            results.append(score(X, y, np.empty(0, np.intp), test, **kwargs))
        return results


def _fits_together(tasks):
    (X, _, _, _), kwargs = tasks[0]
    return (
        isinstance(X, np.ndarray) and len(kwargs["classes"]) == 2 and len(tasks) > 1
        and kwargs["solver"] != "liblinear" and kwargs["max_iter"] >= _LEAST_ITERATIONS
        and all(_SHARES.get(k["penalty"], k["l1_ratio"]) == 0 for _, k in tasks)
    )  # fmt: skip


def fit_folds(tasks):
    """Coefficients, penalties and iterations of each fold, by one read of X for many of them.

    Returns None where some model has no optimum, for single fits to say so.
    """
    (X, y, _, _), kwargs = tasks[0]
    classes, Cs = kwargs["classes"], kwargs["Cs"]
    if isinstance(Cs, Integral):
        Cs = np.logspace(-4, 4, Cs)
    is_second = y == classes[1]
    given = kwargs["sample_weight"]
    rows = np.ones(len(y)) if given is None else np.asarray(given)
    if kwargs["class_weight"] is not None:
        factors = [kwargs["class_weight"].get(label, 1.0) for label in classes]
        rows = rows * np.where(is_second, factors[1], factors[0])
    weights = np.zeros((len(tasks), len(y)))
    for weight, ((_, _, train, _), _) in zip(weights, tasks, strict=True):
        weight[train] = rows[train]
        if not ((weight[is_second] > 0).any() and (weight[~is_second] > 0).any()):
            return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = fit_many(
            X, is_second, sample_weight=weights, Cs=Cs,
            fit_intercept=kwargs["fit_intercept"], tol=kwargs["tol"], max_iter=kwargs["max_iter"],
        )  # fmt: skip
    if not result.converged.all():
        return None
    coefs = result.coef[:, 0].astype(X.dtype if X.dtype.kind == "f" else np.float64)
    if kwargs["fit_intercept"]:
        coefs = np.column_stack([coefs, result.intercept.astype(coefs.dtype)])
    shape = len(tasks), len(Cs)
    coefs, n_iter = coefs.reshape(*shape, -1), _at_least_one(result.n_iter).reshape(shape)
    return [(coefs[i], np.asarray(Cs), n_iter[i]) for i in range(len(tasks))]


def _validate_data(estimator, X, y, **options):
    """Float32 stays float32."""
    return validate_data(estimator, X, y, **{**options, "dtype": [np.float64, np.float32]})


def _rebind(function, **own):
    """The function, with functions of ours under the names of some that it calls."""
    missing = set(own).difference(function.__code__.co_names)
    if missing:
        raise ImportError(
            f"schuss.LogisticRegressionCV does not know scikit-learn {sklearn.__version__}, whose "
            f"{function.__qualname__} does not call {', '.join(sorted(missing))}: install a "
            "newer schuss, or scikit-learn 1.9."
        )
    bound = types.FunctionType(
        function.__code__, {**function.__globals__, **own}, function.__name__,
        function.__defaults__, function.__closure__,
    )  # fmt: skip
    bound.__kwdefaults__ = function.__kwdefaults__
    bound.__doc__ = function.__doc__
    return bound


_score_penalties = _rebind(
    _logistic._log_reg_scoring_path, _logistic_regression_path=fit_penalties,
    LogisticRegression=LogisticRegression,
)  # fmt: skip

_fit = _rebind(
    # `schuss.accelerate` may have wrapped it, too.
    inspect.unwrap(_LogisticRegressionCV.fit), _log_reg_scoring_path=score_penalties,
    _logistic_regression_path=fit_penalties, validate_data=_validate_data, Parallel=Folds,
    delayed=lambda function: lambda *args, **kwargs: (args, kwargs),
)  # fmt: skip


class LogisticRegressionCV(LinearClassifierPredictions, _LogisticRegressionCV):
    """Logistic regression whose penalty is chosen by cross-validation, as scikit-learn's.

    Parameters, attributes, folds, scores and warnings are those of
    `sklearn.linear_model.LogisticRegressionCV`, whose documentation holds. Each fit reaches the
    optimum, as `schuss.LogisticRegression` does, with any name of a solver; scikit-learn's may
    end before it.

    Parameters
    ----------
    Cs : int or list of float, default=10
        Inverse strengths of the penalty; a number stands for that many on a logarithmic scale
        from 1e-4 to 1e4.
    l1_ratios : list of float, default="warn"
        Shares of the L1 penalty, 0 to 1. The default is None, with a warning.
    fit_intercept : bool, default=True
    cv : int or splitter, default=None
        Folds; None for five, stratified.
    dual : bool, default=False
        See `LogisticRegression`.
    penalty : {"l1", "l2", "elasticnet"}, default="deprecated"
        Deprecated: `l1_ratios` says the same.
    scoring : str or callable, default="warn"
        What the penalty is chosen by. The default is accuracy, with a warning.
    solver : str, default="lbfgs"
        See `LogisticRegression`.
    tol : float, default=1e-4
        See `LogisticRegression`.
    max_iter : int, default=100
    class_weight : dict, "balanced" or None, default=None
        Factors of the sample weights.
    n_jobs : int or None, default=None
        Processes that share the folds. None: this one, whose fits use all threads.
    verbose : int, default=0
    refit : bool, default=True
        Fit all rows with the best penalty; otherwise average the folds' best weights.
    intercept_scaling : float, default=1
        See `LogisticRegression`.
    random_state : int, RandomState or None, default=None
        Ignored.
    use_legacy_attributes : bool, default="warn"
        Shapes of `C_`, `coefs_paths_`, `scores_` and `n_iter_`; scikit-learn's documentation
        has them.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (1, d) or (n_classes, d)
    intercept_ : ndarray of shape (1,) or (n_classes,)
    Cs_, l1_ratios_ : ndarray
        What was tried.
    C_, l1_ratio_ : float, or ndarray
        What was chosen.
    coefs_paths_, scores_, n_iter_ : ndarray, or dict
        For each fold and penalty.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (d,), for data frames

    Examples
    --------
    >>> from schuss import LogisticRegressionCV
    >>> from sklearn.datasets import load_breast_cancer
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = LogisticRegressionCV(
    ...     Cs=5, l1_ratios=(0,), scoring="neg_log_loss", use_legacy_attributes=False
    ... ).fit(X / X.std(axis=0), y)
    >>> model.C_
    1.0
    """

    _drop_in = True
    _probabilities = LogisticRegression._probabilities

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, **params: Any) -> Self:
        with atomic_fit(self) as work:
            _fit(work, X, y, sample_weight, **params)
        return self

    fit.__doc__ = _fit.__doc__

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.array_api_support = False
        return tags
