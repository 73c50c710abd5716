"""Polynomials, and the bound of their curvature on the path of the iterates."""

import math
from typing import Any

import numpy as np
from numpy.polynomial import Polynomial


def as_polynomial(fun: Any) -> Polynomial | None:
    """`fun` in powers of x if it is a polynomial, else None."""
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


def curvature_bound(polynomial: Polynomial, x0: Any) -> float | None:
    """Largest \\|f''\\| on the interval around x0 in which f is at most f(x0), or None.

    With its inverse as the learning rate no iterate leaves the interval. It is None where f is
    unbounded below in the direction of descent, or where some root is too large for a float.
    """
    try:
        with np.errstate(over="ignore"):
            return _curvature_bound(polynomial, x0)
    except np.linalg.LinAlgError:  # a subnormal coefficient divides the others
        return None


def _curvature_bound(polynomial, x0):
    level = polynomial - polynomial(x0)
    derivative = polynomial.deriv()(x0)
    roots = level.roots() if level.degree() > 0 else np.empty(0)
    roots = roots.real[np.abs(roots.imag) <= 1e-6 * (1 + np.abs(roots))]
    others = roots[np.abs(roots - x0) > 1e-6 * (1 + abs(x0))]
    ahead = others[others < x0] if derivative > 0 else others[others > x0]
    if derivative == 0 or not len(ahead):
        return None
    end = ahead.max() if derivative > 0 else ahead.min()
    second = polynomial.deriv(2)
    extrema = second.deriv().roots() if second.degree() > 1 else np.empty(0)
    extrema = extrema.real[(extrema.real - x0) * (extrema.real - end) < 0]
    largest = float(np.abs(second(np.array([x0, end, *extrema]))).max())
    return largest if largest > 0 and math.isfinite(largest) else None
