"""Model files: the same model back, nothing half-written, nothing strange let in."""

import json
import pickle

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy
from safetensors import safe_open
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import schuss
from schuss import SigmoidClassifier, SigmoidRegressor
from schuss.persistence import METADATA_KEY, ModelFileError


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
    assert type(left) is type(right), key
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for inner in left:
            assert_equal_values(left[inner], right[inner], f"{key}.{inner}")
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
    for left, right in zip(model.named_steps.values(), loaded.named_steps.values(), strict=True):
        assert_same(left, right)
    np.testing.assert_array_equal(model.predict_proba(table), loaded.predict_proba(table))


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


def test_what_cannot_be_saved(tmp_path, X):
    with pytest.raises(NotFittedError, match="fit it"):
        schuss.save(SigmoidClassifier(), tmp_path / "model")
    y = X[:, 0] > 0
    with pytest.raises(TypeError, match="sklearn.* expected SigmoidClassifier"):
        schuss.save(LogisticRegression().fit(X, y), tmp_path / "model")
    pipeline = make_pipeline(StandardScaler(), SigmoidClassifier(max_iter=1, tol=0)).fit(X, y)
    with pytest.raises(TypeError, match="StandardScaler; expected"):
        schuss.save(pipeline, tmp_path / "model")
    model = SigmoidClassifier(max_iter=1, tol=0).fit(X, y)
    model.classes_ = np.array([1j, 2j])
    with pytest.raises(TypeError, match=r"0\.classes_ is .* of type ndarray"):
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
    tensors = safetensors_numpy.load_file(path)
    with safe_open(path, framework="numpy") as file:
        document = json.loads(file.metadata()[METADATA_KEY])
    change(tensors, document)
    safetensors_numpy.save_file(tensors, path, metadata={METADATA_KEY: json.dumps(document)})


def _set(key, value):
    return lambda tensors, document: document.__setitem__(key, value)


def _tensor(key, value):
    return lambda tensors, document: tensors.__setitem__(key, np.asarray(value))


def _in_model(section, key, value):
    return lambda tensors, document: document["models"][0][section].__setitem__(key, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("format_version", 99), r"format schuss-model 99.*reads schuss-model 1"),
        (_set("format", "other"), "format other 1"),
        (lambda t, d: d.pop("format"), "damaged model file"),
        (_set("models", []), "0 models; expected one or two"),
        (lambda t, d: d["models"][0].update({"class": "os.system"}), "class 'os.system'; expected"),
        (lambda t, d: t.pop("0.coef_"), "0.coef_"),
        (_tensor("0.coef_", np.ones((1, 4))), r"coef_ of shape \(1, 4\) for 2 classes and 3"),
        (_tensor("0.coef_", np.full((1, 3), np.nan)), "not finite"),
        (_tensor("0.intercept_", np.ones(2)), "2 intercepts, expected 1"),
        (_in_model("parameters", "momentun", 1), "momentun"),
        (_in_model("attributes", "predict", 1), "attribute 'predict'"),
        (_in_model("attributes", "__class__", 1), "attribute '__class__'"),
        (_in_model("attributes", "classes_", {"strings": ["a"], "dtype": "|V8"}), "dtype"),
        (lambda t, d: d["models"][0]["attributes"].pop("intercept_"), "intercept_"),
    ],
)
def test_changed_files_are_refused(saved, change, message):
    rewrite(saved, lambda tensors, document: None)
    schuss.load(saved)
    rewrite(saved, change)
    with pytest.raises(ModelFileError, match=message) as caught:
        schuss.load(saved)
    assert str(saved) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", pickle.dumps({"a": 1}), b"\xff" * 100])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="other: not a whole safetensors file"):
        schuss.load(path)


def test_cut_files_are_refused_wherever_they_end(saved):
    content = saved.read_bytes()
    for size in range(0, len(content), 97):
        saved.write_bytes(content[:size])
        with pytest.raises(ModelFileError):
            schuss.load(saved)


def test_safetensors_of_others_and_absent_files(tmp_path):
    path = tmp_path / "other.safetensors"
    safetensors_numpy.save_file({"w": np.ones(3)}, path, metadata={"made_by": "another"})
    with pytest.raises(ModelFileError, match=r"of something else \(metadata \['made_by'\]\)"):
        schuss.load(path)
    with pytest.raises(ModelFileError, match="nowhere: cannot be read"):
        schuss.load(tmp_path / "nowhere")
    with pytest.raises(ModelFileError, match="cannot be read"):
        schuss.load(tmp_path)
