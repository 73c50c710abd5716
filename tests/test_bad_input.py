"""The same bad input gets the same error from every estimator."""

import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp

import schuss
from schuss import data

CLASSIFIERS = ("SigmoidClassifier", "LogisticRegression", "SGDClassifier", "MLPClassifier")
REGRESSORS = ("SigmoidRegressor", "SGDRegressor", "MLPRegressor")
ALL = CLASSIFIERS + REGRESSORS
N = 40
X = np.random.default_rng(0).standard_normal((N, 3))
Y = (np.arange(N) % 2).astype(np.int64)


def make(name, **params):
    if name.startswith("MLP"):
        params = {"hidden_layer_sizes": (3,), **params}
    return getattr(schuss, name)(**{"max_iter": 3, **params})


def changed(values, at, value):
    values = np.array(values, dtype=float)
    values[at] = value
    return values


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("params", [{}, {"solver": "lbfgs"}, {"solver": "adam"}])
@pytest.mark.parametrize("name", [name for name in ALL if name != "LogisticRegression"])
def test_bad_rows_that_are_held_out_are_refused(name, params, value):
    if name.startswith("SGD"):
        params = {"loss": "hinge"} if name == "SGDClassifier" else {}
    model = make(name, early_stopping=True, validation_fraction=0.3, random_state=0, **params)
    for row in range(0, N, 3):
        with pytest.raises(ValueError, match="Input X contains"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(changed(X, (row, 1), value), Y)


@pytest.mark.parametrize("name", ALL)
def test_x_is_not_looked_at_before_the_first_pass(name, monkeypatch):
    looked = []
    monkeypatch.setattr(data, "_is_finite", lambda X: looked.append(X) or True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make(name).fit(X, Y)
        if name != "LogisticRegression":
            make(name).partial_fit(X, Y, **{"classes": [0, 1]} if name in CLASSIFIERS else {})
    assert not looked


@pytest.mark.parametrize("loss", ["hinge", "perceptron", "squared_hinge", "modified_huber"])
def test_losses_that_take_no_notice_of_nan_refuse_it_in_the_first_chunk(loss):
    bad, told = changed(X, (7, 1), np.nan), []
    model = make("SGDClassifier", loss=loss, max_iter=100_000, tol=None)
    for rows in (bad, sp.csr_array(bad)):
        with pytest.raises(ValueError, match=r"Input X contains NaN.\nSGDClassifier does not"):
            model.fit(rows, Y, callbacks=told.append)
    assert not told


@pytest.mark.parametrize("name", ["SGDClassifier", "SGDRegressor", "MLPRegressor"])
def test_what_may_help_is_not_looked_for_in_a_fit_that_ends_well(name, monkeypatch):
    passes = []
    monkeypatch.setattr(data, "largest", lambda X: passes.append(X) or 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make(name).fit(X, Y)
    assert not passes


def bad(error, message, **given):
    """What `fit` or `partial_fit` is given, the error it ends in, and the estimators concerned."""
    options = {"names": ALL, "methods": ("fit", "partial_fit"), "params": {}} | {
        name: given.pop(name) for name in ("names", "methods", "params") if name in given
    }
    return SimpleNamespace(error=error, message=message, given=given, **options)


class Every:
    def __init__(self, every):
        self.every = every

    def __call__(self, info):
        return False

    def __repr__(self):
        return "Every()"


NAN, INF = changed(X, (3, 1), np.nan), changed(X, (3, 1), np.inf)
ONES = np.ones(N)
TEXT = np.array(["no", "yes"])[Y]
HUGE = 10**400
LINEAR = tuple(name for name in CLASSIFIERS if name != "MLPClassifier")
ONE_TARGET = tuple(name for name in REGRESSORS if name != "MLPRegressor")
FIT = ("fit",)

KINDS = {
    # X
    "X: NaN": bad(ValueError, "Input X contains NaN", X=NAN),
    "X: inf": bad(ValueError, "Input X contains infinity", X=INF),
    "X: inf of float16": bad(ValueError, "Input X contains infinity", X=INF.astype("f2")),
    "X: sparse NaN": bad(ValueError, "Input X contains NaN", X=sp.csr_array(NAN)),
    "X: sparse inf": bad(ValueError, "Input X contains infinity", X=sp.csc_matrix(INF)),
    "X: NaN in a list": bad(ValueError, "Input X contains NaN", X=NAN.tolist()),
    "X: 1-d": bad(ValueError, "Expected 2D array, got 1D array", X=X[:, 0]),
    "X: 3-d": bad(ValueError, "Found array with dim 3", X=X[:, :, None]),
    "X: scalar": bad(ValueError, "Expected 2D array, got scalar array", X=3.0),
    "X: None": bad(ValueError, "Expected 2D array, got scalar array", X=None),
    "X: no rows": bad(ValueError, "Found array with 0 sample", X=X[:0], y=Y[:0]),
    "X: no columns": bad(ValueError, "Found array with 0 feature", X=X[:, :0]),
    "X: text": bad(ValueError, "X holds text .* not compatible", X=TEXT[:, None]),
    "X: numbers as text": bad(ValueError, "X holds text .* not compatible", X=X.astype("U5")),
    "X: numbers as StringDType": bad(
        ValueError, "X holds text .* not compatible", X=X.astype(np.dtypes.StringDType())
    ),
    "X: text as objects": bad(
        ValueError, "could not convert string to float", X=TEXT[:, None].astype(object)
    ),
    "X: complex": bad(ValueError, "Complex data not supported", X=X + 1j),
    "X: ragged": bad(ValueError, "inhomogeneous shape", X=[[1.0, 2.0], [3.0]] * (N // 2)),
    "X: beyond float64": bad(ValueError, "X contains a value too large", X=[[HUGE, 1]] * N),
    "X: matrix": bad(TypeError, "np.matrix is not supported", X=np.asmatrix(X)),
    "X: dict": bad(TypeError, "not 'dict'", X={"a": [1.0] * N}),
    # y
    "y: None": bad(ValueError, "requires y to be passed, but the target y is None", y=None),
    "y: short": bad(ValueError, f"y has {N - 1} rows, but X has {N}", y=Y[:-1]),
    "y: empty": bad(ValueError, "y has 0 rows, but X has", y=[], names=CLASSIFIERS),
    "y: NaN": bad(ValueError, "Input y contains NaN", y=changed(Y, 3, np.nan)),
    "y: inf": bad(ValueError, "Input y contains infinity", y=changed(Y, 3, np.inf)),
    "y: 2-d": bad(ValueError, "y should be a 1d array", y=np.c_[Y, Y], names=LINEAR),
    "y: 2-d, real": bad(ValueError, "one target a row", y=np.c_[Y, Y], names=ONE_TARGET),
    "y: 3-d": bad(ValueError, "Found array with dim 3", y=Y[:, None, None], names=CLASSIFIERS),
    "y: 3-d, real": bad(ValueError, "y has shape", y=Y[:, None, None], names=REGRESSORS),
    "y: scalar": bad(ValueError, "y is 1, expected an array of shape", y=1, names=CLASSIFIERS),
    "y: scalar, real": bad(ValueError, "y is 1, expected an array", y=1, names=REGRESSORS),
    "y: str": bad(ValueError, "y is 'no', expected an array", y="no", names=CLASSIFIERS),
    "y: dict": bad(ValueError, "y is {0: 1}, expected an array", y={0: 1}, names=REGRESSORS),
    "y: None among objects": bad(
        ValueError, "y has missing labels", y=np.where(Y == 1, None, Y), names=CLASSIFIERS
    ),
    "y: NaN among text": bad(
        ValueError, "missing labels", y=np.where(Y == 1, np.nan, TEXT.astype(object)),
        names=CLASSIFIERS,
    ),
    "y: real labels": bad(ValueError, "Unknown label type", y=Y + 0.5, names=CLASSIFIERS),
    "y: objects": bad(ValueError, "Unknown label type", y=ONES.astype(object), names=CLASSIFIERS),
    "y: bytes": bad(TypeError, "represented as bytes", y=TEXT.astype("S"), names=CLASSIFIERS),
    "y: sparse": bad(TypeError, "Sparse data was passed for y", y=sp.csr_matrix(Y[:, None])),
    "y: complex": bad(ValueError, "Complex data not supported", y=Y + 1j),
    "y: ragged": bad(ValueError, "inhomogeneous", y=[[1], [2, 3]] * (N // 2)),
    "y: text, real": bad(ValueError, "expected numbers", y=TEXT, names=REGRESSORS),
    "y: beyond float64": bad(
        ValueError, "y contains a value too large", y=[HUGE] * N, names=REGRESSORS
    ),
    "y: one class": bad(ValueError, "holds only one class, 0", y=0 * Y, names=LINEAR, methods=FIT),
    "y: unseen": bad(
        ValueError, "not among the classes: 2", y=Y + 1, names=CLASSIFIERS, methods=("partial_fit",)
    ),
    # classes
    "classes: NaN": bad(ValueError, "contains NaN", classes=[0.0, np.nan], names=CLASSIFIERS),
    "classes: 2-d": bad(ValueError, "Unknown label type", classes=[[0, 1, 2]], names=CLASSIFIERS),
    "classes: scalar": bad(ValueError, "Expected array-like", classes=2, names=CLASSIFIERS),
    "classes: None": bad(ValueError, "passed on the first", classes=None, names=CLASSIFIERS),
    "classes: missing": bad(ValueError, "Unknown label", classes=[0, None], names=CLASSIFIERS),
    # sample_weight
    "weights: short": bad(ValueError, "sample_weight.shape", sample_weight=ONES[:-1]),
    "weights: NaN": bad(ValueError, "sample_weight contains NaN", sample_weight=ONES * np.nan),
    "weights: inf": bad(ValueError, "sample_weight contains inf", sample_weight=ONES * np.inf),
    "weights: NaN for all": bad(ValueError, "sample_weight contains NaN", sample_weight=np.nan),
    "weights: negative": bad(ValueError, "smallest is -1", sample_weight=changed(ONES, 3, -1)),
    "weights: all 0": bad(
        ValueError, "every entry of sample_weight is 0", sample_weight=0 * ONES
    ),
    "weights: 2-d": bad(ValueError, "Sample weights must be 1D", sample_weight=np.c_[ONES, ONES]),
    "weights: text": bad(ValueError, "could not convert string", sample_weight=TEXT),
    "weights: complex": bad(ValueError, "Complex data not supported", sample_weight=ONES + 1j),
    "weights: beyond float64": bad(
        ValueError, "sample_weight contains a value too large", sample_weight=[HUGE] * N
    ),
    "weights: sparse": bad(
        TypeError, "Sparse data was passed for sample_weight", sample_weight=sp.csr_matrix(ONES)
    ),
    # class_weight
    "class_weight: text": bad(
        ValueError, "The 'class_weight' parameter of", params={"class_weight": "even"},
        names=CLASSIFIERS,
    ),
    "class_weight: number": bad(
        ValueError, "The 'class_weight' parameter of", params={"class_weight": 3},
        names=CLASSIFIERS,
    ),
    "class_weight: NaN": bad(
        ValueError, "the weight of class 0 is nan", params={"class_weight": {0: np.nan}},
        names=CLASSIFIERS,
    ),
    "class_weight: of no class": bad(
        ValueError, "not in class_weight", params={"class_weight": {7: 1.0}}, names=CLASSIFIERS
    ),
    "class_weight: balanced": bad(
        ValueError, "'balanced' is not supported for partial_fit", names=CLASSIFIERS,
        params={"class_weight": "balanced"}, methods=("partial_fit",),
    ),
    # callbacks
    "callbacks: number": bad(TypeError, "callbacks: got 3", callbacks=3, methods=FIT),
    "callbacks: text": bad(TypeError, "callbacks: got 'a'", callbacks=["a"], methods=FIT),
    "callbacks: every": bad(ValueError, "every=0", callbacks=Every(0), methods=FIT),
    "callbacks: every 1.5": bad(ValueError, "every=1.5", callbacks=Every(1.5), methods=FIT),
    # eval_set
    "eval_set: number": bad(ValueError, "eval_set: got int", eval_set=3, methods=FIT),
    "eval_set: three": bad(ValueError, "eval_set: got tuple", eval_set=(X, Y, Y), methods=FIT),
    "eval_set: NaN": bad(
        ValueError, "eval_set: Input X contains NaN", eval_set=(NAN, Y), methods=FIT
    ),
    "eval_set: other width": bad(
        ValueError, "eval_set: X has 2 features", eval_set=(X[:, :2], Y), methods=FIT
    ),
    "eval_set: matrix": bad(
        TypeError, "eval_set: np.matrix", eval_set=(np.asmatrix(X), Y), methods=FIT
    ),
    "eval_set: y short": bad(
        ValueError, "eval_set: y has 5 rows", eval_set=(X, Y[:5]), methods=FIT
    ),
    "eval_set: y NaN": bad(
        ValueError, "eval_set: Input y contains NaN", eval_set=(X, Y * np.nan), methods=FIT
    ),
    "eval_set: y None": bad(
        ValueError, "eval_set: y is None", eval_set=(X, None), methods=FIT, names=CLASSIFIERS
    ),
    "eval_set: y None, real": bad(
        ValueError, "eval_set: y is None", eval_set=(X, None), methods=FIT, names=REGRESSORS
    ),
    "eval_set: y unseen": bad(
        ValueError, "eval_set: y holds labels that are not among the classes: 7",
        eval_set=(X, Y + 7), methods=FIT, names=CLASSIFIERS,
    ),
    # parameters
    "tol": bad(ValueError, "The 'tol' parameter", params={"tol": -1.0}, names=ALL[:2] + ALL[4:5]),
    "alpha": bad(
        ValueError, "The 'alpha' parameter of NAME must be a float in the range",
        params={"alpha": -1.0}, names=tuple(name for name in ALL if name != "LogisticRegression"),
    ),
    "max_iter": bad(ValueError, "The 'max_iter' parameter of", params={"max_iter": 1.5}),
    "random_state": bad(ValueError, "The 'random_state' parameter", params={"random_state": "a"}),
    "warm_start": bad(ValueError, "The 'warm_start' parameter", params={"warm_start": "yes"}),
    "loss": bad(
        ValueError, "The 'loss' parameter of", params={"loss": "hinges"},
        names=tuple(name for name in ALL if name != "LogisticRegression"),
    ),
}  # fmt: skip
# Where the choices of parameters or the shapes of y that a message lists are each one's own.
OWN_CHOICES = {
    "loss", "max_iter", "alpha", "tol", "class_weight: text", "class_weight: number",
    "y: scalar, real", "y: dict", "eval_set: y None, real",
}  # fmt: skip


def state(model):
    return {
        name: [id(part) for part in value] if isinstance(value, list) else id(value)
        for name, value in vars(model).items()
    }


CASES = [
    (kind, method, fitted)
    for kind, case in KINDS.items()
    for method in (("partial_fit",) if "classes" in case.given else case.methods)
    # scikit-learn looks at parameters and classes in the first `partial_fit` only.
    for fitted in ("new", "fitted")
    if method == "fit" or fitted == "new" or not (case.params or "classes" in case.given)
]


@pytest.mark.parametrize(("kind", "method", "fitted"), CASES)
def test_bad_input_gets_the_same_error_everywhere(kind, method, fitted):
    case = KINDS[kind]
    messages = {}
    for name in case.names:
        if method == "partial_fit" and name == "LogisticRegression":
            continue
        given = {"X": X, "y": Y} | case.given
        if method == "partial_fit" and name in CLASSIFIERS:
            given = {"classes": [0, 1]} | given
        model = make(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if fitted == "fitted":
                model.fit(X, Y)
            model.set_params(**case.params)
            before = state(model)
            with pytest.raises(case.error) as error:
                getattr(model, method)(**given)
        assert state(model) == before, name
        messages[name] = str(error.value).replace(name, "NAME")
    for name, message in messages.items():
        assert re.search(case.message, message), (name, message)
        if kind not in OWN_CHOICES:
            assert message == next(iter(messages.values())), name


@pytest.mark.parametrize("first", ["f4", "f8"])
@pytest.mark.parametrize("name", [name for name in ALL if name != "LogisticRegression"])
def test_rows_of_another_type_go_on(name, first):
    model = make(name)
    classes = {"classes": [0, 1]} if name in CLASSIFIERS else {}
    model.partial_fit(X.astype(first), Y, **classes)
    for dtype in ("f8", "f4", "f2"):
        model.partial_fit(X.astype(dtype), Y)
    assert len(model.history_["loss"]) == 4


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
@pytest.mark.parametrize("held_out", ["f4", "f8", "f2"])
@pytest.mark.parametrize("rows", ["f4", "f8"])
@pytest.mark.parametrize("name", ALL)
def test_rows_of_eval_set_may_be_of_another_type(name, rows, held_out, solver):
    params = {} if name.startswith("SGD") else {"solver": solver.replace("sgd", "lbfgs")}
    if solver == "sgd" and not name.startswith(("SGD", "Logistic")):
        params = {"solver": "sgd"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        losses = [
            make(name, random_state=0, **params)
            .fit(X.astype(rows), Y, eval_set=(X.astype(dtype), Y))
            .history_["validation_loss"]
            for dtype in (held_out, rows)
        ]
    np.testing.assert_allclose(*losses, rtol=1e-2)


@pytest.mark.parametrize("loss", ["hinge", "perceptron", "modified_huber", "log_loss"])
def test_rows_beyond_the_type_of_the_weights_are_refused(loss):
    model = make("SGDClassifier", loss=loss).fit(X.astype("f4"), Y)
    coef = model.coef_.copy()
    with pytest.raises(ValueError, match="Input X as float32 contains infinity"):
        model.partial_fit(changed(X, (3, 1), 1e300), Y)
    np.testing.assert_array_equal(model.coef_, coef)


@pytest.mark.parametrize("value", ["hinge", 3, None, ["log_loss"]])
def test_loss_of_a_network_that_a_search_has_set_is_checked(value):
    model = make("MLPClassifier").set_params(loss=value)
    with pytest.raises(ValueError, match="The 'loss' parameter of MLPClassifier must be"):
        model.fit(X, Y)
    with pytest.raises(ValueError, match="The 'loss' parameter of MLPClassifier must be"):
        model.partial_fit(X, Y, classes=[0, 1])
