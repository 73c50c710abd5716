"""`fit_many`: the models in blocks, by the backend in force."""

import math
from collections.abc import Iterable
from numbers import Integral, Real
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from schuss import backends, data, driver, threads, validation
from schuss.backends.contract import Data, ManyConfig
from schuss.callbacks import Print
from schuss.constants import SINGULAR, ModelPart, ModelReport, ModelStatus
from schuss.errors import warn
from schuss.losses import LOSSES
from schuss.many.inputs import Models, models_of, penalty_of
from schuss.many.result import ManyResult
from schuss.many.streamed import StreamedRows
from schuss.many.together import Together
from schuss.minimizer.inputs import check_number
from schuss.solvers.problem import NOISE

_REASONS = {
    ModelStatus.UNFINISHED: "interrupted",
    ModelStatus.CONVERGED: "converged",
    ModelStatus.MAX_ITER: "max_iter",
    ModelStatus.PRECISION: "precision",
    ModelStatus.NONFINITE: "diverged",
    ModelStatus.ONE_CLASS: "one class",
    ModelStatus.NO_WEIGHT: "no weight",
    ModelStatus.COLLINEAR: "collinear",
    ModelStatus.SEPARABLE: "separable",
}
_FITTED = (ModelStatus.CONVERGED, ModelStatus.MAX_ITER, ModelStatus.PRECISION)
# Models on the same rows, and their parameters, that may be fitted together, and the operations
# that this must save: some milliseconds, as what they share takes.
_LEAST_TOGETHER, _LARGEST_SIZE = 8, 1500
_LEAST_ITERATIONS = 20
_LEAST_GAIN = 1e8
# Operations for a row besides those of its features, and passes of L-BFGS; steps of Newton's method
# for the first penalty, and for each of those that follow.
_LOSS, _PASSES_TOGETHER, _FIRST_STEPS, _STEPS = 80, 3.8, 5.5, 1.5
# Numbers of a block of them at the most.
_TOGETHER_NUMBERS = 1 << 20
# Passes over its rows that the fit of a model takes, in estimates of the time.
_PASSES = 10
_SECONDS_PER_ELEMENT = 1e-9


def fit_many(
    X: Any, y: Any = None, *, groups: Any = None, sample_weight: Any = None,
    Cs: float | Iterable[float] | None = None, scan: Any = None, loss: str = "log_loss",
    fit_intercept: bool = True, standard_errors: bool | None = None, tol: float = 1e-6,
    max_iter: int = 100, n_jobs: int | None = None, callbacks: Any = None, verbose: int = 0,
) -> ManyResult:  # fmt: skip
    """Fit many models in one call.

    There is a model for each combination of what is given: groups of rows, columns of `y`, rows of
    `sample_weight`, columns of `scan`, and penalties. Each minimises
    ``C * sum_i s_i c_i + ||w||^2 / 2``, as `LogisticRegression` does, by Newton's method.

    Parameters
    ----------
    X : array-like, CSR matrix, data frame of shape (n, d), or Stream
        A `Stream` needs `groups` and has y and weights of its own. Its targets and keys stay in
        memory; each pass gathers the rows of as many groups as half of the free memory holds.
    y : array-like of shape (n,), or of shape (n, T) for T models
        Labels of two classes, or real targets within [0, 1]; several columns are such targets
        or indicators.
    groups : array-like of shape (n,) or str, default=None
        Key of the group of each row, sorted or not: a model for each group. Text names a column
        of the table that a `Stream` reads.
    sample_weight : array-like of shape (n,), or (S, n) for S models, default=None
        Weights of 0 or more: folds of a cross-validation, counts of a bootstrap.
    Cs : float or list of float, default=None
        Inverse strengths of the penalty, infinity for none. None: 1, and infinity for a scan.
    scan : array-like or data frame of shape (n, q), default=None
        Columns that are added to X, one at a time: q models.
    loss : {"log_loss", "squared_error"}, default="log_loss"
        c_i; "squared_error" is that of the sigmoid neuron, ``(yhat - y)^2 / 2``.
    fit_intercept : bool, default=True
    standard_errors : bool, default=None
        Whether standard errors, z and p are wanted. None: for a scan.
    tol : float, default=1e-6
        Converged where no entry of the gradient of the mean objective (the above divided by
        ``C * sum_i s_i``) is larger. A model without penalty must also have settled: its last
        step changed no score by more than 0.1.
    max_iter : int, default=100
        Steps of a model at the most.
    n_jobs : int, default=None
        Threads; see `schuss.train`. The result does not depend on it.
    callbacks : callable or list of callables, default=None
        See `schuss.callbacks`; called after each block of models, whose ``info.n_iter`` is the
        number of models that were fitted. What they stop is "interrupted".
    verbose : int, default=0
        Lines of progress a second.

    Returns
    -------
    ManyResult

    Raises
    ------
    ValueError
        For bad input.
    MemoryError
        Where the result would take more than half of the machine's memory.
    KeyboardInterrupt
        Where Ctrl-C comes before the first model is fitted. After that it ends the call with a
        warning, and what was fitted is returned.

    Warns
    -----
    ConvergenceWarning
        Once, with the number of models that have no optimum or were not fitted, by reason.
        They are NaN; the others are not affected.

    See Also
    --------
    LogisticRegressionCV : Chooses a penalty.

    Examples
    --------
    >>> import numpy as np
    >>> import schuss
    >>> rng = np.random.default_rng(0)
    >>> X, shop = rng.standard_normal((1000, 3)), rng.integers(0, 5, 1000)
    >>> y = X[:, 0] + rng.logistic(size=1000) > 0
    >>> result = schuss.fit_many(X, y, groups=shop)
    >>> result.coef.shape
    (5, 1, 3)
    >>> str(result.stop_reason[0])
    'converged'
    >>> result.model(group=2).predict(X[:2])
    array([ True,  True])
    """
    begin = perf_counter()
    validation.check_choice(loss, "loss", tuple(LOSSES))
    check_number(tol, "tol", Real, 0)
    check_number(max_iter, "max_iter", Integral, 1)
    callbacks = validation.check_callbacks(callbacks)
    if verbose:
        callbacks = (*callbacks, Print(1.0 / verbose))
    errors = scan is not None if standard_errors is None else bool(standard_errors)
    models = models_of(X, y, groups, sample_weight, Cs, scan, loss, errors)
    fit = _Fit(models, loss, bool(fit_intercept), errors, float(tol), int(max_iter), n_jobs)
    fit.run(callbacks, begin)
    result = fit.result()
    _warn_of_failures(result)
    return result


class _Fit:
    """The fit of all models: what the backend fills in, block by block."""

    def __init__(self, models: Models, loss, fit_intercept, errors, tol, max_iter, n_jobs):
        self.models, self.loss, self.fit_intercept = models, loss, fit_intercept
        n, d = models.X.shape
        self.n_features = d + (models.extra is not None)
        m, p, r = len(models.table), len(models.Cs), self.n_features + fit_intercept
        self.theta = np.zeros((m, p, r))
        self.variance = np.full((m, p, r), np.nan) if errors else None
        self.report = np.zeros((m, p, len(ModelReport)))
        self.elements = models.n_rows * (r + 8)
        self.n_threads = threads.available(n_jobs)
        # From the strongest penalty to the weakest.
        self.penalties = np.argsort(models.Cs, kind="stable")
        scale = math.ldexp(1.0, models.exponent)
        l2 = np.array([scale * penalty_of(C) for C in models.Cs[self.penalties]])
        size = data.real_type(models.X).itemsize
        self.config = ManyConfig(
            LOSSES[loss].code, l2, fit_intercept, tol, max_iter, NOISE[size], SINGULAR[size]
        )
        self.backend = backends.current()
        self.data = self.together = None
        if isinstance(models.X, StreamedRows):
            self._check_room()
            return
        self.data = Data(self.backend.prepare(models.X), models.y, models.sample_weight, 0.0)
        if self._shares():
            self.together = Together(self.backend, models.X, self.data, self.config, self.n_threads)

    def _shares(self):
        """Whether the models are many on the same rows, whose Hessians cost more than passes."""
        models, r = self.models, self.n_features + self.fit_intercept
        m, p = self.report.shape[:2]
        newton = (r * r / 2 + 2 * r + _LOSS) * (_FIRST_STEPS + _STEPS * (p - 1))
        together = (3 * r + _LOSS) * _PASSES_TOGETHER * p
        return (
            models.order is None and models.is_shared and models.extra is None
            and isinstance(models.X, np.ndarray) and self.loss == "log_loss"
            and m * p >= _LEAST_TOGETHER and r <= _LARGEST_SIZE
            and self.config.max_iter >= _LEAST_ITERATIONS
            and m * models.X.shape[0] * (newton - together) >= _LEAST_GAIN
        )  # fmt: skip

    def run(self, callbacks, begin):
        """Fit block after block, until there are none, or Ctrl-C or a callback ends it."""
        m, done = len(self.models.table), 0
        chunk = max(1.0, 0.01 / (_PASSES * _SECONDS_PER_ELEMENT * float(self.elements.mean())))
        try:
            with driver.noted_interrupts() as interrupts:
                if self.models.extra is not None:
                    self._begin_scan()
                while done < m:
                    started = perf_counter()
                    if self.together is not None:
                        # Each pass serves all models of a block.
                        chunk = max(1, _TOGETHER_NUMBERS // self.theta[0].size)
                    elif self.data is None:
                        chunk = self._gathered_at_once(done)
                    block = slice(done, min(m, done + int(chunk)))
                    self._solve(block, self.variance)
                    done = block.stop
                    chunk = driver.next_chunk(
                        chunk, block.stop - block.start, perf_counter() - started
                    )
                    if interrupts:
                        raise KeyboardInterrupt
                    if callbacks and driver.call(
                        callbacks, Progress(self, block, perf_counter() - begin)
                    ):
                        break
        except KeyboardInterrupt:
            if not (self.report[..., ModelReport.STATUS] != ModelStatus.UNFINISHED).any():
                raise
        finally:
            driver.finish(callbacks)
        nonfinite = self.report[..., ModelReport.STATUS] == ModelStatus.NONFINITE
        if nonfinite.any() and self.data is not None:
            self._look_for_nonfinite()

    def _solve(self, block, variance):
        """Fit the models of some rows of the table."""
        table, theta, report = self.models.table[block], self.theta[block], self.report[block]
        variance = None if variance is None else variance[block]
        with np.errstate(all="ignore"):
            if self.together is None:
                self._newton(table, self.models.extra, self.config, theta, variance, report)
                return
            self.together.solve(table, theta, report)
            # What has not converged there, or shall have its Hessian.
            for p, l2 in enumerate(self.config.l2):
                config = self.config._replace(l2=np.array([l2]))
                left = np.flatnonzero(
                    (report[:, p, ModelReport.STATUS] == ModelStatus.UNFINISHED)
                    | (variance is not None)
                )
                if not len(left):
                    continue
                begun, told = theta[left, p : p + 1], report[left, p : p + 1]
                errors: Any = None if variance is None else variance[left, p : p + 1]
                steps = told[..., ModelReport.STEPS].copy()
                self._newton(table[left], None, config, begun, errors, told)
                told[..., ModelReport.STEPS] += steps
                theta[left, p], report[left, p] = begun[:, 0], told[:, 0]
                if variance is not None:
                    variance[left, p] = errors[:, 0]

    def _newton(self, table, extra, config, theta, variance, report):
        n_rows = int((table[:, ModelPart.STOP] - table[:, ModelPart.FIRST]).sum())
        elements = _PASSES * (theta.shape[2] + 8) * n_rows * theta.shape[1]
        rows, order = self.data, self.models.order
        if rows is None:
            rows, order, table = self._gather(table)
        self.backend.newton_many(
            rows, order, extra, table, config, theta, variance, report,
            threads.useful(self.n_threads, elements),
        )  # fmt: skip

    # ----- models of a stream

    def _check_room(self):
        """Refuse a group that alone is too large."""
        most, room = int(self.models.n_rows.argmax()), self.models.X.room()
        if self.models.n_rows[most] > room:
            key = self.models.keys["group"][most * len(self.models.Cs)]
            raise MemoryError(
                f"group {key!s} has {self.models.n_rows[most]:,} rows, but half of the free memory "
                f"holds {room:,}. Fit it alone, by LogisticRegression on a stream of its rows."
            )

    def _gathered_at_once(self, done):
        """How many further models there is room for: all those of some groups."""
        table = self.models.table[done:]
        n_rows = table[:, ModelPart.STOP] - table[0, ModelPart.FIRST]
        last = table[np.searchsorted(n_rows, self.models.X.room(), side="right") - 1]
        return int((table[:, ModelPart.STOP] <= last[ModelPart.STOP]).sum())

    def _gather(self, table):
        """The rows of some groups as if there were no others, their order, and the table."""
        models, first, stop = self.models, table[0, ModelPart.FIRST], table[-1, ModelPart.STOP]
        wanted, order = np.arange(first, stop), None
        if models.order is not None:
            rows = models.order[first:stop]
            wanted = np.sort(rows)
            order = np.searchsorted(wanted, rows).astype(data.ORDER_TYPE)
        X = models.X.gather(wanted)
        weights = models.sample_weight
        weights = None if weights is None else np.take(weights, wanted, axis=1)
        table = table.copy()
        table[:, [ModelPart.FIRST, ModelPart.STOP]] -= first
        y = np.take(models.y, wanted, axis=1)
        return Data(self.backend.prepare(X), y, weights, 0.0), order, table

    def _begin_scan(self):
        """The models of a scan begin at the optimum without the column."""
        table, p = self.models.table.copy(), len(self.penalties)
        table[:, ModelPart.COLUMN] = -1
        first, which = np.unique(table, axis=0, return_index=True, return_inverse=True)[1:]
        theta = np.zeros((len(first), p, self.n_features - 1 + self.fit_intercept))
        if not theta.size:
            return
        report = np.zeros((len(first), p, len(ModelReport)))
        with np.errstate(all="ignore"):
            self._newton(np.ascontiguousarray(table[first]), None, self.config, theta, None, report)
        converged = report[:, 0, ModelReport.STATUS] == ModelStatus.CONVERGED
        theta = np.where(converged[:, None], theta[:, 0], 0.0)
        d = self.n_features - 1
        self.theta[:, 0, :d] = theta[which.ravel(), :d]
        self.theta[:, 0, d + 1 :] = theta[which.ravel(), d:]

    def _look_for_nonfinite(self):
        """Only a pass tells whether X is finite."""
        data.check_features(self.models.X)
        if self.models.extra is not None:
            try:
                data.check_features(self.models.extra)
            except ValueError as error:
                raise ValueError(str(error).replace("Input X", "Input scan")) from None

    def result(self) -> ManyResult:
        models, d = self.models, self.n_features
        back = np.argsort(self.penalties, kind="stable")
        report = self.report[:, back].reshape(-1, len(ModelReport))
        theta = self.theta[:, back].reshape(len(report), -1)
        status = report[:, ModelReport.STATUS].astype(int)
        theta[~np.isin(status, _FITTED)] = np.nan
        reasons = np.array([_REASONS[code] for code in ModelStatus])
        error = intercept_error = None
        if self.variance is not None:
            error = np.sqrt(math.ldexp(1.0, models.exponent) * self.variance[:, back])
            error = error.reshape(len(report), 1, -1)
            error, intercept_error = error[..., :d], error[..., d:].sum(axis=-1)
        intercept = (
            theta[:, d:] if self.fit_intercept else np.where(np.isnan(theta[:, :1]), np.nan, 0)
        )
        names = models.names
        if names is not None and models.extra is not None:
            names = np.append(names, "scan")
        return ManyResult(
            coef=np.ascontiguousarray(theta[:, None, :d]), intercept=intercept.copy(),
            n_iter=report[:, ModelReport.STEPS].astype(np.int32), loss=report[:, ModelReport.LOSS],
            stop_reason=reasons[status], keys=models.keys, classes=models.classes,
            loss_name=self.loss, fit_intercept=self.fit_intercept, feature_names=names,
            standard_error=error, intercept_standard_error=intercept_error,
        )  # fmt: skip


class Progress:
    """What a callback is told, as `driver.Info`, after a block of models: its mean loss."""

    unit = "model"
    gradient_norm = step = math.nan
    validation_loss = score = None

    def __init__(self, fit, block, seconds):
        n_penalties = fit.report.shape[1]
        self.n_iter = block.stop * n_penalties
        self.max_iter = fit.report.size // len(ModelReport)
        self.seconds = seconds
        loss = fit.report[block, :, ModelReport.LOSS]
        self.loss = float(np.nanmean(loss)) if np.isfinite(loss).any() else math.nan


def _warn_of_failures(result):
    reasons, counts = np.unique(result.stop_reason, return_counts=True)
    failed = {
        str(reason): int(count)
        for reason, count in zip(reasons, counts, strict=True)
        if reason != "converged"
    }
    if not failed:
        return
    first = int(np.flatnonzero(~result.converged)[0])
    where = ", ".join(f"{name}={key[first]!s}" for name, key in result.keys.items())
    warn(
        f"{sum(failed.values())} of {len(result)} models have not converged: "
        + ", ".join(f"{count} {reason}" for reason, count in failed.items())
        + f"; the first is model {first} ({where}). See stop_reason.",
        ConvergenceWarning,
    )
