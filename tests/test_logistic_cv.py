"""LogisticRegressionCV beyond what scikit-learn's own tests of it ask."""

import warnings

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import linear_model
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.model_selection import KFold

from schuss import LogisticRegression, LogisticRegressionCV
from schuss.linear import logistic_cv

OPTIONS = {
    "Cs": (0.001, 0.01, 0.1, 1.0),
    "l1_ratios": (0,),
    "scoring": "neg_log_loss",
    "use_legacy_attributes": False,
}


@pytest.fixture(scope="module")
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return X / X.std(axis=0), y


def form(estimator):
    """Of all attributes the type, and of arrays the shape."""
    return {
        name: (type(value), getattr(value, "shape", None))
        for name, value in vars(estimator).items()
    }


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("load", [load_breast_cancer, load_iris])
def test_attributes_are_those_of_scikit_learn(load, refit, legacy):
    X, y = load(return_X_y=True)
    X = X / X.std(axis=0)
    options = {
        **OPTIONS,
        "use_legacy_attributes": legacy,
        "refit": refit,
        "solver": "newton-cholesky",  # scikit-learn's others take seconds to come as near
        "tol": 1e-6,
    }
    own = LogisticRegressionCV(**options).fit(X, y)
    theirs = linear_model.LogisticRegressionCV(**options).fit(X, y)
    assert form(own) == form(theirs)
    np.testing.assert_array_equal(own.C_, theirs.C_)
    np.testing.assert_allclose(own.coef_, theirs.coef_, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(own.predict(X), theirs.predict(X))


def test_weights_are_those_of_the_best_penalty(cancer):
    model = LogisticRegressionCV(**OPTIONS, tol=1e-9).fit(*cancer)
    same = LogisticRegression(C=model.C_, tol=1e-9).fit(*cancer)
    np.testing.assert_allclose(model.coef_, same.coef_, rtol=1e-6)
    np.testing.assert_allclose(
        model.predict_proba(cancer[0]), same.predict_proba(cancer[0]), rtol=1e-5
    )


def test_each_model_has_an_iteration(cancer):
    """Even where the folds' common optimum is that of one of them within `tol`."""
    model = LogisticRegressionCV(**OPTIONS, tol=0.1).fit(*cancer)
    assert (model.n_iter_ >= 1).all()


def test_float32_is_not_copied_to_float64(cancer, monkeypatch):
    seen = []
    plan, fit_many = LogisticRegression._plan, logistic_cv.fit_many
    monkeypatch.setattr(
        logistic_cv, "fit_many", lambda X, *a, **k: seen.append(X.dtype) or fit_many(X, *a, **k)
    )
    monkeypatch.setattr(
        LogisticRegression, "_plan",
        lambda self, rows, *a, **k: seen.append(rows.X.dtype) or plan(self, rows, *a, **k),
    )  # fmt: skip
    LogisticRegressionCV(**OPTIONS).fit(cancer[0].astype(np.float32), cancer[1])
    # All folds and penalties, and the best one.
    assert len(seen) == 2 and set(seen) == {np.dtype(np.float32)}
    # Of an L1 penalty one plan for each fold serves all penalties.
    LogisticRegressionCV(**{**OPTIONS, "l1_ratios": (1,), "solver": "saga"}).fit(
        cancer[0].astype(np.float32), cancer[1]
    )
    assert len(seen) == 2 + 5 + 1 and set(seen) == {np.dtype(np.float32)}


@pytest.mark.parametrize("options", [
    {}, {"fit_intercept": False}, {"class_weight": "balanced"}, {"cv": KFold(3)},
    {"max_iter": 49}, {"n_jobs": 2},
])  # fmt: skip
@pytest.mark.parametrize("weighted", [False, True])
def test_folds_together_are_folds_one_by_one(cancer, options, weighted, monkeypatch):
    X, y = cancer
    weight = np.random.default_rng(0).random(len(y)) if weighted else None
    options = {**OPTIONS, "tol": 1e-8, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        together = LogisticRegressionCV(**options).fit(X, y == 1, weight)
        monkeypatch.setattr(logistic_cv, "_fits_together", lambda tasks: False)
        alone = LogisticRegressionCV(**options).fit(X, y == 1, weight)
    np.testing.assert_allclose(together.coefs_paths_, alone.coefs_paths_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(together.scores_, alone.scores_, rtol=1e-5)
    assert together.C_ == alone.C_ and form(together) == form(alone)


def test_a_class_that_a_fold_lacks_has_weights():
    X, y = load_iris(return_X_y=True)
    options = {**OPTIONS, "cv": KFold(3)}  # sorted by class: each fold lacks one
    own, theirs = (c(**options).fit(X, y) for c in (
        LogisticRegressionCV, linear_model.LogisticRegressionCV
    ))  # fmt: skip
    np.testing.assert_allclose(own.scores_, theirs.scores_)


def test_a_fit_that_fails_changes_nothing(cancer):
    X, y = cancer
    model = LogisticRegressionCV(**OPTIONS).fit(X, y)
    before = vars(model).copy()
    with pytest.raises(ValueError, match="class"):
        model.fit(X[:, :3], np.zeros(len(y)))
    assert all(vars(model)[name] is value for name, value in before.items())
    assert vars(model).keys() == before.keys()


def test_unknown_scikit_learn_is_refused():
    def fit(X):
        return X

    with pytest.raises(ImportError, match="whose .*fit does not call other: install a newer"):
        logistic_cv._rebind(fit, other=len)


def test_models_of_several_classes_are_made_anew_for_each_penalty():
    X, y = load_digits(return_X_y=True)
    Cs = np.logspace(-4, 4, 10)
    coefs, _, n_iter = logistic_cv.fit_penalties(X / 16, y, classes=np.unique(y), Cs=Cs)
    # Those of the first penalty left 100 iterations for each of the last five.
    assert n_iter.max() <= 40
    for C, weights in zip(Cs[::3], coefs[::3], strict=True):
        alone = LogisticRegression(C=C).fit(X / 16, y)
        np.testing.assert_allclose(
            softmax(X / 16 @ weights[:, :-1].T + weights[:, -1], axis=1),
            alone.predict_proba(X / 16), atol=0.02,
        )  # fmt: skip
