"""The optimum of badly conditioned data, against Newton's method in 40 digits."""

import io
import warnings

import mpmath
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

import schuss
from schuss.solvers import second_order
from tests import conditioning

PROBLEMS = conditioning.problems()


def check(problem, found):
    assert found.gap <= conditioning.LIMIT or found.warned, found
    if problem.separable:
        assert found.model.stop_reason_ == "separated" and not found.model.converged_
        assert any("separable" in text for text in found.warned)
    elif found.model.converged_:
        assert found.gap <= conditioning.LIMIT and not found.warned
    # Rounding may end a run early, but not far from the optimum.
    limit = 1e-5 if problem.X.dtype == np.float64 else 1e-3
    assert problem.separable or found.gap <= limit


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_optimum_or_a_warning(name):
    problem = PROBLEMS[name]
    check(problem, conditioning.result(problem, schuss.LogisticRegression(C=problem.C)))


@pytest.mark.parametrize(
    "name", [name for name in PROBLEMS if "C=inf" in name and "32" not in name]
)
def test_accelerated(name):
    problem = PROBLEMS[name]
    with schuss.accelerated(strict=True):
        found = conditioning.result(problem, LogisticRegression(C=problem.C))
    assert found.is_right
    assert not problem.separable or "separable" in found.warned[0]


@pytest.mark.parametrize("layout", (np.asfortranarray, sp.csr_array))
@pytest.mark.parametrize(
    "name", ("Unix milliseconds over a second, C=1", "time, and others, C=inf")
)
def test_other_layouts(name, layout):
    problem = PROBLEMS[name]
    with mpmath.workdps(conditioning.DIGITS):
        model = schuss.LogisticRegression(C=problem.C).fit(layout(problem.X), problem.y)
        value = conditioning.objective(problem, model.coef_, model.intercept_)
        assert value <= conditioning.optimum(name) * (1 + conditioning.LIMIT)


@pytest.mark.parametrize("l1_ratio", (0.0, 0.5))
def test_by_lbfgs(monkeypatch, l1_ratio):
    """Far columns among many, which Newton's method would not serve."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 20))
    y = (X @ rng.standard_normal(20) + rng.logistic(size=400) > 0).astype(int)
    far = X.copy()
    far[:, 0] = 1e6 + X[:, 0]
    far[:, 1] = 1e4 - X[:, 1]
    monkeypatch.setattr(second_order, "_NEWTON_PRODUCTS", 0)
    monkeypatch.setattr(second_order, "_SAMPLED_ELEMENTS", 0 if not l1_ratio else 1 << 60)
    options = {"l1_ratio": l1_ratio, "solver": "saga", "C": 0.1, "max_iter": 1000, "tol": 1e-6}
    near, model = (schuss.LogisticRegression(**options) for _ in range(2))
    near.fit(X, y)
    with warnings.catch_warnings():
        # The gradient of a weight of 1e6 cannot be as small.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(far, y)
    assert model.fit_info_["algorithm"] == "lbfgs"
    np.testing.assert_allclose(model.coef_ * [1, -1, *[1] * 18], near.coef_, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("l1_ratio", (0.5, 1.0))
@pytest.mark.parametrize("centre", (1.7e9, 1.7e12))
def test_l1_of_a_far_column(centre, l1_ratio):
    """The optimum is that of the same column at 0: the intercept has no penalty."""
    rng = np.random.default_rng(3)
    X = np.round(rng.standard_normal((150, 2)) * [1000, 1])
    y = (X @ [1e-3, 0.1] + rng.logistic(size=150) > 0).astype(int)
    options = {"l1_ratio": l1_ratio, "solver": "saga", "tol": 1e-8}
    near = schuss.LogisticRegression(**options).fit(X, y)
    with pytest.warns(ConvergenceWarning, match="rounding"):
        far = schuss.LogisticRegression(**options).fit(X + [centre, 0], y)
    assert far.loss_ <= near.loss_ * (1 + 1e-7)
    np.testing.assert_allclose(far.coef_, near.coef_, rtol=1e-3)


def test_separation_is_told_apart_from_large_weights():
    """Only where no row stands in the way: not with a penalty, nor with one label changed."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((200, 2))
    y = (X[:, 0] > 0).astype(int)
    with pytest.warns(ConvergenceWarning, match="separable.*finite value"):
        model = schuss.LogisticRegression(C=np.inf).fit(X, y)
    assert (model.predict(X) == y).all() and model.stop_reason_ == "separated"
    with pytest.warns(ConvergenceWarning, match="separable.*alpha"):
        result = schuss.train(X, y, loss="log_loss", solver="newton", tol=1e-4)
    assert result.stop_reason == "separated" and not result.converged
    assert schuss.LogisticRegression(C=1e8, max_iter=1000).fit(X, y).converged_
    place = np.argmax(X[:, 0])
    y[place] = 1 - y[place]
    assert schuss.LogisticRegression(C=np.inf).fit(X, y).converged_
    # Weighted by nothing it does not count.
    with pytest.warns(ConvergenceWarning, match="separable"):
        schuss.LogisticRegression(C=np.inf).fit(X, y, np.arange(200) != place)


def test_table():
    out = io.StringIO()
    conditioning.main(out, names=["years, C=1", "separable, C=inf", "three classes, time, C=1"])
    lines = out.getvalue().splitlines()
    assert lines[-1].split("|")[2].strip() == "3 of 3"
    assert "no optimum, warns" in lines[3]
