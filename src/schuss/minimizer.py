"""Descent of any function: `minimize`, and its methods for `scipy.optimize.minimize`."""

import ctypes
import inspect
import math
import os
import re
import warnings
from collections.abc import Callable
from numbers import Integral, Real
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.polynomial import Polynomial
from scipy import LowLevelCallable
from scipy.optimize import Bounds, OptimizeResult

from schuss import backends
from schuss.backends import numpy_
from schuss.backends.calls import c_function
from schuss.backends.contract import Function, Limits, Rule, State, Trail
from schuss.constants import (
    ADAM_BETA_1,
    ADAM_BETA_2,
    ADAM_EPSILON,
    DIFFERENCE_STEP,
    MOMENTUM,
    N_COUNTERS,
    N_MARKS,
    N_SLOTS,
    WALK_ABOVE,
    WALK_REVERSALS,
    WALK_ROUNDING,
    Counter,
    Loss,
    Mark,
    Solver,
    Status,
)
from schuss.driver import next_chunk
from schuss.solvers.first_order import METHODS as _RULES
from schuss.validation import check_choice

__all__ = [
    "METHODS", "adam", "adaptive", "gd", "grid", "minimize", "momentum", "nesterov", "newton",
]  # fmt: skip

_FIRST_ORDER = ("gd", "momentum", "nesterov", "adam", "adaptive")
METHODS = (*_FIRST_ORDER, "newton", "grid")

# A first step of this length, for parameters of size 1, shows the curvature.
_PROBE = 1e-4
# `jac` contradicts `fun` where a slope differs by more than this part of it.
_SLOPE_DIFFERENCE = 1e-3
# What functions of `math` say outside of their domain, before and from Python 3.14 on.
_DOMAIN_ERROR = "math domain error|expected a (positive|nonnegative|noninteger|finite|number) "
# Bytes of the path: reserved at first (memory that is not written to costs nothing), at the
# most, and of the iterates of a chunk where not all are kept.
_FIRST_ROWS_BYTES = 1 << 28
_PATH_BYTES = 1 << 30
_CHUNK_BYTES = 1 << 24

_STOP_REASONS = {
    Status.CONVERGED: "converged",
    Status.SMALL_STEP: "converged",
    Status.SMALL_FALL: "converged",
    Status.RAN: "max_iter",
    Status.NONFINITE: "diverged",
    Status.OVERSHOT: "diverged",
}
# As in scipy.optimize: 0 is success, 1 the limit of iterations, 99 a callback's wish.
_CODES = {"converged": 0, "max_iter": 1, "diverged": 2, "saddle": 3, "interrupted": 4,
          "callback": 99}  # fmt: skip


def minimize(
    fun, x0=None, *, args=(), jac=None, hess=None, method="gd", learning_rate="auto",
    max_iter=10_000, tol=1e-6, xtol=0.0, ftol=0.0, bounds=None, n_points=101, callback=None,
    keep_path=True,
):  # fmt: skip
    """Descend a function of one or more variables, and keep the path.

    Parameters
    ----------
    fun : callable, polynomial, scipy.LowLevelCallable or Numba cfunc
        ``fun(x, *args) -> float``; x is a float where `x0` is one, else an array of shape
        (n,), a copy that `fun` may write to. Polynomials (of ``numpy.polynomial``, or
        ``numpy.poly1d``) and functions in C, ``double f(double)`` or
        ``double f(int n, double *x)``, each with or without a last ``void *``, are descended
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
        Step; a schedule is a function of the iteration, from 0, or the steps themselves,
        the last of which goes on. "auto" is 1/L where the curvature's bound L is known
        (polynomials: on the way down from `x0`; a constant `hess`); where it is not, "gd"
        takes adaptive steps, "momentum" and "nesterov" the inverse of the largest curvature
        met. For "adam" it is 0.01; for "newton" full steps, made shorter where the value
        would not fall and turned downhill where the Hessian is not positive definite; a
        number scales plain Newton-Raphson steps. For "adaptive" a number is the first step.
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
    check_choice(method, "method", METHODS)
    _check_number(max_iter, "max_iter", Integral, 1)
    for value, name in ((tol, "tol"), (xtol, "xtol"), (ftol, "ftol")):
        _check_number(value, name, Real, 0)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback={callback!r}: expected a callable f(xk) or None.")
    if method == "grid":
        axes = _grid_axes(bounds, n_points)
        if x0 is None:
            x0 = [axis[0] for axis in axes] if len(axes) > 1 else axes[0][0]
        return _Grid(_Problem(fun, x0, args, jac, hess), axes).run(_Report(callback))
    if bounds is not None:
        raise ValueError(
            f"method={method!r} takes no bounds. Use method='grid', or "
            "scipy.optimize.minimize(..., method='L-BFGS-B')."
        )
    learning_rate = _check_learning_rate(learning_rate)
    problem = _Problem(fun, x0, args, jac, hess)
    problem.check_start()
    run = (_Newton if method == "newton" else _Walk)(
        problem, method, learning_rate, max_iter, tol, xtol, ftol, keep_path
    )
    return run.run(_Report(callback))


# ----- what is minimised ---------------------------------------------------------------


class _Problem:
    """Value, gradient and Hessian of what the caller gave, checked and counted.

    Attributes
    ----------
    x0 : ndarray of shape (n,)
    compiled : Function or None
    derivatives : str
    """

    def __init__(self, fun, x0, args, jac, hess):
        self.x0, self.scalar = _check_x0(x0)
        self.start = self.x0
        self.n = len(self.x0)
        self.args = args if isinstance(args, tuple) else (args,)
        self.nfev = self.njev = self.nhev = 0
        self.derivatives = "numerical"
        self.polynomial = _polynomial(fun)
        self._hess = hess
        self._both = self._scheme = None
        # What Python's floats raised in place of NaN or infinity at the last point.
        self.fault = None
        fun, jac = _low_level(fun), _low_level(jac)
        self.compiled = None
        if self.polynomial is not None:
            self._set_polynomial(jac, hess)
            return
        if isinstance(fun, LowLevelCallable) and (jac is None or isinstance(jac, LowLevelCallable)):
            if self.args:
                raise ValueError(
                    f"args={self.args!r}: a function in C takes none. Give its LowLevelCallable "
                    "user_data."
                )
            self.compiled = _function(fun, jac, self.n)
        self._fun = self._callable(fun, "value", "fun")
        if jac is True:
            self._both, self.derivatives = self._fun, "given"
        elif callable(jac) or isinstance(jac, LowLevelCallable):
            self._jac, self.derivatives = self._callable(jac, "gradient", "jac"), "given"
        elif jac in (None, False, "2-point", "3-point"):
            self._scheme = jac or "3-point"
        else:
            raise TypeError(
                f"jac={jac!r}: expected a callable, True, '2-point', '3-point' or None."
            )
        if callable(hess):
            self._hess = self._callable(hess, "Hessian", "hess")
        elif hess is not None:
            self._hess = _array(hess, (self.n, self.n), "hess")

    def value(self, x):
        if self._both is not None:
            return self.evaluate(x)[0]
        self.nfev += 1
        return _number(self._fun(x), "fun(x)")

    def gradient(self, x):
        return self.evaluate(x)[1] if self._both or self._scheme else self._gradient(x)

    def evaluate(self, x):
        """Value and gradient."""
        self.fault = None
        if self._both is not None:
            self.nfev += 1
            self.njev += 1
            result = self._both(x)
            if not isinstance(result, tuple | list) or len(result) != 2:
                raise ValueError(
                    f"jac=True, but fun(x) returned {result!r}; expected (value, gradient)."
                )
            return _number(result[0], "fun(x)[0]"), _array(result[1], (self.n,), "fun(x)[1]")
        value = self.value(x)
        return value, self._differences(x, value) if self._scheme else self._gradient(x)

    def hessian(self, x):
        self.nhev += 1
        if callable(self._hess):
            return _array(self._hess(x), (self.n, self.n), "hess(x)")
        if self._hess is not None:
            return self._hess
        columns = np.empty((self.n, self.n))
        for j in range(self.n):
            # Differences of differences: a longer step keeps the digits.
            h = (1e-4 if self._scheme else DIFFERENCE_STEP) * max(1.0, abs(x[j]))
            right, left = x.copy(), x.copy()
            right[j] += h
            left[j] -= h
            columns[j] = (self.gradient(right) - self.gradient(left)) / (right[j] - left[j])
        return (columns + columns.T) / 2

    def curvature(self):
        """A bound of the curvature on the way down from x0, where it is known; else None."""
        if self.polynomial is not None:
            return _polynomial_curvature(self.polynomial, float(self.x0[0]))
        if isinstance(self._hess, np.ndarray):
            largest = float(np.abs(np.linalg.eigvalsh(self._hess)).max())
            return largest or None
        return None

    def estimated_curvature(self):
        """Largest curvature at x0, by power iteration on differences of the gradient."""
        gradient = self.gradient(self.x0)
        direction = np.where(gradient == 0, 1.0, gradient)
        curvature = 0.0
        h = _PROBE * max(1.0, np.linalg.norm(self.x0))
        for _ in range(20):
            direction = direction / np.linalg.norm(direction)
            direction = (self.gradient(self.x0 + h * direction) - gradient) / h
            curvature = float(np.linalg.norm(direction))
            if not (curvature > 0 and math.isfinite(curvature)):
                break
        return curvature

    def describe(self, value):
        """What is wrong at a point whose value or gradient is not finite."""
        if self.fault is not None:
            return self.fault
        return "the gradient is not finite" if math.isfinite(value) else f"fun returned {value}"

    def check_start(self):
        """Refuse a start that is no start; warn once of a gradient that is not fun's."""
        with np.errstate(all="ignore"), _noting(0, self.x0):
            value, gradient = self.evaluate(self.x0)
        if not (math.isfinite(value) and np.isfinite(gradient).all()):
            what = "fun(x0)" if not math.isfinite(value) else "the gradient at x0"
            came = value if what == "fun(x0)" else gradient
            raise ValueError(
                f"{what} is {came}, at x0 = {self._given(self.x0)}; expected finite numbers. "
                "Start from another point." + (f" ({self.fault}.)" if self.fault else "")
            )
        if self.derivatives == "given":
            self._check_gradient(value, gradient)

    def _check_gradient(self, value, gradient):
        direction = np.random.default_rng(0).standard_normal(self.n)
        direction /= np.linalg.norm(direction)
        h = DIFFERENCE_STEP * max(1.0, np.linalg.norm(self.x0))
        with np.errstate(all="ignore"):
            ahead = (self.value(self.x0 + h * direction) - value) / h
            behind = (value - self.value(self.x0 - h * direction)) / h
        slope, given = (ahead + behind) / 2, float(gradient @ direction)
        # What is between the slopes on either side is right; differences of values lose what
        # rounding takes from them.
        noise = abs(ahead - behind) + 1e3 * np.finfo(float).eps * abs(value) / h
        size = max(abs(slope), np.linalg.norm(gradient) / math.sqrt(self.n))
        if not abs(slope - given) > _SLOPE_DIFFERENCE * size + noise:
            return
        numerical = self._differences(self.x0.copy(), value, "3-point")
        worst = int(np.abs(numerical - gradient).argmax())
        warnings.warn(
            f"jac contradicts fun: at x0 = {self._given(self.x0)} jac says "
            f"{gradient[worst]:.6g}, but differences of fun say {numerical[worst]:.6g}"
            + (f" (entry {worst} of {self.n})" if self.n > 1 else "")
            + ". The descent follows jac; mend it, or leave it out.",
            UserWarning,
            stacklevel=4,
        )

    def _set_polynomial(self, jac, hess):
        if self.n != 1:
            raise ValueError(
                f"x0 has shape {self.x0.shape}, but a polynomial has one variable; expected a "
                "number."
            )
        if jac is not None or hess is not None or self.args:
            raise ValueError(
                "A polynomial has its own derivatives and no more arguments: leave out jac, "
                "hess and args."
            )
        slope, bend = self.polynomial.deriv(), self.polynomial.deriv(2)
        self.compiled = Function(self.polynomial.coef, slope.coef)
        self.derivatives = "exact"
        self._fun = lambda x: self.polynomial(x[0])
        self._jac = slope
        self._hess = lambda x: np.reshape(bend(x), (1, 1))

    def _callable(self, function, part, name):
        if isinstance(function, LowLevelCallable):
            compiled = _function(function if part == "value" else None,
                                 function if part == "gradient" else None, self.n)  # fmt: skip
            return c_function(compiled, part)
        if not callable(function):
            raise TypeError(f"{name}={function!r}: expected a callable.")
        shape = {"value": (), "gradient": (self.n,), "Hessian": (self.n, self.n)}[part]

        def call(x):
            try:
                result = function(self._given(x), *self.args)
                if not isinstance(result, complex) or self._is_start(x):
                    return result
                self.fault = f"{name} returned {result}, which is not real"
            except (ArithmeticError, ValueError) as error:
                if not _is_of_floats(error) or self._is_start(x):
                    raise
                self.fault = f"{name} raised {type(error).__name__}: {error}"
            if self._both:
                return math.nan, np.full(self.n, math.nan)
            return np.full(shape, math.nan)

        return call

    def _is_start(self, x):
        """At the point that the caller chose, errors are the caller's."""
        return self.start is not None and np.array_equal(x, self.start)

    def _given(self, x):
        """x as the caller's functions take it; a copy, theirs to change."""
        return float(x[0]) if self.scalar else x.copy()

    def _gradient(self, x):
        self.njev += 1
        return _array(self._jac(x), (self.n,), "jac(x)")

    def _differences(self, x, value, scheme=None):
        self.njev += 1
        x = x.copy()
        gradient = np.empty(self.n)
        for j in range(self.n):
            here = x[j]
            if (scheme or self._scheme) == "3-point":
                h = DIFFERENCE_STEP * max(1.0, abs(here))
                x[j] = left = here - h
                lower = self.value(x)
            else:
                h, left, lower = math.sqrt(np.finfo(float).eps) * max(1.0, abs(here)), here, value
            x[j] = right = here + h
            gradient[j] = (self.value(x) - lower) / (right - left)
            x[j] = here
        return gradient


def _is_of_floats(error):
    """Whether Python's floats raise it where NumPy's become infinite or NaN."""
    if isinstance(error, ValueError):
        return re.match(_DOMAIN_ERROR, str(error)) is not None
    return isinstance(error, OverflowError | ZeroDivisionError | FloatingPointError)


def _polynomial(fun):
    """The polynomial that `fun` is, in powers of x, or None."""
    if isinstance(fun, np.poly1d):
        fun = Polynomial(fun.coef[::-1])
    if not isinstance(fun, np.polynomial._polybase.ABCPolyBase):
        return None
    if fun.coef.dtype.kind not in "biuf":
        raise TypeError(f"fun has coefficients of type {fun.coef.dtype}, expected real numbers.")
    coef = fun.convert(kind=Polynomial, domain=(-1, 1), window=(-1, 1)).coef.astype(np.float64)
    if not np.isfinite(coef).all():
        raise ValueError(f"fun has the coefficients {coef}, expected finite numbers.")
    return Polynomial(coef).trim()


def _polynomial_curvature(polynomial, x0):
    """Largest \\|f''\\| on the interval around x0 in which f is at most f(x0), or None.

    Steps of its inverse never leave the interval. It is None where f falls for ever.
    """
    level = polynomial - polynomial(x0)
    slope = polynomial.deriv()(x0)
    roots = level.roots() if level.degree() > 0 else np.empty(0)
    roots = roots.real[np.abs(roots.imag) <= 1e-6 * (1 + np.abs(roots))]
    others = roots[np.abs(roots - x0) > 1e-6 * (1 + abs(x0))]
    ahead = others[others < x0] if slope > 0 else others[others > x0]
    if slope == 0 or not len(ahead):
        return None
    end = ahead.max() if slope > 0 else ahead.min()
    bend = polynomial.deriv(2)
    turns = bend.deriv().roots() if bend.degree() > 1 else np.empty(0)
    turns = turns.real[(turns.real - x0) * (turns.real - end) < 0]
    largest = float(np.abs(bend(np.array([x0, end, *turns]))).max())
    return largest if largest > 0 and math.isfinite(largest) else None


def _low_level(function):
    """A Numba cfunc as SciPy's LowLevelCallable; anything else as it is."""
    if hasattr(function, "native_name") and hasattr(function, "ctypes"):
        return LowLevelCallable(function.ctypes)
    return function


_SIGNATURES = {
    "value": {"double(double)": 0, "double(int,double*)": 1},
    "gradient": {"double(double)": 0, "void(int,double*,double*)": 1},
}


def _function(fun, jac, n):
    """What the kernels need of functions in C."""
    fields = {}
    for part, given in (("value", fun), ("gradient", jac)):
        if given is None:
            continue
        signature = given.signature.replace(" ", "").replace("int32_t", "int")
        plain = signature.replace(",void*)", ")")
        if plain not in _SIGNATURES[part]:
            expected = " or ".join(
                text.replace("(", " (").replace(",", ", ").replace("double*", "double *")
                for text in _SIGNATURES[part]
            )
            name = "fun" if part == "value" else "jac"
            raise ValueError(
                f"{name} has the signature {given.signature!r}, expected {expected}, with or "
                "without a last void *."
            )
        takes_array = bool(_SIGNATURES[part][plain])
        if not takes_array and n != 1:
            raise ValueError(
                f"x0 has {n} entries, but the function in C takes one double. Give one of "
                "signature 'double (int, double *)'."
            )
        if fields.setdefault("takes_array", takes_array) != takes_array:
            raise ValueError(
                f"fun is {fun.signature!r} and jac {jac.signature!r}: one takes a number, the "
                "other an array. Give two of a kind."
            )
        # SciPy keeps a pointer of either kind in a capsule, which is the tuple's first entry.
        capsule = tuple.__getitem__(given, 0)
        fields[part] = _capsule("GetPointer", capsule, _capsule("GetName", capsule))
        fields[f"{part}_takes_data"] = plain != signature
        fields[f"{part}_data"] = _capsule("GetContext", capsule) or 0
    none = np.empty(0)
    return Function(none, none, **fields)


def _capsule(what, *arguments):
    call = getattr(ctypes.pythonapi, f"PyCapsule_{what}")
    call.restype = ctypes.c_char_p if what == "GetName" else ctypes.c_void_p
    call.argtypes = (ctypes.py_object, ctypes.c_char_p)[: len(arguments)]
    return call(*arguments)


# ----- checks --------------------------------------------------------------------------


def _check_number(value, name, kind, least):
    if not isinstance(value, kind) or isinstance(value, bool) or not value >= least:
        what = "a whole number" if kind is Integral else "a number"
        raise ValueError(f"{name}={value!r}: expected {what} of at least {least}.")


def _check_x0(x0):
    if x0 is None:
        raise ValueError("x0 is missing; expected a number or an array of shape (n,) to start at.")
    given = np.asarray(x0)
    if given.dtype.kind not in "biuf" or given.ndim > 1 or given.size == 0:
        raise ValueError(
            f"x0 has shape {given.shape} and dtype {given.dtype}, expected a number or an array "
            "of numbers of shape (n,)."
        )
    start = np.array(given, dtype=np.float64, ndmin=1)
    if not np.isfinite(start).all():
        raise ValueError(f"x0 = {given} holds NaN or infinity, expected finite numbers.")
    return start, given.ndim == 0


def _check_learning_rate(learning_rate):
    """Return "auto", a callable, or an array of steps."""
    if callable(learning_rate) or (isinstance(learning_rate, str) and learning_rate == "auto"):
        return learning_rate
    steps = np.asarray(learning_rate)
    if steps.dtype.kind not in "iuf" or steps.ndim > 1 or steps.size == 0:
        raise ValueError(
            f"learning_rate={learning_rate!r}: expected a positive number, 'auto', a function of "
            "the iteration, or an array of steps."
        )
    steps = np.array(steps, dtype=np.float64, ndmin=1)
    if not (np.isfinite(steps).all() and (steps > 0).all()):
        raise ValueError(f"learning_rate={learning_rate!r}: expected positive, finite numbers.")
    return steps


def _number(value, name):
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "biuf":
        shown = f"shape {array.shape}, dtype {array.dtype}" if array.size != 1 else repr(value)
        raise ValueError(f"{name} returned {shown}; expected one real number.")
    return float(array.reshape(()))


def _array(value, shape, name):
    array = np.asarray(value)
    if array.size != math.prod(shape) or array.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} has shape {array.shape} and dtype {array.dtype}, expected real numbers of "
            f"shape {shape}."
        )
    return np.array(array, dtype=np.float64).reshape(shape)


class _noting:
    """Adds to whatever is raised inside in which iteration it was."""

    def __init__(self, iteration, x):
        self.iteration, self.x = iteration, x

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, Exception):
            error.add_note(f"schuss.minimize: in iteration {self.iteration}, at x = {self.x}")


# ----- callbacks and the result --------------------------------------------------------


class _Report:
    """Calls the caller's callback as SciPy does."""

    def __init__(self, callback):
        self.callback = callback
        self._named = False
        if isinstance(callback, Callable):
            try:
                self._named = set(inspect.signature(callback).parameters) == {"intermediate_result"}
            except ValueError:  # some built-in functions tell no signature
                pass

    def stops(self, x, value):
        if self.callback is None:
            return False
        try:
            if self._named:
                result = OptimizeResult(x=x.copy(), fun=value)
                return bool(self.callback(intermediate_result=result))
            return bool(self.callback(x.copy()))
        except StopIteration:
            return True


class _Path:
    """Iterates and their values, in arrays that grow up to a limit.

    Beyond it every `step`-th iterate is kept; `step` doubles whenever the arrays are full.
    """

    def __init__(self, n, max_rows, keep):
        row_bytes = 8 * (n + 1)
        self.step = 1
        self._most = max(2, _PATH_BYTES // row_bytes) if keep else 1
        self._rows = min(max_rows, self._most, max(2, _FIRST_ROWS_BYTES // row_bytes))
        self._chunk_rows = max(1, _CHUNK_BYTES // row_bytes)
        # One row more for the last iterate, whatever the step.
        self._points, self._values = np.empty((self._rows + 1, n)), np.empty(self._rows + 1)
        self._chunk = np.empty((0, n)), np.empty(0)
        self._start = 0

    def room(self, start, count):
        """Arrays for up to `count` iterates from `start` on; those before it are final."""
        self._store(start)
        while self.step == 1 and (
            start >= self._rows or start + count > self._rows and self._rows < self._most
        ):
            self._enlarge()
        if self.step == 1:
            rows = slice(start, min(start + count, self._rows))
            return self._points[rows], self._values[rows]
        count = min(count, self._chunk_rows)
        if len(self._chunk[0]) < count:
            self._chunk = np.empty((count, self._points.shape[1])), np.empty(count)
        self._start = start
        return self._chunk[0][:count], self._chunk[1][:count]

    def whole(self, last, x, value):
        """Rows of the iterates up to `last`, which is x."""
        self._store(last)
        end = -(-last // self.step)
        self._points[end], self._values[end] = x, value
        points, values = self._points[: end + 1], self._values[: end + 1]
        if 2 * len(points) < len(self._points):
            # Not to hold on to memory that was reserved and never needed.
            points, values = points.copy(), values.copy()
        return points, values

    def _store(self, stop):
        """Keep what is due of the last chunk, up to the iterate `stop`."""
        if self.step == 1:
            return
        while (stop - 1) // self.step >= self._rows:
            self._enlarge()
        row = -(-self._start // self.step)
        due = slice(row * self.step - self._start, max(stop - self._start, 0), self.step)
        points, values = (part[due] for part in self._chunk)
        self._points[row : row + len(points)] = points
        self._values[row : row + len(points)] = values

    def _enlarge(self):
        """Twice the rows; at the limit, as many for every second iterate."""
        rows = min(2 * self._rows, self._most)
        stride = 1 if rows > self._rows else 2
        # Copies rather than ndarray.resize, which writes zeros to what is new.
        points, values = np.empty((rows + 1, self._points.shape[1])), np.empty(rows + 1)
        for new, old in ((points, self._points), (values, self._values)):
            kept = old[: self._rows : stride]
            new[: len(kept)] = kept
        # In one go, which Ctrl-C does not divide.
        self._points, self._values, self._rows, self.step = points, values, rows, self.step * stride


def _result(problem, method, reason, message, *, nit, path_step, **fields):
    if problem.derivatives == "numerical" and method != "grid":
        message += " Derivatives are numerical, by differences of fun."
    return OptimizeResult(
        success=reason == "converged",
        status=_CODES[reason],
        message=message,
        nfev=problem.nfev,
        njev=problem.njev,
        nit=nit,
        path_step=min(path_step, max(nit, 1)),
        stop_reason=reason,
        derivatives=problem.derivatives,
        method=method,
        **fields,
    )


def _not_converged(run, gradient):
    norm = float(np.abs(gradient).max())
    # The rules' squares of it overflow, and their steps come out as 0.
    lost = norm > math.sqrt(np.finfo(float).max)
    advice = "The function seems to fall for ever." if lost else "Raise max_iter or tol."
    return (
        f"Not converged after max_iter={run.max_iter} iterations: the largest entry of the "
        f"gradient is {norm:.3g}, above tol={run.tol:.6g}. {advice}"
    )


# ----- first-order methods -------------------------------------------------------------


class _Pace(NamedTuple):
    """How long steps are."""

    solver: Solver
    steps: object  # array of steps, or a callable
    automatic: bool  # from the curvature met


class _Walk:
    """A run of a first-order method, in chunks of the kernel `walk`."""

    def __init__(
        self, problem, method, learning_rate, max_iter, tol, xtol, ftol, keep_path
    ):  # fmt: skip
        self.problem = problem
        self.method = method
        self.max_iter = max_iter
        self.tol, self.xtol, self.ftol = tol, xtol, ftol
        n = problem.n
        self.known = problem.curvature()
        self.fixed = not isinstance(learning_rate, str)
        self.pace = self._pace(learning_rate)
        if problem.compiled is not None:
            self._kernel, self._target = backends.current().walk, problem.compiled
        else:
            # Python's functions cost more than anything that a compiled loop would save.
            self._kernel, self._target = numpy_.walk, problem.evaluate
        self.rule = Rule(
            Loss.QUADRATIC, self.pace.solver, 0.0, MOMENTUM, ADAM_BETA_1, ADAM_BETA_2,
            ADAM_EPSILON, 0.0, 0.0, float(tol), True, 1,
        )  # fmt: skip
        self.limits = Limits(
            float(xtol), float(ftol), self.pace.automatic, WALK_REVERSALS, WALK_ABOVE,
            WALK_ROUNDING, DIFFERENCE_STEP,
        )  # fmt: skip
        self.state = State(
            problem.x0[None, :-1].copy(), problem.x0[-1:].copy(),
            np.zeros((N_SLOTS[self.pace.solver], 1, n)), np.zeros(N_COUNTERS),
        )  # fmt: skip
        self.trail = Trail(np.zeros(n), np.zeros(n), np.zeros(N_MARKS))
        self.path = _Path(n, max_iter + 1, keep_path)

    def run(self, report):
        nit, chunk, status, reason = 0, 100.0, Status.RAN, None
        try:
            while status == Status.RAN and nit < self.max_iter and reason is None:
                m = 1 if report.callback else min(int(chunk), self.max_iter - nit)
                started = perf_counter()
                points, values = self.path.room(nit, m)
                m = len(points)
                done, status = self._advance(nit, points, values, self.rule)
                chunk = next_chunk(chunk, m, perf_counter() - started)
                if report.callback and nit and status != Status.NONFINITE:
                    if report.stops(points[0], float(values[0])) and status == Status.RAN:
                        # The step from here does not count.
                        reason, done = "callback", 0
                nit += done
        except KeyboardInterrupt:
            # Back to the last point that was evaluated.
            nit = int(self.trail.marks[Mark.POINTS]) - 1
            if nit < 0:
                raise
            status, reason = Status.RAN, "interrupted"
            warnings.warn(
                f"Interrupted after {nit} of {self.max_iter} iterations; the point reached is "
                "returned.",
                UserWarning,
                stacklevel=3,
            )
        return self._finish(nit, Status(status), reason, report)

    def _advance(self, nit, points, values, rule):
        rates = self.pace.steps
        if callable(rates):
            rates = _scheduled(rates, nit, len(points))
        elif len(rates) > 1:
            rates = rates[np.minimum(np.arange(nit, nit + len(points)), len(rates) - 1)]
        counters = self.state.counters
        counters[Counter.EPOCHS] = 0
        try:
            return self._kernel(
                self._target, self.state, rule, self.limits, self.trail, rates, points, values
            )
        except Exception as error:
            x = np.append(self.state.coef[0], self.state.intercept)
            with _noting(nit + int(counters[Counter.EPOCHS]), x):
                raise error

    def _finish(self, nit, status, reason, report):
        bad_x = bad_value = None
        if status == Status.RAN and reason is None:
            # With this tolerance it evaluates and takes no step.
            points, values = self.path.room(nit, 1)
            _, end = self._advance(nit, points, values, self.rule._replace(tol=math.inf))
            if end == Status.NONFINITE:
                status = end
            else:
                if np.abs(self.trail.gradient).max() <= self.tol:
                    status = Status.CONVERGED
                if report.stops(points[0], float(values[0])) and status == Status.RAN:
                    reason = "callback"
        if status == Status.NONFINITE:
            points, values = self.path.room(nit, 1)
            bad_x, bad_value = points[0].copy(), float(values[0])
            nit -= 1
            if nit < 0:
                raise ValueError(f"fun(x0) is {bad_value} now, and was finite before.")
        # The last point that was evaluated and is finite.
        x, gradient = self.trail.x, self.trail.gradient
        value = self.trail.marks[Mark.VALUE]
        path, path_fun = self.path.whole(nit, x, value)
        reason = reason or _STOP_REASONS[status]
        if self.problem.compiled is not None:
            given = self.problem.derivatives != "numerical"
            points = int(self.trail.marks[Mark.POINTS])
            self.problem.nfev += points * (1 if given else 1 + 2 * self.problem.n)
            self.problem.njev += points
        if status == Status.NONFINITE:
            message = self._nonfinite(nit + 1, bad_x, bad_value, path_fun)
        else:
            message = self._message(status, reason, nit, gradient)
        return _result(
            self.problem, self.method, reason, message, x=x.copy(), fun=float(value),
            jac=gradient.copy(), nit=nit, path=path, path_fun=path_fun, path_step=self.path.step,
            learning_rate=self._step_of(nit),
        )  # fmt: skip

    def _step_of(self, nit):
        steps = self.pace.steps
        if self.pace.automatic or self.pace.solver == Solver.ADAPTIVE:
            return float(self.state.counters[Counter.STEP])
        if callable(steps):
            return float(steps(max(nit - 1, 0)))
        return float(steps[min(max(nit - 1, 0), len(steps) - 1)])

    def _pace(self, learning_rate):
        solver = _RULES[self.method].rule
        if self.fixed:
            return _Pace(solver, learning_rate, False)
        if self.method == "adam":
            return _Pace(solver, np.array([_RULES["adam"].learning_rate]), False)
        if self.known is not None:
            return _Pace(solver, np.array([1 / self.known]), False)
        x0 = self.problem.x0
        steepness = np.linalg.norm(self.problem.gradient(x0))
        probe = _PROBE * max(1.0, np.linalg.norm(x0)) / steepness if steepness > 0 else 1.0
        if self.method == "gd":
            solver = Solver.ADAPTIVE
        return _Pace(solver, np.array([probe]), self.method != "adaptive" and self.method != "gd")

    def _message(self, status, reason, nit, gradient):
        if reason == "interrupted":
            return f"Interrupted after {nit} iterations."
        if reason == "callback":
            return f"Stopped by the callback after {nit} iterations."
        norm = np.abs(gradient).max()
        return {
            Status.CONVERGED: f"Converged: no entry of the gradient is above tol={self.tol:.6g}.",
            Status.SMALL_STEP: (
                f"Converged: the last step moved no variable by more than xtol={self.xtol:.6g} "
                f"(largest entry of the gradient: {norm:.3g})."
            ),
            Status.SMALL_FALL: (
                f"Converged: the last step changed the value by no more than "
                f"ftol={self.ftol:.6g} (largest entry of the gradient: {norm:.3g})."
            ),
            Status.RAN: _not_converged(self, gradient),
        }.get(status) or self._overshot(nit)

    def _nonfinite(self, iteration, x, value, path_fun):
        grew = value == math.inf or (len(path_fun) > 1 and path_fun[-1] > path_fun[0])
        if self.fixed and grew:
            return self._overshot(iteration)
        if not np.isfinite(x).all():
            what = "x is not finite: the function falls for ever, or the steps are too large"
        else:
            what = self.problem.describe(value)
        return (
            f"Stopped in iteration {iteration}: {what}, at x = {x}. The point before is returned."
        )

    def _overshot(self, nit):
        with np.errstate(all="ignore"):
            curvature = self.known or self.problem.estimated_curvature()
        stable = _RULES[self.method].stable
        text = (
            f"The steps overshoot for ever, stopped in iteration {nit}: each lands as far beyond "
            f"the minimum as the one before, or farther. The step is {self._step_of(nit):.6g}"
        )
        if not (curvature > 0 and math.isfinite(curvature)):
            return f"{text}; a smaller learning_rate, or 'auto', may do."
        where = "of the function" if self.known else "at x0"
        return (
            f"{text}; the curvature {where} is up to {curvature:.6g}, and steps converge below "
            f"{stable:.3g}/curvature = {stable / curvature:.6g}. "
            f"learning_rate={1 / curvature:.6g} (1/curvature) would do, or 'auto'."
        )


def _scheduled(schedule, start, count):
    steps = np.empty(count)
    for k in range(count):
        step = _number(schedule(start + k), f"learning_rate({start + k})")
        if not 0 < step < math.inf:
            raise ValueError(
                f"learning_rate({start + k}) returned {step}; expected a positive, finite number."
            )
        steps[k] = step
    return steps


# ----- Newton-Raphson ------------------------------------------------------------------


class _Newton:
    def __init__(self, problem, method, learning_rate, max_iter, tol, xtol, ftol, keep_path):
        self.problem = problem
        self.method = method
        self.steps = learning_rate
        self.max_iter, self.tol, self.xtol, self.ftol = max_iter, tol, xtol, ftol
        self.keep_path = keep_path

    def run(self, report):
        problem, x = self.problem, self.problem.x0.copy()
        path = _Path(problem.n, self.max_iter + 1, self.keep_path)
        nit, step, last, reason, message = 0, 1.0, None, None, None
        try:
            while reason is None:
                with _noting(nit, x), np.errstate(all="ignore"):
                    value, gradient = problem.evaluate(x)
                    if not (math.isfinite(value) and np.isfinite(gradient).all()):
                        reason, message = "diverged", self._nonfinite(nit, x, value)
                        break
                    points, values = path.room(nit, 1)
                    points[0], values[0] = x, value
                    before, last = last, (nit, x, value, gradient)
                    hessian = problem.hessian(x)
                    if self._is_done(before, *last[1:]):
                        reason, message = self._verdict(hessian, gradient)
                    elif not np.isfinite(hessian).all():
                        reason = "diverged"
                        what = problem.fault or "the Hessian is not finite"
                        message = f"Stopped in iteration {nit}: {what}, at x = {x}."
                    if nit and report.stops(x, value) and reason is None:
                        reason, message = "callback", f"Stopped by the callback after {nit} steps."
                    if reason is None and nit == self.max_iter:
                        reason, message = "max_iter", _not_converged(self, gradient)
                    if reason is not None:
                        break
                    direction, step = self._direction(nit, hessian, gradient)
                    if direction is None:
                        reason = "diverged"
                        message = (
                            f"Stopped in iteration {nit}: the Hessian is singular, at x = {x}. "
                            "Use learning_rate='auto', or another start."
                        )
                        break
                    if isinstance(self.steps, str):
                        step = self._shortened(x, value, gradient, direction)
                    x = x + step * direction
                    nit += 1
        except KeyboardInterrupt:
            if last is None:
                raise
            reason, message = "interrupted", f"Interrupted after {last[0]} iterations."
            warnings.warn(f"{message} The point reached is returned.", UserWarning, stacklevel=3)
        if last is None:
            raise ValueError(f"fun(x0) is {value} now, and was finite before.")
        nit, x, value, gradient = last
        points, values = path.whole(nit, x, value)
        return _result(
            problem, self.method, reason, message, x=x.copy(), fun=float(value), jac=gradient,
            nit=nit, path=points, path_fun=values, path_step=path.step, nhev=problem.nhev,
            learning_rate=float(step),
        )  # fmt: skip

    def _is_done(self, before, x, value, gradient):
        if np.abs(gradient).max() <= self.tol:
            return True
        if before is None:
            return False
        return (self.xtol > 0 and np.abs(x - before[1]).max() <= self.xtol) or (
            self.ftol > 0 and abs(value - before[2]) <= self.ftol
        )

    def _verdict(self, hessian, gradient):
        finite = np.isfinite(hessian).all()
        least = float(np.linalg.eigvalsh(hessian).min()) if finite else 0.0
        if least < -1e-6 * max(1.0, float(np.abs(hessian).max())):
            return "saddle", (
                "The gradient vanishes here, but this is a maximum or a saddle point, no "
                f"minimum: the smallest curvature is {least:.6g}. Start from another point."
            )
        if np.abs(gradient).max() <= self.tol:
            return "converged", f"Converged: no entry of the gradient is above tol={self.tol:.6g}."
        return "converged", (
            f"Converged: the last step was within xtol={self.xtol:.6g} or ftol={self.ftol:.6g} "
            f"(largest entry of the gradient: {np.abs(gradient).max():.3g})."
        )

    def _direction(self, nit, hessian, gradient):
        if not isinstance(self.steps, str):
            if callable(self.steps):
                step = float(_scheduled(self.steps, nit, 1)[0])
            else:
                step = float(self.steps[min(nit, len(self.steps) - 1)])
            try:
                return -np.linalg.solve(hessian, gradient), step
            except np.linalg.LinAlgError:
                return None, step
        values, vectors = np.linalg.eigh(hessian)
        # Turned round where the curvature is negative, so that every direction leads down.
        size = np.abs(values)
        size = np.maximum(size, max(1e-8 * size.max(), np.finfo(float).tiny ** 0.5))
        return -vectors @ (vectors.T @ gradient / size), 1.0

    def _shortened(self, x, value, gradient, direction):
        """The longest of 1, 1/2, 1/4 ... whose value falls as the slope says (Armijo)."""
        step, slope = 1.0, float(gradient @ direction)
        noise = 8 * np.finfo(float).eps * abs(value)
        while step > 1e-12:
            if self.problem.value(x + step * direction) <= value + 1e-4 * step * slope + noise:
                break
            step /= 2
        return step

    def _nonfinite(self, nit, x, value):
        what = self.problem.describe(value)
        return f"Stopped in iteration {nit}: {what}, at x = {x}. The point before is returned."


# ----- grid search ---------------------------------------------------------------------


def _grid_axes(bounds, n_points):
    """Coordinates of the grid along each variable."""
    if bounds is None:
        raise ValueError(
            "method='grid' needs bounds, a (low, high) for each variable, such as [(-5, 5)]."
        )
    if isinstance(bounds, Bounds):
        bounds = np.stack([np.atleast_1d(bounds.lb), np.atleast_1d(bounds.ub)], axis=1)
    pairs = np.asarray(bounds, dtype=np.float64)
    pairs = pairs[None] if pairs.ndim == 1 else pairs
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
        raise ValueError(f"bounds={bounds!r}: expected a (low, high) for each variable.")
    if not (np.isfinite(pairs).all() and (pairs[:, 0] < pairs[:, 1]).all()):
        raise ValueError(f"bounds={bounds!r}: expected finite numbers, low < high.")
    counts = np.broadcast_to(np.asarray(n_points), len(pairs)).tolist()
    for count in counts:
        _check_number(count, "n_points", Integral, 2)
    size, variables = math.prod(counts), len(pairs)
    # The points twice while they are made, and their values; Python's numbers do not overflow.
    needed, memory = 8 * size * (2 * variables + 1), _memory()
    if needed > memory / 2:
        shape = " x ".join(map(str, counts))
        raise ValueError(
            f"n_points={n_points!r}: a grid of {shape} = {size:,} points takes "
            f"{needed / 1e9:,.3g} GB, more than half of the memory here ({memory / 1e9:,.3g} GB). "
            "Take fewer points, or narrower bounds one after the other."
        )
    return [np.linspace(*pair, count) for pair, count in zip(pairs, counts, strict=True)]


def _memory():
    """Bytes of memory of the machine; 8 GB where it does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 << 30


class _Grid:
    def __init__(self, problem, axes):
        if problem.n != len(axes):
            raise ValueError(
                f"x0 has {problem.n} entries, but bounds are for {len(axes)} variables; expected "
                "as many."
            )
        self.problem = problem
        problem.start = None
        self.spacing = [float(axis[1] - axis[0]) for axis in axes]
        self.points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))

    def run(self, report):
        problem, points = self.problem, self.points
        values = np.full(len(points), np.nan)
        reason, k = "converged", 0
        try:
            if problem.polynomial is not None and report.callback is None:
                values[:], k = problem.polynomial(points[:, 0]), len(points) - 1
                problem.nfev += len(points)
            else:
                for k, x in enumerate(points):
                    with _noting(k, x), np.errstate(all="ignore"):
                        values[k] = problem.value(x)
                    if report.stops(x, values[k]):
                        reason = "callback"
                        break
        except KeyboardInterrupt:
            reason = "interrupted"
            warnings.warn(
                f"Interrupted after {k} of {len(points)} points; the best of them is returned.",
                UserWarning,
                stacklevel=3,
            )
        values, points = values[: k + 1], points[: k + 1]
        finite = np.isfinite(values)
        if not finite.any():
            raise ValueError(
                f"fun is not finite at any of the {len(values):,} points of the grid: "
                f"{values[0]} at x = {points[0]}. Choose other bounds."
                + (f" ({problem.fault}.)" if problem.fault else "")
            )
        best = int(np.where(finite, values, np.inf).argmin())
        x = points[best].copy()
        with np.errstate(all="ignore"):
            gradient = problem.gradient(x)
        odd = "" if finite.all() else f" ({np.sum(~finite):,} of them not finite)"
        reach = ", ".join(f"{s / 2:.3g}" for s in self.spacing)
        return _result(
            problem, "grid", reason,
            f"The best of {len(values):,} points{odd}; the minimum "
            f"may lie about half a spacing away ({reach}), or in a valley between the points.",
            x=x, fun=float(values[best]), jac=gradient, nit=len(points) - 1, path=points,
            path_fun=values, path_step=1, learning_rate=None,
        )  # fmt: skip


# ----- as methods of scipy.optimize.minimize -------------------------------------------


def _for_scipy(name):
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

gd, momentum, nesterov, adam, adaptive, newton, grid = map(
    _for_scipy, ("gd", "momentum", "nesterov", "adam", "adaptive", "newton", "grid")
)
