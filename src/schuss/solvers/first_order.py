"""Gradient descent and its relatives, over all rows or mini-batches of them.

How a gradient becomes a step is the backends' business; here a rule gets its numbers,
the rows get their order, and a state is advanced, copied and restored.
"""

import math
from typing import NamedTuple

import numpy as np

from schuss.backends.contract import State, UpdateConfig
from schuss.constants import (
    ADAM_BETA_1,
    ADAM_BETA_2,
    ADAM_EPSILON,
    HISTORY_COLUMNS,
    MOMENTUM,
    N_COUNTERS,
    Counter,
    Status,
)
from schuss.data import check_orders
from schuss.errors import DivergenceError
from schuss.methods import N_SLOTS, SOLVERS, Solver
from schuss.solvers.run import Progress, Run, Snapshot

# Entries of the row orders made in one go: bounds their memory to 4 MB an advance.
_ORDER_ENTRIES = 1_000_000

# A mean loss this much above that of the constant prediction is not the optimum; the
# second number is for batches, whose noise keeps good runs above the optimum as well.
_CONSTANT_MARGIN = 1e-3
_NOISE_MARGIN = 0.5

# A loss that halving all weights changes by less than this part of it is saturated.
_HAIR = 1e-3
# A gradient of more than this many times `tol` has not come to its end.
_FAR = 100
# Rows at the end of a run that tell whether its loss oscillates, and what counts as a rise.
_TAIL = 20
_RISE = 1e-6


class Memory(NamedTuple):
    """What an optimiser keeps from one call of ``partial_fit`` to the next."""

    snapshot: Snapshot
    curvature: float


def new_rule(
    loss, solver, learning_rate, *, l2=0.0, l1=0.0, tol=0.0, fit_intercept=True, batch_size=1
):
    """A rule with the momentum and Adam's constants that all runs have."""
    return UpdateConfig(
        loss, solver, float(learning_rate), MOMENTUM, ADAM_BETA_1, ADAM_BETA_2, ADAM_EPSILON,
        l2, l1, float(tol), fit_intercept, batch_size,
    )  # fmt: skip


def new_state(solver, coef, intercept):
    """The state of a run that begins; the weights are changed in place."""
    k, d = coef.shape
    slots = np.zeros((N_SLOTS[solver], k, d + 1), coef.dtype)
    return State(coef, intercept, slots, np.zeros(N_COUNTERS))


class FirstOrder(Run):
    """A run of a first-order rule.

    Parameters
    ----------
    name : key of `methods.SOLVERS`, of a first-order rule
    objective : Objective
    coef, intercept : ndarrays, changed in place
    learning_rate : float or "auto"
    batch_size : int or None
    shuffle : bool
        Whether each epoch takes the rows in a new random order (mini-batches only).
    tol : float
        Full batch: stop where no entry of the smallest subgradient is larger.
    random_state : numpy.random.RandomState
    memory : Memory or None
        Of an earlier run, to go on where it stopped.
    """

    def __init__(
        self, name, objective, coef, intercept, *,
        learning_rate="auto", batch_size=None, shuffle=True, tol=0.0, random_state=None,
        memory=None,
    ):  # fmt: skip
        self.method = SOLVERS[name]
        self.algorithm = name
        self.objective = objective
        if batch_size is None:
            batch_size = self.method.batch_size
        elif not self.method.takes_batches:
            raise ValueError(
                f"batch_size={batch_size} with solver={name!r}: this solver takes all rows at "
                "once, as it compares whole gradients. Leave batch_size=None, or choose "
                "solver='sgd'."
            )
        self.stochastic = batch_size is not None and batch_size < objective.n_learnt
        # Whether each epoch is told its rows.
        self._ordered = self.stochastic and (shuffle or objective.learnt is not None)
        if self._ordered:
            check_orders(objective.n_rows)
        self._batch_size = batch_size if self.stochastic else None
        self.automatic = learning_rate == "auto"
        self._seen_curvature = memory.curvature if memory else 0.0
        if self.automatic:
            learning_rate = self.method.learning_rate or 1 / self._curvature()
        elif not self.method.fixed_step:
            # A first step that leaves the gradient behind is never made good.
            learning_rate = min(learning_rate, 1 / self._curvature())
        self.rule = new_rule(
            objective.loss.code, self.method.rule, learning_rate, l2=objective.l2, l1=objective.l1,
            tol=tol, fit_intercept=objective.fit_intercept,
            batch_size=self._batch_size or max(objective.n_rows, 1),
        )  # fmt: skip
        self.state = new_state(self.method.rule, coef, intercept)
        self.state.counters[Counter.STEP] = self.rule.learning_rate
        self._last_norm = math.inf
        self._unsettled = None
        self._generator = None
        if self.stochastic and shuffle:
            seed = random_state.randint(np.iinfo(np.int32).max)
            self._generator = np.random.default_rng(seed)
        if (
            memory is not None
            and self.method.fixed_step
            and memory.snapshot.state.slots.shape == self.state.slots.shape
        ):
            self._recall(memory.snapshot)

    @property
    def longest(self):
        if not self._ordered:
            return 1 << 30
        return max(1, _ORDER_ENTRIES // self.objective.n_learnt)

    @property
    def seconds_estimate(self):
        objective = self.objective
        steps = math.ceil(objective.n_rows / self.rule.batch_size)
        elements = objective.size + 5 * objective.n_rows + steps * objective.n_features
        return 1e-9 * elements * objective.n_outputs + 3e-7 * steps

    @property
    def watched(self):
        return self.method.fixed_step and not self.automatic

    @property
    def learning_rate(self):
        """Step in force."""
        return float(self.state.counters[Counter.STEP])

    def advance(self, epochs):
        """Go on for some epochs.

        Returns
        -------
        Progress
            Its reason is "converged", "diverged" (something is not finite; that epoch
            has no row), "interrupted" (Ctrl-C inside the kernel), or None.
        """
        before = self._generator_state()
        order = self._order(epochs)
        history = np.empty((epochs, len(HISTORY_COLUMNS)))
        counters = self.state.counters
        counters[Counter.EPOCHS] = 0
        n_threads = self.objective.n_threads(self._batch_size)
        try:
            done, status = self.objective.backend.descend(
                self.objective.data, self.state, self.rule, order, history, n_threads
            )
        except KeyboardInterrupt:
            done = int(counters[Counter.EPOCHS])
            if self._generator is not None:
                self._generator.bit_generator.state = before
                self._order(done)
            return Progress(history[:done], "interrupted")
        self.objective.passes += done + (status == Status.CONVERGED)
        if self.method.squares and done:
            # Its averages are of squares, which would be infinite, and all steps 0.
            norms = history[:done, HISTORY_COLUMNS.index("gradient_norm")]
            if not norms.max() <= math.sqrt(np.finfo(self.objective.dtype).max):
                self.objective.check_squares()
        if done:
            self._last_norm = float(history[done - 1, HISTORY_COLUMNS.index("gradient_norm")])
        if status == Status.CONVERGED:
            return Progress(history[: done + 1], "converged")
        return Progress(history[:done], "diverged" if status == Status.NONFINITE else None)

    def value(self):
        """Objective at the weights as they are."""
        return float(self.objective.value(self.state.coef, self.state.intercept))

    def constant(self):
        return float(self.objective.constant())

    def is_finite(self):
        return bool(np.isfinite(self.state.coef).all() and np.isfinite(self.state.intercept).all())

    def is_saturated(self, value):
        """Where sigma is 0 or 1 in every row the gradient vanishes, although the neuron may
        say no more than a constant does. Half the weights then cost the same, which at an
        optimum they do not: there they are a quarter of the way back to no weights.
        """
        if not self.is_unstable():
            return False
        noisy = self.stochastic and self._last_norm > self.rule.tol
        margin = _NOISE_MARGIN if noisy else _CONSTANT_MARGIN
        if self.watched and value > (1 + margin) * self.constant():
            return True
        half, none = (
            float(self.objective.value(part * self.state.coef, part * self.state.intercept))
            for part in (self.objective.dtype.type(0.5), self.objective.dtype.type(0))
        )
        return abs(half - value) < _HAIR * min(value, abs(none - value))

    def is_settled(self):
        """A neuron no better than a constant, whose gradient is far above `tol`, has hardly
        begun: it should go on.
        """
        rule = self.rule._replace(
            solver=Solver.GD, tol=math.inf, batch_size=max(self.objective.n_rows, 1)
        )
        coef, intercept = self.state.coef.copy(), self.state.intercept.copy()
        slots = np.zeros((0, *self.state.slots.shape[1:]), coef.dtype)
        history = np.empty((1, len(HISTORY_COLUMNS)))
        # With that tolerance it evaluates and takes no step.
        self.objective.backend.descend(
            self.objective.data, State(coef, intercept, slots, np.zeros(N_COUNTERS)), rule,
            None, history, self.objective.n_threads(),
        )  # fmt: skip
        value, norm = history[0, :2].tolist()
        settled = norm <= _FAR * self.rule.tol or value < self.constant() - self.rule.tol
        self._unsettled = None if settled else norm
        return settled

    def is_unstable(self):
        if self.method.learning_rate is not None:
            return True
        return self.watched and self.rule.learning_rate > self._largest_safe_step()

    def oscillation(self, losses):
        tail = losses[-_TAIL:]
        if self.stochastic or len(tail) < 2 or self.method.learning_rate is not None:
            return None
        rise = (tail[1:] - tail[:-1]).max()
        # Of a loss that falls throughout, the first is known at once.
        if not rise > 0 or not rise > _RISE * abs(tail).mean() or not self.is_unstable():
            return None
        return f"The loss still rises between iterations: {self._beyond()}."

    def snapshot(self):
        state = State(*(array.copy() for array in self.state))
        return Snapshot(state, self._generator_state(), self._last_norm)

    def restore(self, snapshot):
        for mine, theirs in zip(self.state, snapshot.state, strict=True):
            mine[...] = theirs
        self._last_norm = snapshot.norm
        if self._generator is not None:
            self._generator.bit_generator.state = snapshot.generator

    def memory(self):
        return Memory(self.snapshot(), self._seen_curvature)

    def divergence_error(self):
        step = self.rule.learning_rate
        scaler = "for example with sklearn.preprocessing.StandardScaler"
        if self.method.learning_rate is not None:
            try:
                self.objective.check_squares()
            except ValueError as error:
                return DivergenceError(str(error), step, None)
            text = (
                f"Gradient descent diverged: learning_rate={step:.6g} does not suit this data. "
                f"Scale the features, {scaler}, or give a smaller learning_rate."
            )
            return DivergenceError(text, step, None)
        try:
            curvature = self._curvature()
        except ValueError as error:
            text = f"Gradient descent diverged with the step {step:.6g}. {error}"
            return DivergenceError(text, step, 0.0)
        safe = self._largest_safe_step()
        if step <= safe:
            text = (
                f"Gradient descent diverged, although its step {step:.6g} is not larger than "
                f"the largest safe one ({safe:.6g}): scores or the penalty overflow. Look at the "
                "weights that it starts from (coef_init, intercept_init, or those of an earlier "
                f"fit), use a smaller alpha, or scale the features, {scaler}."
            )
            return DivergenceError(text, step, safe)
        text = (
            f"Gradient descent diverged: learning_rate={step:.6g} is too large a step for "
            f"this data; {self.method.explain_bound(curvature, 'of the objective')}. "
            f"learning_rate='auto' takes 1/curvature = {1 / curvature:.6g}. Use that, or a "
            f"smaller number, or scale the features, {scaler}."
        )
        return DivergenceError(text, step, safe)

    def unconverged(self, rounding=False):
        """What to say where the last iteration was not the end."""
        if self.stochastic and self._unsettled is not None:
            reached = (
                "the neuron is no better than a constant, while the largest entry of its "
                f"gradient is {self._unsettled:.3g}, far above"
            )
        elif self.stochastic:
            reached = "the mean loss of an epoch still improved by more than"
        else:
            reached = f"the largest entry of the gradient is {self._last_norm:.3g}, above"
        faster = "" if self.algorithm == "nesterov" else ", or choose solver='nesterov'"
        text = f"{reached} tol={self.rule.tol:.3g} (step {self.learning_rate:.3g}). "
        if self.method.learning_rate is None and self.is_unstable():
            text += f"Mind that {self._beyond()}. "
        return (
            f"{text}Raise max_iter or tol, scale the features if they are not "
            f"(sklearn.preprocessing.StandardScaler){faster}."
        )

    def _beyond(self):
        safe = self._largest_safe_step()
        return (
            f"learning_rate={self.rule.learning_rate:.6g} is above the largest step that is safe "
            f"on this data, {safe:.6g} ({self.method.stable:.3g} / L); a smaller one, or "
            "learning_rate='auto', may be what it needs"
        )

    def _largest_safe_step(self):
        try:
            return self.method.stable / self._curvature()
        except ValueError:  # the curvature overflows: no step is safe
            return 0.0

    def _curvature(self):
        """L for this data and, in ``partial_fit``, all data before it.

        Twice the expected smoothness for batches: there, steps converge up to half of the
        length that they may have for whole gradients (Gower et al., theorem 3.1).
        """
        now = (1 + self.stochastic) * self.objective.curvature(self._batch_size)
        self._seen_curvature = max(self._seen_curvature, now)
        return self._seen_curvature

    def _recall(self, snapshot):
        self.state.slots[...] = snapshot.state.slots
        self.state.counters[...] = snapshot.state.counters
        self.state.counters[Counter.STEP] = self.rule.learning_rate
        if self._generator is not None and snapshot.generator is not None:
            self._generator.bit_generator.state = snapshot.generator

    def _order(self, epochs):
        return self.objective.orders(epochs, self._generator) if self._ordered else None

    def _generator_state(self):
        return None if self._generator is None else self._generator.bit_generator.state
