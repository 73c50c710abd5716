"""The example for benchopt, held to the benchmark's objective as its documentation states it."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

pytest.importorskip("benchopt")

FILE = Path(__file__).resolve().parents[1] / "examples" / "benchopt_solver.py"
LAMBDA = 0.7


@pytest.fixture(scope="module")
def solver_class():
    spec = importlib.util.spec_from_file_location("benchopt_solver", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Solver


def objective(X, y, beta, fit_intercept):
    """Sum of the logistic losses, y in {-1, 1}, and lmbd / 2 times the squared norm."""
    beta, c = (beta[:-1], beta[-1]) if fit_intercept else (beta, 0)
    return np.logaddexp(0, -y * (X @ beta + c)).sum() + LAMBDA / 2 * beta @ beta


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("solver", ["nesterov", "adaptive"])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_it_minimises_the_benchmark_s_objective(solver_class, solver, form, fit_intercept):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 10))
    y = np.where(X @ rng.standard_normal(10) + rng.standard_normal(200) > 0, 1, -1)
    exact = LogisticRegression(
        C=1 / LAMBDA, fit_intercept=fit_intercept, tol=1e-10, max_iter=10_000
    ).fit(X, y)
    beta = np.append(exact.coef_[0], exact.intercept_ if fit_intercept else [])
    least = objective(X, y, beta, fit_intercept)
    ours = solver_class.get_instance(solver=solver)

    ours.set_objective(X=form(X), y=y, lmbd=LAMBDA, fit_intercept=fit_intercept)
    values = []
    for n_iter in (0, 10, 2000):
        ours.run(n_iter)
        values.append(objective(X, y, ours.get_result()["beta"], fit_intercept))

    assert values[0] == pytest.approx(200 * np.log(2))
    assert values[0] > values[1] > values[2]
    assert values[2] == pytest.approx(least, rel=1e-9)
