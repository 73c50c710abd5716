"""The methods of `minimize` for `scipy.optimize.minimize`."""


def scipy_method(minimize, name):
    """A method of ``scipy.optimize.minimize``."""

    def method(
        fun, x0, args=(), *, jac=None, hess=None, hessp=None, bounds=None, constraints=(),
        callback=None, maxiter=None, disp=False, **options,
    ):  # fmt: skip
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
    Its `max_iter`.
disp : bool, default=False
    Print how it ended, and where.
hessp, constraints
    Refused where they are given.
**options
    Other arguments of `schuss.minimize`, such as `learning_rate`.

Returns
-------
scipy.optimize.OptimizeResult

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
