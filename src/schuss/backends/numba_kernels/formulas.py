"""Scalar formulas, for both real types.

What is written out is float32: it leaves the type of what it meets alone.
"""

import numpy as np
from numba import types
from numba.extending import overload

from schuss.backends.numba_kernels.codes import (
    LOG_LOGISTIC,
    LOG_LOSS,
    LOGISTIC,
    QUADRATIC,
    SQUARED_ERROR,
)
from schuss.backends.numba_kernels.compiling import (
    EXACT,
    array,
    compiled_for,
    exact,
    exact_inlined,
    given,
)

_ZERO, _HALF, _ONE, _TWO = (np.float32(number) for number in (0, 0.5, 1, 2))

# Chebyshev fits. Of (e**r - 1 - r) / r**2 on |r| <= log(2)/2, highest power first; the errors are
# below 4e-9 and 2e-19.
_EXP_SINGLE = tuple(
    np.float32(number) for number in (
        0.00019891981313977690212, 0.0013934541928270264477, 0.0083333100242252924299,
        0.041666456809677876034, 0.16666666682534356071, 0.50000000142862234172,
    )
)  # fmt: skip
_EXP_DOUBLE = (
    2.0915442297780115216e-9, 2.5106274733573294687e-8, 2.7557271810219799569e-7,
    2.7557252833516909748e-6, 0.000024801587327007186731, 0.00019841269876864354929,
    0.0013888888888883326674, 0.0083333333333255446996, 0.041666666666666670074,
    0.16666666666666671438, 0.5,
)  # fmt: skip
# Of (atanh(s) / s - 1) / u on u = s**2 <= 1/9; the errors are below 2e-8 and 2e-17.
_LOG1P_SINGLE = tuple(
    np.float32(number) for number in (
        0.11615127803448179542, 0.10852713536419283124, 0.14296213037334131581,
        0.19999852539504327204, 0.33333333661987504681,
    )
)  # fmt: skip
_LOG1P_DOUBLE = (
    0.08086486882582435819, 0.043982635133370287926, 0.060009487603518856891,
    0.066570287400614316425, 0.076927876777579189876, 0.090908946237957681686,
    0.11111111360589110707, 0.14285714283535833874, 0.20000000000007361312,
    0.33333333333333329238,
)  # fmt: skip


@exact
def _exp_polynomial_single(r, q):
    a, b, c, d, e, f = _EXP_SINGLE
    # Neighbouring terms in pairs: half as long a chain of operations as Horner's.
    return ((a * r + b) * q + (c * r + d)) * q + (e * r + f)


@exact
def _exp_polynomial_double(r, q):
    a, b, c, d, e, f, g, h, i, j, k = _EXP_DOUBLE
    highest = (a * q + (b * r + c)) * q + (d * r + e)
    return ((highest * q + (f * r + g)) * q + (h * r + i)) * q + (j * r + k)


def _exponential(real, bits, least, ln2_high, ln2_low, polynomial):
    """`exp_parts` for a type; k times the high part of log(2) is exact."""
    limits = np.finfo(real)
    mantissa = bits(limits.nmant)
    least, log2_e, ln2_high, ln2_low = map(real, (least, 1 / np.log(2), ln2_high, ln2_low))
    # Adding it rounds to an integer and leaves it in the lowest bits.
    rounder = real(1.5 * 2.0**limits.nmant)
    # For the exponents of two numbers.
    bias = bits(2 * (limits.maxexp - 1)) - rounder.view(bits)
    place = bits(1)

    def exp_parts(x):
        if x < least:
            x = least
        rounded = x * log2_e + rounder
        k = rounded - rounder
        r = (x - k * ln2_high) - k * ln2_low
        q = r * r
        r += polynomial(r, q) * q
        power = _ONE + r
        lost = r - (power - _ONE)
        # 2**k as a product of two normal numbers, so that subnormal results round once.
        exponent = bits(real(rounded).view(bits) + bias)
        half = bits(exponent >> place)
        rest = bits(exponent - half)
        first, second = bits(half << mantissa).view(real), bits(rest << mantissa).view(real)
        return power * first * second, lost - lost * r

    return exp_parts


with np.errstate(over="ignore"):
    _EXP_PARTS = {
        types.float32: _exponential(
            np.float32, np.uint32, -110, 0.693145751953125, 1.428606765330187e-06,
            _exp_polynomial_single,
        ),
        types.float64: _exponential(
            np.float64, np.uint64, -760, 0.6931471803691238, 1.9082149292705877e-10,
            _exp_polynomial_double,
        ),
    }  # fmt: skip


def exp_parts(x):
    """(t, rest), with e**x = t * (1 + rest), for x <= 0; t errs by less than 1 ULP.

    Exact zeros and subnormals, NaN for NaN.
    """


@overload(exp_parts, jit_options=EXACT)
def _choose_exp_parts(x):
    return _EXP_PARTS[x]


def _log1p_polynomial(u):
    """(atanh(s) / s - 1) / u for u = s**2"""


@overload(_log1p_polynomial, jit_options=EXACT)
def _choose_log1p_polynomial(u):
    def single(u):
        a, b, c, d, e = _LOG1P_SINGLE
        return (((a * u + b) * u + c) * u + d) * u + e

    def double(u):
        a, b, c, d, e, f, g, h, i, j = _LOG1P_DOUBLE
        highest = ((((a * u + b) * u + c) * u + d) * u + e) * u + f
        return (((highest * u + g) * u + h) * u + i) * u + j

    return single if u == types.float32 else double


@exact
def log1p(t):
    """log(1 + t) for 0 <= t <= 1; about 1 ULP."""
    s = t / (_TWO + t)
    u = s * s
    # 2s = t - t s exactly; in this form the leading term t is not rounded.
    return t - s * (t - (u + u) * _log1p_polynomial(u))


@exact
def logistic_pair(z):
    """sigma(z) and sigma(-z), neither by subtraction from 1, and e**-|z|.

    What the roundings of e**-|z| and of 1 + e**-|z| lost is added again: within 1.5 ULP, also where
    products are not fused with sums.
    """
    t, rest = exp_parts(-abs(z))
    whole = _ONE + t
    more = t * rest
    missing = (t - (whole - _ONE)) + more
    large, small = _ONE / whole, t / whole
    small += large * (more - missing * small)
    large -= large * large * missing
    return (large, small, t) if z >= _ZERO else (small, large, t)


# Costs and derivatives of m scores, with no digit lost where sigma rounds to 0 or 1. For each loss
# a function: references to arrays would be counted in one that branches before its loops.


@exact_inlined
def squared_errors(m, z, y, value, derivative):
    for i in range(m):
        p, q, _ = logistic_pair(z[i])
        residual = p * (_ONE - y[i]) - q * y[i]
        value[i] = residual * residual * _HALF
        derivative[i] = residual * (p * q)


@exact_inlined
def log_losses(m, z, y, value, derivative):
    for i in range(m):
        p, q, t = logistic_pair(z[i])
        # Its share of |z| is 0 for the right label, of an infinite score too.
        share = y[i] if z[i] < _ZERO else _ONE - y[i]
        value[i] = log1p(t) + (share if share == _ZERO else share * abs(z[i]))
        derivative[i] = p * (_ONE - y[i]) - q * y[i]


@exact_inlined
def quadratics(m, z, value, derivative):
    for i in range(m):
        value[i] = z[i] * z[i] * _HALF
        derivative[i] = z[i]


@exact
def activate(activation, m, z):
    if activation == LOGISTIC:
        for i in range(m):
            p, _, _ = logistic_pair(z[i])
            z[i] = p
    elif activation == LOG_LOGISTIC:
        for i in range(m):
            t, _ = exp_parts(-abs(z[i]))
            z[i] = (z[i] if z[i] < _ZERO else _ZERO) - log1p(t)


def _pointwise_types(real):
    read, written = given(real, 1, "A", aligned=False), array(real, 1, "A", aligned=False)
    return read, read, types.int64, written, written


@compiled_for(_pointwise_types)
def pointwise(z, y, loss, value, derivative):
    if loss == SQUARED_ERROR:
        squared_errors(len(z), z, y, value, derivative)
    elif loss == LOG_LOSS:
        log_losses(len(z), z, y, value, derivative)
    elif loss == QUADRATIC:
        quadratics(len(z), z, value, derivative)
