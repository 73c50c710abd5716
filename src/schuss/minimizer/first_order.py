"""Gradient descent and its variants, in chunks of a kernel that keeps the iterates."""

import math
from functools import cached_property
from time import perf_counter

import numpy as np

from schuss import backends
from schuss.backends import numpy_
from schuss.backends.contract import Limits, MinimizeState
from schuss.constants import (
    DIFFERENCE_STEP,
    N_WALK_SCALARS,
    WALK_ABOVE,
    WALK_REVERSALS,
    WALK_ROUNDING,
    Counter,
    Status,
    WalkScalar,
)
from schuss.driver import next_chunk
from schuss.losses import Loss
from schuss.methods import SOLVERS, Solver
from schuss.minimizer.inputs import scheduled_rates
from schuss.minimizer.problem import PROBE, note_iteration
from schuss.minimizer.run import MinimizeResult, Run, warn_of_interrupt
from schuss.solvers.first_order import new_rule, new_state

_STOP_REASONS = {
    Status.CONVERGED: "converged",
    Status.SMALL_STEP: "converged",
    Status.SMALL_FALL: "converged",
    Status.RAN: "max_iter",
    Status.NONFINITE: "diverged",
    Status.OVERSHOT: "diverged",
}


class FirstOrder(Run):
    """A run of a first-order method."""

    def __init__(self, problem, settings, callback):
        super().__init__(problem, settings, callback)
        self.method = SOLVERS[settings.method]
        self.solver = self.method.rule
        # Learning rates, one or more, or a function of the iteration; `automatic`: the inverse
        # of the largest curvature so far.
        self.rates, self.automatic = settings.learning_rate, False
        self.fixed = not isinstance(settings.learning_rate, str)
        if not self.fixed:
            self._choose_rate()
        if problem.compiled is not None:
            self._kernel, self._target = backends.current().walk, problem.compiled
        else:
            # Calls of Python functions take longer than a compiled loop would save.
            self._kernel, self._target = numpy_.walk, problem.evaluate
        self.rule = new_rule(Loss.QUADRATIC, self.solver, 0.0, tol=settings.tol)
        self.limits = Limits(
            float(settings.xtol), float(settings.ftol), self.automatic, WALK_REVERSALS,
            WALK_ABOVE, WALK_ROUNDING, DIFFERENCE_STEP,
        )  # fmt: skip
        x0 = problem.x0
        self.state = new_state(self.solver, x0[None, :-1].copy(), x0[-1:].copy())
        # The last point that was evaluated and is finite.
        self.last = MinimizeState(
            np.zeros(problem.n), np.zeros(problem.n), np.zeros(N_WALK_SCALARS)
        )

    @cached_property
    def curvature(self):
        return self.problem.curvature()

    def _choose_rate(self):
        """Learning rate for "auto"."""
        rate = self.method.learning_rate
        if rate is None and self.curvature is not None:
            rate = 1 / self.curvature
        if rate is None:
            x0 = self.problem.x0
            norm = float(np.linalg.norm(self.problem.gradient(x0)))
            rate = PROBE * max(1.0, float(np.linalg.norm(x0))) / norm if norm > 0 else 1.0
            if self.solver == Solver.GD:
                self.solver = Solver.ADAPTIVE
            self.automatic = self.solver != Solver.ADAPTIVE
        self.rates = np.array([rate])

    def run(self) -> MinimizeResult:
        max_iter, called = self.settings.max_iter, self.callback.function is not None
        nit, status, reason = 0, Status.RAN, None
        # Ctrl-C is seen between chunks only, and C functions may be slow.
        chunk = 1.0 if self.problem.in_c else 100.0
        try:
            while status == Status.RAN and nit < max_iter and reason is None:
                wanted = 1 if called else min(int(chunk), max_iter - nit)
                started = perf_counter()
                points, values = self.path.room(nit, wanted)
                done, status = self._advance(nit, points, values, self.rule)
                chunk = next_chunk(chunk, len(points), perf_counter() - started)
                if self.problem.interrupts:
                    raise KeyboardInterrupt
                if called and nit and status != Status.NONFINITE:
                    if self.callback.stops(points[0], float(values[0])) and status == Status.RAN:
                        # The step from this iterate does not count.
                        reason, done = "callback", 0
                nit += done
            if status == Status.RAN and reason is None:
                status, reason = self._evaluate_last(nit)
        except KeyboardInterrupt:
            # The last point that was evaluated is the result.
            nit = int(self.last.scalars[WalkScalar.POINTS]) - 1
            if nit < 0:
                raise
            status, reason = Status.RAN, "interrupted"
            warn_of_interrupt(f"{nit} of {max_iter} iterations", "the point reached")
        return self._finish(nit, Status(status), reason)

    def _advance(self, nit, points, values, rule):
        rates = self.rates
        if callable(rates):
            rates = scheduled_rates(rates, nit, len(points))
        elif len(rates) > 1:
            rates = rates[np.minimum(np.arange(nit, nit + len(points)), len(rates) - 1)]
        counters = self.state.counters
        counters[Counter.EPOCHS] = 0
        try:
            return self._kernel(
                self._target, self.state, rule, self.limits, self.last, rates, points, values
            )
        except Exception as error:
            x = np.append(self.state.coef[0], self.state.intercept)
            with note_iteration(nit + int(counters[Counter.EPOCHS]), x):
                raise error

    def _evaluate_last(self, nit):
        """Evaluate the last iterate, and check whether it converged."""
        points, values = self.path.room(nit, 1)
        # This tolerance prevents another step.
        _, status = self._advance(nit, points, values, self.rule._replace(tol=math.inf))
        if status == Status.NONFINITE:
            return status, None
        stops = self.callback.stops(points[0], float(values[0]))
        if np.abs(self.last.gradient).max() <= self.settings.tol:
            return Status.CONVERGED, None
        return Status.RAN, "callback" if stops else None

    def _finish(self, nit, status, reason):
        problem, (x, gradient, scalars) = self.problem, self.last
        if problem.compiled is not None:
            evaluations = int(scalars[WalkScalar.POINTS])
            numerical = problem.derivatives == "numerical"
            problem.nfev += evaluations * (1 + 2 * problem.n * numerical)
            problem.njev += evaluations
        if status == Status.NONFINITE:
            (bad_x,), (bad_value,) = self.path.room(nit, 1)
            if nit == 0:
                raise ValueError(f"fun(x0) is {bad_value} now, and was finite before.")
            nit -= 1
            grew = (
                bad_value == math.inf or scalars[WalkScalar.VALUE] > scalars[WalkScalar.FIRST_VALUE]
            )
            if self.fixed and grew:
                message = self._oscillates(nit + 1)
            else:
                message = self.nonfinite(nit + 1, bad_x, bad_value)
        elif reason == "interrupted":
            message = f"Interrupted after {nit} iterations."
        elif reason == "callback":
            message = f"Stopped by the callback after {nit} iterations."
        elif status == Status.OVERSHOT:
            message = self._oscillates(nit)
        elif status == Status.RAN:
            message = self.not_converged(gradient)
        else:
            message = self.converged(status, gradient)
        return self.result(
            reason or _STOP_REASONS[status], message, nit, x, scalars[WalkScalar.VALUE], gradient,
            learning_rate=self._rate_of(nit),
        )  # fmt: skip

    def _rate_of(self, nit):
        """Learning rate of the step to an iterate."""
        if self.automatic or self.solver == Solver.ADAPTIVE:
            return float(self.state.counters[Counter.STEP])
        k = max(nit - 1, 0)
        return float(self.rates(k) if callable(self.rates) else self.rates[: k + 1][-1])

    def _oscillates(self, nit):
        with np.errstate(all="ignore"):
            curvature = self.curvature or self.problem.estimated_curvature()
        text = (
            f"The iterates oscillate, stopped in iteration {nit}: the learning rate is too large. "
            f"It is {self._rate_of(nit):.6g}"
        )
        if not (curvature > 0 and math.isfinite(curvature)):
            return f"{text}; try a smaller learning_rate, or 'auto'."
        where = "of the function" if self.curvature else "at x0"
        return (
            f"{text}; {self.method.explain_bound(curvature, where)}. "
            f"Use learning_rate={1 / curvature:.6g} (1/curvature), or 'auto'."
        )
