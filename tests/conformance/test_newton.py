"""Newton's method for one neuron: value, gradient, Hessian, and which steps are taken."""

import numpy as np
import pytest

from schuss.backends import numpy_
from schuss.backends.contract import NewtonConfig
from schuss.constants import HISTORY_COLUMNS
from schuss.losses import Loss

from . import cases

LOSSES = (Loss.LOG_LOSS, Loss.SQUARED_ERROR)
SIZES = ((1, 1), (5, 3), (33, 8), (64, 17), (200, 64), (300, 151))


def newton(backend, p, steps, fit_intercept=True, **changes):
    """Steps, expected decrease, parameters, gradient, Hessian and history."""
    d = p.X.shape[1]
    r = d + fit_intercept
    theta = np.append(p.coef[0], p.intercept[:fit_intercept]).astype(np.float64)
    l2 = np.full(r, 0.01)
    l2[d:] = 0
    config = {
        "loss": p.loss,
        "l2": l2,
        "tol": 0.0,
        "rate": 0.0,
        "enough": 0.0,
        "noise": 1e-6,
        **changes,
    }
    out = np.full(r, np.nan), np.full((r, r), np.nan)
    history = np.full((steps, len(HISTORY_COLUMNS)), np.nan)
    advance = backend.newton(
        cases.data(backend, p), NewtonConfig(**{**config, **changes}), theta, out[0], None, None
    )
    done, expected, *_ = advance(history, out[1])
    return done, expected, theta, *out, history


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", cases.DENSE_TYPES)
@pytest.mark.parametrize("layout", ["C", "F", "all backwards", "one column repeated"])
def test_gradient_and_hessian(backend, dtype, layout, loss):
    rng = np.random.default_rng(3)
    for (n, d), weighted, form in zip(SIZES, (0, 1) * 3, cases.TARGETS * 2, strict=True):
        X = cases.LAYOUTS[layout](cases.dense(dtype, n, d, rng))
        p = cases.problem(X, (1, bool(weighted), form, loss), rng)
        wide = cases.widened(p)
        for fit_intercept in (True, False):
            *_, gradient, hessian, _ = newton(backend, p, 0, fit_intercept)
            *_, expected, curved, _ = newton(numpy_, wide, 0, fit_intercept)
            size = np.abs(wide.X).max(initial=1.0)
            unit = 400 * np.finfo(p.coef.dtype).eps
            assert np.abs(gradient - expected).max() <= unit * size
            assert np.abs(hessian - curved).max() <= unit * size**2
            assert np.abs(hessian - hessian.T).max() <= unit * size**2


@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8"])
def test_path(backend, dtype):
    rng = np.random.default_rng(4)
    X = cases.dense(dtype, 400, 7, rng)
    p = cases.problem(X, (1, True, "uint8", Loss.LOG_LOSS), rng)
    p.coef[:] = 0
    wide = cases.widened(p)
    done, expected, theta, gradient, _, history = newton(backend, p, 20, tol=1e-3, noise=1e-12)
    same = newton(numpy_, wide, 20, tol=1e-3, noise=1e-12)
    assert 2 <= done == same[0]
    assert np.allclose(theta, same[2], rtol=1e-3, atol=1e-4 * np.abs(same[2]).max())
    assert np.allclose(history[:done, 0], same[-1][:done, 0], rtol=1e-4)
    assert np.isnan(history[done:]).all()
    assert history[done - 1, 1] == np.abs(gradient).max() <= 1e-3
    assert (theta == theta.astype(p.coef.dtype)).all()
    assert np.isfinite(expected)


def begun(backend, p, rate=0.0, model=None, helper=None, **changes):
    """What `newton` returns, and its parameters."""
    r = p.X.shape[1] + 1
    theta, gradient = np.zeros(r), np.empty(r)
    l2 = np.append(np.full(r - 1, 0.01), 0.0)
    config = NewtonConfig(p.loss, l2, tol=1e-6, rate=rate, enough=0.0, noise=1e-12, **changes)
    return backend.newton(cases.data(backend, p), config, theta, gradient, model, helper), theta


def test_a_factor_serves_for_several_steps(backend):
    rng = np.random.default_rng(8)
    X = cases.dense("float64", 500, 9, rng)
    p = cases.problem(X, (1, True, "uint8", Loss.LOG_LOSS), rng)
    thetas, costs = [], []
    for rate, changes in ((0.0, {}), (0.9, {}), (0.9, {"steps": 1})):
        history, hessian = np.empty((60, 3)), np.empty((10, 10))
        advance, theta = begun(backend, p, rate, **changes)
        steps, _, gradients, hessians = advance(history, hessian)
        assert history[steps - 1, 1] <= 1e-6 and (np.diff(history[:steps, 0]) <= 1e-12).all()
        thetas.append(theta)
        # Besides the gradients, of which the first is no step's, and the Hessian at the end.
        costs.append((steps, gradients + hessians - steps - 2))
        # In the place of the first, so large that the step is short.
        advance, theta = begun(backend, p, rate, 4 * hessian, **changes)
        assert advance(history[:1])[2:] == (2, 0)
        advance(history)
        thetas.append(theta)
    assert np.abs(np.array(thetas) - thetas[0]).max() <= 1e-4
    (newton, hessians), (steps, few), (_, more) = costs
    assert hessians == more == newton <= steps and few < newton


@pytest.mark.parametrize("rate", [0.0, 0.9])
def test_steps_in_several_calls_are_the_same(backend, rate):
    rng = np.random.default_rng(9)
    X = cases.dense("float64", 300, 6, rng)
    p = cases.problem(X, (1, False, "uint8", Loss.LOG_LOSS), rng)
    advance, theta = begun(backend, p, rate)
    history = np.empty((20, 3))
    steps, _, *passes = advance(history)
    advance, other = begun(backend, p, rate)
    single = np.empty((20, 3))
    calls = [advance(single[i : i + 1]) for i in range(steps)]
    assert (theta == other).all() and (history[:steps] == single[:steps]).all()
    assert np.sum([call[2:] for call in calls], axis=0).tolist() == passes
    # From another place it begins anew.
    other[:] = 0
    assert advance(single)[0] >= 1 and np.abs(theta - other).max() <= 1e-4


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_helpers_change_no_bit(backend, dtype):
    """Their shares are those of another problem's passes."""
    rng = np.random.default_rng(10)
    large = cases.problem(
        cases.dense(dtype, 3000, 90, rng), (1, False, "uint8", Loss.LOG_LOSS), rng
    )
    out = np.empty_like(large.coef), np.empty_like(large.intercept)
    for n, d in ((40, 3), (2000, 70)):
        X = cases.dense(dtype, n, d, rng)
        p = cases.problem(X, (1, True, "uint8", Loss.LOG_LOSS), rng)
        results = []
        for n_threads in (1, 2, 5):
            helper = backend.evaluator(
                cases.data(backend, large), large.loss, large.coef, large.intercept, *out, n_threads
            )
            value = helper()
            advance, theta = begun(backend, p, 0.9, helper=helper)
            hessian = np.empty((d + 1, d + 1))
            steps, *_ = advance(np.empty((30, 3)), hessian)
            assert steps >= 2
            rtol = 1e-6 if backend.NAME == "numba" else 0
            assert np.isclose(helper(), value, rtol, 0)
            results.append(np.append(theta, hessian))
        assert all((result == results[0]).all() for result in results)


def test_end_where_little_is_expected(backend):
    rng = np.random.default_rng(5)
    p = cases.problem(cases.dense("float64", 100, 3, rng), (1, False, "uint8", 1), rng)
    p.coef[:] = 0
    done, expected, *_ = newton(backend, p, 20, enough=1e-3)
    assert 0 < done < 20 and expected < 1e-3
    assert newton(backend, p, 1)[0] == 1


def test_end_where_the_objective_is_near_its_optimum(backend):
    rng = np.random.default_rng(9)
    p = cases.problem(cases.dense("float64", 300, 4, rng), (1, False, "uint8", 1), rng)
    p.coef[:], p.intercept[:] = 0, 0
    loose = newton(backend, p, 30, tol=0.01)
    for rate in (0.0, 0.9):
        done, expected, theta, gradient, _, history = newton(
            backend, p, 30, tol=0.01, gap=1e-9, rate=rate
        )
        value = history[done - 1, 0]
        assert loose[0] < done < 30 and np.abs(gradient).max() <= 0.01
        assert 0 <= expected <= 1e-9 * value
        assert done == newton(numpy_, p, 30, tol=0.01, gap=1e-9, rate=rate)[0]
    # Begun there, no step is left; nor is one where the objective is low enough.
    p.coef[0], p.intercept[0] = theta[:4], theta[4]
    done, expected, *_ = newton(backend, p, 30, tol=0.01, gap=1e-9)
    assert done == 0 and expected <= 1e-9 * value
    p.coef[:], p.intercept[:] = 0, 0
    enough = {"tol": 0.01, "gap": 1e-9, "floor": loose[-1][loose[0] - 1, 0] + 1e-9}
    assert newton(backend, p, 30, **enough)[0] == loose[0]


def test_steps_that_are_refused(backend):
    rng = np.random.default_rng(6)
    X = cases.dense("float64", 100, 3, rng)
    p = cases.problem(X, (1, False, "uint8", Loss.LOG_LOSS), rng)
    start = np.append(p.coef[0], p.intercept)
    # Far out on the flat, where whole steps of Newton's method lead astray.
    p.coef[:] = 30.0
    done, *_ = newton(backend, p, 5, l2=np.full(4, 1e-9))
    assert done == 0
    # No factor: a column twice, without a penalty.
    p.coef[:] = start[:3]
    X[:, 1] = X[:, 0]
    done, expected, theta, *_ = newton(backend, p, 5, l2=np.zeros(4))
    assert done == 0 and np.isinf(expected) and (theta == start).all()
    # Nothing finite.
    X[7, 2] = np.nan
    assert newton(backend, p, 5)[0] == 0


@pytest.mark.parametrize("dtype", ["float64", "float32", "int8", "sparse"])
def test_evaluator(backend, dtype):
    """The same bits as `gradient`, for any number of threads, however late they come."""
    rng = np.random.default_rng(7)
    if dtype == "sparse":
        # Many features, over whose chunks the threads share the sum.
        X = cases.sparse("float64", "int32", 300, 20_000, rng)
    else:
        # As float32 small enough to be packed, else not.
        X = cases.dense(dtype, 2000, 40, rng)
    p = cases.problem(X, (1, True, "uint8", Loss.LOG_LOSS), rng)
    for n_threads in (1, 2, 5):
        out = np.empty_like(p.coef), np.empty_like(p.intercept)
        evaluate = backend.evaluator(
            cases.data(backend, p), p.loss, p.coef, p.intercept, *out, n_threads
        )
        for _ in range(50):
            p.coef += np.asarray(0.01, p.coef.dtype)
            value, coef_grad, intercept_grad = cases.gradient(backend, p, 2)
            # Numba's sums depend on where arrays lie.
            rtol = 1e-6 if backend.NAME == "numba" else 0
            assert np.isclose(evaluate(), value, rtol, 0)
            assert np.allclose(out[0], coef_grad, rtol, rtol)
            assert np.allclose(out[1], intercept_grad, rtol, rtol)
