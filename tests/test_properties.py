"""Properties of every public entry, over shapes, strides, types, byte orders and values.

``SCHUSS_EXAMPLES=10000`` tries that many for each; by default it is a sample.
"""

import os
import warnings

import numpy as np
import pytest
from numpy.polynomial import Polynomial
from sklearn.base import clone

import schuss
from schuss.expressions import Expression, ExpressionError

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

EXAMPLES = int(os.environ.get("SCHUSS_EXAMPLES", "15"))
sampled = settings(
    max_examples=EXAMPLES, deadline=None, database=None, derandomize=EXAMPLES <= 100,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip

ESTIMATORS = {
    "SigmoidClassifier": schuss.SigmoidClassifier(max_iter=20, n_jobs=1),
    "SigmoidClassifier, newton": schuss.SigmoidClassifier(loss="log_loss", solver="newton"),
    "SigmoidRegressor": schuss.SigmoidRegressor(max_iter=20, n_jobs=1),
    "LogisticRegression": schuss.LogisticRegression(max_iter=20),
    "LogisticRegression, L1": schuss.LogisticRegression(l1_ratio=1.0, solver="saga", max_iter=20),
    "SGDClassifier": schuss.SGDClassifier(max_iter=3, random_state=0),
    "SGDRegressor": schuss.SGDRegressor(max_iter=3, random_state=0),
    "MLPClassifier": schuss.MLPClassifier((3,), max_iter=3, random_state=0),
    "MLPRegressor": schuss.MLPRegressor(hidden_layer_sizes=(3,), max_iter=3, random_state=0),
}
# What an estimator may say of rows that it cannot learn from.
REFUSALS = (ValueError, TypeError)

VALUES = {
    "small": st.integers(-3, 3),
    "real": st.floats(-1e3, 1e3, allow_subnormal=True),
    "wide": st.floats(-1e300, 1e300),
    "any": st.floats(),
}
DTYPES = ("f8", "f4", "f2", "u1", "i1", "i8", "?", ">f8", ">f4", "O")


@st.composite
def features(draw):
    """An array of rows as users have them, and the same values without its peculiarities."""
    n, d = draw(st.integers(0, 12)), draw(st.integers(0, 4))
    kind = draw(st.sampled_from(["small", "real", "real", "real", "wide", "any"]))
    numbers = draw(st.lists(VALUES[kind], min_size=n * d, max_size=n * d))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        X = np.array(numbers, dtype=float).reshape(n, d).astype(draw(st.sampled_from(DTYPES)))
    plain = X.copy()
    layout = draw(st.sampled_from(["C", "F", "strided", "reversed", "misaligned", "repeated"]))
    if layout == "F":
        X = np.asfortranarray(X)
    elif layout == "strided":
        wider = np.zeros((2 * n, 3 * d), X.dtype)
        wider[::2, ::3] = X
        X = wider[::2, ::3]
    elif layout == "reversed":
        X = X[::-1, ::-1].copy()[::-1, ::-1]
    elif layout == "misaligned" and X.dtype != object and X.size:
        raw = np.zeros(X.nbytes + 1, np.uint8)
        shifted = np.ndarray(X.shape, X.dtype, raw.data, offset=1)
        shifted[...] = X
        X = shifted
    elif layout == "repeated" and n:
        X = np.broadcast_to(X[:1], X.shape)
        plain = X.copy()
    if draw(st.booleans()):
        X.flags.writeable = False
    return X, plain


def targets(draw, model, n):
    if "Regressor" in type(model).__name__:
        return np.array(draw(st.lists(st.floats(0, 1), min_size=n, max_size=n)))
    return np.array(draw(st.lists(st.sampled_from([0, 1, 2]), min_size=n, max_size=n)), dtype=int)


def outcome(model, X, y, weights):
    """The weights that a fit leaves, or the error that it raises.

    Of one that seeks an optimum, whose weights `tol` does not tell, the objective, or None where it
    says that it has not converged.
    """
    given = {} if weights is None else {"sample_weight": weights}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = clone(model).fit(X, y, **given)
    except REFUSALS as error:
        assert str(error)
        return error
    if type(model).__name__ == "LogisticRegression" or model.get_params().get("solver") == "newton":
        return np.array([model.loss_], model.coef_.dtype) if model.converged_ else None
    parts = model.coefs_ if hasattr(model, "coefs_") else (model.coef_, model.intercept_)
    return np.concatenate([np.ravel(part) for part in parts])


@pytest.mark.parametrize("name", ESTIMATORS)
@sampled
@given(data=st.data())
def test_fits(name, data):
    model, (X, plain) = ESTIMATORS[name], data.draw(features())
    y = targets(data.draw, model, len(X))
    weights = data.draw(st.none() | st.lists(
        st.floats(0, 10), min_size=len(X), max_size=len(X)
    ).map(np.array))  # fmt: skip
    before, state = (X.tobytes(), y.copy()), np.random.get_state()  # noqa: NPY002

    found, expected = outcome(model, X, y, weights), outcome(model, plain, y, weights)

    assert X.tobytes() == before[0] and np.array_equal(y, before[1])
    after = np.random.get_state()  # noqa: NPY002
    assert np.array_equal(state[1], after[1]) and state[2] == after[2]
    if isinstance(expected, Exception) or isinstance(found, Exception):
        assert type(found) is type(expected), (found, expected)
    elif found is not None and expected is not None:
        assert np.isfinite(found).all()
        # Layouts are summed in their own order; twice the rounding of what is summed.
        scale = np.abs(expected).max(initial=1.0)
        single = found.dtype == np.float32
        tolerance = 1e-3 if single else 1e-5 if found.size == 1 else 1e-7
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("name", ESTIMATORS)
@sampled
@given(data=st.data())
def test_predictions(name, data):
    rng = np.random.default_rng(0)
    model = clone(ESTIMATORS[name])
    is_regressor = "Regressor" in name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = rng.uniform(size=40) if is_regressor else rng.integers(0, 3, 40)
        model.fit(rng.normal(size=(40, 3)), y)
    X, plain = data.draw(features())
    results = []
    for rows in (X, plain):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                results.append(
                    model.predict(rows)
                    if is_regressor or not hasattr(model, "predict_proba")
                    else model.predict_proba(rows)
                )
        except REFUSALS as error:
            assert str(error)
            results.append(error)
    if isinstance(results[0], Exception) or isinstance(results[1], Exception):
        assert type(results[0]) is type(results[1]), results
        return
    np.testing.assert_allclose(results[0], results[1], rtol=1e-3, atol=1e-5)
    if not is_regressor and hasattr(model, "predict_proba"):
        assert np.isfinite(results[0]).all()
        np.testing.assert_allclose(results[0].sum(axis=1), 1, atol=1e-5)


@sampled
@given(
    coef=st.lists(st.floats(-100, 100), min_size=1, max_size=6),
    x0=st.floats(-100, 100),
    method=st.sampled_from(["gd", "momentum", "nesterov", "adam", "adaptive", "newton"]),
    rate=st.none() | st.floats(1e-6, 10),
)
def test_minimize(coef, x0, method, rate):
    given = {} if rate is None else {"learning_rate": rate}
    function = Polynomial(coef)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = schuss.minimize(function, x0, method=method, max_iter=50, **given)

    assert len(result.path) == result.nit + 1 and np.isfinite(result.x).all()
    assert np.isfinite(result.fun) and result.message
    assert result.fun == pytest.approx(function(result.x[0]), rel=1e-6, abs=1e-6)
    if result.stop_reason == "converged":
        assert abs(function.deriv()(result.x[0])) <= 2e-6 * (1 + np.abs(coef).max())


FORMULAS = st.recursive(
    st.sampled_from(["x", "y", "2", "0.5", "pi", "1e300", "-3"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+ - * / **".split()), inner).map(
            lambda parts: f"({parts[0]}) {parts[1]} ({parts[2]})"
        ),
        st.tuples(st.sampled_from(["sin", "exp", "log", "sqrt", "abs", "tanh"]), inner).map(
            lambda parts: f"{parts[0]}({parts[1]})"
        ),
    ),
    max_leaves=12,
)


@sampled
@given(text=FORMULAS, x=st.lists(st.floats(-3, 3), min_size=2, max_size=2))
def test_formulas(text, x):
    try:
        formula = Expression(text)
    except ExpressionError as error:
        assert "too large" in str(error)
        return
    x = x[: len(formula.variables)]
    value, gradient = formula(x), formula.jac(x)

    assert isinstance(value, float) and gradient.shape == (len(formula.variables),)
    assert np.shape(formula.hess(x)) == (len(x), len(x))


@sampled
@given(text=st.text(max_size=60) | st.text("xy0123456789.+-*/()^ esincotan", max_size=30))
def test_texts_that_are_no_formulas(text):
    try:
        formula = Expression(text)
    except ExpressionError as error:
        assert str(error)
    else:
        assert isinstance(formula([0.5] * len(formula.variables)), float)
