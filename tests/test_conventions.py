"""What scikit-learn's tools ask of an estimator besides its answers: as of its own classes."""

import os
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
import sklearn
from sklearn import linear_model, neural_network
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.feature_selection import SelectFromModel
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

import schuss

PARAMETERS = {
    "LogisticRegression": {},
    "LogisticRegressionCV": {"Cs": 2, "cv": 2, "use_legacy_attributes": False},
    "SGDClassifier": {"random_state": 0, "max_iter": 20},
    "Perceptron": {"random_state": 0, "max_iter": 20},
    "SGDRegressor": {"random_state": 0, "max_iter": 20, "eta0": 1e-5},
    "MLPClassifier": {"hidden_layer_sizes": (3,), "random_state": 0, "max_iter": 5},
    "MLPRegressor": {"hidden_layer_sizes": (3,), "random_state": 0, "max_iter": 5},
}
CLASSIFIERS = [name for name in PARAMETERS if "Regressor" not in name]
OURS = [*PARAMETERS, "SigmoidClassifier", "SigmoidRegressor"]
X = np.random.default_rng(0).standard_normal((60, 4))
# Not separable, so that weights make a difference.
CODES = (X @ [1.0, -1.0, 0.5, 0.0] + np.random.default_rng(2).standard_normal(60) > 0).astype(int)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def theirs(name):
    return getattr(linear_model, name, None) or getattr(neural_network, name)


def pair(name):
    return getattr(schuss, name)(**PARAMETERS[name]), theirs(name)(**PARAMETERS[name])


def outcome(function):
    try:
        return function()
    except (TypeError, ValueError) as error:
        return type(error)


# --------------------------------------------------------------------- metadata


@pytest.mark.parametrize("name", PARAMETERS)
def test_what_can_be_requested(name):
    ours, other = pair(name)
    with sklearn.config_context(enable_metadata_routing=True):
        mine, same = (model.get_metadata_routing() for model in (ours, other))
        # Offsets are of rows, as weights are.
        assert str(mine).replace(", 'offset': None", "") == str(same)
    setters = [{m for m in dir(model) if re.match(r"set_\w+", m)} for model in (ours, other)]
    assert setters[0] == setters[1]


@pytest.mark.parametrize("name", OURS)
def test_weights_are_routed_through_pipelines_and_searches(name):
    if name == "LogisticRegressionCV":
        pytest.skip("is a router itself: tests/test_logistic_cv.py")
    model = getattr(schuss, name)(**PARAMETERS.get(name, {}))
    y = CODES.astype(float) if "Regressor" in name else CODES
    weight = np.random.default_rng(1).random(60)
    with sklearn.config_context(enable_metadata_routing=True):
        step = sklearn.clone(model).set_fit_request(sample_weight=True)
        step.set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, step).fit(X, y, sample_weight=weight)
        direct = sklearn.clone(model).fit(scaler.transform(X), y, sample_weight=weight)
        weights = "coefs_" if name.startswith("MLP") else "coef_"
        for a, b in zip(getattr(pipeline[-1], weights), getattr(direct, weights), strict=True):
            np.testing.assert_array_equal(a, b)
        score = pipeline.score(X, y, sample_weight=weight)
        assert score == direct.score(scaler.transform(X), y, weight)
        assert score != pipeline[-1].score(scaler.transform(X), y)
        # Folds get the weights of their rows, of the fit and of the score.
        found = cross_validate(step, X, y, cv=2, params={"sample_weight": weight})["test_score"]
        folds = np.arange(60) < 30
        if "Regressor" in name:
            for i, test in enumerate((folds, ~folds)):
                fold = sklearn.clone(model).fit(X[~test], y[~test], sample_weight=weight[~test])
                assert found[i] == fold.score(X[test], y[test], weight[test])
        alpha = "C" if name == "LogisticRegression" else "alpha"
        search = GridSearchCV(step, {alpha: [1e-3, 0.1]}, cv=2)
        search.fit(X, y, sample_weight=weight)
        assert np.isfinite(search.best_score_)
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            GridSearchCV(model, {alpha: [0.1]}, cv=2).fit(X, y, sample_weight=weight)


# --------------------------------------------------------------------- outputs


@pytest.mark.parametrize("name", OURS)
def test_as_html_and_text(name):
    model = getattr(schuss, name)(**PARAMETERS.get(name, {}))
    html = model._repr_html_()
    assert name in html
    # No page of scikit-learn's documentation is that of this class.
    assert model._get_doc_link() == ""
    assert name in make_pipeline(StandardScaler(), model)._repr_html_()
    if name in PARAMETERS:
        assert repr(model) == repr(theirs(name)(**PARAMETERS[name]))


@pytest.mark.parametrize("name", PARAMETERS)
def test_tags(name):
    ours, other = map(get_tags, pair(name))
    # Arrays of other libraries are not computed where they are.
    other.array_api_support = False
    assert ours == other


@pytest.mark.parametrize("name", [name for name in OURS if not name.startswith("MLP")])
def test_set_output_of_what_stands_before_and_around(name):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = getattr(schuss, name)(**PARAMETERS.get(name, {}))
    y = CODES.astype(float) if "Regressor" in name else CODES
    pipeline = make_pipeline(StandardScaler(), model).set_output(transform="pandas")
    pipeline.fit(frame, y)
    assert list(pipeline[-1].feature_names_in_) == list("abcd")
    chosen = SelectFromModel(model, max_features=2).set_output(transform="pandas")
    kept = chosen.fit_transform(frame, y)
    assert isinstance(kept, pd.DataFrame) and set(kept.columns) <= set("abcd")


# --------------------------------------------------------------------- types of labels and features


def labels():
    """Labels of two classes, by name."""
    text = np.array(["no", "yes"], dtype=object)[CODES]
    kinds = {
        "str": text.astype("U3"),
        "bytes": text.astype("S3"),
        "list": text.tolist(),
        "bool": CODES.astype(bool),
        "float": CODES.astype(float),
        "StringDType": text.astype(np.dtypes.StringDType()),
        "StringDType with missing": text.astype(np.dtypes.StringDType(na_object=np.nan)),
    }
    pd = pytest.importorskip("pandas")
    for dtype in ("Int64", "boolean", "Float64", "category"):
        kinds[f"pandas {dtype}"] = pd.Series(CODES).astype(dtype)
    kinds["pandas missing"] = pd.Series(CODES, dtype="Int64").mask(CODES == 0)
    objects = {"object": text, "pandas object": pd.Series(text, dtype=object)}
    for dtype in ("str", "string", "category"):
        objects[f"pandas {dtype} of text"] = pd.Series(text).astype(dtype)
    return kinds, objects


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if not name.endswith("CV")])
def test_labels_as_in_scikit_learn(name):
    kinds, objects = labels()

    def fitted(model, y):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X, y)
        answers = model.predict(X[:5])
        return [list(values) for values in (model.classes_, answers)], [
            (str(values.dtype), type(values[0])) for values in (model.classes_, answers)
        ]

    for kind, y in (kinds | objects).items():
        mine, same = (outcome(lambda m=model, y=y: fitted(m, y)) for model in pair(name))
        if kind in objects:
            # SGD and networks of scikit-learn make them fixed-width text.
            assert mine[0] == same[0], kind
            assert mine[1] == [("object", str)] * 2, kind
        else:
            assert mine == same, kind


def features():
    """The same features, by name."""
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(np.round(X * 4 + 20), columns=list("abcd"))
    kinds = {"list": X.tolist(), "masked": np.ma.masked_array(X), "frame": frame}
    for dtype in ("Int64", "UInt8", "Float64", "Float32", "object", "category", "string"):
        kinds[dtype] = frame.astype(dtype)
    kinds["sparse"] = frame.astype(pd.SparseDtype("float64"))
    kinds["boolean"] = (frame > 20).astype("boolean")
    kinds["pyarrow"] = frame.convert_dtypes(dtype_backend="pyarrow")
    kinds["missing"] = frame.astype("Float64").mask(frame > 25)
    for dtype in ("U8", "S8", np.dtypes.StringDType()):
        kinds[f"text {dtype}"] = X.astype("U8").astype(dtype)
    return kinds


@pytest.mark.parametrize("name", [name for name in PARAMETERS if not name.endswith("CV")])
def test_features_as_in_scikit_learn(name):
    def fitted(model, X):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X, CODES)
        return model.predict(X[:5]).tolist(), list(getattr(model, "feature_names_in_", ()))

    for kind, values in features().items():
        ours, other = pair(name)
        mine, same = (outcome(lambda m=m, v=values: fitted(m, v)) for m in (ours, other))
        if kind.startswith("text"):
            # Of NumPy's new type scikit-learn says it by a TypeError from within.
            assert mine is ValueError and same in (ValueError, TypeError), kind
        elif isinstance(mine, type) or isinstance(same, type):
            assert mine == same, kind
        else:
            plain = np.asarray(values.toarray() if hasattr(values, "toarray") else values)
            dtype = np.float32 if kind == "Float32" else np.float64
            expected, _ = fitted(pair(name)[0], plain.astype(dtype))
            np.testing.assert_allclose(mine[0], expected, rtol=1e-4, err_msg=kind)
            assert mine[1] == same[1], kind


# --------------------------------------------------------------------- arrays of other libraries

_DISPATCH = """
import numpy as np, sklearn, schuss

class Foreign:
    __module__ = "elsewhere"
    def __array_namespace__(self, api_version=None):
        import types
        return types.ModuleType("elsewhere")

X = np.random.default_rng(0).standard_normal((40, 3))
y = (X[:, 0] > 0).astype(int)
with sklearn.config_context(array_api_dispatch=True):
    for name in {names}:
        model = getattr(schuss, name)(max_iter=5).fit(X, y)
        assert type(model.predict(X)) is np.ndarray
        for call in (lambda: model.fit(Foreign(), y), lambda: model.predict(Foreign())):
            try:
                call()
            except (TypeError, ValueError) as error:
                # scikit-learn's own where its methods come first.
                text = str(error)
                assert "numpy.asarray(X)" in text and "elsewhere.Foreign" in text or (
                    "Only the NumPy namespace" in text
                ), error
            else:
                raise AssertionError(name)
"""


def test_dispatch_to_other_libraries_is_refused():
    names = [name for name in OURS if name != "LogisticRegressionCV"]
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _DISPATCH.format(names=names)],
        capture_output=True, text=True, env={**os.environ, "SCIPY_ARRAY_API": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


class AsNumPy:
    """An array of another library on the processor, as NumPy reads it."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


@pytest.mark.parametrize("name", PARAMETERS)
def test_without_dispatch_arrays_are_read_through_numpy(name):
    ours, _ = pair(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = sklearn.clone(ours).fit(X, CODES).predict(X)
        found = ours.fit(AsNumPy(X), AsNumPy(CODES)).predict(AsNumPy(X))
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, expected)
