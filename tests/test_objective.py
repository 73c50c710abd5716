"""Curvature, constants, and which threads are worth waking."""

import numpy as np
import pytest
import scipy.sparse as sp

from schuss import backends, threads
from schuss.backends.contract import Network
from schuss.losses import LOSSES
from schuss.objective import NetworkObjective, Objective


def objective(X, y, loss="log_loss", weights=None, **options):
    return Objective(backends.current(), X, y, weights, LOSSES[loss], **options)


def largest(X, weights=None, intercept=True):
    A = np.column_stack([X, np.ones(len(X))]) if intercept else X
    weights = np.ones(len(X)) if weights is None else weights
    return np.linalg.eigvalsh(A.T @ (A * (weights / weights.sum())[:, None]))[-1]


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 2), (50, 7), (60, 8), (300, 40), (40, 90)])
@pytest.mark.parametrize("intercept", [True, False])
def test_curvature_is_the_largest_eigenvalue_from_above(shape, intercept):
    rng = np.random.default_rng(sum(shape))
    X = rng.standard_normal(shape) * rng.lognormal(size=shape[1])
    y = rng.integers(0, 2, shape[0]).astype(np.uint8)
    weights = rng.random(shape[0])
    for loss in ("log_loss", "squared_error"):
        for s in (None, weights):
            exact = LOSSES[loss].curvature_bound * largest(X, s, intercept) + 0.003
            found = objective(
                X, y, loss, s, alpha=0.01, l1_ratio=0.7, fit_intercept=intercept
            ).curvature()
            assert exact * (1 - 1e-9) <= found <= exact * 1.011


def test_curvature_of_other_forms_of_X():
    X = np.random.default_rng(0).integers(-5, 6, (90, 12)).astype(np.int8)
    y = np.zeros(90, np.uint8)
    expected = 0.25 * largest(X.astype(float))
    for other in (X, X.astype(np.float16), np.asfortranarray(X, np.float32), sp.csr_array(X * 1.0)):
        assert objective(other, y).curvature() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_few_features_take_one_pass(backend, dtype, n_outputs):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((70, 4)).astype(dtype)
    targets = rng.random((70, n_outputs)).astype(dtype), (np.arange(70) % 3).astype(np.uint8)
    for y in targets:
        found = Objective(backend, X, y, None, LOSSES["log_loss"], n_outputs=n_outputs).curvature()
        assert found == pytest.approx(0.25 * largest(X.astype(float)), rel=1e-5)


def test_curvature_of_targets_outside_the_unit_interval():
    """|sigma'^2 + (sigma - y) sigma''|, on a grid, is never more than the bound."""
    s = np.linspace(0, 1, 10_001)
    first = s * (1 - s)
    X = np.ones((2, 1))
    for low, high in ((0.0, 1.0), (-3.0, 1.0), (0.2, 40.0)):
        y = np.array([low, high])
        bound = objective(X, y, "squared_error", fit_intercept=False).curvature()
        exact = max(np.abs(first**2 + (s - target) * first * (1 - 2 * s)).max() for target in y)
        assert exact <= bound <= 2 * exact


@pytest.mark.parametrize("weighted", [False, True])
def test_curvature_of_batches_is_the_expected_smoothness(weighted):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((70, 4))
    s = rng.random(70) if weighted else None
    scaled = np.ones(70) if s is None else s / s.mean()
    one = 0.25 * (scaled * ((X**2).sum(axis=1) + 1)).max()
    whole = 0.25 * largest(X, s)
    y = np.zeros(70, np.uint8)
    found = objective(X, y, weights=s)
    assert found.curvature(1) == pytest.approx(one, rel=1e-12)
    n, b = 70, 16
    expected = n * (b - 1) / (b * (n - 1)) * whole + (n - b) / (b * (n - 1)) * one
    assert found.curvature(b) == pytest.approx(expected, rel=0.011)
    assert found.curvature(70) == pytest.approx(whole, rel=0.011)
    csr = Objective(backends.current(), sp.csr_array(X), y, s, LOSSES["log_loss"])
    assert csr.curvature(1) == pytest.approx(one, rel=1e-12)


def test_value_has_the_penalty_and_constant_has_not():
    rng = np.random.default_rng(2)
    X, y = rng.standard_normal((30, 3)), (rng.random(30) < 0.3).astype(np.uint8)
    w, b = rng.standard_normal((1, 3)), np.array([0.5])
    plain = objective(X, y).value(w, b)
    both = objective(X, y, alpha=0.2, l1_ratio=0.25).value(w, b)
    assert both - plain == pytest.approx(0.2 * (0.75 / 2 * (w**2).sum() + 0.25 * abs(w).sum()))
    m = y.mean()
    entropy = -(m * np.log(m) + (1 - m) * np.log(1 - m))
    assert objective(X, y, alpha=9.0).constant() == pytest.approx(entropy, rel=1e-12)
    assert objective(X, y, "squared_error").constant() == pytest.approx(y.var() / 2, rel=1e-12)
    soft = rng.random(30)
    assert objective(X, soft, "squared_error").constant() == pytest.approx(soft.var() / 2)
    s = rng.random(30)
    m = np.average(soft, weights=s)
    variance = np.average((soft - m) ** 2, weights=s)
    assert objective(X, soft, "squared_error", s).constant() == pytest.approx(variance / 2)
    codes = rng.integers(0, 3, 30).astype(np.uint8)
    parts = sum((codes == k).var() / 2 for k in range(3))
    assert objective(X, codes, "squared_error", n_outputs=3).constant() == pytest.approx(parts)
    free = objective(X, y, fit_intercept=False).constant()
    assert free == pytest.approx(np.log(2))


def test_threads_are_woken_by_the_work_of_a_step(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 8)
    X = np.broadcast_to(np.zeros((1, 1)), (3 * threads.MIN_ELEMENTS_PER_THREAD, 1))
    y = np.zeros(len(X), np.uint8)
    found = objective(X, y, n_threads=8)
    assert found.n_threads() == 3
    assert found.n_threads(batch_size=len(X) // 2) == 1
    assert objective(X, y, n_threads=8, n_outputs=2).n_threads() == 6


def test_threads_of_a_network_meet_for_batches_that_are_worth_it(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 8)
    n, network = 3 * threads.MIN_ELEMENTS_PER_THREAD // 1000, Network((100, 10), 0, 0)
    X = np.broadcast_to(np.zeros((1, 1)), (n, 100))
    found = NetworkObjective(
        backends.current(), X, np.zeros(n, np.uint8), None, network, n_threads=8
    )
    assert found.n_threads() == 3
    assert found.n_threads(batch_size=1000) == 2
    assert found.n_threads(batch_size=999) == 1
    assert found.n_threads(batch_size=3000) == 3


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_array])
def test_squares_that_overflow_are_refused(convert):
    y = np.zeros(2, np.uint8)
    for dtype, fine, large in ((np.float64, 1e154, 2e154), (np.float32, 1e19, -2e19)):
        objective(convert(np.array([[fine], [1.0]], dtype)), y).check_squares()
        with pytest.raises(ValueError, match=f"as large as {abs(large):.0e}".replace("+", ".")):
            objective(convert(np.array([[large], [1.0]], dtype)), y).check_squares()
    objective(convert(np.zeros((2, 3))), y).check_squares()
