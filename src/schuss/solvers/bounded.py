"""Newton's method for a likelihood: with offsets, within bounds, with Firth's penalty."""

import math
from typing import Any

import numpy as np

from schuss.backends.contract import State
from schuss.constants import ARMIJO, HISTORY_COLUMNS, N_COUNTERS
from schuss.errors import DivergenceError
from schuss.solvers.curvature import factorise, solve, two_loops
from schuss.solvers.problem import NOISE
from schuss.solvers.run import Progress, WholeRun
from schuss.vectors import dot

# Halvings of a step, and rounds in which the parameters on bounds may change.
_HALVINGS = 30
_ROUNDS = 50
# Steps that promise more, in units of the log-likelihood, are far from where curvature pairs help:
# with theirs eight problems took 100 steps, without 87.
_NEAR = 0.3


class BoundedNewton(WholeRun):
    """A run of Newton's method on a `Likelihood`, each parameter between two bounds.

    Firth's penalty is left out of the curvature, which so is the information (Fisher's scoring).

    Parameters
    ----------
    likelihood : Likelihood
    coef, intercept : ndarrays of shapes (1, d) and (1,), changed in place
        Where to start: the nearest point within the bounds.
    lower, upper : ndarray of shape (r,)
    tol : float
        Converged where no entry of the mean gradient is larger, those of parameters held by a
        bound left out.
    """

    algorithm = method = "newton"
    learning_rate = 1.0
    seconds_estimate = 1e-4

    def __init__(self, likelihood, coef, intercept, *, lower, upper, tol=0.0):
        self.objective = self.likelihood = likelihood
        self.lower, self.upper, self.tol = lower, upper, tol
        self.state = State(coef, intercept, np.empty((0, *coef.shape)), np.zeros(N_COUNTERS))
        start = np.append(coef[0], intercept)[: likelihood.r].astype(np.float64)
        self.theta = np.clip(start, lower, upper)
        self._noise = NOISE[likelihood.dtype.itemsize]
        self.is_bounded = bool((np.isfinite(lower) | np.isfinite(upper)).any())
        self._place: Any = None
        # Curvature pairs of L-BFGS, which the information as a model leaves something to do.
        self._pairs: list[tuple[np.ndarray, np.ndarray, float]] = []
        self._learns = likelihood.bias_reduced and not self.is_bounded

    @property
    def passes(self):
        return self.likelihood.passes

    @property
    def hessians(self):
        return self.likelihood.hessians

    def advance(self, iterations):
        """Steps, each of which improves the objective; see `second_order.SecondOrder.advance`."""
        rows: list[tuple[float, float, float]] = []
        reason = None
        try:
            if self._place is None:
                self._move(self.theta)
                reason = self._end()
            while reason is None and len(rows) < iterations:
                step = self._step()
                if step:
                    rows.append((self.value(), self.norm, step))
                    reason = self._end()
                else:
                    reason = "precision"
        except KeyboardInterrupt:
            reason = "interrupted"
        self._store()
        return Progress(np.array(rows).reshape(-1, len(HISTORY_COLUMNS)), reason)

    def info(self):
        bounds = np.array([self.lower, self.upper])[:, : self.likelihood.n_features]
        return super().info() | {
            "offset": self.likelihood.offset is not None,
            "bias_reduction": "firth" if self.likelihood.bias_reduced else None,
            "bounds": bounds if np.isfinite(bounds).any() else None,
        }

    def value(self):
        """Mean objective at the weights as they are."""
        if self._place is None:
            self._move(self.theta)
        return self._place[0] / self.likelihood.total

    def reset(self):
        """Begin anew where `state` is."""
        self.theta = np.append(self.state.coef[0], self.state.intercept)[: self.likelihood.r]
        self.theta = self.theta.astype(np.float64)
        self._place = None

    def divergence_error(self):
        return DivergenceError(
            "The log-likelihood is not finite where the run begins. Look at the weights that it "
            "starts from and at `offset`, or scale the features, for example with "
            "sklearn.preprocessing.StandardScaler."
        )

    def unconverged(self, rounding=False):
        """What to say where the last iteration was not the end, or where `rounding` was."""
        mend = "Raise tol" if rounding else "Raise max_iter or tol"
        return (
            f"the largest entry of the gradient is {self.norm:.3g}, above tol={self.tol:.3g}. "
            f"{mend}, or scale the features if they are not "
            "(sklearn.preprocessing.StandardScaler)."
        )

    # ------------------------------------------------------------ steps

    def place(self):
        """Value, gradient and information where the run stands, as of `Likelihood.evaluate`."""
        return self._place

    def _store(self):
        d = self.likelihood.n_features
        self.state.coef[0] = self.theta[:d]
        if self.likelihood.fit_intercept:
            self.state.intercept[0] = self.theta[d]

    def _move(self, theta):
        self._place = self.likelihood.evaluate(theta)
        self.theta = theta
        gradient = self._place[1]
        if self.is_bounded:
            gradient = np.where(self._held(theta, gradient), 0.0, gradient)
        self.norm = float(np.abs(gradient).max(initial=0)) / self.likelihood.total

    def _held(self, theta, gradient):
        """Parameters whose bound keeps them from going downhill."""
        below, above = theta <= self.lower, theta >= self.upper
        return (below & (gradient > 0)) | (above & (gradient < 0)) | (below & above)

    def _end(self):
        if not math.isfinite(self._place[0]) or not math.isfinite(self.norm):
            return "diverged"
        return "converged" if self.norm <= self.tol else None

    def _step(self):
        """Move to a better point; the length of the step, or 0 where there is none."""
        value, gradient, information = place = self._place
        start, norm = self.theta, self.norm
        direction = self._direct(gradient, information)
        derivative = dot(gradient, direction)
        if not derivative < 0:
            return 0.0
        noise = self._noise * abs(value)
        step = 1.0
        for _ in range(_HALVINGS):
            trial = start + step * direction
            if self.likelihood.dtype != np.float64:
                # As the kernels hold it.
                trial = trial.astype(self.likelihood.dtype).astype(np.float64)
            if self.is_bounded:
                trial = np.clip(trial, self.lower, self.upper)
            if (trial == start).all():
                break
            self._move(trial)
            if -derivative * step > noise:
                better = self._place[0] <= value + ARMIJO * step * derivative + noise
            else:
                better = self._place[0] <= value + noise and self.norm < norm
            if better:
                if self._learns and -derivative / 2 <= _NEAR:
                    self._remember(trial - start, self._place[1] - gradient)
                return step
            step /= 2
        self.theta, self.norm, self._place = start, norm, place
        return 0.0

    def _remember(self, step, change):
        product = dot(step, change)
        if product > np.finfo(float).eps * dot(change, change):
            self._pairs.append((step, change, product))

    def _direct(self, gradient, information):
        """Step to the minimum of the quadratic model within the bounds.

        Parameters that would leave them are held on their bound, those that a bound would hold
        wrongly let go, until nothing changes. Where that does not end the step still is one of
        descent of the free parameters.
        """
        if not self.is_bounded:
            factor = factorise(information, self.likelihood.singular)
            return two_loops(self._pairs, -gradient, lambda v: solve(factor, v))
        held = self._held(self.theta, gradient)
        direction = np.zeros(len(gradient))
        for _ in range(_ROUNDS):
            free = np.flatnonzero(~held)
            pull = gradient[free] + information[np.ix_(free, held)] @ direction[held]
            if len(free):
                factor = factorise(information[np.ix_(free, free)], self.likelihood.singular)
                direction[free] = -solve(factor, pull)
            inside = np.clip(direction, self.lower - self.theta, self.upper - self.theta)
            beyond = inside != direction
            direction = inside
            at = self.theta + direction
            wrong = held & ~self._held(at, gradient + information @ direction)
            if not (beyond.any() or wrong.any()):
                break
            held = (held | beyond) & ~wrong
        if not dot(gradient, direction) < 0:
            held = self._held(self.theta, gradient)
            direction = np.where(held, 0.0, -gradient / np.abs(gradient).max(initial=1.0))
            direction = np.clip(direction, self.lower - self.theta, self.upper - self.theta)
        return direction
