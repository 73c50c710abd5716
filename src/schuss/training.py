"""The steps of a fit, in their order, for every estimator.

X travels one way: `fit` has the rows checked, asks the estimator for a `Plan`, whose objective
binds them for a backend, has the driver carry it out, and stores the result.
"""

from collections.abc import Callable
from contextlib import contextmanager
from os import PathLike
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import metadata_routing
from sklearn.utils.multiclass import _check_partial_fit_first_call

from schuss import backends, blocks, data, driver, objective, threads, validation
from schuss.callbacks import Print
from schuss.checkpoint import Checkpoint
from schuss.data import Rows
from schuss.docstrings import extends
from schuss.errors import warn
from schuss.losses import LOSSES, Loss
from schuss.solvers.run import Plateau, Run
from schuss.stream import streamed

_MISSING = object()


class Plan(NamedTuple):
    """What an estimator makes of its parameters and of the rows."""

    run: Run
    max_iter: int
    eval_rows: Rows | None = None
    plateau: Plateau | None = None
    validate: Callable[[], float] | None = None
    score: Callable[[], float] | None = None
    early_stopping: bool = False
    callbacks: tuple = ()  # its own


def carry_out(make_plan, rows, X, *, estimator=None, callbacks=(), checkpoint=None, mend=str):
    """Make a plan and run it to its end.

    Parameters
    ----------
    make_plan : callable
        Returns a `Plan`.
    rows : Rows
    X : array-like
        As it was given. Only the first pass over it tells whether it is finite, so it is
        looked at where something else seems to be wrong.
    estimator : estimator or None
        Named in errors of X.
    callbacks : tuple
    checkpoint : Checkpoint or None
    mend : callable
        Called where the run diverges; returns what may help, besides what its solver can say.

    Returns
    -------
    plan : Plan
    outcome : driver.Outcome
    info : dict
        As `TrainResult.fit_info`.
    """
    begin = perf_counter()
    try:
        plan = make_plan()
        if checkpoint is not None:
            parts = [part for part in (rows, plan.eval_rows) if part is not None]
            checkpoint.identify(
                plan.run, [part.X.shape for part in parts], [*map(_fingerprint, parts)]
            )
        ready = perf_counter()
        outcome = driver.run(
            plan.run, max_iter=plan.max_iter, plateau=plan.plateau, validate=plan.validate,
            score=plan.score, early_stopping=plan.early_stopping,
            callbacks=(*callbacks, *plan.callbacks), checkpoint=checkpoint,
        )  # fmt: skip
        if outcome.stop_reason == "diverged":
            error = plan.run.divergence_error()
            error.args = (f"{error} {mend()}".rstrip(),)
            error.outcome, error.history = outcome, outcome.history
            raise error
    except ValueError:
        if isinstance(rows.X, data.Blocked):
            rows.X.check_finite()
        else:
            data.check_features(X, estimator=estimator, reset=False)
        raise
    info = plan.run.info()
    # Those of its fingerprint, and of the survey.
    info["passes"] += (checkpoint is not None) + isinstance(rows.X, data.Blocked)
    info |= {"setup_seconds": ready - begin, "iteration_seconds": perf_counter() - ready}
    return plan, outcome, info


def _fingerprint(rows):
    """Gradient of the log loss without weights: one pass over all that tells rows apart.

    Of real targets, too, of which it is a linear function.
    """
    real, backend = data.real_type(rows.X), backends.current()
    if isinstance(rows.X, data.Blocked):
        return _fingerprint_of_blocks(rows, real)
    with np.errstate(all="ignore"):
        weights, _ = validation.scale_weights(rows.sample_weight, real)
        bound = objective.bind(backend, rows.X, rows.y.astype(real), weights)
        shape = len(bound.y), rows.X.shape[1]
        zeros = np.zeros(shape, real), np.zeros(shape[:1], real)
        gradients = tuple(map(np.empty_like, zeros))
        n_threads = threads.for_pass(None, data.size(rows.X) * shape[0])
        backend.gradient(bound, Loss.LOG_LOSS, *zeros, *gradients, n_threads)
    return np.column_stack(gradients)


def _fingerprint_of_blocks(rows, real):
    shape = rows.y[0].size, rows.X.shape[1]
    part = rows.X.objective(LOSSES["log_loss"], n_outputs=shape[0])
    zeros = np.zeros(shape, real), np.zeros(shape[:1], real)
    gradients = tuple(map(np.empty_like, zeros))
    part.backend.gradient(part.data, Loss.LOG_LOSS, *zeros, *gradients, 1)
    return np.column_stack(gradients)


class Trained:
    """What an estimator inherits to be trained; it adds the three methods that raise here."""

    if TYPE_CHECKING:
        history_: dict[str, np.ndarray]

        # Other parameters and fitted attributes are the estimators', and scikit-learn's.
        def __getattr__(self, name: str) -> Any: ...

    # Whether X may be a `blocks.Source`, and whether a memory map that is too large becomes one.
    _takes_streams = False
    _streams_maps = False

    # Not arrays with an entry for each row, which a router could split.
    __metadata_request__fit = dict.fromkeys(
        ("callbacks", "checkpoint", "eval_set"), metadata_routing.UNUSED
    )

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, eval_set: Any = None,
        callbacks: Any = None, checkpoint: str | PathLike[str] | None = None,
    ) -> Self:  # fmt: skip
        """Train on rows with labels or targets.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n, d), or `schuss.Stream`
            Read as it lies, without a copy, where it is of type float64, float32, float16,
            uint8 or int8, in any memory order; CSR of float64 or float32. Networks and
            perceptrons take no streams.
        y : array-like of shape (n,), for networks also (n, K)
            Classifiers: labels of at least two classes. Regressors: finite numbers. None with
            a stream, which has its own.
        sample_weight : array-like of shape (n,), default=None
            Not negative.
        eval_set : (X, y), default=None
            Rows whose loss (`SGDClassifier`, `SGDRegressor`: 1 - score) is recorded after each
            iteration; with ``early_stopping`` they decide when to stop, and none are held out.
        callbacks : callable or list of callables, default=None
            See `schuss.callbacks`.
        checkpoint : str or path, default=None
            As in `schuss.train`, with `max_iter` in place of `epochs`; not for "lbfgs" and
            "newton", nor for `LogisticRegression`, which they serve.

        Returns
        -------
        self : object
            The estimator itself.

        Raises
        ------
        DivergenceError
            Where the step is too large for the data, or scores overflow.

        Notes
        -----
        The estimator changes only once there is a result: after an error, or Ctrl-C before
        the first iteration or after the last, it is what it was. Ctrl-C in between ends the
        iterations at once and keeps the weights reached, with a warning and the
        ``stop_reason_`` "interrupted".
        """
        return self._train(
            X, y, sample_weight, eval_set=eval_set, callbacks=callbacks, checkpoint=checkpoint
        )

    def _train(
        self, X, y, sample_weight=None, *, more=False, eval_set=None, callbacks=None,
        checkpoint=None, **given,
    ):  # fmt: skip
        """Fit, or go on with one epoch (`more`); the estimator changes as a whole or not."""
        callbacks = validation.check_callbacks(callbacks)
        with atomic_fit(self) as work:
            options = work._options(more, **given)
            if checkpoint is not None:
                checkpoint = Checkpoint(checkpoint, {**given, **work._identity()})
            X, y, sample_weight = work._streamed(X, y, sample_weight, more)
            if isinstance(X, blocks.Source):
                rows = work._check_source(X, y, sample_weight, more, eval_set)
            else:
                rows = work._check_rows(X, y, sample_weight, more)
            eval_rows = None if eval_set is None else work._check_eval_set(eval_set, rows)
            plan, outcome, info = carry_out(
                lambda: work._plan(rows, eval_rows, more, **options), rows, X, estimator=work,
                callbacks=(*callbacks, *work._progress()), checkpoint=checkpoint,
                mend=lambda: work._mend(rows),
            )  # fmt: skip
            work._store(outcome, plan.run.unrecorded, more)
            work.fit_info_ = info
            work._keep(rows, plan, outcome, more)
        return self

    def _options(self, more: bool, **given: Any) -> dict[str, Any]:
        """What `_plan` gets besides the rows, and checks of what `_validate_params` leaves."""
        return given

    def _check_targets(self, X: Any, y: Any, known: Any) -> np.ndarray:
        """y as codes, whose ``classes_`` it sets unless they are known, or as reals."""
        raise NotImplementedError

    def _plan(self, *args: Any, **kwargs: Any) -> Plan:
        """What the parameters mean for ``rows, eval_rows, more``, and what `_options` returned."""
        raise NotImplementedError

    def _store(self, outcome: driver.Outcome, missing: tuple[str, ...], more: bool) -> None:
        """Say how a run went, that filled the columns of the history but for the missing ones."""
        history = {name: column for name, column in outcome.history.items() if name not in missing}
        if more and "history_" in vars(self):
            history = append_history(self.history_, history)
        self.history_ = history
        self.loss_ = outcome.loss
        self.stop_reason_ = outcome.stop_reason
        self.converged_ = outcome.stop_reason in ("converged", "early_stopping")

    def _keep(self, rows: Rows, plan: Plan, outcome: driver.Outcome, more: bool) -> None:
        """Set the estimator's own attributes, and warn of what ended the run."""
        raise NotImplementedError

    def _check_rows(self, X: Any, y: Any, sample_weight: Any, more: bool) -> Rows:
        """Rows as they are given, checked; that X is finite, the first pass over it tells."""
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target "
                "y is None."
            )
        X = data.check_features(X, estimator=self, reset=self._resets(more), finite=True)
        y = self._check_targets(X, y, self._knows_classes(more))
        weights = self._check_weights(sample_weight, X)
        return Rows(X, y, self._weigh(X, y, weights, more))

    def _streamed(self, X: Any, y: Any, sample_weight: Any, more: bool) -> tuple[Any, Any, Any]:
        """X, y and weights; a memory map that is too large for memory as a stream."""
        if not (self._takes_streams and self._streams_maps) or more:
            return X, y, sample_weight
        if vars(self).get("early_stopping"):
            return X, y, sample_weight
        return streamed(X, y, sample_weight)

    def _check_source(
        self, source: Any, y: Any, sample_weight: Any, more: bool, eval_set: Any
    ) -> Rows:
        """Rows of a source, after a first pass over it."""
        if not self._takes_streams:
            raise TypeError(
                f"{type(self).__name__} does not take a stream of rows, expected X in memory, or "
                "memory-mapped. Call partial_fit for each (X, y) of the stream."
            )
        if y is not None or sample_weight is not None:
            raise ValueError(
                "y and sample_weight: a stream of rows has its own, expected fit(stream)."
            )
        if more:
            raise ValueError(
                "partial_fit takes the rows of one part, but X is a stream of all: call fit, or "
                "partial_fit for each (X, y, sample_weight) of the stream."
            )
        if vars(self).get("early_stopping") and eval_set is None:
            raise ValueError(
                "early_stopping=True holds out rows of X, but X is a stream: pass rows to validate "
                "as eval_set."
            )
        rows = self._survey(source)
        names = getattr(source, "feature_names", None)
        if not hasattr(self, "n_features_in_") or self._resets(more):
            self.n_features_in_ = rows.X.shape[1]
            if names is not None:
                self.feature_names_in_ = np.asarray(names, object)
            else:
                vars(self).pop("feature_names_in_", None)
        elif self.n_features_in_ != rows.X.shape[1]:
            raise ValueError(
                f"X has {rows.X.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input."
            )
        return rows

    def _survey(self, source: Any, known: bool = False) -> Rows:
        """What the first pass over a source finds, targets as they are learnt.

        Of rows to validate the classes are known.
        """
        rows = blocks.survey(source, labels=False).rows()
        # The two ends tell whether the targets are in range.
        self._check_targets(rows.y[:, None], rows.y, False)
        return rows

    def _progress(self) -> tuple:
        """Callbacks of `verbose`."""
        return (Print(1.0 / self.verbose),) if self.verbose else ()

    def _mend(self, rows: Rows) -> str:
        """What may help a run that diverges, besides what its solver can say."""
        return ""

    def _is_fitted(self) -> bool:
        return getattr(self, "coef_", None) is not None

    def _resets(self, more: bool) -> bool:
        """Whether the rows may have other features than those of the fit before."""
        return not (more and self._is_fitted())

    def _knows_classes(self, more: bool) -> Any:
        return more

    def _check_weights(self, sample_weight: Any, X: Any) -> np.ndarray | None:
        return validation.check_weights(sample_weight, X)

    def _weigh(
        self, X: Any, y: np.ndarray, weights: np.ndarray | None, more: bool
    ) -> np.ndarray | None:
        """The weights of the rows, those of the classes included."""
        return weights

    def _real_type(self, X: Any) -> np.dtype:
        """Type of the weights that X trains."""
        return data.real_type(X)

    def _check_eval_set(self, eval_set: Any, rows: Rows) -> Rows:
        """Rows to validate, in the type of the weights."""
        if isinstance(eval_set, blocks.Source):
            found = self._survey(eval_set, known=True)
            if found.X.shape[1] != rows.X.shape[1] or data.real_type(found.X) != self._real_type(
                rows.X
            ):
                raise ValueError(
                    f"eval_set: a stream of {found.X.shape[1]} features of {found.X.dtype}, "
                    f"expected {rows.X.shape[1]} of {rows.X.dtype}, as X has."
                )
            return found
        try:
            X, y = eval_set
        except (TypeError, ValueError):
            raise ValueError(
                f"eval_set: got {type(eval_set).__name__}, expected a pair (X, y)."
            ) from None
        dtype = self._real_type(rows.X)
        try:
            X = data.check_features(X, estimator=self, reset=False)
            y = self._check_targets(X, y, True)
            y = validation.check_range(y, dtype) if y.dtype.kind == "f" else y
            return Rows(data.as_type(X, dtype), y, None)
        except (TypeError, ValueError) as error:
            kind = ValueError if isinstance(error, ValueError) else TypeError
            raise kind(f"eval_set: {error}") from error

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint of the same call has in common with this one."""
        return {"estimator": type(self).__name__, **self.get_params(deep=False)}


class TrainedClassifier(Trained):
    """`Trained`, for labels of classes, each row of one."""

    classes_: np.ndarray

    def _options(self, more: bool, *, classes: Any = None, **given: Any) -> dict[str, Any]:
        if more:
            _check_partial_fit_first_call(self, classes)
        return super()._options(more, **given)

    def _check_targets(self, X: Any, y: Any, known: Any) -> np.ndarray:
        classes = self.classes_ if known else None
        self.classes_, codes = validation.check_labels(y, X.shape[0], classes)
        if len(self.classes_) < 2:
            # scikit-learn looks at X first.
            data.check_features(X, estimator=self, reset=False)
        validation.check_classes(self.classes_)
        return codes

    def _survey(self, source: Any, known: bool = False) -> Rows:
        found = blocks.survey(source, labels=True)
        if known or (self._knows_classes(False) and self._is_fitted()):
            validation.check_labels(found.classes, len(found.classes), self.classes_)
        else:
            self.classes_ = found.classes
        validation.check_classes(self.classes_)
        rows = found.rows(self.classes_)
        if known:
            return rows
        weighed = self._weigh(rows.X, rows.y, rows.X.weights, False)
        if weighed is None or (weighed == rows.X.weights).all():
            return rows
        factors = np.divide(
            weighed, rows.X.weights, out=np.zeros(len(weighed)), where=rows.X.weights > 0
        )
        return found.rows(self.classes_, factors)

    def _weigh(
        self, X: Any, y: np.ndarray, weights: np.ndarray | None, more: bool
    ) -> np.ndarray | None:
        if self.class_weight is not None:
            if more:
                validation.check_partial_class_weight(self.class_weight)
            factors = validation.check_class_weight(self.class_weight, self.classes_, y, weights)
            weights = factors if weights is None else factors * weights
        if weights is not None and not more:
            validation.check_classes(self.classes_, y, weights, warns=self.class_weight is None)
        return weights


class TrainedFromWeights(Trained):
    """`Trained`, where `fit` takes weights to start from."""

    @_fit_context(prefer_skip_nested_validation=True)
    @extends(Trained.fit)
    def fit(
        self, X: Any, y: Any = None, coef_init: Any = None, intercept_init: Any = None,
        sample_weight: Any = None, *, eval_set: Any = None, callbacks: Any = None,
        checkpoint: str | PathLike[str] | None = None,
    ) -> Self:  # fmt: skip
        """
        coef_init : array-like of the shape of `coef_`, default=None
            Coefficients to start from. Not changed.
        intercept_init : array-like of the shape of `intercept_`, default=None
        """
        return self._train(
            X, y, sample_weight, eval_set=eval_set, callbacks=callbacks, checkpoint=checkpoint,
            coef_init=coef_init, intercept_init=intercept_init,
        )  # fmt: skip


class Incremental(Trained):
    """`Trained`, for rows that come in parts."""

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Run one epoch over these rows, going on where the last call stopped.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n, d)
        y : array-like of shape (n,), for networks also (n, K)
        sample_weight : array-like of shape (n,), default=None

        Returns
        -------
        self : object
            The estimator itself.

        Raises
        ------
        DivergenceError
            Where a loss or a weight is not finite.
        """
        return self._train(X, y, sample_weight, more=True)


class IncrementalClassifier(TrainedClassifier):
    """`TrainedClassifier`, for rows that come in parts."""

    @_fit_context(prefer_skip_nested_validation=True)
    @extends(Incremental.partial_fit)
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """
        classes : array-like of shape (n_classes,), default=None
            All labels that will come; needed in the first call.
        """
        return self._train(X, y, sample_weight, more=True, classes=classes)


class TrainedByChoice(Trained):
    """`Trained`, where `fit` takes the loss and the weights of the classes, too."""

    __metadata_request__fit = dict.fromkeys(("class_weight", "loss"), metadata_routing.UNUSED)

    @_fit_context(prefer_skip_nested_validation=True)
    @extends(Trained.fit)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, class_weight: Any = None,
        eval_set: Any = None, callbacks: Any = None, loss: str | None = None,
        checkpoint: str | PathLike[str] | None = None,
    ) -> Self:  # fmt: skip
        """
        y : array-like of shape (n,), or (n, K) of 0 and 1 for several labels a row
        class_weight : dict, "balanced" or None, default=None
            Factors of the sample weights. None: none, but with ``warm_start`` as in the fit
            before; `partial_fit` takes the factors of the last `fit`.
        loss : {"log_loss", "squared_error"}, default=None
            "squared_error" is the textbook's: ``1/(2N) sum (a - y)^2`` over sigmoid
            outputs, one for each class. None: "log_loss", but with ``warm_start`` as in the
            fit before; `partial_fit` goes on with that of the last `fit`.
        """
        return self._train(
            X, y, sample_weight, eval_set=eval_set, callbacks=callbacks, checkpoint=checkpoint,
            loss=loss, class_weight=class_weight,
        )  # fmt: skip

    @_fit_context(prefer_skip_nested_validation=True)
    @extends(IncrementalClassifier.partial_fit)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """
        y : array-like of shape (n,), or (n, K) of 0 and 1 for several labels a row
        """
        return self._train(X, y, sample_weight, more=True, classes=classes)


def hold_out(rows, fraction, random_state, *, stratify):
    """Keep a part of the rows for validation, in the proportions of the classes.

    Returns
    -------
    learnt : ndarray of whole numbers
        Places of the rows to learn from.
    kept : Rows
    """
    n = rows.X.shape[0]
    try:
        learnt, kept = train_test_split(
            np.arange(n), test_size=fraction, random_state=random_state, stratify=stratify
        )
    except ValueError as error:
        raise ValueError(
            f"early_stopping=True cannot hold out validation_fraction={fraction} of {n} rows: "
            f"{error} Change validation_fraction, or pass eval_set."
        ) from None
    if rows.sample_weight is not None:
        validation.check_held_out(rows.sample_weight[learnt], rows.sample_weight[kept])
    return learnt, hold(rows, kept)


def hold(rows, places):
    """A copy of some rows, to validate."""
    X, weights = rows.X[places], rows.sample_weight
    # Their loss alone tells nothing: early stopping takes NaN for no improvement.
    data.check_features(X)
    return Rows(X, rows.y[places], None if weights is None else weights[places])


def warn_unless_converged(run, outcome, max_iter):
    """Say that a run was ended before its end, and what would help."""
    if outcome.stop_reason == "max_iter":
        text = f"Not converged after max_iter={max_iter} iterations: {run.unconverged()}"
    elif outcome.stop_reason == "precision":
        text = (
            f"Not converged: after {outcome.n_iter} iterations rounding hides any further "
            f"descent, and {run.unconverged(rounding=True)}"
        )
    elif outcome.stop_reason == "separated":
        text = f"Not converged: {run.separation()} Give alpha a positive value."
    else:
        return
    warn(text, ConvergenceWarning)


@contextmanager
def atomic_fit(estimator):
    """A copy to fit, whose attributes the estimator takes over in one step at the end.

    An error or Ctrl-C before that leaves ``vars(estimator)`` as it was. So do lists among the
    fitted attributes, to which the fit may append. NumPy's floating-point warnings are off:
    what overflows on the way is judged by where it leads.

    Parameters
    ----------
    estimator : object

    Yields
    ------
    object
        Of the same class, with the same attributes.
    """
    before = vars(estimator).copy()
    lengths = [
        (value, len(value))
        for name, value in before.items()
        if type(value) is list and name.endswith("_")
    ]
    work = object.__new__(type(estimator))
    vars(work).update(before)
    fitted = None
    try:
        with np.errstate(all="ignore"):
            yield work
        fitted = vars(work)
        # What a callback has set on the estimator itself stays.
        outside = {k: v for k, v in vars(estimator).items() if v is not before.get(k, _MISSING)}
        for k, v in outside.items():
            if fitted.get(k, _MISSING) is before.get(k, _MISSING):
                fitted[k] = v
        # One store, which no signal handler divides.
        estimator.__dict__ = fitted
    except BaseException:
        if vars(estimator) is not fitted:
            for values, length in lengths:
                del values[length:]
        raise


class History(dict):
    """Columns of a history, as views of a table with room for more rows.

    Copies and pickles of it are plain dicts.
    """

    def __init__(self, names, table, n_rows):
        super().__init__((name, table.columns[i, :n_rows]) for i, name in enumerate(names))
        self.table = table

    def __reduce__(self):
        return dict, (dict(self),)


class _Table:
    """Columns side by side, the first `n_rows` entries of which are in use."""

    def __init__(self, n_columns, capacity):
        self.columns = np.empty((n_columns, capacity))
        self.n_rows = 0


def append_history(earlier, later):
    """One history of two runs, in the columns that both have.

    A series of calls takes time in proportion to the rows appended: the table doubles.

    Parameters
    ----------
    earlier, later : dict of ndarray
        `earlier` stays as it is. Seconds are those of both.

    Returns
    -------
    History
    """
    names = [name for name in later if name in earlier]
    past = [np.asarray(earlier[name], float) for name in names]
    n = len(past[0]) if past else 0
    total = n + (len(later[names[0]]) if past else 0)
    table = getattr(earlier, "table", None)
    # Another history of the same table may have taken the rows behind this one's.
    if not (
        table is not None
        and names == list(earlier)
        and all(column.base is table.columns for column in past)
        and n == table.n_rows
        and total <= table.columns.shape[1]
    ):
        table = _Table(len(names), 2 * total)
        for row, column in zip(table.columns, past, strict=True):
            row[:n] = column
    for row, name in zip(table.columns, names, strict=True):
        row[n:total] = later[name]
        if name == "seconds" and n:
            row[n:total] += row[n - 1]
    table.n_rows = total
    return History(names, table, total)
