"""Losses and gradients of many models on the same rows."""

import numpy as np
import pytest

from schuss.backends import numpy_
from schuss.backends.contract import Data
from schuss.constants import REAL_TYPE
from schuss.losses import Loss

from . import cases


def gradients(backend, X, y, weight, models, theta, loss=Loss.LOG_LOSS, n_threads=1):
    values, sums = np.full(len(theta), np.nan), np.full(theta.shape, np.nan)
    data = Data(backend.prepare(X), y, weight, 0.0)
    backend.gradient_many(data, models, loss, theta, values, sums, n_threads)
    return values, sums


def problem(dtype, n, d, n_models, layout="C", seed=0):
    rng = np.random.default_rng(seed)
    X = cases.LAYOUTS[layout](cases.dense(dtype, n, d, rng))
    real = REAL_TYPE[X.dtype]
    y = rng.random((3, n)).astype(real)
    weight = (rng.random((2, n)) * (rng.random((2, n)) < 0.7)).astype(real)
    models = np.zeros((n_models, 5), np.int64)
    models[:, 2], models[:, 3] = np.arange(n_models) % 3, np.arange(n_models) % 3 - 1
    scale = np.sqrt(d) * (1.0 if X.dtype.kind == "f" else 100.0)
    return X, y, weight, models, rng.standard_normal((n_models, d + 1)) / scale


@pytest.mark.parametrize("loss", [Loss.LOG_LOSS, Loss.SQUARED_ERROR])
@pytest.mark.parametrize("dtype", cases.DENSE_TYPES)
@pytest.mark.parametrize("layout", ["C", "F", "all backwards"])
def test_sums_are_those_of_the_reference(backend, dtype, layout, loss):
    for n, d, n_models in ((1, 1, 1), (63, 7, 3), (64, 16, 40), (65, 33, 32), (700, 100, 5)):
        X, y, weight, models, theta = problem(dtype, n, d, n_models, layout)
        wide = (part.astype(np.float64) for part in (X, y, weight))
        for r in (d, d + 1):
            part = np.ascontiguousarray(theta[:, :r])
            values, sums = gradients(backend, X, y, weight, models, part, loss)
            wide = X.astype(np.float64), y.astype(np.float64), weight.astype(np.float64)
            expected = gradients(numpy_, *wide, models, part, loss)
            unit = 60 * np.finfo(y.dtype).eps * np.sqrt(d) * n**0.5
            assert np.allclose(values, expected[0], rtol=unit, atol=unit)
            assert np.abs(sums - expected[1]).max() <= unit * np.abs(X).astype(float).max()


def test_sparse_rows(backend):
    rng = np.random.default_rng(1)
    X = cases.sparse("float64", "int32", 300, 9, rng)
    _, y, weight, models, theta = problem("float64", 300, 9, 6)
    found = gradients(backend, X, y, weight, models, theta)
    expected = gradients(numpy_, X.toarray(), y, weight, models, theta)
    assert np.allclose(found[0], expected[0]) and np.allclose(found[1], expected[1])


def test_gradients_are_derivatives(backend):
    X, y, weight, models, theta = problem("float64", 200, 4, 3)
    _, sums = gradients(backend, X, y, weight, models, theta)
    for j in range(5):
        step = np.zeros(5)
        step[j] = 1e-6
        up = gradients(backend, X, y, weight, models, theta + step)[0]
        down = gradients(backend, X, y, weight, models, theta - step)[0]
        assert np.allclose((up - down) / 2e-6, sums[:, j], rtol=1e-5, atol=1e-6)


def test_bits_depend_on_neither_threads_nor_other_models(backend):
    X, y, weight, models, theta = problem("float64", 9000, 17, 70)
    values, sums = gradients(backend, X, y, weight, models, theta)
    for n_threads in (2, 3):
        again = gradients(backend, X, y, weight, models, theta, n_threads=n_threads)
        assert (again[0] == values).all() and (again[1] == sums).all()
    of = [3, 68, 41]
    few = gradients(backend, X, y, weight, models[of], np.ascontiguousarray(theta[of]))
    if backend.NAME != "numpy":
        assert (few[0] == values[of]).all() and (few[1] == sums[of]).all()
    assert np.allclose(few[1], sums[of])
