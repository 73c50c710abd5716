"""The estimators: labels, targets, predictions, and the ways to go on training."""

import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from joblib import parallel_config
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier

import schuss
from schuss import (
    DivergenceError,
    SigmoidClassifier,
    SigmoidRegressor,
    backends,
    train,
    validation,
)
from schuss.objective import Objective
from schuss.training import Rows, hold_out

# Most tests do not train to the end.
pytestmark = pytest.mark.filterwarnings("ignore:Not converged")


@pytest.fixture
def rows():
    rng = np.random.default_rng(11)
    X = rng.standard_normal((240, 6))
    return X, np.where(X[:, 0] - X[:, 1] + rng.standard_normal(240) > 0, "yes", "no")


@pytest.fixture
def several():
    rng = np.random.default_rng(12)
    y = rng.integers(0, 4, 300)
    return rng.standard_normal((300, 5)) + 2 * np.eye(4, 5)[y], y * 10 - 7


def test_it_is_train_with_labels(rows):
    X, y = rows
    model = SigmoidClassifier(loss="log_loss", alpha=0.01, max_iter=200, tol=0).fit(X, y)
    result = train(X, y == "yes", loss="log_loss", alpha=0.01, epochs=200)
    np.testing.assert_array_equal(model.coef_[0], result.coef)
    np.testing.assert_array_equal(model.intercept_, result.intercept)
    np.testing.assert_array_equal(model.history_["loss"], result.history["loss"])
    assert model.loss_ == result.loss and model.n_iter_ == 200
    assert model.classes_.tolist() == ["no", "yes"] and model.coef_.shape == (1, 6)
    assert model.learning_rate_ == result.history["step"][0]
    assert model.stop_reason_ == "max_iter" and model.converged_ is False


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([True, False], [False, True]),
        (np.array([1, 0], np.int8), [0, 1]),
        (np.array([-128, 127], np.int8), [-128, 127]),
        (np.array([0, 2**64 - 1], np.uint64), [0, 2**64 - 1]),
        ([-1, 1], [-1, 1]),
        ([0.0, 1.0], [0.0, 1.0]),
        ([10**12, 5], [5, 10**12]),
        (["b", "a"], ["a", "b"]),
        (np.array(["b", "a"], object), ["a", "b"]),
    ],
)
def test_labels_of_any_kind(labels, classes):
    X = np.arange(20.0)[:, None]
    y = np.asarray(labels)[(np.arange(20) >= 10).astype(int)]
    model = SigmoidClassifier(solver="adaptive").fit(X, y)
    assert model.classes_.tolist() == classes
    assert model.classes_.dtype == y.dtype
    np.testing.assert_array_equal(model.predict(X[[0, -1]]), y[[0, -1]])


def test_several_classes_are_one_neuron_each(several):
    X, y = several
    options = {"loss": "log_loss", "max_iter": 100, "tol": 0, "learning_rate": 0.5}
    model = SigmoidClassifier(**options).fit(X, y)
    peer = OneVsRestClassifier(SigmoidClassifier(**options)).fit(X, y)
    assert model.coef_.shape == (4, 5) and model.intercept_.shape == (4,)
    np.testing.assert_allclose(
        model.coef_, np.vstack([one.coef_ for one in peer.estimators_]), rtol=1e-10
    )
    np.testing.assert_allclose(model.predict_proba(X), peer.predict_proba(X), rtol=1e-9)
    np.testing.assert_array_equal(model.predict(X), peer.predict(X))
    assert model.decision_function(X).shape == (300, 4)
    assert model.score(X, y) > 0.75


def test_more_than_256_classes():
    X = np.eye(300)
    y = np.arange(300)[::-1]
    model = SigmoidClassifier(solver="nesterov", max_iter=300).fit(X, y)
    assert model.score(X, y) == 1.0


def test_probabilities_keep_their_digits(rows):
    X, y = rows
    model = SigmoidClassifier().fit(X, y)
    model.coef_ = np.zeros((1, 6))
    model.coef_[0, 0] = 1.0
    model.intercept_ = np.zeros(1)
    z = np.array([-1e3, -40.0, 0.0, 40.0, 1e3])
    rows_of_z = np.zeros((5, 6))
    rows_of_z[:, 0] = z
    np.testing.assert_array_equal(model.decision_function(rows_of_z), z)
    proba, logs = model.predict_proba(rows_of_z), model.predict_log_proba(rows_of_z)
    np.testing.assert_allclose(proba[3], [np.exp(-40.0), 1.0], rtol=1e-14)
    np.testing.assert_allclose(proba[1], [1.0, np.exp(-40.0)], rtol=1e-14)
    np.testing.assert_array_equal(logs[[0, 4]], [[0.0, -1e3], [-1e3, 0.0]])
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-15)


def test_probabilities_of_several_classes_where_all_neurons_say_no(several):
    model = SigmoidClassifier(max_iter=5).fit(*several)
    model.coef_ = np.zeros((4, 5))
    model.intercept_ = np.array([-1000.0, -1001.0, -1e4, -1e5])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logs, proba = (
            model.predict_log_proba(np.zeros((1, 5))),
            model.predict_proba(np.zeros((1, 5))),
        )
    assert np.isfinite(logs).all()
    np.testing.assert_allclose(proba[0, :2], [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))])


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8, np.int8])
def test_narrow_features_train_float32_weights(dtype):
    rng = np.random.default_rng(3)
    X = rng.integers(0, 100, (100, 3)).astype(dtype)
    y = X[:, 0] > X[:, 1]
    model = SigmoidClassifier(solver="nesterov").fit(X, y)
    assert model.coef_.dtype == np.float32
    assert model.predict_proba(X).dtype == np.float32
    assert model.predict_proba(X.astype(float)).dtype == np.float64
    assert model.score(X, y) > 0.9


def test_class_weights_are_sample_weights(rows):
    X, y = rows
    keep = np.r_[np.flatnonzero(y == "no"), np.flatnonzero(y == "yes")[:30]]
    X, y = X[keep], y[keep]
    options = {"max_iter": 100, "tol": 0}
    weights = np.where(y == "no", 0.5, 3.0)
    by_sample = SigmoidClassifier(**options).fit(X, y, weights)
    by_class = SigmoidClassifier(class_weight={"no": 0.5, "yes": 3.0}, **options).fit(X, y)
    np.testing.assert_allclose(by_class.coef_, by_sample.coef_, rtol=1e-12)
    balanced = SigmoidClassifier(class_weight="balanced", **options).fit(X, y)
    counts = {label: np.sum(y == label) for label in ("no", "yes")}
    by_sample.fit(X, y, [len(y) / (2 * counts[label]) for label in y])
    np.testing.assert_allclose(balanced.coef_, by_sample.coef_, rtol=1e-12)
    both = SigmoidClassifier(class_weight={"no": 0.5, "yes": 3.0}, **options).fit(X, y, weights)
    np.testing.assert_allclose(both.coef_, by_sample.fit(X, y, weights**2).coef_, rtol=1e-12)


def test_warm_start_goes_on(rows):
    X, y = rows
    model = SigmoidClassifier(max_iter=30, tol=0, warm_start=True)
    model.fit(X, y).fit(X, y)
    straight = SigmoidClassifier(max_iter=60, tol=0).fit(X, y)
    np.testing.assert_array_equal(model.coef_, straight.coef_)
    assert model.n_iter_ == 30
    cold = model.set_params(warm_start=False).fit(X, y)
    np.testing.assert_array_equal(cold.coef_, SigmoidClassifier(max_iter=30, tol=0).fit(X, y).coef_)


def test_warm_start_refuses_other_problems(rows):
    X, y = rows
    model = SigmoidClassifier(max_iter=3, warm_start=True).fit(X, y)
    with pytest.raises(
        ValueError, match=r"shape \(1, 6\), expected shape \(1, 4\).*warm_start=False"
    ):
        model.fit(X[:, :4], y)
    with pytest.raises(ValueError, match="labels that are not among the classes: 'maybe'"):
        model.fit(X, np.where(y == "yes", "maybe", "no"))


@pytest.mark.parametrize("solver", ["gd", "momentum", "nesterov", "adam"])
def test_partial_fit_is_one_epoch_of_the_same_run(rows, solver):
    X, y = rows
    options = {"solver": solver, "batch_size": 300 if solver == "adam" else None}
    model = SigmoidClassifier(**options)
    for _ in range(25):
        model.partial_fit(X, y, classes=["no", "yes"])
    straight = SigmoidClassifier(max_iter=25, tol=0, **options).fit(X, y)
    np.testing.assert_array_equal(model.coef_, straight.coef_)
    np.testing.assert_array_equal(model.history_["loss"], straight.history_["loss"])
    assert model.n_iter_ == 25 and np.all(np.diff(model.history_["seconds"]) > 0)


def test_partial_fit_over_parts(rows):
    X, y = rows
    model = SigmoidClassifier(loss="log_loss", random_state=0)
    for _ in range(40):
        for part in np.array_split(np.arange(len(y)), 4):
            model.partial_fit(X[part], y[part], classes=["no", "yes"])
    whole = SigmoidClassifier(loss="log_loss", solver="nesterov").fit(X, y)
    assert model.score(X, y) >= whole.score(X, y) - 0.03
    assert model.n_iter_ == 160
    again = pickle.loads(pickle.dumps(model)).partial_fit(X, y)
    np.testing.assert_array_equal(again.coef_, model.partial_fit(X, y).coef_)


def test_partial_fit_goes_on_after_fit(rows):
    X, y = rows
    model = SigmoidClassifier(max_iter=10, tol=0).fit(X, y).partial_fit(X, y)
    np.testing.assert_array_equal(
        model.coef_, SigmoidClassifier(max_iter=11, tol=0).fit(X, y).coef_
    )
    assert model.n_iter_ == 11


def test_partial_fit_says_what_it_needs(rows):
    X, y = rows
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        SigmoidClassifier().partial_fit(X, y)
    with pytest.raises(ValueError, match="only one class, 'no'"):
        SigmoidClassifier().partial_fit(X[y == "no"], y[y == "no"], classes=["no"])
    model = SigmoidClassifier().partial_fit(X[:5], y[:5], classes=["no", "yes"])
    with pytest.raises(ValueError, match="not the same as on last call"):
        model.partial_fit(X, y, classes=["no", "yes", "maybe"])
    with pytest.raises(ValueError, match="not among the classes: 'maybe'"):
        model.partial_fit(X[:1], ["maybe"])
    with pytest.raises(ValueError, match="'balanced' is not supported for partial_fit"):
        SigmoidClassifier(class_weight="balanced").partial_fit(X, y, classes=["no", "yes"])
    with pytest.raises(ValueError, match="4 features, but .* is expecting 6"):
        model.partial_fit(X[:, :4], y)


def test_early_stopping_keeps_the_best_weights():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 100))
    y = rng.random(120) < 1 / (1 + np.exp(-X[:, 0]))
    model = SigmoidClassifier(
        loss="log_loss", solver="nesterov", early_stopping=True, max_iter=500, random_state=1,
        validation_fraction=0.3, tol=1e-5,
    ).fit(X, y)  # fmt: skip
    losses = model.history_["validation_loss"]
    assert model.stop_reason_ == "early_stopping" and model.converged_
    assert model.n_iter_ == len(losses) < 500
    assert np.argmin(losses) < len(losses) - 5
    # Stopping there by hand, on the same rows, gives the same weights.
    peer = clone(model).set_params(max_iter=int(np.argmin(losses)) + 1).fit(X, y)
    np.testing.assert_array_equal(model.coef_, peer.coef_)


def test_early_stopping_holds_out_each_class(several):
    X, y = several
    model = SigmoidClassifier(early_stopping=True, max_iter=20, random_state=0).fit(X, y)
    assert model.classes_.tolist() == [-7, 3, 13, 23]
    assert len(model.history_["validation_loss"]) == model.n_iter_
    rare = np.repeat([0, 1, 2], [270, 20, 10])
    learnt, held = hold_out(Rows(X, rare, None), 0.1, np.random.RandomState(0), stratify=rare)
    np.testing.assert_array_equal(np.bincount(rare[learnt]), [243, 18, 9])
    np.testing.assert_array_equal(np.bincount(held.y), [27, 2, 1])
    assert len(learnt) == 270 and len(held.X) == 30


@pytest.mark.parametrize("solver", ["gd", "nesterov", "adaptive", "sgd", "adam"])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_early_stopping_learns_from_the_other_rows_as_if_they_were_all(
    rows, solver, shuffle, weighted
):
    X, y = rows
    weight = np.random.default_rng(1).random(len(X)) + 0.5 if weighted else None
    options = {"solver": solver, "shuffle": shuffle, "max_iter": 30, "alpha": 1e-3, "tol": 0}
    codes = (y == "yes").astype(np.uint8)
    learnt, held = hold_out(Rows(X, codes, weight), 0.1, np.random.RandomState(3), stratify=codes)
    model, peer = (
        SigmoidClassifier(early_stopping=True, random_state=3, **options) for _ in range(2)
    )
    model.fit(X, y, weight)
    alone = X[learnt], y[learnt], None if weight is None else weight[learnt]
    peer.fit(*alone, eval_set=(held.X, np.array(["no", "yes"])[held.y]))
    names = ("loss", "gradient_norm", "step") if weighted else ("loss", "step", "validation_loss")
    for name in names:
        # What the weights do to the rows held out, eval_set does not know: it may stop earlier.
        n = min(model.n_iter_, peer.n_iter_) if weighted else peer.n_iter_
        one, other = model.history_[name][:n], peer.history_[name][:n]
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-12)
    if not weighted:
        np.testing.assert_allclose(model.coef_, peer.coef_, rtol=1e-7)


@pytest.mark.parametrize("solver", ["nesterov", "sgd"])
def test_rows_are_held_out_without_a_copy_of_the_others(solver):
    X = np.random.default_rng(0).standard_normal((120_000, 40))
    model = SigmoidClassifier(solver=solver, early_stopping=True, max_iter=3, batch_size=None)
    tracemalloc.start()
    try:
        model.fit(X, X[:, 0] > 0)
        assert tracemalloc.get_traced_memory()[1] < 0.5 * X.nbytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("fraction", [1e-6, 0.999])
def test_early_stopping_names_a_fraction_that_holds_out_too_much_or_little(rows, fraction):
    model = SigmoidClassifier(early_stopping=True, validation_fraction=fraction)
    with pytest.raises(ValueError, match=f"validation_fraction={fraction} of .* rows.*eval_set"):
        model.fit(*rows)


def test_eval_set_is_recorded_and_can_stop(rows):
    X, y = rows
    fitted, held = slice(0, 150), slice(150, None)
    model = SigmoidClassifier(loss="log_loss", max_iter=40, tol=0)
    model.fit(X[fitted], y[fitted], eval_set=(X[held], y[held]))
    last = model.history_["validation_loss"][-1]
    p = model.predict_proba(X[held])[:, 1]
    truth = y[held] == "yes"
    assert last == pytest.approx(-np.log(np.where(truth, p, 1 - p)).mean(), rel=1e-12)
    unwatched = SigmoidClassifier(loss="log_loss", max_iter=40, tol=0).fit(X[fitted], y[fitted])
    np.testing.assert_array_equal(model.coef_, unwatched.coef_)
    stopped = SigmoidClassifier(early_stopping=True, tol=1e-2, n_iter_no_change=3)
    stopped.fit(X[fitted], y[fitted], eval_set=(X[held].astype(np.float32), y[held]))
    assert stopped.stop_reason_ == "early_stopping" and stopped.n_iter_ < 100


def test_eval_set_is_checked(rows):
    X, y = rows
    model = SigmoidClassifier(max_iter=3)
    with pytest.raises(ValueError, match=r"eval_set: got int, expected a pair \(X, y\)"):
        model.fit(X, y, eval_set=3)
    with pytest.raises(ValueError, match="eval_set: X has 4 features"):
        model.fit(X, y, eval_set=(X[:, :4], y))
    with pytest.raises(ValueError, match="eval_set: y holds labels that are not among"):
        model.fit(X, y, eval_set=(X, np.full(len(y), "maybe")))
    with pytest.raises(ValueError, match="eval_set: y has 2 rows, but X has 240"):
        model.fit(X, y, eval_set=(X, y[:2]))


def test_max_iter_warns_with_gradient_and_tol(rows):
    with pytest.warns(ConvergenceWarning, match=r"max_iter=3 .*gradient is 0\.\d+, above tol=1e-0"):
        SigmoidClassifier(max_iter=3, tol=1e-9).fit(*rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SigmoidClassifier(max_iter=3, tol=0).fit(*rows)
        SigmoidClassifier(solver="nesterov", max_iter=3000).fit(*rows)


def test_divergence_leaves_the_estimator_usable(rows):
    X, y = rows
    model = SigmoidClassifier(max_iter=50, tol=0, warm_start=True).fit(X, y)
    before = model.coef_.copy()
    with pytest.raises(DivergenceError, match="learning_rate=1000 is too large") as caught:
        model.set_params(learning_rate=1000.0, loss="log_loss", max_iter=500).fit(X, y)
    assert model.stop_reason_ == "max_iter"
    np.testing.assert_array_equal(model.coef_, before)
    losses = caught.value.history["loss"]
    assert np.isfinite(losses).all() and losses[-1] > losses[0]
    model.predict_proba(X)
    model.set_params(learning_rate="auto").fit(X, y)
    assert model.stop_reason_ == "max_iter"


def test_bad_labels_are_named(rows):
    X, y = rows
    model = SigmoidClassifier()
    with pytest.raises(ValueError, match="y holds only one class, 'a'"):
        model.fit(X, np.full(len(y), "a"))
    with pytest.raises(ValueError, match="Unknown label type: .*use SigmoidRegressor"):
        model.fit(X, np.linspace(0, 1, len(y)))
    with pytest.raises(ValueError, match="Input y contains NaN"):
        model.fit(X, np.where(y == "yes", 1.0, np.nan))
    with pytest.raises(ValueError, match="requires y"):
        model.fit(X, None)
    with pytest.raises(ValueError, match="y has 3 rows, but X has 240"):
        model.fit(X, y[:3])
    with pytest.raises(ValueError, match="'solver' parameter of Sigmoid.*Got 'newton-cg'"):
        SigmoidClassifier(solver="newton-cg").fit(X, y)
    with pytest.raises(ValueError, match="'yes'.* not in class_weight"):
        SigmoidClassifier(class_weight={"maybe": 2.0, "no": 1.0}).fit(X, y)


def test_bad_features_at_predict_are_named(rows):
    X, y = rows
    with pytest.raises(NotFittedError):
        SigmoidClassifier().predict_proba(X)
    model = SigmoidClassifier(max_iter=5).fit(X, y)
    for method in (model.predict, model.predict_proba, model.decision_function):
        with pytest.raises(ValueError, match="X has 5 features, but .* is expecting 6"):
            method(X[:, :5])
        with pytest.raises(ValueError, match="Input X contains NaN"):
            method(np.full((1, 6), np.nan))
        with pytest.raises(ValueError, match="Found array with 0 sample"):
            method(X[:0])


def test_sparse_equals_dense(several):
    X, y = several
    X = np.where(np.abs(X) > 1, X, 0)
    dense = SigmoidClassifier(max_iter=50).fit(X, y)
    sparse = SigmoidClassifier(max_iter=50).fit(sp.csr_array(X), y)
    np.testing.assert_allclose(sparse.coef_, dense.coef_, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(
        sparse.predict_proba(sp.csc_array(X)), dense.predict_proba(X), rtol=1e-9
    )


def test_it_works_in_a_grid_search_over_threads(rows):
    model = SigmoidClassifier(loss="log_loss", max_iter=30)
    grid = GridSearchCV(model, {"alpha": [0.0, 0.1]}, cv=3, n_jobs=2)
    with parallel_config("threading"):
        assert grid.fit(*rows).best_score_ > 0.7


def test_regressor_learns_soft_labels():
    rng = np.random.default_rng(7)
    X = rng.standard_normal((200, 3))
    y = 1 / (1 + np.exp(-(X @ [1.5, -2.0, 0.5] + 0.25)))
    for loss in ("squared_error", "log_loss"):
        model = SigmoidRegressor(loss=loss, solver="nesterov", tol=1e-9, max_iter=5000).fit(X, y)
        assert model.coef_.shape == (3,) and isinstance(model.intercept_, float)
        np.testing.assert_allclose(model.coef_, [1.5, -2.0, 0.5], rtol=1e-5)
        np.testing.assert_allclose(model.predict(X), y, atol=1e-6)
        assert model.score(X, y) > 0.999999


def test_regressor_partial_fit_and_early_stopping():
    rng = np.random.default_rng(8)
    X, y = rng.standard_normal((80, 3)), rng.random(80)
    model = SigmoidRegressor()
    for _ in range(5):
        model.partial_fit(X, y)
    np.testing.assert_array_equal(model.coef_, SigmoidRegressor(max_iter=5, tol=0).fit(X, y).coef_)
    model = SigmoidRegressor(early_stopping=True, tol=1e-5, random_state=0, n_iter_no_change=2)
    model.fit(X, y, eval_set=(X, 1 - y))
    assert model.stop_reason_ == "early_stopping" and model.n_iter_ == 3


def test_regressor_targets_out_of_reach():
    X = np.arange(10.0)[:, None]
    with pytest.warns(UserWarning, match="values from -5 to 4: a sigmoid neuron answers in"):
        model = SigmoidRegressor().fit(X, X[:, 0] - 5)
    assert np.isfinite(model.coef_).all()
    with pytest.raises(ValueError, match="y holds values from -5 to 4.*Scale y"):
        SigmoidRegressor(loss="log_loss").fit(X, X[:, 0] - 5)
    with pytest.raises(ValueError, match="Input y contains infinity"):
        SigmoidRegressor().fit(X, [np.inf] * 10)
    with pytest.raises(ValueError, match=r"y has shape \(10, 2\), expected \(10,\)"):
        SigmoidRegressor().fit(X, np.zeros((10, 2)))


def test_a_fit_that_fails_changes_nothing():
    X = np.random.default_rng(0).standard_normal((60, 5))
    model = SigmoidClassifier().fit(X, np.arange(60) % 3)
    labels = model.predict(X)
    with pytest.raises(ValueError, match="overflow"):
        model.fit(X[:, :3] * 1e200, np.arange(60) % 2)
    np.testing.assert_array_equal(model.predict(X), labels)
    fresh = SigmoidClassifier()
    with pytest.raises(ValueError, match="NaN"):
        fresh.partial_fit(np.full((2, 5), np.nan), [0, 1], classes=[0, 1])
    assert not hasattr(fresh, "classes_")


def test_adam_does_not_call_nonsense_converged():
    X, y = load_breast_cancer(return_X_y=True)
    with pytest.raises(DivergenceError, match="does not suit"):
        SigmoidClassifier(solver="adam", random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="overflow"):
        SigmoidClassifier(solver="adam").fit(X * 1e300, y)


def test_divergence_is_noticed_in_a_few_iterations():
    X = np.random.default_rng(0).standard_normal((60, 5)) * 3
    y = (X[:, 0] + X[:, 1] > 0) * 1.0
    with pytest.raises(DivergenceError, match="largest safe learning rate"):
        train(X, y * 0.5 + 0.25, loss="log_loss", learning_rate=100.0, epochs=5)
    result = train(X, y, solver="adaptive", learning_rate=1e30, epochs=300)
    assert result.loss < train(X, y, epochs=10).loss


@pytest.mark.parametrize("when", ["check_weights", "curvature", "value", "_store_weights"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_ctrl_c_outside_the_epochs_leaves_the_estimator_as_it_was(rows, monkeypatch, method, when):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    X, y = rows
    model = SigmoidClassifier(max_iter=5, solver="momentum").partial_fit(X, y, ["no", "yes"])
    before = dict(vars(model))
    fresh = SigmoidClassifier(max_iter=5)
    homes = {"check_weights": validation, "_store_weights": SigmoidClassifier}
    options = {"classes": ["a", "b", "c"]} if method == "partial_fit" else {}
    other = np.array(["a", "b", "c"])[np.arange(len(y)) % 3]
    with monkeypatch.context() as patch:
        patch.setattr(homes.get(when, Objective), when, interrupt)
        with pytest.raises(KeyboardInterrupt):
            getattr(model, method)(X, y)
        with pytest.raises(KeyboardInterrupt):
            getattr(fresh, method)(X[:, :3], other, **options)
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())
    assert not hasattr(fresh, "classes_") and not hasattr(fresh, "n_features_in_")
    model.partial_fit(X, y)
    peer = SigmoidClassifier(solver="momentum").partial_fit(X, y, ["no", "yes"]).partial_fit(X, y)
    np.testing.assert_array_equal(model.coef_, peer.coef_)
    assert fresh.fit(X, y).coef_.shape == (1, 6)


def test_a_callback_may_change_the_estimator(rows):
    model = SigmoidClassifier(max_iter=5)
    model.fit(
        *rows, callbacks=lambda info: vars(model).update(note=info.n_iter, max_iter=3) or None
    )
    assert model.note == 5 and model.max_iter == 3 and model.n_iter_ == 5


def test_names_of_features_go_with_the_data(rows):
    pandas = pytest.importorskip("pandas")
    X, y = rows
    model = SigmoidClassifier(max_iter=5).fit(pandas.DataFrame(X, columns=list("abcdef")), y)
    assert model.feature_names_in_.tolist() == list("abcdef")
    model.fit(X[:, :4], y)
    assert not hasattr(model, "feature_names_in_") and model.n_features_in_ == 4


PREDICTIONS = {
    "classifier": ("predict", "predict_proba", "predict_log_proba", "decision_function"),
    "regressor": ("predict",),
}


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_no_score_is_nan_in_silence(rows, several, kind, backend):
    X, y = rows
    models = [SigmoidRegressor(max_iter=5).fit(X, y == "yes")]
    if kind == "classifier":
        models = [SigmoidClassifier(max_iter=5).fit(*data) for data in (rows, several)]
    for model in models:
        d = model.n_features_in_
        # Weights of 0 hide nothing either.
        model.coef_[..., 0] = 0.0
        for name in PREDICTIONS[kind]:
            method = getattr(model, name)
            with schuss.use_backend(backend.NAME), warnings.catch_warnings():
                warnings.simplefilter("error")
                for value, word in ((np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")):
                    for column in (0, d - 1):
                        broken = X[:, :d].copy()
                        broken[101, column] = value
                        forms = [broken, broken.astype(np.float32), broken.astype(np.float16)]
                        for form in (*forms, broken.tolist(), sp.csr_array(broken)):
                            with pytest.raises(ValueError, match=f"Input X contains {word}"):
                                method(form)
                huge = X[:, :d].copy()
                huge[[7, 9]] = 1.7e308 * np.where(np.arange(d) % 2, 1, -1)
                model.coef_[..., 1:] = np.where(np.arange(1, d) % 2, 2.0, -2.0)
                with pytest.raises(ValueError, match=r"^X: .* in 2 of 240 rows, first in row 7"):
                    method(huge)
                assert np.isfinite(method(huge[:7])).all() if name != "predict" else True
                # Finite scores may be large.
                large = method(np.full((1, d), 1e300))
                assert name == "predict" or np.isfinite(large).all()


def test_prediction_reads_rows_once(rows, monkeypatch):
    X, y = rows
    model, read = SigmoidClassifier(max_iter=5).fit(X, y), []
    backend = backends.current()
    prepare = backend.prepare
    monkeypatch.setattr(backend, "prepare", lambda X: read.append(X.shape) or prepare(X))
    # What would look at X before the kernel does.
    monkeypatch.setattr("schuss.data._is_finite", None)
    monkeypatch.setattr("schuss.data.validate_data", None)
    for method in (model.predict, model.predict_proba, model.predict_log_proba):
        method(X)
    assert read.count((240, 6)) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"no": -1.0}, "class_weight: the weight of class 'no' is -1.0, expected a finite number"),
        ({"no": "a"}, "class_weight: the weight of class 'no' is 'a', expected"),
        ({"no": np.nan}, "class_weight: the weight of class 'no' is nan, expected"),
        ({"no": np.inf, "yes": 1}, "class_weight: the weight of class 'no' is inf, expected"),
        ({"maybe": 2.0, "no": 1.0}, "class_weight=.*'yes'.* not in class_weight.*'no', 'yes'"),
        ({"no": 0, "yes": 0}, "class_weight=.* gives every row the weight 0"),
    ],
)
def test_bad_class_weights_are_named(rows, options, words):
    X, y = rows
    with pytest.raises(ValueError, match=words):
        SigmoidClassifier(class_weight=options).fit(X, y)


def test_class_weights_of_some_classes_or_of_rows_that_do_not_count(rows):
    X, y = rows
    options = {"max_iter": 20, "tol": 0}
    some = SigmoidClassifier(class_weight={"no": 3.0}, **options).fit(X, y)
    both = SigmoidClassifier(class_weight={"no": 3.0, "yes": 1.0}, **options).fit(X, y)
    np.testing.assert_array_equal(some.coef_, both.coef_)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        third = np.where(np.arange(len(y)) % 5, y, "perhaps")
        weights = (third != "perhaps") * 1.0
        balanced = SigmoidClassifier(class_weight="balanced", **options).fit(X, third, weights)
    assert np.isfinite(balanced.coef_).all()


def test_targets_that_are_no_arrays_are_named(rows):
    X, y = rows
    for model in (SigmoidClassifier(), SigmoidRegressor()):
        with pytest.raises(ValueError, match=r"^y is 1.0, expected an array of shape \(240,\)"):
            model.fit(X, 1.0)
    for model, target in ((SigmoidClassifier(), y), (SigmoidRegressor(), y == "yes")):
        with pytest.raises(ValueError, match=r"^eval_set: y is None, expected an array of shape"):
            model.fit(X, target, eval_set=(X, None))


def test_weights_that_leave_one_class_are_refused():
    X = np.arange(8.0)[:, None]
    y = np.array([0, 1] * 4)
    for model, weight in (
        (SigmoidClassifier(), (y == 1) * 1.0),
        (SigmoidClassifier(class_weight={0: 0, 1: 1}), None),
    ):
        with pytest.raises(ValueError, match="only one class, 1: "):
            model.fit(X, y, weight)
        assert not hasattr(model, "coef_")
    three = np.arange(8) % 3
    with pytest.warns(UserWarning, match="0 in every row of the classes 2"):
        SigmoidClassifier(max_iter=5, tol=0).fit(X, three, (three < 2) * 1.0)


@pytest.mark.parametrize("make", (SigmoidClassifier, SigmoidRegressor))
def test_predictions_take_n_jobs(make, monkeypatch):
    X, y = np.arange(12.0).reshape(6, 2), np.array([0, 1, 0, 1, 0, 1])
    model = make(n_jobs=3, max_iter=2, tol=0).fit(X, y)
    wanted = []
    monkeypatch.setattr(
        "schuss.predictions.threads.for_pass", lambda n_jobs, size: wanted.append(n_jobs) or 1
    )
    model.predict(X)
    assert wanted == [3]
