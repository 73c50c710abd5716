"""`walk` of each backend against the plain configs, and against the reference."""

import math

import numpy as np
import pytest
from numpy.polynomial import Polynomial

from schuss import constants
from schuss.backends.contract import Function, Limits, MinimizeState, State, UpdateConfig
from schuss.constants import N_COUNTERS, N_WALK_SCALARS, Counter, Status, WalkScalar
from schuss.methods import N_SLOTS, Solver

QUADRATIC = Polynomial([6.0, -4.0, 1.0])
QUARTIC = Polynomial([1.0, -0.5, -2.0, 0.25, 1.0])
SOLVERS = list(Solver)


def walk(
    backend, polynomial, x0, solver=Solver.GD, *, rates=(0.1,), n=20, tol=0.0, xtol=0.0, ftol=0.0,
    automatic=False, chunk=None,
):  # fmt: skip
    """Run `walk` in chunks; returns path, values, status, state and previous."""
    function = Function(polynomial.coef, polynomial.deriv().coef)
    state = State(
        np.empty((1, 0)), np.array([float(x0)]), np.zeros((N_SLOTS[solver], 1, 1)),
        np.zeros(N_COUNTERS),
    )  # fmt: skip
    previous = MinimizeState(np.zeros(1), np.zeros(1), np.zeros(N_WALK_SCALARS))
    config = UpdateConfig(
        2, solver, 0.0, constants.MOMENTUM, constants.ADAM_BETA_1, constants.ADAM_BETA_2,
        constants.ADAM_EPSILON, 0.0, 0.0, tol, True, 1,
    )  # fmt: skip
    limits = Limits(
        xtol, ftol, automatic, constants.WALK_REVERSALS, constants.WALK_ABOVE,
        constants.WALK_ROUNDING, constants.DIFFERENCE_STEP,
    )  # fmt: skip
    path, values = np.full((n, 1), np.nan), np.full(n, np.nan)
    rates = np.asarray(rates, dtype=float)
    start, status = 0, Status.RAN
    while start < n and status == Status.RAN:
        stop = min(start + (chunk or n), n)
        part = rates if len(rates) == 1 else rates[start:stop]
        done, status = backend.walk(
            function, state, config, limits, previous, part, path[start:stop], values[start:stop]
        )
        assert state.counters[Counter.EPOCHS] == done
        start += done
    rows = start + (status != Status.RAN)
    return path[:rows, 0], values[:rows], Status(status), state, previous


def test_gd_is_the_textbooks(backend):
    path, values, status, state, _ = walk(backend, QUADRATIC, 8.0, n=41)
    np.testing.assert_allclose(path, 2 + 6 * 0.8 ** np.arange(41), rtol=0, atol=1e-13)
    np.testing.assert_allclose(values, QUADRATIC(path), rtol=1e-14)
    assert status == Status.RAN and state.counters[Counter.STEPS] == 41
    assert state.intercept[0] == pytest.approx(2 + 6 * 0.8**41, abs=1e-13)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("polynomial", [QUADRATIC, QUARTIC], ids=["quadratic", "quartic"])
def test_path_is_that_of_the_reference(backend, reference, solver, polynomial):
    mine = walk(backend, polynomial, 1.7, solver, rates=(0.03,), n=200, tol=1e-9)
    theirs = walk(reference, polynomial, 1.7, solver, rates=(0.03,), n=200, tol=1e-9)
    assert mine[2] == theirs[2]
    # adaptive divides differences, whose digits vanish towards the end
    rows = 15 if solver == Solver.ADAPTIVE else min(len(mine[0]), len(theirs[0]))
    np.testing.assert_allclose(mine[0][:rows], theirs[0][:rows], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(mine[4].scalars[1:4], theirs[4].scalars[1:4], rtol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_chunks_leave_no_trace(backend, solver):
    whole = walk(backend, QUARTIC, 1.7, solver, rates=(0.03,), n=60)
    cut = walk(backend, QUARTIC, 1.7, solver, rates=(0.03,), n=60, chunk=7)
    np.testing.assert_array_equal(whole[0], cut[0])
    np.testing.assert_array_equal(whole[4].scalars, cut[4].scalars)


def test_schedule(backend):
    rates = 0.4 / np.arange(1, 21)
    path = walk(backend, QUADRATIC, 8.0, rates=rates, chunk=3)[0]
    x = 8.0
    for k, rate in enumerate(rates):
        assert path[k] == pytest.approx(x, rel=1e-14)
        x -= rate * (2 * x - 4)


def test_automatic_steps_come_from_the_curvature_met(backend):
    path, _, status, _, previous = walk(
        backend, QUADRATIC, 8.0, Solver.MOMENTUM, rates=(1e-3,), n=400, automatic=True, tol=1e-6
    )
    assert status == Status.CONVERGED and previous.scalars[WalkScalar.CURVATURE] == pytest.approx(
        2, rel=1e-3
    )
    # momentum 0.9, after a first step of 1e-3
    assert path[2] == pytest.approx(path[1] + 0.9 * (path[1] - 8) - 0.5 * (2 * path[1] - 4))


def test_stops(backend):
    path, _, status, *_ = walk(backend, QUADRATIC, 8.0, n=200, tol=1e-3)
    assert status == Status.CONVERGED and abs(2 * path[-1] - 4) <= 1e-3 < abs(2 * path[-2] - 4)
    path, _, status, *_ = walk(backend, QUADRATIC, 8.0, n=200, xtol=1e-3)
    steps = abs(np.diff(path))
    assert status == Status.SMALL_STEP and steps[-1] <= 1e-3 < steps[-2]
    _, values, status, *_ = walk(backend, QUADRATIC, 8.0, n=200, ftol=1e-3)
    falls = abs(np.diff(values))
    assert status == Status.SMALL_FALL and falls[-1] <= 1e-3 < falls[-2]


@pytest.mark.parametrize("rate", [1.0, 1.3])
def test_overshooting_for_ever(backend, rate):
    path, _, status, *_ = walk(backend, QUADRATIC, 8.0, rates=(rate,), n=500)
    assert status == Status.OVERSHOT and len(path) == constants.WALK_REVERSALS + 1


def test_divergence_with_momentum(backend):
    path, _, status, *_ = walk(backend, QUADRATIC, 8.0, Solver.MOMENTUM, rates=(2.2,), n=500)
    assert status == Status.OVERSHOT and len(path) < 200


def test_steps_just_short_of_too_long_converge(backend):
    path, _, status, *_ = walk(backend, QUADRATIC, 8.0, rates=(0.999,), n=20_000, tol=1e-9)
    assert status == Status.CONVERGED and path[-1] == pytest.approx(2, abs=1e-8)


def test_rounding_is_no_overshoot(backend):
    # x turns between two neighbours of the minimum for ever.
    polynomial = Polynomial([1.0, -2 / 3, 1.0])
    *_, status, _, _ = walk(backend, polynomial, 5.0, rates=(0.7,), n=20_000)
    assert status in (Status.RAN, Status.CONVERGED)


def test_infinities_are_seen(backend):
    path, values, status, _, previous = walk(backend, QUARTIC, 50.0, rates=(1.0,), n=100)
    assert status == Status.NONFINITE and not math.isfinite(values[-1])
    assert np.isfinite(values[:-1]).all() and previous.x[0] == path[-2]
