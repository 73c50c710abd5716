"""What holds for the fits of all seven estimators: all or nothing, and growing records."""

import copy
import pickle
import signal
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.validation import check_is_fitted

import schuss
from schuss import (
    DivergenceError,
    LogisticRegression,
    MLPClassifier,
    MLPRegressor,
    SGDClassifier,
    SGDRegressor,
    SigmoidClassifier,
    SigmoidRegressor,
    driver,
    training,
)

# How each is made, and what makes its steps too large; LogisticRegression finds its own.
MODELS = {
    "LogisticRegression": (lambda: LogisticRegression(), None),
    "LogisticRegression-multinomial": (lambda: LogisticRegression(), None),
    "SigmoidClassifier": (
        lambda: SigmoidClassifier("log_loss", "momentum", max_iter=40, tol=0),
        {"learning_rate": 1e300},
    ),
    "SigmoidRegressor": (
        lambda: SigmoidRegressor("log_loss", "sgd", max_iter=40, tol=0, random_state=0),
        {"learning_rate": 1e300},
    ),
    "SGDClassifier": (
        lambda: SGDClassifier(random_state=0, max_iter=20, tol=None),
        {"learning_rate": "constant", "eta0": 1e300},
    ),
    "SGDClassifier-average": (
        lambda: SGDClassifier(random_state=0, max_iter=20, tol=None, average=True),
        {"learning_rate": "constant", "eta0": 1e300},
    ),
    "SGDRegressor": (
        lambda: SGDRegressor(random_state=0, max_iter=20, tol=None),
        {"learning_rate": "constant", "eta0": 1e300},
    ),
    "MLPClassifier": (
        lambda: MLPClassifier((3,), random_state=0, max_iter=20),
        {"solver": "sgd", "learning_rate_init": 1e300},
    ),
    "MLPClassifier-early": (
        lambda: MLPClassifier((3,), random_state=0, max_iter=12, early_stopping=True),
        {"solver": "sgd", "learning_rate_init": 1e300},
    ),
    "MLPRegressor": (
        lambda: MLPRegressor(hidden_layer_sizes=(3,), random_state=0, max_iter=20),
        {"solver": "sgd", "learning_rate_init": 1e300},
    ),
    "MLPRegressor-lbfgs": (
        lambda: MLPRegressor(
            hidden_layer_sizes=(3,), random_state=0, solver="lbfgs", max_iter=9
        ),
        {"solver": "sgd", "learning_rate_init": 1e300},
    ),
}  # fmt: skip
INCREMENTAL = [name for name in MODELS if name.partition("-")[2] in ("", "average")
               and not name.startswith("Logistic")]  # fmt: skip

pytestmark = [
    pytest.mark.filterwarnings("ignore:Stochastic Optimizer"),
    pytest.mark.filterwarnings("ignore:lbfgs failed"),
    pytest.mark.filterwarnings("ignore:Training interrupted"),
]


def rows(name, n=60, seed=0):
    X = np.random.default_rng(seed).standard_normal((n, 4))
    score = X[:, 0] - X[:, 1] + 0.1 * X[:, 2]
    if "Regressor" in name:
        return X, 1 / (1 + np.exp(-score))
    several = name.startswith("SGD") or "multinomial" in name
    return X, np.array(["a", "b", "c"])[np.digitize(score, [-0.5, 0.5] if several else [0.0])]


def make(name, state):
    """An estimator that is not fitted yet, or was fitted to other data."""
    model = MODELS[name][0]()
    if state == "fitted":
        model.fit(*rows(name, seed=1))
        model.set_params(warm_start=True)
    return model


def train(model, name, method, X, y, **options):
    if method == "partial_fit" and "Classifier" in name:
        options["classes"] = np.unique(y)
    getattr(model, method)(X, y, **options)


def assert_same(model, before, content):
    """The attributes are the same objects, and none has been written to."""
    assert vars(model).keys() == before.keys()
    assert all(value is before[name] for name, value in vars(model).items())
    assert pickle.dumps(vars(model)) == content


def bad_input(name):
    X, y = rows(name)
    yield {"X": np.where(X > 2, np.nan, X)}
    yield {"X": X[:, :0]}
    yield {"y": y[:-1]}
    yield {"y": None}
    if "Classifier" in name:
        yield {"y": np.array([["a", "b"]] * len(y))}
    else:
        yield {"y": np.full(len(y), np.inf)}
    yield {"sample_weight": -np.ones(len(y))}
    yield {"sample_weight": np.zeros(len(y))}


@pytest.mark.parametrize("state", ["fresh", "fitted"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("name", MODELS)
def test_a_fit_that_fails_leaves_the_estimator_as_it_was(name, method, state, monkeypatch):
    if method == "partial_fit" and name not in INCREMENTAL:
        pytest.skip("no partial_fit")
    X, y = rows(name)
    model = make(name, state)
    before, content = vars(model).copy(), pickle.dumps(vars(model))

    def fails(error, **changes):
        given = {"X": X, "y": y} | changes
        with pytest.raises(error):
            train(model, name, method, **given)
        assert_same(model, before, content)
        if state == "fresh":
            with pytest.raises(NotFittedError):
                check_is_fitted(model)

    for changes in bad_input(name):
        fails(ValueError, **changes)

    def failing(info):
        if info.n_iter >= 2:
            raise RuntimeError("from the callback")

    failing.every = 1
    if method == "fit":
        fails(RuntimeError, callbacks=failing)
        fails(TypeError, callbacks=3)

    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    for module, function in ((driver, "run"), (driver, "_finish"), (training, "append_history")):
        with monkeypatch.context() as patch:
            patch.setattr(module, function, interrupt)
            if function != "append_history" or (method == "partial_fit" and state == "fitted"):
                fails(KeyboardInterrupt)

    train(model, name, method, X, y)
    check_is_fitted(model)


@pytest.mark.parametrize("state", ["fresh", "fitted"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("name", [name for name in MODELS if MODELS[name][1]])
def test_divergence_leaves_the_estimator_as_it_was(name, method, state):
    if method == "partial_fit" and name not in INCREMENTAL:
        pytest.skip("no partial_fit")
    X, y = rows(name)
    model = make(name, state).set_params(**MODELS[name][1])
    before, content = vars(model).copy(), pickle.dumps(vars(model))
    with pytest.raises(DivergenceError) as caught:
        # Not one step that is too large may pass.
        train(model, name, method, X * 1e10, y)
    assert_same(model, before, content)
    assert isinstance(caught.value, ValueError)
    assert set(caught.value.history) >= {"loss", "step", "seconds"}
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value) and again.learning_rate == caught.value.learning_rate
    assert again.history.keys() == caught.value.history.keys()
    if state == "fresh":
        with pytest.raises(NotFittedError):
            check_is_fitted(model)
    else:
        model.predict(X)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("name", MODELS)
def test_ctrl_c_at_any_line_leaves_no_mixed_state(name, method):
    """A KeyboardInterrupt before lines of schuss all over a fit."""
    if method == "partial_fit" and name not in INCREMENTAL:
        pytest.skip("no partial_fit")
    X, y = rows(name)
    home = str(Path(schuss.__file__).parent)
    seen = at = 0

    def trace(frame, event, argument):
        nonlocal seen
        if not frame.f_code.co_filename.startswith(home):
            return None
        if event == "line":
            seen += 1
            if seen == at:
                raise KeyboardInterrupt
        return trace

    def fit(model):
        nonlocal seen
        seen = 0
        previous, handler = sys.gettrace(), signal.getsignal(signal.SIGINT)
        sys.settrace(trace)
        try:
            train(model, name, method, X, y)
        finally:
            sys.settrace(previous)
            # The line that puts it back may be the one that was interrupted.
            signal.signal(signal.SIGINT, handler)

    whole = make(name, "fitted")
    fit(whole)
    lines = seen
    outcomes = set()
    for line in np.unique(np.linspace(1, lines, 40).astype(int)).tolist():
        at = line
        for state in ("fresh", "fitted"):
            model = make(name, state)
            before, content = vars(model).copy(), pickle.dumps(vars(model))
            try:
                fit(model)
            except KeyboardInterrupt:
                if "history_" not in vars(model) or model.history_ is before.get("history_"):
                    assert_same(model, before, content)
                    outcomes.add("as it was")
                    continue
            outcomes.add(model.stop_reason_)
            assert vars(model).keys() >= vars(whole).keys()
            check_is_fitted(model)
            assert np.isfinite(model.history_["loss"]).all()
            if method == "fit":
                assert len(model.history_["loss"]) == np.max(model.n_iter_) > 0
            assert len(model.predict(X)) == len(X)
    assert "as it was" in outcomes


@pytest.mark.parametrize("name", MODELS)
def test_ctrl_c_in_a_callback_keeps_the_weights_reached(name):
    X, y = rows(name)

    def interrupt(info):
        if info.n_iter == 2:
            raise KeyboardInterrupt

    interrupt.every = 1
    model = make(name, "fresh")
    with pytest.warns(UserWarning, match="interrupted after 2 of"):
        model.fit(X, y, callbacks=interrupt)
    assert model.stop_reason_ == "interrupted" and not model.converged_
    assert np.max(model.n_iter_) == 2
    assert all(len(column) == 2 for column in model.history_.values())
    stop = type("Stop", (), {"every": 1, "__call__": lambda self, info: info.n_iter == 2})()
    peer = make(name, "fresh").fit(X, y, callbacks=stop)
    np.testing.assert_array_equal(model.predict(X), peer.predict(X))


@pytest.mark.parametrize("name", MODELS)
def test_a_warning_that_is_an_error_leaves_the_estimator_as_it_was(name):
    X, y = rows(name)
    model = make(name, "fitted")
    before, content = vars(model).copy(), pickle.dumps(vars(model))

    def interrupt(info):
        raise KeyboardInterrupt

    with warnings.catch_warnings(), pytest.raises(UserWarning, match="interrupted"):
        warnings.simplefilter("error")
        model.fit(X, y, callbacks=interrupt)
    assert_same(model, before, content)


@pytest.mark.parametrize("name", INCREMENTAL)
def test_a_long_series_of_partial_fit_never_copies_its_records(name):
    X, y = rows(name)
    model = make(name, "fresh")
    tables, curves, n_calls = [], [], 300
    for call in range(n_calls):
        if call:
            model.partial_fit(X[:5], y[:5])
        else:
            train(model, name, "partial_fit", X, y)
        base = model.history_["loss"].base
        if not tables or base is not tables[-1]:
            tables.append(base)
        curves.append(getattr(model, "loss_curve_", None))
    assert len(tables) < 12
    assert isinstance(model.history_, dict)
    for column in model.history_.values():
        assert type(column) is np.ndarray and column.shape == (n_calls,)
    assert (np.diff(model.history_["seconds"]) >= 0).all()
    if curves[0] is not None:
        assert curves[-1] is curves[1] and len(curves[-1]) == n_calls


def test_histories_of_one_table_do_not_meet():
    X, y = rows("SigmoidClassifier")
    model = SigmoidClassifier("log_loss").partial_fit(X, y, ["a", "b"])
    for _ in range(5):
        model.partial_fit(X, y)
    held = model.history_
    content = {name: column.copy() for name, column in held.items()}
    other = copy.copy(model).partial_fit(X[:20], y[:20])
    losses = other.history_["loss"].copy()
    model.partial_fit(X[20:], y[20:])
    np.testing.assert_array_equal(other.history_["loss"], losses)
    assert other.history_["loss"][-1] != model.history_["loss"][-1]
    for name in content:
        np.testing.assert_array_equal(held[name], content[name])
        np.testing.assert_array_equal(model.history_[name][:6], content[name])
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert type(again.history_) is dict
        assert again.partial_fit(X, y).n_iter_ == 8
    assert model.n_iter_ == 7
    # A history of the user's own making, and none.
    model.history_ = {name: np.zeros(3) for name in held}
    assert model.partial_fit(X, y).history_["loss"][:3].tolist() == [0, 0, 0]
    del model.history_
    assert model.partial_fit(X, y).n_iter_ == 1


KINDS = {
    "text": np.array(["low", "middle", "top"]),
    "digits as text": np.array(["1", "10", "2"]),
    "objects": np.array(["low", "middle", "top"], dtype=object),
    "two objects": np.array(["no", "yes"], dtype=object),
    "Booleans": np.array([False, True]),
    "uint8": np.array([0, 100, 200], np.uint8),
    "uint64": np.array([1, 2**63, 2**64 - 1], np.uint64),
    "float32": np.array([-1, 0, 1], np.float32),
}
CLASSIFIERS = {
    "LogisticRegression": lambda: LogisticRegression(),
    "SigmoidClassifier": lambda: SigmoidClassifier(
        max_iter=20, early_stopping=True, random_state=0
    ),
    "SGDClassifier": lambda: SGDClassifier(max_iter=5, early_stopping=True, random_state=0),
    "MLPClassifier": lambda: MLPClassifier((4,), max_iter=5, early_stopping=True, random_state=0),
}


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.filterwarnings("ignore:Maximum number of iteration")
def test_predictions_have_the_type_of_the_labels(name, kind, method):
    classes = KINDS[kind]
    X = np.random.default_rng(0).standard_normal((120, 3))
    codes = np.digitize(X[:, 0], [-0.5, 0.5][: len(classes) - 1])

    def model(labels):
        model = CLASSIFIERS[name]()
        if method == "fit":
            return model.fit(X, labels[codes])
        model.set_params(early_stopping=False)
        # A list of text, which says nothing about the type of the labels.
        return model.partial_fit(X, labels[codes], classes=labels.tolist())

    if method == "partial_fit" and (name == "LogisticRegression" or classes.dtype.kind in "uf"):
        pytest.skip("no partial_fit, or another type in the list")
    ours, coded = model(classes), model(np.arange(len(classes)))
    predictions = ours.predict(X)
    assert predictions.dtype == ours.classes_.dtype == classes.dtype
    np.testing.assert_array_equal(predictions, classes[coded.predict(X)])
    assert getattr(ours, "validation_scores_", None) == getattr(coded, "validation_scores_", None)


@pytest.mark.parametrize("scale", [1.0, 1e38, 1e150, 1e300])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore:The objective came to")
def test_floating_point_warnings_do_not_leak_from_fits(name, scale):
    """Finite features and targets of any size, as float64 and float32."""
    X, y = rows(name)
    features = [np.clip(X, -5, 5) / 5 * scale]
    if scale < 1e39:
        features.append((features[0] * 3).astype(np.float32))
    for X in features:
        for alpha in (None, 1e300):
            model = make(name, "fresh")
            if alpha and "alpha" in model.get_params():
                model.set_params(alpha=alpha)
            if name in ("MLPRegressor", "SGDRegressor"):
                model.set_params(early_stopping=True)
                y = np.sign(y - 0.5) * min(scale, 1e150)
            with warnings.catch_warnings():
                warnings.filterwarnings("error", category=RuntimeWarning)
                warnings.filterwarnings("ignore", "The objective came to")
                try:
                    model.fit(X, y)
                except (ValueError, ArithmeticError) as error:
                    assert len(str(error)) > 50, error


@pytest.mark.parametrize("name", ["SigmoidClassifier", "MLPClassifier", "MLPRegressor"])
def test_a_part_of_the_rows_that_weighs_nothing_is_named(name):
    X, y = rows(name)
    weights = np.zeros(len(y))
    weights[[np.argmax(y), np.argmin(y)] if "Regressor" in name else [0, np.argmax(y != y[0])]] = 1
    refused = []
    for seed in range(8):
        model = MODELS[name][0]().set_params(early_stopping=True, random_state=seed, max_iter=2)
        try:
            model.fit(X, y, sample_weight=weights)
        except ValueError as error:
            refused.append(str(error))
    assert refused
    for text in refused:
        assert "sample_weight is 0 in every " in text and "pass eval_set" in text


@pytest.mark.parametrize("name", MODELS)
def test_warnings_point_to_the_line_that_called(name):
    X, y = rows(name)

    def interrupt(info):
        raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted") as caught:
        make(name, "fresh").fit(X, y, callbacks=interrupt)
    # scikit-learn's own words on L-BFGS point to their caller.
    assert {w.filename for w in caught if "interrupted" in str(w.message)} == {__file__}
    if name in ("LogisticRegression", "MLPClassifier", "MLPRegressor"):
        with pytest.warns(ConvergenceWarning) as caught:
            make(name, "fresh").set_params(max_iter=1).fit(X, y)
        assert {warning.filename for warning in caught} == {__file__}
