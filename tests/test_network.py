"""`MLPClassifier` and `MLPRegressor` beside scikit-learn's, and what they have beyond them."""

import inspect
import pickle
import signal
import threading
import warnings

import numpy as np
import pytest
import sklearn.neural_network as theirs
from sklearn.base import clone
from sklearn.datasets import load_digits, make_multilabel_classification, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import compute_sample_weight

import schuss
from schuss import DivergenceError, MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float), np.array([0, 1, 1, 0])
SCHEDULES = (
    {},
    {"early_stopping": True},
    {"learning_rate": "invscaling", "nesterovs_momentum": False, "shuffle": False},
    {"learning_rate": "adaptive", "tol": 1e-2, "n_iter_no_change": 2},
)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:600] / 16, y[:600]


def pair(name, *arguments, **parameters):
    """Theirs and ours with the same parameters."""
    return tuple(getattr(m, name)(*arguments, **parameters) for m in (theirs, schuss))


def same_curves(a, b, rtol):
    assert len(a.loss_curve_) == len(b.loss_curve_)
    np.testing.assert_allclose(b.loss_curve_, a.loss_curve_, rtol=rtol)


@pytest.mark.parametrize("ours", (MLPClassifier, MLPRegressor))
def test_signature_is_scikit_learns(ours):
    expected = inspect.signature(getattr(theirs, ours.__name__))
    assert inspect.signature(ours) == expected
    fits = (inspect.signature(m.fit).parameters for m in (ours, getattr(theirs, ours.__name__)))
    mine, expected = fits
    beyond = {mine[name].kind for name in mine if name not in expected}
    assert beyond == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("options", SCHEDULES, ids=lambda o: "-".join(o) or "plain")
@pytest.mark.parametrize("solver", ("sgd", "adam"))
@pytest.mark.parametrize("activation", ("identity", "logistic", "tanh", "relu"))
def test_trajectory(digits, activation, solver, options):
    models = pair(
        "MLPClassifier", (12, 7), activation=activation, solver=solver, random_state=3,
        max_iter=50, batch_size=64, learning_rate_init=0.01, **options,
    )  # fmt: skip
    a, b = (model.fit(*digits) for model in models)
    same_curves(a, b, 1e-8)
    for mine, expected in zip(b.coefs_ + b.intercepts_, a.coefs_ + a.intercepts_, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-6, atol=1e-9)
    public = {name for name in vars(a) if not name.startswith("_")}
    assert public - set(vars(b)) == set()
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_"):
        assert getattr(a, name) == getattr(b, name), name
    for name in ("best_loss_", "loss_", "best_validation_score_", "validation_scores_"):
        mine, expected = getattr(b, name), getattr(a, name)
        assert mine == (expected if expected is None else pytest.approx(expected)), name
    assert a._no_improvement_count == b._no_improvement_count
    assert a._optimizer.learning_rate == pytest.approx(b._optimizer.learning_rate) or (
        solver == "adam"  # theirs holds the corrected rate
    )
    np.testing.assert_allclose(b.predict_proba(digits[0]), a.predict_proba(digits[0]), atol=1e-8)


@pytest.mark.parametrize("activation", ("logistic", "relu"))
@pytest.mark.parametrize(("real", "rtol"), ((np.float64, 1e-8), (np.float32, 1e-3)))
def test_trajectory_of_lbfgs(digits, activation, real, rtol):
    """In float32 scikit-learn's line search sees rounded costs, ours does not."""
    models = pair(
        "MLPClassifier", 9, activation=activation, solver="lbfgs", random_state=1, max_iter=20
    )
    X = digits[0].astype(real)
    a, b = (model.fit(X, digits[1]) for model in models)
    assert a.n_iter_ == b.n_iter_
    assert b.loss_ == pytest.approx(a.loss_, rel=rtol)
    assert {c.dtype for c in b.coefs_} == {c.dtype for c in a.coefs_} == {np.dtype(float)}
    assert len(b.history_["loss"]) == 20
    assert b.history_["loss"][-1] == b.loss_


def test_trajectory_in_float32(digits):
    X = digits[0].astype(np.float32)
    a, b = (
        m.fit(X, digits[1])
        for m in pair("MLPClassifier", 20, solver="sgd", random_state=0, max_iter=20)
    )
    same_curves(a, b, 1e-4)
    assert all(c.dtype == np.float32 for c in b.coefs_ + b.intercepts_)


@pytest.mark.parametrize("loss", ("squared_error", "poisson"))
@pytest.mark.parametrize("n_targets", (1, 3))
def test_trajectory_of_regression(loss, n_targets):
    X, y = make_regression(300, 8, n_targets=n_targets, random_state=0)
    y = np.abs(y) / 50
    weights = np.random.default_rng(0).random(300)
    models = pair("MLPRegressor", loss, (10,), random_state=2, max_iter=40)
    a, b = (model.fit(X, y, weights) for model in models)
    same_curves(a, b, 1e-8)
    np.testing.assert_allclose(b.predict(X), a.predict(X), rtol=1e-6, atol=1e-9)
    assert b.predict(X).shape == y.shape


def test_several_labels_a_row():
    X, y = make_multilabel_classification(80, random_state=0)
    a, b = (m.fit(X, y) for m in pair("MLPClassifier", 6, random_state=0, max_iter=30))
    same_curves(a, b, 1e-8)
    np.testing.assert_array_equal(a.predict(X), b.predict(X))


def test_partial_fit_and_warm_start_go_on(digits):
    X, y = digits
    a, b = pair("MLPClassifier", 8, random_state=0, learning_rate_init=0.01)
    for model in (a, b):
        for start in (0, 200, 400, 0):
            model.partial_fit(X[start : start + 200], y[start : start + 200], classes=np.unique(y))
    same_curves(a, b, 1e-8)
    assert b.n_iter_ == a.n_iter_ == 1
    assert len(b.history_["loss"]) == 4
    assert (np.diff(b.history_["seconds"]) > 0).all()
    a, b = pair(
        "MLPClassifier", 8, random_state=0, max_iter=7, warm_start=True, solver="sgd",
        learning_rate="invscaling",
    )  # fmt: skip
    for model in (a, b):
        model.fit(X, y).fit(X, y)
    same_curves(a, b, 1e-8)
    assert (b.n_iter_, b.t_) == (a.n_iter_, a.t_)


def test_a_given_generator_is_advanced_alike(digits):
    generators = [np.random.RandomState(5) for _ in range(2)]
    for module, generator in zip((theirs, schuss), generators, strict=True):
        module.MLPClassifier(4, random_state=generator, tol=0.1, max_iter=60).fit(*digits)
    assert generators[0].randint(1 << 30) == generators[1].randint(1 << 30)


@pytest.mark.parametrize("dtype", ("uint8", "int8", "float16"))
def test_small_types_train_float32(dtype):
    X, y = load_digits(return_X_y=True)
    X = X[:200]
    read, wide = (
        MLPClassifier(10, random_state=0, max_iter=15).fit(X.astype(t), y[:200])
        for t in (dtype, np.float32)
    )
    assert read.coefs_[0].dtype == np.float32
    for a, b in zip(read.coefs_, wide.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(read.predict(X.astype(dtype)), wide.predict(X))


def test_threads_do_not_change_a_bit(monkeypatch, digits):
    monkeypatch.setattr("schuss.threads.MIN_ELEMENTS_PER_THREAD", 1000)
    monkeypatch.setattr("schuss.objective._BATCH_PER_THREAD", 1000)
    fitted = []
    for n_threads in ("1", "2", "3", "8"):
        monkeypatch.setenv("SCHUSS_NUM_THREADS", n_threads)
        model = MLPClassifier((30, 20), random_state=0, max_iter=5).fit(*digits)
        fitted.append([*model.coefs_, *model.intercepts_, model.predict_proba(digits[0])])
    for other in fitted[1:]:
        for a, b in zip(fitted[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_backends_agree(digits):
    curves = []
    for name in ("cython", "numba", "numpy"):
        pytest.importorskip("numba" if name == "numba" else "numpy")
        with schuss.use_backend(name):
            curves.append(MLPClassifier(6, random_state=0, max_iter=8).fit(*digits).loss_curve_)
    np.testing.assert_allclose(curves[1:], curves[:1] * 2, rtol=1e-10)


@pytest.mark.parametrize("loss", ("log_loss", "squared_error"))
def test_xor_is_learnt(loss):
    learnt = 0
    for seed in range(10):
        model = MLPClassifier(
            (4,), "logistic", solver="sgd", learning_rate_init=1.0, batch_size=4, max_iter=5000,
            tol=0, n_iter_no_change=5000, alpha=0, random_state=seed,
        ).fit(*XOR, loss=loss)  # fmt: skip
        learnt += model.score(*XOR) == 1
    assert learnt >= 9  # some starts lie in the basin of a poor minimum


def test_squared_error_for_several_classes(digits):
    model = MLPClassifier(20, "logistic", random_state=0, max_iter=300, learning_rate_init=0.01)
    model.set_params(tol=0).fit(*digits, loss="squared_error")
    assert model.out_activation_ == "logistic"
    assert model.score(*digits) > 0.95
    np.testing.assert_allclose(model.predict_proba(digits[0]).sum(axis=1), 1)


def test_history_and_stop_reason(digits):
    model = MLPClassifier(8, random_state=0, max_iter=6).fit(*digits)
    assert (model.stop_reason_, model.converged_) == ("max_iter", False)
    assert set(model.history_) == {"loss", "gradient_norm", "step", "seconds"}
    np.testing.assert_array_equal(model.history_["loss"], model.loss_curve_)
    assert (model.history_["gradient_norm"] > 0).all()
    model.set_params(tol=0.5, max_iter=200).fit(*digits)
    assert (model.stop_reason_, model.converged_) == ("converged", True)


def test_max_iter_warns(digits):
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(3\) reached"):
        MLPClassifier(4, max_iter=3).fit(*digits)


def test_eval_set_is_recorded(digits):
    X, y = digits
    model = MLPClassifier(8, random_state=0, max_iter=6)
    model.fit(X[:400], y[:400], eval_set=(X[400:], y[400:]))
    recorded = model.history_["validation_loss"]
    assert recorded.shape == (6,)
    p = model.predict_proba(X[400:])
    assert recorded[-1] == pytest.approx(-np.log(p[np.arange(200), y[400:]]).mean(), rel=1e-9)


def test_eval_set_must_fit_the_type_of_the_weights(digits):
    X, y = digits
    X = X.astype(np.float32)
    with pytest.raises(ValueError, match="eval_set: Input X as float32 contains infinity"):
        MLPClassifier((3,), max_iter=1).fit(X, y, eval_set=(X.astype(float) * 1e300, y))


def test_eval_set_decides_with_early_stopping(digits):
    X, y = digits
    model = MLPClassifier(20, random_state=0, early_stopping=True, max_iter=300, batch_size=32)
    model.fit(X[:400], y[:400], eval_set=(X[400:], y[400:]))
    assert model.stop_reason_ == "early_stopping"
    assert len(model.validation_scores_) == model.n_iter_
    assert model.score(X[400:], y[400:]) == max(model.validation_scores_)


def after(model, X, y, go_on):
    """The weights, once the model has gone on."""
    if go_on == "warm start":
        model.set_params(warm_start=True, max_iter=1).fit(X, y)
    else:
        model.partial_fit(X, y)
    return np.concatenate([a.ravel() for a in (*model.coefs_, *model.intercepts_)])


@pytest.mark.parametrize("go_on", ["partial_fit", "warm start"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_the_loss_of_fit_is_that_of_what_goes_on(go_on, n_classes):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((90, 4))
    y = np.digitize(X[:, 0], [-0.5, 0.5][: n_classes - 1])

    def fit(loss, **options):
        model = MLPClassifier((5,), random_state=0, max_iter=2, batch_size=90, shuffle=False)
        return model.fit(X, y, loss=loss, **options)

    model = pickle.loads(pickle.dumps(fit("squared_error")))
    assert model.out_activation_ == "logistic"
    p = fit("squared_error").partial_fit(X, y)._forward_pass_fast(X)
    targets = np.eye(3)[y] if n_classes == 3 else y[:, None]
    theta = after(model, X, y, go_on)
    # The third epoch of one run, whose cost is that of the weights before it.
    peer = MLPClassifier((5,), random_state=0, max_iter=3, batch_size=90, shuffle=False)
    peer.fit(X, y, loss="squared_error")
    np.testing.assert_allclose(model.loss_, peer.loss_, rtol=1e-9)
    np.testing.assert_allclose(((p - targets) ** 2).sum() / 180, model.loss_, rtol=0.1)
    assert np.isfinite(theta).all()
    # Another loss may be chosen, and a fit from the start forgets it.
    assert model.set_params(warm_start=True).fit(X, y, loss="log_loss")
    assert model.out_activation_ == ("softmax" if n_classes == 3 else "logistic")
    fresh = fit("squared_error").fit(X, y)
    np.testing.assert_array_equal(fresh.coefs_[0], fit("log_loss").coefs_[0])


@pytest.mark.parametrize("go_on", ["partial_fit", "warm start"])
@pytest.mark.parametrize("several", [False, True], ids=["labels", "several labels a row"])
@pytest.mark.parametrize("class_weight", ["balanced", "given"])
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_the_class_weight_of_fit_is_that_of_what_goes_on(go_on, several, class_weight):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((90, 4))
    y = np.digitize(X[:, 0], [-0.5, 1.0])
    if several:
        y = (np.column_stack([X[:, 0] > 1, X[:, 1] > 0])).astype(int)
    if class_weight == "given":
        class_weight = [{0: 1, 1: 3}, {0: 2, 1: 1}] if several else {0: 5}

    def fit(**options):
        return MLPClassifier((5,), random_state=0, max_iter=2).fit(X, y, **options)

    weights = compute_sample_weight(class_weight, y)
    explicit = fit(sample_weight=weights)
    model = pickle.loads(pickle.dumps(fit(class_weight=class_weight)))
    if go_on == "partial_fit":
        # Rows of one class have the factors that all rows gave.
        part = y[:, 0] == 1 if several else y == 2
        explicit.partial_fit(X[part], y[part], weights[part])
        model.partial_fit(X[part], y[part])
    else:
        explicit.set_params(warm_start=True).fit(X, y, weights)
        model.set_params(warm_start=True).fit(X, y)
    np.testing.assert_allclose(model.coefs_[0], explicit.coefs_[0], rtol=1e-12)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.filterwarnings("ignore:lbfgs failed")
def test_warm_starts_go_from_any_state_to_any_other(digits):
    """Solver and early stopping changed between fits."""
    states = [
        {"solver": solver, "early_stopping": early}
        for solver in ("lbfgs", "sgd", "adam")
        for early in (False, True)
    ]
    for first in states:
        for second in states:
            model = MLPClassifier((4,), max_iter=2, warm_start=True, random_state=0)
            model.set_params(**first).fit(*digits)
            model.set_params(**second).fit(*digits)
            assert len(model.history_["loss"]) == model.n_iter_ == 2


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_a_loss_that_is_changed_takes_effect_at_the_next_fit():
    X = np.random.default_rng(0).random((50, 3))
    model = MLPRegressor(hidden_layer_sizes=(3,), max_iter=3, warm_start=True, random_state=0)
    before = model.fit(X, X[:, 0]).predict(X)
    np.testing.assert_array_equal(model.set_params(loss="poisson").predict(X), before)
    assert (model.fit(X, X[:, 0]).predict(X) > 0).all() and model.out_activation_ == "exp"


def test_class_weight_is_a_sample_weight(digits):
    X, y = digits[0], (digits[1] == 3).astype(int)
    factors = {0: 0.5, 1: 3.0}
    weighted = MLPClassifier(5, random_state=0, max_iter=5).fit(X, y, class_weight=factors)
    same = MLPClassifier(5, random_state=0, max_iter=5)
    same.fit(X, y, np.where(y == 1, 3.0, 0.5))
    np.testing.assert_array_equal(weighted.coefs_[0], same.coefs_[0])
    balanced = MLPClassifier(5, random_state=0, max_iter=5).fit(X, y, class_weight="balanced")
    assert balanced.predict_proba(X)[:, 1].mean() > same.predict_proba(X)[:, 1].mean() / 2


@pytest.mark.parametrize("solver", ("adam", "lbfgs"))
def test_callbacks(digits, solver):
    seen = []

    def stop(info):
        seen.append((info.n_iter, info.loss, [c.shape for c in info.coef]))
        return info.n_iter >= 4

    stop.every = 2
    model = MLPClassifier((6, 5), solver=solver, random_state=0, max_iter=50)
    model.fit(*digits, callbacks=stop)
    assert model.stop_reason_ == "callback"
    assert [n for n, *_ in seen] == [2, 4]
    assert seen[-1][2] == [(64, 6), (6, 5), (5, 10)]
    assert model.n_iter_ == 4
    assert threading.active_count() < 10


def test_a_failed_warm_start_leaves_the_scores_as_they_were(digits):
    def fail(info):
        if info.n_iter == 2:
            raise RuntimeError

    fail.every = 1
    model = MLPClassifier((4,), early_stopping=True, warm_start=True, max_iter=3, random_state=0)
    scores = model.fit(*digits).validation_scores_
    before = list(scores)
    with pytest.raises(RuntimeError):
        model.fit(*digits, callbacks=fail)
    assert model.validation_scores_ == before
    model.fit(*digits)
    assert model.validation_scores_[: len(before)] == before == scores
    assert len(model.validation_scores_) > len(before)


@pytest.mark.parametrize("solver", ("sgd", "lbfgs"))
def test_divergence_says_how_far_it_came(solver):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((200, 5)), rng.standard_normal(200)
    scale = 1.0 if solver == "sgd" else 1e200
    model = MLPRegressor(
        hidden_layer_sizes=(10, 10), activation="identity", solver=solver, random_state=0,
        learning_rate_init=10.0, max_iter=100,
    )  # fmt: skip
    with pytest.raises(DivergenceError, match="learning_rate_init|scale the features") as caught:
        model.fit(X * scale, y * scale)
    assert np.isfinite(caught.value.history["loss"]).all()
    assert caught.value.learning_rate == (10.0 if solver == "sgd" else None)


@pytest.mark.parametrize("solver", ("adam", "lbfgs"))
def test_ctrl_c_keeps_what_was_learnt(solver):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((4000, 50)), rng.integers(0, 2, 4000)
    model = MLPClassifier((60, 60), solver=solver, max_iter=100_000, tol=0, max_fun=10**9,
                          n_iter_no_change=10**6)  # fmt: skip
    timer = threading.Timer(0.2, signal.raise_signal, (signal.SIGINT,))

    def begin(info):
        # Not before the run is under way: Numba compiles first.
        if timer.ident is None:
            timer.start()

    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, y, callbacks=begin)
    assert model.n_iter_ < model.max_iter
    assert model.stop_reason_ == "interrupted"
    assert all(np.isfinite(c).all() for c in model.coefs_)
    model.predict(X[:2])


def test_a_failing_fit_changes_nothing(digits):
    X, y = digits
    model = MLPClassifier(5, random_state=0, max_iter=3).fit(X, y)
    before = vars(model).copy()

    def fail(info):
        raise RuntimeError("from the callback")

    for arguments, options in (
        ((X[:, :5], y[:10]), {}),
        ((X, y), {"callbacks": fail}),
        ((X, y), {"eval_set": (X, y + 90)}),
        ((X, y), {"sample_weight": -np.ones(len(y))}),
    ):
        with pytest.raises((ValueError, RuntimeError)):
            model.fit(*arguments, **options)
        assert vars(model).keys() == before.keys()
        assert all(vars(model)[k] is before[k] for k in before)


@pytest.mark.parametrize(
    ("parameters", "options", "message"),
    (
        ({"hidden_layer_sizes": (4, 0)}, {}, r"hidden_layer_sizes must be > 0, got \[4, 0\]"),
        ({"hidden_layer_sizes": (2.5,)}, {}, "whole numbers"),
        ({"hidden_layer_sizes": (3, True)}, {}, "whole numbers"),
        ({"activation": "sigmoid"}, {}, "activation"),
        ({}, {"eval_set": 3}, "eval_set: got int"),
        ({}, {"eval_set": (XOR[0], XOR[1] + 5)}, "eval_set: y holds labels that are not among"),
        ({}, {"class_weight": {7: 1.0}}, "class_weight"),
        ({}, {"class_weight": []}, "class_weight"),
        ({}, {"loss": "hinge"}, "The 'loss' parameter of MLPClassifier must be a str among"),
        ({}, {"sample_weight": [1, 1, 1, -1]}, "Negative values in data passed to `sample_w"),
    ),
)
def test_bad_input(parameters, options, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**parameters).fit(*XOR, **options)


def test_targets_that_poisson_does_not_know():
    with pytest.raises(ValueError, match="loss='poisson' expects 0 or more"):
        MLPRegressor("poisson").fit(XOR[0], [1.0, 2.0, -1.0, 0.0])


def test_warm_start_of_another_shape():
    model = MLPClassifier(4, warm_start=True, max_iter=2).fit(*XOR)
    with pytest.raises(ValueError, match="hidden_layer_sizes and this data need"):
        model.set_params(hidden_layer_sizes=(5,)).fit(*XOR)


def test_partial_fit_refuses_unseen_classes():
    model = MLPClassifier(4).partial_fit(*XOR, classes=[0, 1])
    with pytest.raises(ValueError, match="not among the classes: 2"):
        model.partial_fit(XOR[0], [0, 1, 2, 0])


def test_no_hidden_layer_is_logistic_regression(digits):
    a, b = (m.fit(*digits) for m in pair("MLPClassifier", (), random_state=0, max_iter=10))
    same_curves(a, b, 1e-8)


def test_pickle_and_clone(digits):
    model = MLPClassifier(4, random_state=0, max_iter=3).fit(*digits)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(digits[0]), model.predict_proba(digits[0]))
    again.partial_fit(*digits)
    model.partial_fit(*digits)
    assert again.loss_ == model.loss_
    assert clone(model).get_params() == model.get_params()


def test_weights_of_ones_change_nothing(digits):
    a, b = (
        MLPClassifier(4, random_state=0, max_iter=3).fit(*digits, sample_weight=w)
        for w in (None, np.ones(len(digits[1])))
    )
    np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=1e-12)


@pytest.mark.parametrize("solver", ("adam", "sgd", "lbfgs"))
def test_a_power_of_two_in_weights_and_penalty_changes_nothing(digits, solver):
    """Weights and sums of them that float32 could not hold, too."""
    X, y = digits[0].astype(np.float32), digits[1]
    weights = np.random.default_rng(0).integers(1, 5, len(y)).astype(float)
    fits = []
    for exponent in (0, -400, 400):
        model = MLPClassifier(
            4, solver=solver, random_state=0, max_iter=3, alpha=np.ldexp(1e-2, exponent)
        )
        fits.append(model.fit(X, y, sample_weight=np.ldexp(weights, exponent)))
    for other in fits[1:]:
        np.testing.assert_array_equal(other.coefs_[0], fits[0].coefs_[0])
        assert other.loss_ == fits[0].loss_


def test_nothing_is_printed_or_warned_in_silence(digits, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MLPClassifier(4, max_iter=500, tol=0.1).fit(*digits)
    assert capsys.readouterr().out == ""
    MLPClassifier(4, max_iter=2, verbose=True).fit(*digits)
    assert capsys.readouterr().out.startswith("Iteration 1, loss = ")


def test_lbfgs_that_the_cost_ends_has_not_converged(digits):
    model = schuss.MLPClassifier((5,), solver="lbfgs", alpha=1.0, tol=1e-12, max_iter=2000)
    with pytest.warns(ConvergenceWarning, match=r"largest entry of the gradient is .* tol=1e-12"):
        model.set_params(random_state=0).fit(digits[0][:100], digits[1][:100] % 2)
    assert model.stop_reason_ == "precision" and not model.converged_
    assert model.history_["gradient_norm"][-1] > 1e-12
