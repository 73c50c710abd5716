"""`bench.descent`: its problems, and that what races does equal work."""

import numpy as np
import pytest
import scipy.optimize

pytest.importorskip("rich")
descent = pytest.importorskip("bench.descent", reason="no benchmarks beside the tests")


@pytest.mark.parametrize("problem", list(descent.problems()), ids=lambda problem: problem[0])
def test_slopes_and_minima(problem):
    _, fun, jac, hess, x0, distance = problem
    x = x0 + 0.1
    steps = 1e-6 * np.eye(len(x))
    slopes = [(fun(x + h) - fun(x - h)) / 2e-6 for h in steps]
    np.testing.assert_allclose(jac(x), slopes, rtol=1e-6, atol=1e-5)
    if callable(hess):
        bends = [(jac(x + h) - jac(x - h)) / 2e-6 for h in steps]
        np.testing.assert_allclose(hess(x), bends, rtol=1e-5, atol=1e-4)
    best = scipy.optimize.minimize(fun, x0, jac=jac)
    assert distance(best.x) < 1e-4 < distance(best.x + 0.1)


def test_race_and_table():
    assert descent.race(1000, 1).row_count == 3
    problem = next(descent.problems())
    assert descent.compare(*problem, 50).row_count == 2 + len(descent.METHODS)
