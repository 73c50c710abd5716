"""Numbers of odd types and sizes: no warning leaks, and the error names what is to blame."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

import schuss

N, D = 40, 3
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, D))
SINGLE = X.astype(np.float32)
LABELS = np.arange(N) % 2
LONG = np.longdouble("1e4000")

CLASSIFIERS = {
    "LogisticRegression": lambda **k: schuss.LogisticRegression(max_iter=5, **k),
    "SigmoidClassifier": lambda **k: schuss.SigmoidClassifier("log_loss", max_iter=5, **k),
    "SGDClassifier": lambda **k: schuss.SGDClassifier(max_iter=5, tol=None, **k),
    "MLPClassifier": lambda **k: schuss.MLPClassifier((3,), max_iter=5, **k),
}
REGRESSORS = {
    "SigmoidRegressor": lambda **k: schuss.SigmoidRegressor(max_iter=5, **k),
    "SGDRegressor": lambda **k: schuss.SGDRegressor(max_iter=5, tol=None, **k),
    "MLPRegressor": lambda **k: schuss.MLPRegressor(hidden_layer_sizes=(3,), max_iter=5, **k),
}
ALL = CLASSIFIERS | REGRESSORS


@pytest.fixture(autouse=True)
def _no_warning_leaks():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", UserWarning)
        yield


@pytest.mark.parametrize(
    "rows",
    [
        X.astype(np.longdouble), X.astype(object), X > 0, np.round(X * 5).astype(np.int32),
        X.astype(">f4"), (np.sign(X) * 3e38).astype(np.float32) / 1e38,
    ],
    ids=["longdouble", "object", "bool", "int32", "big-endian", "large"],
)  # fmt: skip
@pytest.mark.parametrize("name", ALL)
def test_types_of_rows_serve(name, rows):
    model = ALL[name]().fit(rows, LABELS)
    assert np.isfinite(model.score(rows, LABELS))


@pytest.mark.parametrize("name", ALL)
def test_rows_beyond_float64_are_infinite(name):
    rows = np.where(X > 1, LONG, X.astype(np.longdouble))
    for call in (ALL[name]().fit, ALL[name]().fit(X, LABELS).score):
        with pytest.raises(ValueError, match="Input X contains infinity"):
            call(rows, LABELS)


@pytest.mark.parametrize("name", [name for name in ALL if "SGD" not in name])
def test_whole_numbers_beyond_float64_are_named(name):
    with pytest.raises(ValueError, match="Input X contains a value too large"):
        ALL[name]().fit(np.where(X > 1, 10**400, X.astype(object)), LABELS)


@pytest.mark.parametrize("name", ALL)
def test_sum_of_large_finite_rows_is_no_matter(name):
    rows = (np.sign(X) * 3e38).astype(np.float32)
    try:
        ALL[name]().fit(rows, LABELS)
    except ValueError as error:
        assert "infinity" not in str(error)


@pytest.mark.parametrize("rows", [X, SINGLE], ids=["float64", "float32"])
@pytest.mark.parametrize("name", ALL)
def test_bad_weights_are_named(name, rows):
    for weight in (np.nan, np.inf, LONG):
        weights = np.ones(N, np.longdouble)
        weights[3] = weight
        with pytest.raises(ValueError, match="Input sample_weight contains"):
            ALL[name]().fit(rows, LABELS, sample_weight=weights)


@pytest.mark.parametrize("name", ["LogisticRegression", "SigmoidClassifier", "MLPClassifier"])
def test_large_weights_serve(name):
    model = CLASSIFIERS[name]().fit(SINGLE, LABELS, sample_weight=np.full(N, 1e308))
    assert np.isfinite(model.score(X, LABELS))


def test_weights_that_overflow_sgd_are_named():
    with pytest.raises(schuss.DivergenceError, match="Scale sample_weight"):
        schuss.SGDClassifier(loss="log_loss").fit(X, LABELS, sample_weight=np.full(N, 1e308))
    with pytest.warns(RuntimeWarning, match="Scale y, which holds values as large as 1e"):
        schuss.SGDRegressor(max_iter=5, tol=None).fit(X, LABELS * 1e300)


@pytest.mark.parametrize("y", [LABELS * 1e39, LABELS * LONG], ids=["1e39", "longdouble"])
@pytest.mark.parametrize("name", REGRESSORS)
def test_targets_beyond_float32_are_named(name, y):
    with pytest.raises(ValueError, match="(Input )?y (contains infinity|holds values)"):
        REGRESSORS[name]().fit(SINGLE, y)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_real_labels_are_named(name):
    for y in (LABELS * 1e300, LABELS * LONG):
        with pytest.raises(ValueError, match="Unknown label type"):
            CLASSIFIERS[name]().fit(X, y)


@pytest.mark.parametrize("missing", [None, np.nan, "NA"])
@pytest.mark.parametrize("kind", ["text", "numbers"])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_missing_labels_are_named(name, kind, missing):
    if missing == "NA":
        missing = pytest.importorskip("pandas").NA
    y = (np.array(["no", "yes"])[LABELS] if kind == "text" else LABELS).astype(object)
    y[[3, 5]] = missing
    with pytest.raises(ValueError, match="y has missing labels: .* 2 of 40 rows, first in row 3"):
        CLASSIFIERS[name]().fit(X, y)


@pytest.mark.parametrize("name", ["SGDClassifier", "SGDRegressor", "MLPClassifier", "MLPRegressor"])
def test_weights_to_go_on_from_are_named(name):
    model = ALL[name](warm_start=True).fit(X, LABELS)
    attribute = "coef_" if hasattr(model, "coef_") else "coefs_"
    setattr(model, attribute, [part * np.nan for part in getattr(model, attribute)])
    if attribute == "coef_":
        model.coef_ = np.array(model.coef_)
    for call in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=f"{attribute} holds NaN or infinity"):
            call(X, LABELS)


@pytest.mark.parametrize("name", ["SGDClassifier", "SGDRegressor"])
@pytest.mark.parametrize("value", [np.nan, 1e300, LONG])
def test_coef_init_is_named(name, value):
    with pytest.raises(ValueError, match="coef_ holds NaN or infinity"):
        ALL[name]().fit(SINGLE, LABELS, coef_init=np.full(D, value))


@pytest.mark.parametrize("solver", ["gd", "sgd", "adaptive"])
def test_large_alpha_is_named(solver):
    model = schuss.SigmoidClassifier("log_loss", solver, alpha=1e39)
    with pytest.raises(ValueError, match="^alpha=1e"):
        model.fit(SINGLE, LABELS)


@pytest.mark.parametrize("name", ALL)
def test_parameters_of_long_double_serve(name):
    parameter = "C" if name == "LogisticRegression" else "alpha"
    ALL[name](**{parameter: np.longdouble("0.5")}).fit(X, LABELS)


@pytest.mark.parametrize("name", ["SigmoidClassifier", "SigmoidRegressor", "MLPClassifier"])
def test_eval_set_is_named(name):
    with pytest.raises(ValueError, match="eval_set: .*X as float32.*infinity"):
        ALL[name]().fit(SINGLE, LABELS, eval_set=(X * 1e300, LABELS))


@pytest.mark.parametrize("kind", ["nullable", "sparse", "partly sparse"])
@pytest.mark.parametrize("name", ALL)
def test_frames_serve_as_arrays_do(name, kind):
    pd = pytest.importorskip("pandas")
    plain = pd.DataFrame(np.round(X), columns=list("abc"))
    frame = {
        "nullable": plain.convert_dtypes,
        "sparse": lambda: plain.astype(pd.SparseDtype(float, 0.0)),
        "partly sparse": lambda: plain.assign(b=pd.arrays.SparseArray(plain["b"].to_numpy())),
    }[kind]()
    # SGD slows the intercept down where rows are sparse, as scikit-learn does.
    same = sp.csr_array(plain) if kind == "sparse" else plain
    found, right = (
        ALL[name](random_state=0).fit(rows, LABELS).predict(rows) for rows in (frame, same)
    )
    np.testing.assert_allclose(found, right, rtol=1e-6, atol=1e-8)
