"""The function to minimise: its value, gradient and Hessian."""

import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy import LowLevelCallable

from schuss.backends.calls import c_function
from schuss.backends.contract import Function
from schuss.constants import DIFFERENCE_STEP
from schuss.driver import noted_interrupts
from schuss.expressions import Expression
from schuss.minimizer.compiled import compiled_function, low_level
from schuss.minimizer.inputs import as_array, as_number, check_x0
from schuss.minimizer.polynomials import as_polynomial, curvature_bound

# Length of a first step, for variables of size 1, that measures the curvature.
PROBE = 1e-4
# Relative error of a derivative from which on `jac` contradicts `fun`.
_DIFFERENCE = 1e-3
# Messages of `math` outside of a function's domain, before and from Python 3.14 on.
_DOMAIN_ERROR = "math domain error|expected a (positive|nonnegative|noninteger|finite|number) "


class Problem:
    """Value, gradient and Hessian of the user's function, checked and counted.

    Attributes
    ----------
    x0 : ndarray of shape (n,)
    start : ndarray of shape (n,) or None
        Point at which arithmetic errors of the user's functions are raised; elsewhere they
        become NaN.
    fault : str or None
        Their message at the last point that was evaluated.
    polynomial : Polynomial or None
    formula : Expression or Polynomial or None
    compiled : Function or None
        The function as a kernel can call it.
    in_c : bool
        Whether `fun` or `jac` is a C function.
    derivatives : str
        "exact", "given" or "numerical".
    nfev, njev, nhev : int
        Evaluations.
    interrupts : sequence
        Has an item once Ctrl-C was pressed while a C function, which loses it, ran.
    """

    def __init__(self, fun: Any, x0: Any, args: Any, jac: Any, hess: Any):
        self.x0, self.scalar = check_x0(x0)
        self.start: np.ndarray | None = self.x0
        self.n = len(self.x0)
        self.args = args if isinstance(args, tuple) else (args,)
        self.nfev = self.njev = self.nhev = 0
        self.derivatives = "numerical"
        self.polynomial = as_polynomial(fun)
        # For those who draw it.
        self.formula = fun if isinstance(fun, Expression) else self.polynomial
        self._hess = hess
        self._both: Callable | None = None
        self._scheme: str | None = None
        self.fault: str | None = None
        self.interrupts: Sequence = ()
        fun, jac = low_level(fun), low_level(jac)
        self.in_c = isinstance(fun, LowLevelCallable) or isinstance(jac, LowLevelCallable)
        self.compiled: Function | None = None
        if self.polynomial is not None:
            self._set_polynomial(self.polynomial, jac, hess)
            return
        if isinstance(fun, LowLevelCallable) and (jac is None or isinstance(jac, LowLevelCallable)):
            if self.args:
                raise ValueError(
                    f"args={self.args!r}: a C function takes none. Give user_data to its "
                    "LowLevelCallable."
                )
            self.compiled = compiled_function(fun, jac, self.n)
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
            self._hess = as_array(hess, (self.n, self.n), "hess")

    def value(self, x: np.ndarray) -> float:
        if self._both is not None:
            return self.evaluate(x)[0]
        self.nfev += 1
        return as_number(self._fun(x), "fun(x)")

    def gradient(self, x: np.ndarray) -> np.ndarray:
        return self.evaluate(x)[1] if self._both or self._scheme else self._gradient(x)

    def evaluate(self, x: np.ndarray) -> tuple[float, np.ndarray]:
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
            return as_number(result[0], "fun(x)[0]"), as_array(result[1], (self.n,), "fun(x)[1]")
        value = self.value(x)
        return value, self._differences(x, value) if self._scheme else self._gradient(x)

    def hessian(self, x: np.ndarray) -> np.ndarray:
        self.nhev += 1
        if callable(self._hess):
            return as_array(self._hess(x), (self.n, self.n), "hess(x)")
        if self._hess is not None:
            return self._hess
        columns = np.empty((self.n, self.n))
        for j in range(self.n):
            # Differences of differences need a longer step for the same digits.
            h = (1e-4 if self._scheme else DIFFERENCE_STEP) * max(1.0, abs(x[j]))
            right, left = x.copy(), x.copy()
            right[j] += h
            left[j] -= h
            columns[j] = (self.gradient(right) - self.gradient(left)) / (right[j] - left[j])
        return (columns + columns.T) / 2

    def curvature(self) -> float | None:
        """A bound of the curvature on the path from x0 if one is known, else None."""
        if self.polynomial is not None:
            return curvature_bound(self.polynomial, float(self.x0[0]))
        if isinstance(self._hess, np.ndarray):
            largest = float(np.abs(np.linalg.eigvalsh(self._hess)).max())
            return largest or None
        return None

    def estimated_curvature(self) -> float:
        """Largest curvature at x0, by power iteration on differences of the gradient."""
        gradient = self.gradient(self.x0)
        direction = np.where(gradient == 0, 1.0, gradient)
        curvature = 0.0
        h = PROBE * max(1.0, float(np.linalg.norm(self.x0)))
        for _ in range(20):
            direction = direction / np.linalg.norm(direction)
            direction = (self.gradient(self.x0 + h * direction) - gradient) / h
            curvature = float(np.linalg.norm(direction))
            if not (curvature > 0 and math.isfinite(curvature)):
                break
        return curvature

    def describe(self, value: float) -> str:
        """Why the value or the gradient of a point is not finite."""
        if self.fault is not None:
            return self.fault
        return "the gradient is not finite" if math.isfinite(value) else f"fun returned {value}"

    @contextmanager
    def noted_interrupts(self) -> Iterator[None]:
        """Within this context, record Ctrl-C in `interrupts` if a function is in C."""
        if not self.in_c:
            yield
            return
        with noted_interrupts(postponed=True) as self.interrupts:
            yield

    def check_start(self) -> None:
        """Refuse a starting point where the function is not finite; warn of a wrong gradient."""
        with np.errstate(all="ignore"), note_iteration(0, self.x0):
            value, gradient = self.evaluate(self.x0)
        if not (math.isfinite(value) and np.isfinite(gradient).all()):
            what = "fun(x0)" if not math.isfinite(value) else "the gradient at x0"
            found = value if what == "fun(x0)" else gradient
            raise ValueError(
                f"{what} is {found}, at x0 = {self._given(self.x0)}; expected finite numbers. "
                "Start from another point." + (f" ({self.fault}.)" if self.fault else "")
            )
        if self.derivatives == "given":
            self._check_gradient(value, gradient)

    def _check_gradient(self, value, gradient):
        direction = np.random.default_rng(0).standard_normal(self.n)
        direction /= np.linalg.norm(direction)
        h = DIFFERENCE_STEP * max(1.0, float(np.linalg.norm(self.x0)))
        with np.errstate(all="ignore"):
            ahead = (self.value(self.x0 + h * direction) - value) / h
            behind = (value - self.value(self.x0 - h * direction)) / h
        derivative, given = (ahead + behind) / 2, float(gradient @ direction)
        # Anything between the one-sided derivatives is accepted, and rounding errors of values.
        noise = abs(ahead - behind) + 1e3 * np.finfo(float).eps * abs(value) / h
        size = max(abs(derivative), np.linalg.norm(gradient) / math.sqrt(self.n))
        if not abs(derivative - given) > _DIFFERENCE * size + noise:
            return
        numerical = self._differences(self.x0.copy(), value, "3-point")
        worst = int(np.abs(numerical - gradient).argmax())
        warnings.warn(
            f"jac contradicts fun: at x0 = {self._given(self.x0)} jac says "
            f"{gradient[worst]:.6g}, but differences of fun say {numerical[worst]:.6g}"
            + (f" (entry {worst} of {self.n})" if self.n > 1 else "")
            + ". The run uses jac; correct it, or leave it out.",
            UserWarning,
            stacklevel=4,
        )

    def _set_polynomial(self, polynomial, jac, hess):
        if self.n != 1:
            raise ValueError(
                f"x0 has shape {self.x0.shape}, but a polynomial has one variable; expected a "
                "number."
            )
        if jac is not None or hess is not None or self.args:
            raise ValueError(
                "A polynomial has exact derivatives and no further arguments; leave out jac, "
                "hess and args."
            )
        first, second = polynomial.deriv(), polynomial.deriv(2)
        self.compiled = Function(polynomial.coef, first.coef)
        self.derivatives = "exact"
        self._fun = lambda x: polynomial(x[0])
        self._jac = first
        self._hess = lambda x: np.reshape(second(x), (1, 1))

    def _callable(self, function: Any, part: str, name: str) -> Callable:
        """A function of an array that returns the value, the gradient or the Hessian."""
        if isinstance(function, LowLevelCallable):
            return self._c_function(function, part)
        if not callable(function):
            raise TypeError(f"{name}={function!r}: expected a callable.")
        shape = {"value": (), "gradient": (self.n,), "Hessian": (self.n, self.n)}[part]
        nan = np.full(shape, np.nan)

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
            return (nan, np.full(self.n, np.nan)) if self._both else nan

        return call

    def _c_function(self, function, part):
        fun, jac = (function, None) if part == "value" else (None, function)
        call_c = c_function(compiled_function(fun, jac, self.n), part)

        def call(x):
            result = call_c(x)
            if self.interrupts:
                self.interrupts = ()
                raise KeyboardInterrupt
            return result

        return call

    def _is_start(self, x):
        return self.start is not None and np.array_equal(x, self.start)

    def _given(self, x):
        """x as the user's functions take it; a copy that they may change."""
        return float(x[0]) if self.scalar else x.copy()

    def _gradient(self, x):
        self.njev += 1
        return as_array(self._jac(x), (self.n,), "jac(x)")

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
    """Whether it is an error of Python's floats where NumPy's become infinite or NaN."""
    if isinstance(error, ValueError):
        return re.match(_DOMAIN_ERROR, str(error)) is not None
    return isinstance(error, OverflowError | ZeroDivisionError | FloatingPointError)


class note_iteration:
    """Adds the iteration, as a note, to exceptions raised inside."""

    def __init__(self, iteration, x):
        self._iteration, self._x = iteration, x

    def __enter__(self):
        pass

    def __exit__(self, kind, error, trace):
        if isinstance(error, Exception):
            error.add_note(f"schuss.minimize: in iteration {self._iteration}, at x = {self._x}")
