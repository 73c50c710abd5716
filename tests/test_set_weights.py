"""Weights that a user has set: models without a fit, leniencies, and shapes that do not fit."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.linear_model as reference

import schuss

N, D = 40, 4
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, D))
TWO, THREE = np.arange(N) % 2, np.arange(N) % 3

CLASSIFIERS = {
    "LogisticRegression": lambda: schuss.LogisticRegression(),
    "SGDClassifier": lambda: schuss.SGDClassifier(loss="log_loss"),
    "SigmoidClassifier": lambda: schuss.SigmoidClassifier("log_loss"),
}
LINEAR = CLASSIFIERS | {
    "SGDRegressor": lambda: schuss.SGDRegressor(),
    "SigmoidRegressor": lambda: schuss.SigmoidRegressor(),
}
PREDICTIONS = "predict", "decision_function", "predict_proba", "predict_log_proba"


def _predictions(model):
    return {name: getattr(model, name) for name in PREDICTIONS if hasattr(model, name)}


def _made(make, coef, intercept, n_classes=2):
    model = make()
    model.coef_, model.intercept_ = coef, intercept
    if hasattr(model, "predict_proba"):
        model.classes_ = np.arange(n_classes)
    return model


def _right(coef, intercept, n_classes=2):
    """scikit-learn's answers of the same weights."""
    model = reference.LogisticRegression()
    model.coef_, model.intercept_ = np.asarray(coef, float), np.asarray(intercept, float)
    model.coef_ = model.coef_.reshape(-1, D)
    model.classes_ = np.arange(n_classes)
    return model


WEIGHTS = RNG.standard_normal((3, D))
LENIENT = {
    "arrays": (WEIGHTS[:1], np.array([0.5])),
    "scalar intercept": (WEIGHTS[:1], 0.5),
    "whole intercept": (WEIGHTS[:1], 1),
    "array of no dimension": (WEIGHTS[:1], np.array(0.5)),
    "one-dimensional coef": (WEIGHTS[0], np.array([0.5])),
    "one-dimensional coef, scalar intercept": (WEIGHTS[0], 0.5),
    "lists": (WEIGHTS[:1].tolist(), [0.5]),
    "whole numbers": (np.array([[1, -2, 3, 0]]), np.array([1])),
    "longdouble": (WEIGHTS[:1].astype(np.longdouble), np.array([0.5], np.longdouble)),
    "Fortran order": (np.asfortranarray(WEIGHTS)[:1], np.array([0.5])),
    "sparse": (sp.csr_array(WEIGHTS[:1]), np.array([0.5])),
}


@pytest.mark.parametrize("rows", [X, X.astype(np.float32), sp.csr_array(X), X.tolist()])
@pytest.mark.parametrize("lenient", LENIENT)
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_hand_made_model_predicts(kind, lenient, rows):
    coef, intercept = LENIENT[lenient]
    dense = coef.toarray() if sp.issparse(coef) else coef
    right = _right(dense, intercept)
    for name, call in _predictions(_made(CLASSIFIERS[kind], coef, intercept)).items():
        np.testing.assert_allclose(call(rows), getattr(right, name)(X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("intercept", [0.5, [0.5, 1.0, -1.0], np.zeros(3)])
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_hand_made_model_of_several_classes_predicts(kind, intercept):
    model = _made(CLASSIFIERS[kind], WEIGHTS, intercept, 3)
    right = _right(WEIGHTS, intercept, 3)
    np.testing.assert_allclose(model.decision_function(X), right.decision_function(X))
    np.testing.assert_array_equal(model.predict(X), right.predict(X))
    if kind == "LogisticRegression":
        np.testing.assert_allclose(model.predict_proba(X), right.predict_proba(X))


@pytest.mark.parametrize("kind", ["SGDRegressor", "SigmoidRegressor"])
@pytest.mark.parametrize("coef", [WEIGHTS[0], WEIGHTS[:1], WEIGHTS[0].tolist()])
@pytest.mark.parametrize("intercept", [0.5, [0.5], np.array([0.5])])
def test_hand_made_regressor_predicts(kind, coef, intercept):
    z = X @ WEIGHTS[0] + 0.5
    right = z if kind == "SGDRegressor" else 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(_made(LINEAR[kind], coef, intercept).predict(X), right)


def test_hand_made_model_can_be_fitted_on():
    model = schuss.LogisticRegression(warm_start=True, max_iter=1)
    model.classes_, model.coef_, model.intercept_ = np.arange(3), np.zeros((3, D)), 0.0
    np.testing.assert_allclose(model.predict_proba(X), 1 / 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert model.fit(X, THREE).n_features_in_ == D


@pytest.mark.parametrize("kind", ["SGDClassifier", "SigmoidClassifier"])
def test_hand_made_model_can_be_trained_on(kind):
    model = _made(CLASSIFIERS[kind], np.ones((1, D)), 0.0)
    model.partial_fit(X, TWO)
    assert np.isfinite(model.coef_).all()


BAD = {
    "one intercept for three classes": ("intercept_", np.zeros(1), r"\(1,\), expected \(3,\)"),
    "intercepts of two classes": ("intercept_", np.zeros(2), r"\(2,\), expected \(3,\)"),
    "intercepts by column": ("intercept_", np.zeros((3, 1)), r"\(3, 1\), expected \(3,\)"),
    "intercept of text": ("intercept_", np.array(["a"] * 3), "dtype <U1, expected real numbers"),
    "fewer rows": ("coef_", np.zeros((2, D)), rf"\(2, {D}\), expected \(3, {D}\)"),
    "more rows": ("coef_", np.zeros((9, D)), rf"\(9, {D}\), expected \(3, {D}\)"),
    "no rows": ("coef_", np.zeros((0, D)), rf"\(0, {D}\), expected \(3, {D}\)"),
    "fewer columns": ("coef_", np.zeros((3, 1)), rf"\(3, 1\), expected \(3, {D}\)"),
    "more columns": ("coef_", np.zeros((3, 99)), rf"\(3, 99\), expected \(3, {D}\)"),
    "transposed": ("coef_", np.zeros((D, 3)), rf"\({D}, 3\), expected \(3, {D}\)"),
    "one dimension": ("coef_", np.zeros(D), rf"\({D},\), expected \(3, {D}\)"),
    "three dimensions": ("coef_", np.zeros((1, 3, D)), rf"\(1, 3, {D}\), expected \(3, {D}\)"),
    "a number": ("coef_", 1.0, rf"\(\), expected \(3, {D}\)"),
    "complex": ("coef_", np.zeros((3, D), complex), "dtype complex128, expected real numbers"),
    "sparse": ("coef_", sp.csr_array((2, D)), rf"\(2, {D}\), expected \(3, {D}\)"),
    "fewer classes": ("classes_", np.arange(2), None),
    "more classes": ("classes_", np.arange(5), None),
    "one class": ("classes_", np.arange(1), "two classes or more"),
}


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_shapes_that_do_not_fit_are_named(kind, bad, fitted):
    name, value, message = BAD[bad]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = CLASSIFIERS[kind]().fit(X, THREE)
    if not fitted:
        model = _made(CLASSIFIERS[kind], model.coef_, model.intercept_, 3)
    setattr(model, name, value)
    match = "coef_ has shape .* expected" if message is None else f"{name} .*{message}"
    calls = _predictions(model)
    if kind == "SGDClassifier":
        calls["partial_fit"] = lambda X: model.partial_fit(X, THREE)
    for call_name, call in calls.items():
        if call_name == "partial_fit" and (name == "classes_" or bad in OWN_WORDS):
            continue
        with pytest.raises(ValueError, match=match):
            call(X)


# scikit-learn looks at the last dimension first.
OWN_WORDS = "fewer columns", "more columns", "transposed", "a number"


@pytest.mark.parametrize("kind", ["SGDRegressor", "SigmoidRegressor"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("coef_", np.zeros(D - 1)), ("coef_", np.zeros(D + 1)), ("coef_", np.zeros((2, D))),
        ("intercept_", np.zeros(2)), ("intercept_", np.zeros(0)), ("coef_", 0.0),
    ],
)  # fmt: skip
def test_shapes_of_regressors_that_do_not_fit_are_named(kind, name, value):
    model = _made(LINEAR[kind], WEIGHTS[0], 0.5)
    setattr(model, name, value)
    with pytest.raises(ValueError, match=rf"{name} has shape .*, expected"):
        model.predict(X)


def test_x_of_other_width_is_named():
    model = _made(CLASSIFIERS["LogisticRegression"], WEIGHTS[:1], 0.0)
    with pytest.raises(ValueError, match="as X has 7 features"):
        model.predict(np.zeros((2, 7)))


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_shape_that_does_not_fit_ends_warm_start(kind):
    model = CLASSIFIERS[kind]().set_params(warm_start=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, THREE)
        model.intercept_ = np.zeros(2)
        with pytest.raises(ValueError, match="intercept_"):
            model.fit(X, THREE)


# ----- networks ------------------------------------------------------------------------


@pytest.fixture(params=["MLPClassifier", "MLPRegressor"])
def network(request):
    settings = {"hidden_layer_sizes": (5, 3), "max_iter": 2, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(schuss, request.param)(**settings).fit(X, THREE)


NETWORK_BAD = {
    "first layer": ("coefs_", 0, (D + 1, 5)),
    "narrow first layer": ("coefs_", 0, (D - 1, 5)),
    "second layer": ("coefs_", 1, (4, 3)),
    "wide first layer": ("coefs_", 0, (D, 50)),
    "layer of nothing": ("coefs_", 1, (5, 0)),
    "layer of one dimension": ("coefs_", 1, (5,)),
    "intercepts": ("intercepts_", 0, (4,)),
    "last intercepts": ("intercepts_", 2, (7,)),
    "no intercepts": ("intercepts_", 1, (0,)),
    "intercepts by row": ("intercepts_", 1, (1, 3)),
}


@pytest.mark.parametrize("bad", NETWORK_BAD)
def test_layers_that_do_not_fit_are_named(network, bad):
    name, layer, shape = NETWORK_BAD[bad]
    getattr(network, name)[layer] = np.zeros(shape)
    match = r"(coefs_|intercepts_)\[\d\] has shape .*, expected \("
    for call in _predictions(network).values():
        with pytest.raises(ValueError, match=match):
            call(X)
    with pytest.raises(ValueError, match=f"{match}|The fitted network has layers"):
        network.partial_fit(X, THREE)


@pytest.mark.parametrize("name", ["coefs_", "intercepts_"])
def test_layers_that_are_missing_are_named(network, name):
    getattr(network, name).pop()
    with pytest.raises(ValueError, match="one for each layer"):
        network.predict(X)


def test_layers_as_lists_predict(network):
    right = network.predict(X)
    network.coefs_ = [coef.tolist() for coef in network.coefs_]
    network.intercepts_ = [intercept.tolist() for intercept in network.intercepts_]
    np.testing.assert_allclose(network.predict(X), right)


# ----- numbers -------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["coef_", "intercept_"])
@pytest.mark.parametrize("kind", ["SigmoidClassifier", "SigmoidRegressor"])
def test_weights_that_are_not_finite_are_named(kind, name, value):
    model = _made(LINEAR[kind], WEIGHTS[0].copy(), np.zeros(1))
    getattr(model, name)[0] = value
    with pytest.raises(ValueError, match=f"{name} holds NaN or infinity"):
        model.predict(X)


@pytest.mark.parametrize("kind", ["LogisticRegression", "SigmoidClassifier"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float16, np.float32])
def test_weights_beyond_float32_serve_small_rows(kind, dtype):
    rows = np.array([[0, 1], [1, 0], [1, 1], [0, 0]], dtype)
    model = _made(CLASSIFIERS[kind], np.array([[-1e39, 1e39]]), np.array([0.5]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(model.predict(rows), [1, 0, 1, 1])
        np.testing.assert_allclose(model.predict_proba(rows)[:, 1], [1, 0, 0.6224593, 0.6224593])
