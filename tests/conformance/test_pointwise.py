"""Scalar formulas against mpmath, from subnormal scores to 1e308, in units in the last place.

"No floating-point warning" means NumPy's default set: overflow, division by zero and
invalid operations. Underflow to 0 is the right answer at e**-1000 and is silent there too.
"""

import mpmath
import numpy as np
import pytest

from schuss.constants import Activation
from schuss.losses import Loss

EXTREMES = (
    0.0, 5e-324, 1e-310, 2.3e-308, 1e-300, 1e-45, 1e-38, 1e-20, 1e-8, 0.1, 0.5, 1.0, 1.0986,
    2.0, 10.0, 16.6, 17.4, 30.0, 36.0, 36.7, 36.8, 37.5, 40.0, 87.0, 88.0, 88.7, 89.0, 100.0,
    103.0, 103.9, 104.0, 105.0, 300.0, 372.0, 700.0, 708.4, 709.0, 709.8, 710.0, 740.0, 744.4,
    745.0, 745.13, 745.14, 745.2, 746.0, 750.0, 1e3, 1e4, 1e10, 1e30, 1e38, 3e38, 1e100, 1e308,
)  # fmt: skip
REALS = (np.float64, np.float32)
SIGMOID_ULP = 2.5


def scores(real):
    """Extremes of both signs that the type can hold, and a dense and a random grid."""
    rng = np.random.default_rng(11)
    ends = np.array([z for z in EXTREMES if z <= float(np.finfo(real).max)])
    deep = -np.log(np.finfo(real).smallest_subnormal)
    grids = np.linspace(0, 40, 301), rng.random(300) * 40, rng.random(200) * 1.01 * deep
    z = np.concatenate([ends, *grids]).astype(real)
    return np.concatenate([z, -z])


_known = {}


def exactly(function, z, *more):
    """What mpmath says at each score; kept, for the backends ask the same."""
    key = function, z.dtype, z.tobytes(), more
    if key not in _known:
        with mpmath.workprec(200):
            _known[key] = [function(mpmath.mpf(float(x)), *more) for x in z]
    return _known[key]


def ulps(actual, exact):
    """Errors in units in the last place of the correctly rounded result."""
    with mpmath.workprec(200):
        error = [abs(mpmath.mpf(float(a)) - e) for a, e in zip(actual, exact, strict=True)]
        rounded = np.abs(np.array([float(e) for e in exact])).astype(actual.dtype)
        unit = np.spacing(rounded)
        return np.array([float(e / mpmath.mpf(float(u))) for e, u in zip(error, unit, strict=True)])


def assert_ulps(actual, exact, limit, z):
    error = ulps(actual, exact)
    worst = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
    assert error[worst] <= limit, (
        f"{error[worst]:.2f} ULP at z = {z[worst]!r}: {actual[worst]!r}, not {exact[worst]}"
    )


def sigma(z):
    return 1 / (1 + mpmath.exp(-z))


def softplus(z, sign=1):
    return mpmath.log1p(mpmath.exp(-abs(z))) + max(sign * z, 0)


def log_sigma(z):
    return -softplus(z, -1)


def sigma_slope(z):
    return sigma(z) * sigma(-z)


def residual(z, y):
    return (1 - y) * sigma(z) - y * sigma(-z)


def residual_size(z, y):
    return (1 - y) * sigma(z) + y * sigma(-z)


def log_loss(z, y):
    return (1 - y) * softplus(z) + y * softplus(z, -1)


def squared_error(z, y):
    return residual(z, y) ** 2 / 2


def squared_error_slope(z, y):
    return residual(z, y) * sigma_slope(z)


def quadratic(z):
    return z * z / 2


def pointwise(backend, z, y, loss):
    value, derivative = np.full_like(z, np.nan), np.full_like(z, np.nan)
    with np.errstate(all="raise", under="ignore"):
        backend.pointwise(z, np.full_like(z, y), loss, value, derivative)
    return value, derivative


def activated(backend, z, activation):
    out = np.full((len(z), 1), np.nan, z.dtype)
    one, zero = np.ones((1, 1), z.dtype), np.zeros(1, z.dtype)
    with np.errstate(all="raise", under="ignore"):
        backend.predict(backend.prepare(z[:, None]), one, zero, activation, out, 1)
    return out[:, 0]


@pytest.mark.parametrize("real", REALS)
def test_logistic(backend, real):
    z = scores(real)
    p = activated(backend, z, Activation.LOGISTIC)
    assert_ulps(p, exactly(sigma, z), SIGMOID_ULP, z)
    assert (p[z == 0] == 0.5).all()
    assert (p[z >= 1000] == 1).all()
    assert (p[z <= -1000] == 0).all()


@pytest.mark.parametrize("real", REALS)
def test_log_logistic(backend, real):
    z = scores(real)
    assert_ulps(
        activated(backend, z, Activation.LOG_LOGISTIC),
        exactly(log_sigma, z),
        SIGMOID_ULP,
        z,
    )


@pytest.mark.parametrize("real", REALS)
def test_infinite_scores(backend, real):
    z = np.array([np.inf, -np.inf], real)
    assert activated(backend, z, Activation.LOGISTIC).tolist() == [1, 0]
    assert activated(backend, z, Activation.LOG_LOGISTIC).tolist() == [0, -np.inf]


@pytest.mark.parametrize("real", REALS)
def test_costs_of_infinite_scores(backend, real):
    z = np.array([np.inf, -np.inf, np.inf, -np.inf], real)
    y = np.array([1, 0, 0, 1], real)
    for loss, values, slopes in (
        (Loss.SQUARED_ERROR, [0, 0, 0.5, 0.5], [0, 0, 0, 0]),
        (Loss.LOG_LOSS, [0, 0, np.inf, np.inf], [0, 0, 1, -1]),
    ):
        value, slope = np.empty_like(z), np.empty_like(z)
        backend.pointwise(z, y, loss, value, slope)
        assert value.tolist() == values and slope.tolist() == slopes


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("activation", Activation, ids=lambda a: a.name.lower())
def test_nan_scores(backend, real, activation):
    for count in (1, 3, 64, 65):
        assert np.isnan(activated(backend, np.full(count, np.nan, real), activation)).all()


@pytest.mark.parametrize("y", (0.0, 1.0))
@pytest.mark.parametrize("real", REALS)
def test_log_loss(backend, real, y):
    """The cost is log(1 + e**z) for y = 0 and log(1 + e**-z) for y = 1; no digit is lost."""
    z = scores(real)
    sign = 1 if y == 0 else -1
    value, derivative = pointwise(backend, z, y, Loss.LOG_LOSS)
    assert_ulps(value, exactly(softplus, z, sign), SIGMOID_ULP, z)
    assert_ulps(derivative, exactly(residual, z, y), SIGMOID_ULP, z)


@pytest.mark.parametrize("y", (0.0, 1.0))
@pytest.mark.parametrize("real", REALS)
def test_squared_error(backend, real, y):
    """Products of two and three sigmoids: each brings its error, and one rounding more."""
    z = scores(real)
    value, derivative = pointwise(backend, z, y, Loss.SQUARED_ERROR)
    assert_ulps(value, exactly(squared_error, z, y), 2 * SIGMOID_ULP + 1, z)

    assert_ulps(derivative, exactly(squared_error_slope, z, y), 3 * SIGMOID_ULP + 1, z)


@pytest.mark.parametrize("real", REALS)
def test_soft_targets(backend, real):
    """For y within (0, 1) the derivative changes its sign: digits may cancel, none else."""
    z, y = scores(real), 0.25
    unit = np.finfo(real).eps
    value, derivative = pointwise(backend, z, y, Loss.LOG_LOSS)
    terms = exactly(residual_size, z, y)
    exact = exactly(residual, z, y)
    spread = exactly(sigma_slope, z)
    assert_ulps(value, exactly(log_loss, z, y), 4, z)
    for got, e, size in zip(derivative, exact, terms, strict=True):
        assert abs(float(got) - e) <= 4 * unit * size

    value, derivative = pointwise(backend, z, y, Loss.SQUARED_ERROR)
    tiny = 2 * float(np.finfo(real).smallest_subnormal)
    for v, g, e, size, slope in zip(value, derivative, exact, terms, spread, strict=True):
        assert abs(float(v) - e * e / 2) <= 8 * unit * size * size
        assert abs(float(g) - e * slope) <= 8 * unit * size * slope + tiny


@pytest.mark.parametrize("real", REALS)
def test_quadratic(backend, real):
    z = np.array([z for z in scores(real) if abs(z) <= np.finfo(real).max ** 0.5], real)
    value, derivative = pointwise(backend, z, 0.5, Loss.QUADRATIC)
    assert_ulps(value, exactly(quadratic, z), 1, z)
    np.testing.assert_array_equal(derivative, z)


def test_a_confident_neuron_still_learns(backend):
    """At z = 36.8 sigma(z) rounds to 1, and yet the derivative is not 0."""
    _, derivative = pointwise(backend, np.array([36.8]), 1.0, Loss.LOG_LOSS)
    assert derivative[0] == pytest.approx(-1.0422e-16, rel=1e-4)


def test_length_does_not_change_a_number(backend):
    """What remains after whole vectors is computed as they are."""
    z = scores(np.float64)
    whole, _ = pointwise(backend, z, 0.0, Loss.LOG_LOSS)
    for length in (1, 2, 3, 5, 8, 15, 17, 63, 64, 65):
        part, _ = pointwise(backend, z[:length].copy(), 0.0, Loss.LOG_LOSS)
        assert_ulps(part, [mpmath.mpf(float(x)) for x in whole[:length]], 1, z)
