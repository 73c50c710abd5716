"""Stochastic gradient descent, one row at a time, along the path of scikit-learn's."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.linalg import blas

from schuss import threads
from schuss.backends.contract import SGDConfig, SweepState
from schuss.constants import (
    HISTORY_COLUMNS,
    LEAST_SCALE,
    N_SGD_SCALARS,
    SWEEP_COLUMNS,
    Schedule,
    SGDScalar,
    Status,
)
from schuss.data import ORDER_TYPE, check_orders
from schuss.errors import DivergenceError
from schuss.losses import ROW_LOSSES
from schuss.solvers.run import Plateau, Progress, Run, check_order

# Longest rows of float64 whose sums are added in scikit-learn's order: a chain of sums takes 4
# cycles an entry, where registers take a few for all.
_IN_ORDER = 16


class Start(NamedTuple):
    """Where one neuron begins."""

    coef: np.ndarray  # (d,)
    intercept: float
    average_coef: np.ndarray | None  # (d,)
    average_intercept: float
    seed: int


class _Snapshot(NamedTuple):
    sweep: SweepState
    seeds: np.ndarray | None
    last: np.ndarray  # (K, len(SWEEP_COLUMNS)), of the last epoch of each neuron
    n_iter: np.ndarray  # (K,)
    plateaus: np.ndarray | None  # (K, 2): the best score, and epochs since then
    validation_loss: float


class SGD(Run):
    """Sweeps of one or more neurons, for `driver.run`.

    Each neuron goes its own way through the rows and stops for itself.

    Parameters
    ----------
    backend : module
    data : contract.Data
        `y` codes, or (1, n) targets.
    starts : list of Start
    class_weight : ndarray of shape (K, 2), float64
        For rows of the neuron's class, and for the others.
    loss, penalty, learning_rate : str
        By scikit-learn's names.
    epsilon, alpha, l1_ratio, eta0, power_t : float
    fit_intercept, shuffle : bool
    decay : float
        Of the intercept's steps.
    average : int
        Row from which weights are averaged, 0 for never.
    t : float
        Rows seen before, plus one.
    tol : float or None
    n_iter_no_change : int
    scores : list of callable, or None
        For each neuron ``f(coef, intercept)``, the larger the better.
    early_stopping : bool
        Whether the scores, in place of the objective, tell when to stop.
    held_out : ndarray of shape (n,), uint8, or None
        Rows that only the scores use.
    n_threads : int
    size : int
        Elements of X.
    check_rows : callable
        Called once, where a score is not finite; raises where the rows are not.
    ordered : bool
        Whether the state holds the order of all rows; the backend of blocks has none.
    """

    unrecorded = ("gradient_norm",)
    # That a sweep is no use shows in its weights alone: scikit-learn's rules end it, and it
    # stays where it is.
    retreats = False

    def __init__(
        self, backend, data, starts, class_weight, *, loss, penalty, learning_rate, epsilon,
        alpha, l1_ratio, eta0, power_t, fit_intercept, shuffle, decay, average, t, tol,
        n_iter_no_change, scores=None, early_stopping=False, held_out=None, n_threads=1, size=0,
        check_rows=lambda: None, ordered=True,
    ):  # fmt: skip
        coef = np.array([start.coef for start in starts])
        k, d = coef.shape
        n = data.X.shape[0] if ordered else 0
        check_orders(n)
        loss_ = ROW_LOSSES[loss]
        threshold = epsilon if loss_.threshold is None else loss_.threshold
        l1_ratio = {"l2": 0.0, "l1": 1.0, None: 0.0}.get(penalty, l1_ratio)
        strength = 0.0 if penalty is None else float(alpha)
        self.validation_loss = math.nan
        self._backend, self._data = backend, data
        self._class_weight, self._held_out = class_weight, held_out
        self._name = learning_rate
        self._seeds = np.array([s.seed for s in starts], np.uint32) if shuffle else None
        self._scores, self._early_stopping = scores, early_stopping
        self._check_rows: Callable[[], object] | None = check_rows
        self._plateaus = None
        if early_stopping and tol is not None:
            self._plateaus = [Plateau(tol, n_iter_no_change) for _ in starts]
        self._n_threads = max(1, min(k, threads.useful(n_threads, size * k)))
        self._work = size * k
        self._config = SGDConfig(
            loss_.code, threshold,
            Schedule[learning_rate.upper()], float(eta0), float(power_t), float(alpha), 0.0,
            strength * (1 - l1_ratio), strength * l1_ratio, float(l1_ratio), bool(fit_intercept),
            float(decay), int(average), -math.inf if tol is None or early_stopping else float(tol),
            int(n_iter_no_change), LEAST_SCALE[coef.dtype],
            in_order=coef.dtype == np.float64 and d <= _IN_ORDER,
        )  # fmt: skip
        self._averaged = average > 0
        scalars = np.zeros((k, N_SGD_SCALARS))
        scalars[:, SGDScalar.INTERCEPT] = [start.intercept for start in starts]
        scalars[:, SGDScalar.AVERAGE_INTERCEPT] = [start.average_intercept for start in starts]
        scalars[:, [SGDScalar.SCALE, SGDScalar.WHOLE]] = 1
        wide = coef.astype(np.float64)
        with np.errstate(over="ignore"):
            scalars[:, SGDScalar.SQUARES] = (wide * wide).sum(axis=1)
        scalars[:, SGDScalar.ABSOLUTES] = np.abs(wide).sum(axis=1)
        scalars[:, SGDScalar.T] = t
        scalars[:, SGDScalar.BEST] = math.inf
        averages = [start.average_coef for start in starts]
        self._sweep = SweepState(
            coef,
            np.array(averages, coef.dtype) if self._averaged else np.zeros((k, 0), coef.dtype),
            np.zeros((k, d if self._config.l1 > 0 else 0), coef.dtype),
            np.tile(np.arange(n, dtype=ORDER_TYPE), (k, 1)),
            scalars,
        )
        if self._config.schedule == Schedule.OPTIMAL:
            self._config = self._config._replace(shift=self._shift())
        scalars[:, SGDScalar.STEP] = self._first_step()
        self._last = np.full((k, len(SWEEP_COLUMNS)), math.nan)
        self.n_iter = np.zeros(k, int)

    def info(self):
        return {
            "backend": self._backend.NAME,
            "algorithm": "sgd",
            "threads": self._n_threads,
            "sample_size": None,
            "passes": int(self.n_iter.sum()),  # of each neuron its own
            "hessians": 0,
        }

    @property
    def seconds_estimate(self):
        """Rough duration of an epoch, to choose the length of the first chunk."""
        return 1e-9 * self._work + 5e-8 * self._sweep.order.size

    @property
    def state(self):
        """Weights and intercepts as they are: copies, of shapes (K, d) and (K,)."""
        return self

    @property
    def coef(self):
        scale = self._sweep.scalars[:, [SGDScalar.SCALE]]
        return (self._sweep.coef * scale).astype(self._sweep.coef.dtype, copy=False)

    @property
    def intercept(self):
        return self._sweep.scalars[:, SGDScalar.INTERCEPT].astype(self._sweep.coef.dtype)

    @property
    def average_coef(self):
        share, whole = (
            self._sweep.scalars[:, [SGDScalar.SHARE]],
            self._sweep.scalars[:, [SGDScalar.WHOLE]],
        )
        if self._config.in_order:
            # Fused, and with an inverse, as scikit-learn's BLAS does it.
            average = self._sweep.average.copy()
            for k in range(len(average)):
                average[k] = blas.daxpy(self._sweep.coef[k], average[k], a=share[k, 0])
            return average * (1 / whole)
        average = (self._sweep.average + share * self._sweep.coef) / whole
        return average.astype(self._sweep.coef.dtype, copy=False)

    @property
    def average_intercept(self):
        return self._sweep.scalars[:, SGDScalar.AVERAGE_INTERCEPT].astype(self._sweep.coef.dtype)

    def advance(self, epochs):
        """Go on for some epochs, with early stopping one.

        Returns
        -------
        Progress
            Rows of the sum of the neurons' objectives, NaN (no gradient of all rows is at
            hand) and the step; a neuron that has stopped counts with its last values.
        """
        scalars = self._sweep.scalars
        scalars[:, SGDScalar.EPOCHS] = 0
        history = np.full((epochs, *self._last.shape), math.nan)
        reason = None
        try:
            with np.errstate(all="ignore"):
                done = self._backend.sweep(
                    self._data, self._sweep, self._config, self._class_weight, self._held_out,
                    self._seeds, history, self._n_threads,
                )  # fmt: skip
        except KeyboardInterrupt:
            # Of neurons that were interrupted in different epochs, those that all did.
            reason = "interrupted"
            running = scalars[:, SGDScalar.STATUS] == Status.RAN
            done = int(scalars[running if running.any() else slice(None), SGDScalar.EPOCHS].min())
        swept = scalars[:, SGDScalar.EPOCHS].astype(int)
        self.n_iter += np.minimum(swept, done) if reason else swept
        rows = np.full((done, len(HISTORY_COLUMNS)), math.nan)
        for epoch in range(done):
            went = epoch < swept
            self._last[went] = history[epoch, went]
            rows[epoch, 0] = self._last[:, SWEEP_COLUMNS.index("loss")].sum()
            rows[epoch, 2] = self._last[:, SWEEP_COLUMNS.index("step")].max()
        if self._check_rows is not None and scalars[:, SGDScalar.NONFINITE_SCORE].any():
            self._check_rows()
            self._check_rows = None
        if (scalars[:, SGDScalar.STATUS] == Status.NONFINITE).any():
            return Progress(rows, "diverged")
        if self._scores is not None and reason is None:
            self._judge()
        if reason is None and (scalars[:, SGDScalar.STATUS] == Status.CONVERGED).all():
            reason = "early_stopping" if self._early_stopping else "converged"
        return Progress(rows, reason)

    @property
    def last_loss(self):
        return self._last[:, 0].sum()

    def value(self):
        """Sum of the neurons' objectives in their last epochs, as far as it is finite.

        scikit-learn keeps finite weights, whatever their objective, and so does the driver.
        """
        return float(np.nan_to_num(self._last[:, 0].sum()))

    def is_finite(self):
        return bool((self._sweep.scalars[:, SGDScalar.STATUS] != Status.NONFINITE).all())

    def constant(self):
        return math.inf

    def snapshot(self):
        plateaus = None
        if self._plateaus is not None:
            plateaus = np.array([(plateau.best, plateau.waited) for plateau in self._plateaus])
        return _Snapshot(
            SweepState(*(array.copy() for array in self._sweep)), self._seeds,
            self._last.copy(), self.n_iter.copy(), plateaus, self.validation_loss,
        )  # fmt: skip

    def restore(self, snapshot):
        for mine, theirs in zip(self._sweep, snapshot.sweep, strict=True):
            mine[...] = theirs
        self._last[...], self.n_iter[...] = snapshot.last, snapshot.n_iter
        self._seeds, self.validation_loss = snapshot.seeds, snapshot.validation_loss
        if self._plateaus is not None:
            for plateau, (best, waited) in zip(self._plateaus, snapshot.plateaus, strict=True):
                plateau.best, plateau.waited = float(best), int(waited)

    def resume(self, snapshot):
        check_order(snapshot.sweep.order, self._sweep.order.shape[1])
        self.restore(snapshot)

    def divergence_error(self):
        """The error to raise for weights that are not finite."""
        bad = self._sweep.scalars[:, SGDScalar.STATUS] == Status.NONFINITE
        step = float(self._sweep.scalars[bad, SGDScalar.STEP].max())
        text = (
            f"Floating-point under-/overflow occurred at epoch #{self.n_iter[bad].min()}. Scaling "
            "input data with StandardScaler or MinMaxScaler might help. The step there was "
            f"{step:.6g} (learning_rate={self._name!r}, eta0={self._config.eta0:.6g}, "
            f"alpha={self._config.alpha:.6g}); a smaller one may help as well."
        )
        return DivergenceError(text, step, None)

    def _judge(self):
        """scikit-learn's rule for early stopping, which looks at unscaled weights."""
        scalars = self._sweep.scalars
        scores = [
            score(coef, intercept)
            for score, coef, intercept in zip(
                self._scores, self._sweep.coef, scalars[:, SGDScalar.INTERCEPT], strict=True
            )
        ]
        self.validation_loss = 1 - float(np.mean(scores))
        for k, plateau in enumerate(self._plateaus or ()):
            if (
                scalars[k, SGDScalar.STATUS] != Status.RAN
                or plateau.find(-np.array([scores[k]])) is None
            ):
                continue
            if (
                self._config.schedule == Schedule.ADAPTIVE
                and scalars[k, SGDScalar.STEP] > self._config.least_step
            ):
                scalars[k, SGDScalar.STEP] /= self._config.divisor
            else:
                scalars[k, SGDScalar.STATUS] = Status.CONVERGED

    def _shift(self):
        """Rows that "optimal" pretends to have seen, so that its first step is the typical
        size of a weight (Bottou 2012, as scikit-learn takes it)."""
        return 1 / (math.sqrt(1 / math.sqrt(self._config.alpha)) * self._config.alpha)

    def _first_step(self):
        # A Python number raises where NumPy's would warn.
        config, t = self._config, float(self._sweep.scalars[0, SGDScalar.T])
        try:
            if config.schedule == Schedule.OPTIMAL:
                step = 1 / (config.alpha * (config.shift + t - 1))
            elif config.schedule == Schedule.INVSCALING:
                step = config.eta0 / t**config.power_t
            else:
                step = config.eta0
        except (OverflowError, ZeroDivisionError):
            step = math.inf
        if not 0 < step < math.inf:
            raise ValueError(
                f"learning_rate={self._name!r}, eta0={config.eta0:.6g}, "
                f"power_t={config.power_t:.6g}, alpha={config.alpha:.6g}: the first step comes "
                f"out as {step:.6g}, expected a positive, finite number. Use numbers nearer to 1."
            )
        return step
