"""`train`: the textbook's numbers, its inputs, its starts, its checkpoints."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

import schuss
from schuss import DivergenceError, SigmoidClassifier, backends, train


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def plain_loop(X, y, loss, step, epochs):
    """The loop of the textbook, written out."""
    w, b, losses = np.zeros(X.shape[1]), 0.0, []
    for _ in range(epochs):
        yhat = sigmoid(X @ w + b)
        if loss == "squared_error":
            losses.append(((yhat - y) ** 2).mean() / 2)
            derivative = (yhat - y) * yhat * (1 - yhat)
        else:
            losses.append(-(y * np.log(yhat) + (1 - y) * np.log(1 - yhat)).mean())
            derivative = yhat - y
        w = w - step * X.T @ derivative / len(X)
        b = b - step * derivative.mean()
    return w, b, losses


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((203, 7))
    y = (rng.random(203) < sigmoid(X @ rng.standard_normal(7))).astype(float)
    return X, y


@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
def test_it_is_the_loop_of_the_textbook(rows, loss):
    X, y = rows
    result = train(X, y, loss=loss, learning_rate=0.3, epochs=50)
    w, b, losses = plain_loop(X, y, loss, 0.3, 50)
    assert result.n_iter == 50 and result.stop_reason == "max_iter" and not result.converged
    np.testing.assert_allclose(result.coef, w, rtol=1e-11)
    np.testing.assert_allclose(result.intercept, b, rtol=1e-11)
    np.testing.assert_allclose(result.history["loss"], losses, rtol=1e-12)
    np.testing.assert_array_equal(result.history["step"], 0.3)
    assert result.loss < losses[-1]


def test_all_epochs_run_without_a_word(rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert train(*rows, epochs=17).n_iter == 17


def test_tol_stops_at_the_gradient(rows):
    result = train(*rows, solver="nesterov", tol=1e-6, epochs=100_000)
    norms = result.history["gradient_norm"]
    assert result.converged and result.stop_reason == "converged"
    assert norms[-1] <= 1e-6 < norms[:-1].min()
    assert result.n_iter == len(norms) < 100_000
    assert result.loss == pytest.approx(result.history["loss"][-1], rel=1e-14)


@pytest.mark.parametrize(
    "convert",
    [
        lambda X: X.astype(np.float32),
        lambda X: X.astype(np.float16),
        lambda X: X.astype(np.uint8),
        lambda X: X.astype(np.int8),
        lambda X: X.astype(bool),
        lambda X: X.astype(np.int64),
        lambda X: X.astype(">f8"),
        lambda X: X.astype(">f4"),
        np.asfortranarray,
        lambda X: np.repeat(X, 2, axis=0)[::2],
        lambda X: X[::-1][::-1],
        lambda X: X.tolist(),
        sp.csr_array,
        sp.csr_matrix,
        sp.csc_array,
        sp.coo_array,
        lambda X: sp.csr_array(X.astype(np.float32)),
        lambda X: sp.csr_array(X.astype(np.int8)),
    ],
)
def test_every_form_of_X_gives_the_same_neuron(convert):
    rng = np.random.default_rng(1)
    X = (rng.random((60, 5)) < 0.4).astype(float)
    y = X[:, 0]
    expected = train(X, y, learning_rate=1.0, epochs=100)
    result = train(convert(X), y, learning_rate=1.0, epochs=100)
    np.testing.assert_allclose(result.coef, expected.coef, rtol=2e-5, atol=1e-6)


def test_misaligned_and_read_only_rows_are_read(rows):
    X, y = rows
    buffer = np.zeros(X.nbytes + 1, np.uint8)
    misaligned = np.frombuffer(buffer.data, np.float64, count=X.size, offset=1).reshape(X.shape)
    misaligned[...] = X
    assert not misaligned.flags.aligned
    X.flags.writeable = False
    np.testing.assert_array_equal(train(misaligned, y, epochs=20).coef, train(X, y, epochs=20).coef)


def test_columns_of_targets_train_one_neuron_each(rows):
    X, y = rows
    both = train(X, np.column_stack([y, 1 - y / 2]), learning_rate=0.5, epochs=30)
    assert both.coef.shape == (2, 7) and both.intercept.shape == (2,)
    for k, target in enumerate([y, 1 - y / 2]):
        one = train(X, target, learning_rate=0.5, epochs=30)
        assert one.coef.shape == (7,) and isinstance(one.intercept, float)
        np.testing.assert_allclose(both.coef[k], one.coef, rtol=1e-12)


def test_weights_count_like_repeated_rows(rows):
    X, y = rows
    times = np.random.default_rng(2).integers(0, 4, len(y))
    weighted = train(X, y, sample_weight=times, epochs=100)
    repeated = train(np.repeat(X, times, axis=0), np.repeat(y, times), epochs=100)
    np.testing.assert_allclose(weighted.coef, repeated.coef, rtol=1e-9)


@pytest.mark.parametrize("factor", [1e-300, 1e300])
def test_only_ratios_of_weights_matter(rows, factor):
    X, y = rows
    weights = np.random.default_rng(3).random(len(y))
    np.testing.assert_allclose(
        train(X, y, sample_weight=factor * weights, epochs=20).coef,
        train(X, y, sample_weight=weights, epochs=20).coef,
        rtol=1e-10,
    )


def test_two_halves_are_a_whole(rows):
    X, y = rows
    options = {"learning_rate": 0.5, "loss": "log_loss"}
    half = train(X, y, epochs=20, **options)
    start = half.coef.copy()
    whole = train(X, y, epochs=20, coef_init=half.coef, intercept_init=half.intercept, **options)
    np.testing.assert_array_equal(whole.coef, train(X, y, epochs=40, **options).coef)
    np.testing.assert_array_equal(half.coef, start)


def test_l1_makes_zeros_and_no_intercept_means_none(rows):
    X, y = rows
    result = train(
        X, y, loss="log_loss", solver="nesterov", alpha=0.05, l1_ratio=1.0, tol=1e-8,
        epochs=10_000, fit_intercept=False,
    )  # fmt: skip
    assert result.converged and result.intercept == 0
    assert 0 < np.count_nonzero(result.coef) < 7
    assert np.count_nonzero(train(X, y, loss="log_loss", tol=1e-8).coef) == 7


def test_penalised_optimum_is_that_of_scikit_learn(rows):
    from sklearn.linear_model import LogisticRegression

    X, y = rows
    result = train(X, y, loss="log_loss", solver="adaptive", alpha=0.01, tol=1e-9, epochs=10_000)
    peer = LogisticRegression(C=1 / (0.01 * len(y)), tol=1e-10).fit(X, y)
    np.testing.assert_allclose(result.coef, peer.coef_[0], rtol=1e-5)
    np.testing.assert_allclose(result.intercept, peer.intercept_[0], rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss": "hinge"}, "'loss' parameter of train.*squared_error"),
        ({"solver": "saga"}, "'solver' parameter of train.*adaptive.*Got 'saga'"),
        ({"learning_rate": 0.0}, "'learning_rate' parameter"),
        ({"learning_rate": float("nan")}, "'learning_rate' parameter"),
        ({"epochs": 0}, "'epochs' parameter"),
        ({"alpha": -1.0}, "'alpha' parameter"),
        ({"l1_ratio": 1.5}, "'l1_ratio' parameter"),
        ({"batch_size": 0}, "'batch_size' parameter"),
        ({"n_jobs": 0}, "n_jobs=0: expected a positive number"),
        ({"solver": "adaptive", "batch_size": 5}, "batch_size=5 with solver='adaptive'"),
        ({"coef_init": [1.0]}, r"coef_init has shape \(1,\).*expected numbers of shape \(7,\)"),
        ({"intercept_init": [1.0, 2.0]}, r"intercept_init has shape \(2,\).*expected a number"),
        ({"coef_init": np.full(7, np.nan)}, "coef_init holds NaN"),
        ({"intercept_init": "x"}, "intercept_init"),
        ({"sample_weight": -np.ones(203)}, "sample_weight.*smallest is -1"),
        ({"sample_weight": np.zeros(203)}, "every entry of sample_weight is 0"),
        ({"sample_weight": np.full(203, np.nan)}, "sample_weight contains NaN"),
        ({"sample_weight": np.ones(3)}, r"sample_weight.shape == \(3,\), expected \(203,\)"),
    ],
)
def test_bad_options_are_named(rows, options, words):
    with pytest.raises(ValueError, match=words):
        train(*rows, **options)


@pytest.mark.parametrize(
    ("good", "bad"),
    [({"epochs": 4}, 4.0), ({"fit_intercept": True}, 1), ({"batch_size": 1}, 1.0)],
)
def test_an_equal_option_of_another_type_is_refused(rows, good, bad):
    train(*rows, **{"epochs": 1, **good})
    for _ in range(2):
        with pytest.raises(ValueError, match=f"'{next(iter(good))}' parameter of train"):
            train(*rows, **{"epochs": 1, **dict.fromkeys(good, bad)})


def test_bad_data_are_named(rows):
    X, y = rows
    for bad in (np.nan, np.inf):
        broken = X.copy()
        broken[3, 2] = bad
        with pytest.raises(ValueError, match="Input X contains"):
            train(broken, y)
        with pytest.raises(ValueError, match="Input y contains"):
            train(X, np.where(np.arange(len(y)) == 5, bad, y))
    with pytest.raises(ValueError, match="y has 202 rows, but X has 203"):
        train(X, y[1:])
    with pytest.raises(ValueError, match="Expected 2D array"):
        train(X[0], y)
    with pytest.raises(ValueError, match=r"y has shape \(203, 1, 1\)"):
        train(X, y[:, None, None])
    with pytest.raises(ValueError, match=r"values from 0 to 2, but loss='log_loss' expects"):
        train(X, 2 * y, loss="log_loss")
    with pytest.warns(UserWarning, match="cannot reach targets outside"):
        train(X, 2 * y, epochs=5)
    with pytest.raises(ValueError, match="y: could not convert .*expected numbers.*Classifier"):
        train(X, np.where(y > 0.5, "yes", "no"))
    with pytest.raises(TypeError, match="callbacks: got 3"):
        train(X, y, callbacks=[3])


def test_initial_weights_of_several_neurons_are_not_transposed(rows):
    X, y = rows
    Y, start = np.column_stack([y, 1 - y, y]), np.arange(21.0).reshape(3, 7) / 21
    np.testing.assert_array_equal(train(X, Y, coef_init=start, epochs=1).coef.shape, (3, 7))
    for wrong in (start.T, start.ravel()):
        with pytest.raises(ValueError, match=r"expected numbers of shape \(3, 7\)"):
            train(X, Y, coef_init=wrong)
    one = [train(X, y, coef_init=w, epochs=3).coef for w in (start[0], start[:1])]
    np.testing.assert_array_equal(*one)


def test_indices_outside_a_sparse_matrix_are_refused(rows):
    X = sp.csr_array(rows[0])
    X.indices[5] = 7
    with pytest.raises(ValueError, match="indices"):
        train(X, rows[1])


def test_the_largest_safe_step_is_in_the_error(rows):
    X, y = rows
    A = np.column_stack([X, np.ones(len(X))])
    curvature = 0.25 * np.linalg.eigvalsh(A.T @ A / len(A))[-1]
    auto = train(X, y, loss="log_loss", epochs=2).history["step"][0]
    assert 0.98 / curvature <= auto <= 1.0001 / curvature
    with pytest.raises(DivergenceError, match="learning_rate=500 is too large") as caught:
        train(X, y, loss="log_loss", learning_rate=500.0)
    error = caught.value
    assert error.learning_rate == 500
    assert error.largest_safe_step == pytest.approx(2 * auto)
    assert f"{error.largest_safe_step:.6g}" in str(error) and "StandardScaler" in str(error)
    assert error.result.stop_reason == "diverged" and not error.result.converged
    np.testing.assert_array_equal(error.result.coef, 0)
    assert all(np.isfinite(column).all() for column in error.result.history.values())
    assert error.result.n_iter < 1000


@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
@pytest.mark.parametrize("solver", ["gd", "momentum", "nesterov", "sgd"])
def test_steps_that_are_too_large_never_end_in_nan(loss, solver):
    X = np.random.default_rng(0).normal(50, 100, (150, 4))
    y = np.random.default_rng(1).integers(0, 2, 150)
    for step in (10.0, 1e6, 1e300):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(DivergenceError):
                train(X, y, loss=loss, solver=solver, learning_rate=step, tol=1e-4, random_state=0)


@pytest.mark.parametrize("solver", ["gd", "momentum", "nesterov", "adaptive", "sgd"])
def test_huge_features_are_refused_by_name(solver):
    X = np.array([[1e300, 1.0], [-1e300, 2.0], [2e300, -1.0], [1e299, 0.0]] * 20)
    y = [1, 0, 1, 0] * 20
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"X: features as large as 2e\+300"):
            train(X, y, solver=solver)
        try:
            result = train(X, y, solver=solver, learning_rate=0.1)
        except DivergenceError as error:
            assert "2e+300" in str(error)
        except ValueError as error:
            assert solver == "adaptive", error
        else:
            assert np.isfinite(result.coef).all() and np.isfinite(result.loss)


def test_tiny_features_are_no_trouble():
    X = np.array([[1e-200], [-1e-200], [2e-200], [1e-201]])
    result = train(X, [1, 0, 1, 0], fit_intercept=False, epochs=5)
    assert np.isfinite(result.coef).all() and np.isfinite(result.loss)
    result = train(np.zeros((4, 2)), [1, 0, 1, 1], epochs=500)
    np.testing.assert_array_equal(result.coef, 0)
    assert sigmoid(result.intercept) == pytest.approx(0.75, abs=0.01)


def test_a_start_at_the_optimum_is_no_divergence(rows):
    X, y = rows
    best = train(X, y, loss="log_loss", solver="nesterov", tol=1e-10, epochs=10_000)
    start = {"coef_init": best.coef, "intercept_init": best.intercept, "loss": "log_loss"}
    for options in (
        {"solver": "gd", "learning_rate": 0.5},
        {"solver": "sgd", "learning_rate": 0.2, "random_state": 0},
    ):
        again = train(X, y, epochs=200, **start, **options)
        assert again.stop_reason == "max_iter"
        assert again.loss == pytest.approx(best.loss, rel=0.05)


def test_the_result_is_frozen_and_short_to_read(rows):
    result = train(*rows, epochs=3)
    with pytest.raises(AttributeError):
        result.loss = 0.0
    assert len(repr(result)) < 120 and "n_iter=3" in repr(result)


@pytest.mark.parametrize("solver", ["gd", "nesterov", "adam", "sgd", "adaptive"])
def test_resuming_a_checkpoint_is_exact(rows, tmp_path, solver):
    X, y = rows
    path = tmp_path / "run.ckpt"
    options = {"solver": solver, "random_state": 4}
    train(X, y, epochs=13, checkpoint=path, **options)
    resumed = train(X, y, epochs=40, checkpoint=path, **options)
    straight = train(X, y, epochs=40, **options)
    np.testing.assert_array_equal(resumed.coef, straight.coef)
    np.testing.assert_array_equal(resumed.history["loss"], straight.history["loss"])
    assert resumed.n_iter == 40 and np.all(np.diff(resumed.history["seconds"]) > 0)
    assert [file.name for file in tmp_path.iterdir()] == ["run.ckpt"]
    # All epochs are done: nothing is left but to evaluate.
    assert train(X, y, epochs=40, checkpoint=path, **options).n_iter == 40


def test_a_checkpoint_of_another_call_is_refused(rows, tmp_path):
    X, y = rows
    path = tmp_path / "run.ckpt"
    train(X, y, epochs=5, checkpoint=path)
    with pytest.raises(ValueError, match="loss was 'squared_error' there and is 'log_loss' here"):
        train(X, y, epochs=9, checkpoint=path, loss="log_loss")
    with pytest.raises(ValueError, match="X, y or the weights of the rows are others"):
        train(X, 1 - y, epochs=9, checkpoint=path)
    with pytest.raises(ValueError, match=r"of shape \[203, 7\] there and \[203, 6\] here"):
        train(X[:, 1:], y, epochs=9, checkpoint=path)
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="not a checkpoint"):
        train(X, y, epochs=9, checkpoint=path)


@pytest.mark.parametrize("learning_rate", ["auto", 1e-3])
@pytest.mark.parametrize("scale", [1e300, np.float32(1e25)])
def test_adam_refuses_features_whose_squares_overflow(rows, scale, learning_rate):
    X, y = rows
    with pytest.raises(ValueError, match="X: features as large as"):
        train((X * scale).astype(np.dtype(type(scale))), y, solver="adam",
              learning_rate=learning_rate, epochs=20)  # fmt: skip


def test_adam_is_not_told_to_take_the_step_that_it_had(rows):
    X, y = rows
    with pytest.raises(DivergenceError) as caught:
        train(X, y, solver="adam", learning_rate=1e4, loss="log_loss", epochs=300)
    assert "smaller learning_rate" in str(caught.value) and "auto" not in str(caught.value)
    assert caught.value.largest_safe_step is None


@pytest.mark.parametrize("step", [1e6, 1e30])
@pytest.mark.parametrize("solver", ["gd", "momentum", "nesterov", "sgd"])
def test_saturation_below_the_cost_of_a_constant_is_no_convergence(rows, solver, step):
    X, y = rows
    with pytest.raises(DivergenceError, match="too large a step"):
        train(X, y, solver=solver, learning_rate=step, tol=1e-4, random_state=0)


@pytest.mark.parametrize("noise", [0.0, 0.3, 3.0])
def test_good_ends_of_long_steps_are_convergence(noise):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((200, 5))
    y = (X[:, 0] - 2 * X[:, 1] + noise * rng.standard_normal(200) > 0).astype(float)
    safe = 2 * train(X, y, epochs=2).history["step"][0]
    result = train(X, y, solver="momentum", learning_rate=2 * safe, tol=1e-4, epochs=5000)
    assert result.converged and result.loss < 0.8 * y.var() / 2


def test_a_first_step_of_adaptive_is_no_longer_than_is_safe(rows):
    X, y = rows
    auto = train(X, y, solver="adaptive", loss="log_loss", epochs=60)
    for step in (1e6, 1e30):
        given = train(X, y, solver="adaptive", loss="log_loss", learning_rate=step, epochs=60)
        np.testing.assert_array_equal(given.coef, auto.coef)
    short = train(X, y, solver="adaptive", learning_rate=0.01, epochs=1)
    assert short.history["step"][0] == 0.01


def test_adaptive_steps_survive_parts(rows):
    X, y = rows
    model = SigmoidClassifier(solver="adaptive", loss="log_loss")
    for _ in range(30):
        for part in np.array_split(np.arange(len(y)), 7):
            model.partial_fit(X[part], y[part], classes=[0, 1])
    steps = model.history_["step"]
    assert steps[-7:].min() >= 0.3 * steps[0]
    assert model.score(X, y) > 0.75


def test_steps_above_the_safe_one_are_named(rows):
    X, y = rows
    soft = 0.25 + 0.5 * y
    safe = 2 * train(X, soft, loss="log_loss", epochs=2).history["step"][0]
    with pytest.warns(ConvergenceWarning, match=f"still rises.*safe on this data, {safe:.6g}"):
        result = train(X, soft, loss="log_loss", learning_rate=1.3 * safe, epochs=500)
    assert result.stop_reason == "max_iter"
    with pytest.warns(ConvergenceWarning, match=r"Mind that learning_rate=.*\(2 / L\)"):
        SigmoidClassifier(learning_rate=4 * safe, max_iter=5, tol=1e-9).fit(X, y)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "log_loss", "coef_init": np.full(7, 1e300)},
        {"loss": "log_loss", "coef_init": np.full(7, 1e307), "learning_rate": 1e-3},
        {"alpha": 1e308, "l1_ratio": 1.0, "coef_init": np.full(7, 1e300)},
    ],
)
def test_overflow_with_a_safe_step_is_not_blamed_on_it(rows, options):
    with pytest.raises(DivergenceError, match="overflow") as caught:
        train(*rows, **options)
    assert "coef_init" in str(caught.value) and "alpha" in str(caught.value)
    assert "too large" not in str(caught.value)


def test_public_names():
    assert set(schuss.__all__) <= set(dir(schuss))
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        schuss.trian  # noqa: B018


def test_a_checkpoint_that_cannot_be_written_is_told_at_once(rows, tmp_path, monkeypatch):
    monkeypatch.setattr("schuss.data.check_features", None)  # nothing was done before
    with pytest.raises(FileNotFoundError, match="^checkpoint: .*the folder .* does not exist"):
        train(*rows, checkpoint=tmp_path / "no" / "run.ckpt")
    with pytest.raises(IsADirectoryError, match="^checkpoint: .*a folder"):
        train(*rows, checkpoint=tmp_path)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="^checkpoint: .*no permission to write"):
        train(*rows, checkpoint=tmp_path / "run.ckpt")
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_does_not_go_back(rows, tmp_path):
    path = tmp_path / "run.ckpt"
    train(*rows, epochs=9, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="already ran 9 .*than epochs=8. Pass epochs=9 or more"):
        train(*rows, epochs=8, checkpoint=path)
    assert path.read_bytes() == before
    assert train(*rows, epochs=9, checkpoint=path).n_iter == 9


def test_targets_that_are_no_arrays_are_named(rows):
    X, _ = rows
    for y in (1.0, None, np.float32(1), np.array(1.0), "yes"):
        with pytest.raises(ValueError, match=r"^y is .*, expected .* \(203,\) or \(203, K\)"):
            train(X, y)


@pytest.mark.parametrize("y", [np.zeros(203, bool), np.zeros(203, np.uint8), [0] * 203])
def test_whole_numbers_are_targets(rows, y):
    assert train(rows[0], y, epochs=2).coef.dtype == np.float64


@pytest.mark.parametrize("solver", ["gd", "momentum", "nesterov", "adam"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_x_is_read_once_an_epoch_and_once_at_the_end(solver, dtype):
    X = np.random.default_rng(0).standard_normal((500, 6)).astype(dtype)
    y = (X[:, 0] > 0).astype(float)
    result = train(X, y, solver=solver, learning_rate=0.01, epochs=4, batch_size=500)
    assert result.n_iter == 4
    assert result.fit_info["passes"] == 5


@pytest.mark.parametrize("d", [5, 120])
def test_reads_of_x_and_hessians_are_counted(d, monkeypatch):
    X = np.random.default_rng(0).standard_normal((2000, d))
    y = (X[:, 0] > 0).astype(float)
    assert train(X, y, epochs=3).fit_info["hessians"] == 0
    for K in (1, 2):
        result = train(X, np.tile(y, (K, 1)).T if K > 1 else y, solver="newton", epochs=3,
                       loss="log_loss", alpha=0.1)  # fmt: skip
        info = result.fit_info
        # One for each step, whose factor serves no other; and a gradient more than steps.
        assert (info["hessians"], info["passes"]) == (3, 7), info
    with backends.use_backend("numpy"):
        assert train(X, y, solver="newton", epochs=3, loss="log_loss", alpha=0.1).fit_info[
            "hessians"
        ] == 3  # fmt: skip


def test_features_whose_squares_overflow_are_named_by_adam():
    X = np.random.default_rng(0).standard_normal((50, 3)) * 1e200
    with pytest.raises(ValueError, match="features as large as .*e.200"):
        train(X, (X[:, 0] > 0).astype(float), solver="adam", loss="log_loss", epochs=5)
