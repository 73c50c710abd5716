"""Weights of classes by label, and of rows through scikit-learn's routing, in every estimator."""

import warnings

import numpy as np
import pytest
import sklearn
import sklearn.linear_model as linear
import sklearn.neural_network as networks
from sklearn.model_selection import GridSearchCV, cross_validate

import schuss

RNG = np.random.default_rng(0)
N = 60
X = RNG.standard_normal((N, 3))
CODES = (X[:, 0] + RNG.standard_normal(N) > 0).astype(int)
WEIGHTS = RNG.uniform(0.1, 5.0, N)

CLASSIFIERS = {
    "LogisticRegression": schuss.LogisticRegression,
    "SigmoidClassifier": schuss.SigmoidClassifier,
    "SGDClassifier": schuss.SGDClassifier,
    "MLPClassifier": schuss.MLPClassifier,
}


def _make(name):
    settings = {"max_iter": 5, "tol": 1e-3}
    if name != "LogisticRegression":
        settings["random_state"] = 0
    return CLASSIFIERS[name](**settings)


def _fit(name, y, class_weight=None, sample_weight=None):
    model = _make(name)
    given = {}
    if name == "MLPClassifier":
        given = {"class_weight": class_weight}
    else:
        model.set_params(class_weight=class_weight)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, y, sample_weight=sample_weight, **given)


@pytest.mark.parametrize("keys", [["1", "2"], ["01", "1"], ["1", "1.0"], ["-1", "1"], ["²", "2"]])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_text_that_looks_like_a_number_is_a_label(name, keys):
    labels = np.sort(np.array(keys))
    by_class = _fit(name, labels[CODES], {str(labels[0]): 1.0, str(labels[1]): 3.0})
    by_row = _fit(name, labels[CODES], None, np.where(CODES == 1, 3.0, 1.0))
    np.testing.assert_array_equal(by_class.predict(X), by_row.predict(X))
    if name == "LogisticRegression":
        np.testing.assert_allclose(by_class.coef_, by_row.coef_, rtol=1e-6)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_number_stands_for_the_text_that_writes_it(name):
    labels = np.array(["1", "2"])
    by_text = _fit(name, labels[CODES], {"1": 1.0, "2": 3.0})
    by_number = _fit(name, labels[CODES], {1: 1.0, 2: 3.0})
    np.testing.assert_array_equal(by_text.predict(X), by_number.predict(X))


@pytest.mark.parametrize("weights", [{1: 2.0, 3: 1.0}, {"1": 2.0}, {"1": 1.0, "2": 3.0}])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_labels_that_are_not_there_are_named(name, weights):
    labels = np.array(["01", "2"])
    with pytest.raises(ValueError, match="are not in class_weight"):
        _fit(name, labels[CODES], weights)


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf, "1"])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_weights_that_are_none_are_named(name, weight):
    with pytest.raises(ValueError, match="class_weight: the weight of class 1 is"):
        _fit(name, CODES, {0: 1.0, 1: weight})


def test_parameter_stays_as_it_was():
    weights = {"1": 1.0, "2": 3.0}
    model = _fit("SGDClassifier", np.array(["1", "2"])[CODES], weights)
    assert model.class_weight is weights
    with pytest.raises(ValueError):
        model.fit(X, CODES)
    assert model.class_weight is weights


PAIRS = [
    (schuss.LogisticRegression, linear.LogisticRegression),
    (schuss.SGDClassifier, linear.SGDClassifier),
    (schuss.SGDRegressor, linear.SGDRegressor),
    (schuss.MLPClassifier, networks.MLPClassifier),
    (schuss.MLPRegressor, networks.MLPRegressor),
    (schuss.SigmoidClassifier, linear.LogisticRegression),
    (schuss.SigmoidRegressor, linear.SGDRegressor),
]


def _routed(kind, search, fit, score):
    """What comes of it: scores, or the type of the error and its text without the class."""
    model = kind(max_iter=3)
    for request, of in ((fit, model.set_fit_request), (score, model.set_score_request)):
        if request is not None:
            of(sample_weight=request)
    y = CODES.astype(float) if sklearn.base.is_regressor(model) else CODES
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if search:
                found = GridSearchCV(model, {"max_iter": [2, 3]}, cv=3, error_score="raise")
                return "scores", len(found.fit(X, y, sample_weight=WEIGHTS).cv_results_)
            found = cross_validate(model, X, y, cv=3, params={"sample_weight": WEIGHTS})
            return "scores", len(found["test_score"])
    except Exception as error:
        return type(error).__name__, str(error).replace(kind.__name__, "")


@pytest.mark.parametrize("score", [True, False, None])
@pytest.mark.parametrize("fit", [True, False, None])
@pytest.mark.parametrize("search", [True, False])
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_weights_are_routed_as_in_scikit_learn(ours, theirs, search, fit, score):
    with sklearn.config_context(enable_metadata_routing=True):
        assert _routed(ours, search, fit, score) == _routed(theirs, search, fit, score)


@pytest.mark.parametrize("kind", [ours for ours, _ in PAIRS])
def test_routed_weights_are_those_of_a_direct_call(kind):
    settings = {} if kind is schuss.LogisticRegression else {"random_state": 0}
    train, test = np.arange(0, N, 2), np.arange(1, N, 2)
    y = CODES.astype(float) if "Regressor" in kind.__name__ else CODES
    with warnings.catch_warnings(), sklearn.config_context(enable_metadata_routing=True):
        warnings.simplefilter("ignore")
        model = kind(max_iter=3, **settings)
        model.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        found = cross_validate(model, X, y, cv=[(train, test)], params={"sample_weight": WEIGHTS})[
            "test_score"
        ]
        model.fit(X[train], y[train], sample_weight=WEIGHTS[train])
        right = model.score(X[test], y[test], sample_weight=WEIGHTS[test])
    assert found == pytest.approx(right)
