"""Log-likelihood, gradient and information, with and without Firth's penalty."""

import math

import numpy as np
import pytest

from schuss.backends import numpy_
from schuss.constants import REAL_TYPE, SINGULAR
from schuss.losses import Loss

from . import cases

SIZES = ((1, 1), (5, 3), (33, 8), (64, 17), (900, 64), (700, 151))


def information(backend, p, offset=None, fit_intercept=True, bias_reduced=False, n_threads=1):
    """Value, gradient and information."""
    theta = np.append(p.coef[0], p.intercept[:fit_intercept]).astype(np.float64)
    out = np.full(len(theta), np.nan), np.full((len(theta),) * 2, np.nan)
    evaluate = backend.information(
        cases.data(backend, p), offset, fit_intercept, bias_reduced,
        SINGULAR[p.coef.dtype.itemsize], n_threads,
    )  # fmt: skip
    evaluate(theta + 1, *out)
    return evaluate(theta, *out), *out


@pytest.mark.parametrize("dtype", cases.DENSE_TYPES)
@pytest.mark.parametrize("layout", ["C", "F", "all backwards", "one column repeated"])
def test_sums_are_those_of_the_reference(backend, dtype, layout):
    rng = np.random.default_rng(3)
    for (n, d), weighted, form in zip(SIZES, (0, 1) * 3, cases.TARGETS * 2, strict=True):
        X = cases.LAYOUTS[layout](cases.dense(dtype, n, d, rng))
        p = cases.problem(X, (1, bool(weighted), form, Loss.LOG_LOSS), rng)
        wide = cases.widened(p)
        for fit_intercept in (True, False):
            offset = rng.standard_normal(n) if weighted == fit_intercept else None
            own = None if offset is None else offset.astype(p.coef.dtype)
            value, gradient, found = information(backend, p, own, fit_intercept)
            expected = information(numpy_, wide, offset, fit_intercept)
            size = np.abs(wide.X).max(initial=1.0)
            unit = 400 * float(np.finfo(p.coef.dtype).eps) * n
            assert value == pytest.approx(expected[0], rel=unit / n)
            assert np.abs(gradient - expected[1]).max() <= unit * size
            assert np.abs(found - expected[2]).max() <= unit * size**2
            assert np.abs(found - found.T).max() <= unit * size**2


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n", [40, 3000])
def test_firths_penalty_is_half_the_logarithm_of_the_determinant(backend, dtype, n):
    rng = np.random.default_rng(4)
    X = cases.dense(dtype, n, 6, rng)
    X[:, 0] *= 1000
    p = cases.problem(X, (1, True, "real", Loss.LOG_LOSS), rng)
    p.coef[:] = 0.1 * rng.standard_normal(6)
    p.coef[0, 0] = 1e-3
    offset = rng.standard_normal(n).astype(dtype)
    value, gradient, found = information(backend, p, offset, bias_reduced=True)
    plain, slopes, curvature = information(backend, p, offset)
    close = 1e-10 if dtype == "float64" else 1e-3
    assert value == pytest.approx(plain - np.linalg.slogdet(curvature)[1] / 2, rel=close)
    assert (found == curvature).all()
    reference = information(numpy_, cases.widened(p), offset.astype(float), bias_reduced=True)
    assert value == pytest.approx(reference[0], rel=close)
    units = np.sqrt(reference[2].diagonal())
    assert np.abs((gradient - reference[1]) / units).max() <= close * np.sqrt(n)
    if dtype == "float32":
        return
    for j in range(7):
        step = np.zeros(7)
        step[j] = 1e-4 / units[j]
        ends = []
        for sign in (1, -1):
            p.coef[0] += sign * step[:6]
            p.intercept += sign * step[6]
            ends.append(information(backend, p, offset, bias_reduced=True)[0])
            p.coef[0] -= sign * step[:6]
            p.intercept -= sign * step[6]
        slope = (ends[0] - ends[1]) / 2e-4
        assert slope == pytest.approx(gradient[j] / units[j], rel=1e-4, abs=1e-5)


def test_firths_penalty_of_dependent_columns_is_infinite(backend):
    rng = np.random.default_rng(5)
    X = rng.standard_normal((50, 3))
    p = cases.problem(np.column_stack([X, X[:, 1]]), (1, False, "uint8", Loss.LOG_LOSS), rng)
    assert information(backend, p, bias_reduced=True)[0] == math.inf


def test_scores_without_an_end(backend):
    """Rows that are far on the right side count nothing, those on the wrong one their score."""
    X = np.array([[1e6], [-1e6], [1e6], [0.0]])
    p = cases.problem(X, (1, False, "uint8", Loss.LOG_LOSS), np.random.default_rng(6))
    p.y, p.coef[:], p.intercept[:] = np.array([1, 0, 0, 1], np.uint8), 1.0, 0.0
    value, gradient, found = information(backend, p)
    assert value == pytest.approx(1e6 + math.log(2))
    np.testing.assert_allclose(gradient, [1e6, 0.5])
    np.testing.assert_allclose(found, [[0, 0], [0, 0.25]], atol=1e-300)
    p.X[0] = np.nan
    assert not math.isfinite(information(backend, p)[0])


@pytest.mark.parametrize("dtype", cases.DENSE_TYPES)
@pytest.mark.parametrize("layout", ["C", "F", "rows strided"])
def test_weighted_gram(backend, dtype, layout):
    rng = np.random.default_rng(8)
    for n, d in SIZES:
        X = cases.LAYOUTS[layout](cases.dense(dtype, n, d, rng))
        real = REAL_TYPE[X.dtype]
        factors = (rng.random(n) * (rng.random(n) < 0.8)).astype(real)
        for fit_intercept in (True, False):
            rows = np.column_stack([X, np.ones(n)])[:, : d + fit_intercept].astype(float)
            expected = rows.T @ (rows * factors[:, None])
            out = [np.full(expected.shape, np.nan) for _ in range(2)]
            for n_threads, found in enumerate(out, 1):
                backend.weighted_gram(backend.prepare(X), factors, fit_intercept, found, n_threads)
            unit = 50 * float(np.finfo(real).eps) * np.abs(rows).max() ** 2 * n
            assert np.abs(out[0] - expected).max() <= unit
            assert (out[0] == out[1]).all() and np.abs(out[0] - out[0].T).max() <= unit


def test_bits_are_those_of_one_thread(backend):
    rng = np.random.default_rng(7)
    p = cases.problem(rng.standard_normal((9000, 40)), (1, True, "uint8", Loss.LOG_LOSS), rng)
    for bias_reduced in (False, True):
        alone = information(backend, p, bias_reduced=bias_reduced)
        for n_threads in (2, 3):
            other = information(backend, p, bias_reduced=bias_reduced, n_threads=n_threads)
            for a, b in zip(alone, other, strict=True):
                np.testing.assert_array_equal(a, b)
