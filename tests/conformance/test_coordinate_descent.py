"""Columns that are taken, and coordinate descent on them."""

import numpy as np
import pytest
import scipy.sparse as sp

from schuss.backends import numpy_
from schuss.backends.contract import Columns
from schuss.constants import REAL_TYPE

from . import cases

SIZES = ((1, 1), (5, 3), (33, 8), (64, 17), (65, 40), (200, 33))


def whole(columns, n):
    """Columns as the rows of a dense array."""
    if columns.rows is None:
        return columns.values
    m = len(columns.starts) - 1
    return sp.csc_array((columns.values, columns.rows, columns.starts), shape=(n, m)).toarray().T


@pytest.mark.parametrize("layout", cases.LAYOUTS)
@pytest.mark.parametrize("dtype", cases.DENSE_TYPES)
def test_dense_columns(backend, dtype, layout):
    rng = np.random.default_rng(1)
    for n, d in SIZES:
        X = cases.LAYOUTS[layout](cases.dense(dtype, n, d, rng))
        for m in {0, 1, (d + 1) // 2, d}:
            features = rng.permutation(d)[:m].astype(np.int32)
            taken = backend.take_columns(backend.prepare(X), features)
            assert taken.rows is None and taken.starts is None
            assert taken.values.dtype == REAL_TYPE[np.dtype(dtype)]
            assert taken.values.flags.c_contiguous
            np.testing.assert_array_equal(taken.values, X.T[features].astype(taken.values.dtype))


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("index", cases.INDEX_TYPES)
@pytest.mark.parametrize("dtype", cases.SPARSE_TYPES)
def test_sparse_columns(backend, dtype, index, parts):
    rng = np.random.default_rng(2)
    for n, d in SIZES:
        X = cases.sparse(dtype, index, n, d, rng)
        if parts:
            # Each entry once more, after the others of its row, which so are not in order.
            order = np.argsort(np.repeat(np.arange(n), 2 * np.diff(X.indptr)), kind="stable")
            rows = np.repeat(np.arange(n), np.diff(X.indptr))
            order = np.argsort(np.concatenate([rows, rows]), kind="stable")
            again = np.concatenate([X.data, 2 * X.data])[order]
            indices = np.concatenate([X.indices, X.indices])[order]
            X = sp.csr_array((again, indices, 2 * X.indptr), shape=(n, d))
        for m in {0, 1, (d + 1) // 2, d}:
            features = rng.permutation(d)[:m].astype(np.int32)
            taken = backend.take_columns(backend.prepare(X), features)
            assert taken.values.dtype == dtype and taken.rows.dtype == np.int32
            assert taken.starts.dtype == np.int64 and len(taken.starts) == m + 1
            for start, stop in zip(taken.starts, taken.starts[1:], strict=False):
                assert (np.diff(taken.rows[start:stop]) > 0).all()
            np.testing.assert_array_equal(whole(taken, n), X.toarray().T[features])


def model(form, real, n, m, rng):
    """Columns, places, and the other arguments up to `theta`."""
    dense = rng.standard_normal((m + 2, n)) * (rng.random((m + 2, n)) < 0.6)
    dense = dense.astype(real)
    columns = Columns(dense, None, None)
    if form == "sparse":
        part = sp.csc_array(dense.T)
        columns = Columns(part.data, part.indices.astype(np.int32), part.indptr.astype(np.int64))
    places = rng.permutation(m + 2)[:m].astype(np.int32)
    residual = (rng.standard_normal(n) / n).astype(real)
    curvature = (rng.random(n) / n).astype(real)
    l2, l1 = 0.01 * rng.random(m), 0.3 * rng.random(m) / np.sqrt(n)
    l1[0] = 0.0
    theta = (rng.standard_normal(m) * (rng.random(m) < 0.5)).astype(real).astype(np.float64)
    return columns, places, residual, curvature, l2, l1, theta


def descend(backend, arguments, tol, rate=0.0, sweeps=500):
    """Answer, weights, residual and change."""
    columns, places, residual, curvature, l2, l1, theta = arguments
    residual, theta, change = residual.copy(), theta.copy(), np.full_like(residual, np.nan)
    told = backend.coordinate_descent(
        columns, places, residual, curvature, l2, l1, theta, change, tol, rate, sweeps
    )
    return told, theta, residual, change


def subgradient(arguments, theta):
    """Largest entry of the smallest one of the model, in float64."""
    columns, places, residual, curvature, l2, l1, start = arguments
    A = whole(columns, len(residual))[places].astype(np.float64)
    slope = A @ (residual + curvature * ((theta - start) @ A)) + l2 * theta
    at_zero = np.maximum(np.abs(slope) - l1, 0)
    return np.where(theta != 0, np.abs(slope + l1 * np.sign(theta)), at_zero).max()


@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize("real", ["float64", "float32"])
def test_minimum(backend, real, form):
    rng = np.random.default_rng(3)
    for n, m in ((1, 1), (7, 3), (40, 12), (300, 70), (513, 5)):
        arguments = model(form, real, n, m, rng)
        columns, places, residual, curvature, *_, theta = arguments
        tol = 3e-6 if real == "float32" else 1e-12
        (sweeps, first, last), new, left, change = descend(backend, arguments, tol)
        assert last <= tol and sweeps < 500 and first >= last
        assert subgradient(arguments, new) <= 5 * tol
        np.testing.assert_array_equal(new, new.astype(real))
        A = whole(columns, n)[places].astype(np.float64)
        moved = (new - theta) @ A
        unit = 100 * np.finfo(real).eps * max(1, np.abs(theta).max())
        np.testing.assert_allclose(change, moved, rtol=0, atol=unit * 8)
        np.testing.assert_allclose(left, residual + curvature * moved, rtol=0, atol=unit * 8 / n)


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_each_sweep_is_the_reference(backend, form):
    rng = np.random.default_rng(4)
    arguments = model(form, "float64", 90, 25, rng)
    for sweeps in (1, 2, 3, 6):
        for tol, rate in ((0.0, 0.0), (0.0, 0.3), (0.02, 0.0)):
            told, *found = descend(backend, arguments, tol, rate, sweeps)
            expected, *arrays = descend(numpy_, arguments, tol, rate, sweeps)
            assert told[0] == expected[0] <= sweeps
            np.testing.assert_allclose(told[1:], expected[1:], rtol=1e-9, atol=1e-12)
            for a, e in zip(found, arrays, strict=True):
                np.testing.assert_allclose(a, e, rtol=1e-9, atol=1e-12)


def test_a_rate_ends_it_earlier(backend):
    arguments = model("dense", "float64", 90, 25, np.random.default_rng(5))
    (many, first, last), *_ = descend(backend, arguments, 1e-10)
    (few, same, enough), *_ = descend(backend, arguments, 1e-10, rate=0.05)
    assert few < many and same == first and last < enough <= 0.05 * first


def test_what_has_no_curvature_stays(backend):
    arguments = list(model("dense", "float64", 30, 4, np.random.default_rng(6)))
    arguments[3][:] = 0
    arguments[4][1:] = 0
    (sweeps, *_), theta, *_ = descend(backend, arguments, 0.0, sweeps=4)
    assert (theta[1:] == arguments[-1][1:]).all() and theta[0] != arguments[-1][0]
    # No weights at all.
    empty = [part[:0] if i in (1, 4, 5, 6) else part for i, part in enumerate(arguments)]
    told, _, residual, change = descend(backend, empty, 0.0)
    assert told == (1, 0.0, 0.0) and not change.any() and (residual == arguments[2]).all()


def test_what_is_not_finite_ends_it(backend):
    for wrong in (np.nan, np.inf):
        arguments = model("dense", "float64", 30, 4, np.random.default_rng(7))
        arguments[2][3] = wrong
        arguments[0].values[arguments[1][0], 3] = 1.0
        with np.errstate(invalid="ignore"):
            (sweeps, first, last), *_ = descend(backend, arguments, 1e-9)
        assert sweeps <= 2 and not np.isfinite(last)
