"""Scalar formulas, in float64 for both real types."""

import math

import numpy as np
from numba import types

from schuss.backends.numba_kernels.codes import (
    LOG_LOGISTIC,
    LOG_LOSS,
    LOGISTIC,
    SQUARED_ERROR,
)
from schuss.backends.numba_kernels.compiling import array, compiled_for, exact, exact_inlined, given
from schuss.backends.numba_kernels.matrix import TILE_ROWS

_LOG2_E = 1 / math.log(2)
# log(2) = high + low; the high part has 21 trailing zero bits: its product with k is exact.
_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
# Adding 1.5 * 2**52 rounds to an integer and leaves it in the lowest bits.
_ROUNDER = 1.5 * 2.0**52
_BIAS = np.uint64(2 * 1023)
_ROUNDER_BITS = np.float64(_ROUNDER).view(np.uint64)
_ONE, _EXPONENT = np.uint64(1), np.uint64(52)


@exact
def exp(x):
    """e**x for x <= 0, exact zeros and subnormals, NaN for NaN; under 1 ULP."""
    if x < -760.0:
        x = -760.0
    rounded = x * _LOG2_E + _ROUNDER
    k = rounded - _ROUNDER
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    # Chebyshev fit of (e**r - 1 - r) / r**2 on |r| <= log(2)/2; its error is below 2e-19. Even
    # and odd powers apart, since each product waits for the one before.
    q = r * r
    even = 2.0915442297780115e-9
    even = even * q + 2.75572718102198e-7
    even = even * q + 2.4801587327007187e-5
    even = even * q + 1.3888888888883327e-3
    even = even * q + 4.166666666666667e-2
    even = even * q + 0.5
    odd = 2.510627457332947e-8
    odd = odd * q + 2.755725283351691e-6
    odd = odd * q + 1.9841269876864355e-4
    odd = odd * q + 8.333333333325545e-3
    odd = odd * q + 0.16666666666666671
    s = even + r * odd
    power = 1.0 + (r + q * s)
    # 2**k as a product of two normal numbers, so that subnormal results round once.
    exponent = np.float64(rounded).view(np.uint64) - _ROUNDER_BITS + _BIAS
    half = exponent >> _ONE
    rest = exponent - half
    first = np.uint64(half << _EXPONENT).view(np.float64)
    second = np.uint64(rest << _EXPONENT).view(np.float64)
    return power * first * second


@exact
def log1p(t):
    """log(1 + t) for 0 <= t <= 1; about 1 ULP."""
    s = t / (2.0 + t)
    u = s * s
    # Chebyshev fit of (atanh(s)/s - 1) / u on u <= 1/9; its error is below 2e-17.
    p = 0.08086486882582436
    p = p * u + 0.04398263513337029
    p = p * u + 0.06000948760351886
    p = p * u + 0.06657028740061432
    p = p * u + 0.07692787677757919
    p = p * u + 0.09090894623795768
    p = p * u + 0.11111111360589111
    p = p * u + 0.14285714283535834
    p = p * u + 0.20000000000007361
    p = p * u + 0.3333333333333333
    return t - s * (t - 2.0 * u * p)


@exact
def logistic_pair(z):
    """sigma(z) and sigma(-z), each to its last digits, and e**-|z|."""
    t = exp(-abs(z))
    large = 1.0 / (1.0 + t)
    small = t * large
    return (large, small, t) if z >= 0 else (small, large, t)


@exact_inlined
def cost_loop(loss, m, z, y, value, derivative):
    """Cost and derivative of m scores, with no digit lost where sigma rounds to 0 or 1."""
    for i in range(m):
        p, q, t = logistic_pair(z[i])
        residual = p * (1.0 - y[i]) - q * y[i]
        if loss == LOG_LOSS:
            value[i] = log1p(t) + (1.0 - y[i]) * max(z[i], 0.0) + y[i] * max(-z[i], 0.0)
            derivative[i] = residual
        elif loss == SQUARED_ERROR:
            value[i] = residual * residual / 2.0
            derivative[i] = residual * p * q
        else:
            value[i] = z[i] * z[i] / 2.0
            derivative[i] = z[i]


@exact
def activate(activation, m, z):
    if activation == LOGISTIC:
        for i in range(m):
            z[i] = logistic_pair(z[i])[0]
    elif activation == LOG_LOGISTIC:
        for i in range(m):
            z[i] = -(log1p(exp(-abs(z[i]))) + max(-z[i], 0.0))


def _pointwise_types(real):
    read, written = given(real, 1, "A", aligned=False), array(real, 1, "A", aligned=False)
    return read, read, types.int64, written, written


@compiled_for(_pointwise_types)
def pointwise(z, y, loss, value, derivative):
    wide = np.empty((4, TILE_ROWS))
    for first in range(0, len(z), TILE_ROWS):
        m = min(TILE_ROWS, len(z) - first)
        for i in range(m):
            wide[0, i] = z[first + i]
            wide[1, i] = y[first + i]
        cost_loop(loss, m, wide[0], wide[1], wide[2], wide[3])
        for i in range(m):
            value[first + i] = wide[2, i]
            derivative[first + i] = wide[3, i]
