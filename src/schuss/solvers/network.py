"""Networks: mini-batches as scikit-learn takes them, and its L-BFGS."""

import math
import threading
from typing import NamedTuple

import numpy as np
import scipy.optimize
from threadpoolctl import threadpool_limits

from schuss.backends.contract import NetworkState
from schuss.constants import HISTORY_COLUMNS, N_COUNTERS, N_SLOTS, Counter, Solver, Status
from schuss.errors import DivergenceError
from schuss.solvers.run import ORDER_TYPE, Progress, Run, check_orders

# Entries of the row orders made in one go: bounds their memory to 4 MB an advance.
_ORDER_ENTRIES = 1_000_000
# "adaptive" divides the rate by this at each plateau, and stops at the least rate.
_RATE_CUT = 5.0
_LEAST_RATE = 1e-6


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
    order: np.ndarray
    generator: tuple
    seen: int
    learning_rate: float
    loss: float


class _NetworkRun(Run):
    """What the two solvers share.

    The driver neither evaluates the objective before nor judges the height of the cost:
    scikit-learn does not, and with other rates networks do rise and come back.
    """

    # Where it diverges it stays at its last finite state.
    retreats = False
    _first_rate = None

    def __init__(self, objective, state):
        self.objective = objective
        self._state = state
        self._loss = None

    @property
    def state(self):
        return Layers(*self.objective.network.split(self._state.theta.copy()))

    def weights(self):
        return self._state.theta.copy()

    def value(self):
        """Cost of the last iteration; evaluated only where there was none."""
        return self.objective.value(self._state.theta) if self._loss is None else self._loss

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
    rule : NetworkRule
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
        order, rates = self._orders(epochs), self._rates(epochs)
        history = np.empty((epochs, len(HISTORY_COLUMNS)))
        objective, reason = self.objective, None
        # Ctrl-C may come before the kernel sets it, and it may be an earlier call's.
        self._state.counters[Counter.EPOCHS] = 0
        try:
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
        self.seen += done * self._n
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

    def _rewind(self, snapshot):
        """Bring the order of the rows to where it was."""
        self._order = snapshot.order
        if self._generator is not None:
            self._generator.set_state(snapshot.generator)

    def optimiser(self):
        return Optimiser(self._state.slots, self._state.counters, self.learning_rate)


class QuasiNewton(_NetworkRun):
    """SciPy's L-BFGS-B, which runs in a thread of its own so that `driver.run` can stop it.

    Parameters
    ----------
    objective : NetworkObjective
    theta : ndarray of shape (P,), float64, changed in place
    max_iter, max_fun, tol
        As scikit-learn passes them.
    """

    def __init__(self, objective, theta, *, max_iter, max_fun, tol):
        super().__init__(objective, NetworkState(theta, np.empty((0, len(theta))), np.zeros(0)))
        self._options = {"maxiter": max_iter, "maxfun": max_fun, "gtol": tol}
        self.learning_rate = 1.0
        self._grad = np.empty_like(theta)
        self._rows = []
        self._allowed = 0
        self._turn = threading.Condition()
        self._thread = None
        self._stopped = self._waits = False
        self._error = None
        self.result = None

    @property
    def seconds_estimate(self):
        return 1e-10 * self.objective.n_rows * len(self._state.theta) + 1e-4

    def advance(self, epochs):
        """Let it do some iterations more."""
        first = len(self._rows)
        reason = None
        try:
            with self._turn:
                self._allowed = first + epochs
                self._waits = False
                if self._thread is None:
                    self._thread = threading.Thread(target=self._minimize, daemon=True)
                    self._thread.start()
                self._turn.notify_all()
                self._turn.wait_for(lambda: self._waits or self.result or self._error)
        except KeyboardInterrupt:
            reason = "interrupted"
        if self._error is not None:
            raise self._error
        rows = np.array(self._rows[first:]).reshape(-1, len(HISTORY_COLUMNS))
        if len(rows):
            self._loss = float(rows[-1, 0])
        if self.result is not None and reason is None:
            reason = "converged" if self.result.status == 0 else "max_iter"
            if not math.isfinite(self.result.fun):
                reason = "diverged"
        return Progress(rows, reason)

    def close(self):
        """End the thread."""
        with self._turn:
            self._stopped = True
            self._turn.notify_all()
        if self._thread is not None:
            self._thread.join()

    snapshot = _NetworkRun.weights

    def restore(self, snapshot):
        self._state.theta[...] = snapshot

    def _minimize(self):
        try:
            # Its vectors are short: BLAS with two threads took 20 times as long as with one.
            with threadpool_limits(1, "blas"):
                result = scipy.optimize.minimize(
                    self._evaluate, self._state.theta.copy(), method="L-BFGS-B", jac=True,
                    callback=self._reached, options=self._options,
                )  # fmt: skip
            error = None
        except _Stopped:
            return
        except BaseException as problem:  # to be raised by the thread that waits
            result, error = None, problem
        with self._turn:
            if result is not None and np.isfinite(result.x).all():
                self._state.theta[...] = result.x
            self.result, self._error = result, error
            self._turn.notify_all()

    def _evaluate(self, theta):
        if self._stopped:
            raise _Stopped
        value = self.objective.value_and_gradient(theta, self._grad)
        return value, self._grad.copy()

    def _reached(self, intermediate_result):
        """After each iteration: keep it, and wait where no more are allowed."""
        with self._turn:
            if self._stopped:
                raise _Stopped
            x = intermediate_result.x
            step = float(np.abs(x - self._state.theta).max())
            if np.isfinite(x).all():
                self._state.theta[...] = x
            self._rows.append((float(intermediate_result.fun), np.abs(self._grad).max(), step))
            # After the last one SciPy says how it ended.
            if self._allowed <= len(self._rows) < self._options["maxiter"]:
                self._waits = True
                self._turn.notify_all()
                self._turn.wait_for(lambda: self._stopped or not self._waits)
            if self._stopped:
                raise _Stopped


class _Stopped(Exception):
    """Ends SciPy's loop from within."""
