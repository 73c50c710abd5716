"""What the runs of all methods share: settings, callbacks, messages and the result."""

import inspect
import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult

from schuss.constants import Status
from schuss.minimizer.path import Path

# As in scipy.optimize: 0 is success, 1 the limit of iterations, 99 a callback's wish.
_CODES = {"converged": 0, "max_iter": 1, "diverged": 2, "saddle": 3, "interrupted": 4,
          "callback": 99}  # fmt: skip


class Settings(NamedTuple):
    """Arguments of `minimize` that a run needs."""

    method: str
    learning_rate: object  # "auto", a callable, or an array
    max_iter: int
    tol: float
    xtol: float
    ftol: float
    keep_path: bool


class Callback:
    """Calls the caller's callback as SciPy does."""

    def __init__(self, function):
        self.function = function
        self._named = False
        if isinstance(function, Callable):
            try:
                self._named = set(inspect.signature(function).parameters) == {"intermediate_result"}
            except ValueError:  # some built-in functions tell no signature
                pass

    def stops(self, x, value):
        if self.function is None:
            return False
        try:
            if self._named:
                result = OptimizeResult(x=x.copy(), fun=value)
                return bool(self.function(intermediate_result=result))
            return bool(self.function(x.copy()))
        except StopIteration:
            return True


class Run:
    """A run of an iterative method."""

    def __init__(self, problem, settings, callback):
        self.problem, self.settings, self.callback = problem, settings, callback
        self.path = Path(problem.n, settings.max_iter + 1, settings.keep_path)

    def converged(self, status, gradient):
        """What to say of a run that one of its tolerances ended."""
        if status == Status.CONVERGED:
            return f"Converged: no entry of the gradient is above tol={self.settings.tol:.6g}."
        if status == Status.SMALL_STEP:
            text = f"moved no variable by more than xtol={self.settings.xtol:.6g}"
        else:
            text = f"changed the value by no more than ftol={self.settings.ftol:.6g}"
        norm = np.abs(gradient).max()
        return f"Converged: the last step {text} (largest entry of the gradient: {norm:.3g})."

    def not_converged(self, gradient):
        norm = float(np.abs(gradient).max())
        # The rules' squares of it overflow, and their steps come out as 0.
        lost = norm > math.sqrt(np.finfo(float).max)
        advice = "The function seems to fall for ever." if lost else "Raise max_iter or tol."
        return (
            f"Not converged after max_iter={self.settings.max_iter} iterations: the largest entry "
            f"of the gradient is {norm:.3g}, above tol={self.settings.tol:.6g}. {advice}"
        )

    def nonfinite(self, nit, x, value):
        what = self.problem.describe(value)
        if not np.isfinite(x).all():
            what = "x is not finite: the function falls for ever, or the steps are too large"
        return f"Stopped in iteration {nit}: {what}, at x = {x}. The point before is returned."

    def result(self, reason, message, nit, x, value, gradient, **others):
        path, path_fun = self.path.whole(nit, x, value)
        return make_result(
            self.problem, self.settings.method, reason, message, x=x.copy(), fun=float(value),
            jac=gradient.copy(), nit=nit, path=path, path_fun=path_fun,
            path_step=min(self.path.step, max(nit, 1)), **others,
        )  # fmt: skip


def make_result(problem, method, reason, message, **fields):
    if problem.derivatives == "numerical" and method != "grid":
        message += " Derivatives are numerical, by differences of fun."
    return OptimizeResult(
        success=reason == "converged",
        status=_CODES[reason],
        message=message,
        nfev=problem.nfev,
        njev=problem.njev,
        stop_reason=reason,
        derivatives=problem.derivatives,
        method=method,
        **fields,
    )


def warn_of_interrupt(done, returned):
    """Tell of Ctrl-C, which ends a run with a result."""
    # Where `minimize` was called: run, method, here.
    warnings.warn(f"Interrupted after {done}; {returned} is returned.", UserWarning, stacklevel=4)
