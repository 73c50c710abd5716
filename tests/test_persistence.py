"""Model files: the same model back, nothing half-written, nothing strange let in."""

import json
import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy
from safetensors import safe_open
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import schuss
from schuss import (
    MLPClassifier,
    MLPRegressor,
    SGDClassifier,
    SGDRegressor,
    SigmoidClassifier,
    SigmoidRegressor,
    persistence,
    tensors,
)
from schuss.persistence import FORMAT, FORMAT_VERSION, ModelFileError
from schuss.tensors import METADATA_KEY


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(60, 3))


def assert_same(left, right):
    """Same classes, parameters and public fitted attributes, to the last bit and type."""
    assert type(left) is type(right)
    assert left.get_params() == right.get_params()
    public = {key for key in vars(left) if key.endswith("_") and not key.startswith("_")}
    assert public == {key for key in vars(right) if key.endswith("_") and not key.startswith("_")}
    for key in public:
        assert_equal_values(getattr(left, key), getattr(right, key), key)


def assert_equal_values(left, right, key):
    # np.float64 is a float, and comes back as one.
    left = float(left) if isinstance(left, float) else left
    assert type(left) is type(right), key
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for inner in left:
            assert_equal_values(left[inner], right[inner], f"{key}.{inner}")
    elif isinstance(left, list | tuple):
        for i, (mine, theirs) in enumerate(zip(left, right, strict=True)):
            assert_equal_values(mine, theirs, f"{key}.{i}")
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype, key
        np.testing.assert_array_equal(left, right, err_msg=key)
    else:
        assert left == right, key


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1],
        [-1, 5, 2],
        [0.5, 1.5],
        ["no", "yes"],
        ["été", "", "b"],
        np.array(["a", "bb"], dtype=object),
        [False, True],
        np.array([3, 200], dtype=np.uint8),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_classifier_round_trip(tmp_path, X, labels, dtype):
    labels = np.asarray(labels)
    y = labels[np.arange(len(X)) % len(labels)]
    # Classes of floats are class labels only where they are whole.
    y = y * 2 if y.dtype.kind == "f" else y
    X = X.astype(dtype)
    model = SigmoidClassifier(max_iter=5, tol=0, class_weight={y[0]: 2.0}).fit(X, y)
    schuss.save(model, tmp_path / "model")
    loaded = schuss.load(str(tmp_path / "model"))
    assert_same(model, loaded)
    np.testing.assert_array_equal(model.predict(X), loaded.predict(X))
    np.testing.assert_array_equal(model.predict_proba(X), loaded.predict_proba(X))
    assert loaded.predict(X).dtype == model.predict(X).dtype


def test_regressor_round_trip_and_training_goes_on(tmp_path, X):
    y = 1 / (1 + np.exp(-X[:, 0]))
    model = SigmoidRegressor(max_iter=7, tol=0, loss="log_loss", warm_start=True).fit(X, y)
    schuss.save(model, tmp_path / "model")
    loaded = schuss.load(tmp_path / "model")
    assert_same(model, loaded)
    np.testing.assert_array_equal(model.fit(X, y).coef_, loaded.fit(X, y).coef_)
    assert loaded.partial_fit(X, y).n_iter_ == 8


LABELS = {
    "str": np.array(["no", "yes", "été"]),
    "wide str": np.array(["no", "yes", "b"], dtype="<U30"),
    "object": np.array(["a", "bb", ""], dtype=object),
    "float": np.array([-1.0, 2.0, 5.0]),
    "float32": np.array([0.0, 2.0, 1e9], dtype=np.float32),
    "bool": np.array([False, True]),
    **{
        np.dtype(code).name: np.array([0, 1, np.iinfo(code).max], dtype=code)
        for code in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
    },
}
CLASSIFIERS = {
    "neuron": SigmoidClassifier(max_iter=5),
    "logistic": schuss.LogisticRegression(C=np.inf, class_weight="balanced"),
    "sgd": SGDClassifier(loss="log_loss", random_state=0, max_iter=5),
    "sgd, average": SGDClassifier(loss="log_loss", random_state=0, max_iter=5, average=True),
    "sgd, average later": SGDClassifier(loss="log_loss", random_state=0, max_iter=5, average=900),
    "network": MLPClassifier((4, 3), random_state=0, max_iter=5),
    "network, stopped": MLPClassifier((4,), random_state=0, max_iter=5, early_stopping=True),
    "network, lbfgs": MLPClassifier((), random_state=0, max_iter=5, solver="lbfgs"),
}
REGRESSORS = {
    "neuron": SigmoidRegressor(max_iter=5, learning_rate=0.5),
    "sgd": SGDRegressor(random_state=0, max_iter=5),
    "sgd, average": SGDRegressor(random_state=0, max_iter=5, average=3),
    "network": MLPRegressor(
        hidden_layer_sizes=(4,), random_state=0, max_iter=5, early_stopping=True
    ),
    "network, poisson": MLPRegressor("poisson", (4,), random_state=0, max_iter=5),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("model", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_every_classifier_with_every_label(tmp_path, X, model, labels, n_classes):
    labels = labels[:n_classes]
    y = labels[np.arange(len(X)) % len(labels)]
    model = clone(model).fit(X, y)
    schuss.save(model, tmp_path / "model")
    loaded = schuss.load(tmp_path / "model")
    assert_same(model, loaded)
    for method in ("predict", "predict_proba", "predict_log_proba"):
        mine, theirs = getattr(model, method)(X), getattr(loaded, method)(X)
        assert_equal_values(mine, theirs, method)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schuss.save(loaded, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("model", REGRESSORS.values(), ids=REGRESSORS)
def test_every_regressor(tmp_path, X, model, dtype):
    X = X.astype(dtype)
    y = 1 / (1 + np.exp(-X[:, 0]))
    model = clone(model).fit(X, y)
    schuss.save(model, tmp_path / "model")
    loaded = schuss.load(tmp_path / "model")
    assert_same(model, loaded)
    assert_equal_values(model.predict(X), loaded.predict(X), "predict")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_networks_with_several_targets_and_labels(tmp_path, X):
    Y = np.column_stack([X[:, 0] > 0, X[:, 1] > 0, X[:, 2] > 1]).astype(int)
    for model in (
        MLPClassifier((4,), random_state=0, max_iter=5).fit(X, Y),
        MLPClassifier((4,), random_state=0, max_iter=5).fit(X, Y.argmax(1), loss="squared_error"),
        MLPRegressor(hidden_layer_sizes=(4,), random_state=0, max_iter=5).fit(X, Y @ np.eye(3, 2)),
    ):
        schuss.save(model, tmp_path / "model")
        loaded = schuss.load(tmp_path / "model")
        assert_same(model, loaded)
        assert_equal_values(model.predict(X), loaded.predict(X), "predict")
        if hasattr(model, "predict_proba"):
            assert_equal_values(model.predict_proba(X), loaded.predict_proba(X), "proba")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("class_weight", [{0: 2.0, 1: 1.0, 2: 0.5}, "balanced"], ids=str)
def test_networks_go_on_with_the_options_of_their_fit(tmp_path, X, class_weight):
    y = np.arange(len(X)) ** 2 % 3
    # Steps too short to be seen: what remains is the loss of the same weights.
    model = MLPClassifier((4,), random_state=0, max_iter=3, learning_rate_init=1e-300)
    model.fit(X, y, loss="squared_error", class_weight=class_weight)
    schuss.save(model, tmp_path / "model")
    loaded = schuss.load(tmp_path / "model").partial_fit(X, y)
    assert loaded.loss_ == pytest.approx(model.partial_fit(X, y).loss_, rel=1e-12)
    assert loaded.loss_ != pytest.approx(clone(model).fit(X, y).loss_, rel=1e-3)


@pytest.mark.parametrize("average", [False, 1, 100, 1000])
@pytest.mark.parametrize("n_classes", [0, 2, 3])
def test_sgd_goes_on_as_if_never_saved(tmp_path, X, n_classes, average):
    settings = {"random_state": 0, "average": average, "tol": None, "max_iter": 4}
    if n_classes:
        model, y = SGDClassifier(**settings), np.arange(len(X)) % n_classes
    else:
        model, y = SGDRegressor(**settings), X[:, 0]
    model.fit(X, y)
    schuss.save(model, tmp_path / "model")
    loaded = schuss.load(tmp_path / "model")
    for _ in range(20):
        model.partial_fit(X, y)
        loaded.partial_fit(X, y)
    for name in ("coef_", "intercept_", "t_", "n_iter_"):
        assert_equal_values(getattr(model, name), getattr(loaded, name), name)
    assert_equal_values(model.history_["loss"], loaded.history_["loss"], "history_")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("model", [CLASSIFIERS["logistic"], CLASSIFIERS["network"]], ids=str)
def test_warm_starts_go_on(tmp_path, X, model):
    y = np.arange(len(X)) % 3
    model = clone(model).set_params(warm_start=True).fit(X, y)
    schuss.save(model, tmp_path / "model")
    loaded = schuss.load(tmp_path / "model").fit(X, y)
    assert_equal_values(model.fit(X, y).predict_proba(X), loaded.predict_proba(X), "proba")
    if hasattr(model, "partial_fit"):
        assert loaded.partial_fit(X, y).t_ == model.t_ + len(X)


def test_averages_of_an_earlier_fit_are_left_behind(tmp_path, X):
    y = np.arange(len(X)) % 2
    model = SGDClassifier(average=True, random_state=0).fit(X, y)
    model.set_params(average=False).fit(X[:, :2], y)
    schuss.save(model, tmp_path / "model")
    assert_equal_values(
        model.predict(X[:, :2]), schuss.load(tmp_path / "model").predict(X[:, :2]), ""
    )


def test_a_model_made_by_hand(tmp_path):
    model = schuss.LogisticRegression()
    model.coef_, model.intercept_ = np.array([[0.5, 2.0, 1.0]]), np.array([1.0])
    model.classes_ = np.array(["no", "yes"])
    schuss.save(model, tmp_path / "model")
    assert_same(model, schuss.load(tmp_path / "model"))


def test_names_of_features_and_generators(tmp_path, X):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b", "ç"])
    model = SigmoidClassifier(max_iter=2, tol=0, random_state=np.random.RandomState(0))
    model.fit(frame, X[:, 0] > 0)
    schuss.save(model, tmp_path / "model")
    loaded = schuss.load(tmp_path / "model")
    assert loaded.feature_names_in_.tolist() == ["a", "b", "ç"]
    assert loaded.random_state is None
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame.rename(columns={"a": "z"}))


def test_pipeline_with_a_table(tmp_path):
    pa = pytest.importorskip("pyarrow")
    tables = pytest.importorskip("schuss.tables")
    table = pa.table({"x": [1.0, 2.0, None, 4.0], "n": ["a", "b", None, "a"], "y": [0, 1, 0, 1]})
    preprocessor = tables.TablePreprocessor(target="y", features=["x", "n"])
    model = make_pipeline(preprocessor, SigmoidClassifier(max_iter=9, tol=0))
    model.fit(table, [0, 1, 0, 1])
    schuss.save(model, tmp_path / "model")
    loaded = schuss.load(tmp_path / "model")
    assert_same(model[1], loaded[1])
    assert loaded[0].get_params(deep=False) == preprocessor.get_params(deep=False)
    for name, value in preprocessor.fitted_state().items():
        assert_equal_values(loaded[0].fitted_state()[name], value, name)
    np.testing.assert_array_equal(model.predict_proba(table), loaded.predict_proba(table))


def test_names_of_steps(tmp_path):
    pa = pytest.importorskip("pyarrow")
    preprocessing = pytest.importorskip("schuss.tables").TablePreprocessor(features=["x"])
    table = pa.table({"x": [1.0, 2.0, None, 4.0]})
    y = [0, 1, 0, 1]
    for estimator in (SGDClassifier(random_state=0), schuss.LogisticRegression()):
        model = Pipeline([("clean", clone(preprocessing)), ("model", estimator)]).fit(table, y)
        schuss.save(model, tmp_path / "model")
        loaded = schuss.load(tmp_path / "model")
        assert list(loaded.named_steps) == ["clean", "model"]
        assert_equal_values(model.predict(table), loaded.predict(table), "predict")
    model = Pipeline([("alone", SigmoidClassifier(tol=0))]).fit([[0.0], [1.0]], [0, 1])
    schuss.save(model, tmp_path / "model")
    assert list(schuss.load(tmp_path / "model").named_steps) == ["alone"]


def test_file_is_plain_safetensors(tmp_path, X):
    model = SigmoidClassifier(max_iter=3, tol=0).fit(X, X[:, 0] > 0)
    schuss.save(model, tmp_path / "model")
    with safe_open(tmp_path / "model", framework="numpy") as file:
        document = json.loads(file.metadata()[METADATA_KEY])
        np.testing.assert_array_equal(file.get_tensor("0.coef_"), model.coef_)
    assert document["format"] == "schuss-model"
    assert document["schuss_version"] == schuss.__version__
    assert document["models"][0]["parameters"]["max_iter"] == 3
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads((tmp_path / "model").read_bytes())


def test_fortran_and_strided_arrays_are_written_as_they_are(tmp_path, X):
    model = SigmoidClassifier(max_iter=3, tol=0).fit(X, np.arange(60) % 3)
    model.coef_ = np.asfortranarray(model.coef_)
    model.intercept_ = np.repeat(model.intercept_, 2)[::2].astype(">f8")
    schuss.save(model, tmp_path / "model")
    loaded = schuss.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.coef_, model.coef_)
    np.testing.assert_array_equal(loaded.intercept_, model.intercept_)


# ----- what cannot be saved -----------------------------------------------------------


def test_what_cannot_be_saved(tmp_path, X, monkeypatch):
    with pytest.raises(NotFittedError, match="fit it"):
        schuss.save(SigmoidClassifier(), tmp_path / "model")
    y = X[:, 0] > 0
    with pytest.raises(TypeError, match="sklearn.* expected SigmoidClassifier"):
        schuss.save(LinearRegression().fit(X, y), tmp_path / "model")
    pipeline = make_pipeline(StandardScaler(), SigmoidClassifier(max_iter=1, tol=0)).fit(X, y)
    with pytest.raises(TypeError, match="StandardScaler; expected"):
        schuss.save(pipeline, tmp_path / "model")
    model = SigmoidClassifier(max_iter=1, tol=0).fit(X, y)
    model.classes_ = np.array([1j, 2j])
    with pytest.raises(TypeError, match=r"0\.classes_ is .* of type ndarray"):
        schuss.save(model, tmp_path / "model")
    model = SigmoidClassifier(max_iter=1, tol=0).fit(X, y)
    model.coef_ = np.full((1, 3), np.nan)
    with pytest.raises(ValueError, match="cannot be saved.*coef_ holds numbers that are not fin"):
        schuss.save(model, tmp_path / "model")
    monkeypatch.setattr("schuss.persistence.MAX_TEXT_BYTES", 1000)
    model = SigmoidClassifier(max_iter=1, tol=0).fit(X, np.where(y, "a", "b").astype("<U400"))
    with pytest.raises(ValueError, match="arrays of text take more than"):
        schuss.save(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())


# ----- what is refused at reading -----------------------------------------------------


@pytest.fixture
def saved(tmp_path, X):
    path = tmp_path / "model"
    schuss.save(SigmoidClassifier(max_iter=3, tol=0).fit(X, X[:, 0] > 0), path)
    return path


def rewrite(path, change):
    """Write the model file again after a change of its tensors and its document."""
    document, arrays = tensors.read(path, FORMAT, FORMAT_VERSION)
    change(arrays, document)
    tensors.write(path, arrays, document)


def _set(key, value):
    return lambda tensors, document: document.__setitem__(key, value)


def _tensor(key, value):
    return lambda tensors, document: tensors.__setitem__(key, np.asarray(value))


def _in_model(section, key, value):
    return lambda tensors, document: document["models"][0][section].__setitem__(key, value)


def _strings(*strings, dtype="<U1"):
    return {"strings": list(strings), "dtype": dtype}


def _items(**values):
    return {"items": list(map(list, values.items()))}


def _nested(depth):
    return json.loads("[" * depth + "]" * depth)


CHANGES = [
    (_set("format_version", 99), r"format 'schuss-model' 99.*reads 'schuss-model' up to 2"),
    (_set("format", "other"), "format 'other' 2"),
    (lambda t, d: d.pop("format"), "format None 2"),
    (lambda t, d: d.pop("models"), "models"),
    (_set("models", []), "0 models; expected one or two"),
    (_set("models", None), "damaged"),
    (_set("models", [1]), "damaged"),
    (_set("steps", "model"), "names of steps"),
    (_set("steps", [1]), "names of steps"),
    (_set("steps", ["a", "b"]), "damaged"),
    (lambda t, d: d["models"][0].update({"class": "os.system"}), "class 'os.system'; expected"),
    (lambda t, d: d["models"][0].update({"class": ["a"]}), "damaged"),
    (lambda t, d: d["models"][0].update({"class": "MLPClassifier"}), "damaged"),
    (lambda t, d: d["models"].append(d["models"][0]), "n_features_out_"),
    (lambda t, d: t.pop("0.coef_"), "0.coef_"),
    (
        _tensor("0.coef_", np.ones((1, 4))),
        r"coef_ is float64 of shape \(1, 4\), expected .*\(1, 3\)",
    ),
    (_tensor("0.coef_", np.full((1, 3), np.nan)), "not finite"),
    (_tensor("0.coef_", np.full((1, 3), True)), "coef_ is bool"),
    (_tensor("0.coef_", np.ones(())), "damaged"),
    (_tensor("0.intercept_", np.ones(2)), r"intercept_ is float64 of shape \(2,\), expected"),
    (_tensor("0.intercept_", [np.inf]), "not finite"),
    (_tensor("0.history_.loss", np.ones((3, 1))), "history_"),
    (_tensor("0.history_.loss", np.ones(2)), "history_"),
    (_in_model("parameters", "momentun", 1), "momentun"),
    (_in_model("parameters", "solver", "os.system"), "solver"),
    (_in_model("parameters", "max_iter", {"float": "1e5"}), "damaged"),
    (_in_model("parameters", "max_iter", {"tuple": 1}), "damaged"),
    (_in_model("parameters", "max_iter", {"pickle": "gASVAAAAAAAAAA=="}), "pickle"),
    (_in_model("parameters", "max_iter", {}), "damaged"),
    (_in_model("parameters", "class_weight", {"items": [1]}), "damaged"),
    (_in_model("parameters", "class_weight", {"items": [[[], 1]]}), "damaged"),
    (_in_model("parameters", "class_weight", {"model": {"class": "Pipeline"}}), "Pipeline"),
    (_in_model("parameters", "verbose", _nested(900)), "damaged"),
    (_in_model("attributes", "predict", 1), "attribute 'predict'"),
    (_in_model("attributes", "__class__", 1), "attribute '__class__'"),
    (_in_model("attributes", "_average_coef", 1), "attribute '_average_coef'"),
    (lambda t, d: d["models"][0]["attributes"].pop("intercept_"), "intercept_"),
    (lambda t, d: d["models"][0]["attributes"].pop("classes_"), "classes_"),
    (_in_model("attributes", "classes_", None), "classes_"),
    (_in_model("attributes", "classes_", [0, 1]), "classes_"),
    (_in_model("attributes", "classes_", {"tensor": "0.coef_"}), "classes_"),
    (_in_model("attributes", "classes_", {"tensor": ["0.coef_"]}), "damaged"),
    (_in_model("attributes", "classes_", _strings("a")), "classes_"),
    (_in_model("attributes", "classes_", _strings("a", "a")), "a label twice"),
    (_in_model("attributes", "classes_", _strings("a", "b", "c")), r"expected .*\(3, 3\)"),
    (_in_model("attributes", "classes_", _strings("a", dtype="|V8")), "text of dtype"),
    (
        _in_model("attributes", "classes_", _strings("a", "b", dtype="<U500000000")),
        "take more than",
    ),
    (_in_model("attributes", "classes_", _strings("a", "b", dtype="<U9,<U9")), "text of dtype"),
    (
        _in_model("attributes", "classes_", _strings("a", "b", dtype="<U9999999999")),
        "text of dtype",
    ),
    (_in_model("attributes", "classes_", _strings("a", 1, dtype="O")), "text of dtype"),
    (_in_model("attributes", "classes_", _strings("a", "b", dtype=["O"])), "damaged"),
    (_in_model("attributes", "more_", [_strings("a", dtype="<U5000000")] * 20), "take more than"),
    (_in_model("attributes", "n_features_in_", 4), r"expected .*\(1, 4\)"),
    (_in_model("attributes", "n_features_in_", -3), "expected"),
    (_in_model("attributes", "n_features_in_", "3"), "n_features_in_='3'"),
    (_in_model("attributes", "feature_names_in_", _strings("a", "b")), "feature_names_in_"),
    (_in_model("attributes", "history_", [1]), "history_"),
    (_in_model("attributes", "history_", _items()), "history_"),
    (_in_model("attributes", "history_", {"items": [["loss", {"tensor": "0.coef_"}]]}), "history_"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_changed_files_are_refused(saved, change, message):
    rewrite(saved, lambda arrays, document: None)
    schuss.load(saved)
    rewrite(saved, change)
    tracemalloc.start()
    with pytest.raises(ModelFileError, match=message) as caught:
        schuss.load(saved)
    assert tracemalloc.get_traced_memory()[1] < 500e6
    tracemalloc.stop()
    assert str(saved) in str(caught.value)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_tensor("0.coefs_.0", np.ones((3, 5))), r"coefs_ is .*expected .*\(3, 4\)"),
        (_tensor("0.coefs_.1", np.ones((4, 2))), r"coefs_ is .*expected .*\(4, 3\)"),
        (_tensor("0.coefs_.1", np.full((4, 3), np.inf)), "not finite"),
        (_tensor("0.intercepts_.0", np.ones((4, 1))), "intercepts_ is"),
        (_in_model("attributes", "coefs_", []), "no lists"),
        (_in_model("attributes", "intercepts_", []), "damaged"),
        (_in_model("attributes", "out_activation_", "identity"), "out_activation_='identity'"),
        (_in_model("attributes", "out_activation_", []), "out_activation_"),
        (_in_model("attributes", "n_outputs_", 2), "n_outputs_=2"),
        (_in_model("attributes", "_fit_options", 1), "_fit_options=1"),
        (_in_model("attributes", "_fit_options", _items(exec=1)), "_fit_options="),
        (_in_model("attributes", "_fit_options", _items(factors=[[1] * 3])), "_fit_options="),
        (_in_model("attributes", "_fit_options", _items(loss="exec")), "_fit_options="),
        (_in_model("attributes", "_fit_options", _items(class_weight="balanced")), "_fit_options="),
        (
            lambda t, d: (
                t.update(factors=np.ones((2, 3))),
                d["models"][0]["attributes"].update(
                    _fit_options=_items(class_weight=1, factors={"tensor": "factors"})
                ),
            ),
            r"factors of .*expected .*\(1, 3\)",
        ),
        (
            _in_model("attributes", "_fit_options", _items(class_weight=1, factors=[[1] * 3])),
            "_fit_options=",
        ),
        (_in_model("attributes", "loss_curve_", None), "loss_curve_=None"),
        (_in_model("attributes", "validation_scores_", 1.0), "validation_scores_=1.0"),
        (_in_model("attributes", "best_loss_", "1"), "best_loss_='1'"),
        (_in_model("attributes", "best_validation_score_", []), r"best_validation_score_=\[\]"),
        (_in_model("attributes", "_no_improvement_count", None), "_no_improvement_count=None"),
        (_in_model("attributes", "t_", "1"), "t_="),
        (_in_model("attributes", "_label_binarizer", None), "damaged"),
        (_in_model("attributes", "_label_binarizer", {"tensor": "0.coefs_.0"}), "damaged"),
        (_in_model("parameters", "activation", "exec"), "activation"),
        (
            lambda t, d: d["models"][0]["attributes"]["_label_binarizer"]["model"]["attributes"]
            .update(y_type_="binary"),
            "3 outputs for 3 classes, which are binary",
        ),
        (
            lambda t, d: d["models"][0]["attributes"]["_label_binarizer"]["model"]["attributes"]
            .update(sparse_input_=True),
            "sparse_input_=True",
        ),
    ],
)  # fmt: skip
def test_changed_networks_are_refused(tmp_path, X, change, message):
    path = tmp_path / "model"
    schuss.save(MLPClassifier((4,), random_state=0, max_iter=2).fit(X, np.arange(60) % 3), path)
    rewrite(path, change)
    with pytest.raises(ModelFileError, match=message):
        schuss.load(path)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_networks_without_records_go_on(saved, X):
    y = np.arange(60) % 3
    schuss.save(MLPClassifier((4,), random_state=0, max_iter=2).fit(X, y), saved)
    names = [*persistence._RECORDS, "t_", "n_iter_", "history_", "_fit_options"]
    rewrite(saved, lambda t, d: [d["models"][0]["attributes"].pop(name) for name in names])
    assert schuss.load(saved).partial_fit(X, y).t_ == 60
    assert schuss.load(saved).set_params(warm_start=True).fit(X, y).t_ == 120


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_tensor("0._average_coef", np.ones((3, 2))), "_average_coef is"),
        (_tensor("0._average_intercept", 1.0), "_average_intercept is"),
        (lambda t, d: d["models"][0]["attributes"].pop("_standard_coef"), "_standard_coef"),
        (_in_model("attributes", "t_", {"float": "nan"}), "t_=nan"),
        (_in_model("parameters", "average", False), "attribute '_"),
    ],
)
def test_changed_averages_are_refused(tmp_path, X, change, message):
    path = tmp_path / "model"
    # Not yet in use, so that each array is one of its own.
    model = SGDClassifier(average=1000, tol=None, max_iter=2, random_state=0)
    schuss.save(model.fit(X, np.arange(60) % 3), path)
    rewrite(path, change)
    with pytest.raises(ModelFileError, match=message):
        schuss.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_in_model("attributes", "categories_", [1]), "damaged"),
        (_in_model("attributes", "categories_", 1), "damaged"),
        (_in_model("attributes", "categories_", [[1, 2]]), "names of columns"),
        (_in_model("attributes", "categories_", [["a", "a", "b"]]), "names of columns"),
        (_in_model("attributes", "categories_", []), "categories_"),
        (_in_model("attributes", "categorical_columns_", [1]), "names of columns"),
        (_in_model("attributes", "numeric_columns_", "x"), "names of columns"),
        (_in_model("attributes", "numeric_columns_", None), "damaged"),
        (_in_model("attributes", "n_features_out_", 9), "n_features_out_ is 9, not 4"),
        (_tensor("0.scale_", [0.0]), "scale_ is not above 0"),
        (_tensor("0.mean_", [np.nan]), "not finite"),
        (_tensor("0.median_", [1.0, 2.0]), "median_ is"),
    ],
)
def test_changed_preprocessors_are_refused(tmp_path, change, message):
    pa = pytest.importorskip("pyarrow")
    preprocessing = pytest.importorskip("schuss.tables").TablePreprocessor()
    table = pa.table({"x": [1.0, 2.0, None, 4.0], "n": ["a", "b", None, "a"]})
    path = tmp_path / "model"
    model = make_pipeline(preprocessing, SigmoidClassifier(max_iter=9, tol=0))
    schuss.save(model.fit(table, [0, 1, 0, 1]), path)
    rewrite(path, change)
    with pytest.raises(ModelFileError, match=message):
        schuss.load(path)


def test_nested_json_is_refused(saved):
    """Deeper than the writer would write it."""
    for depth in (5_000, 100_000):
        document = '{"format": "schuss-model", "format_version": 1, "models": '
        metadata = {METADATA_KEY: document + "[" * depth + "]" * depth + "}"}
        safetensors_numpy.save_file({"w": np.ones(3)}, saved, metadata=metadata)
        with pytest.raises(ModelFileError, match="nested too deeply"):
            schuss.load(saved)


def test_files_of_the_first_version_load(saved, X):
    """They were written by the safetensors package, without a checksum."""
    model = schuss.load(saved)
    document, arrays = tensors.read(saved, FORMAT, FORMAT_VERSION)
    document["format_version"] = 1
    del document["steps"]
    metadata = {METADATA_KEY: json.dumps(document, ensure_ascii=False)}
    safetensors_numpy.save_file(arrays, saved, metadata=metadata)
    loaded = schuss.load(saved)
    assert_same(model, loaded)
    assert_equal_values(model.predict_proba(X), loaded.predict_proba(X), "predict_proba")


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", pickle.dumps({"a": 1}), b"\xff" * 100])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="other: not a whole safetensors file"):
        schuss.load(path)


def test_every_flipped_bit_and_every_cut_is_found(saved):
    content = saved.read_bytes()
    with open(saved, "r+b", buffering=0) as file:
        for i, byte in enumerate(content):
            for bit in range(8):
                file.seek(i)
                file.write(bytes([byte ^ 1 << bit]))
                with pytest.raises(ModelFileError):
                    schuss.load(saved)
            file.seek(i)
            file.write(bytes([byte]))
        schuss.load(saved)
        for size in reversed(range(len(content))):
            file.truncate(size)
            with pytest.raises(ModelFileError):
                schuss.load(saved)


def test_safetensors_of_others_and_absent_files(tmp_path):
    path = tmp_path / "other.safetensors"
    safetensors_numpy.save_file({"w": np.ones(3)}, path, metadata={"made_by": "another"})
    with pytest.raises(ModelFileError, match=r"of another program \(metadata \['made_by'\]\)"):
        schuss.load(path)
    with pytest.raises(ModelFileError, match="nowhere: cannot be read"):
        schuss.load(tmp_path / "nowhere")
    with pytest.raises(ModelFileError, match="cannot be read"):
        schuss.load(tmp_path)
