"""The multinomial cost, which couples the outputs: values, derivatives, extremes."""

import mpmath
import numpy as np
import pytest
import scipy.sparse as sp

from schuss.losses import Loss

from . import cases
from .test_gradients import complex_step, richardson

SHAPES = (
    (1, 1, 2),
    (5, 3, 3),
    (65, 7, 4),
    (300, 33, 10),
    (3000, 64, 3),
    (70, 20, 17),
    (40, 130, 70),
)


def problem(X, n_outputs, weighted, form, rng):
    """Targets that sum to 1 in each row, where they are real numbers."""
    p = cases.problem(X, (n_outputs, weighted, form, Loss.MULTINOMIAL), rng)
    if form == "real":
        p.y /= p.y.sum(axis=0)
    if weighted:
        p.weight += p.weight.dtype.type(0.5)  # else a single row may have none
    return p


def targets(p):
    if p.y.ndim == 2:
        return p.y.astype(np.longdouble)
    return (p.y == np.arange(len(p.coef))[:, None]).astype(np.longdouble)


def formula(p):
    """The cost as the textbook writes it, for complex parameters in extended precision."""
    X = p.X.toarray() if sp.issparse(p.X) else p.X
    X, y = X.astype(np.longdouble), targets(p)
    weight = np.ones(len(X)) if p.weight is None else p.weight.astype(np.longdouble)

    def cost(theta):
        z = theta[:, :-1] @ X.T + theta[:, -1:]
        each = np.log(np.exp(z).sum(axis=0)) - (y * z).sum(axis=0)
        return p.scale * (weight * each).sum()

    return cost


@pytest.mark.parametrize("weighted", (False, True), ids=("", "weighted"))
@pytest.mark.parametrize("form", cases.TARGETS)
def test_gradient(backend, form, weighted):
    rng = np.random.default_rng(11)
    for n, d, k in SHAPES[:4]:
        p = problem(rng.standard_normal((n, d)), k, weighted, form, rng)
        value, *parts = cases.gradient(backend, p)
        actual = np.column_stack(parts)
        theta = np.column_stack([p.coef, p.intercept])
        cost = formula(p)
        assert value == pytest.approx(float(cost(theta.astype(np.longdouble))), rel=1e-13)
        expected = complex_step(cost, theta)
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-14)

        def own_value(theta, p=p):
            p.coef, p.intercept = theta[:, :-1].copy(), theta[:, -1].copy()
            return cases.gradient(backend, p)[0]

        differences = richardson(own_value, theta)
        assert np.abs(actual - differences).max() <= 1e-7 * np.abs(differences).max()


@pytest.mark.parametrize("dtype", cases.DENSE_TYPES)
@pytest.mark.parametrize("layout", ("C", "F", "rows strided", "columns strided", "misaligned"))
def test_types_and_orders(backend, reference, dtype, layout):
    rng = np.random.default_rng(12)
    for n, d, k in SHAPES:
        p = problem(cases.LAYOUTS[layout](cases.dense(dtype, n, d, rng)), k, True, "uint8", rng)
        compare(backend, reference, p)


@pytest.mark.parametrize("dtype", cases.SPARSE_TYPES)
@pytest.mark.parametrize("index", cases.INDEX_TYPES)
def test_sparse(backend, reference, dtype, index):
    rng = np.random.default_rng(13)
    for n, d, k in SHAPES:
        p = problem(cases.sparse(dtype, index, n, d, rng), k, False, "int32", rng)
        compare(backend, reference, p)


def compare(backend, reference, p):
    actual, expected = cases.gradient(backend, p), cases.gradient(reference, cases.widened(p))
    wide, z_error, unit = cases._slack(p)
    # |dc/dz| <= 1 and the second derivative is below 1/2; the roundings of n terms.
    error = 2 * float(z_error.max(initial=0)) + 4 * len(p.coef) * unit
    error += cases.growth(p.X.shape[0], p.coef.dtype)
    cases.assert_within(actual[0], expected[0], error * (1 + abs(expected[0])), "value")
    size = np.abs(wide.X).mean(axis=0)
    cases.assert_within(actual[1], expected[1], error * 3 * (size + unit), "coef")
    cases.assert_within(actual[2], expected[2], 3 * error, "intercept")


def test_extremes(backend):
    """No digit is lost where probabilities round to 0 or 1, and nothing overflows."""
    rows = [
        (0.0, 0.0, 0.0), (36.8, 0.0, -1.0), (-36.8, 0.0, 3.0), (750.0, 0.0, 1.0),
        (-800.0, -800.0, -800.0), (1e300, 1e300, 0.0), (1e308, 0.0, -1e308), (1e-320, 0.0, 0.0),
        (50.0, 50.0, 50.0 - 1e-14), (-1.0, 40.0, 41.0),
    ]  # fmt: skip
    # One row whose only feature is 1 at a time, so that derivatives are not added up.
    with mpmath.workdps(400):
        for z in rows:
            for code in range(3):
                X = np.ones((1, 1))
                p = cases.problem(X, (3, False, "uint8", Loss.MULTINOMIAL), np.random.default_rng())
                p.y[:] = code
                p.coef, p.intercept = np.array(z)[:, None], np.zeros(3)
                value, coef, _ = cases.gradient(backend, p)
                e = [mpmath.exp(mpmath.mpf(v) - max(z)) for v in z]
                total = sum(e)
                cost = max(z) + mpmath.log(total) - mpmath.mpf(z[code])
                assert close(value, cost), (z, code, value, cost)
                for k in range(3):
                    slope = e[k] / total if k != code else -(total - e[k]) / total
                    assert close(coef[k, 0], slope), (z, code, k, coef[k, 0], slope)


def close(actual, expected):
    if expected > np.finfo(float).max:
        return actual == np.inf
    return abs(actual - expected) <= 1e-14 * abs(expected) + mpmath.mpf("1e-322")


def test_same_bits_for_all_threads(backend):
    rng = np.random.default_rng(14)
    for dtype in ("float64", "float32"):
        p = problem(cases.dense(dtype, 40_000, 20, rng), 4, True, "uint8", rng)
        one, *others = (cases.gradient(backend, p, n) for n in (1, 2, 3))
        for other in others:
            assert one[0] == other[0]
            assert (one[1] == other[1]).all() and (one[2] == other[2]).all()
