"""Minimisation of any function: `minimize`, and its methods for `scipy.optimize.minimize`.

The function is a `problem.Problem`, a method a `run.Run`, or a grid; `first_order` advances its
run in chunks of a kernel, compiled where the function is.
"""

from numbers import Integral, Real

from schuss.methods import MINIMIZERS
from schuss.minimizer.first_order import FirstOrder
from schuss.minimizer.grid_search import grid_axes, search_grid
from schuss.minimizer.inputs import check_learning_rate, check_number
from schuss.minimizer.problem import Problem
from schuss.minimizer.run import Callback, Settings
from schuss.minimizer.scipy_methods import scipy_method
from schuss.minimizer.second_order import Newton
from schuss.validation import check_choice

__all__ = [
    "adam", "adaptive", "gd", "grid", "minimize", "momentum", "nesterov", "newton",
]  # fmt: skip


def minimize(
    fun, x0=None, *, args=(), jac=None, hess=None, method="gd", learning_rate="auto",
    max_iter=10_000, tol=1e-6, xtol=0.0, ftol=0.0, bounds=None, n_points=101, callback=None,
    keep_path=True,
):  # fmt: skip
    """Minimise a function of one or more variables, and keep the path.

    Parameters
    ----------
    fun : callable, polynomial, scipy.LowLevelCallable or Numba cfunc
        ``fun(x, *args) -> float``; x is a float where `x0` is one, else an array of shape
        (n,), a copy that `fun` may write to. Polynomials (of ``numpy.polynomial``, or
        ``numpy.poly1d``) and functions in C, ``double f(double)`` or
        ``double f(int n, double *x)``, each with or without a last ``void *``, are minimised
        in compiled code without the GIL ("newton" and "grid", which take few steps or none,
        call functions in C from Python).
    x0 : float or array-like of shape (n,), optional
        Where to start; "grid" needs none.
    args : tuple, default=()
        More arguments of `fun`, `jac` and `hess`.
    jac : callable, True, "2-point", "3-point" or None, default=None
        Gradient, of shape (n,); True: `fun` returns ``(value, gradient)``. For a function
        in C another one, ``double g(double)`` or ``void g(int n, double *x, double *out)``.
        By default exact for a polynomial, else by central differences ("3-point").
    hess : callable or array-like of shape (n, n), optional
        Hessian, an array if it is the same everywhere. "newton" takes differences of the
        gradient without it.
    method : {"gd", "momentum", "nesterov", "adam", "adaptive", "newton", "grid"}, default="gd"
        Gradient descent with fixed steps, with momentum 0.9, with Nesterov's; Adam; gradient
        descent whose steps come from successive gradients (Malitsky and Mishchenko,
        arXiv 1910.09529); Newton-Raphson; the best point of a grid over `bounds`.
    learning_rate : float, "auto", callable or array-like, default="auto"
        A schedule is a function of the iteration, from 0, or an array, whose last entry goes
        on. "auto" is 1/L where a bound L of the curvature is known (polynomials: on the path
        from `x0`; a constant `hess`); where it is not, "gd" takes adaptive steps, "momentum"
        and "nesterov" the inverse of the largest curvature met. For "adam" it is 0.01; for
        "newton" full steps, made shorter where the value would not fall, along a descent
        direction where the Hessian is not positive definite; a number scales plain
        Newton-Raphson steps. For "adaptive" a number is the first step.
    max_iter : int, default=10000
    tol : float, default=1e-6
        Stop where no entry of the gradient is larger.
    xtol, ftol : float, default=0.0
        Stop where a step moved no variable farther, or changed the value by no more; 0: do
        not look.
    bounds : sequence of (low, high) or scipy.optimize.Bounds, optional
        The region of "grid"; other methods take none.
    n_points : int or sequence of int, default=101
        Points of the grid along each variable.
    callback : callable, optional
        ``callback(xk)``, or ``callback(intermediate_result)`` with ``x`` and ``fun``, after
        each iteration; it stops the run by returning True or raising StopIteration.
    keep_path : bool, default=True
        Otherwise ``path`` holds the first and the last point only. Of a path of more than
        1 GiB every ``path_step``-th point is kept, and the last.

    Returns
    -------
    scipy.optimize.OptimizeResult
        ``x, fun, jac, nit, nfev, njev, success, status, message`` as in SciPy;
        ``path`` (nit + 1, n), with ``path[-1] = x`` (grid: the points in turn),
        ``path_fun``, the values along it, ``path_step`` (1, or more where not all points are
        kept: ``path[i]`` is iterate ``min(i * path_step, nit)``); ``stop_reason``
        ("converged", "max_iter",
        "diverged", "saddle", "callback" or "interrupted"), ``derivatives`` ("exact", "given"
        or "numerical"), ``method`` and ``learning_rate``. A run that diverged is not an
        error here: its path shows how, its message what would do.

    Raises
    ------
    ValueError, TypeError
        For input that makes no sense. What `fun`, `jac` and `hess` raise goes through, with
        a note of the iteration; but OverflowError, ZeroDivisionError, FloatingPointError and
        the domain errors of `math` mean, after `x0`, a value that is not finite: the run has
        diverged.

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
    callback = Callback(callback)
    if method == "grid":
        axes = grid_axes(bounds, n_points)
        if x0 is None:
            x0 = [axis[0] for axis in axes] if len(axes) > 1 else axes[0][0]
        problem = Problem(fun, x0, args, jac, hess)
        with problem.noted_interrupts():
            return search_grid(problem, axes, callback)
    if bounds is not None:
        raise ValueError(
            f"method={method!r} takes no bounds. Use method='grid', or "
            "scipy.optimize.minimize(..., method='L-BFGS-B')."
        )
    learning_rate = check_learning_rate(learning_rate)
    problem = Problem(fun, x0, args, jac, hess)
    problem.check_start()
    settings = Settings(method, learning_rate, max_iter, tol, xtol, ftol, keep_path)
    run = (Newton if method == "newton" else FirstOrder)(problem, settings, callback)
    with problem.noted_interrupts():
        return run.run()


gd, momentum, nesterov, adam, adaptive, newton, grid = (
    scipy_method(minimize, name) for name in MINIMIZERS
)
