"""Models that leave: ONNX, scikit-learn, C, SQL, formulas; each is run and compared."""

import ctypes
import json
import math
import pickle
import re
import shutil
import sqlite3
import subprocess
import warnings

import numpy as np
import pytest
from scipy.special import expit
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import schuss
from schuss.export import from_sklearn, to_c, to_formula, to_onnx, to_sklearn, to_sql

D = 5


def rows(dtype=np.float64, n=400, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, D)).astype(dtype)
    score = X @ [1.0, -2.0, 0.5, 0.0, 1.0]
    return X, score, rng


X, SCORE, RNG = rows()
TWO = np.where(SCORE + RNG.standard_normal(len(X)) > 0, "yes", "no")
THREE = np.digitize(SCORE, [-1, 1]) + 5
SEVERAL = (np.column_stack([SCORE, -SCORE + X[:, 0], X[:, 1]]) > 0).astype(int)
RATES = expit(SCORE / 2)

MODELS = {
    "neuron": lambda: schuss.SigmoidClassifier(max_iter=50).fit(X, TWO),
    "neuron, log-loss, booleans": lambda: schuss.SigmoidClassifier(
        loss="log_loss", solver="newton", alpha=0.01
    ).fit(X, TWO == "yes"),
    "neurons": lambda: schuss.SigmoidClassifier(max_iter=50).fit(X, THREE),
    "rates": lambda: schuss.SigmoidRegressor(max_iter=50).fit(X, RATES),
    "logistic": lambda: schuss.LogisticRegression().fit(X, TWO),
    "softmax": lambda: schuss.LogisticRegression().fit(X, THREE.astype(float)),
    "float32": lambda: schuss.LogisticRegression().fit(X.astype(np.float32), THREE),
    "logistic CV": lambda: schuss.LogisticRegressionCV(
        Cs=3, l1_ratios=(0,), scoring="accuracy", use_legacy_attributes=False
    ).fit(X, TWO),
    "perceptron": lambda: schuss.Perceptron().fit(X, TWO),
    "hinges": lambda: schuss.SGDClassifier(random_state=0).fit(X, THREE),
    "SGD, log-loss": lambda: schuss.SGDClassifier("log_loss", random_state=0).fit(X, THREE),
    "SGD, huber": lambda: schuss.SGDClassifier("modified_huber", random_state=0).fit(X, THREE),
    "SGD, huber of two": lambda: schuss.SGDClassifier("modified_huber", random_state=0).fit(X, TWO),
    "SGD regressor": lambda: schuss.SGDRegressor(random_state=0).fit(X, SCORE),
    "network": lambda: schuss.MLPClassifier((8, 4), max_iter=5, random_state=0).fit(X, TWO),
    "network of classes": lambda: schuss.MLPClassifier(
        6, activation="tanh", max_iter=5, random_state=0
    ).fit(X, THREE),
    "network, squared": lambda: schuss.MLPClassifier(
        6, activation="logistic", max_iter=5, random_state=0
    ).fit(X, THREE, loss="squared_error"),
    "network of labels": lambda: schuss.MLPClassifier(6, max_iter=5, random_state=0).fit(
        X, SEVERAL
    ),
    "network for numbers": lambda: schuss.MLPRegressor(
        hidden_layer_sizes=6, activation="identity", max_iter=5, random_state=0
    ).fit(X, np.column_stack([SCORE, X[:, 0]])),
    "network for counts": lambda: schuss.MLPRegressor(
        hidden_layer_sizes=6, loss="poisson", max_iter=5, random_state=0
    ).fit(X, np.exp(SCORE / 3)),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    with warnings.catch_warnings():
        # A few epochs do for this.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return MODELS[request.param]()


def answers(session, given):
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, given), strict=True))


def check_answers(model, new, got):
    if not is_classifier(model):
        np.testing.assert_allclose(got["prediction"], model.predict(new), rtol=1e-6, atol=1e-6)
        return
    np.testing.assert_array_equal(got["label"], model.predict(new))
    if hasattr(model, "predict_proba"):
        np.testing.assert_allclose(got["probabilities"], model.predict_proba(new), atol=1e-6)
    else:
        np.testing.assert_allclose(got["scores"], model.decision_function(new), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_onnx(model, dtype):
    onnxruntime = pytest.importorskip("onnxruntime")
    new = rows(dtype, 10_000, seed=1)[0]
    proto = to_onnx(model, dtype=dtype)
    got = answers(onnxruntime.InferenceSession(proto.SerializeToString()), {"X": new})
    check_answers(model, new, got)
    far = np.array([[1e6] * D, [-1e6] * D, [0] * D], dtype)
    with np.errstate(over="ignore"):
        got = answers(onnxruntime.InferenceSession(proto.SerializeToString()), {"X": far})
        if is_classifier(model) and "probabilities" in got:
            expected = model.predict_proba(far)
            np.testing.assert_allclose(got["probabilities"], expected, atol=1e-6)


def test_sklearn_and_back(model):
    if getattr(model, "_fit_options", {}).get("loss") == "squared_error":
        with pytest.raises(ValueError, match="squared_error"):
            to_sklearn(model)
        return
    theirs = to_sklearn(model)
    assert type(theirs).__module__.startswith("sklearn.")
    new = rows(np.float64, 1000, seed=2)[0]
    np.testing.assert_allclose(
        theirs.predict(new) if not is_classifier(model) else theirs.predict(new) == 0,
        model.predict(new) if not is_classifier(model) else model.predict(new) == 0, rtol=1e-5,
    )  # fmt: skip
    if is_classifier(model):
        np.testing.assert_array_equal(theirs.predict(new), model.predict(new))
    if hasattr(model, "predict_proba"):
        np.testing.assert_allclose(
            theirs.predict_proba(new), model.predict_proba(new), rtol=1e-5, atol=1e-7
        )
    assert repr(pickle.loads(pickle.dumps(theirs))) == repr(theirs)
    if type(model).__name__.startswith("Sigmoid"):
        return
    back = from_sklearn(theirs)
    assert type(back) is type(model) and back.get_params() == model.get_params()
    assert vars(back).keys() == vars(model).keys()
    np.testing.assert_array_equal(back.predict(new), model.predict(new))
    weights = "coefs_" if hasattr(model, "coefs_") else "coef_"
    for one, other in zip(
        np.atleast_1d(getattr(back, weights)) if weights == "coef_" else back.coefs_,
        np.atleast_1d(getattr(model, weights)) if weights == "coef_" else model.coefs_,
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
        assert not np.shares_memory(one, other)


def test_pipelines_of_sklearn():
    pipeline = make_pipeline(StandardScaler(), schuss.LogisticRegression()).fit(X, TWO)
    theirs = to_sklearn(pipeline)
    np.testing.assert_array_equal(theirs.predict(X), pipeline.predict(X))
    assert type(from_sklearn(theirs)[-1]) is schuss.LogisticRegression


def test_a_model_of_sklearn_predicts_here():
    from sklearn.linear_model import LogisticRegression

    theirs = LogisticRegression().fit(X, THREE)
    ours = from_sklearn(theirs)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-12)
    ours.set_params(warm_start=True).fit(X, THREE)


def test_skops(tmp_path):
    io = pytest.importorskip("skops.io")
    for make in (MODELS["logistic"], MODELS["neurons"]):
        model = make()
        io.dump(model, tmp_path / "model.skops")
        trusted = io.get_untrusted_types(file=tmp_path / "model.skops")
        assert all(name.startswith("schuss.") for name in trusted)
        again = io.load(tmp_path / "model.skops", trusted=trusted)
        np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


# ---------------------------------------------------------------- one neuron

NEURONS = ("neuron", "neuron, log-loss, booleans", "rates", "logistic", "SGD regressor", "float32")
FAR = np.vstack([X[:50], 1e4 * X[50:60]])


def single(name):
    model = MODELS[name if name != "float32" else "logistic"]()
    if name == "float32":
        model = schuss.LogisticRegression().fit(X.astype(np.float32), TWO)
    expected = model.predict_proba(FAR)[:, 1] if is_classifier(model) else model.predict(FAR)
    return model, expected


@pytest.mark.parametrize("name", NEURONS)
def test_c(name, tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    model, expected = single(name)
    source, library = tmp_path / "neuron.c", tmp_path / "neuron.so"
    source.write_text(to_c(model, "answer"))
    flags = ["-std=c99", "-Wall", "-Werror", "-O2", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, source, "-o", library, "-lm"], check=True)
    function = ctypes.CDLL(str(library)).answer
    function.restype, function.argtypes = ctypes.c_double, [ctypes.POINTER(ctypes.c_double)]
    got = [function((ctypes.c_double * D)(*row)) for row in FAR]
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize("system", ["sqlite", "duckdb"])
def test_sql(name, system):
    model, expected = single(name)
    columns = ["a b", 'quoted "name"', "select", "d", "e"]
    expression = to_sql(model, columns)
    if system == "sqlite":
        connection = sqlite3.connect(":memory:")
        connection.create_function("EXP", 1, math.exp)
    else:
        connection = pytest.importorskip("duckdb").connect()
    names = ", ".join('"' + column.replace('"', '""') + '" DOUBLE' for column in columns)
    connection.execute(f"CREATE TABLE rows (place INTEGER, {names})")
    connection.executemany(
        "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?)",
        [[i, *row] for i, row in enumerate(FAR.tolist())],
    )
    got = connection.execute(f"SELECT {expression} FROM rows ORDER BY place").fetchall()
    np.testing.assert_allclose(np.ravel(got), expected, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("name", NEURONS)
def test_formula(name):
    """Evaluated by Python, which reads the operators and functions that are used alike."""
    model, expected = single(name)
    formula = to_formula(model)
    assert formula.startswith("=") and re.fullmatch(r"[=\w\s.,+*/()-]*", formula)
    code = compile(formula[1:], "formula", "eval")
    cells = [f"{letter}2" for letter in "ABCDE"]
    for row, wanted in zip(FAR.tolist(), expected, strict=True):
        values = dict(zip(cells, row, strict=True)) | {"EXP": math.exp, "MIN": min}
        got = eval(code, {"__builtins__": {}}, values)
        assert got == pytest.approx(wanted, rel=1e-12, abs=1e-300)


def test_cells_beyond_z():
    wide = schuss.SigmoidRegressor(max_iter=1)
    wide.fit(np.eye(60), np.linspace(0.1, 0.9, 60))
    formula = to_formula(wide)
    assert "* Z2 " in formula and "* AA2 " in formula and "* BH2" in formula


# ---------------------------------------------------------------- bad input


def test_what_is_refused():
    hinge, several, network = (
        MODELS[name]() for name in ("perceptron", "neurons", "network for counts")
    )
    for write in (to_c, to_sql, to_formula):
        with pytest.raises(ValueError, match="no probabilities"):
            write(hinge)
        with pytest.raises(ValueError, match="3 classes"):
            write(several)
        with pytest.raises(TypeError, match="expected a linear model"):
            write(network)
        with pytest.raises(TypeError, match="Pipeline"):
            write(make_pipeline(StandardScaler(), hinge))
    with pytest.raises(ValueError, match="name='a b'"):
        to_c(MODELS["rates"](), "a b")
    with pytest.raises(ValueError, match="columns has 1 entries"):
        to_sql(MODELS["rates"](), ["a"])
    with pytest.raises(ValueError, match="cells has 1 entries"):
        to_formula(MODELS["rates"](), ["a"])
    with pytest.raises(TypeError, match="expected one of sklearn's"):
        from_sklearn(MODELS["rates"]())
    with pytest.raises(TypeError, match="expected one of schuss's"):
        to_sklearn(StandardScaler().fit(X))
    with pytest.raises(TypeError, match="from_sklearn"):
        to_onnx(to_sklearn(MODELS["logistic"]()))
    with pytest.raises(ValueError, match="dtype='int8'"):
        to_onnx(MODELS["logistic"](), dtype=np.int8)
    with pytest.raises(TypeError, match="StandardScaler"):
        to_onnx(make_pipeline(StandardScaler(), schuss.LogisticRegression()).fit(X, TWO))


# ---------------------------------------------------------------- tables


@pytest.fixture(scope="module")
def table():
    pa = pytest.importorskip("pyarrow")
    rng = np.random.default_rng(4)
    n = 300
    delay = rng.standard_normal(n) * 10 + 3
    carrier = rng.choice(["UA", "AA", "DL"], n)
    late = np.where(delay + 4 * (carrier == "UA") + rng.standard_normal(n) > 5, "late", "on time")
    return pa.table({
        "carrier": pa.array([None if r < 0.05 else c for r, c in
                             zip(rng.random(n), carrier.tolist(), strict=True)]),
        "delay": pa.array([None if r < 0.05 else x for r, x in
                           zip(rng.random(n), delay.tolist(), strict=True)]),
        "miles": rng.integers(100, 900, n),
        "late": late,
    })  # fmt: skip


def test_onnx_of_a_table(table, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    from schuss.tables import TablePreprocessor

    for estimator in (
        schuss.LogisticRegression(), schuss.MLPClassifier(4, max_iter=5, random_state=0),
    ):  # fmt: skip
        pipeline = make_pipeline(TablePreprocessor(target="late"), estimator)
        pipeline.fit(table, table["late"].to_numpy(zero_copy_only=False))
        path = tmp_path / "model.onnx"
        to_onnx(pipeline, path)
        session = onnxruntime.InferenceSession(path)
        given = {
            "carrier": np.array([[v or ""] for v in table["carrier"].to_pylist()], object),
            "delay": table["delay"].to_pandas().to_numpy(float)[:, None],
            "miles": table["miles"].to_numpy().astype(float)[:, None],
        }
        given["carrier"][0] = "unknown"
        got = answers(session, given)
        import pyarrow as pa

        changed = table.set_column(0, "carrier", pa.array(
            [None if not v else v for v in given["carrier"].ravel()]))  # fmt: skip
        with pytest.warns(UserWarning, match="unknown to the model"):
            expected, labels = pipeline.predict_proba(changed), pipeline.predict(changed)
        np.testing.assert_allclose(got["probabilities"], expected, atol=1e-6)
        np.testing.assert_array_equal(got["label"], labels)


def test_predict_on_onnx_files(table, tmp_path, run):
    pytest.importorskip("onnxruntime")
    import pyarrow.csv

    from schuss.tables import TablePreprocessor

    pyarrow.csv.write_csv(table, tmp_path / "rows.csv")
    pipeline = make_pipeline(TablePreprocessor(target="late"), schuss.LogisticRegression())
    pipeline.fit(table, table["late"].to_numpy(zero_copy_only=False))
    schuss.save(pipeline, tmp_path / "model.safetensors")
    to_onnx(pipeline, tmp_path / "model.onnx")
    results = [
        run("predict", name, "rows.csv", "--json") for name in ("model.safetensors", "model.onnx")
    ]
    assert [result.exit_code for result in results] == [0, 0], results
    one, other = (json.loads(result.stdout) for result in results)
    assert one["prediction"] == other["prediction"]
    for label in ("late", "on time"):
        np.testing.assert_allclose(
            one[f"probability_{label}"], other[f"probability_{label}"], atol=1e-6
        )
    # A matrix of features, by their names.
    numbers = table.select(["delay", "miles"]).to_pandas().fillna(0)
    model = schuss.LogisticRegression().fit(numbers, table["late"].to_pandas())
    to_onnx(model, tmp_path / "plain.onnx")
    result = run("predict", "plain.onnx", "rows.csv", "--json")
    assert result.exit_code == 0, result
    (tmp_path / "broken.onnx").write_bytes(b"nonsense")
    result = run("predict", "broken.onnx", "rows.csv")
    assert result.exit_code != 0 and "broken.onnx" in result.stderr
