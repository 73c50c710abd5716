"""Sweeps from row to row: costs, schedules, penalties, averages, and how a call may be cut."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp

from schuss.backends.contract import Data, SGDConfig, SweepState
from schuss.constants import (
    ADAPTIVE_DIVISOR,
    LEAST_SCALE,
    N_SGD_SCALARS,
    Schedule,
    SGDScalar,
    Status,
)
from schuss.losses import Loss, RowLoss

from . import cases

PENALTIES = ({}, {"l2": 0.1}, {"l1": 0.02}, {"l2": 0.05, "l1": 0.01})


def sgd_config(real, **changes):
    usual = {
        "loss": RowLoss.LOG_LOSS, "parameter": 0.2, "schedule": Schedule.INVSCALING, "eta0": 0.05,
        "power_t": 0.3, "alpha": 0.5, "shift": 20.0, "l2": 0.0, "l1": 0.0, "l1_ratio": 0.0,
        "fit_intercept": True, "decay": 1.0, "average_from": 0, "tol": -np.inf, "patience": 3,
        "least_scale": LEAST_SCALE[np.dtype(real)], "in_order": False,
    }  # fmt: skip
    config = {**usual, **changes}
    strength = config["l1"] + config["l2"]
    if strength:
        # The penalties are shares of alpha; the steps of OPTIMAL, which it sets, still contract.
        config["l1_ratio"], config["alpha"] = config["l1"] / strength, strength
        config["shift"] *= 4 * usual["alpha"] / strength
    return SGDConfig(**config)


def sweep_state(p, config):
    k, d = p.coef.shape
    real, scalars = p.coef.dtype, np.zeros((k, N_SGD_SCALARS))
    scalars[:, [SGDScalar.SCALE, SGDScalar.WHOLE, SGDScalar.T]] = 1
    scalars[:, SGDScalar.INTERCEPT] = p.intercept
    scalars[:, SGDScalar.STEP], scalars[:, SGDScalar.BEST] = config.eta0, np.inf
    wide = p.coef.astype(np.float64)
    scalars[:, SGDScalar.SQUARES] = (wide * wide).sum(axis=1)
    scalars[:, SGDScalar.ABSOLUTES] = np.abs(wide).sum(axis=1)
    return SweepState(
        p.coef.copy(),
        np.zeros((k, d if config.average_from else 0), real),
        np.zeros((k, d if config.l1 else 0), real),
        np.tile(np.arange(p.X.shape[0], dtype=np.int32), (k, 1)),
        scalars,
    )


def sweep(backend, p, config, epochs=3, chunk=None, held_out=None, shuffled=True, n_threads=1):
    """A sweep in chunks; returns its state and history."""
    k = len(p.coef)
    t = sweep_state(p, config)
    history = np.full((epochs, k, 2), np.nan)
    class_weight = np.linspace(0.5, 2, 2 * k).reshape(k, 2)
    seeds = np.arange(3, 3 + k, dtype=np.uint32) if shuffled else None
    rows = Data(backend.prepare(p.X), p.y, p.weight, 1.0)
    for start in range(0, epochs, chunk or epochs):
        part = history[start : start + (chunk or epochs)]
        backend.sweep(rows, t, config, class_weight, held_out, seeds, part, n_threads)
    return t, history


def compare(backend, reference, p, config, what, rtol=None, **options):
    actual, history = sweep(backend, p, config, **options)
    expected, expected_history = sweep(reference, cases.widened(p), config, **options)
    real = p.coef.dtype
    # Steps contract here: errors add up slowly over some hundred of them.
    close = rtol or 3000 * np.finfo(real).eps
    for name in ("coef", "average", "l1_applied"):
        a, e = getattr(actual, name), getattr(expected, name)
        np.testing.assert_allclose(a, e, close, close * max(1, np.abs(e).max(initial=0)),
                                   err_msg=f"{what} {name}")  # fmt: skip
    np.testing.assert_array_equal(actual.order, expected.order, err_msg=what)
    unused = [
        *(() if config.l1 else [SGDScalar.ABSOLUTES]),
        *(() if config.l1 or config.l2 else [SGDScalar.SQUARES]),
    ]
    if config.schedule >= Schedule.PA1:
        unused = [SGDScalar.ABSOLUTES, SGDScalar.SQUARES]
    a, e = np.delete(actual.scalars, unused, 1), np.delete(expected.scalars, unused, 1)
    np.testing.assert_allclose(a, e, close, close, err_msg=f"{what} scalars")
    np.testing.assert_allclose(history, expected_history, close, close, err_msg=f"{what} history")


def small(real="float64", n=60, d=9, setting=(1, True, "uint8", Loss.LOG_LOSS), seed=5):
    rng = np.random.default_rng(seed)
    return cases.problem(rng.standard_normal((n, d)).astype(real), setting, rng)


@pytest.mark.parametrize("real", ("float64", "float32"))
@pytest.mark.parametrize("loss", RowLoss, ids=lambda v: v.name.lower())
def test_costs_schedules_penalties(kernels, reference, loss, real):
    if kernels is reference and real == "float64":
        pytest.skip("the reference itself")
    for (schedule, penalty), average in zip(
        itertools.product(list(Schedule)[:4], PENALTIES), itertools.cycle((0, 1, 40)), strict=False
    ):
        config = sgd_config(real, loss=loss, schedule=schedule, average_from=average, **penalty)
        compare(kernels, reference, small(real), config, f"{schedule.name} {penalty} {average}")


@pytest.mark.parametrize("schedule", (Schedule.PA1, Schedule.PA2), ids=lambda v: v.name)
@pytest.mark.parametrize("loss", (RowLoss.HINGE, RowLoss.EPSILON_INSENSITIVE))
def test_passive_aggressive(kernels, reference, schedule, loss):
    p = small()
    p.X[7] = 0
    compare(kernels, reference, p, sgd_config("float64", loss=loss, schedule=schedule, l2=0.1), "")


@pytest.mark.parametrize("d", (1, 3, 4, 7, 8, 17, 33, 100))
@pytest.mark.parametrize("dtype", cases.DENSE_TYPES)
def test_types_and_widths(kernels, reference, dtype, d):
    rng = np.random.default_rng(d)
    for layout, arrange in cases.LAYOUTS.items():
        X = cases.dense(dtype, 23, d, rng)
        p = cases.problem(arrange(X), (1, False, "real", Loss.LOG_LOSS), rng)
        size = 1 if X.dtype.kind == "f" else 128.0**2
        config = sgd_config(p.coef.dtype, eta0=0.05 / size / np.sqrt(d), l2=0.1)
        compare(
            kernels, reference, p, config, f"{layout}", rtol=0.02 if size > 1 else None, epochs=1
        )


@pytest.mark.parametrize("dtype", cases.SPARSE_TYPES)
@pytest.mark.parametrize("index", cases.INDEX_TYPES)
@pytest.mark.parametrize("setting", ((1, True, "real"), (3, False, "int32"), (3, True, "uint8")))
def test_sparse(kernels, reference, dtype, index, setting):
    rng = np.random.default_rng(8)
    p = cases.problem(cases.sparse(dtype, index, 50, 21, rng), (*setting, Loss.LOG_LOSS), rng)
    wide = cases.widened(p)
    for penalty in PENALTIES:
        config = sgd_config(dtype, average_from=20, decay=0.01, **penalty)
        # Dense rows would have other penalties: the reference sweeps over sparse ones, too.
        sparse_wide = SimpleNamespace(**{**vars(wide), "X": sp.csr_array(p.X.astype(np.float64))})
        actual, history = sweep(kernels, p, config)
        expected, expected_history = sweep(reference, sparse_wide, config)
        close = 3000 * np.finfo(p.coef.dtype).eps
        for a, e in zip(actual, expected, strict=True):
            np.testing.assert_allclose(a, e, close, close)
        np.testing.assert_allclose(history, expected_history, close, close)


def test_rows_held_out(kernels, reference):
    p = small()
    held_out = (np.arange(60) % 3 == 0).astype(np.uint8)
    compare(
        kernels, reference, p, sgd_config("float64", l2=0.1), "", held_out=held_out, shuffled=False
    )
    p.X[held_out == 1] = np.nan
    t, _ = sweep(kernels, p, sgd_config("float64"), held_out=held_out)
    assert np.isfinite(t.coef).all()
    assert t.scalars[0, SGDScalar.T] == 1 + 3 * (held_out == 0).sum()


def test_scale_is_folded_before_it_underflows(kernels, reference):
    config = sgd_config("float64", schedule=Schedule.CONSTANT, l2=12.0, average_from=5)
    # Averages between two folds are differences of numbers up to 1e9 times as large.
    compare(kernels, reference, small(), config, "", epochs=2, rtol=1e-6)
    none = sgd_config("float64", schedule=Schedule.CONSTANT, l2=1 / 0.05)
    t, _ = sweep(kernels, small(), none, epochs=1)
    assert np.isfinite(t.coef).all() and t.scalars[0, SGDScalar.SCALE] == 1


@pytest.mark.parametrize("n_threads", (1, 3))
def test_chunks_and_threads_change_no_bit(kernels, n_threads):
    p = small(setting=(3, True, "uint8", Loss.LOG_LOSS))
    config = sgd_config("float64", l2=0.05, l1=0.01, average_from=30)
    whole, history = sweep(kernels, p, config, epochs=6)
    parts, other = sweep(kernels, p, config, epochs=6, chunk=1, n_threads=n_threads)
    for name, a, b in zip(whole._fields, whole, parts, strict=True):
        if name == "scalars":
            a, b = np.delete(a, SGDScalar.EPOCHS, 1), np.delete(b, SGDScalar.EPOCHS, 1)
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(history, other)


def test_a_sweep_ends_where_the_objective_stays(kernels):
    config = sgd_config("float64", tol=10.0, patience=3)
    t, history = sweep(kernels, small(), config, epochs=9)
    # The first epoch is an improvement on nothing at all.
    assert t.scalars[0, SGDScalar.EPOCHS] == 4 == np.isfinite(history[:, 0, 0]).sum()
    assert t.scalars[0, SGDScalar.STATUS] == Status.CONVERGED
    config = config._replace(schedule=Schedule.ADAPTIVE)
    t, history = sweep(kernels, small(), config, epochs=9)
    assert t.scalars[0, SGDScalar.STATUS] == Status.RAN
    np.testing.assert_allclose(history[4, 0, 1], config.eta0 / ADAPTIVE_DIVISOR)


def test_a_neuron_that_has_stopped_stays(kernels):
    p = small(setting=(3, False, "uint8", Loss.LOG_LOSS))
    t = sweep_state(p, sgd_config("float64"))
    t.scalars[1, SGDScalar.STATUS] = Status.CONVERGED
    history = np.full((2, 3, 2), np.nan)
    rows = Data(kernels.prepare(p.X), p.y, None, 1.0)
    assert (
        kernels.sweep(rows, t, sgd_config("float64"), np.ones((3, 2)), None, None, history, 2) == 2
    )
    np.testing.assert_array_equal(t.coef[1], p.coef[1])
    assert (t.coef[[0, 2]] != p.coef[[0, 2]]).any(axis=1).all()
    assert np.isnan(history[:, 1]).all()


def test_weights_that_are_not_finite_are_told(kernels):
    config = sgd_config(
        "float64", loss=RowLoss.HINGE, parameter=1.0, schedule=Schedule.CONSTANT, eta0=1e308
    )
    t, _ = sweep(kernels, small(), config)
    assert t.scalars[0, SGDScalar.STATUS] == Status.NONFINITE


@pytest.mark.parametrize("bad", (np.nan, np.inf, -np.inf))
@pytest.mark.parametrize("sparse", (False, True), ids=("dense", "sparse"))
@pytest.mark.parametrize("loss", (RowLoss.HINGE, RowLoss.LOG_LOSS))
def test_a_score_that_is_not_finite_is_told(kernels, loss, sparse, bad):
    config = sgd_config("float64", loss=loss)
    for row, column in ((0, 0), (37, 8), (59, 4)):
        p = small()
        p.coef[:] = 0
        p.X[row, column] = bad
        if sparse:
            p.X = sp.csr_array(p.X)
        t, _ = sweep(kernels, p, config, epochs=1)
        assert t.scalars[0, SGDScalar.NONFINITE_SCORE] == 1
        held_out = (np.arange(60) == row).astype(np.uint8)
        t, _ = sweep(kernels, p, config, epochs=1, held_out=held_out)
        assert t.scalars[0, SGDScalar.NONFINITE_SCORE] == 0
