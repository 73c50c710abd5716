"""One sigmoid neuron, or one for each class: `train` and the estimators."""

import functools
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)

from schuss import blocks, data, objective, solvers, validation
from schuss.checkpoint import Checkpoint
from schuss.constants import Activation
from schuss.constraints import TrainedLikelihood
from schuss.docstrings import listing
from schuss.errors import DivergenceError
from schuss.losses import LOSSES
from schuss.methods import SOLVERS
from schuss.predictions import LinearClassifierPredictions, LinearPredictions
from schuss.solvers.run import Plateau
from schuss.stream import streamed
from schuss.training import (
    Incremental,
    IncrementalClassifier,
    Plan,
    Rows,
    carry_out,
    hold_out,
    warn_unless_converged,
)

_SHARED_CONSTRAINTS = {
    "loss": [StrOptions(set(LOSSES))],
    "solver": [StrOptions(set(SOLVERS))],
    "learning_rate": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "l1_ratio": [Interval(Real, 0, 1, closed="both")],
    "fit_intercept": ["boolean"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "batch_size": [Interval(Integral, 1, None, closed="left"), None],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "n_jobs": [Integral, None],
}


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What `train` returns.

    Attributes
    ----------
    coef : ndarray of shape (d,), or (K, d) for targets of shape (n, K)
    intercept : float, or ndarray of shape (K,)
    n_iter : int
        Iterations run: rows of the history.
    loss : float
        Objective at the weights returned.
    history : dict of ndarray of shape (n_iter,)
        For each iteration the objective before its step (mini-batches: its mean over the
        epoch), the largest entry of the gradient, the step, and the seconds since the
        start: ``loss``, ``gradient_norm``, ``step``, ``seconds``.
    stop_reason : str
        "converged", "max_iter", "callback" or "interrupted"; "precision" where rounding ends
        "lbfgs" or "newton" before the gradient is within `tol`; "separated" where they meet
        separable classes without a penalty; "diverged" in the `result` of a `DivergenceError`.
    converged : bool
    fit_info : dict
        What served, and what it took: ``backend``, ``algorithm``, ``threads``,
        ``sample_size``, ``passes`` (how often X was read), ``hessians`` (how many of all rows),
        ``setup_seconds``, ``iteration_seconds``; None where it diverged.
    """

    coef: np.ndarray = field(repr=False)
    intercept: float | np.ndarray = field(repr=False)
    n_iter: int
    loss: float
    history: dict[str, np.ndarray] = field(repr=False)
    stop_reason: str
    converged: bool
    fit_info: dict[str, object] | None = field(repr=False)


@listing(losses=LOSSES, solvers=SOLVERS)
def train(
    X: Any, y: Any = None, *, loss: str = "squared_error", solver: str = "gd",
    learning_rate: float | str = "auto", epochs: int = 1000, alpha: float = 0.0,
    l1_ratio: float = 0.0, fit_intercept: bool = True, sample_weight: ArrayLike | None = None,
    coef_init: ArrayLike | None = None, intercept_init: ArrayLike | None = None, tol: float = 0.0,
    batch_size: int | None = None, shuffle: bool = True, random_state: Any = None,
    n_jobs: int | None = None, callbacks: Any = None, checkpoint: Any = None,
) -> TrainResult:  # fmt: skip
    """Train sigmoid neurons by gradient descent: the loop over epochs as one call.

    Parameters
    ----------
    X : array-like, CSR matrix or data frame of shape (n, d), or `schuss.Stream`
        Read as it lies, without a copy, where it is of type float64, float32, float16,
        uint8 or int8, in any memory order; CSR of float64 or float32. The last three
        types and float32 train float32 weights.
    y : array-like of shape (n,) or (n, K)
        Labels 0 and 1 or soft labels between; K columns train K neurons at once. None with a
        stream, which has its own.
    loss : {losses}, default="squared_error"
        {losses: summaries}
    solver : {solvers}, default="gd"
        {solvers: summaries}
        See `SigmoidClassifier`. Mini-batches change all d weights in each step, also where
        X is sparse: for wide CSR choose large batches, or a solver that takes all rows at
        once.
    learning_rate : float or "auto", default="auto"
        "auto" is 1/L, L bounding the curvature of the loss on this data (for mini-batches
        twice that of their expected loss); for "adam" 0.01. For "adaptive" a number is the
        first step, taken as 1/L where it is larger.
    epochs : int, default=1000
    alpha, l1_ratio : float, default=0.0
        Penalty ``alpha * ((1 - l1_ratio) / 2 * ||w||^2 + l1_ratio * ||w||_1)``.
    fit_intercept : bool, default=True
    sample_weight : array-like of shape (n,), optional
    coef_init, intercept_init : array-like, optional
        Weights to start from; zeros by default.
    tol : float, default=0.0
        Stop where no entry of the gradient is larger (mini-batches: where the mean loss
        of an epoch has not improved by more for 10 epochs, unless it is no better than a
        constant's and the gradient of all rows above 100 times this). 0 runs all epochs.
    batch_size : int, optional
        Rows a step; by default all, for "adam" and "sgd" 32.
    shuffle : bool, default=True
        Take the rows of each epoch in a new random order (mini-batches only).
    random_state : int, RandomState or None, default=None
    n_jobs : int, optional
        Threads, -1 for all; by default ``SCHUSS_NUM_THREADS``, else all that the process
        may use. The result does not depend on it.
    callbacks : callable or list of callables, optional
        See `schuss.callbacks`.
    checkpoint : str or path, optional
        File to which the state is written every minute and at the end, also where an error
        or Ctrl-C ends the run. Where it exists and belongs to the same call, training goes on
        from it, and ends at the same bits as without the interruption (X of more than 16 MB,
        where it begins at the same place within a cache line). `epochs` counts those in the
        file: it may be larger than in the call before, and must not be smaller than what is
        done. `random_state` may be another one, too, unless it chooses rows to hold out. Not
        for "lbfgs" and "newton".

    Returns
    -------
    TrainResult

    Raises
    ------
    DivergenceError
        Where the step is too large for the data.
    ValueError, TypeError
        For bad input; the message names the argument.
    OSError
        Where `checkpoint` cannot be written; said before training starts.

    Notes
    -----
    Ctrl-C ends the epochs at once: what was reached is returned, with a warning and the
    ``stop_reason`` "interrupted". Before the first epoch there is nothing to return yet, and
    KeyboardInterrupt is raised.

    Examples
    --------
    >>> import schuss
    >>> X = [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> result = schuss.train(X, [0, 0, 0, 1], learning_rate=1.0, epochs=2000)
    >>> result.n_iter
    2000
    >>> (result.coef > 0).all() and result.intercept < 0
    True
    """
    parameters = {
        "loss": loss, "solver": solver, "learning_rate": learning_rate, "alpha": alpha,
        "l1_ratio": l1_ratio, "fit_intercept": fit_intercept, "tol": tol,
        "batch_size": batch_size, "shuffle": shuffle, "random_state": random_state,
        "n_jobs": n_jobs,
    }  # fmt: skip
    for name, value in {**parameters, "epochs": epochs}.items():
        check = _check_option if type(value) in _PLAIN else _check_option.__wrapped__
        check(name, value)
    callbacks = validation.check_callbacks(callbacks)
    if checkpoint is not None:
        start = {"coef_init": coef_init, "intercept_init": intercept_init}
        checkpoint = Checkpoint(
            checkpoint, {"estimator": "train", **parameters, **start}, limit="epochs"
        )
    X, y, sample_weight = streamed(X, y, sample_weight)
    given, rows = X, _check_rows(X, y, sample_weight)
    X, y = rows.X, rows.y
    validation.check_unit_interval(y, loss)
    dtype = data.real_type(X)
    n_outputs = y.shape[1] if y.ndim == 2 else 1
    coef = validation.check_start(coef_init, (n_outputs, X.shape[1]), dtype, "coef_init")
    intercept = validation.check_start(intercept_init, (n_outputs,), dtype, "intercept_init")

    def result(outcome, info):
        one = y.ndim == 1
        return TrainResult(
            coef[0] if one else coef, float(intercept[0]) if one else intercept,
            outcome.n_iter, outcome.loss, outcome.history, outcome.stop_reason,
            outcome.stop_reason == "converged", info,
        )  # fmt: skip

    try:
        plan, outcome, info = carry_out(
            lambda: _plan(
                rows, parameters, coef, intercept, epochs, patience=_PATIENCE if tol > 0 else None
            ),
            rows,
            given,
            callbacks=callbacks,
            checkpoint=checkpoint,
        )
    except DivergenceError as error:
        error.result = result(error.outcome, None)
        raise
    if tol > 0 and outcome.stop_reason in ("precision", "separated"):
        warn_unless_converged(plan.run, outcome, epochs)
    return result(outcome, info)


def _check_rows(X, y, sample_weight):
    """What `train` learns from; of a stream after a first pass over it."""
    if isinstance(X, blocks.Source):
        if y is not None or sample_weight is not None:
            raise ValueError(
                "y and sample_weight: a stream of rows has its own, expected train(stream)."
            )
        return blocks.survey(X, labels=False, several=True).rows(several=True)
    X = data.check_features(X, finite=True)
    y = validation.check_targets(y, X.shape[0], data.real_type(X), several=True)
    return Rows(X, y, validation.check_weights(sample_weight, X))


_TRAIN_CONSTRAINTS = {
    **_SHARED_CONSTRAINTS,
    "epochs": [Interval(Integral, 1, None, closed="left")],
}

# Types of which an option that was good once is good again.
_PLAIN = {str, int, float, bool, type(None)}


@functools.lru_cache(maxsize=256, typed=True)
def _check_option(name, value):
    """scikit-learn's check of one option of `train`.

    It takes 2 us, and 20 for all of them in each call; what was found is kept.
    """
    constraints = {name: _TRAIN_CONSTRAINTS[name]}
    validate_parameter_constraints(constraints, {name: value}, caller_name="train")


# Epochs without improvement after which mini-batches have converged.
_PATIENCE = 10


def _plan(
    rows, parameters, coef, intercept, max_iter, *, patience=None, eval_rows=None, learnt=None,
    early_stopping=False, memory=None,
):  # fmt: skip
    """How neurons are trained.

    Parameters
    ----------
    rows, eval_rows : Rows
    learnt : ndarray of whole numbers, or None
        Those of the rows to learn from; None for all.
    parameters : mapping
        Of the names in `_SHARED_CONSTRAINTS`.
    coef, intercept : ndarray
        Where to start; changed in place.
    patience : int or None
        Iterations without improvement after which batches or early stopping end.
    memory : object or None
        Of the solver of an earlier run.
    """
    trained, validate = objective.on_rows(
        rows, eval_rows, LOSSES[parameters["loss"]], coef, intercept, learnt=learnt,
        **{name: parameters[name] for name in ("alpha", "l1_ratio", "fit_intercept", "n_jobs")},
    )  # fmt: skip
    run = solvers.start(
        parameters["solver"], trained, coef, intercept, memory=memory,
        random_state=check_random_state(parameters["random_state"]),
        **{name: parameters[name] for name in ("learning_rate", "batch_size", "shuffle", "tol")},
    )  # fmt: skip
    plateau = None
    if patience is not None and (early_stopping or run.stochastic):
        plateau = Plateau(parameters["tol"], patience)
    return Plan(run, max_iter, eval_rows, plateau, validate, early_stopping=early_stopping)


class _SigmoidNeuron(LinearPredictions, TrainedLikelihood, BaseEstimator):
    """What the two estimators share: all but the meaning of y."""

    _takes_streams = _streams_maps = True

    _parameter_constraints: dict = {
        **_SHARED_CONSTRAINTS,
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "verbose": ["verbose"],
    }

    def __init__(
        self, loss: str = "squared_error", solver: str = "gd", learning_rate: float | str = "auto",
        alpha: float = 0.0, l1_ratio: float = 0.0, fit_intercept: bool = True,
        max_iter: int = 1000, tol: float = 1e-4, batch_size: int | None = None,
        shuffle: bool = True, random_state: Any = None, warm_start: bool = False,
        early_stopping: bool = False, validation_fraction: float = 0.1,
        n_iter_no_change: int = 10, n_jobs: int | None = None, verbose: int = 0,
    ):  # fmt: skip
        self.loss = loss
        self.solver = solver
        self.learning_rate = learning_rate
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.random_state = random_state
        self.warm_start = warm_start
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.n_jobs = n_jobs
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _knows_classes(self, more):
        return more or (self.warm_start and self._is_fitted())

    def _options(self, more, **given):
        if more and not SOLVERS[self.solver].resumable:
            raise ValueError(
                f"solver={self.solver!r} does not support partial_fit: its steps need all rows "
                "at once. Choose another solver, such as 'sgd', or call fit."
            )
        return super()._options(more, **given)

    def _plan(self, rows, eval_rows, more, *, constraints=None):
        learnt, early_stopping = None, self.early_stopping and not more
        if early_stopping and eval_rows is None:
            learnt, eval_rows = hold_out(
                rows, self.validation_fraction, check_random_state(self.random_state),
                stratify=rows.y if rows.y.dtype.kind != "f" else None,
            )  # fmt: skip
        shape = self._n_outputs(), rows.X.shape[1]
        parameters = {name: getattr(self, name) for name in _SHARED_CONSTRAINTS}
        if more:
            # Whatever the gradient, an epoch takes its step.
            parameters["tol"] = 0.0
        coef, intercept = validation.start_weights(
            self, shape, data.real_type(rows.X), more or self.warm_start
        )
        if constraints is not None:
            if self.solver != "newton" or early_stopping:
                raise ValueError(
                    "offset, bounds, monotone and bias_reduction are served by Newton's method on "
                    f"all rows. Set solver='newton' (not {self.solver!r}) and early_stopping=False."
                )
            return self._plan_constrained(
                rows, eval_rows, constraints, coef, intercept, tol=self.tol,
                max_iter=self.max_iter, started=self.warm_start,
            )  # fmt: skip
        return _plan(
            rows, parameters, coef, intercept, 1 if more else self.max_iter,
            patience=self.n_iter_no_change if self.tol > 0 or early_stopping else None,
            eval_rows=eval_rows, learnt=learnt, early_stopping=early_stopping,
            memory=vars(self).get("_memory") if more else None,
        )  # fmt: skip

    def _keep(self, rows, plan, outcome, more):
        run = plan.run
        self._store_weights(run.state.coef, run.state.intercept)
        self._memory = run.memory() if more else None
        self.n_iter_ = len(self.history_["loss"])
        self.learning_rate_ = run.learning_rate
        if self.tol > 0 and not (more or self.early_stopping):
            warn_unless_converged(run, outcome, self.max_iter)
        if self.loss == "log_loss" and not (more or SOLVERS[self.solver].resumable):
            self._look_for_separation(rows, run)

    def _check_likelihood(self):
        if self.loss != "log_loss":
            raise ValueError(
                f"summary needs a likelihood, which loss={self.loss!r} is not. Fit with "
                "loss='log_loss'."
            )

    def _penalties(self, total, n_rows):
        l2, l1 = (self.alpha * total * share for share in (1 - self.l1_ratio, self.l1_ratio))
        return l2, l1, 0.0

    def _threads_wanted(self):
        return self.n_jobs

    def _loss_function(self):
        return LOSSES[self.loss]


@listing(losses=LOSSES, solvers=SOLVERS)
class SigmoidClassifier(
    LinearClassifierPredictions, ClassifierMixin, _SigmoidNeuron, IncrementalClassifier
):
    """A sigmoid neuron that tells two classes apart; one neuron a class for several.

    Parameters
    ----------
    loss : {losses}, default="squared_error"
        {losses: summaries}
        Summed over the neurons.
    solver : {solvers}, default="gd"
        {solvers: summaries}
        "adaptive" is that of Malitsky & Mishchenko, arXiv 1910.09529. "newton" builds the
        (d + 1)^2 entries of the Hessian at each step, "lbfgs" where that is cheap or from a
        sample of the rows. With the log-loss, which is convex, they end at the optimum. The
        squared loss is not convex: its steps are Gauss-Newton's or L-BFGS's, no step raises
        the loss, and the end is a stationary point that is no worse than where the run
        began. Their history tells where each step led.
    learning_rate : float or "auto", default="auto"
        "auto" is 1/L, L bounding the curvature of the loss on this data (for mini-batches
        twice that of their expected loss, Gower et al., arXiv 1901.09401); for "adam" 0.01.
        For "adaptive" a number is the first step, taken as 1/L where it is larger; each
        `partial_fit` begins with it again.
    alpha : float, default=0.0
        Strength of the penalty
        ``alpha * ((1 - l1_ratio) / 2 * ||w||^2 + l1_ratio * ||w||_1)``.
    l1_ratio : float, default=0.0
    fit_intercept : bool, default=True
    max_iter : int, default=1000
        Iterations; one goes through all rows once.
    tol : float, default=1e-4
        Converged where no entry of the gradient is larger (mini-batches, early stopping:
        where `n_iter_no_change` iterations brought no improvement by more; a training
        loss no better than a constant's goes on where the gradient of all rows is above
        100 times this).
    batch_size : int, default=None
        Rows a step; None: all, for "adam" and "sgd" 32. A step changes all d weights, also
        where X is sparse: for wide CSR take large batches or all rows.
    shuffle : bool, default=True
        Take the rows of each epoch in a new random order (mini-batches only).
    random_state : int, RandomState or None, default=None
        Order of the rows, and which are held out.
    warm_start : bool, default=False
        ``fit`` starts from the last weights.
    early_stopping : bool, default=False
        Stop where the loss on held-out rows no longer improves; the weights that were
        best there are kept.
    validation_fraction : float, default=0.1
        Rows held out, where ``fit`` gets no `eval_set`.
    n_iter_no_change : int, default=10
    class_weight : dict, "balanced" or None, default=None
        Factors of the sample weights.
    n_jobs : int, default=None
        Threads, -1 for all; None: ``SCHUSS_NUM_THREADS``, else all that the process may
        use. The result does not depend on it.
    verbose : int, default=0
        Lines of progress a second.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (1, d) for two classes, else (n_classes, d)
    intercept_ : ndarray of shape (1,) or (n_classes,)
    n_iter_ : int
        Iterations run: rows of the history.
    loss_ : float
        Objective at the final weights.
    history_ : dict of ndarray of shape ``(n_iter_,)``
        For each iteration the objective before its step (mini-batches: its mean over the
        epoch), the largest entry of the gradient, the step, and the seconds since the
        start: ``loss``, ``gradient_norm``, ``step``, ``seconds``; ``validation_loss``,
        after the step, where rows are held out.
    stop_reason_ : str
        "converged", "max_iter", "early_stopping", "callback", "interrupted" (Ctrl-C), or
        "precision": rounding ended "lbfgs" or "newton" before the gradient was within `tol`; or
        "separated": the log-loss of separable classes without a penalty has no optimum, which
        these two tell.
    converged_ : bool
        Whether ``stop_reason_`` is "converged" or "early_stopping".
    fit_info_ : dict
        What served the last fit, and what it took: `TrainResult.fit_info`.
    learning_rate_ : float
        The step used; the last one for "adaptive".
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (d,), for data frames

    Examples
    --------
    >>> from schuss import SigmoidClassifier
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = StandardScaler().fit_transform(X)
    >>> model = SigmoidClassifier(solver="nesterov").fit(X, y)
    >>> model.score(X, y) > 0.98
    True
    """

    _parameter_constraints: dict = {
        **_SigmoidNeuron._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self, loss: str = "squared_error", solver: str = "gd", learning_rate: float | str = "auto",
        alpha: float = 0.0, l1_ratio: float = 0.0, fit_intercept: bool = True,
        max_iter: int = 1000, tol: float = 1e-4, batch_size: int | None = None,
        shuffle: bool = True, random_state: Any = None, warm_start: bool = False,
        early_stopping: bool = False, validation_fraction: float = 0.1,
        n_iter_no_change: int = 10, class_weight: Any = None, n_jobs: int | None = None,
        verbose: int = 0,
    ):  # fmt: skip
        super().__init__(
            loss, solver, learning_rate, alpha, l1_ratio, fit_intercept, max_iter, tol,
            batch_size, shuffle, random_state, warm_start, early_stopping,
            validation_fraction, n_iter_no_change, n_jobs, verbose,
        )  # fmt: skip
        self.class_weight = class_weight

    def _probabilities(self, X, log):
        logs = self._answers(X, Activation.LOG_LOGISTIC)
        logs = logs - logsumexp(logs, axis=1, keepdims=True)
        return logs if log else np.exp(logs)

    def _n_outputs(self):
        return 1 if len(self.classes_) == 2 else len(self.classes_)

    def _store_weights(self, coef, intercept):
        self.coef_, self.intercept_ = coef, intercept


class SigmoidRegressor(RegressorMixin, _SigmoidNeuron, Incremental):
    """A sigmoid neuron for targets anywhere in [0, 1]: soft labels, rates, fractions.

    ``squared_error`` takes targets outside [0, 1], with a warning that the neuron cannot
    reach them; ``log_loss`` refuses them.

    Parameters
    ----------
    loss, solver, learning_rate, alpha, l1_ratio, fit_intercept, max_iter, tol, batch_size,\
    shuffle, random_state, warm_start, early_stopping, validation_fraction, n_iter_no_change,\
    n_jobs, verbose
        Those of `SigmoidClassifier`, with its defaults.

    Attributes
    ----------
    coef_ : ndarray of shape (d,)
    intercept_ : float
    n_iter_, loss_, history_, stop_reason_, converged_, learning_rate_, n_features_in_,\
    feature_names_in_
        Those of `SigmoidClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> from schuss import SigmoidRegressor
    >>> x = np.linspace(-3, 3, 50)
    >>> rate = 1 / (1 + np.exp(-2 * x + 1))
    >>> model = SigmoidRegressor(loss="log_loss", solver="nesterov", tol=1e-8)
    >>> model = model.fit(x[:, None], rate)
    >>> model.coef_.round(3), round(model.intercept_, 3)
    (array([2.]), -1.0)
    """

    def predict(self, X: Any) -> np.ndarray:
        """Answers of the neuron, in (0, 1).

        Parameters
        ----------
        X : array-like, CSR matrix or data frame of shape (n, d)

        Returns
        -------
        ndarray of shape (n,)
        """
        return self._answers(X, Activation.LOGISTIC)[:, 0]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # Targets outside [0, 1] are out of its reach.
        tags.regressor_tags.poor_score = True
        return tags

    def _n_outputs(self):
        return 1

    def _check_targets(self, X, y, known):
        y = validation.check_targets(y, X.shape[0], data.real_type(X))
        validation.check_unit_interval(y, self.loss)
        return y

    def _store_weights(self, coef, intercept):
        self.coef_, self.intercept_ = coef[0], float(intercept[0])
