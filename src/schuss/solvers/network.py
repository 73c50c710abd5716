"""Networks: mini-batches as scikit-learn takes them, and its L-BFGS."""

import math
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize._dcsrch import DCSRCH

from schuss.backends.contract import NetworkState
from schuss.constants import HISTORY_COLUMNS, N_COUNTERS, Counter, Status
from schuss.data import ORDER_TYPE, check_orders
from schuss.errors import DivergenceError
from schuss.methods import N_SLOTS, Solver
from schuss.solvers.run import Progress, Run, check_order
from schuss.vectors import dot, norm

# Entries of the row orders made in one go: bounds their memory to 4 MB an advance.
_ORDER_ENTRIES = 1_000_000
# "adaptive" divides the rate by this at each plateau, and stops at the least rate.
_RATE_CUT = 5.0
_LEAST_RATE = 1e-6
# Those of SciPy's L-BFGS-B: pairs kept, evaluations of a search, the longest step, and the share
# of the loss by which each iteration shall improve it.
_PAIRS = 10
_EVALUATIONS = 20
_LONGEST_STEP = 1e10
_FTOL = 1e7 * 2.0**-52


class Optimiser(NamedTuple):
    """What goes on from one ``partial_fit`` to the next."""

    slots: np.ndarray
    counters: np.ndarray
    learning_rate: float


class Layers(NamedTuple):
    """Copies of the weights, as callbacks see them: lists with an array for each layer."""

    coef: list[np.ndarray]
    intercept: list[np.ndarray]


class _Snapshot(NamedTuple):
    state: NetworkState
    order: np.ndarray | None
    generator: tuple | None
    seen: int
    learning_rate: float
    loss: float  # of the last iteration, NaN before the first


class _NetworkRun(Run):
    """What the two solvers share.

    The driver neither evaluates the objective before nor judges the height of the loss:
    scikit-learn does not, and with other rates networks do rise and come back.
    """

    # Where it diverges it stays at its last finite state.
    retreats = False
    _first_rate = None

    def __init__(self, objective, state):
        self.objective = objective
        self._state = state
        self._loss = math.nan

    @property
    def state(self):
        return Layers(*self.objective.network.split(self._state.theta.copy()))

    def split(self):
        """Weights and intercepts of the layers: views."""
        return self.objective.network.split(self._state.theta)

    def weights(self):
        return self._state.theta.copy()

    def value(self):
        """Loss of the last iteration; evaluated only where there was none."""
        return self.objective.value(self._state.theta) if math.isnan(self._loss) else self._loss

    def constant(self):
        return math.inf

    def is_finite(self):
        return bool(np.isfinite(self._state.theta).all())

    def divergence_error(self):
        mend = "scale the features, for example with sklearn.preprocessing.StandardScaler"
        if self._first_rate is not None:
            mend = f"use a smaller learning_rate_init (now {self._first_rate:.6g}), or {mend}"
        return DivergenceError(
            "Training diverged: Solver produced non-finite parameter weights. The input data may "
            f"contain large values and need to be preprocessed; {mend}.",
            self._first_rate,
        )


class MiniBatches(_NetworkRun):
    """Stochastic gradient descent with momentum, or Adam.

    Parameters
    ----------
    objective : NetworkObjective
    theta : ndarray of shape (P,), changed in place
    rule : NetworkConfig
    learning_rate : float
        Of the first epoch.
    schedule : {"constant", "invscaling", "adaptive"}
    power_t : float
        Exponent of "invscaling".
    seen : int
        Rows learnt from before.
    rows : ndarray or None
        The rows to learn from; None for all.
    random_state : RandomState or None
        Shuffles the rows before each epoch as `sklearn.utils.shuffle` does; None keeps them.
    optimiser : Optimiser or None
        Of an earlier run.
    """

    def __init__(
        self, objective, theta, rule, *, learning_rate, schedule="constant", power_t=0.5, seen=0,
        rows=None, random_state=None, optimiser=None,
    ):  # fmt: skip
        if rows is not None or random_state is not None:
            check_orders(objective.n_rows)
        self.algorithm = "adam" if rule.solver == Solver.ADAM else "sgd"
        n_slots = 2 if rule.solver == Solver.ADAM else N_SLOTS[Solver.MOMENTUM]
        slots, counters = np.zeros((n_slots, len(theta)), theta.dtype), np.zeros(N_COUNTERS)
        self.rule = rule
        self.learning_rate = self._first_rate = learning_rate
        if optimiser is not None and optimiser.slots.shape == slots.shape:
            slots[...], counters[...] = optimiser.slots, optimiser.counters
            self.learning_rate = optimiser.learning_rate
        super().__init__(objective, NetworkState(theta, slots, counters))
        self._schedule, self._power = schedule, power_t
        self.seen = seen
        self._rows = rows
        self._n = objective.n_rows if rows is None else len(rows)
        self._generator = random_state
        self._order = None if random_state is None else np.arange(self._n, dtype=ORDER_TYPE)

    @property
    def longest(self):
        return max(1, _ORDER_ENTRIES // self._n)

    @property
    def seconds_estimate(self):
        n_batches = math.ceil(self._n / self.rule.batch_size)
        return 3e-11 * self._n * len(self._state.theta) + 1e-6 * n_batches

    def advance(self, epochs):
        """Go on for some epochs; see `first_order.FirstOrder.advance`."""
        before = self.snapshot()
        history = np.empty((epochs, len(HISTORY_COLUMNS)))
        objective, reason = self.objective, None
        # Ctrl-C may come before the kernel sets it, and it may be an earlier call's.
        self._state.counters[Counter.EPOCHS] = 0
        try:
            order, rates = self._orders(epochs), self._rates(epochs)
            done, status = objective.backend.network_epochs(
                objective.data, objective.network, self._state, self.rule, rates, order,
                history, objective.n_threads(min(self.rule.batch_size, self._n)),
            )  # fmt: skip
        except KeyboardInterrupt:
            done, reason = int(self._state.counters[Counter.EPOCHS]), "interrupted"
            self._rewind(before)
            self._orders(done)
        else:
            if status == Status.NONFINITE:
                self.restore(before)
                if done:
                    self.advance(done)
                return Progress(history[:done], "diverged")
        self.objective.passes += done
        self.seen += int(done) * self._n
        if self._schedule == "invscaling" and done:
            self.learning_rate = self._scaled_rate(self.seen)
        if done:
            self._loss = float(history[done - 1, 0])
        return Progress(history[:done], reason)

    def _orders(self, epochs):
        """The rows of some epochs, each order a shuffle of the one before."""
        if self._generator is None:
            if self._rows is None:
                return None
            return np.ascontiguousarray(np.broadcast_to(self._rows, (epochs, self._n)), ORDER_TYPE)
        orders = np.empty((epochs, self._n), ORDER_TYPE)
        self.objective.backend.shuffle(self._generator, self._order, orders)
        if epochs:
            self._order = orders[-1].copy()
        return orders if self._rows is None else self._rows.astype(ORDER_TYPE)[orders]

    def _rates(self, epochs):
        rates = np.full(epochs, self.learning_rate)
        if self._schedule == "invscaling":
            rates[1:] = self._scaled_rate(self.seen + self._n * np.arange(1, epochs))
        return rates

    def _scaled_rate(self, seen):
        return self._first_rate / (seen + 1) ** self._power

    def is_settled(self):
        """Whether a plateau is the end; with "adaptive" it is where the rate is cut."""
        if self._schedule != "adaptive" or self.learning_rate <= _LEAST_RATE:
            return True
        self.learning_rate /= _RATE_CUT
        return False

    def snapshot(self):
        generator = None if self._generator is None else self._generator.get_state()
        state = NetworkState(*(array.copy() for array in self._state))
        return _Snapshot(state, self._order, generator, self.seen, self.learning_rate, self._loss)

    def restore(self, snapshot):
        if isinstance(snapshot, np.ndarray):
            self._state.theta[...] = snapshot
            return
        for mine, theirs in zip(self._state, snapshot.state, strict=True):
            mine[...] = theirs
        self.seen, self.learning_rate, self._loss = snapshot[3:]
        self._rewind(snapshot)

    def resume(self, snapshot):
        if snapshot.order is not None:
            check_order(snapshot.order, self._n)
            _, key, place, *_ = snapshot.generator
            if not 0 <= place <= len(key):
                raise ValueError(f"its random state is at {place} of {len(key)} numbers")
        self.restore(snapshot)

    def _rewind(self, snapshot):
        """Bring the order of the rows to where it was."""
        self._order = snapshot.order
        if self._generator is not None:
            self._generator.set_state(snapshot.generator)

    def optimiser(self):
        return Optimiser(self._state.slots, self._state.counters, self.learning_rate)


class QuasiNewton(_NetworkRun):
    """L-BFGS on the steps of SciPy's L-BFGS-B without bounds, which scikit-learn calls.

    SciPy leaves the products of vectors to BLAS, whose bits depend on its threads.

    Parameters
    ----------
    objective : NetworkObjective
    theta : ndarray of shape (P,), float64, changed in place
    max_iter, max_fun, tol
        As scikit-learn passes them.

    Attributes
    ----------
    n_iter : int
    status : int
        As SciPy's: 0 where it came to an end by itself, 1 where `max_iter` or `max_fun` ended
        it, 2 where no step along the gradient improves the loss.
    """

    algorithm = "lbfgs"
    resumable = False

    def __init__(self, objective, theta, *, max_iter, max_fun, tol):
        super().__init__(objective, NetworkState(theta, np.empty((0, len(theta))), np.zeros(0)))
        self._max_iter, self._max_fun, self.tol = max_iter, max_fun, tol
        self.learning_rate = 1.0
        self.n_iter = self.status = 0
        self.norm = math.inf  # largest entry of the gradient
        self._cost = math.nan
        self._gradient: Any = None
        self._evaluations = 0
        self._pairs: list[tuple[np.ndarray, np.ndarray, float]] = []

    @property
    def seconds_estimate(self):
        return 1e-10 * self.objective.n_rows * len(self._state.theta) + 1e-4

    def advance(self, epochs):
        """Some iterations; the reason is "precision" where the loss no longer improves."""
        rows: list[tuple[float, float, float]] = []
        reason = None
        try:
            if self._gradient is None:
                self._cost, self._gradient = self._evaluate(self._state.theta)
                reason = self._begin()
            while reason is None and len(rows) < epochs:
                reason, step = self._iterate()
                if step:
                    rows.append((self._cost, self.norm, step))
        except KeyboardInterrupt:
            reason = "interrupted"
        if rows:
            self._loss = rows[-1][0]
        return Progress(np.array(rows).reshape(-1, len(HISTORY_COLUMNS)), reason)

    snapshot = _NetworkRun.weights

    def restore(self, snapshot):
        self._state.theta[...] = snapshot

    def unconverged(self):
        """What scikit-learn says, and how far it came."""
        last = f"the largest entry of the gradient is {self.norm:.3g}, above tol={self.tol:.3g}"
        if self.status == 0:
            return (
                f"lbfgs stopped after {self.n_iter} iteration(s), as the loss no longer improves "
                f"by {_FTOL:.2g} of it, while {last}. Raise tol, or scale the features, for "
                "example with sklearn.preprocessing.StandardScaler."
            )
        ended = "ABNORMAL: no step improves the loss"
        mend = ""
        if self.status == 1:
            limit = "ITERATIONS" if self.n_iter >= self._max_iter else "f AND g EVALUATIONS"
            ended = f"STOP: TOTAL NO. OF {limit} REACHED LIMIT"
        if self.n_iter == self._max_iter:
            mend = (
                "\nIncrease the number of iterations to improve the convergence "
                f"(max_iter={self._max_iter})."
            )
        return (
            f"lbfgs failed to converge after {self.n_iter} iteration(s) (status={self.status}):\n"
            f"{ended}: {last}.\n{mend}\nYou might also want to scale the data as shown in:\n"
            "    https://scikit-learn.org/stable/modules/preprocessing.html"
        )

    def _begin(self):
        self.norm = float(np.abs(self._gradient).max())
        if not (math.isfinite(self._cost) and math.isfinite(self.norm)):
            return "diverged"
        return "converged" if self.norm <= self.tol else None

    def _evaluate(self, theta):
        gradient = np.empty_like(theta)
        self._evaluations += 1
        return self.objective.value_and_gradient(theta, gradient), gradient

    def _iterate(self):
        """Why it was the last one, or None, and its longest move, 0 where there was none."""
        theta, loss, gradient = self._state.theta, self._cost, self._gradient
        direction = self._direction()
        found = self._search(direction)
        if found is None and self._pairs:
            self._pairs = []
            return None, 0.0
        if found is None:
            self.status = 2
            return "precision", 0.0
        t, new, self._cost, self._gradient, before, after = found
        step = float(np.abs(new - theta).max())
        theta[...] = new
        self.n_iter += 1
        self.norm = float(np.abs(self._gradient).max())
        if self.n_iter >= self._max_iter or self._evaluations > self._max_fun:
            self.status = 1
            return "converged" if self.norm <= self.tol else "max_iter", step
        if self.norm <= self.tol:
            return "converged", step
        if loss - self._cost <= _FTOL * max(abs(loss), abs(self._cost), 1.0):
            return "precision", step
        change = self._gradient - gradient
        product = (after - before) * t
        if product > np.finfo(float).eps * -before * t:
            self._pairs.append((t * direction, change, product))
            del self._pairs[:-_PAIRS]
        return None, step

    def _direction(self):
        """Nocedal & Wright, algorithm 7.4."""
        v, shares = -self._gradient, []
        for s, y, product in reversed(self._pairs):
            shares.append(dot(s, v) / product)
            v -= shares[-1] * y
        if self._pairs:
            _, y, product = self._pairs[-1]
            v *= product / dot(y, y)
        for (s, y, product), share in zip(self._pairs, reversed(shares), strict=True):
            v += (share - dot(y, v) / product) * s
        return v

    def _search(self, direction):
        """Step, weights, loss, gradient, derivatives at both ends (Moré & Thuente, 1994)."""
        derivative = first = dot(self._gradient, direction)
        if not derivative < 0:
            return None
        search = DCSRCH(None, None, 1e-3, 0.9, 0.1, 0.0, _LONGEST_STEP)
        t = 1.0 if self.n_iter else min(1.0 / norm(direction), _LONGEST_STEP)
        t, _, _, task = search._iterate(t, self._cost, derivative, b"START")
        for _ in range(_EVALUATIONS):
            new = self._state.theta + t * direction
            loss, gradient = self._evaluate(new)
            derivative = dot(gradient, direction)
            if not (math.isfinite(loss) and math.isfinite(derivative)):
                break
            ended = t
            t, _, _, task = search._iterate(t, loss, derivative, task)
            if task[:2] != b"FG":
                return ended, new, loss, gradient, first, derivative
        return None
