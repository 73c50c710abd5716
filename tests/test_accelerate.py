"""scikit-learn's own classes, fitted by ours: what is left, and what falls back and says so."""

import os
import pickle
import re
import site
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
from sklearn import base, datasets, linear_model, neural_network
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.utils.validation import has_fit_parameter

import schuss
from schuss import acceleration
from schuss.acceleration import wrappers

LogisticRegression = linear_model.LogisticRegression
SGDClassifier = linear_model.SGDClassifier
MLPClassifier = neural_network.MLPClassifier

SOURCES = Path(schuss.__file__).parents[1]


@pytest.fixture(autouse=True)
def nothing_is_left():
    """Each test begins and ends with scikit-learn as it is."""
    before = what_classes_have()
    yield
    schuss.restore()
    assert what_classes_have() == before
    assert not [name for name in os.environ if name.startswith("SCHUSS_ACCELERATE")]


def what_classes_have():
    return {
        name: {key: value for key, value in vars(cls(name)).items() if callable(value)}
        for name in acceleration.MODULES
    }


def cls(name):
    return getattr(sys.modules[acceleration.MODULES[name]], name)


@pytest.fixture(scope="module")
def data():
    X, y = datasets.load_breast_cancer(return_X_y=True)
    flowers, species = datasets.load_iris(return_X_y=True)
    people, progress = datasets.load_diabetes(return_X_y=True)
    several = np.column_stack([species == 0, species == 1]).astype(int)
    return {
        "two": (scale(X), np.array(["benign", "malign"])[y]),
        "three": (scale(flowers), species),
        "several": (scale(flowers), several),
        "real": (scale(people), scale(progress)),
    }


FOLDS = {
    "Cs": (0.01, 1.0),
    "l1_ratios": (0,),
    "cv": 3,
    "scoring": "neg_log_loss",
    "use_legacy_attributes": False,
}
CASES = [
    ("LogisticRegression", {}, "two three"),
    ("LogisticRegression", {"solver": "liblinear"}, "two"),
    ("LogisticRegression", {"solver": "saga", "l1_ratio": 0.5, "max_iter": 5000}, "two three"),
    ("LogisticRegression", {"fit_intercept": False, "class_weight": "balanced"}, "two three"),
    ("LogisticRegressionCV", FOLDS, "two three"),
    ("LogisticRegressionCV", {**FOLDS, "refit": False}, "two three"),
    (
        "LogisticRegressionCV",
        {**FOLDS, "solver": "saga", "l1_ratios": (0.5,), "max_iter": 5000},
        "three",
    ),
    ("LogisticRegressionCV", {**FOLDS, "solver": "newton-cg", "fit_intercept": False}, "two three"),
    ("LogisticRegressionCV", {**FOLDS, "use_legacy_attributes": True}, "two three"),
    ("LogisticRegressionCV", {**FOLDS, "solver": "liblinear", "class_weight": "balanced"}, "two"),
    ("SGDClassifier", {"loss": "log_loss", "alpha": 0.1}, "two three"),
    ("SGDClassifier", {"average": True}, "two three"),
    ("SGDClassifier", {"average": 10**6}, "two three"),
    ("SGDClassifier", {"early_stopping": True, "class_weight": "balanced"}, "two three"),
    ("SGDRegressor", {}, "real"),
    ("SGDRegressor", {"average": True}, "real"),
    ("SGDRegressor", {"average": 10**6, "early_stopping": True}, "real"),
    ("Perceptron", {}, "two three"),
    ("Perceptron", {"penalty": "elasticnet", "early_stopping": True}, "two three"),
    ("MLPClassifier", {"max_iter": 6}, "two three several"),
    ("MLPClassifier", {"max_iter": 6, "solver": "sgd", "learning_rate": "invscaling"}, "two three"),
    ("MLPClassifier", {"max_iter": 4, "solver": "lbfgs"}, "two three"),
    ("MLPClassifier", {"max_iter": 6, "early_stopping": True}, "two three"),
    ("MLPRegressor", {"max_iter": 6}, "real"),
    ("MLPRegressor", {"max_iter": 4, "solver": "lbfgs"}, "real"),
    ("MLPRegressor", {"max_iter": 6, "early_stopping": True}, "real"),
]
FITS = [
    pytest.param(name, options, rows, id=f"{name}-{','.join(map(str, options.values()))}-{rows}")
    for name, options, kinds in CASES
    for rows in kinds.split()
]


def kind(value):
    """What an attribute is, without its numbers."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.flags.c_contiguous, value.flags.f_contiguous
    if isinstance(value, (list, tuple)):
        return type(value), [kind(item) for item in value]
    if hasattr(value, "__dict__"):
        return type(value), {name: kind(item) for name, item in vars(value).items()}
    return type(value)


def fitted(estimator):
    """Attributes that are no parameters."""
    names = vars(estimator).keys() - estimator.get_params().keys()
    return {name: vars(estimator)[name] for name in sorted(names)}


def needs(name):
    if name not in acceleration.available():
        pytest.skip(f"schuss has no {name}")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
@pytest.mark.parametrize(("name", "options", "rows"), FITS)
def test_a_fit_leaves_what_scikit_learn_leaves(name, options, rows, dtype, data):
    needs(name)
    X, y = data[rows]
    X = X.astype(dtype) if np.dtype(dtype).kind == "f" else (10 * X + 50).astype(dtype)
    plain = cls(name)(random_state=0, **options).fit(X, y)
    with schuss.accelerated(strict=True):
        served = cls(name)(random_state=0, **options).fit(X, y)
    assert {k: kind(v) for k, v in fitted(served).items()} == {
        k: kind(v) for k, v in fitted(plain).items()
    }
    assert type(served) is type(plain)
    assert b"schuss" not in pickle.dumps(served)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "uint8", "int64"])
def test_types_of_frames(dtype, data):
    frames = pytest.importorskip("pandas")
    X, y = data["three"]
    X = frames.DataFrame(4 * X + 20).add_prefix("x").astype(dtype)
    plain = LogisticRegression().fit(X, y)
    with schuss.accelerated(strict=True):
        model = LogisticRegression().fit(X, y)
    assert kind(model) == kind(plain)


@pytest.mark.parametrize("name", [name for name in acceleration.MODULES if "Regressor" not in name])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_types_of_text_labels(name, data):
    X, y = data["three"]
    y = np.array(["a", "b", "c"], dtype=object)[y]
    estimator = cls(name)(max_iter=3, **(FOLDS if name == "LogisticRegressionCV" else {}))
    plain = base.clone(estimator).fit(X, y)
    with schuss.accelerated(strict=True):
        served = base.clone(estimator).fit(X, y)
    assert served.classes_.dtype == plain.classes_.dtype
    assert served.predict(X).dtype == plain.predict(X).dtype


@pytest.mark.parametrize("dtypes", [(np.float32, np.float32), (np.float64, np.float32)])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_types_of_targets(solver, dtypes, data):
    X, y = (array.astype(dtype) for array, dtype in zip(data["real"], dtypes, strict=True))
    model = neural_network.MLPRegressor(
        hidden_layer_sizes=(4,), solver=solver, max_iter=3, random_state=0
    )
    plain = base.clone(model).fit(X, y)
    with schuss.accelerated(strict=True):
        model.fit(X, y)
    assert kind(model) == kind(plain)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("name", "options", "rows"), FITS)
def test_answers_are_those_of_scikit_learn(name, options, rows, data):
    needs(name)
    X, y = data[rows]
    estimator = cls(name)(random_state=0, **options)
    if name.startswith("LogisticRegression"):
        estimator.set_params(tol=1e-8, max_iter=10000)
    plain = base.clone(estimator).fit(X, y)
    with schuss.accelerated(strict=True, verify=True) as report:
        served = base.clone(estimator).fit(X, y)
    coefs = (
        (served.coef_, plain.coef_)
        if hasattr(plain, "coef_")
        else (served.coefs_[0], plain.coefs_[0])
    )
    np.testing.assert_allclose(*coefs, rtol=1e-3, atol=1e-4)
    assert (served.predict(X) == plain.predict(X)).mean() > 0.99 or rows == "real"
    assert len(report.verified) == 1
    assert report.verified[0].difference < 1e-5


@pytest.mark.parametrize("kind_of_rows", ["float64", "float32", "csr", "frame", "list", "int64"])
@pytest.mark.parametrize(
    "name", ["LogisticRegression", "LogisticRegressionCV", "MLPClassifier", "MLPRegressor"]
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_predictions_are_those_of_scikit_learn(name, kind_of_rows, data):
    for rows in ("real",) if name == "MLPRegressor" else ("two", "three"):
        X, y = data[rows]
        X = np.round(4 * X)
        if kind_of_rows == "frame":
            X = pytest.importorskip("pandas").DataFrame(X).add_prefix("x")
        elif kind_of_rows == "csr":
            X = sp.csr_array(X)
        else:
            X = X.tolist() if kind_of_rows == "list" else X.astype(kind_of_rows)
        options = FOLDS if name == "LogisticRegressionCV" else {}
        model = cls(name)(max_iter=5, random_state=0, **options).fit(X, y)
        for method in wrappers._SERVED[name].predictions:
            expected = getattr(model, method)(X)
            with schuss.accelerated(strict=True) as report:
                answer = getattr(model, method)(X)
            assert report.served == 1
            assert kind(answer) == kind(expected)
            if "log" in method:  # scikit-learn's is that of a probability that may be 0
                answer, expected = np.exp(answer), np.exp(expected)
            if answer.dtype.kind == "f":
                np.testing.assert_allclose(answer, expected, rtol=2e-4, atol=2e-6)
            else:
                np.testing.assert_array_equal(answer, expected)


def test_an_object_fitted_before_predicts_after_and_the_other_way(data):
    X, y = data["three"]
    model = LogisticRegression().fit(X, y)
    expected = model.predict_proba(X)
    with schuss.accelerated():
        np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-12)
        model = LogisticRegression(tol=1e-10).fit(X, y)
        expected = model.predict_proba(X)
    np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-12)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_partial_fit_of_a_network_goes_on_from_a_served_fit(solver, data):
    X, y = data["three"]
    models = [MLPClassifier((8,), solver=solver, max_iter=7, random_state=0) for _ in range(2)]
    models[0].fit(X, y)
    with schuss.accelerated(strict=True):
        models[1].fit(X, y)
    for model in models:
        for _ in range(5):
            model.partial_fit(X, y)
    np.testing.assert_allclose(models[1].coefs_[0], models[0].coefs_[0], rtol=1e-9)


@pytest.mark.parametrize("average", [False, True])
def test_partial_fit_of_sgd_goes_on_from_a_served_fit(average, data):
    X, y = data["two"]
    models = [SGDClassifier(alpha=0.1, average=average, random_state=0) for _ in range(2)]
    models[0].fit(X, y)
    with schuss.accelerated(strict=True):
        models[1].fit(X, y)
    for model in models:
        model.partial_fit(X, y)
    np.testing.assert_allclose(models[1].coef_, models[0].coef_, rtol=1e-6)
    assert models[1].t_ == models[0].t_


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(warm_start=True),
        SGDClassifier(warm_start=True, max_iter=3, tol=None),
        MLPClassifier((5,), warm_start=True, max_iter=3),
        MLPClassifier((5,), warm_start=True, max_iter=3, early_stopping=True),
    ],
    ids=["logistic", "sgd", "network", "network that stops early"],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_warm_starts(estimator, data):
    X, y = data["two"]
    models = [base.clone(estimator).set_params(random_state=0) for _ in range(2)]
    for _ in range(2):
        models[0].fit(X, y)
        with schuss.accelerated(strict=True):
            models[1].fit(X, y)
    assert fitted(models[1]).keys() == fitted(models[0]).keys()
    if hasattr(models[0], "loss_curve_"):
        # What follows is another matter: scikit-learn's best weights are those it goes on with.
        np.testing.assert_allclose(models[1].loss_curve_, models[0].loss_curve_, rtol=1e-9)
    else:
        np.testing.assert_array_equal(models[1].predict(X), models[0].predict(X))


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(solver="liblinear"),
        LogisticRegression(solver="saga", max_iter=3000),
        LogisticRegression(),
        SGDClassifier(),
        SGDClassifier(early_stopping=True),
        MLPClassifier((3,), max_iter=2),
        MLPClassifier((3,), max_iter=2, early_stopping=True),
    ],
    ids=["liblinear", "saga", "lbfgs", "sgd", "sgd, stopping", "network", "network, stopping"],
)
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_shared_generator_is_left_where_scikit_learn_leaves_it(estimator, shared, data):
    X, y = data["two"]
    after = []
    for on in (False, True):
        generator = np.random.RandomState(7) if shared else None
        np.random.seed(7)  # noqa: NPY002
        model = base.clone(estimator)
        model.random_state = generator
        if on:
            schuss.accelerate(strict=True)
        model.fit(X, y)
        after.append((generator or np.random.mtrand._rand).randint(2**31, size=4).tolist())
    assert after[1] == after[0]


def test_a_generator_is_put_back_where_a_fit_falls_back(data):
    X, y = data["two"]
    weights = np.ones(len(y))
    weights[0] = -1  # refused by ours
    after = []
    for on in (False, True):
        generator = np.random.RandomState(7)
        if on:
            report = schuss.accelerate()
        model = SGDClassifier(random_state=generator).fit(X, y, sample_weight=weights)
        after.append((generator.randint(2**31), model.coef_.tolist()))
    assert after[1] == after[0]
    (row,) = report.rows()
    assert row[:4] == ("SGDClassifier", "fit", "fell back", 1)
    assert "sample_weight" in row.reason


# ----- errors and warnings ----------------------------------------------------------------

WRONG = [
    ("LogisticRegression", {}, ([[1.0], [np.nan]], [0, 1])),
    ("LogisticRegression", {}, ([[1.0], [2.0]], [0, 0])),
    ("LogisticRegression", {}, ([[1.0], [2.0]], [0, 1, 1])),
    ("LogisticRegression", {"C": -1.0}, ([[1.0], [2.0]], [0, 1])),
    ("LogisticRegression", {"solver": "newton-cg", "l1_ratio": 1}, ([[1.0], [2.0]], [0, 1])),
    ("LogisticRegression", {}, ([["a"], ["b"]], [0, 1])),
    ("SGDClassifier", {"random_state": "no"}, ([[1.0], [2.0]], [0, 1])),
    ("SGDClassifier", {"loss": "none"}, ([[1.0], [2.0]], [0, 1])),
    ("SGDClassifier", {}, ([1.0, 2.0], [0, 1])),
    ("SGDRegressor", {}, ([[1.0], [np.inf]], [0, 1])),
    ("SGDRegressor", {}, ([[1.0], [2.0]], None)),
    ("MLPClassifier", {"hidden_layer_sizes": (0,)}, ([[1.0], [2.0]], [0, 1])),
    ("MLPClassifier", {}, ([[1.0], [2.0]], [0.5, 0.25])),
    ("MLPRegressor", {"early_stopping": True}, ([[1.0], [2.0]], [0.5, 0.25])),
]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(("name", "options", "arguments"), WRONG)
def test_bad_input_is_scikit_learns_own_error(name, options, arguments, strict):
    def error():
        model = cls(name)(**options)
        with pytest.raises(Exception) as caught, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(*arguments)
        return caught.type, str(caught.value)

    expected = error()
    with schuss.accelerated(strict=strict):
        assert error() == expected


@pytest.mark.parametrize("call", [{"eval_set": None}, {"callbacks": None}, {"weight": 1}])
def test_arguments_of_ours_are_none_of_scikit_learns(call):
    with schuss.accelerated(), pytest.raises(TypeError, match=f"argument '{[*call][0]}'"):
        LogisticRegression().fit([[0.0], [1.0]], [0, 1], **call)


def test_what_is_not_fitted_says_so():
    with schuss.accelerated(), pytest.raises(NotFittedError, match="LogisticRegression"):
        LogisticRegression().predict([[1.0]])


def test_convergence_warnings_point_to_the_callers_line(data):
    X, y = data["two"]
    for model in (LogisticRegression(max_iter=1), MLPClassifier((3,), max_iter=1)):
        with schuss.accelerated(), pytest.warns(ConvergenceWarning) as caught:
            model.fit(X, y)
        assert [Path(w.filename).name for w in caught] == [Path(__file__).name]


def test_ctrl_c_ends_a_fit_as_it_does_in_scikit_learn():
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals come to the main thread")
    code = """
import _thread, threading, schuss, numpy as np
from sklearn.linear_model import SGDClassifier
schuss.accelerate()
X = np.random.default_rng(0).standard_normal((20000, 30))
model = SGDClassifier(max_iter=10**9, tol=None)
threading.Timer(1, _thread.interrupt_main).start()
try:
    model.fit(X, X[:, 0] > 0)
except KeyboardInterrupt:
    print("interrupted", hasattr(model, "coef_"))
"""
    assert run([sys.executable, "-W", "ignore", "-c", code]).stdout == "interrupted False\n"


# ----- classes ------------------------------------------------------------------------------


def test_what_takes_classes_apart_sees_no_difference():
    X, y = [[0.0], [1.0]], [0, 1]
    with schuss.accelerated():
        assert LogisticRegression.fit.__qualname__ == "LogisticRegression.fit"
        assert has_fit_parameter(LogisticRegression(), "sample_weight")
        assert not has_fit_parameter(LogisticRegression(), "eval_set")
        assert not isinstance(LogisticRegression(), schuss.LogisticRegression)
        assert isinstance(base.clone(LogisticRegression(C=3).fit(X, y)), LogisticRegression)
        assert pickle.loads(pickle.dumps(LogisticRegression.fit)) is LogisticRegression.fit
        with sklearn.config_context(enable_metadata_routing=True):
            assert LogisticRegression().set_fit_request(sample_weight=True) is not None


class Scored(LogisticRegression):
    """Changes nothing that a fit does."""

    def __init__(self, strength=1.0):
        super().__init__(C=1 / strength)
        self.strength = strength

    def fit(self, X, y):
        super().fit(X, y)
        self.extra_ = len(y)
        return self

    def score(self, X, y):
        return 1.0


class Different(SGDClassifier):
    def _more_validate_params(self, for_partial_fit=False):
        super()._more_validate_params(for_partial_fit)


class Contrary(LogisticRegression):
    def decision_function(self, X):
        return -super().decision_function(X)


def test_a_subclass_is_served_where_it_changes_nothing(data):
    X, y = data["two"]
    plain = Scored(2.0).fit(X, y)
    with schuss.accelerated(strict=True) as report:
        model = Scored(2.0).fit(X, y)
    assert (model.extra_, model.score(X, y)) == (len(y), 1.0)
    np.testing.assert_allclose(model.coef_, plain.coef_, atol=0.05)
    assert report.rows()[0][:4] == ("Scored", "fit", "served", 1)


def test_a_subclass_that_changes_a_fit_falls_back(data):
    X, y = data["two"]
    with schuss.accelerated() as report:
        Different(random_state=0).fit(X, y)
        assert (report.served, report.fallen_back) == (0, 1)
        assert report.rows()[0].reason == "Different defines _more_validate_params"
        model = Contrary().fit(X, y)
        assert (model.predict(X) == y).mean() < 0.1
    with schuss.accelerated(strict=True), pytest.raises(schuss.FallbackError, match="Different"):
        Different(random_state=0).fit(X, y)


def test_what_is_refused_by_strict_is_not_fitted(data):
    X, y = data["two"]
    model = SGDClassifier(random_state=0)
    weights = -np.ones(len(y))
    with schuss.accelerated(strict=True), pytest.raises(schuss.FallbackError, match="weight"):
        model.fit(X, y, sample_weight=weights)
    assert not fitted(model)


def test_estimators_of_schuss_are_no_concern_of_it(data):
    X, y = data["two"]
    with schuss.accelerated(strict=True) as report:
        model = schuss.LogisticRegression().fit(X, y)
        model.predict(X)
        network = schuss.MLPClassifier((3,), max_iter=2, random_state=0)
        network.partial_fit(X, y, classes=np.unique(y)).predict_log_proba(X)
    assert report.rows() == []
    assert model.stop_reason_ == "converged"


class Counting:
    """A callback of scikit-learn."""

    def __init__(self):
        self.tasks = []

    def setup(self, estimator, context):
        pass

    teardown = setup

    def on_fit_task_begin(self, estimator, context, **more):
        self.tasks.append(context.task_name)

    def on_fit_task_end(self, estimator, context, **more):
        pass


def test_callbacks_of_scikit_learn_are_called(data):
    callback = Counting()
    with schuss.accelerated(strict=True):
        model = LogisticRegression().set_callbacks(callback).fit(*data["two"])
    assert callback.tasks.count("lbfgs-iter") >= model.n_iter_[0] > 1


def test_sag_is_left_to_scikit_learn(data):
    with schuss.accelerated() as report:
        LogisticRegression(solver="sag", max_iter=5000).fit(*data["two"])
    assert report.rows()[0].reason == 'solver="sag"'


def test_array_api_is_a_matter_of_scikit_learn(data, monkeypatch):
    monkeypatch.setattr(wrappers, "get_config", lambda: {"array_api_dispatch": True})
    with schuss.accelerated() as report:
        LogisticRegression().fit(*data["two"])
    assert report.rows()[0].reason == "array_api_dispatch"


# ----- scope, report, order --------------------------------------------------------------------


def test_scope(data):
    X, y = data["two"]
    with schuss.accelerated(["SGDClassifier", LogisticRegression]) as outer:
        SGDClassifier(random_state=0).fit(X, y)
        with schuss.accelerated("LogisticRegression") as inner:
            SGDClassifier(random_state=0).fit(X, y)
            LogisticRegression().fit(X, y)
        MLPClassifier((2,), max_iter=1).fit(X, y)
        LogisticRegression().fit(X, y)
        assert os.environ["SCHUSS_ACCELERATE"] == "LogisticRegression,SGDClassifier"
    assert [row[0] for row in inner.rows()] == ["LogisticRegression"]
    assert [row[0] for row in outer.rows()] == ["LogisticRegression", "SGDClassifier"]
    assert acceleration.current_report() is None


@pytest.mark.parametrize("classes", [["Ridge"], ["LogisticRegression", "Ridge"], [None], []])
def test_an_unknown_class_is_an_error(classes):
    with pytest.raises(ValueError, match="classes: got .*expected some of LogisticRegression"):
        schuss.accelerate(classes)
    assert acceleration.current_report() is None


def test_another_version_warns_once(monkeypatch):
    monkeypatch.setattr(sklearn, "__version__", "1.99.2")
    monkeypatch.setattr(acceleration, "_warned", False)
    with pytest.warns(UserWarning, match=r"tested with scikit-learn 1\.9; this is 1\.99\.2"):
        schuss.accelerate()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schuss.accelerate()


def test_the_report_prints_as_text_and_by_rich(data, capsys):
    X, y = data["two"]
    report = schuss.accelerate(verbose=True)
    assert str(report) == "schuss served 0 of 0 calls"
    make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    SGDClassifier(random_state=0).fit(X, y, sample_weight=-np.ones(len(y)))
    lines = str(report).splitlines()
    assert lines[0].split() == ["class", "method", "calls", "seconds", "why"]
    assert lines[1].split()[:4] == ["LogisticRegression", "fit", "served", "1"]
    assert "SGDClassifier" in lines[2] and "fell back" in lines[2] and "weight" in lines[2]
    assert lines[-1] == "schuss served 1 of 2 calls"
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("schuss: LogisticRegression.fit served, ")
    assert told[1].startswith("schuss: SGDClassifier.fit fell back to scikit-learn: ")
    rich = pytest.importorskip("rich.console")
    console = rich.Console(width=200)
    with console.capture() as text:
        console.print(report)
    assert "LogisticRegression" in text.get() and "1 of 2 calls" in text.get()


def test_searches_count_and_route(data):
    X, y = data["two"]
    weights = np.linspace(0.5, 1, len(y))
    with sklearn.config_context(enable_metadata_routing=True), schuss.accelerated() as report:
        model = LogisticRegression().set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=True)
        search = GridSearchCV(model, {"C": [0.1, 1.0]}, cv=3).fit(X, y, sample_weight=weights)
    assert report.rows()[0][:4] == ("LogisticRegression", "fit", "served", 7)
    plain = LogisticRegression(**search.best_params_).fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(search.best_estimator_.coef_, plain.coef_, atol=0.01)


# ----- other processes -------------------------------------------------------------------------


def run(command, cwd=None, **environment):
    """A process away from the checkout."""
    paths = os.pathsep.join([str(SOURCES), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=cwd,
        env={**os.environ, "PYTHONPATH": paths, **environment},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result


def test_nothing_is_imported_before_it_is_needed():
    code = """
import sys, schuss
schuss.accelerate()
print("sklearn" in sys.modules, "numpy" in sys.modules)
from sklearn.linear_model import SGDClassifier as Later
print(hasattr(Later.fit, "_schuss_original"), "sklearn.neural_network" in sys.modules)
import sklearn.neural_network
print(hasattr(sklearn.neural_network.MLPClassifier.fit, "_schuss_original"))
print("schuss.linear" in sys.modules)
schuss.restore()
print(hasattr(Later.fit, "_schuss_original"), "fit" in vars(Later))
"""
    output = run([sys.executable, "-c", code]).stdout.split()
    assert output == ["False", "False", "True", "False", "True", "False", "False", "False"]


def test_pickles_load_without_schuss(data, tmp_path):
    X, y = data["three"]
    with schuss.accelerated(strict=True):
        models = [
            LogisticRegression().fit(X, y),
            SGDClassifier(random_state=0).fit(X, y),
            MLPClassifier((4,), random_state=0, max_iter=500).fit(X, y),
        ]
    (tmp_path / "models").write_bytes(pickle.dumps((models, X, y)))
    code = """
import sys
sys.modules["schuss"] = None
import pickle
models, X, y = pickle.load(open(sys.argv[1], "rb"))
for model in models:
    print(model.score(X, y) > 0.9)
print(models[2].partial_fit(X, y).score(X, y) > 0.9)
"""
    output = run([sys.executable, "-c", code, str(tmp_path / "models")]).stdout
    assert output.split() == ["True"] * 4


SCRIPT = """
import sys
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
print(__name__, sys.argv[1:], sys.path[0])
model = LogisticRegression().fit(*load_iris(return_X_y=True))
print(hasattr(LogisticRegression.fit, "_schuss_original"), model.n_iter_.shape)
sys.exit(0)
"""


@pytest.mark.parametrize("how", ["script", "module", "variable"])
def test_scripts_run_unchanged(how, tmp_path):
    script = tmp_path / "some_script.py"
    script.write_text(SCRIPT)
    folder, environment = str(tmp_path), {}
    if how == "script":
        options = ["-m", "schuss", "--report", "--classes=LogisticRegression", str(script)]
    elif how == "module":
        options = ["-m", "schuss", "--report", "-m", "some_script"]
        environment["PYTHONPATH"] = os.pathsep.join([str(SOURCES), folder])
        folder = os.getcwd()
    else:
        # As where it is installed, of which a checkout knows nothing.
        start = f"import site; site.addsitedir({str(SOURCES)!r}); import runpy, sys; "
        start += "sys.argv = sys.argv[1:]; sys.path[0] = sys.argv[-1]; "
        start += "runpy.run_path(sys.argv[0], run_name='__main__')"
        options = ["-c", start, str(script)]
        environment["SCHUSS_ACCELERATE"] = "report"
        if not (SOURCES / "schuss_accelerate.pth").exists():
            pytest.skip("schuss_accelerate.pth is not beside the package")
        folder = "a"
    result = run([sys.executable, *options, "a"], **environment)
    assert result.stdout.split() == ["__main__", "['a']", folder, "True", "(1,)"]
    assert "schuss served 1 of 1 calls" in result.stderr


def test_a_script_is_main_until_the_end(tmp_path):
    (tmp_path / "script.py").write_text("""
import atexit, pickle, sys
class Own: pass
@atexit.register
def dump():
    print(type(pickle.loads(pickle.dumps(Own()))) is Own)
print(sys.argv, __file__, __spec__)
""")
    told = []
    for options in ([], ["-m", "schuss"]):
        command = [sys.executable, *options, "script.py", "a"]
        told.append(run(command, cwd=tmp_path).stdout)
    assert told[1] == told[0]
    missing = subprocess.run([sys.executable, "-m", "schuss", "none.py"], capture_output=True,
                             text=True, env={**os.environ, "PYTHONPATH": str(SOURCES)})  # fmt: skip
    assert missing.returncode == 1
    assert re.fullmatch(r"schuss: .*No such file.*none.py'\n", missing.stderr)


def test_commands_are_still_commands():
    pytest.importorskip("typer")
    assert "schuss 0." in run([sys.executable, "-m", "schuss", "--version"]).stdout
    for options, given in (
        (["--classes=Ridge"], "Ridge"), (["--classes=verbose"], "verbose"), (["--classes="], ""),
        (["--verbose", "--classes", "Ridge,Perceptron"], "Ridge,Perceptron"),
    ):  # fmt: skip
        result = subprocess.run([sys.executable, "-m", "schuss", *options, "x.py"],
                                capture_output=True, text=True,
                                env={**os.environ, "PYTHONPATH": str(SOURCES)})  # fmt: skip
        assert result.returncode == 1
        assert result.stderr.startswith(
            f"schuss: --classes={given}: expected names separated by commas, of LogisticRegression"
        )


def test_a_wrong_variable_is_told():
    code = "from schuss.acceleration import start_from_environment as start; start()"
    result = run([sys.executable, "-c", code], SCHUSS_ACCELERATE="Ridge,verbose")
    assert "SCHUSS_ACCELERATE=Ridge,verbose: got Ridge, expected some of" in result.stderr


@pytest.mark.skipif(
    not any(Path(f, "schuss_accelerate.pth").exists() for f in site.getsitepackages()),
    reason="workers read SCHUSS_ACCELERATE where schuss is installed by pip",
)
def test_workers_of_joblib_are_accelerated_and_reported(tmp_path):
    script = tmp_path / "parallel.py"
    script.write_text("""
from joblib import Parallel, delayed
import schuss
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
X, y = load_iris(return_X_y=True)
if __name__ == "__main__":
    for on in (False, True, False):  # workers are there before
        if on:
            report = schuss.accelerate(["LogisticRegression"])
        GridSearchCV(LogisticRegression(), {"C": [1, 2]}, cv=3, n_jobs=2).fit(X, y)
        schuss.restore()
    print([row[1:4] for row in report.rows()])
""")
    output = run([sys.executable, "-W", "ignore", str(script)]).stdout
    assert output == "[('fit', 'served', 7), ('predict', 'served', 6)]\n"
