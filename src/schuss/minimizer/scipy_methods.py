"""The methods of `minimize` for `scipy.optimize.minimize`."""

from collections.abc import Callable
from typing import Any

from numpy.typing import ArrayLike

from schuss.minimizer.run import MinimizeResult


def scipy_method(
    minimize: Callable[..., MinimizeResult], name: str
) -> Callable[..., MinimizeResult]:
    """A method of ``scipy.optimize.minimize``."""

    def method(
        fun: Any, x0: ArrayLike, args: Any = (), *, jac: Any = None, hess: Any = None,
        hessp: Any = None, bounds: Any = None, constraints: Any = (),
        callback: Callable | None = None, maxiter: int | None = None, disp: bool = False,
        **options: Any,
    ) -> MinimizeResult:  # fmt: skip
        if len(constraints) if isinstance(constraints, list | tuple) else constraints:
            raise ValueError(f"method=schuss.{name} takes no constraints; leave them out.")
        if hessp is not None:
            raise ValueError(f"method=schuss.{name} takes no hessp; give hess, or leave it out.")
        if maxiter is not None:
            options["max_iter"] = maxiter
        result = minimize(
            fun, x0, args=args, jac=jac, hess=hess, method=name, bounds=bounds,
            callback=callback, **options,
        )  # fmt: skip
        if disp:
            print(f"{result.message}\n         x: {result.x}\n       fun: {result.fun}")
        return result

    method.__name__ = method.__qualname__ = name
    method.__doc__ = _DOC.replace("NAME", name).replace(
        "BOUNDS", "[(0, 5)]" if name == "grid" else "None"
    )
    return method


_DOC = """``schuss.minimize(method="NAME")`` for ``scipy.optimize.minimize``.

Parameters
----------
fun, x0, args, jac, hess, bounds, callback
    As for `schuss.minimize`.
maxiter : int, optional
    As `max_iter` of `schuss.minimize`.
disp : bool, default=False
    Print the message and the solution.
hessp, constraints
    Not supported; an error if given.
**options
    Other arguments of `schuss.minimize`, such as `learning_rate`.

Returns
-------
MinimizeResult

Examples
--------
>>> import schuss
>>> from scipy.optimize import minimize
>>> def square(x):
...     return (x[0] - 2) ** 2
>>> result = minimize(square, [2.5], method=schuss.NAME, bounds=BOUNDS)
>>> result.x.round(3)
array([2.])
"""
