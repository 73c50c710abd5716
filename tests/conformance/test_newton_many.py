"""Newton's method for many small models: rows, targets, weights, columns and penalties of each."""

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse as sp

from schuss.backends import numpy_
from schuss.backends.contract import Data, ManyConfig
from schuss.constants import REAL_TYPE, SINGULAR, ModelReport, ModelStatus
from schuss.losses import Loss
from schuss.solvers.problem import NOISE

from . import cases

LOSSES = (Loss.LOG_LOSS, Loss.SQUARED_ERROR)
# First row, stop, target, weight, column.
TABLE = np.array([
    [0, 60, 0, -1, 0], [60, 400, 1, 0, 1], [5, 6, 0, 1, 2], [0, 400, 1, 2, 3], [100, 399, 0, 1, 0],
])  # fmt: skip
FITTED = (ModelStatus.CONVERGED, ModelStatus.MAX_ITER, ModelStatus.PRECISION)


def solve(
    backend, X, y, weight=None, order=None, extra=None, table=TABLE, l2=(2.0, 0.5),
    loss=Loss.LOG_LOSS, fit_intercept=True, tol=1e-9, max_iter=60, n_threads=1, start=None,
):  # fmt: skip
    """Weights, variances and report."""
    size = REAL_TYPE[X.dtype].itemsize
    r = X.shape[1] + (extra is not None) + fit_intercept
    table = np.array(table, np.int64)
    if extra is None:
        table[:, 4] = -1
    theta = np.zeros((len(table), len(l2), r))
    if start is not None:
        theta[:, 0] = start
    variance, report = np.full(theta.shape, np.nan), np.zeros((*theta.shape[:2], len(ModelReport)))
    config = ManyConfig(
        loss, np.array(l2, float), fit_intercept, tol, max_iter, NOISE[size], SINGULAR[size]
    )
    data = Data(backend.prepare(X), y, weight, 0.0)
    backend.newton_many(data, order, extra, table, config, theta, variance, report, n_threads)
    return theta, variance, report


def rows(dtype, n=400, d=5, layout="C", seed=0):
    """X of a type and layout, targets of shape (2, n), weights of shape (3, n)."""
    rng = np.random.default_rng(seed)
    X = cases.LAYOUTS[layout](cases.dense(dtype, n, d, rng))
    real = REAL_TYPE[X.dtype]
    scale = 1.0 if X.dtype.kind == "f" else 100.0
    z = (X[:, 0].astype(float) - 0.5 * X[:, -1]) / scale
    y = (rng.random((2, n)) < 1 / (1 + np.exp(-z))).astype(real)
    weight = (rng.random((3, n)) * (rng.random((3, n)) < 0.8)).astype(real)
    return X, y, weight


def assert_same(found, expected, real, scale=1.0):
    ok = np.isin(expected[2][..., ModelReport.STATUS], FITTED)
    close = {8: 1e-8, 4: 2e-3}[np.dtype(real).itemsize]
    if np.dtype(real).itemsize == 8:
        assert (found[2][..., :2] == expected[2][..., :2]).all()
    assert (np.isin(found[2][..., ModelReport.STATUS], FITTED) == ok).all() and ok.any()
    for mine, theirs in zip(found[:2], expected[:2], strict=True):
        assert np.allclose(mine[ok] * scale, theirs[ok] * scale, rtol=close, atol=close)
    assert np.allclose(found[2][ok][:, 2], expected[2][ok][:, 2], rtol=close)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", cases.DENSE_TYPES)
@pytest.mark.parametrize("layout", ["C", "F", "all backwards"])
def test_models_are_those_of_the_reference(backend, dtype, layout, loss):
    X, y, weight = rows(dtype, layout=layout)
    wide = X.astype(np.float64), y.astype(np.float64), weight.astype(np.float64)
    rng = np.random.default_rng(1)
    extra = rng.integers(0, 3, (len(X), 4)).astype("int8")
    order = rng.permutation(len(X)).astype(np.int32)
    tol = 1e-9 if X.dtype == np.float64 else 1e-4
    for options in (
        {},
        {"extra": extra},
        {"order": order, "extra": np.asfortranarray(extra), "fit_intercept": False},
        {"order": order},
    ):
        if loss == Loss.SQUARED_ERROR:
            options = {**options, "l2": (5.0, 2.0)}
        found = solve(backend, X, y, weight, loss=loss, tol=tol, **options)
        expected = solve(numpy_, *wide, loss=loss, tol=tol, **options)
        assert_same(found, expected, y.dtype, 1.0 if X.dtype.kind == "f" else 1.0)


@pytest.mark.parametrize("index", cases.INDEX_TYPES)
def test_sparse_rows(backend, index):
    rng = np.random.default_rng(2)
    X = cases.sparse("float64", index, 400, 6, rng)
    _, y, weight = rows("float64")
    order = rng.permutation(400).astype(np.int32)
    found = solve(backend, X, y, weight, order=order)
    assert_same(found, solve(numpy_, sp.csr_array(X).toarray(), y, weight, order=order), y.dtype)


@pytest.mark.parametrize("n", [1, 7, 64, 65, 1030, 9000])
@pytest.mark.parametrize("d", [1, 4, 13, 40])
def test_sizes(backend, n, d):
    """Registers, strips and blocks that are not full; models of more rows than a block holds."""
    if backend.NAME == "numba" and n * d > 200_000:
        pytest.skip("one size is enough for its loops")
    X, y, _ = rows("float64", n, d)
    table = [[0, n, 0, -1, -1], [n // 2, n, 1, -1, -1]]
    found = solve(backend, X, y, table=table, fit_intercept=False)
    assert_same(found, solve(numpy_, X, y, table=table, fit_intercept=False), y.dtype)


def test_optimum_and_variance_by_other_means(backend):
    X, y, weight = rows("float64")
    theta, variance, report = solve(backend, X, y, weight, table=TABLE[1:2], l2=(0.7,))
    part, targets, w = np.column_stack([X, np.ones(400)])[60:], y[1, 60:], weight[0, 60:]

    def objective(t):
        z = part @ t
        return w @ (np.logaddexp(0, z) - targets * z) + 0.35 * t[:-1] @ t[:-1]

    best = scipy.optimize.minimize(objective, np.zeros(6), method="Powell", tol=1e-14).x
    assert np.abs(theta[0, 0] - best).max() < 1e-5
    assert np.isclose(report[0, 0, ModelReport.LOSS], objective(theta[0, 0]) / w.sum(), rtol=1e-12)
    step, hessian = 1e-4, np.empty((6, 6))
    for i, j in np.ndindex(6, 6):
        a, b = np.eye(6)[i] * step, np.eye(6)[j] * step
        hessian[i, j] = (
            objective(best + a + b) - objective(best + a) - objective(best + b) + objective(best)
        ) / step**2
    assert np.allclose(variance[0, 0], np.linalg.inv(hessian).diagonal(), rtol=1e-3)


def test_models_without_an_optimum_are_named_and_hurt_no_other(backend):
    X, y, weight = rows("float64")
    X, y, weight = X.copy(), y.copy(), weight.copy()
    y[0, :30] = 1
    y[0, 30:60] = X[30:60, 0] > 0
    weight[1, 60:90] = 0
    X[90:120, 3] = 2.0
    table = [
        [0, 30, 0, -1, -1], [30, 60, 0, -1, -1], [60, 90, 1, 1, -1], [90, 120, 1, -1, -1],
        [120, 400, 1, -1, -1], [120, 121, 1, -1, -1],
    ]  # fmt: skip
    status = solve(backend, X, y, weight, table=table, l2=(0.0,))[2][:, 0, ModelReport.STATUS]
    expected = ["ONE_CLASS", "SEPARABLE", "NO_WEIGHT", "COLLINEAR", "CONVERGED", "ONE_CLASS"]
    assert [ModelStatus(int(code)).name for code in status] == expected
    # With a penalty there is an optimum where there are two classes.
    theta, _, report = solve(backend, X, y, weight, table=table, l2=(1.0, 0.0))
    status = report[..., ModelReport.STATUS].astype(int)
    assert (
        status[:, 0].tolist() == [5, 1, 6, 1, 1, 5] and (status[:, 1] == [5, 8, 6, 7, 1, 5]).all()
    )
    alone = solve(backend, X, y, weight, table=table[4:5], l2=(1.0, 0.0))
    assert (theta[4] == alone[0][0]).all() and (report[4] == alone[2][0]).all()


def test_quasi_complete_separation_is_no_convergence(backend):
    """One label alone has a row at 0: the gradient vanishes, the weight has no bound."""
    X = np.repeat([[-1.0], [0.0], [0.0], [1.0]], 5, axis=0)
    y = np.repeat([[0.0, 0.0, 1.0, 1.0]], 5, axis=1)
    status = solve(backend, X, y, table=[[0, 20, 0, -1, -1]], l2=(0.0,), tol=1e-4)[2]
    assert status[0, 0, ModelReport.STATUS] == ModelStatus.SEPARABLE


def test_nan_and_few_iterations(backend):
    X, y, _ = rows("float64")
    X[70, 1] = np.nan
    table = [[0, 60, 0, -1, -1], [60, 120, 0, -1, -1]]
    status = solve(backend, X, y, table=table, l2=(1.0,), max_iter=1)[2][:, 0, ModelReport.STATUS]
    assert status.tolist() == [ModelStatus.MAX_ITER, ModelStatus.NONFINITE]


def test_begins_where_it_is_told(backend):
    X, y, _ = rows("float64")
    table = [[0, 400, 0, -1, -1]]
    theta, _, cold = solve(backend, X, y, table=table, l2=(1.0,))
    again, _, warm = solve(backend, X, y, table=table, l2=(1.0,), start=theta[:, 0])
    assert warm[0, 0, ModelReport.STEPS] == 0 < cold[0, 0, ModelReport.STEPS]
    assert (again == theta).all()


def test_bits_are_the_same_for_any_number_of_threads(backend):
    X, y, weight = rows("float64", 3000)
    starts = np.arange(0, 2900, 20)
    table = np.stack(
        [starts, starts + 10 + starts % 90, starts % 2, starts % 3, -np.ones_like(starts)], axis=1
    )
    one = solve(backend, X, y, weight, table=table)
    for n_threads in (2, 5):
        several = solve(backend, X, y, weight, table=table, n_threads=n_threads)
        for mine, theirs in zip(several, one, strict=True):
            assert np.array_equal(mine, theirs, equal_nan=True)
