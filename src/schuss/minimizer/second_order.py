"""Newton-Raphson; with learning_rate="auto", a line search in a descent direction."""

import math

import numpy as np

from schuss.constants import ARMIJO, Status
from schuss.minimizer.inputs import scheduled_rates
from schuss.minimizer.problem import note_iteration
from schuss.minimizer.run import MinimizeResult, Run, warn_of_interrupt

# The line search gives up at this step size.
_MIN_STEP = 1e-12
# A curvature below minus this fraction of the Hessian's largest entry makes a saddle point.
_NEGATIVE = 1e-6
# Curvatures are clamped to this fraction of the largest.
_MIN_CURVATURE = 1e-8


class Newton(Run):
    """A run of Newton's method."""

    def run(self) -> MinimizeResult:
        problem, x = self.problem, self.problem.x0.copy()
        nit, step, reason, message = 0, 1.0, None, None
        last: tuple[int, np.ndarray, float, np.ndarray] | None = None
        try:
            while reason is None:
                with note_iteration(nit, x), np.errstate(all="ignore"):
                    value, gradient = problem.evaluate(x)
                    if not (math.isfinite(value) and np.isfinite(gradient).all()):
                        reason, message = "diverged", self.nonfinite(nit, x, value)
                        break
                    points, values = self.path.room(nit, 1)
                    points[0], values[0] = x, value
                    before, last = last, (nit, x, value, gradient)
                    hessian = problem.hessian(x)
                    reason, message = self._judge(before, *last, hessian)
                    stops = nit > 0 and self.callback.stops(x, value)
                    if reason is None and stops:
                        reason = "callback"
                        message = f"Stopped by the callback after {nit} iterations."
                    if reason is None and nit == self.settings.max_iter:
                        reason, message = "max_iter", self.not_converged(gradient)
                    if reason is not None:
                        break
                    direction, step = self._direction(nit, hessian, gradient)
                    if direction is None:
                        reason = "diverged"
                        message = (
                            f"Stopped in iteration {nit}: the Hessian is singular, at x = {x}. "
                            "Use learning_rate='auto', or another starting point."
                        )
                        break
                    if isinstance(self.settings.learning_rate, str):
                        step = self._backtrack(x, value, gradient, direction)
                    x = x + step * direction
                    nit += 1
        except KeyboardInterrupt:
            if last is None:
                raise
            reason, message = "interrupted", f"Interrupted after {last[0]} iterations."
            warn_of_interrupt(f"{last[0]} iterations", "the point reached")
        if last is None:
            raise ValueError(f"fun(x0) is {value} now, and was finite before.")
        return self.result(reason, message, *last, nhev=problem.nhev, learning_rate=float(step))

    def _judge(self, before, nit, x, value, gradient, hessian):
        """Stop reason and message if the run ends here, else None twice."""
        status = self._status(before, x, value, gradient)
        finite = np.isfinite(hessian).all()
        if status == Status.RAN:
            if finite:
                return None, None
            what = self.problem.fault or "the Hessian is not finite"
            return "diverged", f"Stopped in iteration {nit}: {what}, at x = {x}."
        least = float(np.linalg.eigvalsh(hessian).min()) if finite else 0.0
        if least < -_NEGATIVE * max(1.0, float(np.abs(hessian).max())):
            return "saddle", (
                "The gradient vanishes here, but this is a maximum or a saddle point, not a "
                f"minimum: the smallest curvature is {least:.6g}. Start from another point."
            )
        return "converged", self.converged(status, gradient)

    def _status(self, before, x, value, gradient):
        _, _, _, tol, xtol, ftol, _ = self.settings
        if np.abs(gradient).max() <= tol:
            return Status.CONVERGED
        if before is not None and 0 < xtol >= np.abs(x - before[1]).max():
            return Status.SMALL_STEP
        if before is not None and 0 < ftol >= abs(value - before[2]):
            return Status.SMALL_FALL
        return Status.RAN

    def _direction(self, nit, hessian, gradient):
        """Search direction, None where the Hessian is singular, and the step size along it."""
        rates = self.settings.learning_rate
        if not isinstance(rates, str):
            if callable(rates):
                step = float(scheduled_rates(rates, nit, 1)[0])
            else:
                step = float(rates[: nit + 1][-1])
            try:
                return -np.linalg.solve(hessian, gradient), step
            except np.linalg.LinAlgError:
                return None, step
        values, vectors = np.linalg.eigh(hessian)
        # The curvatures' absolute values make every direction one of descent.
        size = np.abs(values)
        size = np.maximum(size, max(_MIN_CURVATURE * size.max(), np.finfo(float).tiny ** 0.5))
        return -vectors @ (vectors.T @ gradient / size), 1.0

    def _backtrack(self, x, value, gradient, direction):
        """The largest step size of 1, 1/2, 1/4, ... with sufficient decrease (Armijo)."""
        step, derivative = 1.0, float(gradient @ direction)
        noise = 8 * np.finfo(float).eps * abs(value)
        while step > _MIN_STEP:
            bound = value + ARMIJO * step * derivative + noise
            if self.problem.value(x + step * direction) <= bound:
                break
            step /= 2
        return step
