"""Gradient and prediction: every data type, memory order and size."""

import itertools
from types import SimpleNamespace
from zlib import crc32

import numpy as np
import pytest
import scipy.sparse as sp

from schuss.constants import Activation
from schuss.losses import Loss

from . import cases


def check(backend, reference, p, what):
    """Gradient and prediction of one problem against the reference in float64."""
    bounds = cases.gradient_bound(p, reference)
    expected = cases.gradient(reference, cases.widened(p))
    actual = cases.gradient(backend, p)
    names = "value", "coef", "intercept"
    for name, a, e, bound in zip(names, actual, expected, bounds, strict=True):
        cases.assert_within(a, e, bound, f"{what}: {name}")


def check_predict(backend, reference, p, activation, what):
    expected = cases.predict(reference, cases.widened(p), activation)
    actual = cases.predict(backend, p, activation)
    bound = cases.predict_bound(p, activation)
    cases.assert_within(actual, expected, bound, f"{what}: {activation.name}")


def sizes_and_settings(seed):
    """Every size, with settings that take turns from a start that depends on the seed."""
    settings = itertools.cycle(cases.SETTINGS)
    activations = itertools.cycle(Activation)
    rng = np.random.default_rng(crc32(seed.encode()))
    for _ in range(rng.integers(len(cases.SETTINGS))):
        next(settings)
    for n, d in itertools.product(cases.ROWS, cases.FEATURES):
        yield n, d, next(settings), next(activations), rng
        # 96 sizes and 24 settings: without a shift each number of features would meet
        # two of them only.
        if d == cases.FEATURES[-1]:
            next(settings)


@pytest.mark.parametrize("layout", cases.LAYOUTS)
@pytest.mark.parametrize("dtype", cases.DENSE_TYPES)
def test_dense(kernels, reference, dtype, layout):
    for n, d, setting, activation, rng in sizes_and_settings(dtype + layout):
        X = cases.LAYOUTS[layout](cases.dense(dtype, n, d, rng))
        p = cases.problem(X, setting, rng)
        what = f"{n} x {d}, {setting}"
        check(kernels, reference, p, what)
        check_predict(kernels, reference, p, activation, what)


@pytest.mark.parametrize(("n", "d"), ((16_500, 257), (9, 500_000)))
@pytest.mark.parametrize("order", ("C", "F"))
@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_lines_that_begin_anywhere(kernels, reference, dtype, order, n, d):
    """Lines that lie alike, from the places that a register's boundary can have in them.

    X is larger than what is taken for cached, because other X is read from its beginning.
    """
    rng = np.random.default_rng(4)
    size = np.dtype(dtype).itemsize
    lines, length = (n, d) if order == "C" else (d, n)
    width = -(-length * size // 64) * 64 // size
    buffer = np.zeros(lines * width + 128 // size, dtype)
    boundary = -buffer.ctypes.data % 64 // size
    values = cases.dense(dtype, lines, length, rng)
    for lead, n_outputs in ((1, 2), (64 // size - 4, 1)):
        first = boundary + 64 // size - lead
        X = buffer[first : first + lines * width].reshape(lines, width)[:, :length]
        X[...] = values
        X = X if order == "C" else X.T
        p = cases.problem(X, (n_outputs, lead == 1, "real", Loss.LOG_LOSS), rng)
        what = f"{lead} before the boundary"
        check(kernels, reference, p, what)
        check_predict(kernels, reference, p, Activation.LOGISTIC, what)


def check_all(kernels, reference, p, what):
    """Gradients, predictions, and the same bits with another number of threads."""
    check(kernels, reference, p, what)
    check_predict(kernels, reference, p, Activation.LOGISTIC, what)
    alone = cases.gradient(kernels, p)
    for a, s in zip(alone, cases.gradient(kernels, p, 3), strict=True):
        np.testing.assert_array_equal(a, s, what)


@pytest.mark.parametrize("row_bytes", (448, 480, 512, 528, 544, 800))
@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_rows_that_begin_by_turns(kernels, reference, dtype, row_bytes):
    """Rows one after another, whose beginnings repeat within a register; X as above."""
    rng = np.random.default_rng(4)
    size = np.dtype(dtype).itemsize
    n, d = (1 << 24) // row_bytes + 70, row_bytes // size
    buffer = cases.dense(dtype, 1, (n + 1) * d, rng)[0]
    boundary = -buffer.ctypes.data % 64 // size
    for first, setting in (
        (boundary + 1, (1, True, "real", Loss.LOG_LOSS)),
        (boundary + 16 // size, (3, False, "uint8", Loss.SQUARED_ERROR)),
    ):
        p = cases.problem(buffer[first : first + n * d].reshape(n, d), setting, rng)
        what = f"{first - boundary} after the boundary"
        check_all(kernels, reference, p, what)


@pytest.mark.parametrize("apart", (0, 3))
@pytest.mark.parametrize("d", (1, 2, 3, 4, 5, 8, 9, 15))
@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_rows_shorter_than_a_register(kernels, reference, dtype, d, apart):
    """More of them than are packed, one behind the other and with others' entries between."""
    rng = np.random.default_rng(5)
    n = (1 << 19) // (np.dtype(dtype).itemsize * d) + 37
    X = cases.dense(dtype, n, d + apart, rng)[:, :d]
    for setting in (
        (1, True, "real", Loss.LOG_LOSS),
        (1, False, "uint8", Loss.SQUARED_ERROR),
        (3, False, "uint8", Loss.SQUARED_ERROR),
    ):
        p = cases.problem(X, setting, rng)
        what = f"{n} x {d}, {apart} apart"
        check_all(kernels, reference, p, what)
    before = cases.predict(kernels, p, Activation.IDENTITY)
    bad = [0, n // 2, n - 2]
    X[bad, :] = np.nan
    after = cases.predict(kernels, p, Activation.IDENTITY)
    others = np.delete(np.arange(n), bad)
    np.testing.assert_array_equal(after[others], before[others])
    assert np.isnan(after[bad]).all()


@pytest.mark.parametrize("index", cases.INDEX_TYPES)
@pytest.mark.parametrize("dtype", cases.SPARSE_TYPES)
def test_sparse(backend, reference, dtype, index):
    if backend.NAME == "numba" and index == "int64" and dtype == "float64":
        pytest.skip("the same source as the other pairs, and seconds to compile")
    for n, d, setting, activation, rng in sizes_and_settings(dtype + index):
        p = cases.problem(cases.sparse(dtype, index, n, d, rng), setting, rng)
        what = f"{n} x {d}, {setting}"
        check(backend, reference, p, what)
        check_predict(backend, reference, p, activation, what)


@pytest.mark.parametrize(
    "loss", [loss for loss in Loss if loss != Loss.MULTINOMIAL], ids=lambda loss: loss.name.lower()
)
@pytest.mark.parametrize("dtype", (*cases.DENSE_TYPES, "CSR"))
def test_every_setting(kernels, reference, dtype, loss):
    rng = np.random.default_rng(0)
    for n_outputs, weighted, form, (n, d) in itertools.product(
        (1, 2, 3, 5), (False, True), cases.TARGETS, ((1, 1), (67, 5), (130, 40))
    ):
        if dtype == "CSR":
            X = cases.sparse("float64", "int32", n, d, rng)
        else:
            X = cases.dense(dtype, n, d, rng)
        p = cases.problem(X, (n_outputs, weighted, form, loss), rng)
        check(kernels, reference, p, f"{n} x {d}, {n_outputs} {weighted} {form}")


@pytest.mark.parametrize("activation", Activation, ids=lambda a: a.name.lower())
@pytest.mark.parametrize("dtype", (*cases.DENSE_TYPES, "CSR"))
def test_every_activation(kernels, reference, dtype, activation):
    rng = np.random.default_rng(1)
    for n_outputs, (n, d) in itertools.product((1, 2, 3, 5), ((1, 1), (67, 5), (130, 40))):
        if dtype == "CSR":
            X = cases.sparse("float64", "int32", n, d, rng)
        else:
            X = cases.dense(dtype, n, d, rng)
        p = cases.problem(X, (n_outputs, False, "real", Loss.LOG_LOSS), rng)
        check_predict(kernels, reference, p, activation, f"{n} x {d}, {n_outputs}")


@pytest.mark.parametrize("dtype", (*cases.DENSE_TYPES, "CSR"))
def test_no_rows(kernels, dtype):
    rng = np.random.default_rng(2)
    if dtype == "CSR":
        X = cases.sparse("float64", "int32", 0, 3, rng)
    else:
        X = np.empty((0, 3), dtype)
    p = cases.problem(X, (2, False, "real", Loss.LOG_LOSS), rng)
    value, coef, intercept = cases.gradient(kernels, p)
    assert value == 0
    assert not coef.any()
    assert not intercept.any()
    assert cases.predict(kernels, p, Activation.LOGISTIC).shape == (0, 2)


@pytest.mark.parametrize("dtype", cases.DENSE_TYPES[:3])
@pytest.mark.parametrize("bad", (np.nan, np.inf))
def test_what_is_not_finite_is_seen(kernels, dtype, bad):
    rng = np.random.default_rng(3)
    for n, d, row, column in ((1, 1, 0, 0), (65, 7, 64, 6), (200, 33, 17, 32)):
        X = cases.dense(dtype, n, d, rng)
        X[row, column] = bad
        p = cases.problem(X, (1, False, "real", Loss.LOG_LOSS), rng)
        with np.errstate(invalid="ignore"):
            value, coef, _ = cases.gradient(kernels, p)
            z = cases.predict(kernels, p, Activation.IDENTITY)
        assert not np.isfinite(z[row, 0])
        assert np.isfinite(np.delete(z, row)).all()
        assert not (np.isfinite(value) and np.isfinite(coef).all())


@pytest.mark.parametrize("layout", ("C", "F", "rows strided", "CSR"))
@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_features_near_the_largest_number(kernels, reference, dtype, layout):
    """±1e308 times a weight of 1e-308 is an ordinary score, beside ordinary features."""
    rng = np.random.default_rng(5)
    most = np.finfo(dtype).max / 8
    for n, d in ((1, 1), (3, 2), (70, 5), (70, 40), (70, 300)):
        X = cases.dense(dtype, n, d, rng)
        X[:, 0] = 0
        X[n // 2, 0] = most
        X[n - 1, 0] = -most
        held = sp.csr_array(X) if layout == "CSR" else cases.LAYOUTS[layout](X)
        for loss in (Loss.SQUARED_ERROR, Loss.LOG_LOSS):
            p = cases.problem(held, (2, True, "real", loss), rng)
            p.coef[:, 0] = 1 / most
            check(kernels, reference, p, f"{n} x {d}")
            check_predict(kernels, reference, p, Activation.LOGISTIC, f"{n} x {d}")


def test_every_half_precision_number(kernels):
    """All 65,536 of them are converted exactly, subnormal numbers and infinities too."""
    X = np.arange(1 << 16, dtype=np.uint16).view(np.float16)[:, None]
    out = np.empty((len(X), 1), np.float32)
    one, zero = np.ones((1, 1), np.float32), np.zeros(1, np.float32)
    with np.errstate(invalid="ignore"):
        kernels.predict(kernels.prepare(X), one, zero, Activation.IDENTITY, out, 1)
    np.testing.assert_array_equal(out, X.astype(np.float32))


@pytest.mark.parametrize("dtype", ("uint8", "int8"))
def test_every_small_integer(kernels, dtype):
    X = np.arange(256, dtype=np.uint8).view(dtype).repeat(3)[:, None]
    out = np.empty((len(X), 1), np.float32)
    one, zero = np.ones((1, 1), np.float32), np.zeros(1, np.float32)
    kernels.predict(kernels.prepare(X), one, zero, Activation.IDENTITY, out, 1)
    np.testing.assert_array_equal(out, X.astype(np.float32))


@pytest.mark.parametrize("real", cases.SPARSE_TYPES)
def test_features_at_the_ends_of_the_range(kernels, real):
    """Features of 1e±300 (1e±35) beside coefficients that bring the scores back to units."""
    limit = 1e300 if real == "float64" else 1e35
    rng = np.random.default_rng(4)
    X = rng.standard_normal((65, 9))
    plain = cases.problem(X.astype(real), (1, False, "real", Loss.LOG_LOSS), rng)
    value, coef, intercept = cases.gradient(kernels, plain)
    for factor in (limit, 1 / limit):
        scaled = SimpleNamespace(**vars(plain))
        scaled.X = (plain.X * factor).astype(real)
        scaled.coef = (plain.coef / factor).astype(real)
        got = cases.gradient(kernels, scaled)
        close = 1e4 * np.finfo(real).eps
        np.testing.assert_allclose(got[0], value, rtol=close)
        scaled_back = got[1] / np.dtype(real).type(factor)
        np.testing.assert_allclose(scaled_back, coef, rtol=close, atol=close)
        np.testing.assert_allclose(got[2], intercept, rtol=close, atol=close)
