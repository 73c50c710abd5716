"""Losses of one score, each in one place, for scores of both types in float64.

They have no branches, so LLVM vectorises the loops that call them (2 ns per row with AVX-512), and
return loss and derivative, accurate also where sigma rounds to 0 or 1.
"""

import math

import numpy as np

from schuss.backends.numba_kernels.compiling import fused

# Chebyshev fit of (e**r - 1 - r) / r**2 on |r| <= log(2)/2, highest power first; error 2e-19.
_EXP = (
    2.0915442297780115216e-9, 2.5106274733573294687e-8, 2.7557271810219799569e-7,
    2.7557252833516909748e-6, 0.000024801587327007186731, 0.00019841269876864354929,
    0.0013888888888883326674, 0.0083333333333255446996, 0.041666666666666670074,
    0.16666666666666671438, 0.5,
)  # fmt: skip
# Of (atanh(s) / s - 1) / u on u = s**2 <= 1/9; error 2e-17.
_LOG1P = (
    0.08086486882582435819, 0.043982635133370287926, 0.060009487603518856891,
    0.066570287400614316425, 0.076927876777579189876, 0.090908946237957681686,
    0.11111111360589110707, 0.14285714283535833874, 0.20000000000007361312,
    0.33333333333333329238,
)  # fmt: skip
# log(2) in two parts (Cody & Waite): multiples of the first are exact.
_LOG2_HIGH, _LOG2_LOW = 0.6931471803691238, 1.9082149292705877e-10
_LOG2_E = 1 / math.log(2)
# Adding it rounds to an integer, which then stands in the lowest bits.
_ROUNDER = 1.5 * 2.0**52
_ROUNDER_BITS = int(np.float64(_ROUNDER).view(np.int64))
_LEAST = -760.0  # e**x is 0 below


@fused
def exp_negative(x):
    """e**x for x <= 0; less than 1 ULP, exact zeros and subnormals, NaN for NaN."""
    a, b, c, d, e, f, g, h, i, j, k = _EXP
    if x < _LEAST:  # false for NaN, which stays
        x = _LEAST
    rounded = x * _LOG2_E + _ROUNDER
    n = rounded - _ROUNDER
    r = (x - n * _LOG2_HIGH) - n * _LOG2_LOW
    q = r * r
    # Neighbouring terms in pairs: half as long a chain of operations as Horner's.
    highest = (a * q + (b * r + c)) * q + (d * r + e)
    polynomial = ((highest * q + (f * r + g)) * q + (h * r + i)) * q + (j * r + k)
    power = 1.0 + (r + polynomial * q)
    # 2**n as a product of two normal numbers, so that subnormal results round once.
    exponent = np.float64(rounded).view(np.int64) - _ROUNDER_BITS
    half = exponent >> 1
    first = np.int64((half + 1023) << 52).view(np.float64)
    second = np.int64((exponent - half + 1023) << 52).view(np.float64)
    return power * first * second


@fused
def log1p(t):
    """log(1 + t) for 0 <= t <= 1; about 1 ULP."""
    a, b, c, d, e, f, g, h, i, j = _LOG1P
    s = t / (2.0 + t)
    u = s * s
    polynomial = ((((a * u + b) * u + c) * u + d) * u + e) * u + f
    polynomial = (((polynomial * u + g) * u + h) * u + i) * u + j
    # 2s = t - t s exactly; in this form the leading term t is not rounded.
    return t - s * (t - (u + u) * polynomial)


@fused
def sigmoid_pair(z):
    """sigma(z) and sigma(-z), neither by subtraction from 1, and e**-|z|."""
    t = exp_negative(-abs(z))
    large = 1.0 / (1.0 + t)
    small = t * large
    return (large, small, t) if z >= 0.0 else (small, large, t)


@fused
def squared_error(z, y):
    p, q, _ = sigmoid_pair(z)
    residual = p * (1.0 - y) - q * y
    return residual * residual * 0.5, residual * (p * q)


@fused
def log_loss(z, y):
    p, q, t = sigmoid_pair(z)
    # Its share of |z| is 0 for the right label, of an infinite score too.
    share = y if z < 0.0 else 1.0 - y
    value = log1p(t) + (share if share == 0.0 else share * abs(z))
    return value, p * (1.0 - y) - q * y


@fused
def quadratic(z, y):
    return z * z * 0.5, z
