"""`SGDClassifier` and `SGDRegressor`: scikit-learn's path, and what is more than scikit-learn's."""

import itertools
import os
import pickle
import platform
import signal
import threading

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import linear_model
from sklearn.datasets import load_iris

import schuss
from schuss import SGDClassifier, SGDRegressor

pytestmark = pytest.mark.filterwarnings("ignore:Maximum number of iteration")

LOSSES = tuple(linear_model.SGDClassifier.loss_functions)
# Of the passive-aggressive schedules.
PASSIVE = ("hinge", "squared_hinge", "epsilon_insensitive", "squared_epsilon_insensitive")


def rows(n=200, d=9, seed=0):
    rng = np.random.default_rng(seed)
    X, w = rng.standard_normal((n, d)), rng.standard_normal(d)
    z = X @ w + rng.standard_normal(n)
    return X, z, rng.random(n) * (rng.random(n) < 0.9)


def same(ours, theirs, close=1e-9):
    for name in ("coef_", "intercept_"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, close, close * np.abs(b).max())
    assert (ours.n_iter_, ours.t_) == (theirs.n_iter_, theirs.t_)


@pytest.fixture
def exact():
    """Skips where scikit-learn's wheel, or the kernels, may fuse products with sums."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("scikit-learn's bits are those of x86-64")
    if schuss.get_backend() != "cython":
        pytest.skip("the compiled kernels alone have scikit-learn's bits")


def same_bits(ours, theirs):
    for name in ("coef_", "intercept_", "n_iter_", "t_"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)


@pytest.mark.parametrize("loss", LOSSES)
def test_iris_as_it_is_to_the_bit(exact, loss):
    X, y = load_iris(return_X_y=True)
    ours, theirs = (
        module.SGDClassifier(loss=loss, random_state=0).fit(X, y)
        for module in (schuss, linear_model)
    )
    same_bits(ours, theirs)
    assert ours.score(X, y) == theirs.score(X, y)


@pytest.mark.parametrize("sparse", (False, True))
@pytest.mark.parametrize("d", (1, 5, 8, 16))
def test_short_rows_to_the_bit(exact, d, sparse):
    rng = np.random.default_rng(d)
    X = 10 * rng.standard_normal((80, d))
    z = X @ rng.standard_normal(d) + 5 * rng.standard_normal(80)
    X = sp.csr_array(X * (rng.random(X.shape) < 0.7)) if sparse else X
    options = itertools.product(
        LOSSES, ("optimal", "constant", "invscaling", "adaptive", "pa1", "pa2"),
        ("l2", "l1", "elasticnet", None),
    )  # fmt: skip
    for i, (loss, schedule, penalty) in enumerate(options):
        if schedule.startswith("pa") and loss not in PASSIVE:
            continue
        parameters = {
            "loss": loss, "learning_rate": schedule, "penalty": penalty, "eta0": 0.1,
            "alpha": (1e-4, 1e-2)[i % 2], "l1_ratio": 0.3, "max_iter": 30, "random_state": i,
            "average": (False, True, 100)[i % 3], "fit_intercept": i % 5 != 0,
        }  # fmt: skip
        weight = rng.random(80) if i % 4 == 0 else None
        pairs = [(SGDClassifier, linear_model.SGDClassifier, z > 0)]
        if loss in linear_model.SGDRegressor.loss_functions:
            pairs.append((SGDRegressor, linear_model.SGDRegressor, z))
        for mine, their, y in pairs:
            try:
                expected = their(**parameters).fit(X, y, sample_weight=weight)
            except ValueError:  # overflow
                continue
            same_bits(mine(**parameters).fit(X, y, sample_weight=weight), expected)


@pytest.mark.parametrize("sparse", (False, True))
@pytest.mark.parametrize("loss", LOSSES)
def test_path(loss, sparse):
    X, z, weight = rows()
    if sparse:
        X = sp.csr_array(X * (np.random.default_rng(1).random(X.shape) < 0.4))
    options = itertools.product(
        ("optimal", "constant", "invscaling", "adaptive"), ("l2", "l1", "elasticnet", None)
    )
    for i, (schedule, penalty) in enumerate(options):
        parameters = {
            "loss": loss, "learning_rate": schedule, "penalty": penalty, "eta0": 0.01,
            # Small enough that "optimal" takes no first steps that make the path chaotic.
            "alpha": 1.0 if schedule == "optimal" else 1e-3, "max_iter": 8, "random_state": i,
            "average": (False, True, 150)[i % 3], "early_stopping": i % 4 == 1,
            "fit_intercept": i % 5 != 0, "shuffle": i % 7 != 0,
        }  # fmt: skip
        fit = {"sample_weight": weight} if i % 2 else {}
        y = (z > 0) if i % 3 else np.digitize(z, [-1, 1])
        classes = {"class_weight": {0: 2.0, 1: 0.5}}
        pairs = [(SGDClassifier, linear_model.SGDClassifier, y, classes)]
        if loss in linear_model.SGDRegressor.loss_functions:
            pairs.append((SGDRegressor, linear_model.SGDRegressor, z, {}))
        for mine, theirs, target, more in pairs:
            models = [c(**parameters, **more).fit(X, target, **fit) for c in (mine, theirs)]
            same(*models)


@pytest.mark.parametrize("average", (False, True, 300))
@pytest.mark.parametrize("n_classes", (2, 3))
def test_calls_that_go_on(average, n_classes):
    X, z, _ = rows(400)
    y = np.digitize(z, [0, 1][: n_classes - 1])
    common = {"average": average, "alpha": 0.1}
    models = [c(random_state=1, **common) for c in (SGDClassifier, linear_model.SGDClassifier)]
    for start in range(0, 400, 100):
        part = slice(start, start + 100)
        for model in models:
            model.partial_fit(X[part], y[part], classes=np.unique(y))
        same(*models)
    models = [
        c(warm_start=True, max_iter=3, random_state=np.random.RandomState(4), **common)
        for c in (SGDClassifier, linear_model.SGDClassifier)
    ]
    for _ in range(3):
        for model in models:
            model.fit(X, y)
        same(*models)


def test_float32():
    X, z, _ = rows(1000)
    X = X.astype(np.float32)
    for mine, theirs, y in (
        (SGDClassifier(alpha=0.1, random_state=0), linear_model.SGDClassifier, z > 0),
        (SGDRegressor(random_state=0), linear_model.SGDRegressor, z),
    ):
        mine.fit(X, y)
        other = theirs(**mine.get_params()).fit(X, y)
        assert mine.coef_.dtype == mine.intercept_.dtype == np.float32
        np.testing.assert_allclose(mine.coef_, other.coef_, 1e-3, 1e-4)


def test_report_and_callbacks():
    X, z, _ = rows()
    model = SGDClassifier(alpha=0.1, random_state=0).fit(X, z > 0)
    assert model.stop_reason_ == "converged" and model.converged_
    assert set(model.history_) == {"loss", "step", "seconds"}
    assert len(model.history_["loss"]) == model.n_iter_
    assert model.loss_ == model.history_["loss"][-1]
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))

    def stop(info):
        assert np.isfinite(info.coef).all()
        return info.n_iter >= 2

    stop.every = 1
    model.set_params(tol=None).fit(X, z > 0, callbacks=stop)
    assert (model.stop_reason_, model.n_iter_) == ("callback", 2)
    model.partial_fit(X, z > 0)
    assert len(model.history_["loss"]) == 3

    model.set_params(early_stopping=True, tol=1e-3).fit(X, z > 0)
    assert model.stop_reason_ == "early_stopping"
    assert len(model.history_["validation_loss"]) == model.n_iter_


@pytest.mark.skipif(os.name == "nt", reason="no signal can be sent to one's own process")
@pytest.mark.skipif(schuss.get_backend() != "cython", reason="others see Ctrl-C between calls")
def test_ctrl_c_keeps_the_weights():
    X, z, _ = rows(20_000, 50)
    model = SGDRegressor(max_iter=10**7, tol=None, random_state=0)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))

    def begin(info):
        # Not before the run is under way, however slow the machine.
        if timer.ident is None:
            timer.start()

    with pytest.warns(UserWarning, match="Training interrupted after"):
        model.fit(X, z, callbacks=begin)
    assert 0 < model.n_iter_ < model.max_iter
    assert model.stop_reason_ == "interrupted" and np.isfinite(model.coef_).all()


def test_threads_change_no_bit():
    X, z, _ = rows()
    y = np.digitize(z, [-1, 0, 1])
    one, many = (SGDClassifier(random_state=0, n_jobs=n).fit(X, y) for n in (1, 4))
    np.testing.assert_array_equal(one.coef_, many.coef_)


def test_a_step_that_overflows():
    X, z, _ = rows()
    model = SGDRegressor(random_state=0).fit(X, z)
    coef = model.coef_.copy()
    model.set_params(learning_rate="constant", eta0=1e300, tol=None)
    with pytest.raises(
        schuss.DivergenceError, match=r"overflow occurred at epoch #1.*eta0=1e\+300"
    ):
        model.fit(X, z)
    np.testing.assert_array_equal(model.coef_, coef)
    assert model.stop_reason_ == "converged"
    with pytest.raises(ValueError, match="power_t=-2000.*first step comes out as inf"):
        SGDRegressor().partial_fit(X, z).set_params(power_t=-2000).partial_fit(X, z)


def test_bad_weights():
    X, z, weight = rows()
    y = np.where(z > 0, "up", "down")
    model = SGDClassifier(alpha=0.1, random_state=0).fit(X, y)
    before = pickle.dumps(model)
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`.*-1"):
        model.fit(X, y, sample_weight=weight - 1)
    assert pickle.dumps(model) == before
    with pytest.raises(ValueError, match="only one class, 'up'"):
        model.fit(X, y, sample_weight=(y == "up") * 1.0)
    y3 = np.array(["a", "b", "c"])[np.digitize(z, [-1, 1])]
    with pytest.warns(UserWarning, match="0 in every row of the classes 'b'"):
        model.fit(X, y3, sample_weight=(y3 != "b") * 1.0)


def test_what_is_given_stays_as_it_was():
    X, z, _ = rows()
    start = np.zeros((1, 9))
    SGDClassifier(random_state=0).fit(X, z > 0, coef_init=start)
    assert not start.any()


def test_an_objective_that_overflows_is_told():
    X, z, _ = rows()
    with pytest.warns(RuntimeWarning, match="The objective came to"):
        SGDClassifier(random_state=0, max_iter=3).fit(1e300 * X, z > 0)


def test_verbose_prints_the_objective(capsys):
    X, z, _ = rows()
    SGDRegressor(verbose=1, random_state=0, max_iter=3).fit(X, z)
    line = capsys.readouterr().out.splitlines()[-1]
    assert "iteration 3/3" in line and "gradient" not in line


@pytest.mark.parametrize("calls", ["ff", "pf", "fp", "fpf"])
@pytest.mark.parametrize("average", [True, 150])
def test_warm_start_of_averages_of_a_regressor_is_that_of_scikit_learn(average, calls):
    X = np.random.default_rng(0).standard_normal((100, 4))
    y = X[:, 0] + 0.1 * X[:, 1]
    found = []
    for cls in (SGDRegressor, linear_model.SGDRegressor):
        model = cls(average=average, warm_start=True, max_iter=3, tol=None, random_state=0)
        for call in calls:
            (model.fit if call == "f" else model.partial_fit)(X, y)
        found.append(np.r_[model.coef_, model.intercept_])
    np.testing.assert_allclose(*found, rtol=1e-9)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("cls", [SGDClassifier, SGDRegressor])
def test_averages_of_weights_set_by_hand_have_their_shape(cls, method):
    """The kernels once wrote behind averages of the shape of an earlier fit."""
    X = np.random.default_rng(0).standard_normal((40, 50))
    y = np.arange(40) % 2
    model = cls(average=True, warm_start=True).fit(X[:, :3], y)
    model.coef_, model.n_features_in_ = np.zeros(model.coef_.shape[:-1] + (50,)), 50
    assert getattr(model, method)(X, y).coef_.shape[-1] == 50
    model.coef_ = model.coef_[..., :3]
    with pytest.raises(ValueError, match="coef_ has shape|coef_init does not match"):
        getattr(model, method)(X, y)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("cls", [SGDClassifier, SGDRegressor])
def test_sparsified_models_can_be_trained_on(cls, average, method):
    X = np.random.default_rng(0).standard_normal((40, 5))
    y = np.arange(40) % 2
    params = {"average": average, "warm_start": True, "random_state": 0, "tol": None}
    dense, sparse = (cls(max_iter=3, **params).fit(X, y) for _ in range(2))
    sparse.sparsify()
    for model in (dense, sparse):
        getattr(model, method)(X, y)
    np.testing.assert_array_equal(dense.coef_, sparse.coef_)


def test_weights_that_vanish_in_float32_are_no_error():
    X = np.zeros((2, 3), np.float32)

    model = SGDRegressor(max_iter=3, random_state=0).fit(X, [0.0, 0.0], sample_weight=[0, 1e-174])

    assert not model.coef_.any()
