"""Minimisation of functions: `minimize`, and its methods for `scipy.optimize.minimize`.

The function is a `problem.Problem`, a method a `run.Run` or a grid search. `first_order` runs
in chunks of iterations of a kernel, which is compiled where the function is.
"""

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

from numpy.typing import ArrayLike

from schuss.methods import MINIMIZERS
from schuss.minimizer.first_order import FirstOrder
from schuss.minimizer.grid_search import grid_axes, search_grid
from schuss.minimizer.inputs import check_learning_rate, check_number
from schuss.minimizer.problem import Problem
from schuss.minimizer.run import Callback, MinimizeResult, Run, Settings
from schuss.minimizer.scipy_methods import scipy_method
from schuss.minimizer.second_order import Newton
from schuss.validation import check_choice

__all__ = [
    "MinimizeResult", "adam", "adaptive", "gd", "grid", "minimize", "momentum", "nesterov",
    "newton",
]  # fmt: skip


def minimize(
    fun: Any, x0: ArrayLike | None = None, *, args: Any = (), jac: Any = None, hess: Any = None,
    method: str = "gd", learning_rate: float | str | Callable[[int], float] | ArrayLike = "auto",
    max_iter: int = 10_000, tol: float = 1e-6, xtol: float = 0.0, ftol: float = 0.0,
    bounds: Any = None, n_points: int | Sequence[int] = 101, callback: Callable | None = None,
    keep_path: bool = True,
) -> MinimizeResult:  # fmt: skip
    """Minimise a function of one or more variables, and keep the path of the iterates.

    Parameters
    ----------
    fun : callable, polynomial, scipy.LowLevelCallable or Numba cfunc
        ``fun(x, *args) -> float``; x is a float if `x0` is one, else an array of shape (n,),
        a copy that `fun` may change. Polynomials (of ``numpy.polynomial``, or
        ``numpy.poly1d``) and C functions, ``double f(double)`` or
        ``double f(int n, double *x)``, each with or without a last ``void *``, are minimised
        in compiled code without the GIL ("newton" and "grid", which take few iterations or
        none, call C functions from Python).
    x0 : float or array-like of shape (n,), optional
        Starting point; "grid" does not need one.
    args : tuple, default=()
        Additional arguments of `fun`, `jac` and `hess`.
    jac : callable, True, "2-point", "3-point" or None, default=None
        Gradient, of shape (n,); True: `fun` returns ``(value, gradient)``. For a C function
        another one, ``double g(double)`` or ``void g(int n, double *x, double *out)``.
        By default exact for a polynomial, else by central differences ("3-point").
    hess : callable or array-like of shape (n, n), optional
        Hessian; an array if it is constant. Without it "newton" takes differences of the
        gradient.
    method : {"gd", "momentum", "nesterov", "adam", "adaptive", "newton", "grid"}, default="gd"
        Gradient descent with a fixed learning rate, with momentum 0.9, or with Nesterov's
        momentum; Adam; gradient descent with step sizes from successive gradients (Malitsky
        and Mishchenko, arXiv 1910.09529); Newton-Raphson; the best point of a grid over
        `bounds`.
    learning_rate : float, "auto", callable or array-like, default="auto"
        A schedule is a function of the iteration, counted from 0, or an array, whose last
        entry is repeated. "auto" is 1/L where a bound L of the curvature is known
        (polynomials: on the path from `x0`; a constant `hess`). Where it is not, "gd" takes
        the step sizes of "adaptive", and "momentum" and "nesterov" the inverse of the
        largest curvature seen so far. For "adam" it is 0.01. For "newton" it is 1 with a
        backtracking line search, in a descent direction where the Hessian is not positive
        definite; a number scales the plain Newton-Raphson step. For "adaptive" a number is
        the first step size.
    max_iter : int, default=10000
        Maximum number of iterations.
    tol : float, default=1e-6
        Stop when no entry of the gradient is larger in magnitude.
    xtol, ftol : float, default=0.0
        Stop when an iteration changes no variable by more than `xtol`, or the value by no
        more than `ftol`; 0 switches the criterion off.
    bounds : sequence of (low, high) or scipy.optimize.Bounds, optional
        Region of "grid"; the other methods take none.
    n_points : int or sequence of int, default=101
        Number of grid points for each variable.
    callback : callable, optional
        ``callback(xk)``, or ``callback(intermediate_result)`` with ``x`` and ``fun``, called
        after each iteration. The run stops if it returns True or raises StopIteration.
    keep_path : bool, default=True
        Whether ``path`` holds all iterates, not only the first and the last. Of a path of
        more than 1 GiB every ``path_step``-th iterate is kept, and the last.

    Returns
    -------
    MinimizeResult
        A `scipy.optimize.OptimizeResult` that also has the path. A run that diverged is
        not an error: its path shows how, and its message says which learning rate converges.

    Raises
    ------
    ValueError, TypeError
        For invalid arguments. Exceptions of `fun`, `jac` and `hess` are passed on, with a
        note of the iteration; but OverflowError, ZeroDivisionError, FloatingPointError and
        the domain errors of `math` count, after `x0`, as a value that is not finite: the
        run has diverged.

    Examples
    --------
    >>> import schuss
    >>> from numpy.polynomial import Polynomial
    >>> result = schuss.minimize(Polynomial([6, -4, 1]), 8.0, learning_rate=0.1)
    >>> result.path[:4].ravel()
    array([8.   , 6.8  , 5.84 , 5.072])
    >>> result.x.round(6), result.message
    (array([2.]), 'Converged: no entry of the gradient is above tol=1e-06.')
    >>> def rosenbrock(x):
    ...     return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2
    >>> schuss.minimize(rosenbrock, [-1.0, 2.0], method="newton").x.round(6)
    array([1., 1.])
    """
    check_choice(method, "method", MINIMIZERS)
    check_number(max_iter, "max_iter", Integral, 1)
    for value, name in ((tol, "tol"), (xtol, "xtol"), (ftol, "ftol")):
        check_number(value, name, Real, 0)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback={callback!r}: expected a callable f(xk) or None.")
    caller = Callback(callback)
    if method == "grid":
        axes = grid_axes(bounds, n_points)
        if x0 is None:
            x0 = [axis[0] for axis in axes] if len(axes) > 1 else axes[0][0]
        problem = Problem(fun, x0, args, jac, hess)
        with problem.noted_interrupts():
            return search_grid(problem, axes, caller)
    if bounds is not None:
        raise ValueError(
            f"method={method!r} takes no bounds. Use method='grid', or "
            "scipy.optimize.minimize(..., method='L-BFGS-B')."
        )
    rate = check_learning_rate(learning_rate)
    problem = Problem(fun, x0, args, jac, hess)
    problem.check_start()
    settings = Settings(method, rate, max_iter, tol, xtol, ftol, keep_path)
    run: Run = (Newton if method == "newton" else FirstOrder)(problem, settings, caller)
    with problem.noted_interrupts():
        return run.run()


gd, momentum, nesterov, adam, adaptive, newton, grid = (
    scipy_method(minimize, name) for name in MINIMIZERS
)
