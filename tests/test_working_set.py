"""L1 and elastic net by working sets: the optimum over all features, whatever X is."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import expit
from sklearn.linear_model import LogisticRegression as Reference

import schuss
from schuss import LogisticRegression, SigmoidClassifier, backends, driver
from schuss.losses import LOSSES
from schuss.objective import Objective
from schuss.solvers.second_order import SecondOrder

FORMS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "CSR": sp.csr_array,
    "CSC": sp.csc_array,
    "COO": sp.coo_array,
}


def problem(n, d, seed=0, dtype="float64", density=0.3, correlated=True):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * (rng.random((n, d)) < density)
    if correlated and d > 3:
        X[:, 1] = X[:, 0] + 0.01 * rng.standard_normal(n)
        X[:, 2] = 0.0
    z = X[:, ::5].sum(axis=1) + 0.5 * rng.standard_normal(n)
    return X.astype(dtype), (z > 0).astype(int)


def least_penalty(X, y, weights=None):
    """The least l1, of the mean loss, that leaves no weight, with an intercept."""
    weights = np.ones(len(y)) if weights is None else weights
    residual = weights * (np.average(y, weights=weights) - y) / weights.sum()
    return float(np.abs(X.T @ residual).max())


def excess(model, X, y, alpha, l1_ratio, weights=None):
    """Largest entry of the smallest subgradient, in float64, over all features."""
    X = X.toarray() if sp.issparse(X) else X
    weights = np.ones(len(y)) if weights is None else weights
    coef = np.ravel(model.coef_).astype(float)
    residual = weights * (expit(X @ coef + float(np.ravel(model.intercept_)[0])) - y)
    residual /= weights.sum()
    gradient = X.T.astype(float) @ residual + alpha * (1 - l1_ratio) * coef
    l1 = alpha * l1_ratio
    at_zero = np.maximum(np.abs(gradient) - l1, 0)
    found = np.where(coef != 0, np.abs(gradient + l1 * np.sign(coef)), at_zero)
    return max(found.max(), abs(residual.sum()) if model.fit_intercept else 0.0)


@pytest.mark.parametrize("l1_ratio", [1.0, 0.6])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(60, 150), (300, 40), (40, 40), (7, 300)])
def test_optimum_over_all_features(shape, form, l1_ratio):
    X, y = problem(*shape)
    weights = np.random.default_rng(1).integers(0, 3, len(y)).astype(float)
    weights[np.unique(y, return_index=True)[1]] = 1
    for share in (0.3, 0.02):
        for fit_intercept in (True, False):
            alpha = share * least_penalty(X, y, weights)
            model = LogisticRegression(
                C=1 / (alpha * weights.sum()), l1_ratio=l1_ratio, solver="saga", tol=1e-6,
                fit_intercept=fit_intercept, max_iter=1000,
            ).fit(FORMS[form](X), y, weights)  # fmt: skip
            assert model.converged_, model.stop_reason_
            assert excess(model, X, y, alpha, l1_ratio, weights) <= 1.01e-8
            assert 0 < (model.coef_ != 0).sum() < X.shape[1]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "uint8", "int8"])
def test_types(dtype):
    X, y = problem(80, 200, density=1.0, correlated=False)
    X = (40 * X).clip(0 if dtype == "uint8" else -120, 120).astype(dtype)
    alpha = 0.1 * least_penalty(X.astype(float), y)
    model = SigmoidClassifier("log_loss", "lbfgs", alpha=alpha, l1_ratio=1.0, tol=1e-3 * alpha)
    model.fit(X, y)
    assert model.fit_info_["algorithm"] == "working set"
    assert excess(model, X.astype(float), y, alpha, 1.0) <= 1.5e-3 * alpha
    assert model.coef_.dtype == ("float64" if dtype == "float64" else "float32")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_scikit_learn(dtype):
    X, y = problem(120, 90, dtype=dtype)
    for C in (0.3, 3.0):
        ours = LogisticRegression(C=C, l1_ratio=1, solver="saga", tol=1e-5).fit(X, y)
        theirs = Reference(C=C, l1_ratio=1, solver="saga", tol=1e-7, max_iter=20_000)
        theirs.fit(X.astype(float), y)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-3)
        liblinear = LogisticRegression(C=C, l1_ratio=1, solver="liblinear", tol=1e-5).fit(X, y)
        theirs = Reference(C=C, l1_ratio=1, solver="liblinear", tol=1e-8, max_iter=20_000)
        theirs.fit(X.astype(float), y)
        np.testing.assert_allclose(liblinear.coef_, theirs.coef_, atol=1e-3)
        np.testing.assert_allclose(liblinear.intercept_, theirs.intercept_, atol=1e-3)


def test_separable_rows_and_no_weight():
    rng = np.random.default_rng(3)
    X = rng.standard_normal((50, 400))
    y = (X[:, 0] > 0).astype(int)
    alpha = 1e-4 * least_penalty(X, y)
    model = SigmoidClassifier("log_loss", "lbfgs", alpha=alpha, l1_ratio=1.0, tol=1e-3 * alpha)
    model.set_params(max_iter=1000).fit(X, y)
    assert model.converged_ and excess(model, X, y, alpha, 1.0) <= 1.01e-3 * alpha
    alpha = 1.001 * least_penalty(X, y)
    model.set_params(alpha=alpha, tol=1e-9).fit(X, y)
    assert model.converged_ and not model.coef_.any()


@pytest.mark.parametrize("form", ["C", "CSR"])
def test_threads_change_no_bit(form):
    X, y = problem(400, 1500, dtype="float32", density=0.5)
    X = FORMS[form](X)
    found = []
    for n_jobs in (1, 2, 5):
        model = SigmoidClassifier(
            "log_loss", "lbfgs", alpha=2e-3, l1_ratio=0.9, n_jobs=n_jobs, max_iter=300
        )
        found.append(model.fit(X, y).coef_)
    assert all((coef == found[0]).all() for coef in found) and found[0].any()


def run_of(X, y, tol, **penalty):
    coef, intercept = np.zeros((1, X.shape[1]), X.dtype), np.zeros(1, X.dtype)
    objective = Objective(
        backends.current(), X, y.astype(np.uint8), None, LOSSES["log_loss"], **penalty
    )
    return SecondOrder(objective, coef, intercept, tol=tol)


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
@pytest.mark.parametrize("form", ["C", "CSR"])
@pytest.mark.parametrize("shape", [(60, 150), (400, 30)])
def test_path_has_the_optima_of_single_fits(shape, form, l1_ratio):
    X, y = problem(*shape)
    most = least_penalty(X, y) / l1_ratio
    X = FORMS[form](X)
    alphas = most * np.geomspace(1, 0.01, 12)
    run = run_of(X, y, 1e-9)
    sizes = []
    for alpha, outcome in zip(
        alphas, driver.run_path(run, [(a, l1_ratio) for a in alphas], 1000), strict=True
    ):
        assert outcome.stop_reason == "converged"
        single = run_of(X, y, 1e-9, alpha=alpha, l1_ratio=l1_ratio)
        alone = driver.run(single, max_iter=1000)
        assert np.isclose(outcome.loss, alone.loss, rtol=1e-10, atol=0)
        np.testing.assert_allclose(run.state.coef, single.state.coef, atol=1e-4)
        sizes.append(int((run.state.coef != 0).sum()))
    assert sizes[0] <= 1 < sizes[-1]


@pytest.mark.filterwarnings("ignore:Not converged")
def test_large_features_and_none():
    X, y = problem(40, 100)
    alpha = 0.1 * least_penalty(X, y)
    model = SigmoidClassifier("log_loss", "lbfgs", alpha=alpha, l1_ratio=1.0, tol=1e-6)
    plain = model.fit(X, y).coef_[0]
    X[:, 7] *= 1e80
    large = model.set_params(max_iter=20).fit(X, y).coef_[0]
    # In units of its own; its penalty in them is as good as none.
    assert model.fit_info_["algorithm"] == "lbfgs" and np.isfinite(large).all()
    assert large[7] != 0 and model.loss_ < 0.7 and plain.any()
    X[3, 7] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        model.fit(X, y)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_backends_agree(backend):
    if backend == "numba":
        pytest.importorskip("numba")
    X, y = problem(60, 120)
    model = SigmoidClassifier("log_loss", "lbfgs", alpha=5e-3, l1_ratio=1.0, tol=1e-9)
    ours = model.fit(X, y).coef_
    with schuss.use_backend(backend):
        np.testing.assert_allclose(model.fit(X, y).coef_, ours, atol=1e-6)
