"""What all methods share: settings, callbacks, messages and the result."""

import contextlib
import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult

from schuss.constants import Status
from schuss.minimizer.path import Path
from schuss.minimizer.problem import Problem

# As in scipy.optimize: 0 is success, 1 the iteration limit, 99 a stop by the callback.
_CODES = {"converged": 0, "max_iter": 1, "diverged": 2, "saddle": 3, "interrupted": 4,
          "callback": 99}  # fmt: skip


class MinimizeResult(OptimizeResult):
    """Result of `schuss.minimize`: a `scipy.optimize.OptimizeResult` with the path.

    Attributes
    ----------
    x : ndarray of shape (n,)
        The solution.
    fun : float
        Value at `x`.
    jac : ndarray of shape (n,)
        Gradient at `x`.
    nit, nfev, njev : int
        Numbers of iterations, and of evaluations of the function and its gradient.
    success : bool
    status : int
        0 for success, as in SciPy.
    message : str
    path : ndarray of shape (nit + 1, n)
        Iterates, the last of which is `x`; for "grid" all points.
    path_fun : ndarray of shape (nit + 1,)
        Values along the path.
    path_step : int
        1, or more if not all iterates are kept: ``path[i]`` is iterate
        ``min(i * path_step, nit)``.
    stop_reason : str
        "converged", "max_iter", "diverged", "saddle", "callback" or "interrupted".
    derivatives : str
        "exact", "given" or "numerical".
    method : str
    learning_rate : float or None
        Learning rate of the last iteration.
    nhev : int
        Number of Hessians, for "newton" only.
    """

    x: np.ndarray
    fun: float
    jac: np.ndarray
    nit: int
    nfev: int
    njev: int
    success: bool
    status: int
    message: str
    path: np.ndarray
    path_fun: np.ndarray
    path_step: int
    stop_reason: str
    derivatives: str
    method: str
    learning_rate: float | None

    # The function, for the page and the animation; no item, and not in pickles and copies.
    _fun: Any = None

    def __reduce__(self):
        return type(self), (dict(self),)

    def _function(self, fun: Any) -> Any:
        fun = self._fun if fun is None else fun
        if fun is None:
            raise ValueError("fun is None, but this result is a copy: expected the function.")
        return fun

    def to_html(
        self, path: Any = None, *, fun: Any = None, title: str | None = None, language: str = "en"
    ) -> str | None:
        """Write one page on which the run can be played, dragged and changed.

        It needs no network. Formulas (of the command line, or `schuss.expressions.Expression`)
        and polynomials are computed by the page, other functions of one or two variables are
        interpolated between the points of a grid. It needs jinja2, of the extra ``plot``.

        Parameters
        ----------
        path : str or path-like, optional
            File to write; by default the text is returned.
        fun : callable, polynomial or Expression, optional
            The function that was minimised; needed only for pickled and copied results.
        title : str, optional
            By default the formula.
        language : {"en", "pl"}, default="en"
            Language that is shown first.

        Returns
        -------
        str or None
            The text, if `path` is None.

        Raises
        ------
        ValueError
            For functions of more than two variables that are no formula.

        Examples
        --------
        >>> import schuss
        >>> from numpy.polynomial import Polynomial
        >>> result = schuss.minimize(Polynomial([6, -4, 1]), 8.0, learning_rate=0.1)
        >>> result.to_html("walk.html")  # doctest: +SKIP
        """
        from schuss.files import write_text
        from schuss.pages import walk_page

        text = walk_page(self, self._function(fun), title=title, language=language)
        if path is None:
            return text
        write_text(path, text)
        return None

    def widget(self, *, fun: Any = None, language: str = "en") -> Any:
        """Return the page of `to_html` as a widget for notebooks.

        It needs anywidget, of the extra ``plot``.

        Parameters
        ----------
        fun : callable, polynomial or Expression, optional
            As for `to_html`.
        language : {"en", "pl"}, default="en"

        Returns
        -------
        anywidget.AnyWidget
        """
        from schuss.pages.notebook import walk_widget

        return walk_widget(self, self._function(fun), language)

    def animate(self, path: Any, *, fun: Any = None, fps: int = 10, dpi: int = 100) -> None:
        """Write the run as an animation, by matplotlib.

        Parameters
        ----------
        path : str or path-like
            File to write; ".gif" needs Pillow, which matplotlib brings, ".mp4" needs ffmpeg.
        fun : callable, polynomial or Expression, optional
            As for `to_html`.
        fps : int, default=10
            Frames per second. Of more than 200 iterates, only some are frames.
        dpi : int, default=100
            Resolution in pixels per inch, of 4.8 by 3.6 inches.
        """
        from schuss.plot import DescentDisplay

        DescentDisplay.animate(self, self._function(fun), path, fps=fps, dpi=dpi)


class Settings(NamedTuple):
    """Arguments of `minimize` that a run needs."""

    method: str
    learning_rate: Any  # "auto", a callable, or an array
    max_iter: int
    tol: float
    xtol: float
    ftol: float
    keep_path: bool


class Callback:
    """Calls the user's callback as SciPy does."""

    def __init__(self, function: Callable | None):
        self.function = function
        self._named = False
        if function is not None:
            # Some built-in functions have no signature.
            with contextlib.suppress(ValueError):
                self._named = set(inspect.signature(function).parameters) == {"intermediate_result"}

    def stops(self, x: np.ndarray, value: float) -> bool:
        """Whether the callback ends the run at this iterate."""
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

    def __init__(self, problem: Problem, settings: Settings, callback: Callback):
        self.problem, self.settings, self.callback = problem, settings, callback
        self.path = Path(problem.n, settings.max_iter + 1, settings.keep_path)

    def run(self) -> MinimizeResult:
        """Iterate until something ends the run."""
        raise NotImplementedError

    def converged(self, status, gradient):
        """Message of a run that one of its tolerances ended."""
        if status == Status.CONVERGED:
            return f"Converged: no entry of the gradient is above tol={self.settings.tol:.6g}."
        if status == Status.SMALL_STEP:
            text = f"changed no variable by more than xtol={self.settings.xtol:.6g}"
        else:
            text = f"changed the value by no more than ftol={self.settings.ftol:.6g}"
        norm = np.abs(gradient).max()
        return f"Converged: the last iteration {text} (largest gradient entry: {norm:.3g})."

    def not_converged(self, gradient):
        norm = float(np.abs(gradient).max())
        # Its square overflows, and steps become 0.
        unbounded = norm > math.sqrt(np.finfo(float).max)
        advice = "The function seems unbounded below." if unbounded else "Raise max_iter or tol."
        return (
            f"Not converged after max_iter={self.settings.max_iter} iterations: the largest entry "
            f"of the gradient is {norm:.3g}, above tol={self.settings.tol:.6g}. {advice}"
        )

    def nonfinite(self, nit, x, value):
        what = self.problem.describe(value)
        if not np.isfinite(x).all():
            what = (
                "x is not finite: the function is unbounded below, or the learning rate too large"
            )
        return f"Stopped in iteration {nit}: {what}, at x = {x}. The previous iterate is returned."

    def result(self, reason, message, nit, x, value, gradient, **others):
        path, path_fun = self.path.rows(nit, x, value)
        return make_result(
            self.problem, self.settings.method, reason, message, x=x.copy(), fun=float(value),
            jac=gradient.copy(), nit=nit, path=path, path_fun=path_fun,
            path_step=min(self.path.step, max(nit, 1)), **others,
        )  # fmt: skip


def make_result(
    problem: Problem, method: str, reason: str, message: str, **fields: Any
) -> MinimizeResult:
    """Result of a method, with what the problem counted."""
    if problem.derivatives == "numerical" and method != "grid":
        message += " The derivatives are numerical, by finite differences of fun."
    result = MinimizeResult(
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
    object.__setattr__(result, "_fun", problem.formula or problem.value)
    return result


def warn_of_interrupt(done: str, returned: str) -> None:
    """Warn that Ctrl-C ended a run with a result."""
    # The caller of `minimize`, which called a method, which called this.
    warnings.warn(f"Interrupted after {done}; {returned} is returned.", UserWarning, stacklevel=4)
